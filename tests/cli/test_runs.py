"""``deepcompress runs``: the state of a service's runs, and rewinding them, from a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deepcompress_client import Client
from deepcompress_service.cli.embedded import embedded_service


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with embedded_service() as address:
        yield address


@pytest.fixture
def runs(cli: Callable[..., Any], url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("DEEPCOMPRESS_URL", url)
    with Client(url) as client:
        run = client.run("r", next_step=0)
        for step in range(4):
            rollouts = [{"correct": i <= step, "tokens": 100 * i} for i in range(4)]
            run.shape([{"problem_id": "odd/\x1b[2J[red]", "rollouts": rollouts}], step=step)

    def call(*arguments: str, status: int = 0, stdin: str | None = None) -> str:
        result = cli("runs", *arguments, stdin=stdin)
        assert result.exit_code == status, result.output
        return str(result.output)

    return call


def test_list_show_and_problems(runs: Callable[..., str]) -> None:
    assert "deepcompress" in runs("ls")
    shown = runs("show", "r", "--steps", "2")
    assert "3 open" in shown
    assert "| 1 " not in shown
    problems = runs("problems", "r")
    assert "odd/�[2J[red]" in problems
    assert "No" not in runs("problems", "r", "--difficulty", "simple")
    runs("problems", "r", "--difficulty", "odd", status=2)


def test_history_and_plot(runs: Callable[..., str], tmp_path: Path) -> None:
    assert "3 open" in runs("history", "r")
    rows = [json.loads(line) for line in runs("history", "r", "--since", "2", "--json").splitlines()]
    assert [row["step"] for row in rows] == [2, 3]
    picture = tmp_path / "pictures" / "r.png"
    assert str(picture.name) in runs("plot", "r", "--out", str(picture)).replace("\n", "")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_tables_fit_a_terminal_of_80_characters(runs: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert " 3 open " in runs("history", "r") and " 3 open " in runs("show", "r")
    problems = runs("problems", "r")
    assert "difficulty" in problems and "…" not in problems


def test_rewind_asks_first(runs: Callable[..., str]) -> None:
    assert "Aborted" in runs("rewind", "r", "2", status=1, stdin="n\n")
    assert "level 0.98" in runs("rewind", "r", "2", stdin="y\n")
    assert "level 1.0000, 0 problems" in runs("rewind", "r", "all", "--yes")
    runs("rewind", "r", "-1", "--yes", status=2)


def test_checkpoint_restore_export_import_delete(runs: Callable[..., str], tmp_path: Path) -> None:
    assert "at the end of step 2" in runs("checkpoint", "r", "good", "2")
    assert "checkpoint good" in runs("show", "r")
    file = tmp_path / "r.jsonl"
    runs("export", "r", "--out", str(file))
    assert "'a/b' is none" in runs("checkpoint", "r", "a/b", "1", status=2)
    assert "level 0.98" in runs("restore", "r", "good", "--yes")
    assert "step 3" in runs("import", "moved", str(file), "--yes")
    assert "deleted moved" in runs("rm", "moved", "--yes")
    assert "unknown-run" in runs("show", "moved", status=3)


def test_a_service_that_is_not_there_is_one_line(cli: Callable[..., Any]) -> None:
    result = cli("runs", "show", "r", "--url", "ftp://nowhere")
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert "http://" in result.output


def test_create_with_a_preset(runs: Callable[..., str]) -> None:
    assert "authors@1" in runs("create", "--preset", "list")
    created = runs("create", "with-preset", "--preset", "authors", "--config", '{"keep_steps": 70}')
    config = json.loads(created.splitlines()[-1])
    assert (config["preset"], config["keep_steps"]) == ("authors@1", 70)
    runs("create", "with-preset", "--preset", "authors")  # confirms it
    assert "no preset" in runs("create", "other", "--preset", "unheard", status=2)
    assert "no such field: join" in runs("create", "other", "--config", '{"join": true}', status=2)
    assert "not JSON" in runs("create", "other", "--config", "{", status=2)
    assert "object" in runs("create", "other", "--config", "[]", status=2)
    assert "delete it with `runs rm r`" in runs("create", "r", status=3)  # trained with; advice for a terminal
