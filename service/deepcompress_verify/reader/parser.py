"""Set operations, ratios, relations, statements and whole answers."""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from itertools import zip_longest

from deepcompress_verify.reader.expressions import Expressions
from deepcompress_verify.reader.numerals import make_rational
from deepcompress_verify.reader.tokens import ReadError, Token
from deepcompress_verify.reader.words import (
    ARTICLES,
    CONST_WORDS,
    FILLERS,
    FUNCTION_WORDS,
    JOINERS,
    MEASURES,
    PHRASES,
    PREDICATES,
    QUALIFIERS,
    SUBJECTS,
    is_word,
    spelled_number,
)
from deepcompress_verify.tree import (
    Add,
    Apply,
    Call,
    Choice,
    Const,
    Div,
    List,
    Neg,
    Node,
    Num,
    Qualified,
    Quantity,
    Ratio,
    Rel,
    Set,
    SetOp,
    Sym,
    Text,
    Time,
    Tuple,
    walk,
)

_ALL_REALS = frozenset("all real reals numbers number values value of the set x".split())
_EXCEPT = frozenset(("except", "excluding"))
_UNIT_ORDER = " year month week day h min s yd ft in km m cm mm kg g lb oz dollar cent "
_SET_OPS = {"cup": "union", "cap": "intersection", "setminus": "minus", "backslash": "minus"}


