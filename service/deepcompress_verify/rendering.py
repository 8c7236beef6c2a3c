"""Rendering of a tree as two-dimensional mathematics in a terminal: fractions, roots, matrices in tall brackets.

    render_tree(read(r"\\frac{1+\\sqrt{5}}{2}"))

         ___
    1 + √ 5
    ────────
       2

A tree that is too large gives None; the caller then uses the one-line form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepcompress_verify.tree import (
    Add,
    Apply,
    Based,
    BigOp,
    Call,
    Choice,
    Const,
    Div,
    List,
    Matrix,
    Mul,
    Neg,
    Node,
    Num,
    Piecewise,
    PlusMinus,
    Pow,
    Qualified,
    Quantity,
    Ratio,
    Rel,
    Set,
    SetBuilder,
    SetOp,
    Sym,
    Text,
    Time,
    Tuple,
    walk,
)

MAX_DRAWN_NODES = 200
MAX_DRAWN_DIGITS = 60

_SUPERSCRIPT = str.maketrans("0123456789+-n()", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ⁽⁾")
_SUBSCRIPT = str.maketrans("0123456789+-()", "₀₁₂₃₄₅₆₇₈₉₊₋₍₎")
_CONSTANTS = {"pi": "π", "oo": "∞", "phi": "φ", "emptyset": "∅", "zoo": "undefined",
              "N": "ℕ", "Z": "ℤ", "Q": "ℚ", "R": "ℝ", "C": "ℂ"}  # fmt: skip
_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ", "eta": "η", "theta": "θ",
    "iota": "ι", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "rho": "ρ", "sigma": "σ", "tau": "τ",
    "phi": "φ", "varphi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ",
    "Lambda": "Λ", "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω",
}  # fmt: skip
_RELATIONS = {
    "<=": "≤",
    ">=": "≥",
    "!=": "≠",
    "in": "∈",
    "notin": "∉",
    "subset": "⊂",
    "subseteq": "⊆",
    "==": "≡",
    "~": "∼",
}
_SETS = {"union": "∪", "intersection": "∩", "minus": "∖"}
_BIG = {"sum": "∑", "prod": "∏", "int": "∫", "lim": "lim"}
_UNITS = {"percent": "%", "degree": "°"}
_TALL = {
    "(": "⎛⎜⎝", ")": "⎞⎟⎠", "[": "⎡⎢⎣", "]": "⎤⎥⎦", "|": "│││", "{": "⎧⎨⎩", "}": "⎫⎬⎭",
    "⌊": "⎢⎢⎣", "⌋": "⎥⎥⎦", "⌈": "⎡⎢⎢", "⌉": "⎤⎥⎥",
}  # fmt: skip

_SUM, _PRODUCT, _POWER, _ATOM = 1, 2, 3, 4
"""Binding strength of a block; a weaker block inside a stronger one gets parentheses."""


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of equal width; `base` is the index of the base line."""

    lines: tuple[str, ...]
    base: int = 0
    tightness: int = _ATOM

    @property
    def width(self) -> int:
        """Width in characters."""
        return len(self.lines[0])


def render_tree(node: Node) -> str | None:
    """Return the rendering, lines joined; None for a tree that is too large."""
    if sum(1 for _ in walk(node)) > MAX_DRAWN_NODES:
        return None
    return "\n".join(line.rstrip() for line in _draw(node).lines)


def _text_block(text: str, tightness: int = _ATOM) -> Block:
    return Block(("".join(c if c.isprintable() else "�" for c in text),), 0, tightness)


def _row(blocks: Sequence[Block], tightness: int = _ATOM) -> Block:
    """Join blocks side by side on one base line."""
    above = max(block.base for block in blocks)
    below = max(len(block.lines) - block.base for block in blocks)
    lines = []
    for index in range(above + below):
        cells = []
        for block in blocks:
            at = index - above + block.base
            cells.append(block.lines[at] if 0 <= at < len(block.lines) else " " * block.width)
        lines.append("".join(cells))
    return Block(tuple(lines), above, tightness)


