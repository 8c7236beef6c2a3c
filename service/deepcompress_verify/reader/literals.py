"""Whole answers that are data and no mathematics: T/F/T, #FF0000, 192.168.1.1, ['a', 'b'], "abc".

Read as algebra, T/F/T would equal T/T/F, #FF0000 would be a product with zero, and "abc" would equal "acb". One
anchored pass over short texts.
"""

from __future__ import annotations

import re

from deepcompress_verify.tree import Add, Apply, Call, Div, Mul, Node, Num, Pow, Quantity, Sym, Text, Tuple

MAX_CHARS = 200
_DRESS = re.compile(r"\\(?:text|texttt|textbf|textrm|mathrm|mathtt)\s*\{([^{}]*)\}")
_SPACES = re.compile(r"\\[,;:! ]|\s+|~")
_TRUTH = re.compile(r"[TFYN](?:\s*[,;]\s*[TFYN])+|[TFYN](?:\s*/\s*[TFYN]){2,}|[TF]{7,}")
_ADDRESS = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?:[/:][0-9]{1,5})?")
_COLOUR = re.compile(r"#(?:[0-9A-Fa-f]{3}|[0-9A-Fa-f]{6}|[0-9A-Fa-f]{8})|\\#[0-9A-Fa-f]{6}")
_ITEM = r"(?:'[^'\"\\]{0,64}'|\"[^'\"\\]{0,64}\")"
_STRINGS = re.compile(rf"\[\s*{_ITEM}(?:\s*,\s*{_ITEM})*\s*\]")
_DURATION = re.compile(
    r"(?:(?P<h>[0-9]{1,4}) ?(?:h|hrs?|hours?)(?:,? | and |(?=[0-9])))?(?:(?P<min>[0-9]{1,4}) ?(?:min|mins|minutes?)"
    r"(?:(?:,? | and |)(?P<s>[0-9]{1,4}) ?(?:s|secs?|seconds?))?)"
)
_STRING = re.compile(r"(?:[\"“]|'|``)([A-Za-z0-9]{2,64})(?:[\"”]|'|'')")
_NAMES = {"T": "true", "F": "false", "Y": "yes", "N": "no"}
_FIRST = frozenset("TFYN#[(0123456789\\$*")
"""First characters of such an answer."""
_INSIDE = frozenset("TFYN'\" \\")
"""Characters after an opening bracket."""
_LETTERS = frozenset("TFYN")
_QUOTES = frozenset("\"“'`")


def literal(text: str) -> Node | None:
    """Return the tree of an answer that is data: words, or words in order; None for anything else."""
    if len(text) > MAX_CHARS or not text or text[0] not in _FIRST or not _may_be_data(text):
        return None
    plain = _plain(text)
    letters = plain[1:-1].strip() if plain[:1] + plain[-1:] in ("()", "[]") else plain
    if letters[:1] in _LETTERS and _TRUTH.fullmatch(letters) is not None:
        found = [letter for letter in letters if letter in _LETTERS]
        known = {"T", "F"}.issuperset(found) or {"Y", "N"}.issuperset(found)
        return Tuple(tuple(Text(_NAMES[letter]) for letter in found)) if known and len(set(found)) > 1 else None
    if plain[:1] == "[" and _STRINGS.fullmatch(plain) is not None:
        return Tuple(tuple(Text(item.strip("'\" ").lower()) for item in re.findall(_ITEM, plain)), "[", "]")
    if (duration := _DURATION.fullmatch(plain)) is not None:
        parts = [Quantity(Num(int(n)), unit) for unit, n in duration.groupdict().items() if n is not None]
        return Add(tuple(parts)) if len(parts) > 1 else None
    if plain[:1].isdigit() and _ADDRESS.fullmatch(plain) is not None:
        return Text(plain) if all(int(part) < 256 for part in re.split("[./:]", plain)[:4]) else None
    if plain[:1] in ("#", "\\") and _COLOUR.fullmatch(plain) is not None:
        return Text(plain.lstrip("\\").lower())
    return None


def _may_be_data(text: str) -> bool:
    """Return False for most texts that begin like data."""
    if text[0].isdigit():
        return text.count(".") == 3 or ("min" in text and " " in text)
    if text[0] in "TFYN":
        return not text[1:2].islower()
    return text[0] not in "([" or text[1:2] in _INSIDE


def same_string(gold: str, tree: Node, answer: str) -> bool | None:
    """Return whether an answer is the string of the gold; None unless the gold is a string in quotes.

    A string is a run of letters in quotes that would be read as a product. Quotes around the answer alone have no
    meaning.
    """
    match = _STRING.fullmatch(gold.strip()) if gold.lstrip()[:1] in _QUOTES else None
    if match is None or not isinstance(tree, (Apply, Call, Div, Mul, Pow, Sym)):
        return None
    return _plain(answer).strip("\"“”'`. ").lower() == match[1].lower()


def _plain(text: str) -> str:
    """Return the text without the commands around its words."""
    if "\\" in text:
        text = _DRESS.sub(r"\1", text)
    return _SPACES.sub(" ", text.strip("$* ").strip()).removesuffix(".").strip()
