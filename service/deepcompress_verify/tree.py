"""The closed expression tree that every answer is parsed into, and the limits on parsing.

A tree is plain data: frozen dataclasses of strings, ints, bools and other nodes. It contains no callables, and no
name in a text can refer to anything else. Only the reader creates trees, always within these limits, so code that
walks a tree may recurse. The meaning of trees is defined by the comparison, not here.
"""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

MAX_CHARS = 16_384
"""Maximum characters of an answer or a gold; longer ones are unreadable (too_long)."""
MAX_TOKENS = 4_096
MAX_NODES = 4_096
MAX_DEPTH = 40
MAX_DIGITS = 4_096
"""Maximum digits of one number."""

Bracket = Literal["(", ")", "[", "]"]


@dataclass(frozen=True, slots=True)
class Num:
    """An exact rational p/q, q > 0, in lowest terms."""

    p: int
    q: int = 1
    decimals: int | None = None
    """Digits after the point if written as a decimal (0.50 -> 2), else None."""


@dataclass(frozen=True, slots=True)
class Const:
    """A constant: pi, e, i, phi, oo (infinity), zoo (undefined), emptyset, or a number set (N Z Q R C)."""

    name: str


@dataclass(frozen=True, slots=True)
class Sym:
    """A variable: "x", "x_1", "alpha", "AB"."""

    name: str


@dataclass(frozen=True, slots=True)
class Add:
    """A sum of two or more terms."""

    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Neg:
    """A negated expression."""

    arg: Node


@dataclass(frozen=True, slots=True)
class Mul:
    """A product of two or more factors."""

    factors: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Div:
    """A quotient."""

    top: Node
    bottom: Node


@dataclass(frozen=True, slots=True)
class Pow:
    """A power."""

    base: Node
    exponent: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A known function (see FUNCTIONS): root(x, n), log(x) or log(x, base), binom(n, k)."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Apply:
    """An unknown function applied: f(x, y)."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class PlusMinus:
    """The two values left + right and left - right; `flipped` if the lower sign comes first (\\mp)."""

    left: Node | None
    right: Node
    flipped: bool = False


@dataclass(frozen=True, slots=True)
class BigOp:
    """A sum, product, integral or limit over `var`; bounds are None if not written."""

    kind: Literal["sum", "prod", "int", "lim"]
    body: Node
    var: str
    low: Node | None = None
    high: Node | None = None


@dataclass(frozen=True, slots=True)
class Based:
    """A numeral with an explicit base, 204_5. One with a prefix, 0x1F, keeps it in its digits."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with a unit. `unit` is canonical if known ("cm^2", "percent", "degree", "dollar"), otherwise words."""

    value: Node
    unit: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of two or more parts: 3:4, 1:2:3."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Time:
    """A time of day or a duration, in seconds; `half` is "am", "pm" or ""."""

    seconds: int
    half: str = ""


@dataclass(frozen=True, slots=True)
class Tuple:
    """Ordered items in brackets: a point, a vector, or with two items possibly an interval."""

    items: tuple[Node, ...]
    left: Bracket = "("
    right: Bracket = ")"


@dataclass(frozen=True, slots=True)
class List:
    """Several answers without brackets: "1, 2", "3 and 4"; `word` is "and" or "or" if written."""

    items: tuple[Node, ...]
    word: Literal["", "and", "or"] = ""


@dataclass(frozen=True, slots=True)
class Set:
    """A set of listed elements."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class SetBuilder:
    """A set given by a condition: {element : condition}."""

    element: Node
    condition: Node


@dataclass(frozen=True, slots=True)
class SetOp:
    """A union, intersection or difference of sets."""

    op: Literal["union", "intersection", "minus"]
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix, or a determinant."""

    rows: tuple[tuple[Node, ...], ...]
    kind: Literal["matrix", "det"] = "matrix"


@dataclass(frozen=True, slots=True)
class Rel:
    """A chain t0 op0 t1 op1 t2 ...; ops are = != < <= > >= ~ in notin subset == (congruence), ..."""

    terms: tuple[Node, ...]
    ops: tuple[str, ...]
    modulus: Node | None = None


@dataclass(frozen=True, slots=True)
class Piecewise:
    """Pairs (value, condition); the condition None is "otherwise"."""

    cases: tuple[tuple[Node, Node | None], ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """A multiple-choice letter, with the text of the choice if given: (B) 42."""

    letter: str
    content: Node | None = None


@dataclass(frozen=True, slots=True)
class Qualified:
    """A value with a condition in words or relations: "f(x) = x for all x", "2 pi k, k in Z"."""

    value: Node
    condition: str


@dataclass(frozen=True, slots=True)
class Text:
    """Words, normalised: lower case, single spaces, no articles."""

    words: str


Node: TypeAlias = (
    Num
    | Const
    | Sym
    | Add
    | Neg
    | Mul
    | Div
    | Pow
    | Call
    | Apply
    | PlusMinus
    | BigOp
    | Based
    | Quantity
    | Ratio
    | Time
    | Tuple
    | List
    | Set
    | SetBuilder
    | SetOp
    | Matrix
    | Rel
    | Piecewise
    | Choice
    | Qualified
    | Text
)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The result for a text that cannot be parsed: a slug (empty, too_long, too_deep, too_many_digits, syntax)."""

    slug: str
    detail: str = ""


FUNCTIONS = frozenset(
    "sin cos tan cot sec csc asin acos atan acot asec acsc sinh cosh tanh coth sech csch asinh acosh atanh "
    "acoth asech acsch exp ln log root abs floor ceil sign factorial factorial2 binom perm gcd lcm min max "
    "gamma zeta re im conj arg mod det fibonacci".split()
)
"""Valid names of a Call."""


def children(node: Node) -> list[Node]:
    """Return the nodes directly under `node`, in reading order."""
    result: list[Node] = []
    for name in _BRANCHES[type(node)]:
        value = getattr(node, name)
        if type(value) is tuple:
            for item in value:
                if type(item) is tuple:
                    result.extend(inner for inner in item if inner is not None)
                else:
                    result.append(item)
        elif value is not None:
            result.append(value)
    return result


def walk(node: Node) -> Iterator[Node]:
    """Yield the node and all its descendants."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        if type(current) not in LEAVES:
            stack.extend(children(current))


NODE_TYPES = (
    Num, Const, Sym, Add, Neg, Mul, Div, Pow, Call, Apply, PlusMinus, BigOp, Based, Quantity, Ratio, Time, Tuple,
    List, Set, SetBuilder, SetOp, Matrix, Rel, Piecewise, Choice, Qualified, Text,
)  # fmt: skip

_NODE_FIELDS: dict[type, tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind) if "Node" in str(field.type)) for kind in NODE_TYPES
}
"""The fields of each node type that contain nodes, computed once, since trees are walked often."""

_PLAIN = frozenset(("int", "str", "int | None", "Bracket", "bool", "tuple[str, ...]"))
_BRANCHES: dict[type, tuple[str, ...]] = {
    kind: tuple(f.name for f in fields(kind) if f.type not in _PLAIN and "Literal" not in str(f.type))
    for kind in NODE_TYPES
}
"""The fields of each node type that may contain nodes."""
LEAVES = frozenset(kind for kind, names in _BRANCHES.items() if not names)
"""Node types without nodes in them."""
