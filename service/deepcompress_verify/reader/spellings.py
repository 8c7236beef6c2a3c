"""Numbers spelled with words around digits: "4 and a half", "2 out of 5", and Chinese numerals."""

from __future__ import annotations

from deepcompress_verify.reader.tokens import Token
from deepcompress_verify.reader.words import NUMBER_WORDS, PARTS_OF_ONE

_DIGITS = {char: n for n, char in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
_PLACES = {"十": 10, "百": 100, "千": 1000}
_LARGE = {"万": 10**4, "亿": 10**8}


def may_hold_spelling(text: str) -> bool:
    """Return True if the text holds the words without which nothing is spelled."""
    if not text.isascii() or "'" in text:
        return True
    lower = text.lower()  # a chain of "in" takes a third of the time of a loop or a pattern
    words = "and" in lower or "out of" in lower or "minus" in lower or "negative" in lower
    words = (
        words
        or "noon" in lower
        or "midnight" in lower
        or "rem" in lower
        or "base" in lower
        or "const" in lower
        or " in " in lower
    )
    return words or "than" in lower or "least" in lower or "most" in lower


def name_extremes(tokens: list[Token], text: str) -> list[Token]:
    """Rewrite "max 5, min 1" as max = 5, min = 1: of one number, max, min, gcd and lcm are names."""
    if "max" not in text and "min" not in text and "gcd" not in text and "lcm" not in text:
        return tokens
    out: list[Token] = []
    for i, token in enumerate(tokens):
        out.append(token)
        if token.value.lower() not in ("max", "min", "gcd", "lcm") or token.kind == "n" or not _begins(tokens, i):
            continue
        number = i + 2 if tokens[i + 1].value == "-" else i + 1
        if number + 1 < len(tokens) and tokens[number].kind == "n" and _ends(tokens[number + 1]):
            out.append(Token("r", "=", True))
    return out


def _begins(tokens: list[Token], i: int) -> bool:
    return i == 0 or (tokens[i - 1].value in (",", ";", "and") and i + 1 < len(tokens))


def _ends(token: Token) -> bool:
    return token.value in (",", ";", "and", "")


def join_spellings(tokens: list[Token]) -> list[Token]:
    """Rewrite spelled numbers: "4 and a half" as 4 1/2, "2 out of 5" as 2/5, "minus 3" as -3, 负四分之三 as -3/4."""
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        token = tokens[i]
        value = token.value.lower()
        if value == "and" and token.kind in "tw" and out and (part := _part_of_one(tokens, i)) is not None:
            whole = out[-1].value if out[-1].kind == "n" else str(NUMBER_WORDS.get(out[-1].value.lower(), ""))
            if whole.isdigit():
                top, bottom, i = part
                out[-1] = Token("n", whole, out[-1].space)
                out += [Token("n", top, True), Token("o", "/", False), Token("n", bottom, False)]
                continue
        of = (
            value == "out"
            and i + 2 < len(tokens)
            and out
            and out[-1].value.isdigit()
            and tokens[i + 1].value.lower() == "of"
        )
        if of and tokens[i + 2].kind == "n":
            out.append(Token("o", "/", False))
            i += 2
            continue
        if value == "and" and token.kind in "tw" and _spells(out) and _goes_on(tokens, i):
            i += 1  # one hundred and five
            continue
        if value == "'" and out and (size := _feet_and_inches(tokens, i, out)):
            inches = tokens[i + 1]
            out += [Token("t", "ft", True), inches._replace(space=True), Token("t", "in", True)]
            i += size
            continue
        if value == "in" and len(out) == 1 and [t.kind for t in (*out, *tokens[i + 1 : i + 3])] == ["n", "n", "e"]:
            out.append(Token("o", "/", False))  # 1 in 4
            i += 1
            continue
        if value == "in" and out and out[-1].kind == "n" and [t.value for t in tokens[i + 1 : i + 2]] == ["the"]:
            half = _HALVES_OF_DAY.get(tokens[i + 2].value.lower()) if i + 2 < len(tokens) else None
            if half is not None:
                out.append(Token("t", half, True))  # 2:30 in the afternoon
                i += 3
                continue
        if value in _TWELVE and [t.value for t in out] in (["12"], ["12", ":", "00"]):
            out.append(Token("t", _TWELVE[value], True))  # 12:00 noon
            i += 1
            continue
        if i == 1 and token.kind in "tw" and len(out[0].value) == 1 and out[0].value.isalpha():
            sign, after = _comparison(tokens)
            if sign:
                out.append(Token("r", sign, True))
                i = after
                continue
        if value in ("const", "constant") and out and out[-1].value == "+":
            out.append(Token("w", "C", True))
            i += 1
            continue
        if value == "base" and out and out[-1].kind in "nto" and (based := _base(tokens, i, out)):
            i = based
            continue
        if value in _SIGN_WORDS and not out and token.kind in "tw" and _is_amount(tokens[i + 1]):
            out.append(Token("o", "-", token.space))
            i += 1
            continue
        if value in _REMAINDER and out and out[-1].kind == tokens[i + 1].kind == "n":
            out.append(Token("w", "R", True))
            i += 1
            continue
        if token.kind == "t" and value[0] in _LARGE and out and out[-1].kind == "n":
            out += [Token("o", "*", False), Token("n", str(_LARGE[value[0]]), False)]
            if value[1:]:
                out.append(Token("t", token.value[1:], True))
            i += 1
            continue
        if token.kind == "t" and not value.isascii() and (number := chinese_number(value)) is not None:
            out += number
            i += 1
            continue
        out.append(token)
        i += 1
    return out


def _comparison(tokens: list[Token]) -> tuple[str, int]:
    """Return (sign, index after it) of "x is at least 5" and "x is less than or equal to 5"; ("", 0) for others."""
    words = [token.value.lower() if token.kind in "tw" else "" for token in tokens[1:10]]
    begin = 0
    while begin < 3 and words[begin : begin + 1] and words[begin] in _COPULAS:
        begin += 1
    text = " ".join(words[begin:])
    for phrase, sign in _COMPARISONS:
        if text == phrase or text.startswith(f"{phrase} "):
            after = 1 + begin + len(phrase.split())
            return (sign, after) if tokens[after].kind in "nc" or tokens[after].value in ("-", "(") else ("", 0)
    return "", 0


_HALVES_OF_DAY = {"morning": "am", "afternoon": "pm", "evening": "pm"}
_TWELVE = {"noon": "pm", "midnight": "am"}
_COPULAS = frozenset(["is", "must", "can", "be", "should", "are", "strictly"])
_COMPARISONS = (
    ("at least", ">="),
    ("at most", "<="),
    *((f"{word} than or equal to", ">=") for word in ("greater", "larger", "bigger", "more")),
    *((f"{word} than or equal to", "<=") for word in ("less", "smaller", "fewer")),
    *((f"{word} than", ">") for word in ("greater", "larger", "bigger", "more")),
    *((f"{word} than", "<") for word in ("less", "smaller", "fewer")),
)
"""Comparisons in words, the longer ones first."""

_SIGN_WORDS = frozenset(("minus", "negative"))
_REMAINDER = frozenset(("remainder", "rem"))


_LARGE_WORDS = frozenset(("hundred", "thousand", "million"))


def _spells(out: list[Token]) -> bool:
    """Return True after a number in words that ends in hundred or thousand."""
    words = [token.value.lower() for token in out[-2:] if token.kind in "tw"]
    return len(words) == 2 and words[0] in NUMBER_WORDS and words[1] in _LARGE_WORDS


def _goes_on(tokens: list[Token], i: int) -> bool:
    return i + 1 < len(tokens) and tokens[i + 1].kind in "tw" and tokens[i + 1].value.lower() in NUMBER_WORDS


def _base(tokens: list[Token], i: int, out: list[Token]) -> int:
    """Rewrite "204 (base 5)" and "204 in base 5" as 204_5, and return the index after it; 0 for anything else."""
    if i + 2 >= len(tokens):
        return 0
    size = 1 + (out[-1].value in ("in", "("))
    if size == 2 and out[-1].kind == "o" and tokens[i + 2].value != ")":
        return 0
    base = tokens[i + 1]
    known = base.value.isdigit() or base.value.lower() in NUMBER_WORDS
    if not known or len(out) < size or out[-size].kind != "n" or not out[-size].value.isdigit():
        return 0
    bracketed = size == 2 and out[-1].value == "("
    del out[len(out) - size + 1 :]
    out += [Token("o", "_", False), Token("o", "{", False), base, Token("o", "}", False)]
    return i + 2 + bracketed


def _feet_and_inches(tokens: list[Token], i: int, out: list[Token]) -> int:
    """Return the number of tokens of ' 2 '' after a number at the beginning: 6'2'' and 6' 2" are feet and inches."""
    if out[-1].kind != "n" or (len(out) > 1 and out[-2].value not in ("=", "(", "-")):
        return 0
    inches, *marks = (token.value for token in tokens[i + 1 : i + 4])
    if not inches.isdigit() or len(inches) > 2 or int(inches) > 11:
        return 0
    size = 4 if marks == ["'", "'"] else 3 if marks[:1] == ['"'] else 0
    return size if size and i + size < len(tokens) and tokens[i + size].value in ("", ".", ",", ")", "}") else 0


def _is_amount(token: Token) -> bool:
    """Return True for a numeral, a fraction, a root or infinity."""
    return token.kind == "n" or token.value.lower() in ("infinity", "infty") or token.value in ("frac", "sqrt", "pi")


def _part_of_one(tokens: list[Token], i: int) -> tuple[str, str, int] | None:
    """Return (top, bottom, index after) of "and a half", "and three quarters" at i."""
    count, name = tokens[i + 1 : i + 2], tokens[i + 2 : i + 3]
    if not count or not name or name[0].kind not in "tw":
        return None
    top = 1 if count[0].value.lower() in ("a", "an") else NUMBER_WORDS.get(count[0].value.lower(), 0)
    bottom = PARTS_OF_ONE.get(name[0].value.lower().removesuffix("s").replace("halve", "half"), 0)
    return (str(top), str(bottom), i + 3) if 0 < top < bottom else None


def chinese_number(text: str) -> list[Token] | None:
    """Return the tokens of a number in Chinese numerals, such as 二十一, 四分之三 and 负二; None for other words."""
    sign = text.startswith("负")
    parts = text.removeprefix("负").split("分之")
    numbers = [_whole(part) for part in reversed(parts)]
    if len(parts) > 2 or None in numbers:
        return None
    result = [Token("o", "-", False)] if sign else []
    result.append(Token("n", str(numbers[0]), True))
    if len(numbers) == 2:
        result += [Token("o", "/", False), Token("n", str(numbers[1]), False)]
    return result


def _whole(text: str) -> int | None:
    """Return a whole number of up to 12 characters."""
    if not text or len(text) > 12:
        return None
    total = section = 0
    digit: int | None = None
    for char in text:
        if char in _DIGITS:
            if digit:
                return None
            digit = _DIGITS[char]
        elif char in _PLACES:
            section += (1 if digit is None else digit) * _PLACES[char]
            digit = None
        elif char in _LARGE:
            total += (section + (digit or 0)) * _LARGE[char]
            section, digit = 0, None
        else:
            return None
    return total + section + (digit or 0)
