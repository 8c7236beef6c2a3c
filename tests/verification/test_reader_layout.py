"""The layout of the reader: grammar functions in files that import each other in one direction; counted work."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from deepcompress_verify import reader
from deepcompress_verify.reader import grammar, read
from deepcompress_verify.reader.numerals import join_numerals
from deepcompress_verify.reader.stream import MAX_WORK, Options, Stream
from deepcompress_verify.reader.tokens import ReadError, clean, tokenize
from deepcompress_verify.tree import MAX_CHARS, Unreadable

FILES = sorted(Path(reader.__file__).parent.glob("*.py"))
PACKAGE = "deepcompress_verify.reader."


def modules_imported(file: Path) -> set[str]:
    names = (node.module for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom))
    return {name.removeprefix(PACKAGE) for name in names if name and name.startswith(PACKAGE)}


def test_the_files_import_each_other_in_one_direction() -> None:
    graph = {file.stem: modules_imported(file) for file in FILES}
    assert len(graph) > 15
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_the_order_in_the_docstring_is_that_of_the_imports() -> None:
    assert grammar.__doc__
    listed = " ".join(grammar.__doc__.split()).partition("from the innermost: ")[2].partition(";")[0].split(", ")
    assert {file.stem for file in FILES} >= set(listed)
    for place, name in enumerate(listed):
        above = modules_imported(Path(reader.__file__).with_name(f"{name}.py")) & set(listed[place:])
        assert above == set(), name


def test_no_class_of_the_reader_extends_another_and_nothing_is_a_stub() -> None:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                assert {ast.unparse(base) for base in node.bases} <= {"NamedTuple", "Exception"}, node.name
            assert not (isinstance(node, ast.Name) and node.id == "NotImplementedError"), file


@pytest.mark.parametrize("word", ["dozen", "thirds"])
def test_words_that_scale_a_number_again_and_again_end_at_the_limit(word: str) -> None:
    """Each word is a search over the product so far; 4,000 of them would be eight million steps."""
    text = "5" + f" {word}" * ((MAX_CHARS - 1) // (len(word) + 1))
    assert read(text) == Unreadable("too_long", f"over {MAX_WORK} steps")
    assert not isinstance(read(f"5 {word} {word}"), Unreadable)


def test_the_searches_for_a_closing_bracket_are_counted() -> None:
    tokens = join_numerals(tokenize(clean("(" + "x" * 60 + ")")))
    stream = Stream(tokens, Options(latex=False), grammar.GRAMMAR)
    with pytest.raises(ReadError, match="too_long"):
        for _ in range(MAX_WORK):
            assert stream.closing("(") > 0