class Parser(Expressions):
    """The complete parser: answer > statement > relation > ratio > set operation > sum > term > power > atom."""

    def set_operation(self) -> Node:
        """Parse a union, intersection or difference of sums, and TeX \\choose and \\over."""
        node = self.sum()
        args = [node]
        op = ""
        while True:
            token = self.peek()
            if token.kind == "c" and token.value in _SET_OPS:
                this = _SET_OPS[token.value]
            elif token.kind == "c" and token.value in ("choose", "over") and not op:
                # TeX: the operands extend to the ends of the group
                self.position += 1
                below = self.sum()
                args = [Call("binom", (args[0], below)) if token.value == "choose" else Div(args[0], below)]
                continue
            elif token.kind == "w" and token.value == "U" and isinstance(args[-1], (Tuple, Set)):
                this = "union"
            else:
                break
            self.position += 1
            if op and (op != this or this == "minus"):
                args = [_set_op(op, args)]
            op = this
            args.append(self.sum())
        return _set_op(op, args) if op else args[0]

    def ratio(self) -> Node:
        """Parse a ratio or a time of day."""
        start = self.position
        parts = [self.set_operation()]
        while (
            self.open_bars == 0 and self.peek(1).kind != "e" and (self.is_op(":") or self._reads_as_ratio(parts[-1]))
        ):
            self.position += 1
            parts.append(self.set_operation())
        if len(parts) == 1:
            return parts[0]
        return self._clock(start, parts) or Ratio(tuple(parts))

    def _reads_as_ratio(self, left: Node) -> bool:
        """Return True for a ratio in words: 3 to 4."""
        token = self.peek()
        return token.kind in "tw" and token.value == "to" and isinstance(left, Num) and self.peek(1).kind == "n"

    def _clock(self, start: int, parts: list[Node]) -> Node | None:
        """Return a time (12:00, 1:03 PM), or None for a ratio. A time has a leading zero, or am or pm."""
        raw = self.tokens[start : start + 2 * len(parts) - 1]
        last = parts[-1]
        half = last.half if isinstance(last, Time) else ""
        if len(parts) > 3 or any(t.kind != "n" or not t.value.isdigit() or len(t.value) > 9 for t in raw[::2]):
            return None
        numbers = [int(t.value) for t in raw[::2]]
        if any(len(t.value) != 2 or int(t.value) > 59 for t in raw[2::2]) or numbers[0] > 99:
            return None
        following = self.peek()
        if not half and following.kind in "tw" and following.value.lower() in ("am", "pm"):
            self.position += 1
            half = following.value.lower()
        if not half and not any(t.value[0] == "0" for t in raw[2::2]):
            return None
        seconds = numbers[0] * 3600 + numbers[1] * 60 + (numbers[2] if len(numbers) == 3 else 0)
        return Time(seconds, half)

    def relation(self) -> Node:
        """Parse a chain of relations, with its modulus."""
        terms: list[Node] = []
        ops: list[str] = []
        modulus: Node | None = None
        if self.peek().kind == "r":
            op = self.next().value
            first = self.ratio()
            if op == "=":
                terms = [first]
            else:
                terms, ops = [Sym(""), first], [op]
        else:
            terms = [self.ratio()]
        while self.peek().kind == "r":
            ops.append(self.next().value)
            self.enter()
            terms.append(self.ratio())
            self.leave()
        if self.is_cmd("pmod", "pod") or (self.is_op("(") and self.peek(1).value in ("mod", "bmod")):
            modulus = self._modulus()
        last = terms[-1]
        if modulus is None and ops and ops[-1] == "==" and isinstance(last, Call) and last.name == "mod":
            terms[-1], modulus = last.args
        if not ops:
            return terms[0] if modulus is None else Rel((terms[0],), (), modulus)
        return Rel(tuple(terms), tuple(ops), modulus)

    def _modulus(self) -> Node:
        if self.next().value == "(":
            self.position += 1
            node = self.sum()
            self.expect_op(")")
            return node
        return self.argument()

    def separator(self) -> str | None:
        """Advance over separators; return "," for punctuation and line ends, "and", "or", or None."""
        result: str | None = None
        while True:
            token = self.peek()
            if (token.kind == "o" and token.value in (",", ";")) or (token.kind == "c" and token.value == "\\"):
                result = result or ","
            elif token.kind in "tw" and token.value.lower() in JOINERS:
                result = JOINERS[token.value.lower()]
            else:
                return result
            self.position += 1

    def statement(self) -> Node:
        """Parse a statement: words, a choice, or a relation with its condition."""
        self.enter()
        try:
            token = self.peek()
            if token.kind not in "tw" and token.value != "(":
                return self._qualified(self.relation(), token)
            if self.in_cases and token.value in QUALIFIERS:
                self.position += 1
            self._skip_fillers()
            token = self.peek()
            if token.kind in "tw" and self._is_text_word(token):
                return self._text_statement()
            choice = self._choice()
            if choice is not None:
                return choice
            applied = self._applied_head()
            node = applied if applied is not None else self.relation()
            return self._qualified(node, token)
        finally:
            self.leave()

    def _is_text_word(self, token: Token) -> bool:
        value = token.value
        if token.kind == "w":
            return (is_word(value) and not self.is_op("_", 1)) or value.lower() in ("no", "yes", "none")
        after = self.peek(1)
        if value.isupper() and (self.is_op("_", 1) or (after.kind == "n" and not after.space)):
            return False  # \\text{AC7E}_{16}
        return (len(value) > 1 and value not in FUNCTION_WORDS and value not in CONST_WORDS) or not value.isascii()

    def _skip_fillers(self) -> None:
        start = self.position
        if self.peek().value in ("a", "an") and self.peek().kind == "t" and self._names_thing(self.peek(1)):
            self.position += 1
            return
        while True:
            token = self.peek()
            if (token.kind in "tw" and len(token.value) > 1 and token.value.lower() in FILLERS) or (
                self.position > start and token.kind == "o" and token.value in (":", ".")
            ):
                self.position += 1
            else:
                break
        token = self.peek()
        if token.kind == "e" or (token.kind == "o" and token.value in (",", ";", ")", "}")) or self.separator():
            self.position = start

    def _names_thing(self, token: Token) -> bool:
        return token.kind == "t" and len(token.value) > 1 and token.value.lower() not in JOINERS

    def _text_statement(self) -> Node:
        """Parse words up to the next separator; "name: value" and "name = value" are relations.

        Raises:
            ReadError: The words are followed by mathematics.
        """
        words: list[str] = []
        while True:
            token = self.peek()
            lower = token.value.lower()
            if lower in _EXCEPT and token.kind in "tw" and phrase(words) == Const("R"):
                return self._all_reals_except()
            if token.kind == "n" and words and words[-1] == "is" and MEASURES.issuperset(words[:-1]):
                return Rel((Text(" ".join(words[:-1])), self.relation()), ("=",))
            if (token.kind in "tw" and lower not in JOINERS) or (token.kind == "n" and words):
                words.append(lower)
            elif token.kind == "o" and token.value in ("-", "'", '"', "."):
                if token.value == "-" and token.space and self.peek(1).kind == "n" and words:
                    words.append("minus")
            elif words and token.kind == "o" and token.value == "(" and self._names_argument():
                end = self.closing("(")
                words.extend(t.value for t in self.tokens[self.position + 1 : end])
                self.position = end
            elif words and ((token.kind == "r" and token.value == "=") or (token.kind == "o" and token.value == ":")):
                if self.peek(1).kind == "e":
                    raise self.fail()
                self.position += 1
                return Rel((Text(" ".join(words)), self.relation()), ("=",))
            else:
                break
            self.position += 1
        token = self.peek()
        ends = token.kind == "e" or (token.kind == "c" and token.value in ("\\", "end"))
        ends = ends or (token.kind == "o" and token.value in (",", ";", ")", "}", "\\}", "&", "|"))
        if not ends and token.value.lower() not in JOINERS:
            raise ReadError("words", " ".join(words))
        return phrase(words)

    def _all_reals_except(self) -> Node:
        """Parse the exceptions of "all real numbers except -1 and 1", up to the end."""
        self.position += 1
        if self.peek().value == "for":
            self.position += 1
        exceptions: list[Node] = []
        while True:
            item = self.relation()
            if isinstance(item, Rel) and item.ops == ("=",) and isinstance(item.terms[0], Sym):
                item = item.terms[1]
            if isinstance(item, (Rel, Tuple)):
                raise self.fail()
            exceptions.append(item)
            if self.separator() is None:
                break
        if self.peek().kind != "e":
            raise self.fail()
        return SetOp("minus", (Const("R"), Set(tuple(exceptions))))

    def _names_argument(self) -> bool:
        """Return True if brackets between a word and an equals sign belong to the name: rank(A) = ..."""
        end = self.closing("(")
        return end > 0 and self.tokens[end + 1][:2] == ("r", "=")

    def _choice(self) -> Node | None:
        """Parse a choice with its content: (B) 42, B) 42, B. text."""
        token = self.peek()
        start = self.position
        if token.kind == "o" and token.value == "(" and self.is_op(")", 2):
            letter, after = self.peek(1), 3
            bracketed = True
        else:
            letter, after = token, 2
            bracketed = False
            colon = self.is_op(":", 1) and (token.kind == "t" or self.peek(2).space)
            if not (self.is_op(")", 1) or self.is_op(".", 1) or colon):
                return None
            if start != 0:
                return None
        if letter.kind not in "tw" or len(letter.value) != 1 or not "A" <= letter.value <= "J":
            return None
        following = self.peek(after)
        if following.kind == "e":
            if bracketed:
                return None
            self.position += after
            return Choice(letter.value)
        if bracketed and not (
            following.space and following.kind in "ntwc" and (letter.kind == "t" or following.kind == "n")
        ):
            return None
        if following.kind == "t" and following.value.lower() in JOINERS:
            return None
        if following.kind == "c" and following.value in ("cup", "cap", "pm", "setminus", "ldots", "\\"):
            return None
        self.position += after
        return Choice(letter.value, self.statement())

    def _applied_head(self) -> Node | None:
        """Parse W(n) = ...: before an equals sign, a letter with brackets is a function."""
        token = self.peek()
        if token.kind != "w" or len(token.value) != 1 or not self.is_op("(", 1):
            return None
        self.position += 1
        end = self.closing("(")
        self.position -= 1
        if end < 0 or self.tokens[end + 1].value != "=":
            return None
        self.position += 1
        head = self.apply(token.value)
        terms: list[Node] = [head]
        ops: list[str] = []
        while self.peek().kind == "r":
            ops.append(self.next().value)
            terms.append(self.ratio())
        return Rel(tuple(terms), tuple(ops))

    def _qualified(self, node: Node, head: Token) -> Node:
        """Parse a condition in words after a value.

        It extends to the end, or to an "and" followed by the same beginning (f(x) = 1 for all x, and f(x) = x for all
        x).
        """
        token = self.peek()
        words: list[str] = []
        if self.is_op("(") and self.is_condition():
            end = self.closing("(")
            if end < 0:
                raise self.fail("unclosed bracket")
            words = [t.value for t in self.tokens[self.position + 1 : end]]
            self.position = end + 1
            return Qualified(node, " ".join(words).replace("mathbb { Z }", "Z").replace("mathbb { N }", "N"))
        if token.kind not in "tw" or token.value.lower() not in QUALIFIERS or self.in_cases:
            return node
        while True:
            token = self.peek()
            if token.kind == "e" or (self.depth > 1 and token.value in (")", "}", "\\}", "]")):
                break
            if token.value.lower() in JOINERS and self.peek(1)[:2] == head[:2]:
                break
            words.append(token.value.lower())
            self.position += 1
        return Qualified(node, " ".join(words))

    def answer(self) -> Node:
        """Parse a complete answer.

        Raises:
            ReadError: The statements are not separated.
        """
        items: list[Node] = []
        word = ""
        self._angle_brackets()
        self.separator()
        while True:
            items.append(self.statement())
            if self.peek().kind == "e":
                break
            if self.is_op(".") and self.peek(1).kind == "e":
                break
            joined = self.separator()
            if joined is None:
                raise self.fail()
            if joined != ",":
                word = joined
            if self.peek().kind == "e":
                break
        return self.gathered(items, word)

    def _angle_brackets(self) -> None:
        """Convert <1, 2, 3> to a vector."""
        first, last = self.tokens[0], self.tokens[-1 - self.padding]
        inside = self.tokens[1 : -1 - self.padding]
        if first[:2] == ("r", "<") and last[:2] == ("r", ">") and all(t.kind != "r" for t in inside):
            self.tokens[0] = Token("o", "(", False)
            self.tokens[-1 - self.padding] = Token("o", ")", False)

    def gathered(self, items: list[Node], word: str) -> Node:
        """Combine the statements of an answer into one tree."""
        return _combine(items, word)


