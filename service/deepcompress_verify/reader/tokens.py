"""Tokenizer: LaTeX, plain text and unicode become one small alphabet. One pass, linear, ASCII digits only."""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from deepcompress_verify.tree import MAX_TOKENS


class Token(NamedTuple):
    """A token of the cleaned text."""

    kind: str
    """n number, w letters in mathematics, t word of text, c command, o operator or bracket, r relation, e end."""
    value: str
    space: bool
    """True if white space precedes the token."""


class ReadError(Exception):
    """The text cannot be parsed. Internal to the reader: `read` converts it to an Unreadable."""

    def __init__(self, slug: str, detail: str = "") -> None:
        super().__init__(slug, detail)
        self.slug = slug
        self.detail = detail


MAX_LETTERS = 64
"""Maximum consecutive letters. Longer runs are neither words nor products of variables."""

END = Token("e", "", False)

# Every alternative is one character class, repeated or not: no nesting, so matching is linear.
_SCAN = re.compile(
    r"(?P<s>\s+)|(?P<n>[0-9]+)|(?P<w>[A-Za-z]++(?![^\W\d_]))|(?P<c>\\[A-Za-z]+)|(?P<x>\\.)|(?P<u>[^\W\d_]+)|(?P<o>.)",
    re.DOTALL,
)

