"""Comparison of an extracted answer with its golds: a verdict, or the result that an oracle is needed.

The cheapest tiers run first: equal text, plain rationals, then both trees and the tiers of `compare/`. Golds are
parsed once and kept in a bounded cache. A cache entry depends on the gold alone, so a verdict never depends on the
cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import product
from typing import TypeAlias

from deepcompress_verify.choices import ChoiceText, has_parts, read_choice, several_choices
from deepcompress_verify.compare.chemistry import chemical
from deepcompress_verify.compare.context import (
    ComparisonContext,
    InconclusiveError,
    Oracle,
    UndefinedValueError,
    WorkBudgetExceededError,
    item_budget,
)
from deepcompress_verify.compare.dates_and_formulas import differs_in_case, other_formula, same_date_or_formula
from deepcompress_verify.compare.fast_path import Rational, number, rounds_to, same_digits, strip_typesetting
from deepcompress_verify.compare.forms import Facts, canon, facts
from deepcompress_verify.compare.judgement import judge
from deepcompress_verify.compare.logic import propositional
from deepcompress_verify.compare.rounding import MANY_DIGITS
from deepcompress_verify.compare.statements_in_words import same_in_words
from deepcompress_verify.compare.unit_text import UnitText, has_no_unit, split_unit
from deepcompress_verify.extract import boxes_of_gold
from deepcompress_verify.other_readings import Side, other_readings
from deepcompress_verify.reader import read
from deepcompress_verify.reader.literals import same_string
from deepcompress_verify.remarks import MAX_CHARS as MAX_REMARK_CHARS
from deepcompress_verify.remarks import Reduction, reductions, whole
from deepcompress_verify.subjects import other_direction, other_subject
from deepcompress_verify.tree import Node, Text, Unreadable
from deepcompress_verify.verdict import Status, Verdict, truncate_answer

__all__ = ["OpenComparison", "Oracle", "decide", "gold_error"]

CACHED_GOLDS = 2_048
_LETTERS = ("choice", "points")
"""Tiers that may pay a gold that is a letter."""
MAX_READING_PAIRS = 12
"""Maximum pairs of readings without remarks that are compared."""


@dataclass(frozen=True, slots=True)
class OpenComparison:
    """The exact tiers cannot decide. Call `decide` with an oracle in a bounded worker, or report `undecided`."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class ParsedGold:
    """A gold answer and its parsed forms."""

    text: str
    stripped: str
    rational: Rational | None
    tree: Node | Unreadable


Outcome: TypeAlias = tuple[Status, str, str]
"""(status, decided_by, reason) of a verdict."""
_SAME_TEXT: Outcome = ("correct", "string", "the same text")


@lru_cache(maxsize=CACHED_GOLDS)
def _properties(gold: ParsedGold) -> tuple[str, Facts]:
    """Return the canonical text and the facts of the tree of a gold: each answer is compared with them."""
    assert not isinstance(gold.tree, Unreadable)
    return canon(gold.tree), facts(gold.tree)


@lru_cache(maxsize=CACHED_GOLDS)
def _gold(text: str) -> ParsedGold:
    stripped = boxes_of_gold(text)
    plain = strip_typesetting(stripped)
    return ParsedGold(stripped, plain, number(plain), _read(stripped))


def _read(text: str) -> Node | Unreadable:
    """Return the tree of a text; a chemical formula or a unit that is no mathematics is a text."""
    tree = read(text)
    if isinstance(tree, Unreadable) and tree.slug in ("syntax", "words"):
        if (sides := chemical(text)) is not None:
            return Text(" to ".join(" and ".join(side) for side in sides))
        if split_unit(text) is not None:
            return Text(" ".join(text.split()))  # 4.18 J/g°C, which the comparison of units understands
    return tree


def gold_error(gold: str) -> str | None:
    """Return None if the gold can be parsed, otherwise one line with the reason."""
    tree = _gold(gold).tree
    if isinstance(tree, Unreadable):
        return f"{tree.slug}: {tree.detail}" if tree.detail else tree.slug
    return None


def decide(
    golds: tuple[str, ...], answer: str, *, restated_answer: str | None = None, oracle: Oracle | None = None
) -> Verdict | OpenComparison:
    """Compare an answer with the golds, of which any one suffices.

    Pure, and bounded by counted work. `restated_answer` is a second statement of the answer that must be correct as
    well (see `extract`). With `oracle` the result is always a Verdict: a comparison that stays open is `undecided`.
    """
    with item_budget():
        return _decide(golds, answer, restated_answer, oracle)


