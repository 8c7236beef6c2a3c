"""Comparison of words."""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from deepcompress_verify.reader.words import PHRASES, ordinal_word
from deepcompress_verify.tree import (
    Add,
    Const,
    List,
    Mul,
    Neg,
    Node,
    Num,
    Qualified,
    Quantity,
    Rel,
    Set,
    SetBuilder,
    Sym,
    Text,
)

_DROPPED = frozenset("the a an of is are by that it its will be only".split())
_OPENING = frozenset(("on", "in", "at"))
"""Dropped at the beginning of a phrase: on Tuesday."""
_SHORT = {
    short: name
    for name, shorts in {
        "monday": "mon", "tuesday": "tue tues", "wednesday": "wed weds", "thursday": "thu thurs",
        "friday": "fri",
        "saturday": "sat", "sunday": "sun", "january": "jan", "february": "feb", "august": "aug",
        "september": "sep sept", "october": "oct", "november": "nov", "december": "dec", "april": "apr",
        "march": "mar",
    }.items()
    for short in shorts.split()
}  # fmt: skip
"""Days and months by their short names."""
_NAMED = {
    "emptyset": "no solution",
    "R": "all real numbers",
    "Z": "integers",
    "N": "natural numbers",
    "Q": "rational numbers",
    "C": "complex numbers",
}


def words_of(node: Node) -> str | None:
    """Return the words of a text, of a name, or of a list of texts joined; None for anything else."""
    if isinstance(node, Text):
        return node.words
    if isinstance(node, Sym) and node.name in _INTEGERS:
        return _INTEGERS[node.name]
    if isinstance(node, (Rel, Qualified, Set, SetBuilder)):
        return _integers(node)
    if isinstance(node, Quantity) and node.unit == "ordinal" and isinstance(node.value, Num) and node.value.q == 1:
        return ordinal_word(node.value.p)
    if isinstance(node, Quantity) and node.unit in ("?odd", "?even", "?prime") and isinstance(node.value, Sym):
        return node.unit[1:] if len(node.value.name) == 1 else None  # n odd
    if isinstance(node, Sym):
        name = node.name.lower()
        return PHRASES.get(name, name) if name.replace(" ", "").isalpha() else None
    if isinstance(node, (Add, Mul)):
        return next(filter(None, (_parity(node, Rel((Sym(name), Const("Z")), ("in",))) for name in "kmn")), None)
    if isinstance(node, Const):
        return _NAMED.get(node.name)
    if isinstance(node, List):
        if (integers := _integers(node)) is not None:
            return integers
        parts = [words_of(item) for item in node.items]
        return None if None in parts else " ".join(p for p in parts if p)
    return None


_INTEGERS = {
    f"bb {letter}{mark}": name
    for name, marks in (
        ("positive integers", "Z^+ Z_+ Z_>0 Z_>=1 Z^{+} N^+ N^* N_>0 N_+ N_>=1 Z^*_+ Z_+^*"),
        ("nonnegative integers", "Z_>=0 N_0 Z^+_0 Z_0^+ N_>=0"),
        ("negative integers", "Z^- Z_- Z_<0"),
    )
    for letter, mark in ((spelling[0], spelling[1:]) for spelling in marks.split())
}
"""Sets of integers by the name of their symbol."""
_FROM = {
    (">", 0): "positive integers", (">=", 1): "positive integers", (">=", 0): "nonnegative integers",
    (">", -1): "nonnegative integers", ("<", 0): "negative integers", ("<=", -1): "negative integers",
}  # fmt: skip
"""Sets of integers by the inequality that begins or ends them."""


def same_integers(gold: Sym, answer: Sym) -> bool:
    """Return True for two symbols of one set of integers: Z^+ and Z_{>0}."""
    return gold.name in _INTEGERS and _INTEGERS[gold.name] == _INTEGERS.get(answer.name)


def name_of_triangle(symbol: Sym) -> str:
    """Return the name without "triangle": triangle ABC and ABC are the same."""
    rest = symbol.name.removeprefix("triangle ")
    return rest if len(rest) == 3 and rest.isupper() else symbol.name


