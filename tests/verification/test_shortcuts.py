"""Checks that save work change nothing: each is compared with the full way on the texts of all pairs."""

from __future__ import annotations

import random
import re

import pytest

from deepcompress_verify import choices, remarks
from deepcompress_verify.compare import chemistry, unit_text
from deepcompress_verify.reader import atoms, parts, read, statements
from deepcompress_verify.reader.tokens import ReadError, clean, tokenize
from tests.verification.mathematics import KINDS
from tests.verification.test_judgement import pairs

EVERYTHING = re.compile("")
NOTHING = re.compile(r"(?!)")


def texts() -> list[str]:
    files = ("judgement.txt", "kinds.txt", "stranger.txt", "claims.txt", "hacks.txt")
    result = {text for name in files for pair in pairs(name) for text in pair[:2]}
    for kind, generator in KINDS.items():
        case = generator(random.Random(f"{kind} shortcut"))
        result.update((case.gold, *case.same, *case.different))
    return sorted(result)


TEXTS = texts()


def test_there_are_texts_on_both_sides_of_each_check() -> None:
    assert len(TEXTS) > 5000
    for check in (remarks._FORMULA.fullmatch, unit_text._MAY_HAVE_UNIT.search, choices._NO_CHOICE.match):
        assert 500 < sum(check(text) is not None for text in TEXTS) < len(TEXTS) - 500


def test_a_formula_has_no_remarks(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = [remarks.reductions(text) for text in TEXTS]
    monkeypatch.setattr(remarks, "_is_formula", lambda _: False)
    assert [remarks.reductions(text) for text in TEXTS] == quick


def test_a_text_that_may_have_no_unit_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = [unit_text.split_unit(text) for text in TEXTS]
    monkeypatch.setattr(unit_text, "_MAY_HAVE_UNIT", EVERYTHING)
    assert [unit_text.split_unit(text) for text in TEXTS] == quick


def test_a_number_or_formula_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = [choices.read_choice(text) for text in TEXTS]
    monkeypatch.setattr(choices, "_NO_CHOICE", NOTHING)
    assert [choices.read_choice(text) for text in TEXTS] == quick


def test_a_text_without_capitals_is_no_chemical_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    chemistry.chemical.cache_clear()
    quick = [chemistry.chemical(text) for text in TEXTS]
    monkeypatch.setattr(chemistry, "_has_symbols", lambda _: True)
    chemistry.chemical.cache_clear()
    full = [chemistry.chemical(text) for text in TEXTS]
    chemistry.chemical.cache_clear()
    assert [side if re.search("[A-Zs]", str(side)) else None for side in full] == quick


def test_the_levels_of_the_grammar_give_the_same_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = [read(text) for text in TEXTS]
    monkeypatch.setattr(atoms, "MAX_DEPTH", -1)
    monkeypatch.setattr(statements, "MAX_DEPTH", -1)
    assert [read(text) for text in TEXTS] == quick


def test_labels_need_a_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    def split() -> list[object]:
        result: list[object] = []
        for text in TEXTS:
            try:
                result.append(parts.split_parts(tokenize(clean(text))))
            except ReadError:
                result.append(None)
        return result

    quick = split()
    monkeypatch.setattr(parts, "_MAY_LABEL", lambda _: True)
    assert split() == quick
