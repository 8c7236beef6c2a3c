"""Extraction of the answer from a response: linear in the text, fast on megabytes, safe in the API process.

This module parses no mathematics and never backtracks: it uses str.find, str.rfind and brace counting.
docs/judgement.md defines the answer of each format, and the text that may contradict it, with examples.

The output of `prepare` can be encoded as UTF-8: a response may contain lone surrogates (through JSON escapes), which
would break every message that contains them.
"""

from __future__ import annotations

import re
from bisect import bisect
from dataclasses import replace
from typing import NamedTuple

from deepcompress_verify.beside import ENDINGS, LETTER, OPENERS, may_contradict, restated
from deepcompress_verify.beside import MAX_CHARS as MAX_CHARS_BESIDE
from deepcompress_verify.checkers.protocol import MAX_ANSWER_CHARS
from deepcompress_verify.formula_beside import COMMANDS_BEFORE, OPERATORS_AFTER, OPERATORS_BEFORE, second_statement
from deepcompress_verify.labelled_boxes import MAX_BOXES, has_labels, joined_parts
from deepcompress_verify.later_statement import later_statement
from deepcompress_verify.phrases import find_closing_answer, find_marked_answer, find_restated_answer
from deepcompress_verify.task import encode_task, is_plain
from deepcompress_verify.tree import MAX_CHARS
from deepcompress_verify.verdict import AnswerFormat, Check, Status, Verdict, truncate_answer

MAX_RESPONSE_CHARS = 16 * 1024 * 1024
"""Default maximum length of a response; longer ones are unreadable (too_long)."""

_BOX = "\\boxed"
_FBOXES = ("\\fbox", "\\framebox")
_THINK_END = "</think>"
_MAX_JOINED = 32
"""Maximum adjacent boxes that form one answer."""
_GAP = 64
"""Maximum characters between two adjacent boxes."""
_MAX_UNBRACED = 64
"""Maximum characters of a box without braces."""
_ARGUMENT = r"(?:\s?[0-9]|\s*\{[^{}\n]{1,24}\})"
_UNBRACED = re.compile(
    r"([-+]?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?(?:/[0-9]+)?"
    rf"|[-+]?\\[dt]?frac{_ARGUMENT}{_ARGUMENT}|[-+]?\\sqrt{_ARGUMENT}|[-+]?\\(?:pi|infty)|[A-Z])"
    r"(?=\s*(?:\$|\\\)|\\\])|[.,;]?[ \t]*(?:\n|\Z))"
)
"""The content of a box without braces, up to the end of its formula or line."""
_PART = re.compile(r"(?:\*\*)?\((?:[a-h]|[1-9]|i{1,3}|iv|vi?)\)(?:\*\*)?")
"""The label of a part between two boxes."""
_MAX_INCOMPLETE_BOXES = 8
"""Incomplete boxes tried one by one from the end, before one pass over the entire text."""
_CONNECTORS = (
    "\\text{and}", "\\text{ and }", "\\text{ and}", "\\text{or}", "\\text{ or }", "\\qquad", "\\quad", "and", "or",
    "\\(", "\\)", "\\[", "\\]", "\\,", "\\;", "\\ ", "\\&",
)  # fmt: skip


class Extraction(NamedTuple):
    """The result of extraction. Either `verdict` is set (nothing is left to compare), or `answer` is."""

    answer: str | None
    """The text of the answer."""
    restated_answer: str | None = None
    """A closing phrase after the last box; it must be correct as well."""
    verdict: Verdict | None = None
    """Set if extraction alone decides: no_answer, unreadable, wrong (one_boxed)."""
    box: tuple[int, int] | None = None
    """The part of the response that the answer's box takes: the first index, and the first after it. Set if the text
    next to the box has still to be checked for a contradiction (module `beside`)."""


class Prepared(NamedTuple):
    """A check after extraction."""

    gold: tuple[str, ...]
    answer: str | None
    """None if there is no answer to compare; `extraction_verdict` is then set."""
    restated_answer: str | None
    """A second closing statement of the response, which must be correct as well."""
    extraction_verdict: Verdict | None
    """The verdict if extraction alone decides; it holds unless the gold is unreadable."""


class PreparedGold(NamedTuple):
    """The gold of a check as workers receive it. The checks of one row have the same."""

    task: tuple[str, ...]
    labelled: bool
    """False if it cannot have parts with labels."""


def prepare_gold(check: Check) -> PreparedGold:
    """Return the gold of a check, with its checker and options.

    Raises:
        CheckerError: The checker or a parameter is unknown.
    """
    gold, options = check.gold, check.options
    labelled = any(")" in one or "art" in one for one in gold)
    if not all(map(str.isascii, gold)):
        gold = tuple(map(encodable, gold))
    if options and not all(map(str.isascii, options)):
        options = tuple(map(encodable, options))
    if check.checker is not None or options or (gold and gold[0].startswith("\0")):
        gold = encode_task(gold, check.checker, options)
    return PreparedGold(gold, labelled)


