"""Answers in parts: "(a) 5 (b) 7", "i) 3; ii) 4", "Part A: 5, Part B: 7" are ordered by their labels."""

from __future__ import annotations

from deepcompress_verify.reader.tokens import Token

_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6}
_SEPARATORS = frozenset((",", ";", ".", "and", "\\"))
MAX_PARTS = 12
_MAY_LABEL = frozenset((")", ":", "part", "Part", "PART")).__contains__


def split_parts(tokens: list[Token]) -> list[list[Token]] | None:
    """Return the tokens of each part in the order of the labels, each with an end token; None without labels."""
    if len(tokens) < 5 or not any(map(_MAY_LABEL, [token.value for token in tokens])):
        return None
    tokens = _without_braces(tokens)
    if not _could_begin(tokens):
        return None
    labels: list[tuple[int, str, int]] = []  # start, letter, first token after the label
    i = depth = 0
    while i < len(tokens) - 1:
        end = _label_end(tokens, i) if depth == 0 else 0
        if end:
            labels.append((i, _letter(tokens, i, end), end))
            i = end
            continue
        if tokens[i].kind == "o":
            depth += (tokens[i].value in ("(", "[", "{", "\\{")) - (tokens[i].value in (")", "]", "}", "\\}"))
        i += 1
    if len(labels) < 2 or labels[0][0] != 0 or len(labels) > MAX_PARTS:
        return None
    order = _order([letter for _, letter, _ in labels])
    if order is None:
        return None
    pieces: dict[int, list[Token]] = {}
    ends = [start for start, _, _ in labels[1:]] + [len(tokens) - 1]
    for number, (_, _, begin), end in zip(order, labels, ends, strict=True):
        piece = tokens[begin:end]
        while piece and piece[-1].value.lower() in _SEPARATORS:
            piece.pop()
        if not piece:
            return None
        pieces[number] = [*piece, tokens[-1]]
    return [pieces[number] for number in sorted(pieces)]


def _without_braces(tokens: list[Token]) -> list[Token]:
    """Return the tokens without the braces around a label: {(a)} 5, {b)} 7."""
    if tokens[0][:2] != ("o", "{"):
        return tokens
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        size = next((n for n in (3, 2) if _is_braced_label(tokens[i : i + n + 2])), 0)
        if size:
            out.append(tokens[i + 1]._replace(space=True))
            out += tokens[i + 2 : i + 1 + size]
            i += size + 2
        else:
            out.append(tokens[i])
            i += 1
    return out


def _is_braced_label(tokens: list[Token]) -> bool:
    """Return True for { ( a ) } and { a ) }."""
    *label, last = tokens[1:] or [tokens[0]]
    return (
        tokens[0][:2] == ("o", "{") and last[:2] == ("o", "}") and _label_end([*label, last, last], 0) == len(label)
    )


def _could_begin(tokens: list[Token]) -> bool:
    first = tokens[0]
    return (first.kind == "o" and first.value == "(") or first.kind in "tw"


def _is_letter(token: Token) -> bool:
    return token.kind in "tw" and (len(token.value) == 1 or token.value.lower() in _ROMAN)


def _is_numbered(tokens: list[Token], i: int) -> bool:
    """Return True for (1) before a value, at the beginning or after a separator: (1) 5; (2) 7."""
    inside = tokens[i + 1]
    return (
        inside.kind == "n" and len(inside.value) == 1 and tokens[i + 2][:2] == ("o", ")") and tokens[i + 3].space
        and (i == 0 or tokens[i - 1].value in _SEPARATORS or (tokens[i].space and _begins_with_one(tokens)))
        and tokens[i + 3].value not in _SEPARATORS
    )  # fmt: skip


def _begins_with_one(tokens: list[Token]) -> bool:
    """Return True for an answer that begins with (1) and a space."""
    return [token.value for token in tokens[:3]] == ["(", "1", ")"] and tokens[3].space


def _label_end(tokens: list[Token], i: int) -> int:
    """Return the index after a label at i, or 0."""
    if i + 3 >= len(tokens):
        return 0
    if tokens[i][:2] == ("o", "(") and _is_letter(tokens[i + 1]) and tokens[i + 2][:2] == ("o", ")"):
        # f(a) is no label: a label has a space before it, or begins the answer
        return i + 3 if i == 0 or tokens[i].space or tokens[i + 1].kind == "t" else 0
    if tokens[i][:2] == ("o", "(") and _is_numbered(tokens, i):
        return i + 3
    if i and not (tokens[i].space or tokens[i - 1].value.lower() in _SEPARATORS):
        return 0
    if tokens[i].kind in "tw" and tokens[i].value.lower() == "part":
        i += 1
        if not _is_letter(tokens[i]):
            return 0
        return i + 2 if tokens[i + 1][:2] == ("o", ":") else i + 1
    if _is_letter(tokens[i]) and tokens[i + 1].kind == "o" and tokens[i + 1].value in (")", ":"):
        return i + 2
    return 0


def _letter(tokens: list[Token], start: int, end: int) -> str:
    return next(t.value for t in reversed(tokens[start:end]) if _is_letter(t) or t.kind == "n")


def _order(letters: list[str]) -> list[int] | None:
    """Return the numbers of the labels if they are the first ones of a, b, c, of A, B, C or of i, ii, iii."""
    lower = [letter.lower() for letter in letters]
    for numbers in (
        [_ROMAN.get(x, 0) for x in lower],
        [int(x) if x.isdigit() else 0 for x in lower],
        [ord(x) - 96 if len(x) == 1 else 0 for x in lower],
    ):
        if sorted(numbers) == list(range(1, len(letters) + 1)):
            return numbers
    return None