def _combine(items: list[Node], word: str) -> Node:
    """Combine statements into one tree: a final "k in Z" is a condition, 5 hours and 30 minutes a sum."""
    last = items[-1]
    if len(items) > 1 and isinstance(last, Rel) and last.ops == ("in",) and isinstance(last.terms[0], Sym):
        name = last.terms[0].name
        if isinstance(last.terms[1], Const) and any(
            isinstance(n, Sym) and n.name == name for i in items[:-1] for n in walk(i)
        ):
            return Qualified(_combine(items[:-1], word), f"{name} in {last.terms[1].name}")
    if len(items) == 1:
        return items[0]
    if (domain := _domain(items)) is not None:
        return Qualified(_combine(items[:-1], word), domain)
    first = items[0]
    if isinstance(first, Rel) and first.ops == ("!=",) and not any(isinstance(i, (Rel, Text)) for i in items[1:]):
        # x ≠ 0, 1 excludes both
        return List((first, *(Rel((first.terms[0], i), ("!=",)) for i in items[1:])), "and")
    if isinstance(last, Rel) and last.modulus is not None and isinstance(items[0], Rel) and items[0].ops == ("==",):
        head = items[0].terms[0]
        residues = [i.terms[-1] if isinstance(i, Rel) else i for i in items]
        items = [Rel((head, residue), ("==",), last.modulus) for residue in residues]
    if word == "and" and len(items) <= 3 and all(isinstance(i, Quantity) for i in items):
        kinds = [_UNIT_ORDER.find(f" {i.unit} ") for i in items if isinstance(i, Quantity)]
        if kinds == sorted(set(kinds)) and kinds[0] >= 0:
            return Add(tuple(items))
    return List(tuple(items), "or" if word == "or" else "and" if word == "and" else "")


