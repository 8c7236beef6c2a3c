"""Words with formulas among them, "center (1, -2)": which of the marks have a meaning.

A mark between words is punctuation. In a formula a minus, a bracket, a comma, a colon, a prime and a sign of
multiplication are part of it: the words are compared with them.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from itertools import accumulate

from deepcompress_verify.reader.tokens import END, Token
from deepcompress_verify.reader.words import CONST_WORDS, FUNCTION_WORDS, GREEK, is_word, text_word

LETTER_A = "$a$"
"""The letter a of a formula, which is no article."""
_SHORT_WORDS = frozenset(
    "is are of on in at and or the to for by if no not all an be as it its with from per".split()
)
_OPENERS = frozenset(("(", "[", "{", "\\{"))
_CLOSERS = frozenset((")", "]", "}", "\\}"))
_MARKS = frozenset((",", ".", ";", ":", "?", "'", '"', "`")) | _OPENERS | _CLOSERS
"""Marks that leave a remark in brackets a remark in words."""
_GROUPS = {"{": "(", "}": ")"}
"""The braces of TeX in a formula: x^{a+b} is x^(a+b)."""


def is_prose(token: Token) -> bool:
    """Return True for a word of two letters or more, which is no function and no product of letters."""
    value = token.value
    if token.kind not in "tw" or len(value) < 2 or not value.isalpha() or value in FUNCTION_WORDS or value in GREEK:
        return False
    return token.kind == "t" or value in _SHORT_WORDS or (value not in CONST_WORDS and is_word(value))


def is_sign(before: Token, token: Token, after: Token) -> bool:
    """Return True if a minus is a sign: not in x-axis, in COVID-19, and not between two words."""
    if is_prose(after) and (is_prose(before) or before.kind == "e" or (before.kind in "nwt" and not after.space)):
        return False
    if token.space or after.space:
        return True
    capital = before.kind == "t" and len(before.value) == 1 and before.value.isupper()
    if capital and after.kind == "n":
        return False  # vitamin B-12
    return not (is_prose(before) or (before.kind == "w" and len(before.value) > 3))


def is_prime(before: Token, token: Token, after: Token) -> bool:
    """Return True for the mark of a derivative or of a second letter: f', (fg)', A'; not in l'axe and dogs'."""
    if token.space or (is_prose(after) and not after.space):
        return False
    letter = before.kind in "tw" and not is_prose(before)
    return letter or (before.kind == "o" and before.value in (")", "'"))


def is_formula_letter(token: Token, after: Token, latex: bool) -> bool:
    """Return True for the letter a before a part of a formula; it is the article before words.

    With `latex`, words have commands of their own, and a letter without one belongs to a formula.
    """
    if token.value != "a" or after.kind == "e" or is_prose(after):
        return False
    if latex and token.kind == "w":
        return True
    return after.kind in "orc" and after.value not in (",", ".", ";", "?", '"', "`", "{")


def words_and_formulas(tokens: list[Token]) -> list[str]:
    """Return the words of the tokens, of which the last is the end, in lower case, and the formulas among them.

    Linear in the tokens.
    """
    kept = _kept_brackets(tokens)
    latex = any(token.kind == "t" for token in tokens)
    words: list[str] = []
    before = END
    depth = 0
    for index, token in enumerate(tokens[:-1]):
        after = tokens[index + 1]
        if token.kind != "o":
            letter = is_formula_letter(token, after, latex)
            words.append(LETTER_A if letter else text_word(token.value, not words, after.value))
        elif token.value in _OPENERS or token.value in _CLOSERS:
            if index in kept:
                depth += 1 if token.value in _OPENERS else -1
                words.append(_GROUPS.get(token.value, token.value))
        elif token.value == "-":
            if is_sign(before, token, after):
                words.append("minus")
        elif token.value == "'":
            if is_prime(before, token, after):
                words.append("'")
        elif token.value not in _MARKS and token.value != "*":
            words.append(token.value)
        elif _is_in_formula(before, token, after, depth > 0):
            words.append("," if token.value == ";" else token.value)
        before = token
    return _sorted_span(words) if words[:1] == ["span"] else words


def _sorted_span(words: list[str]) -> list[str]:
    """Return the words of span{u, v} with u and v in a standard order; other words as they are."""
    items: list[list[str]] = [[]]
    depth = 0
    for index, word in enumerate(words[1:]):
        depth += (word in _OPENERS) - (word in _CLOSERS)
        if depth == 0 and index < len(words) - 2:
            return words
        if word == "," and depth == 1:
            items.append([])
        elif index:
            items[-1].append(word)
    if depth or len(items) < 2:
        return words
    items[-1].pop()
    if words[1] != "\\{" and any(item[:1] != ["("] for item in items):
        return words  # span (1, 2) is that of one vector
    joined = [word for item in sorted(items) for word in (*item, ",")]
    return ["span", "\\{", *joined[:-1], "\\}"]


def _is_in_formula(before: Token, token: Token, after: Token, in_brackets: bool) -> bool:
    """Return True for a comma, a colon, a point or a star between two parts of a formula.

    A comma between two numbers without brackets separates nothing that the numbers do not: June 5, 2020.
    """
    if before.kind == "e" or after.kind == "e" or is_prose(before) or is_prose(after):
        return False
    if token.value == "*":
        return after.kind == "n" or (after.kind == "o" and after.value in _OPENERS)
    if token.value in (",", ";"):
        return in_brackets or before.kind != "n" or after.kind != "n"
    return token.value == ":" or (token.value == "." and not after.space)


def _kept_brackets(tokens: list[Token]) -> frozenset[int]:
    """Return the indices of brackets with a meaning: not those around one part, and around a remark in words."""
    words = [0, *accumulate(map(is_prose, tokens))]
    signs = [
        0,
        *accumulate(token.kind in "rc" or (token.kind == "o" and token.value not in _MARKS) for token in tokens),
    ]
    opened: list[int] = []
    kept: set[int] = set()
    for index, token in enumerate(tokens):
        if token.kind != "o":
            continue
        if token.value in _OPENERS:
            opened.append(index)
        elif token.value in _CLOSERS and opened:
            begin = opened.pop()
            remark = words[index] > words[begin] and signs[index] == signs[begin]
            single = index == begin + 2 and tokens[begin].value != "\\{" and not _is_integer_part(tokens[begin:index])
            empty = index == begin + 1 and tokens[begin].value == "{"
            if not (remark or single or empty):
                kept |= {begin, index}
    return frozenset(kept)


def _is_integer_part(tokens: list[Token]) -> bool:
    """Return True for [x]; [2] is a mark."""
    return tokens[0].value == "[" and tokens[1].kind in "tw" and not is_prose(tokens[1])