_BRACED_SIGN = re.compile(r"(?<![\^_])\{-\}")
_SLANTED = re.compile(r"(?:\{\}\s*)?\^\{?([0-9]{1,9})\}?\s*/_\{?([0-9]{1,9})\}?")
"""A slanted fraction: {}^7/_3."""
_CHINESE_JOINER = re.compile(r"(?<![一-鿿])[且和或](?![一-鿿])")
"""A joiner between formulas, no part of a word."""
_FUNCTIONS = {
    "sh": "sinh", "ch": "cosh", "th": "tanh", "cth": "coth", "arsh": "arsinh", "arch": "arcosh", "arth": "artanh",
    "arcth": "arcoth", "sen": "sin", "senh": "sinh", "tgh": "tanh",
}  # fmt: skip
"""Functions by names that are a function only as an operator: \\operatorname{sh} x, but not 5^{th}."""
_DRESSED = re.compile(
    rf"(?<!\^)(?<!\^\{{)\\(?:(?:operatorname\*?|mathrm)\s?\{{\s?({'|'.join(_FUNCTIONS)})\s?\}}"
    rf"|({'|'.join(_FUNCTIONS)})(?![A-Za-z]))(?=(?:\\[,;! ]|\s){{0,2}}(?:[a-zA-Z0-9({{^]|\\[a-zA-Z]))"
)
_MATHOP = re.compile(r"\\mathop\s?\{\s?\\(?:mathrm|operatorname|rm)\s?(?:\{\s?([a-z]{2,6})\s?\}|\s([a-z]{2,6}))\s?\}")
_SHORT_NAME = re.compile(r"\\(?:c?th|[cs]h|senh?)(?![a-zA-Z])|\{tgh")
_WEDGE_OF_FORMS = re.compile(
    r"(?:\bd[a-z]|_(?:[0-9a-z]|\{[0-9a-z]\})|\\(?:vec|mathbf|bm|boldsymbol)\s?\{?[a-z]\}?)\s*\\wedge(?![a-zA-Z])"
)
"""A product of differentials or vectors, which has an order; between statements the sign is "and"."""
_STATEMENT = re.compile(r"(?:\\[,;:! ]|\s|\\q?quad(?![a-zA-Z]))*[A-Za-z](?:_(?:[0-9a-z]|\{[0-9a-z]{1,4}\}))?\s*=")
"""The beginning of another statement after a wide space: p = 5 \\quad q = 2."""
_SUPER = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
_SUB = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_FRACTIONS = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5",
    "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8",
}  # fmt: skip
_UNICODE = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": "\\times ", "✕": "\\times ", "·": "\\cdot ",
    "⋅": "\\cdot ",
    "∙": "\\cdot ", "÷": "\\div ", "∕": "/", "⁄": "/", "≤": "\\le ", "⩽": "\\le ", "≥": "\\ge ", "⩾": "\\ge ",
    "≠": "\\ne ", "≈": "\\approx ", "≅": "\\approx ", "≡": "\\equiv ", "∈": "\\in ", "∉": "\\notin ", "∪": "\\cup ",
    "∩": "\\cap ", "∞": "\\infty ", "π": "\\pi ", "√": "\\sqrt ", "∛": "\\cbrt ", "°": "\\degree ", "º": "\\degree ",
    "∅": "\\emptyset ", "±": "\\pm ", "∓": "\\mp ", "ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}", "ℕ": "\\mathbb{N}",
    "ℚ": "\\mathbb{Q}", "ℂ": "\\mathbb{C}", "∑": "\\sum ", "∏": "\\prod ", "∫": "\\int ", "⌊": "\\lfloor ",
    "⌋": "\\rfloor ", "⌈": "\\lceil ", "⌉": "\\rceil ", "⟨": "\\langle ", "⟩": "\\rangle ", "∠": "\\angle ",
    "…": "\\ldots ", "⋯": "\\ldots ", "′": "'", "″": "\'\'",
    "’": "'", "‘": "'", "“": '"', "”": '"', "∖": "\\setminus ",
    "α": "\\alpha ", "β": "\\beta ", "γ": "\\gamma ", "δ": "\\delta ", "ε": "\\epsilon ", "θ": "\\theta ",
    "λ": "\\lambda ", "μ": "\\mu ", "ρ": "\\rho ", "σ": "\\sigma ", "τ": "\\tau ", "φ": "\\phi ", "ω": "\\omega ",
    "ϕ": "\\phi ", "Δ": "\\Delta ", "Ω": "\\Omega ", "Σ": "\\Sigma ", "∧": "\\text{ and }", "∨": "\\text{ or }",
    "。": ".", "，": ",", "、": ",", "（": "(", "）": ")", "：": ":", "；": ";", "∶": ":", "％": "%", "＝": "=",
    "\u00a0": " ", "\u200b": "", "\u200c": "", "\u200d": "", "\u2060": "", "\ufeff": "", "\u00ad": "",
    "€": "\\euro ", "£": "\\pounds ", "¥": "\\yen ", "¢": "\\text{ cents}", "∥": "\\|", "→": "\\to ",
    "⇒": "\\Rightarrow ", "⟹": "\\Rightarrow ", "⇔": "\\iff ", "⟺": "\\iff ", "¬": "\\neg ", "∂": "\\partial ",
    "∇": "\\nabla ", "△": "\\triangle ", "∘": "\\circ ", "⊂": "\\subset ", "⊆": "\\subseteq ", "∀": "\\forall ",
    "⊥": "\\perp ", "⟂": "\\perp ", "∝": "\\propto ", "∼": "\\sim ",
    "₹": "\\rupee ", "￥": "\\yen ", "￡": "\\pounds ", "∣": "|", "∤": "\\nmid ",
    "⊇": "\\supseteq ", "⊃": "\\supset ", "≃": "\\approx ", "ℓ": "\\ell ", "µ": "\\mu ",
    "η": "\\eta ", "ζ": "\\zeta ", "κ": "\\kappa ", "ν": "\\nu ", "ξ": "\\xi ", "χ": "\\chi ", "ψ": "\\psi ",
    "Γ": "\\Gamma ", "Λ": "\\Lambda ", "Θ": "\\Theta ", "Φ": "\\Phi ", "Ψ": "\\Psi ",
}  # fmt: skip
_UNICODE |= {"℃": "\\degree\\text{C}", "℉": "\\degree\\text{F}"}
_UNICODE |= {chr(0x245F + n): f" {n} , " for n in range(1, 21)}  # circled numerals: choices of several statements
_UNICODE_TABLE = str.maketrans(
    _UNICODE | {chr(c): chr(c - 0xFEE0) for c in range(0xFF01, 0xFF5F) if chr(c) not in _UNICODE}
)
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\x00")

