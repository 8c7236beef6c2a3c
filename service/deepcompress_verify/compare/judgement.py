"""The rules of comparison of complete answers. docs/judgement.md describes them with examples.

`judge` returns True, False or None (open). It is symmetric, except for rules that mention the gold.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from collections.abc import Callable
from itertools import product

from deepcompress_verify.compare import units
from deepcompress_verify.compare.collections import compare_collections, compare_piecewise, evaluate_matrices
from deepcompress_verify.compare.context import NOT_APPLICABLE, ComparisonContext, InconclusiveError, NotApplicable
from deepcompress_verify.compare.families import (
    CONSTANTS,
    as_family,
    compare_bound_letters,
    root_of_square,
    same_constants,
    same_family,
)
from deepcompress_verify.compare.forms import has, rename, rewrite, symbols
from deepcompress_verify.compare.fractional import compare_braces
from deepcompress_verify.compare.integer_families import same_integer_family, same_renamed_family
from deepcompress_verify.compare.integer_sets import compare_integers
from deepcompress_verify.compare.items import COLLECTIONS, distinct, has_no_value, same_items
from deepcompress_verify.compare.logic import compare_denials
from deepcompress_verify.compare.ranges import PARITIES, narrows, other_declaration, stated_range, with_letter_of
from deepcompress_verify.compare.ratios_and_times import compare_numerals, compare_ratios
from deepcompress_verify.compare.regions import is_region
from deepcompress_verify.compare.relations import has_omission, is_sum_with_dots
from deepcompress_verify.compare.rounding import MANY_DIGITS, same_digits, within_rounding
from deepcompress_verify.compare.scalars import equal
from deepcompress_verify.compare.statements import compare_regions, compare_relations
from deepcompress_verify.compare.text import equal_text, name_of_triangle, same_integers
from deepcompress_verify.hedges import HEDGES
from deepcompress_verify.reader.words import DENIALS, QUALIFIERS
from deepcompress_verify.tree import (
    Add,
    Apply,
    Based,
    BigOp,
    Call,
    Choice,
    Const,
    Div,
    List,
    Mul,
    Neg,
    Node,
    Num,
    PlusMinus,
    Pow,
    Qualified,
    Quantity,
    Rel,
    Set,
    SetBuilder,
    SetOp,
    Sym,
    Text,
    Tuple,
    walk,
)

MAX_EXPANSION = 64

_NO_PARAMETERS = frozenset("azNZQRC")
_REASONS = frozenset(("because", "since"))
"""Words that begin a reason, which is read as a remark."""
_CASES = frozenset("if when whenever assuming provided given".split())
_UNDROPPABLE = (
    frozenset("or not but except nor either neither unless otherwise else probability chance odds $$".split())
    | HEDGES - _CASES
)


def judge(gold: Node, answer: Node, context: ComparisonContext) -> bool | None:
    """Compare an answer with a gold: True, False, or None if the result is open."""
    context.charge(1)
    if type(gold) is Num and type(answer) is Num:
        return _numbers(gold, answer, context)
    if gold == answer or context.canon(gold) == context.canon(answer):
        if has_no_value(gold):
            context.record("rational", "the expression has no value")
            return False
        context.record("structure", "read as the same expression")
        return True
    if {type(gold), type(answer)} == {Sym, Const} and getattr(gold, "name", "") == getattr(answer, "name", ""):
        # R and \\mathbb{R}
        return True
    if type(gold) is Sym and type(answer) is Sym and name_of_triangle(gold) == name_of_triangle(answer):
        context.record("structure", "the same triangle")
        return True
    if type(gold) is Sym and type(answer) is Sym and same_integers(gold, answer):
        context.record("text", "the same integers")
        return True
    for rule in _RULES:
        result = rule(gold, answer, context)
        if not isinstance(result, NotApplicable):
            return result
    return _scalars(gold, answer, context)


def _sets_of_integers(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    """Compare sets of integers in words with those in symbols: all positive integers, n >= 1 with n in Z."""
    words, other = (gold, answer) if isinstance(gold, Text) else (answer, gold)
    if not isinstance(words, Text) or not words.words.endswith("integers") or isinstance(other, Text):
        return NOT_APPLICABLE
    if not equal_text(gold, answer):
        return NOT_APPLICABLE
    context.record("text", "the same integers")
    return True


def _families(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    """Compare {(t, t+1) : t in Z} with (k, k+1), k in Z."""
    if isinstance(gold, SetBuilder) == isinstance(answer, SetBuilder):
        return NOT_APPLICABLE
    left, right = as_family(gold), as_family(answer)
    if (left is gold and right is answer) or not (isinstance(left, Qualified) and isinstance(right, Qualified)):
        return NOT_APPLICABLE
    return context.judge(left, right)


def _qualified(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    if not isinstance(gold, Qualified) and not isinstance(answer, Qualified):
        return NOT_APPLICABLE
    if _sets_of_integers(gold, answer, context) is True:
        return True
    answer = with_letter_of(gold, answer)
    one_sided = not (isinstance(gold, Qualified) and isinstance(answer, Qualified))
    for node in (gold, answer):
        if isinstance(node, Qualified) and not _droppable(node.condition, one_sided):
            context.record("text", "a condition that may change the value")
            return False
    for node, other in ((gold, answer), (answer, gold)):
        if isinstance(node, Qualified) and not isinstance(other, Qualified):
            if _restricts(node, other):
                context.record("text", "a condition on a letter of which the value is no function")
                return False
            if _claims(node):
                context.record("text", "another statement beside the value")
                return False
            if node is answer and narrows(gold, node, context):
                context.record("text", "a formula for fewer values than that of the gold")
                return False
    if other_declaration(gold, answer):
        context.record("text", "letters from different sets")
        return False
    left, right = _parameter(gold), _parameter(answer)
    before = after = ""
    if isinstance(gold, Qualified):
        before = gold.condition
        gold = gold.value
    if isinstance(answer, Qualified):
        after = answer.condition
        answer = answer.value
    if left is not None and right is not None and left != right:
        if left[1] != right[1]:
            context.record("text", "parameters from different sets")
            return False
        if left[0] not in symbols(answer):
            answer = rename(answer, {right[0]: left[0]})
    if before and after and _domains_differ(before, after, left, right, context):
        context.record("text", "formulas for different ranges")
        return False
    result = context.judge(gold, answer)
    if result is False and left is not None and right is not None and left[1] == "Z":
        value, other = _of_assignment(gold), _of_assignment(answer)
        if same_integer_family(value, other, left[0], context):
            context.record("points", "the same values as the parameter runs through all integers")
            return True
    return result


def _restricts(node: Qualified, other: Node) -> bool:
    """Return True for 42 for x = 43: an equation or inequality of a letter that neither side has."""
    if not any(sign in node.condition for sign in "=<>"):
        return False
    letters = {word for word in node.condition.split() if len(word) == 1 and word.isalpha()}
    return bool(letters) and letters.isdisjoint(symbols(node.value) | symbols(other))


def _claims(node: Qualified) -> bool:
    """Return True for a relation that is no range of a formula: 42 (≈ 43), x < 2 (x < 3), x^2 + y^2 = 4 for y > 0."""
    words = node.condition.split()
    value = node.value
    introduced = words[0] in QUALIFIERS
    if "~" in words or (not introduced and isinstance(value, Rel) and value.ops != ("=",) and not _declares(words)):
        return True
    if _RELATIONS.isdisjoint(words) and not any(sign in node.condition for sign in "<>"):
        return False
    equates = "=" in words or ("==" in words and "mod" not in node.condition)
    if equates and not any(mark in node.condition for mark in (",", "...", "ldots")):
        return True  # x^2 for x = 3
    if isinstance(value, Rel):
        curve = value.ops == ("=",) and (len(symbols(value)) > 1 or not isinstance(value.terms[0], Sym))
        if curve and len(words) == 3 and words[1] == "!=":
            return False  # a curve without a point
        return value.ops != ("=",) or not isinstance(value.terms[0], (Sym, Apply))
    return isinstance(value, (List, Set, SetBuilder, SetOp)) and not introduced


def _declares(words: list[str]) -> bool:
    """Return True for a parameter and its set: k in Z."""
    return len(words) == 3 and words[1] == "in" and words[2] in _NO_PARAMETERS


_RELATIONS = frozenset(("=", "!=", "<", "<=", ">", ">=", "=="))


def _of_assignment(node: Node) -> Node:
    """Return the right side of an assignment: x = pi/4 + k pi."""
    return node.terms[1] if isinstance(node, Rel) and node.ops == ("=",) and isinstance(node.terms[0], Sym) else node


def _droppable(condition: str, one_sided: bool) -> bool:
    """Return True if a condition may be omitted: no alternatives, no cases, and no further value."""
    words = condition.split()
    if (
        not _UNDROPPABLE.isdisjoint(words)
        or not DENIALS.isdisjoint(words)
        or (one_sided and words[0] in _REASONS)
        or (one_sided and not _CASES.isdisjoint(words))
    ):
        return False
    later = condition.replace(";", ",").split(",")[1:]
    return all(piece.split()[0].isalpha() and " for " not in piece for piece in later if piece.strip())


def _domains_differ(
    gold: str, answer: str, left: tuple[str, str] | None, right: tuple[str, str] | None, context: ComparisonContext
) -> bool:
    """Return True if both conditions state a range of the variable, and the ranges differ."""
    if not PARITIES.isdisjoint({*answer.split()} ^ {*gold.split()}):
        return True  # for odd k
    one, two = stated_range(gold), stated_range(answer)
    if one is not None and two is not None:
        return context.judge(one, two) is False
    declared = right if two is None else left
    return (one is None) != (two is None) and declared is not None and declared[1] == "Z"


def _parameter(node: Node) -> tuple[str, str] | None:
    """Return (name, set) of the parameter that a condition declares: "k in Z", "where k is an integer"."""
    if not isinstance(node, Qualified):
        return None
    words = node.condition.split()
    letters = {w for w in words if len(w) == 1 and w.isalpha()} - _NO_PARAMETERS
    if len(letters) != 1:
        return None
    (name,) = letters
    known = frozenset(words)
    if not known.isdisjoint(("natural", "positive", "nonnegative")) or words[-1] == "N":
        return name, "N"
    if not known.isdisjoint(("integer", "integers", "Z", "z")):
        return name, "Z"
    return None


def _choices(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    if not isinstance(gold, Choice) and not isinstance(answer, Choice):
        return NOT_APPLICABLE
    if isinstance(gold, Choice) and isinstance(answer, Choice):
        context.record("choice", f"choice {gold.letter} and choice {answer.letter}")
        if gold.letter != answer.letter:
            return False
        return True if gold.content is None or answer.content is None else context.judge(gold.content, answer.content)
    choice, other = (gold, answer) if isinstance(gold, Choice) else (answer, gold)
    assert isinstance(choice, Choice)
    if isinstance(other, Sym):
        context.record("choice", f"choice {choice.letter}")
        return other.name == choice.letter
    if choice.content is None:
        return False
    return context.judge(choice.content, answer) if choice is gold else context.judge(gold, choice.content)


def _plus_minus(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    if PlusMinus not in context.facts(gold).kinds and PlusMinus not in context.facts(answer).kinds:
        return NOT_APPLICABLE
    if units.other_tolerance(gold, answer):
        context.record("unit", "a tolerance in percent is relative")
        return False
    if (root := root_of_square(gold, answer)) is not None:
        return context.judge(gold, root)
    excluded = tuple(_excluded(node) for node in (gold, answer))
    if excluded != (gold, answer):
        return context.judge(*excluded)
    for independent in (True, False):
        try:
            left, right = _expand(gold, independent), _expand(answer, independent)
        except InconclusiveError:
            return None
        result = same_items(distinct(left), distinct(right), context)
        if result:
            return True
        if not (_tuples(gold) or _tuples(answer)):
            return result
    return result


def _excluded(node: Node) -> Node:
    """Rewrite an exclusion of two values: x ≠ ±1 excludes both."""
    if isinstance(node, SetBuilder):
        condition = _excluded(node.condition)
        return node if condition is node.condition else SetBuilder(node.element, condition)
    if not isinstance(node, Rel) or node.ops != ("!=",) or not has(node.terms[1], PlusMinus):
        return node
    return List(tuple(Rel((node.terms[0], _choose(node.terms[1], upper)), ("!=",)) for upper in (True, False)), "and")


def _tuples(node: Node) -> bool:
    return has(node, Tuple)


def _expand(node: Node, independent: bool) -> list[Node]:
    """Return all values of a tree with plus-minus signs.

    All signs of one expression are equal; with `independent`, the items of a tuple have independent signs.
    """
    if isinstance(node, (List, Set)):
        result = []
        for item in node.items:
            result += _expand(item, independent)
            if len(result) > MAX_EXPANSION:
                raise InconclusiveError
    elif not has(node, PlusMinus):
        return [node]
    elif isinstance(node, Tuple) and independent:
        options: list[list[Node]] = []
        size = 1
        for item in node.items:
            options.append(_expand(item, True))
            size *= len(options[-1])
            if size > MAX_EXPANSION:
                raise InconclusiveError
        result = [Tuple(items, node.left, node.right) for items in product(*options)]
    elif isinstance(node, Rel) and len(node.terms) == 2:
        heads, values = (_expand(t, independent) for t in node.terms)
        result = [Rel((h, v), node.ops, node.modulus) for h in heads for v in values]
    else:
        result = [_choose(node, upper) for upper in (True, False)]
    if len(result) > MAX_EXPANSION:
        raise InconclusiveError
    return result


def _choose(node: Node, upper: bool) -> Node:
    def change(part: Node) -> Node | None:
        if not isinstance(part, PlusMinus):
            return None
        right = part.right if upper != part.flipped else Neg(part.right)
        return right if part.left is None else Add((part.left, right))

    return rewrite(node, change)


def _named_text(node: Node) -> Node:
    """Return the text of D = 2024-03-05 beside a text."""
    named = isinstance(node, Rel) and node.ops == ("=",) and isinstance(node.terms[0], Sym)
    return node.terms[1] if named and isinstance(node.terms[1], Text) else node  # type: ignore[union-attr]


def _texts(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    if not (isinstance(gold, Rel) and isinstance(answer, Rel)):
        gold, answer = _named_text(gold), _named_text(answer)
    gold_words, answer_words = isinstance(gold, Text), isinstance(answer, Text)
    if not gold_words and not answer_words:
        return NOT_APPLICABLE
    if equal_text(gold, answer):
        context.record("text", "the same words")
        return True
    if is_region(gold) and is_region(answer):
        return NOT_APPLICABLE
    context.record("text", "other words")
    return False


def _omissions(gold: Node, answer: Node, context: ComparisonContext) -> bool | NotApplicable | None:
    """Leave formulas with an ellipsis, or with a derivative, an integral or a limit that is not evaluated, open."""
    if (
        BigOp in context.facts(answer).kinds
        and not isinstance(answer, Rel)
        and not _unevaluated(answer) <= _unevaluated(gold)
    ):
        context.open_reason = "an integral, a limit or an infinite sum that is not evaluated"
        return None
    names = context.facts(gold).names | context.facts(answer).names
    if all(name[:1] not in _OMISSION_PREFIXES for name in names):
        return NOT_APPLICABLE
    two_sums = isinstance(gold, Rel) and isinstance(answer, Rel) and any(map(is_sum_with_dots, gold.terms))
    if not (two_sums or has_omission(gold) or has_omission(answer)):
        return NOT_APPLICABLE
    context.open_reason = "a formula with dots or a derivative sign"
    return None


_OMISSION_PREFIXES = (".", "d")


def _unevaluated(node: Node) -> frozenset[str]:
    """Return which of "int", "lim" and "series" a tree holds; a series is a sum or product to infinity."""
    found: set[str] = set()
    for part in walk(node):
        if isinstance(part, BigOp):
            endless = part.kind in ("sum", "prod") and Const("oo") in (part.low, part.high)
            found.add("series" if endless else part.kind)
    return frozenset(found) & {"int", "lim", "series"}


def _numbers(gold: Num, answer: Num, context: ComparisonContext) -> bool:
    """Compare two plain numbers: the most frequent comparison inside lists and tuples."""
    if gold.p == answer.p and gold.q == answer.q:
        context.record("rational", "equal as exact numbers")
        return True
    if _rounded(gold, answer, context):
        return True
    context.record("rational", "different as exact numbers")
    return False


def _rounded(gold: Node, answer: Node, context: ComparisonContext) -> bool:
    """Return True if one is a decimal that denotes the other."""
    if within_rounding(gold, answer, context):
        context.record("rounding", "it rounds to the decimal of the gold")
        return True
    if same_digits(gold, answer, context):
        context.record("rounding", f"the same to {MANY_DIGITS} digits or more")
        return True
    return False


def _of_sets(gold: Node, answer: Node) -> tuple[Node, Node] | None:
    """Return the sets of which both sides are the size or the probability; None for anything else."""
    if not isinstance(gold, (Call, Apply)) or not isinstance(answer, (Call, Apply)) or gold.name != answer.name:
        return None
    if len(gold.args) != 1 or len(answer.args) != 1 or gold.name not in ("abs", "P", "Pr"):
        return None
    one, two = gold.args[0], answer.args[0]
    return (one, two) if isinstance(one, SetOp) and isinstance(two, SetOp) else None


def _scalars(gold: Node, answer: Node, context: ComparisonContext) -> bool | None:
    """Compare numbers and expressions, with the rules for units, percent, degrees and rounding."""
    for node in (gold, answer):
        if isinstance(node, (Text, Rel, SetOp, SetBuilder, *COLLECTIONS)):
            return False
    if (sets := _of_sets(gold, answer)) is not None:
        return context.judge(*sets)  # |A n B| and |B n A|; other sets may have the same size, which is not known
    if not _SCALAR.issuperset(context.facts(gold).kinds | context.facts(answer).kinds):
        context.record("structure", "a collection inside a formula")
        return False
    candidates = units.pairs(gold, answer)
    if candidates is None:
        context.record("unit", "the units exclude each other")
        return False
    open_ = False
    for left, right in candidates:
        if isinstance(left, (*COLLECTIONS, Rel, Text)) or isinstance(right, (*COLLECTIONS, Rel, Text)):
            result = context.judge(left, right)
        else:
            result = equal(left, right, context)
        if result:
            return True
        open_ = open_ or result is None
    left, right = candidates[0]
    names = context.facts(gold).names
    if not open_ and not names.isdisjoint(CONSTANTS) and same_constants(left, right, context):
        context.record("points", "the same family, whose constants have other names")
        return True
    if same_family(left, right, context):
        context.record("points", "they differ by a constant, which C takes up")
        return True
    if any(_rounded(left, right, context) for left, right in candidates):
        return True
    if (
        not open_
        and names
        and names.isdisjoint(context.facts(answer).names)
        and same_renamed_family(gold, answer, context)
    ):
        context.record("points", "the same family, whose parameter has another letter")
        return True
    return None if open_ else False


_SCALAR = frozenset((Num, Const, Sym, Add, Neg, Mul, Div, Pow, Call, Apply, BigOp, Based, Quantity))
"""Node types of an expression: numbers, variables and functions of them."""

Rule = Callable[[Node, Node, ComparisonContext], "bool | NotApplicable | None"]
_RULES: tuple[Rule, ...] = (
    compare_denials, compare_integers, compare_bound_letters, _families, _qualified, _choices, _plus_minus, _texts,
    _omissions, compare_piecewise, compare_braces, compare_regions, compare_relations, evaluate_matrices,
    compare_collections, compare_ratios, compare_numerals,
)  # fmt: skip