def settled(gold_text: str, answer: str) -> Outcome | None:
    """Return the outcome for one gold if both sides are the same text or plain numbers, otherwise None.

    It is that of `decide`, without the cost of the other tiers: most answers are of this kind.
    """
    gold = _gold(gold_text)
    return None if isinstance(gold.tree, Unreadable) else _without_trees(gold, strip_typesetting(answer))


def _without_trees(gold: ParsedGold, plain: str) -> Outcome | None:
    if plain == gold.stripped:
        return _SAME_TEXT
    if gold.rational is None or (value := number(plain)) is None:
        return None
    return _rationals(gold.rational, value)


def _decide(
    golds: tuple[str, ...], answer: str, restated_answer: str | None, oracle: Oracle | None
) -> Verdict | OpenComparison:
    verdict = _any_reading(golds, answer, oracle)
    if restated_answer is None or isinstance(verdict, OpenComparison) or not verdict.correct:
        return verdict
    second = _any_reading(golds, restated_answer, oracle)
    if isinstance(second, OpenComparison) or second.status == "unreadable" or second.correct:
        return verdict
    return Verdict(
        False,
        "wrong",
        answer,
        "extraction",
        f"the box is right, but the text after it ends with {restated_answer[:64]!r}",
    )


def _any_reading(golds: tuple[str, ...], answer: str, oracle: Oracle | None) -> Verdict | OpenComparison:
    """Compare as written; if that is not correct, compare as choices and without remarks."""
    verdict = _any_gold(golds, answer, oracle)
    if (
        isinstance(verdict, Verdict)
        and verdict.correct
        and verdict.decided_by in _LETTERS
        and _no_choice(golds, answer)
    ):
        return Verdict(False, "wrong", truncate_answer(answer), "choice", "not one choice")
    if isinstance(verdict, Verdict) and (verdict.correct or verdict.status == "gold_unreadable"):
        return verdict
    if len(answer) > MAX_REMARK_CHARS:
        return verdict
    for gold in golds:
        if len(gold) > MAX_REMARK_CHARS:
            continue
        reason = (
            _same_choice(gold, answer, oracle)
            or _same_without_remarks(gold, answer, oracle)
            or _same_quantity(gold, answer, oracle)
        )
        if reason is not None:
            return Verdict(True, "correct", truncate_answer(answer), *reason)
    return verdict


def _no_choice(golds: tuple[str, ...], answer: str) -> bool:
    """Return True if the golds are letters and the answer is none, or names several: "E. or C"."""
    stated = read_choice(answer)
    for gold in golds:
        meant = read_choice(boxes_of_gold(gold))
        if meant is None:
            return False
        if stated is not None and (not has_parts(meant.content) or stated.content):
            return False
        if stated is None and meant.content:
            return False
    return True


def _same_choice(gold: str, answer: str, oracle: Oracle | None) -> tuple[str, str] | None:
    """Return (rule, reason) if both state the same choice, without contradiction between the texts after it."""
    meant = _choice(gold)
    stated = read_choice(answer)
    if meant is None and (letters := _letters(gold)) is not None:
        return ("choice", f"choices {letters}") if several_choices(answer) == letters else None
    if meant is None:
        return _same_option(gold, stated, oracle)
    if stated is None or stated.letter != meant.letter:
        return None
    if meant.content and stated.content and not _is_correct(_any_gold((meant.content,), stated.content, oracle)):
        return None
    return "choice", f"choice {meant.letter}"


@lru_cache(maxsize=CACHED_GOLDS)
def _letters(gold: str) -> str | None:
    return several_choices(boxes_of_gold(gold))


def _same_option(gold: str, stated: ChoiceText | None, oracle: Oracle | None) -> tuple[str, str] | None:
    """Return (rule, reason) if the text after the letter of a choice is the gold: "(B) CO" for "CO"."""
    if stated is None or stated.lower or not stated.content or has_parts(stated.content):
        return None
    verdict = _any_gold((gold,), stated.content, oracle)
    return ("choice", "the text of the choice is the gold") if _is_correct(verdict) else None


@lru_cache(maxsize=CACHED_GOLDS)
def _choice(gold: str) -> ChoiceText | None:
    """Return the choice that a gold states. Golds with parts, "(a) 5 (b) 7", are none."""
    choice = read_choice(boxes_of_gold(gold))
    if choice is None or not choice.content:
        return choice
    return None if choice.lower or has_parts(choice.content) else choice


