"""Statements, conditions in words, and whole answers."""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from itertools import pairwise

from deepcompress_verify.reader.gather import gathered
from deepcompress_verify.reader.lookahead import is_condition, is_given, separator
from deepcompress_verify.reader.names import apply
from deepcompress_verify.reader.numerals import make_rational, number
from deepcompress_verify.reader.relations import ratio, relation
from deepcompress_verify.reader.stream import Stream
from deepcompress_verify.reader.tokens import END, ReadError, Token
from deepcompress_verify.reader.word_runs import LETTER_A, is_formula_letter, is_prime, is_sign
from deepcompress_verify.reader.words import (
    ARTICLES,
    CONST_WORDS,
    FILLERS,
    FUNCTION_WORDS,
    JOINERS,
    MEASURES,
    NAMED_FUNCTIONS,
    PARTS_OF_ONE,
    PHRASES,
    PREDICATES,
    QUALIFIERS,
    SUBJECTS,
    is_word,
    spelled_number,
    spelled_time,
    text_word,
)
from deepcompress_verify.tree import (
    MAX_DEPTH,
    Choice,
    Const,
    List,
    Neg,
    Node,
    Num,
    Qualified,
    Rel,
    Set,
    SetOp,
    Sym,
    Text,
    Time,
    Tuple,
)

_ENDS = frozenset((",", ";", ")", "]", "}", "\\}"))
_ALL_REALS = frozenset("all real reals numbers number values value of the set x".split())
_EXCEPT = frozenset(("except", "excluding"))


def statement(s: Stream) -> Node:
    """Parse a statement: words, a choice, or a relation with its condition."""
    token = s.tokens[s.position]
    if token.kind == "n" and s.depth < MAX_DEPTH - 2:
        after = s.tokens[s.position + 1]
        if after.kind == "e" or (after.kind == "o" and after.value in _ENDS):
            s.position += 1
            return number(token.value)  # most statements: it is the same by all levels
    s.enter()
    try:
        if token.kind not in "tw" and token.value != "(":
            return _qualified(s, relation(s), token)
        if s.in_cases and token.value in QUALIFIERS:
            s.position += 1
        _skip_fillers(s)
        token = s.peek()
        if token.kind in "tw" and _is_text_word(s, token):
            return _text_statement(s)
        choice = _choice(s)
        if choice is not None:
            return choice
        applied = _applied_head(s)
        node = applied if applied is not None else relation(s)
        return _qualified(s, node, token)
    finally:
        s.leave()


def _is_text_word(s: Stream, token: Token) -> bool:
    value = token.value
    if token.kind == "w":
        if value.isupper() and s.depth > 2:
            return False  # \\frac{NO}{BO}
        name = s.is_op("_", 1) or (s.is_op("^", 1) and len(value) == 3)
        return (is_word(value) and not name) or value.lower() in ("no", "yes", "none")
    after = s.peek(1)
    if value in ("a", "an") and after.value in PARTS_OF_ONE:
        return True  # a third
    if value.isupper() and (s.is_op("_", 1) or (after.kind == "n" and not after.space)):
        return False  # \\text{AC7E}_{16}
    if value in NAMED_FUNCTIONS and s.is_op("(", 1):
        return False
    return (len(value) > 1 and value not in FUNCTION_WORDS and value not in CONST_WORDS) or not value.isascii()


def _skip_fillers(s: Stream) -> None:
    start = s.position
    token, after = s.peek(), s.peek(1)
    article = token.value in ("a", "an") or (
        token.value in ("A", "An") and len(after.value) > 2 and after.value.islower()
    )
    if article and token.kind == "t" and (_names_thing(after) or after.kind == "n"):
        s.position += 1
        return
    while True:
        token = s.peek()
        if (token.kind in "tw" and len(token.value) > 1 and token.value.lower() in FILLERS) or (
            s.position > start and token.kind == "o" and token.value in (":", ".")
        ):
            s.position += 1
        else:
            break
    token = s.peek()
    if token.kind == "e" or (token.kind == "o" and token.value in (",", ";", ")", "}")) or separator(s):
        s.position = start


