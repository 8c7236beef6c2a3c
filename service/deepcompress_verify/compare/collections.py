"""Comparison of tuples, lists, sets, matrices and piecewise definitions."""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from collections.abc import Callable

from deepcompress_verify.compare import matrices
from deepcompress_verify.compare.cases import as_expression, completed
from deepcompress_verify.compare.context import (
    NOT_APPLICABLE,
    ComparisonContext,
    InconclusiveError,
    NotApplicable,
    UndefinedValueError,
)
from deepcompress_verify.compare.ellipsis import same_progression
from deepcompress_verify.compare.forms import canon, substitute, symbols
from deepcompress_verify.compare.items import COLLECTIONS, in_order, same_items, tuples_equal
from deepcompress_verify.compare.relations import EqualityChain, is_name, read_chain
from deepcompress_verify.compare.vectors import components, identity
from deepcompress_verify.reader.progressions import ELLIPSIS
from deepcompress_verify.tree import (
    Add,
    Call,
    Div,
    List,
    Matrix,
    Mul,
    Neg,
    Node,
    Num,
    Piecewise,
    Pow,
    Rel,
    Set,
    Sym,
    Text,
    Tuple,
    walk,
)

Compare = Callable[[Node, Node], "bool | None"]


def evaluate_matrices(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    """Evaluate expressions with matrices, then compare."""
    if (
        Matrix not in context.facts(gold).kinds
        and Matrix not in context.facts(answer).kinds
        and not (isinstance(gold, matrices.ARITHMETIC) or isinstance(answer, matrices.ARITHMETIC))
    ):
        return NOT_APPLICABLE
    try:
        left, right = matrices.simplify(gold, context), matrices.simplify(answer, context)
    except InconclusiveError:
        return None
    except UndefinedValueError:
        return False
    if left is gold and right is answer:
        return NOT_APPLICABLE
    return context.judge(left, right)


def compare_collections(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    """Compare tuples, lists, sets and matrices."""
    if not isinstance(gold, COLLECTIONS) and not isinstance(answer, COLLECTIONS):
        return NOT_APPLICABLE
    if _has_tautology(gold) or _has_tautology(answer):
        context.record("structure", "an item that equates a number with itself")
        return False
    if (
        _contains_sets(gold) != _contains_sets(answer)
        and isinstance(gold, COLLECTIONS)
        and isinstance(answer, COLLECTIONS)
    ):
        context.record("structure", "sets side by side against elements")
        return False
    if isinstance(gold, Matrix) or isinstance(answer, Matrix):
        return _matrices(gold, answer, context)
    if isinstance(gold, Tuple) and isinstance(answer, Tuple):
        return tuples_equal(gold, answer, context)
    if not isinstance(gold, COLLECTIONS):
        return _compare_item_and_collection(gold, answer, context, lambda one, several: context.judge(one, several))
    if not isinstance(answer, COLLECTIONS):
        return _compare_item_and_collection(answer, gold, context, lambda one, several: context.judge(several, one))
    if isinstance(gold, Tuple) or isinstance(answer, Tuple):
        return _tuple_and_list(gold, answer, context)
    assert isinstance(gold, (List, Set)) and isinstance(answer, (List, Set))
    if len(gold.items) != len(answer.items) and (ELLIPSIS in gold.items or ELLIPSIS in answer.items):
        elided = same_progression(gold.items, answer.items, context)
        if elided is not None:
            context.record("structure", "the same progression" if elided else "different progressions")
            return elided
    return _lists(gold, answer, context)


def _has_tautology(node: Node) -> bool:
    """Return True for 295 = 295, 658: one number set equal to several."""
    return isinstance(node, (List, Tuple)) and any(
        isinstance(item, Rel) and item.ops == ("=",) and isinstance(item.terms[0], Num) and len(set(item.terms)) == 1
        for item in node.items
    )


def _contains_sets(node: Node) -> bool:
    """Return True for several adjacent sets, {1}, {2}: each of them is one element."""
    return (
        isinstance(node, (List, Set, Tuple)) and len(node.items) > 1 and any(isinstance(i, Set) for i in node.items)
    )


def _compare_item_and_collection(
    one: Node, several: Node, context: ComparisonContext, compare: Compare
) -> bool | None:
    """Compare one answer with a list: x = {1, 2} and x in {1, 2} are lists; a list of one item equals the item."""
    if isinstance(several, Tuple):
        parts = components(one, several.items, context)
        if parts is not None:
            return compare(Tuple(parts, several.left, several.right), several)
    if isinstance(several, (List, Set)):
        if isinstance(one, Rel):
            reading = read_chain(one, context)
            spread = _assignments(reading) if isinstance(several, List) and _named(several.items) else None
            if spread is not None:
                return compare(spread, several)
            value = one.terms[1] if one.ops == ("in",) else reading.value if reading is not None else None
            interval = one.ops == ("in",) and isinstance(value, Tuple)
            if isinstance(value, (List, Set, Tuple)) and not interval:
                return compare(value, List(_expand_assignments(several.items)) if one.ops == ("in",) else several)
        single = len({canon(item) for item in several.items}) == 1
        if single and (len(several.items) == 1 or isinstance(several, Set) or _is_deduplicated(several.items[0])):
            return compare(one, several.items[0])
    context.record("structure", "one value against several")
    return False


def _assignments(reading: EqualityChain | None) -> Node | None:
    """Return x = y = 1 and (x, y) = (1, 2) as lists of assignments: x = 1, y = 1 and x = 1, y = 2."""
    if reading is None or reading.value is None:
        return None
    names, values = reading.names, (reading.value,) * len(reading.names)
    if len(names) == 1 and isinstance(names[0], Tuple) and isinstance(reading.value, Tuple):
        names, values = names[0].items, reading.value.items
    if len(names) < 2 or len(names) != len(values) or not all(isinstance(n, Sym) for n in names):
        return None
    return List(tuple(Rel((n, v), ("=",)) for n, v in zip(names, values, strict=True)), "and")


def _is_deduplicated(item: Node) -> bool:
    """Return True for points and equations, whose repeats count once. Repeated numbers are several values."""
    return isinstance(item, (Tuple, Rel))


def _matrices(gold: Node, answer: Node, context: ComparisonContext) -> bool | None:
    left, right = _rows(gold), _rows(answer)
    if left is None and right is not None:
        left = _as_vector_or_matrix(gold, right, context)
    elif right is None and left is not None:
        right = _as_vector_or_matrix(answer, left, context)
    if left is None or right is None:
        context.record("structure", "a matrix against something else")
        return False
    if len(left) != len(right) and (len(left) == 1 or len(right) == 1):
        # a row and a column of the same numbers are the same vector
        left, right = _as_row(left), _as_row(right)
    if [len(r) for r in left] != [len(r) for r in right]:
        context.record("structure", "matrices of different shape")
        return False
    return in_order(tuple(c for r in left for c in r), tuple(c for r in right for c in r), context)


def _as_vector_or_matrix(
    node: Node, rows: list[tuple[Node, ...]], context: ComparisonContext
) -> list[tuple[Node, ...]] | None:
    """Return the rows of 2i - j next to a column vector, or of I next to a matrix; None for anything else."""
    result = identity(node, rows, context)
    if result is not None:
        return result
    parts = components(node, _as_row(rows)[0], context) if len(rows) == 1 or len(rows[0]) == 1 else None
    return None if parts is None else [parts]


def _as_row(rows: list[tuple[Node, ...]]) -> list[tuple[Node, ...]]:
    return [tuple(row[0] for row in rows)] if all(len(row) == 1 for row in rows) else rows


def _rows(node: Node) -> list[tuple[Node, ...]] | None:
    if isinstance(node, Matrix):
        return list(node.rows)
    if isinstance(node, Tuple):
        if all(isinstance(i, Tuple) for i in node.items):
            return [i.items for i in node.items if isinstance(i, Tuple)]
        return [node.items]
    return None


def _tuple_and_list(gold: Node, answer: Node, context: ComparisonContext) -> bool | None:
    """Compare (1, 2) with "1, 2" or "x = 1, y = 2" in order; never with a set, never as an interval."""
    one, two = (gold, answer) if isinstance(gold, Tuple) else (answer, gold)
    assert isinstance(one, Tuple) and isinstance(two, (List, Set))
    if isinstance(two, Set):
        if len(two.items) == 1:
            return context.judge(gold, two.items[0]) if two is answer else context.judge(two.items[0], answer)
        context.record("structure", "a tuple against a set")
        return False
    if ((one.left, one.right) != ("(", ")") and len(one.items) == 2) or two.word == "or":
        context.record("structure", "an interval against a list")
        return False
    if len({canon(i) for i in two.items}) == 1 and isinstance(two.items[0], Tuple):
        return context.judge(gold, two.items[0]) if two is answer else context.judge(two.items[0], answer)
    if len(one.items) != len(two.items):
        context.record("structure", f"{len(one.items)} items against {len(two.items)}")
        return False
    values = tuple(_value_of(item) for item in _in_alphabetical_order(two.items))
    return in_order(one.items, values, context) if one is gold else in_order(values, one.items, context)


def _value_of(node: Node) -> Node:
    """Return the value of an assignment: x = 3 is 3 among answers without names."""
    if isinstance(node, Rel) and node.ops == ("=",) and is_name(node.terms[0]) and node.modulus is None:
        return node.terms[1]
    return node


def _in_alphabetical_order(items: tuple[Node, ...]) -> tuple[Node, ...]:
    """Return y = 2, x = 1 as x = 1, y = 2: coordinates, and the numbers a to d, have the order of their names."""
    heads = [_head(item) for item in items]
    ordered = any(letters.issuperset(heads) for letters in _ORDERED) and len(set(heads)) == len(heads)
    return tuple(sorted(items, key=_head)) if ordered else items


def coordinates(reading: EqualityChain) -> Node | None:
    """Return the value of (y, x) = (1, 2) in the order of the coordinates, (2, 1); other values as they are."""
    value, name = reading.value, reading.names[0] if len(reading.names) == 1 else None
    if not isinstance(name, Tuple) or not isinstance(value, Tuple) or len(name.items) != len(value.items):
        return value
    pairs = tuple(Rel(pair, ("=",)) for pair in zip(name.items, value.items, strict=True))
    if not _ORDERED[0].issuperset(map(_head, pairs)):
        return value
    return Tuple(tuple(_value_of(item) for item in _in_alphabetical_order(pairs)), value.left, value.right)


_ORDERED = (frozenset("xyz"), frozenset("abcd"))


def _named(items: tuple[Node, ...]) -> bool:
    return all(isinstance(i, Rel) and i.ops == ("=",) and is_name(i.terms[0]) for i in items)


def _lists(gold: List | Set, answer: List | Set, context: ComparisonContext) -> bool | None:
    if isinstance(gold, List) and isinstance(answer, List) and _other_joiner(gold, answer):
        context.record("structure", "p and q is not p or q")
        return False
    left, right = _expand_assignments(gold.items), _expand_assignments(answer.items)
    named = _named(left), _named(right)
    if not (isinstance(gold, Set) and isinstance(answer, Set)) and (_is_sequence(left) or _is_sequence(right)):
        return in_order(left, right, context)
    if named in ((True, False), (False, True)) and not any(isinstance(i, Rel) for i in (right if named[0] else left)):
        several = named[0] and len({_head(i).partition("_")[0] for i in left}) > 1
        several = several or (named[0] and len({_words(i) for i in left}) > 1)
        left, right = tuple(map(_value_of, left)), tuple(map(_value_of, right))
        if several:
            # a = 2, b = 3 in the gold: an answer without names lists the values in this order
            return in_order(left, right, context)
    elif named == (True, True) and _numbered(left, right):
        left, right = tuple(map(_value_of, left)), tuple(map(_value_of, right))
    return same_items(list(left), list(right), context)


def _is_sequence(items: tuple[Node, ...]) -> bool:
    """Return True for truth values, and for words or names with a repeat: True, False; red, blue, red.

    A set has no repeats, so each item answers a question of its own.
    """
    words = [item.words for item in items if isinstance(item, Text)]
    if len(items) < 2 or not (words or all(isinstance(item, Sym) for item in items)):
        return False
    return len(set(items)) < len(items) or (len(words) == len(items) and _TRUTH_VALUES.issuperset(words))


_TRUTH_VALUES = frozenset("true false yes no correct incorrect right wrong valid invalid".split())


def _other_joiner(gold: List, answer: List) -> bool:
    """Return True for p and q against p or q, and for names of things in a list against one of them."""
    items = (*gold.items, *answer.items)
    words = {gold.word, answer.word}
    if "or" in words and len(words) == 2 and all(map(_different_unknowns, (gold.items, answer.items))):
        return True
    if words == {"and", "or"}:
        return all(isinstance(item, (Sym, Text)) for item in items)
    return words == {"", "or"} and all(isinstance(item, Text) for item in items)


def _different_unknowns(items: tuple[Node, ...]) -> bool:
    """Return True for relations, each of another unknown: x = 1, y = 2."""
    heads = [item.terms[0].name for item in items if isinstance(item, Rel) and isinstance(item.terms[0], Sym)]
    return len(heads) == len(items) > 1 and len(set(heads)) == len(heads)


def _numbered(left: tuple[Node, ...], right: tuple[Node, ...]) -> bool:
    """Return True for x = 2, x = 3 and x_1 = 2, x_2 = 3: one unknown with several values, numbered or not."""
    one, two = ({_head(i) for i in items} for items in (left, right))
    bases = {name.partition("_")[0] for name in one | two}
    single = [next(iter(names)) for names in (one, two) if len(names) == 1]
    return len(bases) == 1 and "" not in bases and len(single) == 1 and single[0] in bases


def _head(item: Node) -> str:
    return item.terms[0].name if isinstance(item, Rel) and isinstance(item.terms[0], Sym) else ""


def _words(item: Node) -> str:
    return item.terms[0].words if isinstance(item, Rel) and isinstance(item.terms[0], Text) else ""


def _expand_assignments(items: tuple[Node, ...]) -> tuple[Node, ...]:
    """Expand "x = 1, 2, 3" to one assignment each, and drop a final condition such as "k in Z"."""
    first = items[0]
    if len(items) > 1 and isinstance(items[-1], Rel) and items[-1].ops == ("in",):
        head = items[-1].terms[0]
        others = items[:-1]
        if isinstance(head, Sym) and any(head.name in symbols(i) for i in others):
            items = others
    if len(items) > 1 and isinstance(first, Rel) and first.ops == ("=",) and is_name(first.terms[0]):
        rest = items[1:]
        if not any(isinstance(i, (Rel, Text)) for i in rest):
            head = first.terms[0]
            return (first, *(Rel((head, i), ("=",)) for i in rest))
    return items


def compare_piecewise(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    """Compare piecewise definitions case by case, in any order."""
    if not isinstance(gold, Piecewise) and not isinstance(answer, Piecewise):
        return NOT_APPLICABLE
    if isinstance(gold, Rel) or isinstance(answer, Rel):
        return NOT_APPLICABLE
    if not isinstance(gold, Piecewise) or not isinstance(answer, Piecewise):
        other = answer if isinstance(gold, Piecewise) else gold
        cases = gold if isinstance(gold, Piecewise) else answer
        assert isinstance(cases, Piecewise)
        joined = as_expression(cases) if isinstance(other, EXPRESSIONS) else None
        if joined is not None:
            return _joined_cases(joined, other, gold is cases, context)
        if any(isinstance(part, Call) and part.name in _BY_CASES for part in walk(other)):
            context.open_reason = "cases against an expression"
            return None
        return False
    if len(gold.cases) != len(answer.cases):
        return False
    gold, answer = completed(gold), completed(answer)
    same = same_items([_case(*case) for case in gold.cases], [_case(*case) for case in answer.cases], context)
    one, two = as_expression(gold), as_expression(answer)
    if same is not False or one is None or two is None or one[1] is None or two[1] is None:
        return same
    # x > 0 and x <= 0 against x >= 0 and x < 0: the values at the break decide
    (letter, end, value), (other_letter, other_end, other_value) = one[1], two[1]
    if (letter, end) != (other_letter, other_end) or context.judge(value, other_value) is not True:
        return same
    return context.judge(one[0], two[0])


def _joined_cases(
    joined: tuple[Node, tuple[str, Num, Node] | None], other: Node, is_gold: bool, context: ComparisonContext
) -> bool | None:
    """Compare cases that are one expression with another expression, and their values at the break."""
    expression, at_break = joined
    results = [context.judge(expression, other) if is_gold else context.judge(other, expression)]
    if at_break is not None and results[0] is not False:
        letter, end, value = at_break
        results.append(context.judge(substitute(other, {letter: end}), value))
    if False in results:
        return False
    return None if None in results else True


EXPRESSIONS = (Add, Call, Div, Mul, Neg, Num, Pow, Sym)
_BY_CASES = frozenset(("abs", "max", "min", "sign", "floor", "ceil"))


def _case(value: Node, condition: Node | None) -> Node:
    return Tuple((value, Text("otherwise") if condition is None else condition))