def _same_without_remarks(gold: str, answer: str, oracle: Oracle | None) -> tuple[str, str] | None:
    """Return (rule, reason) if a reading of the answer without its remarks is correct, and so is every claim."""
    readings, meant = reductions(answer), _reduced_gold(gold)
    if not readings and not meant:
        return None
    pairs = product((*readings, whole(answer, readings)), (*meant, whole(gold, meant)))
    for reading, target in list(pairs)[:MAX_READING_PAIRS]:
        if reading.answer == answer and target.answer == gold:
            continue
        if other_subject(reading.subject, target.subject, target.answer):
            continue
        if other_direction(reading.subject, target.answer):
            continue
        verdict = _any_gold((target.answer,), reading.answer, oracle)
        choice = None
        if not _is_correct(verdict):
            choice = _same_choice(target.answer, reading.answer, oracle) or _same_quantity(
                target.answer, reading.answer, oracle
            )
        if choice is None and not _is_correct(verdict):
            continue
        claims = all(_is_correct(_any_gold((target.answer,), claim, oracle)) for claim in reading.claims)
        claims = claims and all(_is_correct(_any_gold((claim,), reading.answer, oracle)) for claim in target.claims)
        decimals = (*reading.approximations, *target.approximations)
        if claims and all(_rounds_to(reading.answer, decimal, oracle) for decimal in decimals):
            assert choice is not None or isinstance(verdict, Verdict)
            return choice or (verdict.decided_by, f"without remarks: {verdict.reason}")  # type: ignore[union-attr]
    return None


def _same_quantity(gold: str, answer: str, oracle: Oracle | None) -> tuple[str, str] | None:
    """Return (rule, reason) if both are the same quantity, by units as text; a unit may be missing on one side."""
    meant, stated = _unit_text(gold), split_unit(answer)
    if meant is None and stated is None:
        return None
    if meant is None or stated is None:
        quantity, bare = (meant, answer) if meant is not None else (stated, boxes_of_gold(gold))
        assert quantity is not None
        if not quantity.marked or not has_no_unit(bare):
            return None
        pair = (quantity.value, bare) if meant is not None else (bare, quantity.value)
        same = _is_correct(_any_gold((pair[0],), pair[1], oracle))
        return ("unit", "equal, the unit left out") if same else None
    if meant.dimensions != stated.dimensions:
        return None
    ratio = stated.factor / meant.factor
    value = stated.value if ratio == 1 else f"\\frac{{{ratio.p}}}{{{ratio.q}}}\\cdot({stated.value})"
    same = _is_correct(_any_gold((meant.value,), value, oracle))
    return ("unit", "equal in the same unit") if same else None


@lru_cache(maxsize=CACHED_GOLDS)
def _unit_text(gold: str) -> UnitText | None:
    return split_unit(boxes_of_gold(gold))


def _rounds_to(value: str, decimal: str, oracle: Oracle | None) -> bool:
    """Return True if a decimal is an approximation of a value, measured by its own digits.

    With two significant digits or more it is within three quarters of a unit of its last digit, with one within half
    a unit. Zero approximates zero alone.
    """
    if decimal.endswith("%"):
        value, decimal = f"100\\cdot({value})", decimal[:-1]
    whole, _, part = decimal.lstrip("+").partition(".")
    units, places = int(whole + part), len(part) + 2
    if units == 0:
        return _is_correct(_any_gold(("0",), value, oracle))
    if abs(units) < 10:
        # in hundredths: the rule for rounded golds needs decimals
        return _is_correct(_any_gold((_decimal(units, places),), f"\\frac{{{value}}}{{100}}", oracle))
    for near in (2 * units, 2 * units - 1, 2 * units + 1):
        # twice the value, so that the step is half a unit
        if _is_correct(_any_gold((_decimal(near, places),), f"2\\cdot\\frac{{{value}}}{{100}}", oracle)):
            return True
    return False


def _decimal(units: int, places: int) -> str:
    digits = str(abs(units)).rjust(places + 1, "0")
    return f"{'-' if units < 0 else ''}{digits[:-places]}.{digits[-places:]}"


@lru_cache(maxsize=CACHED_GOLDS)
def _reduced_gold(gold: str) -> tuple[Reduction, ...]:
    return tuple(reductions(boxes_of_gold(gold)))


def _is_correct(verdict: Verdict | OpenComparison) -> bool:
    return isinstance(verdict, Verdict) and verdict.correct


def _any_gold(golds: tuple[str, ...], answer: str, oracle: Oracle | None) -> Verdict | OpenComparison:
    if len(golds) == 1:
        return _one_gold(golds[0], answer, oracle)
    result: list[Verdict | OpenComparison] = []
    for gold in golds:
        verdict = _one_gold(gold, answer, oracle)
        if isinstance(verdict, Verdict) and verdict.correct:
            return verdict
        result.append(verdict)
    readable = [v for v in result if isinstance(v, OpenComparison) or v.status != "gold_unreadable"]
    if not readable:
        return result[0] if result else Verdict(False, "gold_unreadable", answer, "limit", "no gold was given")
    # if one alternative is open, the result is open
    for verdict in readable:
        if isinstance(verdict, OpenComparison) or verdict.status == "undecided":
            return verdict
    return readable[0]


