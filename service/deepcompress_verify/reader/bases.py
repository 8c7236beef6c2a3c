"""Numerals with a base: 204_5, 2A_{16}, (E9EE)_{16}."""

from __future__ import annotations

from deepcompress_verify.reader.stream import Stream
from deepcompress_verify.reader.tokens import Token
from deepcompress_verify.reader.words import (
    NUMBER_WORDS,
)
from deepcompress_verify.tree import (
    Based,
    Node,
    Num,
)


def based_on_letters(s: Stream, token: Token) -> Node | None:
    """Parse digits and letters before a base above ten: 2A_{16} and E9EE_{16}."""
    ahead = 0
    digits = token.value
    while s.peek(ahead).kind in "nwt" and not s.peek(ahead).space and ahead < 8:
        digits += s.peek(ahead).value
        ahead += 1
    if not s.is_op("_", ahead) or len(digits) < 2 or not (digits[-1] + digits).isalnum():
        return None
    if token.kind == "n" and ahead == 0:
        return None
    return _in_base(s, digits, ahead)


def _in_base(s: Stream, digits: str, ahead: int) -> Node | None:
    """Return the numeral of these digits if a base of two digits is `ahead`, and advance over it."""
    raw = s.peek(ahead + 2).value if s.is_op("{", ahead + 1) else s.peek(ahead + 1).value
    if not (raw.isascii() and raw.isdigit() and len(raw) == 2 and 11 <= int(raw) <= 36):
        return None
    mixed = any(c.isdigit() for c in digits) or digits.isupper() or len(digits) > 2
    if not mixed or any(c.upper() >= chr(55 + int(raw)) for c in digits if c.isalpha()):
        return None
    s.position += ahead + (4 if s.is_op("{", ahead + 1) else 2)
    return Based(digits.upper(), int(raw))


def based_in_brackets(s: Stream) -> Node | None:
    """Parse (E9EE)_{16}, after the opening bracket."""
    ahead = 0
    digits = ""
    while s.peek(ahead).kind in "nwt" and ahead < 6:
        digits += s.peek(ahead).value
        ahead += 1
    if not digits.isalnum() or digits.isdigit() or not (s.is_op(")", ahead) and s.is_op("_", ahead + 1)):
        return None
    return _in_base(s, digits, ahead + 1)


def based(s: Stream, node: Num) -> Node:
    """Parse a base after a numeral: 204_5, 1011_{2}, 12_{\\text{ten}}."""
    digits = s.tokens[s.position - 1].value
    if s.tokens[s.position - 1].kind != "n":
        digits = str(node.p)
    s.position += 1
    if s.is_op("{"):
        raw = "".join(s.raw_group())
    else:
        raw = s.next().value
    base = NUMBER_WORDS.get(raw.lower(), int(raw) if raw.isascii() and raw.isdigit() and len(raw) <= 2 else 0)
    if not 2 <= base <= 36 or not digits.isdigit() or any(int(d) >= base for d in digits):
        raise s.fail("a base that does not fit")
    return Based(digits, base)