def _stack(blocks: Sequence[Block], base: int, tightness: int = _ATOM) -> Block:
    """Stack blocks, centred; the base line is that of block number `base`."""
    width = max(block.width for block in blocks)
    lines = [line.center(width) for block in blocks for line in block.lines]
    above = sum(len(block.lines) for block in blocks[:base])
    return Block(tuple(lines), above + blocks[base].base, tightness)


def _between(left: str, block: Block, right: str) -> Block:
    """Put a block between brackets of its height; "" means no bracket."""
    sides = [_bracket(left, block), block, _bracket(right, block)]
    return _row([side for side in sides if side.width])


def _bracket(mark: str, block: Block) -> Block:
    height = len(block.lines)
    if height == 1 or not mark:
        return Block((mark,) * height, block.base)
    top, middle, bottom = tuple(_TALL[mark])
    if mark in "{}":
        straight = "⎪"
        lines = [straight] * height
        lines[height // 2] = middle if height > 2 else straight
    else:
        lines = [middle] * height
    lines[0], lines[-1] = top, bottom
    return Block(tuple(lines), block.base)


def _parenthesized(node: Node, tightness: int) -> Block:
    block = _draw(node)
    return block if block.tightness >= tightness else _between("(", block, ")")


def _joined_items(items: Sequence[Node], mark: str = ", ") -> Block:
    blocks: list[Block] = []
    for item in items:
        blocks += [_text_block(mark)] if blocks else []
        blocks.append(_draw(item))
    return _row(blocks) if blocks else _text_block("")


def _draw(node: Node) -> Block:
    match node:
        case Num():
            return _number(node)
        case Const(name):
            return _text_block(_CONSTANTS.get(name, name))
        case Sym(name):
            return _text_block(_symbol(name))
        case Add(terms):
            return _sum(terms)
        case Neg(arg):
            return _row([_text_block("-"), _parenthesized(arg, _PRODUCT)], _SUM)
        case Mul(factors):
            return _product(factors)
        case Div(top, bottom):
            return _fraction(_draw(top), _draw(bottom))
        case Pow(base, exponent):
            return _raised(_parenthesized(base, _ATOM), _draw(exponent))
        case Call(name, args):
            return _call(name, args)
        case Apply(name, args):
            return _row([_text_block(_symbol(name)), _between("(", _joined_items(args), ")")])
        case PlusMinus(left, right, flipped):
            sign = "∓" if flipped else "±"
            if left is None:
                return _row([_text_block(sign), _parenthesized(right, _PRODUCT)], _SUM)
            return _row([_parenthesized(left, _SUM), _text_block(f" {sign} "), _parenthesized(right, _PRODUCT)], _SUM)
        case BigOp(kind, body, var, low, high):
            return _big_operator(kind, body, var, low, high)
        case Based(digits, base) if digits[1:2] in ("x", "b", "o"):
            return _text_block(digits)
        case Based(digits, base):
            return _text_block(digits + str(base).translate(_SUBSCRIPT))
        case _:
            return _draw_structure(node)


def _draw_structure(node: Node) -> Block:
    match node:
        case Quantity(value, unit):
            return _row([_parenthesized(value, _PRODUCT), _text_block(_UNITS.get(unit, f" {unit}"))], _PRODUCT)
        case Ratio(parts):
            return _joined_items(parts, " : ")
        case Time(seconds, half):
            hours, rest = divmod(seconds, 3600)
            return _text_block(
                f"{hours}:{rest // 60:02d}"
                + (f":{rest % 60:02d}" if rest % 60 else "")
                + (f" {half}" if half else "")
            )
        case Tuple(items, left, right):
            return _between(left, _joined_items(items), right)
        case List(items, word):
            return _joined_items(items, f" {word} " if word else ", ")
        case Set(items):
            return _between("{", _joined_items(items), "}")
        case SetBuilder(element, condition):
            return _between("{", _row([_draw(element), _text_block(" | "), _draw(condition)]), "}")
        case SetOp(joined, args):
            return _joined_items(args, f" {_SETS[joined]} ")
        case Matrix(rows, kind):
            grid = _grid([[_draw(cell) for cell in row] for row in rows])
            return _between("|", grid, "|") if kind == "det" else _between("[", grid, "]")
        case Rel(terms, ops, modulus):
            blocks = [_draw(terms[0])]
            for op, term in zip(ops, terms[1:], strict=False):
                blocks += [_text_block(f" {_RELATIONS.get(op, op)} "), _draw(term)]
            if modulus is not None:
                blocks += [_text_block("  (mod "), _draw(modulus), _text_block(")")]
            return _row(blocks, 0)
        case Piecewise(cases):
            branches = [
                [_draw(value), _text_block("otherwise") if when is None else _draw(when)] for value, when in cases
            ]
            return _between("{", _grid(branches, "  if "), "")
        case Choice(letter, content):
            chosen = _text_block(f"choice {letter}")
            return chosen if content is None else _row([chosen, _text_block(": "), _draw(content)])
        case Qualified(value, condition):
            return _row([_draw(value), _text_block(f"   where {condition}")], 0)
        case Text(words):
            return _text_block(f"“{words}”")
        case _:
            return _text_block(type(node).__name__)


def _number(node: Num) -> Block:
    if node.q == 1:
        return _text_block(_digits(node.p), _ATOM if node.p >= 0 else _SUM)
    if node.decimals is not None and node.decimals <= MAX_DRAWN_DIGITS:
        digits = str(abs(node.p) * 10**node.decimals // node.q).rjust(node.decimals + 1, "0")
        sign = "-" if node.p < 0 else ""
        return _text_block(
            f"{sign}{digits[: -node.decimals]}.{digits[-node.decimals :]}", _ATOM if node.p >= 0 else _SUM
        )
    over = _fraction(_text_block(_digits(abs(node.p))), _text_block(_digits(node.q)))
    return over if node.p >= 0 else _row([_text_block("-"), over], _SUM)


def _digits(number: int) -> str:
    if number.bit_length() > 4 * MAX_DRAWN_DIGITS:
        return f"(a number of {number.bit_length()} bits)"
    return str(number)


def _symbol(name: str) -> str:
    stem, _, index = name.partition("_")
    stem = _GREEK.get(stem, stem)
    if not index:
        return stem
    small = index.translate(_SUBSCRIPT)
    return stem + (small if small != index and index.isdigit() else f"_{index}")


def _sum(terms: Sequence[Node]) -> Block:
    blocks: list[Block] = []
    for term in terms:
        negative = isinstance(term, Neg) or (isinstance(term, Num) and term.p < 0)
        if blocks:
            blocks.append(_text_block(" - " if negative else " + "))
        elif negative:
            blocks.append(_text_block("-"))
        if isinstance(term, Neg):
            blocks.append(_parenthesized(term.arg, _PRODUCT))
        elif isinstance(term, Num) and negative:
            blocks.append(_number(Num(-term.p, term.q, term.decimals)))
        else:
            blocks.append(_parenthesized(term, _PRODUCT))
    return _row(blocks, _SUM)


def _product(factors: Sequence[Node]) -> Block:
    blocks: list[Block] = []
    before: Node | None = None
    for factor in factors:
        if before is not None:
            dotted = isinstance(factor, Num) or (isinstance(factor, Pow) and isinstance(factor.base, Num))
            blocks.append(
                _text_block("·" if dotted else " " if isinstance(before, Div | Call) or _needs_space(factor) else "")
            )
        blocks.append(_parenthesized(factor, _PRODUCT if isinstance(factor, Mul) else _POWER))
        before = factor
    return _row(blocks, _PRODUCT)


def _needs_space(node: Node) -> bool:
    return isinstance(node, Call | BigOp | Div) or (isinstance(node, Sym) and len(_symbol(node.name)) > 1)


def _fraction(top: Block, bottom: Block) -> Block:
    width = max(top.width, bottom.width)
    if len(top.lines) > 1 or len(bottom.lines) > 1:
        width += 2  # the outer bar of a nested fraction is longer
    return _stack([top, _text_block("─" * width), bottom], 1, _POWER)


def _raised(base: Block, exponent: Block) -> Block:
    if len(exponent.lines) == 1:
        small = exponent.lines[0].replace(" ", "").translate(_SUPERSCRIPT)
        if all(mark in "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ⁽⁾" for mark in small):
            return _row([base, Block((small,) + (" " * len(small),) * (len(base.lines) - 1), base.base)], _POWER)
    lifted = Block(exponent.lines + (" " * exponent.width,) * len(base.lines), len(exponent.lines) + base.base)
    return _row([base, lifted], _POWER)


def _call(name: str, args: Sequence[Node]) -> Block:
    match name, args:
        case "root", (arg, Num(2, 1)):
            return _root(_draw(arg), "")
        case "root", (arg, Num(n, 1)) if abs(n) < 100:
            return _root(_draw(arg), str(n).translate(_SUPERSCRIPT))
        case "abs", (arg,):
            return _between("|", _draw(arg), "|")
        case "floor", (arg,):
            return _between("⌊", _draw(arg), "⌋")
        case "ceil", (arg,):
            return _between("⌈", _draw(arg), "⌉")
        case "factorial" | "factorial2", (arg,):
            return _row([_parenthesized(arg, _ATOM), _text_block("!" if name == "factorial" else "!!")])
        case "binom", (upper, lower):
            return _between("(", _stack([_draw(upper), _text_block(" "), _draw(lower)], 1), ")")
        case "exp", (arg,):
            return _raised(_text_block("e"), _draw(arg))
        case "log", (arg, Num(base, 1)) if base >= 0:
            return _row([_text_block("log" + str(base).translate(_SUBSCRIPT)), _between("(", _draw(arg), ")")])
    return _row([_text_block(name), _between("(", _joined_items(args), ")")])


def _root(inside: Block, index: str) -> Block:
    roof = Block(("_" * (inside.width + 1),))
    height = len(inside.lines)
    if height == 1:
        body: tuple[str, ...] = (f"√ {inside.lines[0]}",)
        base = 0
    else:
        body = tuple(("╲│" if n == height - 1 else " │") + line for n, line in enumerate(inside.lines))
        base = inside.base
    lines = (" " * (len(body[0]) - roof.width) + roof.lines[0], *body)
    pad = " " * len(index)
    marked = tuple((index if n == base + 1 else pad) + line for n, line in enumerate(lines))
    return Block(marked, base + 1)


def _big_operator(kind: str, body: Node, var: str, low: Node | None, high: Node | None) -> Block:
    name = _symbol(var)
    below = None
    if low is not None:
        mark = " → " if kind == "lim" else " = " if kind != "int" else None
        below = _draw(low) if mark is None else _row([_text_block(name + mark), _draw(low)])
    parts = [
        part for part in (None if high is None else _draw(high), _text_block(_BIG[kind]), below) if part is not None
    ]
    sign = _stack(parts, 0 if high is None else 1)
    tail = [_text_block(f" d{name}")] if kind == "int" else []
    return _row([sign, _text_block(" "), _parenthesized(body, _PRODUCT), *tail], _PRODUCT)


def _grid(rows: Sequence[Sequence[Block]], gap: str = "  ") -> Block:
    columns = max((len(row) for row in rows), default=0)
    widths = [max((row[k].width for row in rows if k < len(row)), default=0) for k in range(columns)]
    drawn = []
    for row in rows:
        cells: list[Block] = []
        for k, cell in enumerate(row):
            if k:
                cells.append(_text_block(gap))
            spare = widths[k] - cell.width
            cells.append(_row([cell, _text_block(" " * spare)]) if spare else cell)
        drawn.append(_row(cells))
    width = max((block.width for block in drawn), default=0)
    lines = [line.ljust(width) for block in drawn for line in block.lines]
    return Block(tuple(lines) or ("",), len(lines) // 2)
