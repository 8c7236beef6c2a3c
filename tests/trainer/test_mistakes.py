"""Mistakes of a user in `train`, `eval` and `sft`: a status and one or two lines, before any training."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from pathlib import Path

import pytest

from deepcompress_trainer import __main__ as commands
from deepcompress_trainer import checkpoint, data
from deepcompress_trainer.config import TrainConfig

from ..ports import free_port

SETTINGS = [entry.name for entry in dataclasses.fields(TrainConfig)]
FREE_TEXT = {"out", "model", "data", "eval_data"}


def refused(call: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """Run a call that must fail, and return its standard error."""
    try:
        status = commands.main(call)
    except SystemExit as end:
        status = end.code  # type: ignore[assignment]
    errors = capfd.readouterr().err
    assert status in (1, 2, 3), (call, status)
    assert "Traceback" not in errors
    assert 1 <= len(errors.strip().splitlines()) <= 2, errors
    return errors


@pytest.mark.parametrize("command", [[], ["eval", "start"]], ids=["train", "eval"])
@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_with_bad_values(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").write_bytes(bytes(range(256)))
    (tmp_path / "a-folder").mkdir()
    monkeypatch.setattr(commands, "_service", lambda *_: pytest.fail("bad settings reached the service"))
    values = (
        ["a-file", "missing.jsonl", "a-folder"] if name in FREE_TEXT - {"out", "model"} else ["{", "[1", "!none 3"]
    )
    if name in ("out", "model"):
        values = []  # tried below: they are read after the service is there
    for value in values:
        for written in (name, name.replace("_", "-")):
            if command and name in ("data", "eval_data") and value == "a-folder":
                continue
            if name in FREE_TEXT and not command:
                break  # the data of a training is read after the service is there
            refused([*command, f"--{written}", value], capfd)


@pytest.mark.parametrize("file", ["missing", "a-file", "a-folder", "empty", "rows", "deep"])
def test_bad_configuration_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").write_bytes(bytes(range(256)))
    (tmp_path / "empty").write_text("")
    (tmp_path / "rows").write_text("- 1\n- 2\n")
    (tmp_path / "deep").write_text("[" * 5000)
    (tmp_path / "a-folder").mkdir()
    monkeypatch.setattr(commands, "_service", lambda *_: pytest.fail("a bad file reached the service"))
    if file != "empty":  # no settings: the defaults
        assert file in refused([file], capfd)
    assert file in refused(["eval", file, "--embedded"], capfd)
    refused(["plot", file], capfd)
    if file != "empty":
        refused(["sft", "jsonl", "start", file, "out"], capfd)


def test_words_that_the_parser_does_not_have(capfd: pytest.CaptureFixture[str]) -> None:
    assert "no-such-setting" in refused(["--no-such-setting", "1"], capfd).replace("_", "-")
    assert "needs a value" in refused(["tiny", "--steps"], capfd)
    assert "name a configuration" in refused([], capfd)
    assert "model" in refused(["eval"], capfd)
    assert "runs" in refused(["plot"], capfd)
    assert "kind" in refused(["sft"], capfd)


def test_a_start_checkpoint_is_not_made_for_a_folder_that_cannot_be(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a-file").write_text("")
    assert "a-file/out" in refused(["sft", "chain", str(tmp_path / "a-file" / "out")], capfd)


def test_a_bad_address_and_an_embedded_service_that_does_not_start(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = ["tiny", "--out", str(tmp_path)]
    assert "http://" in refused([*out, "--service-url", "ftp://nowhere"], capfd)
    monkeypatch.setenv("DEEPCOMPRESS_LOG_LEVEL", "loud")
    assert "LOG_LEVEL" in refused([*out, "--embedded"], capfd)


def test_a_folder_of_runs_that_cannot_be_made(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a-file").write_text("")
    assert "a-file" in refused(["tiny", "--embedded", "--out", str(tmp_path / "a-file")], capfd)


def test_an_embedded_service_names_its_dashboard(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    options = commands._parser("x", "").parse_args(["--embedded"])

    class Started:
        def __enter__(self) -> str:
            return url

        def __exit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr("deepcompress_client._embedded.embedded_service", lambda _: Started())
    with commands._service(options, tmp_path) as address:
        assert address == url
    assert f"dashboard: {url}/" in capfd.readouterr().err


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"step": "1"}', "[" * 5000])
def test_a_checkpoint_and_a_plot_of_files_that_are_none(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: str
) -> None:
    folder = tmp_path / "run"
    (folder / "checkpoints" / "step-000001").mkdir(parents=True)
    (folder / "checkpoints" / "step-000001" / "state.json").write_text(content)
    with pytest.raises(ValueError, match=r"state\.json is no"):
        checkpoint.find(folder)
    (folder / "config.json").write_text(content)
    (folder / "metrics.jsonl").write_text(f"{content}\n[]\n3\nnull\n")
    refused(["plot", str(folder), "--out", str(tmp_path / "curves.png")], capfd)


@pytest.mark.parametrize("field", ["problem_id", "bin", "gold", "prompt"])
@pytest.mark.parametrize("value", ["[]", "{}", "null", "true", "[" * 900 + "]" * 900, "[" * 9000, "NaN", "1" * 5000])
def test_a_row_of_problems_with_every_kind_of_value(tmp_path: Path, field: str, value: str) -> None:
    row = {name: "x" for name in ("problem_id", "bin", "gold", "prompt") if name != field}
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{json.dumps(row)[:-1]}, "{field}": {value}}}\n')
    if value == "NaN" and field in ("problem_id", "bin"):
        assert data.read_problems(str(file))
        return
    with pytest.raises(ValueError, match=r"rows\.jsonl: row 1 "):
        data.read_problems(str(file))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_that_is_stopped_says_how_to_continue(
    number: signal.Signals, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also as the first process of a container, which ignores SIGTERM without a handler."""
    before = signal.getsignal(signal.SIGTERM)
    if number == signal.SIGINT:  # a shell ignores it in what it runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def train(_given: list[str]) -> int:
        os.kill(os.getpid(), number)
        time.sleep(60)
        return 0

    monkeypatch.setattr(commands, "_run", train)
    assert commands.main(["tiny"]) == 128 + number
    assert "--resume" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before
