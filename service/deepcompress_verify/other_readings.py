"""Further readings of a pair that is not correct as first read, where one side is ambiguous.

A comma between digits may separate items or mark decimals, a letter may be a unit, and a capital letter before
brackets may be a factor. Each reading is allowed only by what the other side is.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from deepcompress_verify.compare.fast_path import number, strip_typesetting
from deepcompress_verify.compare.forms import Facts, rewrite
from deepcompress_verify.reader import read
from deepcompress_verify.reader.numerals import Commas
from deepcompress_verify.tree import Apply, Call, List, Node, Pow, Quantity, Set, Sym, Tuple, Unreadable, walk

_SEVERAL = (List, Set, Tuple)
_GROUP_OF_ZEROS = re.compile(r",0[0-9][0-9](?![0-9])")


class Side(NamedTuple):
    """A gold or an answer: its text, its tree and the facts of the tree."""

    text: str
    tree: Node
    facts: Facts


def other_readings(gold: Side, answer: Side, gold_has_decimals: bool) -> list[tuple[Node, Node]]:
    """Return further pairs of trees to compare."""
    result = _with_plain_units(gold, answer) + _with_products(gold, answer) + _with_choices(gold, answer)
    if isinstance(gold.tree, _SEVERAL) == isinstance(answer.tree, _SEVERAL):
        return result
    for side, other in ((gold, answer), (answer, gold)):
        if not _has_grouped_digits(side.text):
            continue
        if isinstance(other.tree, Tuple) and number(strip_typesetting(side.text)) is not None:
            continue  # 12,345 is a number, and no point
        commas: Commas = "list"
        if isinstance(side.tree, (Tuple, Set)):
            if not _GROUP_OF_ZEROS.search(side.text):
                continue  # in brackets a comma separates
            commas = "all"  # (100,000): no coordinate begins with zeros
        if isinstance(side.tree, List):
            if len(side.tree.items) != 2 or not _may_be_decimal(side.text, side is gold, gold_has_decimals):
                continue
            commas = "decimal"
        if strip_typesetting(side.text).startswith("-0,"):
            continue
        reread = read(side.text, commas)
        if not isinstance(reread, Unreadable) and reread != side.tree:
            result.append((reread, answer.tree) if side is gold else (gold.tree, reread))
    return result


def _with_plain_units(gold: Side, answer: Side) -> list[tuple[Node, Node]]:
    """Return the pair with the side without a unit parsed again, letters read as units: 12 m."""
    if Quantity not in gold.facts.kinds and Quantity not in answer.facts.kinds:
        return []
    if (Quantity in gold.facts.kinds) == (Quantity in answer.facts.kinds):
        bare = answer if len(answer.facts.names) > len(gold.facts.names) else gold  # v = 5 m/s, t = 2 s
        if len(gold.facts.names) == len(answer.facts.names):
            return []
    else:
        bare = answer if Quantity in gold.facts.kinds else gold
    if not bare.facts.names:
        return []
    reread = read(bare.text, plain_units=True)
    if isinstance(reread, Unreadable) or reread == bare.tree:
        return []
    return [(gold.tree, reread) if bare is answer else (reread, answer.tree)]


def _with_products(gold: Side, answer: Side) -> list[tuple[Node, Node]]:
    """Return the pair parsed again if a function of one side is a letter of the other: T(n+1), Tn + T."""
    if (Apply in gold.facts.kinds) == (Apply in answer.facts.kinds):
        return []
    applied, other = (gold, answer) if Apply in gold.facts.kinds else (answer, gold)
    if not any(isinstance(part, Apply) and part.name in other.facts.names for part in walk(applied.tree)):
        return []
    reread = read(applied.text, products=True)
    if isinstance(reread, Unreadable) or reread == applied.tree:
        return []
    return [(reread, answer.tree) if applied is gold else (gold.tree, reread)]


def _with_choices(gold: Side, answer: Side) -> list[tuple[Node, Node]]:
    """Return the pair with C_n^k and A_n^k as numbers of choices, if the other side has no such letter."""
    counted = [any(name.startswith(_CHOICES) for name in side.facts.names) for side in (gold, answer)]
    if counted[0] == counted[1]:
        return []
    other = answer if counted[0] else gold
    if any(name.startswith(("A", "C", "P")) for name in other.facts.names):
        return []
    reread = rewrite((gold if counted[0] else answer).tree, _as_choice)
    return [(reread, answer.tree) if counted[0] else (gold.tree, reread)]


_CHOICES = ("A_", "C_", "P_")


def _as_choice(node: Node) -> Node | None:
    if not isinstance(node, Pow) or not isinstance(node.base, Sym) or not node.base.name.startswith(_CHOICES):
        return None
    number = read(node.base.name[2:])
    if isinstance(number, Unreadable):
        return None
    return Call("binom" if node.base.name[0] == "C" else "perm", (number, node.exponent))


def _may_be_decimal(text: str, is_gold: bool, gold_has_decimals: bool) -> bool:
    """Return True if a comma may mark decimals: 0,125 and -0,5; an answer to a gold with decimals: 1,22 to 1.22."""
    whole, _, decimals = strip_typesetting(text).partition(",")
    if whole.lstrip("+-") == "0" and (whole.startswith("-") or len(decimals) > 2 or not is_gold):
        return True
    return not is_gold and gold_has_decimals


def _has_grouped_digits(text: str) -> bool:
    """Return True if there is a comma directly between two digits."""
    position = text.find(",")
    while position > 0:
        if text[position - 1].isdigit() and text[position + 1 : position + 2].isdigit():
            return True
        position = text.find(",", position + 1)
    return False