def _domain(items: list[Node]) -> str | None:
    """Return the domain of a formula, written after it: "2^n - 1, n >= 1", "f(x) = 1/x, 0 < x < 1".

    Return None if the last item is a statement of its own, as in "x = 2, y > 1" and in "x^2 + y^2 = 4, y > 0", a half
    circle.
    """
    last = items[-1]
    if not isinstance(last, Rel) or not last.ops:
        return None
    if last.ops == ("in",) and isinstance(last.terms[1], Tuple) and len(last.terms[1].items) == 2:
        span = last.terms[1]
        closed = tuple("<=" if end in "[]" else "<" for end in (span.left, span.right))
        last = Rel((span.items[0], last.terms[0], span.items[1]), closed)
    if not _ORDER.issuperset(last.ops):
        return None
    names = [t.name for t in last.terms if isinstance(t, Sym) and t.name]
    ends = [_plain(t) for t in last.terms if not isinstance(t, Sym)]
    if len(names) != 1 or len(names) + len(ends) != len(last.terms) or None in ends:
        return None
    for item in items[:-1]:
        value: Node = item
        if isinstance(item, Rel):
            if item.ops != ("=",) or not isinstance(item.terms[0], (Sym, Apply)) or item.terms[0] == Sym(names[0]):
                return None
            value = item.terms[1]
        if isinstance(value, (Sym, Rel, Text)) or all(n != Sym(names[0]) for n in walk(value)):
            return None
    parts = [t.name if isinstance(t, Sym) else _plain(t) or "" for t in last.terms]
    return " ".join(part for pair in zip_longest(parts, last.ops, fillvalue="") for part in pair).strip()


