"""Chemical formulas, ions, isotopes, electron configurations and reactions, compared by their spelling.

Ca(OH)_2 is Ca(OH)2 and \\ce{Ca(OH)2}, not CaOH_2; SO_4^{2-} is not SO_4. The species of one side of a reaction have
no order. One anchored pass over short texts.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

import re
from functools import lru_cache

MAX_CHARS = 200
ELEMENTS = frozenset(
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb "
    "Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au "
    "Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu".split()
)
_MARKUP = re.compile(
    r"\\(?:text|textrm|mathrm|mathsf|operatorname|ce|rm|left|right|displaystyle)(?![A-Za-z])|\\[,;:! ]|[\s$~{}_]|\*\*"
)
_SPLIT_COUNT = re.compile(r"_\s*(?:\{[0-9\s]*\}|[0-9])\s*[0-9]")
_ARROW = re.compile(r"\\(?:to|rightarrow|longrightarrow)(?![A-Za-z])|->|→|⟶")
_BALANCE = re.compile(r"\\(?:rightleftharpoons|leftrightarrow|leftrightharpoons)(?![A-Za-z])|<=>|⇌")
_MARKS = {ord(mark): sign for mark, sign in zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True)}
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SUPERSCRIPTS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_ATOM = re.compile(r"[A-Z][a-z]?")
# each part begins with another character: no part matches in two ways, so matching is linear
_SPECIES = re.compile(
    r"(?P<count>[0-9]{0,3})(?P<atoms>(?:[A-Z][a-z]?[0-9]{0,3}|[()\[\]][0-9]{0,3})+)"
    r"(?:\^(?P<charge>[0-9]?[+-]|[+-][0-9]))?(?P<state>\((?:aq|s|l|g)\))?"
)
_CONFIGURATION = re.compile(r"(?:\[(?:He|Ne|Ar|Kr|Xe|Rn)\])?(?:[1-7][spdf]\^?[0-9]{1,2})+|sp\^?[1-3]?(?:d\^?[1-3]?)?")

Side = tuple[str, ...]

_COMMAND = re.compile(r"\\[a-z]+")


def _has_symbols(text: str) -> bool:
    """Return True if the text may hold a symbol of an element, or an orbital in s."""
    return text != text.lower() or "s" in _COMMAND.sub("", text)


@lru_cache(maxsize=2_048)
def chemical(text: str) -> tuple[Side, ...] | None:
    """Return the sides of a reaction, or one side for a formula or configuration; None for anything else.

    A formula without counts, brackets or charge is none: CO may be a product.
    """
    if len(text) > MAX_CHARS or not (
        "A" <= text.strip(" *$\\{[(0123456789^")[:1] <= "Z" or "\\" in text or "s" in text
    ):
        return None
    if not _has_symbols(text):
        return None
    if _SPLIT_COUNT.search(text):
        return None  # B_{1}2
    text = _BALANCE.sub("@", _ARROW.sub(">", text))
    text = _SUPERSCRIPTS.sub(lambda match: "^" + match.group().translate(_RAISED), text)
    text = _MARKUP.sub("", text.replace("+", " + ") if ">" in text or "@" in text else text).translate(_MARKS)
    text = text.strip(".")
    if _CONFIGURATION.fullmatch(text):
        return (("configuration", text.replace("^", "")),)
    balance = "@" in text
    sides = re.split("[>@]", text)
    if len(sides) > 2 or not all(sides):
        return None
    result = [_side(side, len(sides) > 1) for side in sides]
    if any(side is None for side in result) or (len(sides) == 1 and not any(map(_has_marks, sides))):
        return None
    if balance:
        result.insert(0, ("balance",))
    return tuple(side for side in result if side is not None)


def same_species(gold: tuple[Side, ...] | None, answer: tuple[Side, ...] | None) -> bool:
    """Return True for the same formula or reaction. Its states may be left out, or added where there are none."""
    if gold is None or answer is None or len(gold) != len(answer):
        return False
    return gold == answer or all(map(_same_side, gold, answer))


def _same_side(gold: Side, answer: Side) -> bool:
    """Return True if the species are the same, and no state of one side is missing or another beside those it has."""
    one, two = ([_STATE.sub("", name) for name in side] for side in (gold, answer))
    if sorted(one) != sorted(two):
        return False
    stated = [frozenset(name for name in side if _STATE.search(name)) for side in (gold, answer)]
    if stated[0] and stated[1]:
        return all(
            name in other or _STATE.sub("", name) in other
            for names, other in ((stated[0], answer), (stated[1], gold))
            for name in names
        )
    return True


_STATE = re.compile(r"\((?:aq|s|l|g)\)$")


def _has_marks(text: str) -> bool:
    return any(char.isdigit() or char in "()[]^" for char in text)


def _side(text: str, several: bool) -> Side | None:
    """Return the species of one side of a reaction in a standard order, or one formula."""
    names = []
    for part in re.split(r"(?<=[A-Za-z0-9)\]+-])\+(?=[0-9A-Z\[(])", text) if several else [text]:
        match = _SPECIES.fullmatch(part)
        if match is None or not all(atom in ELEMENTS for atom in _ATOM.findall(match["atoms"])):
            return None
        if not _balanced(match["atoms"]) or (match["count"] and not several):
            return None
        charge = match["charge"] or ""
        charge = charge[::-1] if charge[:1] in ("+", "-") and len(charge) == 2 else charge
        count = match["count"] if match["count"] != "1" else ""
        names.append(f"{count} {match['atoms']}^{charge}{match['state'] or ''}")
    return tuple(sorted(names))


def _balanced(atoms: str) -> bool:
    level = 0
    for char in atoms:
        level += (char in "([") - (char in ")]")
        if level < 0:
            return False
    return level == 0 and "()" not in atoms and "[]" not in atoms
