"""Texts for fuzzing: random pieces of answers, real answers cut and mixed, and repetition."""

from __future__ import annotations

from hypothesis import strategies as st

PIECES = (
    *"0123456789", *"abcefinxyzABCDE", *"+-*/^_=<>()[]{}|!%$&,.;:'\"\\~@#? \n\t", "10", "3.14", "1,000", "1e9",
    "0.5", "2024", "999999999999", r"\frac{", r"\frac", r"\dfrac", r"\sqrt", r"\sqrt[3]{", r"\sqrt{", r"\left(",
    r"\right)", r"\left[", r"\right.", r"\left\{", r"\right\}", r"\{", r"\}", r"\text{", r"\mathrm{", r"\mathbb{R}",
    r"\textbf{", r"\boxed{", "}", "{", r"\pi", r"\infty", r"\theta", r"\alpha", r"\sin", r"\cos", r"\tan^{-1}",
    r"\ln", r"\log_", r"\log", r"\exp", r"\arctan", r"\pm", r"\mp", r"\cdot", r"\times", r"\div", r"\le", r"\leq",
    r"\ge", r"\ne", r"\in", r"\cup", r"\cap", r"\setminus", r"\equiv", r"\pmod{", r"\mod", r"\circ", r"^\circ", "°",
    r"\%", r"\$", r"\!", r"\,", r"\ ", r"\quad", r"\\", "&", r"\begin{pmatrix}", r"\end{pmatrix}", r"\begin{cases}",
    r"\end{cases}", r"\begin{array}{cc}", r"\end{array}", r"\begin{aligned}", r"\end{aligned}",
    r"\sum_{k=1}^{", r"\prod_{k=1}^", r"\int_0^1",
    r"\lim_{x\to 0}", r"\binom{", r"\choose", r"\lfloor", r"\rfloor", r"\lceil", r"\rceil", r"\overline{",
    r"\log_{2}", "!", "!!", "f(x)", "x^2", "x_1", "dx", " or ", " and ", " if ", "mod", "sqrt(", "pi", "sin(", "^{",
    " when ", " for ", " otherwise ", "even", ", if", ", otherwise",
    "_{", "^(", "**", "//", "->", "...", r"\ldots", r"\cdots", "≤", "≥", "π", "√", "∞", "±", "×", "÷", "²", "³",
    "½", "∪", "∈", "−", "–", "٣", "４２", "\u200b", "\u202e", "\x00", "é", "中", "😀", "\ud800", "{,}", "p.m.", "am",
    "cm", "km^2", "hours", "%", "percent", "12:30", "3:4", "(A)", "1/2", "e^{i\\pi}", "i", "0/0", "1/0",
)  # fmt: skip

WHOLE = (
    r"\frac{3}{4}", r"2\sqrt{3}+1", r"(-\infty,3]\cup(5,7)", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
    r"x=3 \pm \sqrt{2}", r"\{1,2,3\}", r"y=2x+1", r"3:30\text{ p.m.}", r"12\%", r"1{,}000{,}000", r"101_{2}",
    r"\log_{2}(x+1)", r"e^{2x}\sin x", r"x\equiv 3\pmod{7}", r"\begin{cases}x & x>0\\ -x & x\le 0\end{cases}",
    r"\sum_{k=1}^{10}k^2", r"9^{9^{9^{9}}}", r"99999999!", r"\binom{1000000}{500000}", r"(x+1)^{10000}",
    r"1.2\times 10^{-300}", r"0.\overline{142857}", r"\text{(B)}", r"a^2+b^2=c^2", r"\left|x-3\right|<2",
    r"2 \frac{1}{3}", r"\int_0^1 x^2 dx", r"\$3.50", r"45^\circ", r"x\in[0,1)",
)  # fmt: skip


def _repeated(parts: tuple[str, int, str, int]) -> str:
    opening, count, middle, closes = parts
    closing = {"(": ")", "[": "]", "{": "}", "^{": "}", r"\frac{": "}{1}", r"\sqrt{": "}", r"\left(": r"\right)"}
    return opening * count + middle + closing.get(opening, "") * closes


def _spliced(parts: tuple[str, str, int, int]) -> str:
    first, second, at, to = parts
    return first[: at % (len(first) + 1)] + second[to % (len(second) + 1) :]


random_pieces = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
characters = st.text(max_size=60)
splices = st.tuples(st.sampled_from(WHOLE), st.sampled_from(WHOLE), st.integers(0, 60), st.integers(0, 60)).map(
    _spliced
)
repetitions = st.tuples(
    st.sampled_from(PIECES), st.integers(1, 3000), st.sampled_from(WHOLE), st.integers(0, 3000)
).map(_repeated)
texts = st.one_of(random_pieces, splices, characters, repetitions)
"""Any text that a model might put into a box."""
