"""Dates in digits, which are no subtractions and no quotients: 2024-03-05, 14/06/2021."""

from __future__ import annotations

import re

MAX_CHARS = 40
_DATE = re.compile(
    r"(?:(?P<y>1[0-9]{3}|20[0-9]{2})(?P<s>[-/.])(?P<m>[0-9]{2})(?P=s)(?P<d>[0-9]{2}))"
    r"|(?:(?P<a>[0-9]{1,2})(?P<t>[/.-])(?P<b>[0-9]{1,2})(?P=t)(?P<z>1[0-9]{3}|20[0-9]{2}))"
)


_INNER_DATE = re.compile(
    r"(?<![0-9.])(?:1[0-9]{3}|20[0-9]{2})(?P<s>[-/.])(?:0[1-9]|1[0-2])(?P=s)(?:0[1-9]|[12][0-9]|3[01])(?![0-9.])(?!\s*=)"
)


def contains_date(text: str) -> bool:
    """Return True if a part of the text is a date in digits, year first: "x = 1970-06-22".

    Digits that are followed by "=" are arithmetic: "2000-10-15 = 1975".
    """
    return _INNER_DATE.search(text) is not None


def numeric_date(text: str) -> str | None:
    """Return a date in digits as "date 2024 3 5" (year, month, day), or None.

    A date whose day and month cannot be distinguished, such as 3/4/2021, keeps its order: "date 3 4 2021".
    """
    if len(text) > MAX_CHARS or not ("-" in text or "/" in text or "." in text):
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
