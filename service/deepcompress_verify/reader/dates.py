"""Dates in digits, which are no subtractions and no quotients: 2024-03-05, 14/06/2021."""

from __future__ import annotations

import re

from deepcompress_verify.reader.tokens import Token

MAX_CHARS = 40
_DATE = re.compile(
    r"(?:(?P<y>1[0-9]{3}|20[0-9]{2})(?P<s>[-/.])(?P<m>[0-9]{2})(?P=s)(?P<d>[0-9]{2}))"
    r"|(?:(?P<a>[0-9]{1,2})(?P<t>[/.-])(?P<b>[0-9]{1,2})(?P=t)(?P<z>1[0-9]{3}|20[0-9]{2}))"
)


def may_hold_date(text: str) -> bool:
    """Return True if four digits and a separator are in the text, without which it holds no date, year first."""
    return len(text) >= 10 and _YEAR.search(text) is not None


_YEAR = re.compile(r"[0-9]{4}[-/.][0-9]{2}[-/.]")


def join_dates(tokens: list[Token]) -> list[Token]:
    """Join the tokens of each date in digits, year first, into one word: D = 2024-03-05 is no subtraction.

    Digits that are followed by "=" are arithmetic: "2000-10-15 = 1975".
    """
    if len(tokens) < 6:
        return tokens
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        date = _date_at(tokens, i)
        if date is not None:
            out.append(Token("t", date, True))
            i += 5
        else:
            out.append(tokens[i])
            i += 1
    return out


def _date_at(tokens: list[Token], i: int) -> str | None:
    if tokens[i].kind != "n" or len(tokens[i].value) != 4 or i + 5 >= len(tokens):
        return None
    (year, first, month, second, day), after = tokens[i : i + 5], tokens[i + 5]
    if first.value not in ("-", "/", ".") or first[:2] != second[:2] or after[:2] == ("r", "="):
        return None
    if i and (tokens[i - 1].kind == "n" or (tokens[i - 1].value == "." and not year.space)):
        return None
    if any(t.kind != "n" or len(t.value) != 2 for t in (month, day)) or any(t.space for t in tokens[i + 1 : i + 5]):
        return None
    if after.kind == "n" or (after.value == "." and tokens[min(i + 6, len(tokens) - 1)].kind == "n"):
        return None
    return numeric_date("".join(t.value for t in tokens[i : i + 5]))


def numeric_date(text: str) -> str | None:
    """Return a date in digits as "date 2024 3 5" (year, month, day), or None.

    A date whose day and month cannot be distinguished, such as 3/4/2021, keeps its order: "date 3 4 2021".
    """
    if len(text) > MAX_CHARS or (text.count("-") < 2 and text.count("/") < 2 and text.count(".") < 2):
        return None
    plain = text
    for mark in ("\\text", "\\mathrm", "\\displaystyle", "\\textstyle", "\\,", "\\;", "$", "{", "}"):
        plain = plain.replace(mark, "")
    plain = plain.strip(" .\n\t\\")
    match = _DATE.fullmatch(plain)
    if match is None:
        return None
    if match["y"]:
        year, month, day = int(match["y"]), int(match["m"]), int(match["d"])
    else:
        first, second, year = int(match["a"]), int(match["b"]), int(match["z"])
        if first > 12 and 1 <= second <= 12:
            day, month = first, second
        elif second > 12 and 1 <= first <= 12:
            month, day = first, second
        elif first == second:
            month = day = first
        elif 1 <= first <= 12 and 1 <= second <= 12:
            return f"date {first} {second} {year}"
        else:
            return None
    return f"date {year} {month} {day}" if 1 <= month <= 12 and 1 <= day <= 31 else None