# Commands whose backslash was lost to a JSON or Python escape: "\f" + "rac" was \frac.
_LOST_ESCAPES = {
    "\x0c": ("\\f", ("rac", "box", "lo")),
    "\x08": ("\\b", ("inom", "eta", "ar", "egin", "oxed", "mod", "ig", "f")),
    "\t": ("\\t", ("imes", "ext", "heta", "an", "frac", "au", "o ", "binom", "riangle")),
    "\r": ("\\r", ("ight", "ho", "angle", "floor", "ceil", "m{")),
    "\x07": ("\\a", ("lpha", "ngle", "pprox", "rc", "st")),
    "\x0b": ("\\v", ("ec", "ert", "ar")),
}

_QUOTES = ("**", "`", '"', "*", "'")

_NEGATED = {
    "=": "!=", "in": "notin", "<": ">=", ">": "<=", "<=": ">", ">=": "<", "subset": "notsubset", "==": "not==",
    "~": "not~", "parallel": "notparallel", "=>": "not=>", "sim": "notsim",
    "perp": "notperp", "propto": "notpropto", "<=>": "not<=>", "to": "notto",
}  # fmt: skip
"""The relation after \\not."""
DROPPED = frozenset(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr middle displaystyle textstyle "
    "scriptstyle "
    "limits nolimits quad qquad rm bf it cal mathstrut strut nobreak allowbreak hfill noindent medspace thinspace "
    "thickspace negthinspace enspace tiny footnotesize small large Large LARGE huge Huge normalsize "
    "scriptscriptstyle newline linebreak unit".split()
)
TEXT_COMMANDS = frozenset(
    "text textbf textit textrm textnormal textsf texttt textup textsc mbox hbox mathrm operatorname mathsf mathit "
    "mathtt mathbf boldsymbol bm emph ce".split()
)
TRANSPARENT = frozenset("boxed fbox displaylines ensuremath mathop mathord underline pmb".split())
"""Commands that are replaced by their argument."""