def prepare(check: Check, max_chars: int, prepared_gold: PreparedGold | None = None) -> Prepared:
    """Extract the answer of `check.response`; a response of more than `max_chars` characters is unreadable.

    `prepared_gold` is `prepare_gold(check)`, for callers that have it of another check of the row.

    Raises:
        CheckerError: The checker or a parameter is unknown.
    """
    gold, labelled = prepared_gold or prepare_gold(check)
    result = extract(check.response, check.answer_format, check.truncated, max_chars=max_chars)
    if labelled and result.answer and check.answer_format != "bare" and any(map(has_labels, check.gold)):
        start = _after_thinking(check.response)
        boxes = _boxes(check.response, start)
        if len(boxes) > 1 and check.response[boxes[-1][1] : boxes[-1][2]].strip() in result.answer:
            parts = joined_parts(check.response, start, boxes)
            result = result if parts is None else Extraction(parts, result.restated_answer)
    verdict = result.verdict
    if verdict is not None:
        if verdict.answer is not None:
            verdict = replace(verdict, answer=encodable(verdict.answer), reason=encodable(verdict.reason))
        return Prepared(gold, None, None, verdict)
    assert result.answer is not None
    if len(result.answer) > MAX_CHARS and len(result.answer) > (
        limit := MAX_CHARS if is_plain(gold) else MAX_ANSWER_CHARS
    ):
        # The reader would reject it as well; rejecting it here avoids sending it to a worker.
        reason = f"the answer cannot be read: too_long {len(result.answer)} characters, {limit} are read"
        verdict = Verdict(False, "unreadable", truncate_answer(encodable(result.answer)), "limit", reason)
        return Prepared(gold, None, None, verdict)
    restated_answer = result.restated_answer
    if restated_answer is None and result.box is not None:
        restated_answer = restated(result.answer, check.gold, check.response, *result.box)
    restated_answer = None if restated_answer is None else encodable(restated_answer)
    answer = result.answer if result.answer.isascii() else encodable(result.answer)
    return Prepared(gold, answer, restated_answer, None)


