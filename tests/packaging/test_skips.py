"""Every skip of a test states what it needs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def skips(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the reason of each skip, as far as it is literal; "" if there is none."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr not in ("skip", "skipif", "importorskip"):
            continue
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        reason = named.get("reason", node.args[0] if node.func.attr == "skip" and node.args else None)
        if isinstance(reason, ast.JoinedStr):
            reason = reason.values[0]
        yield node.lineno, str(reason.value) if isinstance(reason, ast.Constant) else ""


def test_every_reason_of_a_skip_begins_with_needs() -> None:
    found = [
        (file.relative_to(ROOT).as_posix(), line, reason)
        for file in sorted((ROOT / "tests").rglob("*.py"))
        for line, reason in skips(file.read_text())
    ]
    assert len(found) > 30
    assert [one for one in found if not one[2].startswith("needs ")] == []


def test_skips_of_every_form_are_found() -> None:
    source = (
        'pytest.skip("a")\npytest.skip(f"b {x}")\npytest.importorskip("m")\npytest.importorskip("m", reason="c")\n'
        '@pytest.mark.skipif(True, reason="d")\ndef test(): ...\n'
    )
    assert [reason for _, reason in skips(source)] == ["a", "b ", "", "c", "d"]