_SYNONYMS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("cdot", "ast", "cdotp", "bullet"), ("o", "*")),
    "star": ("o", "\\star"), "exteriorproduct": ("o", "\\wedge"),
    "times": ("o", "\\times"),
    **dict.fromkeys(("div", "slash"), ("o", "/")),
    **dict.fromkeys(("le", "leq", "leqslant", "leqq"), ("r", "<=")),
    **dict.fromkeys(("ge", "geq", "geqslant", "geqq"), ("r", ">=")),
    **dict.fromkeys(("ne", "neq"), ("r", "!=")),
    **dict.fromkeys(("approx", "approxeq", "thickapprox", "simeq", "cong", "doteq"), ("r", "~")),
    **dict.fromkeys(("subset", "subseteq", "subsetneq"), ("r", "subset")),
    **dict.fromkeys(("supset", "supseteq", "supsetneq"), ("r", "supset")),
    **dict.fromkeys(("ni", "owns"), ("r", "ni")),
    **dict.fromkeys(("Leftarrow", "Longleftarrow", "impliedby"), ("r", "<==")),
    "nmid": ("r", "nmid"), "cr": ("c", "\\"),
    **dict.fromkeys(("to", "rightarrow", "mapsto", "longrightarrow"), ("r", "to")),
    **dict.fromkeys(("Rightarrow", "implies", "Longrightarrow", "therefore"), ("r", "=>")),
    **dict.fromkeys(("iff", "Leftrightarrow", "Longleftrightarrow"), ("r", "<=>")),
    "lt": ("r", "<"), "gt": ("r", ">"), "in": ("r", "in"), "notin": ("r", "notin"), "equiv": ("r", "=="),
    "sim": ("r", "sim"), "perp": ("r", "perp"), "parallel": ("r", "parallel"), "propto": ("r", "propto"),
    "lbrace": ("o", "\\{"), "rbrace": ("o", "\\}"), "lbrack": ("o", "["), "rbrack": ("o", "]"),
    "lparen": ("o", "("), "rparen": ("o", ")"), "langle": ("o", "("), "rangle": ("o", ")"),
    "lvert": ("o", "|"), "rvert": ("o", "|"), "vert": ("o", "|"), "mid": ("o", "|"), "colon": ("o", ":"),
    "Vert": ("o", "||"), "lVert": ("o", "||"), "rVert": ("o", "||"), "dfrac": ("c", "frac"), "tfrac": ("c", "frac"),
    "cfrac": ("c", "frac"), **dict.fromkeys(("nicefrac", "sfrac", "xfrac", "flatfrac"), ("c", "frac")),
    "dbinom": ("c", "binom"), "tbinom": ("c", "binom"), "circ": ("c", "circ"),
    "dots": ("c", "ldots"), "cdots": ("c", "ldots"), "dotsc": ("c", "ldots"), "dotsb": ("c", "ldots"),
    "bigcup": ("c", "cup"), "cupdot": ("c", "cup"), "sqcup": ("c", "cup"), "bigcap": ("c", "cap"),
    "varnothing": ("c", "emptyset"), "land": ("t", "and"), "wedge": ("t", "and"), "lor": ("t", "or"),
    "vee": ("t", "or"),
    "forall": ("t", "for"), "lbrac": ("o", "("), "percent": ("o", "%"), "dollar": ("o", "$$"), "imath": ("w", "i"),
    "jmath": ("w", "j"),
    "exponentialE": ("w", "e"),
}  # fmt: skip
_ESCAPED: dict[str, tuple[str, str]] = {
    "{": ("o", "\\{"), "}": ("o", "\\}"), "%": ("o", "%"), "$": ("o", "$$"), "|": ("o", "||"), "\\": ("c", "\\"),
    "&": ("t", "and"), "_": ("o", "_"), "#": ("o", "#"),
}  # fmt: skip


def clean(text: str) -> str:
    """Convert unicode to LaTeX or ASCII, and repair lost escapes and doubled backslashes.

    Raises:
        ReadError: The text contains control characters.
    """
    if not text.isascii():
        if not _BIDI.isdisjoint(text):
            raise ReadError("syntax", "control characters")
        text = _CHINESE_JOINER.sub(lambda match: f"\\text{{ {'and' if match.group() in '且和' else 'or'} }}", text)
        text = _unfold(text)
    if not text.isprintable():  # the lost escapes are control characters
        for char, (command, tails) in _LOST_ESCAPES.items():
            if char in text:
                for tail in tails:
                    text = text.replace(char + tail, command + tail)
    text = text.strip()
    if text.startswith("``") and text.endswith("''"):
        text = text[2:-2]
    if text.startswith(_QUOTES):
        for quote in _QUOTES:
            if text.startswith(quote) and text.endswith(quote) and len(text) > 2 * len(quote):
                text = text[len(quote) : -len(quote)]
    if text.endswith("\\") and not text.endswith("\\\\"):
        text = text[:-1]
    if "\\left." in text:
        text = text.replace("\\left.", "")  # it draws nothing
    if "\\wedge" in text and _WEDGE_OF_FORMS.search(text):
        text = text.replace("\\wedge", "\\exteriorproduct ")
    if "\\mathop" in text:
        text = _MATHOP.sub(r"\\operatorname{\1\2}", text)
    if "h}" in text or "sen}" in text or "h }" in text or _SHORT_NAME.search(text):
        text = _DRESSED.sub(_named_function, text)
    if "{:}" in text:
        text = text.replace("{:}", ":")
    if "/_" in text:
        text = _SLANTED.sub(r"\\frac{\1}{\2}", text)
    if "{-}" in text:
        text = _BRACED_SIGN.sub("-", text)
    if "\\\\" in text:
        if "\\\\begin" in text:
            text = text.replace("\\\\\\\\", "\0").replace("\\\\", "\\").replace("\0", "\\\\")
        elif "\\begin" not in text:
            text = _undouble(text)
    if "\x00" in text:
        raise ReadError("syntax", "control characters")
    return text