def encodable(text: str) -> str:
    """Return `text` with every lone surrogate replaced by U+FFFD, which the parser rejects."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def extract(
    response: str,
    answer_format: AnswerFormat = "boxed",
    truncated: bool = False,
    *,
    max_chars: int = MAX_RESPONSE_CHARS,
) -> Extraction:
    """Extract the answer of a response. Pure, total, and linear in the text."""
    if len(response) > max_chars:
        return _none("unreadable", f"too_long: {len(response)} characters, the limit is {max_chars}")
    start = _after_thinking(response) if "<" in response else 0
    if truncated and response.find("<think>", start) >= 0:
        return _none("no_answer", "truncated before </think>")
    if answer_format == "bare":
        answer = response[start:].strip()
        return Extraction(answer) if answer else _none("no_answer", "the response is empty")
    if answer_format == "one_boxed":
        boxes = response.count(_BOX, start)
        if boxes != 1:
            return _none("wrong", f"one \\boxed is asked for, {boxes} were found")
    span = _last_box(response, start)
    if span is not None:
        answer = _joined(response, start, span).strip()
        if not answer:
            return _none("no_answer", "the last \\boxed{} is empty")
        if answer_format == "final_answer":
            marked = find_marked_answer(response, span[2])
            if marked is not None:
                return Extraction(marked)
        begin, content, close, end = span
        second = None
        usual = response[end : end + 2] in _USUAL_ENDS and (
            response[begin - 1 : begin] in _USUAL_BEGINNINGS or response[begin - 2 : begin] == ": "
        )
        if (
            not usual
            and _may_be_joined(response, begin, end)
            and len(answer) < MAX_CHARS
            and response[content:close].strip() == answer
        ):
            second = second_statement(answer, response, begin, end)
        if LETTER.search(response, end) is None and response.find("####", end) < 0:
            last = response[max(0, begin - MAX_CHARS_BESIDE) : begin].rstrip(OPENERS)
            # Most responses end with the box.
            contradicted = last.endswith("=") or (last.endswith(ENDINGS) and may_contradict(last))
            return Extraction(answer, second, box=(begin, end) if contradicted else None)
        second = second or find_restated_answer(response, close) or later_statement(answer, response, end)
        return Extraction(answer, second, box=(begin, end))
    if answer_format == "final_answer":
        phrase = find_closing_answer(response, start)
        return Extraction(phrase) if phrase else _none("no_answer", "neither a box nor a closing phrase was found")
    return _none("no_answer", "no complete \\boxed{} was found")


_USUAL_ENDS = frozenset(("", "$", "$.", "$$", "$\n", "\n", "\n\n", "\n\\", "\n$", "\\)", "\\]", ".", ".\n", "**"))
"""Characters after a box that end its formula."""
_USUAL_BEGINNINGS = frozenset("\n$([")
"""Characters before a box that begin its formula."""


def _may_be_joined(text: str, begin: int, end: int) -> bool:
    """Return True if an operator may join the box to its formula."""
    last = text[max(0, begin - 8) : begin].rstrip()
    if last[-1:] in OPERATORS_BEFORE or last.endswith(COMMANDS_BEFORE):
        return True
    if text[end : end + 2] in _USUAL_ENDS:
        return False
    if last[-1:] == "(" or text.startswith(("$\\%", "$%", "$ \\%", "$ %", "$^"), end):
        return True
    follows = text[end : end + 3].lstrip(" ")[:1]
    return follows in OPERATORS_AFTER or follows.isalpha()


def _after_thinking(response: str) -> int:
    """Return the index after the last `</think>`, or 0 if there is none."""
    # searching one character is many times faster than a word, and most responses contain few of them
    position = response.rfind("<")
    for _ in range(64):
        if position < 0:
            return 0
        if response.startswith(_THINK_END, position):
            return position + len(_THINK_END)
        position = response.rfind("<", 0, position)
    position = response.rfind(_THINK_END, 0, position + len(_THINK_END))
    return 0 if position < 0 else position + len(_THINK_END)


def boxes_of_gold(gold: str) -> str:
    """Return the answer of a gold that is a solution text: its boxes, or what follows "####" on its last line.

    Any other gold is returned unchanged.
    """
    if _BOX not in gold:
        _, hashes, last = gold.rpartition("####")
        last = last.strip()
        return last if hashes and last and "\n" not in last else gold
    span = _last_box(gold, 0)
    if span is None:
        return gold.replace("\\\\boxed{", "", 1).replace(_BOX + "{", "", 1).replace(_BOX, "")
    return _joined(gold, 0, span, loose=True)


def _none(status: Status, reason: str) -> Extraction:
    return Extraction(None, verdict=Verdict(False, status, None, "extraction", reason))


Span = tuple[int, int, int, int]
"""Indices of a box: its beginning, the beginning and the end of its content, and the first after the box."""


def _last_box(text: str, start: int) -> Span | None:
    """Return the last complete box outside comments, preferably outside fenced code blocks."""
    fences: list[int] | None = None
    fenced: Span | None = None
    end = len(text)
    attempts = 0
    while True:
        position = text.rfind(_BOX, start, end)
        if text.rfind("box", max(start, position), end) > position + 1:
            # Each command contains "box": there is one after \\boxed.
            for name in _FBOXES:
                position = max(position, text.rfind(name, max(start, position), end))
        if position < 0:
            return fenced
        span = _span(text, position)
        if span is None:
            attempts += 1
            if attempts > _MAX_INCOMPLETE_BOXES:
                return _last_complete(text, start) or fenced
        elif not _commented(text, position, start):
            if fences is None:
                # a box inside of a block has the block's end after it
                fences = [] if text.find("```", position) < 0 else _fences(text, start)
            if bisect(fences, position) % 2 == 0:
                return span
            fenced = fenced or span
        else:
            attempts += 1
            if attempts > 64 * _MAX_INCOMPLETE_BOXES:
                return fenced
        end = position


def _boxes(text: str, start: int) -> list[Span]:
    """Return the complete boxes outside comments, without those inside of others; none if there are too many."""
    spans: list[Span] = []
    others = 0
    position = text.find(_BOX, start)
    while position >= 0:
        span = _span(text, position)
        if span is not None and not _commented(text, position, start):
            spans.append(span)
            position = span[3] - 1
        else:
            others += 1
        if len(spans) > MAX_BOXES or others > _MAX_INCOMPLETE_BOXES:
            return []
        position = text.find(_BOX, position + 1)
    return spans


def _fences(text: str, start: int) -> list[int]:
    """Return the indices where fenced code blocks open and close, alternately, without an unclosed one."""
    if text.find("`", start) < 0:
        return []
    positions: list[int] = []
    position = text.find("```", start)
    while position >= 0:
        positions.append(position)
        position = text.find("```", position + 3)
    return positions if len(positions) % 2 == 0 else positions[:-1]


def _span(text: str, position: int) -> Span | None:
    """Return the box at `position`, or None if it is incomplete."""
    open_at = position + len(_BOX)
    if not text.startswith(_BOX, position):
        for name in _FBOXES:
            if text.startswith(name, position):
                open_at = position + len(name)
    while open_at < len(text) and text[open_at] in " \n":
        open_at += 1
    if open_at >= len(text) or text[open_at] != "{":
        return _span_without_braces(text, position, open_at)
    begin = open_at + 1
    depth, offset = 1, begin
    while True:
        close = text.find("}", offset)
        if close < 0:
            return None
        if opened := text.count("{", offset, close):
            depth += opened - text.count("\\{", offset, close)
        if text[close - 1] != "\\" or text[close - 2 : close] == "\\\\":
            depth -= 1
            if depth == 0:
                return position, begin, close, close + 1
        offset = close + 1


def _span_without_braces(text: str, position: int, begin: int) -> Span | None:
    r"""Return the box of `\boxed 5`, `\boxed\frac12` or `\boxed B`: a number, fraction, root, constant or capital.

    Anything else after the command is prose about boxes.
    """
    match = _UNBRACED.match(text, begin, begin + _MAX_UNBRACED)
    return None if match is None else (position, begin, match.end(1), match.end(1))


def _last_complete(text: str, start: int) -> Span | None:
    """Return the complete box that begins last, in one pass with a stack. For texts with many incomplete boxes."""
    best: Span | None = None
    stack: list[int] = []
    offset = text.find(_BOX, start)
    offset = start if offset < 0 else offset
    while True:
        opened, closed = text.find("{", offset), text.find("}", offset)
        if closed < 0:
            return best
        if 0 <= opened < closed:
            if text[opened - 1 : opened] != "\\":
                stack.append(opened)
            offset = opened + 1
            continue
        if text[closed - 1] != "\\" and stack:
            opened = stack.pop()
            position = opened - len(_BOX)
            if (
                text.startswith(_BOX, position)
                and (best is None or position > best[0])
                and not _commented(text, position, start)
            ):
                best = (position, opened + 1, closed, closed + 1)
        offset = closed + 1


def _commented(text: str, position: int, start: int) -> bool:
    """Return True if an unescaped % before the box, on its line, begins a LaTeX comment.

    A % directly after a number is a percent sign in prose, not a comment.
    """
    line = text.rfind("\n", max(start, position - 4096), position) + 1
    sign = text.find("%", max(line, start), position)
    while sign >= 0:
        before = text[max(line, start) : sign].rstrip(" ")
        if not before:
            return True
        if before[-1] not in "\\0123456789$" and text[sign - 1] == " ":
            return True
        sign = text.find("%", sign + 1, position)
    return False


def _joined(text: str, start: int, span: Span, loose: bool = False) -> str:
    """Return the content of the box, or of all adjacent boxes, as one list."""
    position, begin, end, _ = span
    parts = [text[begin:end]]
    labels = [""]
    gap_limit = _GAP
    while len(parts) <= _MAX_JOINED:
        low = max(start, position - gap_limit)
        close = text.rfind("}", low, position)
        if close < 0 or text.find("\n\n", close + 1, position) >= 0:
            break
        previous = text.rfind(_BOX, start if loose else max(start, close - 4096), close)
        before = _span(text, previous) if previous >= 0 else None
        if before is None or before[2] >= position or _commented(text, previous, start):
            break
        label = _connects(text[before[3] : position], loose)
        if label is None:
            break
        labels[0] = label
        position = before[0]
        parts.insert(0, text[before[1] : before[2]])
        labels.insert(0, "")
    if len(parts) == 1:
        return parts[0]
    if not loose:
        labels[0] = _label_before(text[max(start, position - 24) : position])
    if all(labels):
        return ", ".join(f"{label} = {part}" for label, part in zip(labels, parts, strict=True))
    unique = list(dict.fromkeys(part.strip() for part in parts))
    return unique[0] if len(unique) == 1 else ", ".join(unique)


def _connects(gap: str, loose: bool) -> str | None:
    """Return None if the gap separates two statements, otherwise the label ("x_2") at its end, or ""."""
    if "\n\n" in gap or "\\boxed" in gap:
        return None
    rest = gap.replace("\\text{and}", " ")
    while True:
        rest = rest.strip(" \n$,;&~")
        for connector in _CONNECTORS:
            if rest.startswith(connector):
                rest = rest[len(connector) :]
                break
            if rest.endswith(connector):
                rest = rest[: -len(connector)]
                break
        else:
            break
    if not rest:
        return ""
    if _PART.fullmatch(rest):
        return ""
    label = _label_before(rest)
    if label and len(rest) - len(label) <= 3:
        return label
    return "" if loose and "." not in rest and len(rest) <= 32 else None


def _label_before(text: str) -> str:
    """Return the name before an equals sign at the end of the text: "... y_1 = " -> "y_1"."""
    text = text.rstrip()
    if not text.endswith("="):
        return ""
    text = text[:-1].rstrip()
    begin = len(text)
    while begin > 0 and (text[begin - 1].isalnum() or text[begin - 1] in "_{}\\'"):
        begin -= 1
    name = text[begin:]
    return name if 0 < len(name) <= 12 and not name[0].isdigit() else ""
