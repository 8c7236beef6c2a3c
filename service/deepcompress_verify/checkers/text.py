"""`text`: the same text after normalisation, any of several golds.

Normalisation: Unicode NFKC; LaTeX `\\text{}` and formula signs around the whole text removed; runs of white space as
one space; white space, quotes and final punctuation at both ends removed; case folded unless `case_sensitive`.
"""

from __future__ import annotations

import unicodedata

from deepcompress_verify.checkers.protocol import Checker, CheckResult, Parameter, Parameters, any_gold

_QUOTES = "\"'`“”‘’«»„"
_FINAL = ".,;:!?。，；：！？"
_WRAPPERS = (("\\text{", "}"), ("\\textbf{", "}"), ("\\mathrm{", "}"), ("$", "$"), ("\\(", "\\)"), ("**", "**"))


def normalise(text: str, case_sensitive: bool = False, punctuation: bool = False) -> str:
    """Return the normalised text; with `punctuation`, quotes and punctuation at the ends stay."""
    text = " ".join(unicodedata.normalize("NFKC", text).split())
    for _ in range(4):
        for opener, closer in _WRAPPERS:
            inner = text[len(opener) : len(text) - len(closer)]
            if text.startswith(opener) and text.endswith(closer) and len(text) >= len(opener) + len(closer):
                if opener.endswith("{") and ("{" in inner or "}" in inner):
                    continue
                if opener in ("$", "**") and opener in inner:
                    continue
                text = inner.strip()
        if not punctuation:
            text = text.strip(f" {_QUOTES}").rstrip(_FINAL).strip(f" {_QUOTES}")
    return text if case_sensitive else unicodedata.normalize("NFKC", text.casefold())


def check(golds: tuple[str, ...], answer: str, parameters: Parameters, options: tuple[str, ...]) -> CheckResult:
    """Compare the normalised texts."""
    del options
    case, punctuation = bool(parameters["case_sensitive"]), bool(parameters["punctuation"])
    stated = normalise(answer, case, punctuation)

    def one(gold: str) -> CheckResult:
        same = normalise(gold, case, punctuation) == stated
        return CheckResult("correct" if same else "wrong", "the same text" if same else "another text")

    return any_gold(golds, one)


CHECKER = Checker(
    "text",
    "the same text after normalisation",
    check,
    (
        Parameter("case_sensitive", False, "upper and lower case differ", bool),
        Parameter("punctuation", False, "quotes and punctuation at the ends count", bool),
    ),
)