def _names_thing(token: Token) -> bool:
    return (
        token.value not in PARTS_OF_ONE
        and token.kind == "t"
        and len(token.value) > 1
        and token.value.lower() not in JOINERS
    )


def _text_statement(s: Stream) -> Node:
    """Parse words up to the next separator; "name: value" and "name = value" are relations.

    Raises:
        ReadError: The words are followed by mathematics.
    """
    words: list[str] = []
    while True:
        token = s.peek()
        lower = token.value.lower()
        if (
            words
            and "real" in words[:2] + words[-1:]
            and _ALL_REALS.issuperset(words)
            and _is_variable_in_relation(s)
        ):
            return relation(s)  # all real x > 3
        if lower in _EXCEPT and token.kind in "tw" and phrase(words) == Const("R"):
            return _all_reals_except(s)
        if token.kind == "n" and words and words[-1] == "is" and MEASURES.issuperset(words[:-1]):
            return Rel((Text(" ".join(words[:-1])), relation(s)), ("=",))
        if (token.kind in "tw" and lower not in JOINERS) or (token.kind == "n" and words):
            latex = bool(words) and s.tokens[s.position - 1].kind == "t"
            letter = is_formula_letter(token, s.peek(1), latex)
            words.append(LETTER_A if letter else text_word(token.value, not words, s.peek(1).value))
        elif token.kind == "o" and token.value in ("-", "'", '"', "."):
            before, after = s.tokens[s.position - 1] if s.position else END, s.peek(1)
            if token.value == "-" and is_sign(before, token, after):
                if after.kind != "n" or not words:
                    raise ReadError("words", " ".join(words))
                words.append("minus")
            if token.value == "'" and is_prime(before, token, after):
                raise ReadError("words", " ".join(words))
        elif words and token.kind == "o" and token.value in ("(", "_") and (end := _end_of_name(s)):
            inside = s.tokens[s.position + 1 : end - 1] if token.value == "(" else s.tokens[s.position + 1 : end]
            words.extend(t.value for t in inside if t.value not in ("{", "}"))
            s.position = end - 1
        elif words and ((token.kind == "r" and token.value == "=") or (token.kind == "o" and token.value == ":")):
            if s.peek(1).kind == "e":
                raise s.fail()
            s.position += 1
            number = spelled_number(words)
            name = Text(" ".join(words)) if number is None else make_rational(*number)
            return Rel((name, relation(s)), ("=",))
        else:
            break
        s.position += 1
    token = s.peek()
    ends = token.kind == "e" or (token.kind == "c" and token.value in ("\\", "end"))
    ends = ends or (token.kind == "o" and token.value in (",", ";", ")", "}", "\\}", "&", "|"))
    if not ends and token.value.lower() not in JOINERS:
        raise ReadError("words", " ".join(words))
    return phrase(words)


def _is_variable_in_relation(s: Stream) -> bool:
    """Return True for x > 3, after "all real numbers" and before the end."""
    return s.peek().kind in "tw" and len(s.peek().value) == 1 and s.peek(1).kind == "r" and s.peek(1).value in _ORDERS


_ORDERS = frozenset(("<", "<=", ">", ">=", "!="))


def _all_reals_except(s: Stream) -> Node:
    """Parse the exceptions of "all real numbers except -1 and 1", up to the end."""
    s.position += 1
    if s.peek().value == "for":
        s.position += 1
    exceptions: list[Node] = []
    while True:
        item = relation(s)
        if isinstance(item, Rel) and item.ops == ("=",) and isinstance(item.terms[0], Sym):
            item = item.terms[1]
        if isinstance(item, (Rel, Tuple)):
            raise s.fail()
        exceptions.append(item)
        if separator(s) is None:
            break
    if s.peek().kind != "e":
        raise s.fail()
    return SetOp("minus", (Const("R"), Set(tuple(exceptions))))


def _end_of_name(s: Stream) -> int:
    """Return the index of an equals sign after the subscript and brackets of a name, or 0: rank(A) =, ord_7(2) =."""
    start = s.position
    if s.take_op("_"):
        s.position = max(s.closing("{"), start) + 1 if s.is_op("{") else s.position + 1
    end = s.closing("(") + 1 if s.is_op("(") else s.position
    s.position = start
    return end if end > start + 1 and s.tokens[end][:2] == ("r", "=") else 0


