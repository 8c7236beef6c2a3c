"""Comparison of statements: inequalities and sets of reals, equations, assignments, chains."""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from collections.abc import Callable

from deepcompress_verify.compare import units
from deepcompress_verify.compare.collections import coordinates
from deepcompress_verify.compare.context import NOT_APPLICABLE, ComparisonContext, InconclusiveError, NotApplicable
from deepcompress_verify.compare.families import same_constants
from deepcompress_verify.compare.forms import canon, symbols
from deepcompress_verify.compare.integer_families import class_members, satisfies_congruence
from deepcompress_verify.compare.items import COLLECTIONS, distinct, in_order, same_items, tuples_equal
from deepcompress_verify.compare.regions import Regions, is_region
from deepcompress_verify.compare.relations import (
    EqualityChain,
    argument_is_taken,
    difference_of_sides,
    has_unknowns,
    is_congruence,
    is_symbolic_term,
    read_chain,
    rename_arguments,
    same_congruence,
    same_equation,
    same_names,
    solved_by,
)
from deepcompress_verify.compare.rounding import within_rounding
from deepcompress_verify.reader.words import COUNTS, DIRECTIONS, NUMBERS, SAME_DIRECTIONS, VALUES, is_variable
from deepcompress_verify.tree import (
    Apply,
    BigOp,
    Const,
    List,
    Matrix,
    Neg,
    Node,
    Num,
    Quantity,
    Ratio,
    Rel,
    Set,
    SetBuilder,
    SetOp,
    Sym,
    Text,
    Tuple,
)

_COORDINATES = frozenset("xyz")
_DENYING = frozenset(
    "not no never wrong incorrect non isnt isn't if unless except maybe perhaps possibly probably guess suppose "
    "assume assuming supposing let say previously".split()
)
_LETTERS = frozenset("ABCDEFGHIJ")

_SYMMETRIC = frozenset("= == ~ <=> sim perp parallel not== not~ not<=> notparallel notsim notperp".split())
"""Relations that mean the same from right to left; an arrow does not."""
_REVERSED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "!=": "!="}