def _named_function(match: re.Match[str]) -> str:
    """Return the command of a function by another name, except for an ordinal: 4\\mathrm{th}."""
    name = match[1] or match[2]
    before = match.string[: match.start()].rstrip("\\, ")[-1:]
    return match[0] if name == "th" and before.isdigit() else f"\\{_FUNCTIONS[name]} "


def _plain(char: str) -> str:
    """Return the ASCII form of digits of any script, and of letters of mathematical alphabets."""
    if char < "\u0600" or "\u1fff" < char < "\ua000":
        return char  # Latin, Greek and Cyrillic letters; symbols are converted by a separate table
    if "\U0001d400" <= char <= "\U0001d7ff":
        return unicodedata.normalize("NFKC", char)
    digit = unicodedata.decimal(char, -1)
    return char if digit < 0 or "\uff10" <= char <= "\uff19" else str(digit)


def _unfold(text: str) -> str:
    out: list[str] = []
    mode = ""
    for char in "".join(map(_plain, text)).translate(_UNICODE_TABLE):
        if char in _SUPER or char in _SUB:
            table, opener = (_SUPER, "^{") if char in _SUPER else (_SUB, "_{")
            if mode != opener:
                out.append("}" if mode else "")
                out.append(opener)
                mode = opener
            out.append(table[char])
            continue
        if mode:
            out.append("}")
            mode = ""
        if char in _FRACTIONS:
            top, bottom = _FRACTIONS[char].split("/")
            out.append(f"\\frac{{{top}}}{{{bottom}}}")
        else:
            out.append(char)
    if mode:
        out.append("}")
    return "".join(out)


def _undouble(text: str) -> str:
    """Replace \\\\frac by \\frac, unless an environment gives a doubled backslash a meaning."""
    out: list[str] = []
    i, n = 0, len(text)
    while True:
        j = text.find("\\\\", i)
        if j < 0:
            out.append(text[i:])
            return "".join(out)
        out.append(text[i:j])
        after = text[j + 2] if j + 2 < n else ""
        if after.isalpha() or (after and after in "{}%$,!;: ()[]"):
            out.append("\\")
        else:
            out.append(" ; ")
        i = j + 2