_ORDER = frozenset(("<", "<=", ">", ">=", "!="))


def _plain(node: Node) -> str | None:
    """Return an end of a domain as text: a number or pi, with a sign, or a fraction."""
    if isinstance(node, Num):
        return str(node.p) if node.q == 1 else f"{node.p}/{node.q}"
    if isinstance(node, Const):
        return node.name if node.name in ("pi", "e", "oo") else None
    if isinstance(node, Neg):
        inner = _plain(node.arg)
        return None if inner is None else f"-{inner}"
    if isinstance(node, Div):
        top, bottom = _plain(node.top), _plain(node.bottom)
        return None if top is None or bottom is None else f"{top}/({bottom})"
    return None


def _set_op(op: str, args: list[Node]) -> Node:
    if any(isinstance(arg, Set) for arg in args):
        # {1, 2} ∪ {3} in plain text: braces around one number are read as a TeX group
        args = [Set((arg,)) if isinstance(arg, (Num, Neg, Div, Call)) else arg for arg in args]
    if op == "union":
        return SetOp("union", tuple(args))
    return SetOp("intersection" if op == "intersection" else "minus", tuple(args))


def phrase(words: list[str]) -> Node:
    """Return words as Text, in canonical form for set phrases and numbers."""
    text = " ".join(words)
    if text in PHRASES:
        return Text(PHRASES[text])
    if _ALL_REALS.issuperset(words) and ("real" in words or "reals" in words):
        return Const("R")
    number = spelled_number(words)
    if number is not None:
        return make_rational(*number)
    significant = [w for i, w in enumerate(words) if w not in ARTICLES or (w == "a" and i == len(words) - 1)] or words
    if len(significant) > 1 and significant[0] in SUBJECTS and significant[1] in PREDICATES:
        del significant[0]
    text = " ".join(significant)
    return Text(PHRASES.get(text, text))