def _choice(s: Stream) -> Node | None:
    """Parse a choice with its content: (B) 42, B) 42, B. text."""
    token = s.peek()
    start = s.position
    if token.kind == "o" and token.value == "(" and s.is_op(")", 2):
        letter, after = s.peek(1), 3
        bracketed = True
    else:
        letter, after = token, 2
        bracketed = False
        colon = s.is_op(":", 1) and (token.kind == "t" or s.peek(2).space)
        if not (s.is_op(")", 1) or s.is_op(".", 1) or colon):
            return None
        if start != 0:
            return None
    if letter.kind not in "tw" or len(letter.value) != 1:
        return None
    if s.is_op(")", 1) and s.peek(2).kind == "e" and "a" <= letter.value <= "j":
        s.position += 2
        return Choice(letter.value.upper())  # b)
    if not "A" <= letter.value <= "J":
        return None
    following = s.peek(after)
    if following.kind == "e":
        if bracketed:
            return None
        s.position += after
        return Choice(letter.value)
    if bracketed and not (
        following.space and following.kind in "ntwc" and (letter.kind == "t" or following.kind == "n")
    ):
        return None
    if following.kind == "t" and following.value.lower() in JOINERS:
        return None
    if following.kind == "c" and following.value in ("cup", "cap", "pm", "setminus", "ldots", "\\"):
        return None
    s.position += after
    return Choice(letter.value, statement(s))


def _applied_head(s: Stream) -> Node | None:
    """Parse W(n) = ...: before an equals sign, a letter with brackets is a function."""
    token = s.peek()
    if token.kind != "w" or len(token.value) != 1 or not s.is_op("(", 1):
        return None
    s.position += 1
    end = s.closing("(")
    given = is_given(s)
    s.position -= 1
    if given or end < 0 or s.tokens[end + 1].value != "=":
        return None
    s.position += 1
    head = apply(s, token.value)
    terms: list[Node] = [head]
    ops: list[str] = []
    while s.peek().kind == "r":
        ops.append(s.next().value)
        terms.append(ratio(s))
    return Rel(tuple(terms), tuple(ops))


def _qualified(s: Stream, node: Node, head: Token) -> Node:
    """Parse a condition in words after a value.

    It extends to the end, or to an "and" followed by the same beginning (f(x) = 1 for all x, and f(x) = x for all
    x).
    """
    token = s.peek()
    words: list[str] = []
    if s.is_op("(") and is_condition(s):
        end = s.closing("(")
        if end < 0:
            raise s.fail("unclosed bracket")
        words = [t.value for t in s.tokens[s.position + 1 : end]]
        s.position = end + 1
        return Qualified(node, " ".join(words).replace("mathbb { Z }", "Z").replace("mathbb { N }", "N"))
    if token.kind not in "tw" or token.value.lower() not in QUALIFIERS or s.in_cases:
        return node
    while True:
        token = s.peek()
        if token.kind == "e" or (s.depth > 1 and token.value in (")", "}", "\\}", "]")):
            break
        if token.value.lower() in JOINERS and s.peek(1)[:2] == head[:2]:
            break
        words.append(token.value.lower())
        s.position += 1
    condition = " ".join(words)
    for letter in "znqr":
        condition = condition.replace(f"mathbb {{ {letter} }}", letter.upper())
    return Qualified(node, condition)


def answer(s: Stream) -> Node:
    """Parse a complete answer.

    Raises:
        ReadError: The statements are not separated.
    """
    items: list[Node] = []
    groups = [0]
    word = ""
    _angle_brackets(s)
    separator(s)
    while True:
        items.append(statement(s))
        if s.peek().kind == "e":
            break
        if s.is_op(".") and s.peek(1).kind == "e":
            break
        joined = separator(s)
        if joined is None:
            raise s.fail()
        if joined != ",":
            word = joined
        if s.peek().kind == "e":
            break
        if joined == "," and s.peek().value.lower() == "where":
            items[-1] = _qualified(s, items[-1], s.tokens[0])  # y = Cx, where C is a constant
            break
        if joined == "or" and len(items) - groups[-1] > 1:
            groups.append(len(items))
    if len(groups) > 1 and (points := _points(items, groups)) is not None:
        return points
    return gathered(items, word)