def compare_regions(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    """Compare inequalities, intervals and unions, if at least one side is certainly a region."""
    if not is_region(gold) and not is_region(answer):
        return NOT_APPLICABLE
    if isinstance(gold, Tuple) and isinstance(answer, Tuple):
        return NOT_APPLICABLE
    listed = _listed(gold), _listed(answer)
    if listed != (gold, answer):
        return context.judge(*listed)
    reader = Regions(context)
    try:
        left = reader.normal(reader.read(gold))
        variable, reader.variable = reader.variable, None
        unsolved, reader.unsolved = reader.unsolved, False
        right = reader.normal(reader.read(answer))
        named = variable is not None and reader.variable is not None
        if named and variable != reader.variable:
            context.record("region", f"{variable} is not {reader.variable}")
            return False
        same = reader.same(left, right)
        if same and reader.unsolved and not unsolved:
            # x^2 < 4 for (-2, 2) may repeat the problem
            context.open_reason = "an inequality that is not solved"
            return None
        context.record("region", "the same set of reals" if same else "different sets of reals")
        return same
    except InconclusiveError:
        pass
    return _other_regions(gold, answer, context)


def _listed(node: Node) -> Node:
    """Return a union of listed sets with letters as one set: {a} and {b} are {a, b}."""
    if not isinstance(node, SetOp) or node.op != "union" or not symbols(node):
        return node
    items = [item for part in node.args if isinstance(part, Set) for item in part.items]
    known = all(isinstance(part, Set) for part in node.args) and Sym("...") not in items
    return Set(tuple(distinct(items))) if known else node


def _other_regions(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    """Compare regions with parameters, or of the plane."""
    gold, answer = _without_repeats(_membership(gold)), _without_repeats(_membership(answer))
    if gold == answer:
        context.record("structure", "the same sets")
        return True
    if isinstance(gold, SetOp) and isinstance(answer, SetOp):
        if gold.op != answer.op or len(gold.args) != len(answer.args):
            return False
        if gold.op == "minus":
            return in_order(gold.args, answer.args, context)
        return same_items(list(gold.args), list(answer.args), context)
    if isinstance(gold, SetBuilder) and isinstance(answer, SetBuilder):
        return in_order((gold.element, gold.condition), (answer.element, answer.condition), context)
    if isinstance(gold, Rel) and isinstance(answer, Rel):
        return _inequalities(gold, answer, context)
    if isinstance(gold, List) or isinstance(answer, List):
        return NOT_APPLICABLE
    left, right = _symbolic_interval(gold), _symbolic_interval(answer)
    if left is not None and right is not None:
        return tuples_equal(left, right, context)
    if type(gold) is type(answer):
        return NOT_APPLICABLE
    if any(isinstance(node, SetBuilder) for node in (gold, answer)) and all(
        isinstance(node, (SetBuilder, SetOp, Rel, Set, Tuple)) for node in (gold, answer)
    ):
        context.open_reason = "a set given by a condition that is not understood"
        return None
    return False


def _symbolic_interval(node: Node) -> Tuple | None:
    """Return a < x < b and x < a as intervals, for ends that are not numbers."""
    if isinstance(node, Tuple):
        return node
    if not isinstance(node, Rel) or any(op not in _REVERSED or op == "!=" for op in node.ops):
        return None
    if len(node.terms) == 3 and isinstance(node.terms[1], (Sym, Apply)) and node.ops[0][0] == node.ops[1][0]:
        low, _, high = node.terms
        left, right = node.ops
        if left[0] == ">":
            low, high, left, right = high, low, right, left
        return Tuple((low, high), "[" if "=" in left else "(", "]" if "=" in right else ")")
    if len(node.terms) == 2 and isinstance(node.terms[0], Sym):
        closed = "=" in node.ops[0]
        if node.ops[0][0] == "<":
            return Tuple((Neg(Const("oo")), node.terms[1]), "(", "]" if closed else ")")
        return Tuple((node.terms[1], Const("oo")), "[" if closed else "(", ")")
    return None


def _without_repeats(node: Node) -> Node:
    """Return a union or an intersection without repeated parts: the union of A, B and B is that of A and B."""
    if not isinstance(node, SetOp) or node.op == "minus":
        return node
    parts = distinct(list(node.args))
    return parts[0] if len(parts) == 1 else SetOp(node.op, tuple(parts))


def _membership(node: Node) -> Node:
    return node.terms[1] if isinstance(node, Rel) and node.ops == ("in",) else node


def _inequalities(gold: Rel, answer: Rel, context: ComparisonContext) -> bool | None:
    """Compare chains term by term in either direction; two-term inequalities up to a positive factor."""
    if len(gold.terms) != len(answer.terms):
        return False
    turned = Rel(
        tuple(reversed(answer.terms)), tuple(_REVERSED.get(op, op) for op in reversed(answer.ops)), answer.modulus
    )
    turnable = all(op in _REVERSED or op in _SYMMETRIC for op in answer.ops)
    for other in (answer, turned) if turnable else (answer,):
        if gold.ops == other.ops and in_order(gold.terms, other.terms, context):
            return True
    if len(gold.terms) == 2 and gold.ops[0] in _REVERSED:
        for other in (answer, turned):
            if gold.ops == other.ops:
                return same_equation(
                    difference_of_sides(gold), difference_of_sides(other), context, positive=gold.ops[0] != "!="
                )
    return False


def compare_relations(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    """Compare equations, assignments, chains and congruences, also with a bare value."""
    if not isinstance(gold, Rel) and not isinstance(answer, Rel):
        return NOT_APPLICABLE
    if isinstance(gold, List) or isinstance(answer, List):
        return NOT_APPLICABLE
    left = read_chain(gold, context) if isinstance(gold, Rel) else None
    right = read_chain(answer, context) if isinstance(answer, Rel) else None
    for reading, other in ((left, answer), (right, gold)):
        if reading is not None and isinstance(other, Sym) and _is_choice_relation(other, reading):
            context.record("relation", "a relation between choices is no choice")
            return False
    for side in (left, right):
        if side is not None and any(
            isinstance(n, Text) and not _DENYING.isdisjoint(n.words.split()) for n in side.names
        ):
            context.record("relation", "a name that denies the value")
            return False
        if side is not None and side.contradicts:
            context.record("relation", "a chain whose members differ says nothing")
            return False
    if _other_direction(left, answer) or _other_direction(right, gold):
        context.record("relation", "a name that is another direction")
        return False
    if left is not None and isinstance(answer, Quantity) and _counts_values(left, answer.unit):
        context.record("relation", "a variable and a number of its values")
        return False
    result = _compare_chains(gold, answer, left, right, context)
    if result and any(side is not None and side.open for side in (left, right)):
        context.open_reason = "a chain with a member that no exact tier can work out"
        return None
    return result


def _counts_values(gold: EqualityChain, unit: str) -> bool:
    """Return True for "2 solutions" against x = 2: a number of values is no value of the variable."""
    if not unit.startswith("?") or len(gold.names) != 1:
        return False
    name = gold.names[0]
    letter = name.name.partition("_")[0] if isinstance(name, (Sym, Apply)) else ""
    noun = unit.split()[-1].lstrip("?")
    return is_variable(letter) and (noun in VALUES or (noun in NUMBERS and letter not in COUNTS))


def _other_direction(side: EqualityChain | None, other: Node) -> bool:
    """Return True for "Loss: 20%" against 20% profit."""
    if side is None or not any(isinstance(name, Text) for name in side.names):
        return False
    words = {w for name in side.names if isinstance(name, Text) for w in name.words.split() if w in DIRECTIONS}
    marks = {word[1:] for word in units.split(other)[1].split() if word.startswith("!")}
    return bool(words and marks) and {SAME_DIRECTIONS.get(word, word) for word in words} != marks


def _compare_chains(
    gold: Node, answer: Node, left: EqualityChain | None, right: EqualityChain | None, context: ComparisonContext
) -> bool | None:
    if isinstance(gold, Rel) and isinstance(answer, Rel):
        return _two_relations(gold, answer, left, right, context)
    if isinstance(gold, Rel):
        result = _relation_and_value(gold, left, answer, context, lambda value: context.judge(value, answer), True)
    else:
        assert isinstance(answer, Rel)
        result = _relation_and_value(answer, right, gold, context, lambda value: context.judge(gold, value), False)
    if not result and left is not None and left.approximation is not None:
        return _approximately(left.approximation, answer, context) or result
    return result


def _is_choice_relation(choice: Sym, reading: EqualityChain) -> bool:
    """Return True for A = B if the other side is the choice B."""
    if not isinstance(reading.value, Sym) or len(choice.name) != 1:
        return False
    return {choice.name, reading.value.name} <= _LETTERS and any(
        isinstance(name, Sym) and _LETTERS.issuperset(name.name) for name in reading.names
    )


def _approximately(approximation: Node, answer: Node, context: ComparisonContext) -> bool:
    """Accept an answer that rounds to the approximation given in the gold."""
    number, negative = (approximation.arg, True) if isinstance(approximation, Neg) else (approximation, False)
    if not isinstance(number, Num) or isinstance(answer, (*COLLECTIONS, Text, Rel)):
        return False
    value, _ = units.split(answer)
    size = value.arg if isinstance(value, Neg) else value
    if not isinstance(size, Num):
        return False  # an exact value that is not the gold's
    same = negative == isinstance(value, Neg) and (size.p, size.q) == (number.p, number.q)
    rounded = same or within_rounding(approximation, value, context, least_decimals=1)
    if rounded:
        context.record("rounding", "it rounds to the approximation in the gold")
    return rounded


def _two_relations(
    gold: Rel, answer: Rel, left: EqualityChain | None, right: EqualityChain | None, context: ComparisonContext
) -> bool | None:
    if gold.modulus is not None or answer.modulus is not None:
        for relation, reading in ((gold, right), (answer, left)):
            matches = _compare_congruence_class(relation, None if reading is None else reading.value, context)
            if matches is not None:
                return matches
        return same_congruence(gold, answer, context)
    if left is not None and right is not None:
        if (left.identity != right.identity) or (not left.names and not right.names and left.value is None):
            context.record("relation", "one names a variable and the other does not")
            return False
        if left.value is None or right.value is None:
            if left.value is right.value:
                return {canon(n) for n in left.names} == {canon(n) for n in right.names}
        elif same_names(left.names, right.names) or not left.names or not right.names:
            if argument_is_taken(right.names, right.value, left.names) or argument_is_taken(
                left.names, left.value, right.names
            ):
                context.record("relation", "the argument of one is another letter in the other")
                return False
            value = rename_arguments(right.names, right.value, left.names)
            result = context.judge(left.value, value)
            if result is False and all(map(_is_function, (left.names, right.names))):
                return same_constants(left.value, value, context, named=True)
            return result
        elif (gathered := _as_tuples(left, right)) is not None:
            return context.judge(*gathered)
        elif any(isinstance(n, (Tuple, Text, Apply)) for n in (*left.names, *right.names)) or _are_independent(
            left, right
        ):
            context.record("relation", "they use different names")
            return False
    if gold.ops == answer.ops == ("=",):
        if _is_expression(gold) and _is_expression(answer):
            return same_equation(difference_of_sides(gold), difference_of_sides(answer), context)
        return in_order(gold.terms, answer.terms, context)
    return _inequalities(gold, answer, context)


def _is_function(names: tuple[Node, ...]) -> bool:
    """Return True for y and f(x), which name a function."""
    return len(names) == 1 and (isinstance(names[0], Apply) or names[0] in (Sym("y"), Sym("Y")))


def _compare_congruence_class(relation: Rel, value: Node | None, context: ComparisonContext) -> bool | None:
    """Compare x = 7k + 3 with a congruence; None if the two have other forms."""
    if not is_congruence(relation):
        return None
    if isinstance(value, (Set, List)):
        members = class_members(value)
        if members is None:
            return None
        step, first = members
        given = Rel((*relation.terms[:-1], Num(first)), relation.ops, Num(step))
        return same_congruence(relation, given, context)
    if value is None or isinstance(value, (*COLLECTIONS, Rel, Text)):
        return None
    matches = satisfies_congruence(relation, value, context)
    if matches is not None:
        context.record("relation", "the same class" if matches else "different classes")
    return matches


def _as_tuples(left: EqualityChain, right: EqualityChain) -> tuple[Node, Node] | None:
    """Return (a, b) = (1, 1) and a = b = 1 as tuples; None unless both have the same names in the same order."""
    assert left.value is not None and right.value is not None
    result: list[Node] = []
    names: list[tuple[Node, ...]] = []
    for side in (left, right):
        assert side.value is not None
        if len(side.names) == 1 and isinstance(side.names[0], Tuple):
            names.append(side.names[0].items)
            result.append(side.value)
        else:
            names.append(side.names)
            result.append(Tuple((side.value,) * len(side.names)))
    return (result[0], result[1]) if len(names[0]) > 1 and names[0] == names[1] else None


def _are_independent(left: EqualityChain, right: EqualityChain) -> bool:
    """Return True for assignments to different variables that do not occur in the other's value."""
    gold_names, other = ({n.name for n in side.names if isinstance(n, Sym)} for side in (left, right))
    assert left.value is not None and right.value is not None
    return gold_names.isdisjoint(symbols(right.value)) and other.isdisjoint(symbols(left.value))


def _is_expression(node: Rel) -> bool:
    return not any(isinstance(t, (*COLLECTIONS, Text, SetOp, Ratio)) for t in node.terms)


def _relation_and_value(
    relation: Rel,
    reading: EqualityChain | None,
    other: Node,
    context: ComparisonContext,
    compare: Callable[[Node], bool | None],
    gold_side: bool,
) -> bool | None:
    """Compare a relation with a value, through the value of the relation. A gold x + y = 7 is a line, not 7."""
    if relation.modulus is not None:
        if not is_congruence(relation) or len(relation.ops) > 1:
            context.record("relation", "no congruence with one residue, and a value")
            return False
        matches = _compare_congruence_class(relation, other, context)
        if matches is not None:
            return matches
        if (
            not gold_side
            and isinstance(other, Num)
            and isinstance(relation.modulus, Num)
            and other.p >= relation.modulus.p
        ):
            context.record("relation", "a class of residues, and a number that is no residue")
            return False
        if not gold_side and isinstance(other, Num) and symbols(relation.modulus):
            context.record("relation", "a class of an unknown modulus, and a number")
            return False
        return compare(relation.terms[-1]) if len(relation.terms) == 2 else compare(relation.terms[0])
    if relation.ops == ("in",):
        return compare(relation.terms[1])
    if reading is not None and reading.value is not None:
        several = len(reading.names) > 1 and not isinstance(reading.value, COLLECTIONS)
        if isinstance(other, Tuple) and several and len(other.items) == len(reading.names):
            # x = y = z = 1 is (1, 1, 1)
            return compare(Tuple((reading.value,) * len(reading.names)))
        result = compare(reading.value if gold_side else coordinates(reading) or reading.value)
        if result is not False or not reading.names:
            return result
    if reading is None and (identity := _value_of_identity(relation, context)) is not None:
        value, is_open = identity
        result = compare(value)
        if result and is_open:
            context.open_reason = "a chain with a member that no exact tier can work out"
        return None if result and is_open else result
    if reading is None and relation.ops == ("=",) and _is_expression(relation) and symbols(other):
        if isinstance(other, (*COLLECTIONS, Text)):
            return False
        context.record("relation", "an equation solved for its last variable")
        return solved_by(relation, other, context)
    if (
        reading is None
        and relation.ops == ("=",)
        and is_symbolic_term(relation.terms[0])
        and not has_unknowns(relation.terms[1])
    ) and (not gold_side or not symbols(relation.terms[0]) or not symbols(relation.terms[0]) <= _COORDINATES):
        return compare(relation.terms[1])
    if reading is None or reading.value is None:
        context.record("relation", "a relation and a value are different things")
    return False


def _value_of_identity(relation: Rel, context: ComparisonContext) -> tuple[Node, bool] | None:
    """Return the last member of equal formulas of the same letters, (x+1)^2 = x^2 + 2x + 1; None for anything else.

    The second value is True if nothing refutes the first member, a sum, limit or integral, but nothing proves it.
    """
    first, *others = relation.terms
    letters = symbols(first)
    if not letters or not {"=", "=="}.issuperset(relation.ops):
        return None
    head = Num(0) if isinstance(first, Matrix) and first.kind == "det" else first
    if not _is_expression(Rel((head, *others), relation.ops)) or any(symbols(term) != letters for term in others):
        return None
    outcomes = [context.judge(others[-1], term) for term in (first, *others[:-1])]
    if False in outcomes or None in outcomes[1:] or (outcomes[0] is None and not isinstance(first, BigOp)):
        return None
    return others[-1], outcomes[0] is None and context.oracle is None
