"""The rules of judgement over whole answers: what is compared with what. docs/judgement.md tells them with examples.

`judge` gives True, False or None (cannot tell). It is symmetric but where a rule says that it speaks of the gold.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from collections.abc import Callable
from itertools import product

from deepcompress_verify.compare import units
from deepcompress_verify.compare.collections import compare_collections, compare_piecewise, work_out_matrices
from deepcompress_verify.compare.families import renamed_family, same_lattice
from deepcompress_verify.compare.forms import has, rename, rewrite, symbols
from deepcompress_verify.compare.items import COLLECTIONS, distinct, has_no_value, same_items
from deepcompress_verify.compare.measures import compare_numerals, compare_ratios
from deepcompress_verify.compare.regions import is_region
from deepcompress_verify.compare.relations import leaves_out
from deepcompress_verify.compare.scalars import equal, same_family, within_rounding
from deepcompress_verify.compare.statements import compare_regions, compare_relations
from deepcompress_verify.compare.text import equal_text
from deepcompress_verify.compare.work import PASS, CannotTell, Pass, Work
from deepcompress_verify.reader import read
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
)

MAX_EXPANSION = 64

_NO_PARAMETERS = frozenset("azNZQRC")
_UNDROPPABLE = frozenset("or not but except nor either neither unless otherwise else".split())
_CASES = frozenset("if when whenever assuming provided given".split())


def judge(gold: Node, answer: Node, work: Work) -> bool | None:
    """Does the answer say what the gold says?"""
    work.spend(1)
    if type(gold) is Num and type(answer) is Num:
        return _numbers(gold, answer, work)
    if gold == answer or work.canon(gold) == work.canon(answer):
        if has_no_value(gold):
            work.say("rational", "the expression has no value")
            return False
        work.say("structure", "read as the same expression")
        return True
    if {type(gold), type(answer)} == {Sym, Const} and getattr(gold, "name", "") == getattr(answer, "name", ""):
        # R and \\mathbb{R}
        return True
    if type(gold) is Sym and type(answer) is Sym and _bare(gold.name) == _bare(answer.name):
        work.say("structure", "the same triangle")
        return True
    for rule in _RULES:
        found = rule(gold, answer, work)
        if not isinstance(found, Pass):
            return found
    return _scalars(gold, answer, work)


def _bare(name: str) -> str:
    """triangle ABC and ABC."""
    rest = name.removeprefix("triangle ")
    return rest if len(rest) == 3 and rest.isupper() else name


def _qualified(gold: Node, answer: Node, work: Work) -> bool | Pass | None:
    if not isinstance(gold, Qualified) and not isinstance(answer, Qualified):
        return PASS
    one_sided = not (isinstance(gold, Qualified) and isinstance(answer, Qualified))
    for node in (gold, answer):
        if isinstance(node, Qualified) and not _droppable(node.condition, one_sided):
            work.say("text", "a condition that may change the value")
            return False
    ours, theirs = _parameter(gold), _parameter(answer)
    before = after = ""
    if isinstance(gold, Qualified):
        before = gold.condition
        gold = gold.value
    if isinstance(answer, Qualified):
        after = answer.condition
        answer = answer.value
    if ours is not None and theirs is not None and ours != theirs:
        if ours[1] != theirs[1]:
            work.say("text", "parameters from different sets")
            return False
        if ours[0] not in symbols(answer):
            answer = rename(answer, {theirs[0]: ours[0]})
    if before and after and _domains_differ(before, after, ours, theirs, work):
        work.say("text", "formulas for different ranges")
        return False
    found = work.judge(gold, answer)
    if found is False and ours is not None and theirs is not None and ours[1] == "Z":
        value, other = _of_assignment(gold), _of_assignment(answer)
        if same_lattice(value, other, ours[0], work):
            work.say("points", "the same values as the parameter runs through all integers")
            return True
    return found


def _of_assignment(node: Node) -> Node:
    """x = pi/4 + k pi stands for its right side."""
    return node.terms[1] if isinstance(node, Rel) and node.ops == ("=",) and isinstance(node.terms[0], Sym) else node


def _droppable(condition: str, one_sided: bool) -> bool:
    """May a condition be left out? Not if it speaks of alternatives, of cases, or goes on to another value."""
    words = condition.split()
    if not _UNDROPPABLE.isdisjoint(words) or (one_sided and not _CASES.isdisjoint(words)):
        return False
    later = condition.replace(";", ",").split(",")[1:]
    return all(piece.split()[0].isalpha() and " for " not in piece for piece in later if piece.strip())


def _domains_differ(
    gold: str, answer: str, ours: tuple[str, str] | None, theirs: tuple[str, str] | None, work: Work
) -> bool:
    """Do both conditions say from where to where the variable goes, and not the same?"""
    one, two = _range(gold), _range(answer)
    if one is not None and two is not None:
        return work.judge(one, two) is False
    declared = theirs if two is None else ours
    return (one is None) != (two is None) and declared is not None and declared[1] == "Z"


def _range(condition: str) -> Node | None:
    """The inequality in a condition: "for all x > 0"."""
    if "<" not in condition and ">" not in condition:
        return None
    words = condition.split()
    while words and len(words[0]) > 1 and words[0].isalpha():
        del words[0]
    found = read(" ".join(words))
    return found if isinstance(found, Rel) else None


def _parameter(node: Node) -> tuple[str, str] | None:
    """The parameter that a condition declares, and where from: "k in Z", "where k is an integer"."""
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


def _choices(gold: Node, answer: Node, work: Work) -> bool | Pass | None:
    if not isinstance(gold, Choice) and not isinstance(answer, Choice):
        return PASS
    if isinstance(gold, Choice) and isinstance(answer, Choice):
        work.say("choice", f"choice {gold.letter} and choice {answer.letter}")
        if gold.letter != answer.letter:
            return False
        return True if gold.content is None or answer.content is None else work.judge(gold.content, answer.content)
    choice, other = (gold, answer) if isinstance(gold, Choice) else (answer, gold)
    assert isinstance(choice, Choice)
    if isinstance(other, Sym):
        work.say("choice", f"choice {choice.letter}")
        return other.name == choice.letter
    if choice.content is None:
        return False
    return work.judge(choice.content, answer) if choice is gold else work.judge(gold, choice.content)


def _plus_minus(gold: Node, answer: Node, work: Work) -> bool | Pass | None:
    if PlusMinus not in work.facts(gold).kinds and PlusMinus not in work.facts(answer).kinds:
        return PASS
    excluded = tuple(_excluded(node) for node in (gold, answer))
    if excluded != (gold, answer):
        return work.judge(*excluded)
    for independent in (True, False):
        try:
            ours, theirs = _expand(gold, independent), _expand(answer, independent)
        except CannotTell:
            return None
        found = same_items(distinct(ours), distinct(theirs), work)
        if found:
            return True
        if not (_tuples(gold) or _tuples(answer)):
            return found
    return found


def _excluded(node: Node) -> Node:
    """x ≠ ±1 excludes both values at once."""
    if isinstance(node, SetBuilder):
        condition = _excluded(node.condition)
        return node if condition is node.condition else SetBuilder(node.element, condition)
    if not isinstance(node, Rel) or node.ops != ("!=",) or not has(node.terms[1], PlusMinus):
        return node
    return List(tuple(Rel((node.terms[0], _choose(node.terms[1], upper)), ("!=",)) for upper in (True, False)), "and")


def _tuples(node: Node) -> bool:
    return has(node, Tuple)


def _expand(node: Node, independent: bool) -> list[Node]:
    """All values of a tree with plus-minus signs. Signs move together within one expression; in a tuple,
    item by item where `independent`."""
    if isinstance(node, (List, Set)):
        found = [value for item in node.items for value in _expand(item, independent)]
    elif not has(node, PlusMinus):
        return [node]
    elif isinstance(node, Tuple) and independent:
        found = [Tuple(items, node.left, node.right) for items in product(*(_expand(i, True) for i in node.items))]
    elif isinstance(node, Rel) and len(node.terms) == 2:
        heads, values = (_expand(t, independent) for t in node.terms)
        found = [Rel((h, v), node.ops, node.modulus) for h in heads for v in values]
    else:
        found = [_choose(node, upper) for upper in (True, False)]
    if len(found) > MAX_EXPANSION:
        raise CannotTell
    return found


def _choose(node: Node, upper: bool) -> Node:
    def change(here: Node) -> Node | None:
        if not isinstance(here, PlusMinus):
            return None
        right = here.right if upper != here.flipped else Neg(here.right)
        return right if here.left is None else Add((here.left, right))

    return rewrite(node, change)


def _texts(gold: Node, answer: Node, work: Work) -> bool | Pass | None:
    gold_words, answer_words = isinstance(gold, Text), isinstance(answer, Text)
    if not gold_words and not answer_words:
        return PASS
    if equal_text(gold, answer):
        work.say("text", "the same words")
        return True
    if is_region(gold) and is_region(answer):
        return PASS
    work.say("text", "other words")
    return False


def _left_out(gold: Node, answer: Node, work: Work) -> bool | Pass | None:
    """What a formula leaves out or only announces cannot be compared."""
    names = work.facts(gold).names | work.facts(answer).names
    if all(name[:1] not in _LEFT_OUT for name in names) or not (leaves_out(gold) or leaves_out(answer)):
        return PASS
    work.open_reason = "a formula with dots or a derivative sign"
    return None


_LEFT_OUT = (".", "d")


def _numbers(gold: Num, answer: Num, work: Work) -> bool:
    """Two plain numbers: the commonest comparison inside lists and tuples."""
    if gold.p == answer.p and gold.q == answer.q:
        work.say("rational", "equal as exact numbers")
        return True
    if gold.decimals is not None and gold.decimals >= 2 and within_rounding(gold, answer, work):
        work.say("rounding", "it rounds to the decimal of the gold")
        return True
    work.say("rational", "different as exact numbers")
    return False


def _scalars(gold: Node, answer: Node, work: Work) -> bool | None:
    """Numbers and expressions, with the rules of units, percent, degrees and rounding."""
    for node in (gold, answer):
        if isinstance(node, (Text, Rel, SetOp, SetBuilder, *COLLECTIONS)):
            return False
    if not _SCALAR.issuperset(work.facts(gold).kinds | work.facts(answer).kinds):
        work.say("structure", "a collection inside a formula")
        return False
    candidates = units.pairs(gold, answer)
    if candidates is None:
        work.say("unit", "the units exclude each other")
        return False
    open_ = False
    for ours, theirs in candidates:
        if isinstance(ours, (*COLLECTIONS, Rel, Text)) or isinstance(theirs, (*COLLECTIONS, Rel, Text)):
            found = work.judge(ours, theirs)
        else:
            found = equal(ours, theirs, work)
        if found:
            return True
        open_ = open_ or found is None
    ours, theirs = candidates[0]
    if same_family(ours, theirs, work):
        work.say("points", "they differ by a constant, which C takes up")
        return True
    for ours, theirs in candidates:
        number, negative = (ours.arg, True) if isinstance(ours, Neg) else (ours, False)
        if not isinstance(number, Num) or number.decimals is None or number.decimals < 2:
            continue
        if within_rounding(number, Neg(theirs) if negative else theirs, work):
            work.say("rounding", "it rounds to the decimal of the gold")
            return True
    names = work.facts(gold).names
    if not open_ and names and names.isdisjoint(work.facts(answer).names) and renamed_family(gold, answer, work):
        work.say("points", "the same family, whose parameter has another letter")
        return True
    return None if open_ else False


_SCALAR = frozenset((Num, Const, Sym, Add, Neg, Mul, Div, Pow, Call, Apply, BigOp, Based, Quantity))
"""What an expression may be made of: nothing but numbers, letters and functions of them."""

Rule = Callable[[Node, Node, Work], "bool | Pass | None"]
_RULES: tuple[Rule, ...] = (
    _qualified, _choices, _plus_minus, _texts, _left_out, compare_piecewise, compare_regions, compare_relations,
    work_out_matrices, compare_collections, compare_ratios, compare_numerals,
)  # fmt: skip