def _integers(node: Node) -> str | None:
    """Return the words for n >= 1, n in Z; for n in Z^+; for {1, 2, 3, ...}; None for anything else."""
    if isinstance(node, SetBuilder):
        if isinstance(node.condition, Rel) and node.condition.ops == ("in",):
            return _parity(node.element, node.condition)
        if isinstance(node.element, Rel) and node.element.ops == ("in",):
            node = Qualified(node.condition, f"{_name(node.element.terms[0])} in {_name(node.element.terms[1])}")
        else:
            node = node.condition
    if isinstance(node, Set):
        *members, last = node.items
        begin = members[0].p if members and isinstance(members[0], Num) else -1
        counted = members == [Num(begin + n) for n in range(len(members))]
        return _FROM.get((">=", begin)) if counted and len(members) >= 3 and last == Sym("...") else None
    if isinstance(node, Rel) and node.ops == ("in",):
        return words_of(node.terms[1]) if isinstance(node.terms[0], Sym) else None
    if isinstance(node, List) and isinstance(node.items[0], Rel) and node.items[0].ops == ("=",):
        return _integers(Set((node.items[0].terms[1], *node.items[1:])))  # n = 1, 2, 3, ...
    if isinstance(node, List) and len(node.items) == 2 and node.word != "or":
        one, two = node.items
        one, two = (two, one) if isinstance(one, Rel) and one.ops == ("in",) else (one, two)
        if not (isinstance(two, Rel) and two.ops == ("in",)):
            return None
        node = Qualified(one, f"{_name(two.terms[0])} in {_name(two.terms[1])}")
    if isinstance(node, Qualified) and isinstance(node.value, (Mul, Add)):
        words = node.condition.split()
        return _parity(node.value, Rel((Sym(words[0]), Const("Z")), ("in",))) if words[1:] == ["in", "Z"] else None
    if isinstance(node, Qualified) and isinstance(node.value, Rel) and len(node.value.terms) == 2:
        value = node.value
        if value.ops == ("in",) and _name(value.terms[1]) == "Z":
            words = node.condition.split()
            if len(words) != 3 or not words[2].isdigit():
                return None
            return _FROM.get((words[1], int(words[2]))) if words[0] == _name(value.terms[0]) else None
        if node.condition != f"{_name(value.terms[0])} in Z" or not isinstance(value.terms[0], Sym):
            return None
        end = value.terms[1]
        return _FROM.get((value.ops[0], end.p)) if isinstance(end, Num) and end.q == 1 else None
    return None


def _parity(element: Node, condition: Rel) -> str | None:
    """Return the words for {2k : k in Z} and {2k + 1 : k in Z}; None for anything else."""
    if condition.terms[1] != Const("Z") or not isinstance(condition.terms[0], Sym):
        return None
    terms = element.terms if isinstance(element, Add) else (element,)
    if terms[0] != Mul((Num(2), condition.terms[0])) or len(terms) > 2:
        return None
    if len(terms) == 1:
        return "even integers"
    rest = terms[1].arg if isinstance(terms[1], Neg) else terms[1]
    return "odd integers" if rest == Num(1) else None


def _name(node: Node) -> str:
    return node.name if isinstance(node, (Sym, Const)) else ""


_PARITIES = frozenset(("odd", "even", "prime"))
_SINGULARS = frozenset(("integer", "number", "prime"))


def equal_text(gold: Node, answer: Node) -> bool:
    """Return True for the same words except for case, articles, punctuation and spaces."""
    one, two = words_of(gold), words_of(answer)
    if one is None or two is None:
        return False
    if one.startswith("all ") and two.startswith("all ") and _key(one, True) == _key(two, True):
        return True
    return _key(one) == _key(two) or (
        _head(one) != _head(two) and _key(_without_head(one)) == _key(_without_head(two))
    )


def _head(words: str) -> str:
    """Return the noun that a phrase describes: triangle in "isosceles triangle"; "" without one."""
    described, _, head = words.rpartition(" ")
    known = head in _HEADS and described.replace(" ", "").isalpha()
    return head if known and described.split()[-1] not in _DETERMINERS else ""


def _without_head(words: str) -> str:
    head = _head(words)
    return words.removesuffix(f" {head}") if head else words


_HEADS = frozenset("triangle quadrilateral function series sequence integral matrix".split())
_DETERMINERS = frozenset("no not non yes none any all every some each this that one another or and nor".split())


def _key(words: str, of_integers: bool = False) -> str:
    """Return the words that count, joined. With `of_integers`, "all odd n" is "all odd integers"."""
    split = words.replace("-", " ").split()
    last = len(split) - 1
    significant = [w for i, w in enumerate(split) if w not in _DROPPED or (w == "a" and i == last)]  # hepatitis A
    if len(significant) > 1 and significant[0] in _OPENING:
        del significant[0]
    if len(significant) > 1 and significant[0] == "every" and significant[-1] in _SINGULARS:
        significant = [*significant[1:-1], f"{significant[-1]}s"]
    if len(significant) == 3 and significant[0] == "all" and significant[1] in _PARITIES and len(significant[2]) == 1:
        significant = [*significant[1:2], "integers"] if of_integers else significant[1:2]  # all odd n
        if significant == ["prime", "integers"]:
            significant = ["primes"]
    if len(significant) == 2 and len(significant[0]) == 1 and significant[1] in _PARITIES:
        del significant[0]  # n is odd
    if len(significant) > 2 and len(significant[-1]) == 1 and significant[-2] in ("integers", "numbers", "primes"):
        del significant[-1]  # all positive integers n
    if len(significant) > 1 and significant[0] in ("set", "all") and significant[-1].endswith("s"):
        significant = [w for i, w in enumerate(significant) if i > 1 or w not in ("set", "all")]
    if len(significant) == 1:
        significant = [_SHORT.get(significant[0], significant[0])]
    if significant[-1:] == ["numbers"] and significant[-2:-1] == ["prime"]:
        significant[-2:] = ["primes"]
    if significant[-1:] == ["numbers"] and significant[-2:-1] in (["odd"], ["even"]):
        significant[-1] = "integers"
    joined = ""
    for word in significant or split:
        # "1 23" is not "12 3"
        word = "per" if word == "/" else word
        joined += f" {word}" if joined and joined[-1].isdigit() and word[0].isdigit() else word
    return joined.lower().replace("anticlockwise", "counterclockwise")
