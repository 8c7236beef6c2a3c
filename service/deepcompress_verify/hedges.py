"""Words that hedge, withdraw or deny an answer."""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

import re
from itertools import pairwise

HEDGES = frozenset(
    "maybe perhaps possibly probably presumably either alternatively otherwise unless but however although though "
    "yet instead rather actually wait correction corrected sorry mistake oops also too unsure guess guessing "
    "guessed except assuming supposedly allegedly doubt unclear neither nor incorrect wrongly withdraw retract "
    "ignore scratch doubtful questionable".split()
)
"""Words that hedge or withdraw an answer. A remark with one of them is never removed."""
DENIALS = frozenset(
    "not non no never cannot neither nor none nothing without isnt arent wasnt werent cant dont doesnt didnt wont "
    "wouldnt couldnt shouldnt wrong incorrect false invalid impossible unlikely excluding excluded eliminated "
    "except unless".split()
)
"""Words that deny the words beside them."""
_WORD = re.compile(r"[a-zA-Z]+(?:['’][a-zA-Z]+)?")
_OR_VALUE = re.compile(r"\b[nN]o\s*,|\bor\s+(?:maybe\s+|even\s+|just\s+)?(?:[-+$\\(]|\d|[A-Z]\b|[a-z]\b(?!\s+[a-z]))")


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, without apostrophes: "can't" is "cant"."""
    return [word.replace("'", "").replace("’", "").lower() for word in _WORD.findall(text)]


def hedged(text: str) -> bool:
    """Return True if a remark may weaken or withdraw the answer that it follows."""
    words = words_of(text)
    words = [word for word, after in pairwise([*words, "and"]) if word != "too" or after in ("and", "or", "but")]
    if not HEDGES.isdisjoint(words) or _OR_VALUE.search(text):
        return True
    pairs = set(pairwise(words))
    return any(first in ("could", "may", "might", "not", "another") and second in _UNSURE for first, second in pairs)


_UNSURE = frozenset("be sure certain confident answer".split())


_CONDITIONS = frozenset(
    "if when whenever unless only provided providing given assuming sometimes partly partially mostly almost some "
    "depending depends except until often usually".split()
)


def restricts(words: list[str]) -> bool:
    """Return True if an elaboration restricts a statement, and is no reason: "if n > 3", "in some cases"."""
    if words[0] in ("because", "since", "as"):
        return False
    after = words[1] if len(words) > 1 else ""
    first = words[0] in ("for", "in", "under", "at", "with") and after not in ("all", "every", "any", "fact")
    return first or not _CONDITIONS.isdisjoint(words)