def _one_gold(gold_text: str, answer: str, oracle: Oracle | None) -> Verdict | OpenComparison:
    gold = _gold(gold_text)
    if isinstance(gold.tree, Unreadable):
        return Verdict(
            False,
            "gold_unreadable",
            truncate_answer(answer),
            "limit",
            f"the gold cannot be read: {gold_error(gold_text)}",
        )
    plain = strip_typesetting(answer)
    outcome = _without_trees(gold, plain)
    if outcome is not None:
        return Verdict(outcome[0] == "correct", outcome[0], truncate_answer(answer), *outcome[1:])
    tree = _read(answer)
    if isinstance(tree, Unreadable):
        return Verdict(
            False,
            "unreadable",
            truncate_answer(answer),
            "limit",
            f"the answer cannot be read: {tree.slug} {tree.detail}".strip(),
        )
    return _trees(gold, answer, plain, tree, oracle)


def _rationals(gold: Rational, value: Rational) -> Outcome:
    if gold.p * value.q == value.p * gold.q:
        return "correct", "rational", "equal as exact numbers"
    if rounds_to(gold, value):
        return "correct", "rounding", f"it rounds to the {gold.decimals} decimals of the gold"
    if same_digits(gold, value):
        return "correct", "rounding", f"the same to {MANY_DIGITS} digits or more"
    return "wrong", "rational", "different as exact numbers"


def _trees(gold: ParsedGold, answer: str, plain: str, tree: Node, oracle: Oracle | None) -> Verdict | OpenComparison:
    seed = blake2b("\0".join(sorted((gold.stripped, plain))).encode("utf-8", "replace"), digest_size=32).digest()
    assert not isinstance(gold.tree, Unreadable)
    if (same := same_string(gold.text, gold.tree, answer)) is not None:
        said = "the same string" if same else "another string"
        return Verdict(same, "correct" if same else "wrong", truncate_answer(answer), "text", said)
    result, context = _judge(gold.tree, tree, seed, oracle, gold)
    if not result:
        sides = Side(gold.text, gold.tree, context.facts(gold.tree)), Side(answer, tree, context.facts(tree))
        decimals = gold.rational is not None and gold.rational.decimals > 0
        for gold_tree, answer_tree in other_readings(*sides, decimals):
            reread, other_context = _judge(gold_tree, answer_tree, seed, oracle)
            if reread:
                result, context = reread, other_context
                break
    if not result and (meant := propositional(gold.text)) is not None and meant == propositional(answer):
        return Verdict(True, "correct", truncate_answer(answer), "text", "the same formula of logic")
    if not result:
        reason = same_date_or_formula(gold.text, gold.tree, answer) or same_in_words(gold.text, answer)
        if reason is not None:
            return Verdict(True, "correct", truncate_answer(answer), "text", reason)
    if result and (meant := propositional(gold.text)) is not None and propositional(answer) not in (None, meant):
        return Verdict(False, "wrong", truncate_answer(answer), "text", "another formula of logic")
    if result and context.tier == "text" and other_formula(gold.text, answer):
        return Verdict(False, "wrong", truncate_answer(answer), "text", "another chemical formula")
    if result and differs_in_case(gold.text, answer):
        return Verdict(False, "wrong", truncate_answer(answer), "text", "the case of the letters is the meaning")
    if result is None:
        reason = context.open_reason or "the comparison cannot be settled"
        return (
            OpenComparison(reason)
            if oracle is None
            else Verdict(False, "undecided", truncate_answer(answer), context.tier or "limit", reason)
        )
    status: Status = "correct" if result else "wrong"
    return Verdict(result, status, truncate_answer(answer), context.tier or "structure", context.reason or status)


def _judge(
    gold: Node, answer: Node, seed: bytes, oracle: Oracle | None, parsed: ParsedGold | None = None
) -> tuple[bool | None, ComparisonContext]:
    context = ComparisonContext(judge, oracle, seed=seed)
    try:
        if parsed is not None:
            context.remember(gold, *_properties(parsed))
        return context.judge(gold, answer), context
    except WorkBudgetExceededError:
        context.tier, context.open_reason = "limit", "the comparison is over its budget of work"
        return None, context
    except (InconclusiveError, UndefinedValueError, RecursionError):
        context.open_reason = "no tier can compare these"
        return None, context
    finally:
        context.close()
