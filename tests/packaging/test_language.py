"""Docstrings, comments, messages and pages avoid the words of tests/data/banned_words.txt."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shared_data import OWN

ROOT = Path(__file__).resolve().parents[2]
CHECKED = ("service", "client", "scripts", "bench", "tests", "examples")

NOT_YET: tuple[str, ...] = ()
"""Folders, without those in them, whose prose is still to be rewritten. It is empty; keep it so."""

LEFT_OUT = ("client/deepcompress_client/_client.py", "tests/packaging/test_language.py")
"""A generated file, and this one, which quotes the words."""


def banned() -> list[tuple[re.Pattern[str], str]]:
    """Return each expression with what to write for it."""
    lines = (OWN / "banned_words.txt").read_text().splitlines()
    pairs = [line.rsplit(" => ", 1) for line in lines if line.strip() and not line.startswith("#")]
    return [(re.compile(pattern, re.IGNORECASE), other) for pattern, other in pairs]


def docstrings(tree: ast.AST) -> set[ast.Constant]:
    """Return the docstrings of modules, classes, functions and fields."""
    bodies = [body for node in ast.walk(tree) if isinstance(body := getattr(node, "body", None), list)]
    return {
        statement.value
        for body in bodies
        for statement in body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    }


def prose(source: str) -> Iterator[tuple[int, str, bool]]:
    """Yield each docstring, comment and text of two words or more: its line, itself, and True for a docstring."""
    tree = ast.parse(source)
    described = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, node.value, node in described
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#: "), False


def faults(path: Path, source: str) -> list[str]:
    """Return each banned word of a file, with its line and what to write."""
    result = []
    for line, text, is_docstring in prose(source):
        joined = " ".join(text.split())
        for pattern, other in banned():
            if pattern.pattern.startswith(r"\A") and not is_docstring:
                continue
            if match := pattern.search(joined):
                result.append(f"{path}:{line}: {match[0]!r}: write {other}")
    return result


def pages() -> list[Path]:
    """Return the Markdown files of the documentation."""
    folders = ("docs", "experiments", "deploy", "examples")
    return [*ROOT.glob("*.md"), *(file for folder in folders for file in sorted((ROOT / folder).rglob("*.md")))]


def page_faults(path: Path, text: str) -> list[str]:
    """Return each banned word of a page, with the first line of its paragraph; code is left out."""
    text = re.sub(
        r"```.*?```|^    .*?$", lambda code: "\n" * code[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE
    )
    result = []
    line = 1
    for paragraph in re.split(r"(\n\s*\n)", text):
        joined = " ".join(re.sub(r"`[^`]*`", "`x`", paragraph).split())
        for pattern, other in banned():
            if not pattern.pattern.startswith(r"\A") and (match := pattern.search(joined)):
                result.append(f"{path}:{line}: {match[0]!r}: write {other}")
        line += paragraph.count("\n")
    return result


def folders() -> list[str]:
    """Return each folder with Python files, from the root of the tree."""
    files = [file.relative_to(ROOT) for top in CHECKED for file in (ROOT / top).rglob("*.py")]
    return sorted({file.parent.as_posix() for file in files})


@pytest.mark.parametrize("folder", [folder for folder in folders() if folder not in NOT_YET])
def test_no_banned_word(folder: str) -> None:
    files = [file.relative_to(ROOT) for file in sorted((ROOT / folder).glob("*.py"))]
    result = [
        fault
        for file in files
        if file.as_posix() not in LEFT_OUT
        for fault in faults(file, (ROOT / file).read_text())
    ]
    assert not result, "\n".join(["", *result])


def test_no_banned_word_in_the_pages() -> None:
    result = [fault for page in pages() for fault in page_faults(page.relative_to(ROOT), page.read_text())]
    assert not result, "\n".join(["", *result])


def test_a_folder_that_is_clean_leaves_the_list() -> None:
    clean = [
        folder
        for folder in NOT_YET
        if not any(faults(file, file.read_text()) for file in sorted((ROOT / folder).glob("*.py")))
    ]
    assert not clean, f"take off NOT_YET: {', '.join(clean)}"


def test_the_check_finds_words_wherever_prose_is() -> None:
    source = '"""What it does."""\nx = 1  # the server knows of it\ny = f"it is told {x} times"\nz = "So"\n'
    assert {line.split(":")[1] for line in faults(Path("x.py"), source)} == {"1", "2", "3"}
    assert faults(Path("x.py"), '"""Return the level of a run, as text."""\n# Whether or not.\n') == []


def test_the_check_of_pages_leaves_code_out_and_finds_words_that_a_line_break_divides() -> None:
    text = (
        "# Title\n\n```\nnobody\n```\n\n    nobody\n\n`nobody` is\ntold. Fields sent\nbeside it.\n\n| is | anew |\n"
    )
    assert [fault.split(":")[1] for fault in page_faults(Path("x.md"), text)] == ["9", "9", "9", "13"]