def _points(items: list[Node], groups: list[int]) -> Node | None:
    """Return "x = 1, y = 2 or x = 3, y = 4" as points; None unless all groups assign the same names."""
    parts = [items[begin:end] for begin, end in pairwise([*groups, len(items)])]
    points: list[Node] = []
    names: list[str] = []
    for part in parts:
        values = {}
        for item in part:
            if not isinstance(item, Rel) or item.ops != ("=",) or not isinstance(item.terms[0], Sym):
                return None
            values[item.terms[0].name] = item.terms[1]
        names = names or sorted(values)
        if sorted(values) != names or len(values) != len(part):
            return None
        points.append(Rel((Tuple(tuple(map(Sym, names))), Tuple(tuple(values[n] for n in names))), ("=",)))
    return List(tuple(points), "or")


def _angle_brackets(s: Stream) -> None:
    """Convert <1, 2, 3> to a vector."""
    first, last = s.tokens[0], s.tokens[-1 - s.padding]
    if first.value != "<" or first.kind != "r":
        return
    inside = s.tokens[1 : -1 - s.padding]
    if last[:2] == ("r", ">") and all(t.kind != "r" for t in inside):
        s.tokens[0] = Token("o", "(", False)
        s.tokens[-1 - s.padding] = Token("o", ")", False)


def _half_line(words: list[str]) -> Node | None:
    """Return the interval of "all positive real numbers"."""
    rest = [word for word in words if word not in _ALL_REALS]
    if rest[:1] == ["non"] and len(rest) == 2:
        rest = ["".join(rest)]
    if len(rest) > 2 and (relation := _BOUNDS.get(" ".join(rest[:-1]))) and "real" in words and rest[-1].isdigit():
        end, infinity = Num(int(rest[-1])), Const("oo")
        closed = relation[1:] == "="
        if relation[0] == ">":
            return Tuple((end, infinity), "[" if closed else "(", ")")
        return Tuple((Neg(infinity), end), "(", "]" if closed else ")")
    if rest == ["nonzero"] and "real" in words:
        return SetOp("minus", (Const("R"), Set((Num(0),))))
    if len(rest) != 1 or rest[0] not in _HALF_LINES or not ("real" in words or "reals" in words):
        return None
    left, low, high = _HALF_LINES[rest[0]]
    ends = tuple(Num(0) if end == "0" else Const("oo") if end == "oo" else Neg(Const("oo")) for end in (low, high))
    return Tuple(ends, "[" if left == "[" else "(", "]" if left == "]" else ")")


_BOUNDS = {
    "greater than": ">", "larger than": ">", "bigger than": ">", "less than": "<", "smaller than": "<",
    "at least": ">=", "at most": "<=",
}  # fmt: skip
"""Bounds of "all real numbers greater than 3"."""
_HALF_LINES = {
    "positive": ("", "0", "oo"), "negative": ("", "-oo", "0"), "nonnegative": ("[", "0", "oo"),
    "nonpositive": ("]", "-oo", "0"),
}  # fmt: skip


def phrase(words: list[str]) -> Node:
    """Return words as Text, in canonical form for set phrases and numbers."""
    text = " ".join(words)
    if text in PHRASES:
        return Text(PHRASES[text])
    if _ALL_REALS.issuperset(words) and ("real" in words or "reals" in words):
        return Const("R")
    if (half := _half_line(words)) is not None:
        return half
    number = spelled_number(words)
    if number is not None:
        return make_rational(*number)
    if 2 < len(words) < 5 and (minutes := spelled_time(words)) is not None:
        return Time(minutes * 60)
    significant = [w for i, w in enumerate(words) if w not in ARTICLES or (w == "a" and i == len(words) - 1)] or words
    if len(significant) > 1 and significant[0] in SUBJECTS and significant[1] in PREDICATES:
        del significant[0]
    text = " ".join(significant)
    return Text(PHRASES.get(text, text))