def tokenize(text: str) -> list[Token]:
    """Return the tokens of a cleaned text, ending with END.

    Raises:
        ReadError: The text is past a limit, or its words or braces cannot be parsed.
    """
    out: list[Token] = []
    space = False
    text_levels: list[bool] = []  # for each open brace: does it belong to a text command?
    in_text = 0
    pending_text = False  # a text command was just read
    money = _money_signs(text)
    position = 0
    for match in _SCAN.finditer(text):
        kind = match.lastgroup or "o"
        value = match.group()
        position = match.start()
        if kind == "s":
            space = True
            continue
        if pending_text and value != "{":
            pending_text = False
            if kind == "w" and len(value) == 1 and not in_text:
                out.append(Token("t", value, True))
                space = False
                continue
            if kind == "w" and len(value) > 1 and out and not in_text:
                # \text a: the argument is one character
                out.append(Token("t", value[0], True))
                out.append(Token("w", value[1:], True))
                space = False
                continue
        if kind == "o":
            if value == "{":
                text_levels.append(pending_text)
                if pending_text:
                    in_text += 1
                    pending_text = False
                    space = True
                    continue
            elif value == "}":
                if text_levels and text_levels.pop():
                    in_text -= 1
                    space = True
                    continue
            elif value == "$":
                if position in money:
                    out.append(Token("o", "$$", space))
                space = True
                continue
            elif value == "~" or (value == '"' and in_text and (not out or out[-1].kind != "n")):
                space = True  # quotation marks; after a number the mark is inches
                continue
            token = _operator(value, space, out)
        elif kind == "n":
            token = Token("n", value, space)
        elif kind == "w":
            if len(value) > MAX_LETTERS:
                raise ReadError("words", "a run of letters without end")
            token = Token("t" if in_text else "w", value, space)
        elif kind == "u":
            token = Token("t", value, space)
        elif kind == "x":
            char = value[1]
            if char in ",;:! ()[]>/" or char.isspace():
                if char == "!":
                    # \! is a negative space: 1,\!000 is one number
                    out.append(Token("o", "\\!", False))
                else:
                    space = True
                continue
            known = _ESCAPED.get(char)
            if known is None:
                space = True
                continue
            token = Token(known[0], known[1], space)
        else:
            name = value[1:]
            if name in ("quad", "qquad") and out and out[-1].kind in "nw" and _STATEMENT.match(text, match.end()):
                if any(t[:2] == ("r", "=") for t in out[-8:]):
                    out.append(Token("o", ",", False))
                space = True
                continue
            if name in DROPPED or name in TRANSPARENT:
                space = True
                continue
            if name in TEXT_COMMANDS:
                pending_text = True
                space = True
                continue
            known = _SYNONYMS.get(name)
            token = Token("c", name, space) if known is None else Token(known[0], known[1], space)
        if token[:2] == ("o", "|") and out and out[-1][:2] == ("c", "not"):
            token = Token("r", "nmid", out.pop().space)
        if token.kind == "r" and out and out[-1][:2] == ("c", "not"):
            negated = _NEGATED.get(token.value)
            if negated is None:
                raise ReadError("syntax", f"not {token.value}")
            token = Token("r", negated, out.pop().space)
        out.append(token)
        space = False
        if len(out) > MAX_TOKENS:
            raise ReadError("too_long", "too many symbols")
    out.append(Token("e", "", space))
    return out


def _operator(value: str, space: bool, out: list[Token]) -> Token:
    """Return the token of an operator; the two-character relations of plain text become one token."""
    if value in "<>=":
        last = out[-1] if out and not space else END
        if value == "=" and last[:2] == ("o", ":"):
            out.pop()  # x := 5
            return Token("r", "=", last.space)
        if value == "=" and last.kind == "r" and last.value in ("<", ">", "="):
            out.pop()
            return Token("r", {"<": "<=", ">": ">=", "=": "="}[last.value], last.space)
        if value == "=" and last == Token("o", "!", last.space):
            out.pop()
            return Token("r", "!=", last.space)
        if value == ">" and last == Token("o", "-", last.space):
            out.pop()
            return Token("r", "to", last.space)
        if value == "<" and last.kind == "r" and last.value == "=":
            out.pop()
            return Token("r", "<=", last.space)
        return Token("r", value, space)
    if value == "*" and out and not space and out[-1].value == "*" and out[-1].kind == "o":
        return Token("o", "^", out.pop().space)
    return Token("o", value, space)


def _money_signs(text: str) -> frozenset[int]:
    """Return the positions of `$` that mean money: their number is odd, and one is next to a digit."""
    if "$" not in text:
        return frozenset()
    positions = [i for i, c in enumerate(text) if c == "$" and (i == 0 or text[i - 1] != "\\")]
    if len(positions) % 2 == 0:
        return frozenset()
    for i in positions:
        before, after = text[i - 1 : i], text[i + 1 : i + 2]
        if (after and after in "0123456789") or (before and before in "0123456789"):
            return frozenset((i,))
    return frozenset()
