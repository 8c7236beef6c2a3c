"""The words beside a value for the thing that it is: four solutions, 3 values of n, the point (2, -3).

Each function examines an answer whose commands are masked, and returns the part of it that is the value, or the value
in digits.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

import re

from deepcompress_verify.reader.words import PARTS_OF_ONE, SCALES, is_counted_noun, known_unit, spelled_number

_SPELLED_COUNT = re.compile(r"[A-Za-z]+(?:[ -][A-Za-z]+){1,7}")
_NO_NOUNS = frozenset("of and or hundred thousand million billion".split())
_COUNT = re.compile(r"(.*\b(?:values|solutions|roots|choices|possibilities))\s+(?:of|for)\s+\$?[a-zA-Z]\$?\s*")
_EXTREME = "minimum|maximum|minimal|maximal|least|greatest|largest|smallest|total"
_THING = re.compile(
    rf"\s*(?:the\s+)?(?:(?:(?:{_EXTREME})\s+)?(?:value|number|sum|area|integer)|year|polynomial|interval|function|expression|(?:minimum|maximum|total)(?=\s*[\d\\(-])"
    r"|(?:point|vertex|cent(?:er|re)|focus|vector|coordinates|(?:ordered\s+)?(?:pair|triple))(?=[\s}]*(?:\\left)?\s*[(<]))"
    r"\s*(?=[-\d(\[<\\])",
    re.IGNORECASE,
)
_ATTAINED = re.compile(
    r"[\s,;]+(?:which\s+is\s+|(?:and\s+)?is\s+)?(?:attained|achieved|reached|occurring)\s+(?:only\s+)?"
    r"(?:at|when|for|if|by)\s"
)
_METHOD = re.compile(
    r"(?:by|using)\s+(?!mistake|error|guess)[A-Za-z][A-Za-z'’ -]*|as\s+(?:required|desired|expected|shown|claimed)",
    re.IGNORECASE,
)
_CHINESE = re.compile(
    r"^\s*(?:所以|因此|故|则)?(?:(?:所求的?|正确)?(?P<name>答案|结果|值|最大值|最小值|面积|体积|周长|概率|个数|总数|和|距离|长度|系数|斜率|半径)"
    r"(?:为|是|等于)\s*|(?:一?共有?)\s*(?=[-\d]))"
)
_MAX_NUMBER_WORDS = 6


def spelled_count(masked: str) -> str | None:
    """Return "four solutions" with its number in digits, None for anything else."""
    match = _SPELLED_COUNT.fullmatch(masked.strip(" ."))
    words = match[0].lower().replace("-", " ").split() if match is not None else []
    for size in range(min(len(words) - 1, _MAX_NUMBER_WORDS), 0, -1):
        number, noun = spelled_number(words[:size]), words[size:]
        if number is None or number[1] != 1 or noun[0] in _NO_NOUNS or noun[0] in PARTS_OF_ONE:
            continue
        known = known_unit(noun[0]) is not None or noun[0] in SCALES
        return (
            f"{number[0]}\\text{{ {' '.join(noun)}}}"
            if known or is_counted_noun(noun, False, number[0] == 1)
            else None
        )
    return None


def end_of_count(masked: str) -> int:
    """Return the end of "3 values" in "3 values of n", 0 for anything else."""
    match = _COUNT.fullmatch(masked)
    return 0 if match is None else match.end(1)


def begin_of_thing(masked: str) -> int:
    """Return the index after "the point", "the minimum value" or "the year", 0 without one."""
    match = _THING.match(masked)
    return 0 if match is None else match.end()


def where_attained(masked: str) -> tuple[int, int] | None:
    """Return the beginning and the end of "attained at" after a value, None without it."""
    match = _ATTAINED.search(masked)
    return None if match is None or match.start() == 0 else match.span()


def is_method(remark: str) -> bool:
    """Return True for a remark on how a value was found, "by symmetry", "as required"."""
    return _METHOD.fullmatch(remark) is not None


def chinese_subject(masked: str) -> tuple[int, str] | None:
    """Return the index after what is asked for before its value, 最小值为, and its name; None without one."""
    match = _CHINESE.match(masked)
    return (match.end(), match["name"] or "") if match is not None and masked[match.end() :].strip() else None
