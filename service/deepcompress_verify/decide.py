"""Gold answers and an extracted answer -> a verdict, or the marker that a computer algebra system is needed.

Cheapest first: the same text, plain rationals, then both trees and the tiers of compare/. Golds are read once and
kept in a bounded cache; what is kept is a function of the gold alone, so a verdict never depends on the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from deepcompress_verify.compare.forms import has, symbols
from deepcompress_verify.compare.quick import Rational, number, rounds_to, surface
from deepcompress_verify.compare.spelled import spelled_alike
from deepcompress_verify.compare.structure import judge
from deepcompress_verify.compare.work import CannotTell, Oracle, OutOfWork, Undefined, Work
from deepcompress_verify.extract import boxes_of_gold
from deepcompress_verify.reader import read
from deepcompress_verify.reader.numerals import Commas
from deepcompress_verify.tree import List, Node, Quantity, Set, Tuple, Unreadable
from deepcompress_verify.verdict import Verdict, shown

__all__ = ["Oracle", "Undecided", "decide", "gold_problem"]

CACHED_GOLDS = 2_048


@dataclass(frozen=True, slots=True)
class Undecided:
    """The exact tiers could not tell. Run `decide` again with an oracle in a bounded worker, or call it undecided."""

    reason: str


@dataclass(frozen=True, slots=True)
class Gold:
    """A gold answer, read once."""

    text: str
    surface: str
    rational: Rational | None
    tree: Node | Unreadable


@lru_cache(maxsize=CACHED_GOLDS)
def _gold(text: str) -> Gold:
    stripped = boxes_of_gold(text)
    plain = surface(stripped)
    return Gold(stripped, plain, number(plain), read(stripped))


def gold_problem(gold: str) -> str | None:
    """None where the gold can be read; else one line that says why it cannot."""
    tree = _gold(gold).tree
    if isinstance(tree, Unreadable):
        return f"{tree.slug}: {tree.detail}" if tree.detail else tree.slug
    return None


def decide(
    golds: tuple[str, ...], answer: str, *, also: str | None = None, oracle: Oracle | None = None
) -> Verdict | Undecided:
    """Compare an answer with the golds (any one suffices). Pure; bounded by counted work; never raises.

    `also` is a second statement of the answer that must be right as well (see extract). With `oracle` given the
    result is always a Verdict: what stays open is `undecided`.
    """
    verdict = _any_gold(golds, answer, oracle)
    if also is None or isinstance(verdict, Undecided) or not verdict.correct:
        return verdict
    second = _any_gold(golds, also, oracle)
    if isinstance(second, Undecided) or second.status == "unreadable" or second.correct:
        return verdict
    return Verdict(
        False, "wrong", answer, "extraction", f"the box is right, but the text after it ends with {also[:64]!r}"
    )


def _any_gold(golds: tuple[str, ...], answer: str, oracle: Oracle | None) -> Verdict | Undecided:
    if len(golds) == 1:
        return _one_gold(golds[0], answer, oracle)
    found: list[Verdict | Undecided] = []
    for gold in golds:
        verdict = _one_gold(gold, answer, oracle)
        if isinstance(verdict, Verdict) and verdict.correct:
            return verdict
        found.append(verdict)
    readable = [v for v in found if isinstance(v, Undecided) or v.status != "gold_unreadable"]
    if not readable:
        return found[0] if found else Verdict(False, "gold_unreadable", answer, "limit", "no gold was given")
    # an open comparison with one alternative leaves the whole open
    for verdict in readable:
        if isinstance(verdict, Undecided) or verdict.status == "undecided":
            return verdict
    return readable[0]


def _one_gold(gold_text: str, answer: str, oracle: Oracle | None) -> Verdict | Undecided:
    gold = _gold(gold_text)
    if isinstance(gold.tree, Unreadable):
        return Verdict(
            False, "gold_unreadable", shown(answer), "limit", f"the gold cannot be read: {gold_problem(gold_text)}"
        )
    plain = surface(answer)
    if plain == gold.surface:
        return Verdict(True, "correct", shown(answer), "string", "the same text")
    value = number(plain)
    if value is not None and gold.rational is not None:
        return _rationals(gold.rational, value, answer)
    tree = read(answer)
    if isinstance(tree, Unreadable):
        return Verdict(
            False,
            "unreadable",
            shown(answer),
            "limit",
            f"the answer cannot be read: {tree.slug} {tree.detail}".strip(),
        )
    return _trees(gold, answer, tree, oracle)


def _rationals(gold: Rational, value: Rational, answer: str) -> Verdict:
    if gold.p * value.q == value.p * gold.q:
        return Verdict(True, "correct", answer, "rational", "equal as exact numbers")
    if rounds_to(gold, value):
        return Verdict(True, "correct", answer, "rounding", f"it rounds to the {gold.decimals} decimals of the gold")
    return Verdict(False, "wrong", answer, "rational", "different as exact numbers")


def _trees(gold: Gold, answer: str, tree: Node, oracle: Oracle | None) -> Verdict | Undecided:
    seed = blake2b(
        "\0".join(sorted((gold.surface, surface(answer)))).encode("utf-8", "replace"), digest_size=32
    ).digest()
    assert not isinstance(gold.tree, Unreadable)
    found, work = _judge(gold.tree, tree, seed, oracle)
    if not found:
        for ours, theirs in _other_readings(gold, gold.tree, answer, tree):
            again, other_work = _judge(ours, theirs, seed, oracle)
            if again:
                found, work = again, other_work
                break
    if not found:
        alike = spelled_alike(gold.text, gold.tree, answer)
        if alike is not None:
            return Verdict(True, "correct", shown(answer), "text", alike)
    if found is None:
        reason = work.open_reason or "the comparison cannot be settled"
        return (
            Undecided(reason)
            if oracle is None
            else Verdict(False, "undecided", shown(answer), work.tier or "limit", reason)
        )
    status = "correct" if found else "wrong"
    return Verdict(
        found,
        "correct" if status == "correct" else "wrong",
        shown(answer),
        work.tier or "structure",
        work.reason or status,
    )


def _judge(gold: Node, answer: Node, seed: bytes, oracle: Oracle | None) -> tuple[bool | None, Work]:
    work = Work(judge, oracle, seed=seed)
    try:
        return work.judge(gold, answer), work
    except OutOfWork:
        work.tier, work.open_reason = "limit", "the comparison is over its budget of work"
        return None, work
    except (CannotTell, Undefined, RecursionError):
        work.open_reason = "no tier can compare these"
        return None, work


def _other_readings(gold: Gold, ours: Node, answer: str, theirs: Node) -> list[tuple[Node, Node]]:
    """Where one side is a list and the other is not, and a comma between digits may mean something else; and where
    one side has a unit, and a letter of the other may be one."""
    several = (List, Set, Tuple)
    found = _with_plain_units(gold, ours, answer, theirs)
    if isinstance(ours, several) == isinstance(theirs, several):
        return found
    for text, tree, is_gold in ((gold.text, ours, True), (answer, theirs, False)):
        if not _has_grouped_digits(text):
            continue
        other: list[Commas] = ["list"]
        if isinstance(tree, several):
            other = ["all", "decimal"] if isinstance(tree, List) and len(tree.items) == 2 else ["all"]
        for commas in other:
            again = read(text, commas)
            if not isinstance(again, Unreadable) and again != tree:
                found.append((again, theirs) if is_gold else (ours, again))
    return found


def _with_plain_units(gold: Gold, ours: Node, answer: str, theirs: Node) -> list[tuple[Node, Node]]:
    """12 m where the other side has a unit: the letter may be one too."""
    bare = theirs if has(ours, Quantity) else ours
    if has(ours, Quantity) == has(theirs, Quantity) or not symbols(bare):
        return []
    again = read(answer if bare is theirs else gold.text, plain_units=True)
    if isinstance(again, Unreadable) or again == bare:
        return []
    return [(ours, again) if bare is theirs else (again, theirs)]


def _has_grouped_digits(text: str) -> bool:
    """Is there a comma right between two digits?"""
    place = text.find(",")
    while place > 0:
        if text[place - 1].isdigit() and text[place + 1 : place + 2].isdigit():
            return True
        place = text.find(",", place + 1)
    return False
