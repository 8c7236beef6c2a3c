"""Mistakes of a user at every command: an exit status and one or two lines, never a traceback.

The commands and their parameters are taken from the parser, so a new one is covered as soon as it exists. A new
required parameter needs a right value in `RIGHT`.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import typing
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import typer

from deepcompress_client import Client
from deepcompress_service.cli import jsonl, serve
from deepcompress_service.cli.app import app
from deepcompress_service.cli.embedded import embedded_service

from ..ports import free_port
from ..waiting import eventually

PASS_THROUGH = {("train",), ("eval",)}
"""Commands whose arguments the trainer parses: tests/trainer/test_mistakes.py."""
RIGHT = {
    "gold": "3",
    "answer": "3",
    "name": "r",
    "checkpoint_name": "saved",
    "step": "1",
    "next_step": "2",
    "golds": "rows.jsonl",
    "rollouts": "rows.jsonl",
    "file": "export.jsonl",
}
OUTPUTS = {"out", "pictures"}
ROW = {"problem_id": "p", "gold": "3", "response": "\\boxed{3}", "tokens": 7, "step": 0}


def leaves() -> dict[tuple[str, ...], Any]:
    """Every command by its words."""
    found: dict[tuple[str, ...], Any] = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        if hasattr(command, "commands"):
            for name, inner in command.commands.items():
                walk(inner, (*words, name))
        else:
            found[words] = command

    walk(typer.main.get_command(app), ())
    return found


LEAVES = leaves()
OWN = [words for words in LEAVES if words not in PASS_THROUGH]


def kind_of(words: tuple[str, ...], parameter: str) -> type:
    """The type of a parameter's value, or of one of its values."""
    hint = typing.get_type_hints(inspect.unwrap(LEAVES[words].callback))[parameter]
    while typing.get_args(hint):
        hint = typing.get_args(hint)[0]
    assert isinstance(hint, type)
    return hint


def right_call(words: tuple[str, ...], without: str | None = None) -> list[str]:
    """The words of a call that succeeds, with one argument left out."""
    options: list[str] = []
    arguments: list[str] = []
    for parameter in LEAVES[words].params:
        if parameter.param_type_name == "argument" and parameter.name != without:
            assert parameter.name in RIGHT, f"{' '.join(words)}: give {parameter.name} a right value in RIGHT"
            arguments.append("new" if words == ("runs", "create") else RIGHT[parameter.name])
        if parameter.name == "yes":
            options.append("--yes")
        if parameter.name == "out":
            options += ["--out", "of-the-right-call"]
    return [*words, *options, *arguments]


def bad_inputs(folder: Path) -> Iterator[str]:
    contents = {
        "empty.jsonl": b"",
        "blank.jsonl": b"\n\n",
        "binary.jsonl": bytes(range(256)) * 8,
        "prose.jsonl": b"it is not JSON\n",
        "array.jsonl": b"[1, 2]\n",
        "number.jsonl": b"3\n",
        "cut.jsonl": b'{"problem_id": "p", "go',
        "deep.jsonl": b"[" * 100_000,
        "long-number.jsonl": b'{"step": ' + b"1" * 5000 + b"}\n",
        "huge-line.jsonl": b'{"problem_id": "' + b"p" * 40_000 + b'"}\n',
        "fields.jsonl": b'{"other": 1}\n',
    }
    for name, wrong in (("tokens", -1), ("tokens", "7"), ("tokens", 1e400), ("gold", {"a": 1}), ("response", 3)):
        contents[f"{name}-{wrong}.jsonl".replace("/", "")] = json.dumps({**ROW, name: wrong}).encode()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        yield name
    yield from ("missing.jsonl", "a-folder", "rows.jsonl/inside", "x" * 5000, "/dev/null", "/proc/self/mem")


BAD_OUTPUTS = ("a-folder", "rows.jsonl/inside", "/dev/full", "y" * 300, "/proc/nothing/here")
BAD_NUMBERS = ("x", "", "-1", "nan", "1e999", "9" * 5000, "1.5.2")
BAD_ADDRESSES = ("ftp://host", "http://", "no-address", "http://[::", "http://127.0.0.1:99999", "http://a b", "")
BAD_STATES = ("mysql://x", "sqlite://x", "redis://h:port", "redis+sentinel://x", "sqlite:///rows.jsonl", "x", "")
BAD_TEXTS = ("{", "[]", "null", '{"name": 5}', '{"name": "no-such-thing"}', "no-such-thing", "{" * 9999, "\udcff", "")


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with embedded_service() as url:
        yield url


@pytest.fixture
def desk(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with right files, a service with a run, and a bound on lines that a test can exceed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPCOMPRESS_URL", service)
    monkeypatch.setenv("DEEPCOMPRESS_PORT", "0")  # the default port may be in use
    monkeypatch.delenv("DEEPCOMPRESS_SHARED", raising=False)  # of the tests alone: commands warn of it
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 30_000)
    monkeypatch.setattr(serve, "_run", lambda _: pytest.fail("the server was started"))
    prepare(tmp_path, service)
    return tmp_path


def prepare(folder: Path, service: str) -> None:
    (folder / "a-folder").mkdir()
    (folder / "rows.jsonl").write_text((json.dumps(ROW) + "\n") * 2)
    with Client(service) as client:
        run = client.run("r", next_step=0)
        for step in range(3):
            run.shape([{"problem_id": "p", "rollouts": [{"correct": True, "tokens": 3}]}], step=step)
        run.checkpoint("saved", 1)
        run.export_to(folder / "export.jsonl")


Cli = Callable[..., Any]


def refused(result: Any, *, named: str | None = None) -> None:
    """Check that a call was refused in one or two lines on standard error."""
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (1, 2, 3), result.output
    assert "Traceback" not in result.output
    assert 1 <= len(result.stderr.strip().splitlines()) <= 2, result.stderr
    if named is not None:
        assert named[:100] in result.stderr, result.stderr


def harmless(result: Any) -> None:
    """Check that a call ended with a status, and without a traceback."""
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in result.output
    if result.exit_code and result.stderr:
        assert len(result.stderr.strip().splitlines()) <= 2, result.stderr


def label(words: tuple[str, ...]) -> str:
    return " ".join(words)


@pytest.mark.parametrize("words", OWN, ids=label)
def test_the_right_call_is_right(cli: Cli, desk: Path, words: tuple[str, ...]) -> None:
    if words == ("serve",):
        return  # tests/cli/test_serve.py
    result = cli(*right_call(words))
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("words", OWN, ids=label)
def test_a_command_that_prints_a_table_prints_json_too(cli: Cli, desk: Path, words: tuple[str, ...]) -> None:
    if words == ("serve",) or not re.search("[─━]{3}", cli(*without_out(words)).stdout):
        return
    printed = cli(*without_out(words), "--json")
    assert printed.exit_code == 0, printed.output
    one_object = printed.stdout.startswith("{\n")
    assert [json.loads(text) for text in ([printed.stdout] if one_object else printed.stdout.splitlines())]


@pytest.mark.parametrize("words", LEAVES, ids=label)
def test_words_that_the_parser_does_not_have(cli: Cli, desk: Path, words: tuple[str, ...]) -> None:
    if words not in PASS_THROUGH:
        refused(cli(*words, "--no-such-option"), named="--no-such-option")
        refused(cli(*right_call(words), "one", "more"), named="--help")
    refused(cli(*words[:-1], "no-such-command"), named="no-such-command")
    for parameter in LEAVES[words].params:
        if parameter.param_type_name == "argument" and parameter.required:
            call = list(words) if words == ("verify",) else right_call(words, without=parameter.name)
            harmless(cli(*call))


@pytest.mark.parametrize("words", OWN, ids=label)
def test_every_parameter_with_every_bad_value(cli: Cli, desk: Path, words: tuple[str, ...]) -> None:
    for parameter in LEAVES[words].params:
        kind = kind_of(words, parameter.name)
        is_argument = parameter.param_type_name == "argument"

        def call(value: str, parameter: Any = parameter, is_argument: bool = is_argument) -> Any:
            if is_argument:
                names = [p.name for p in LEAVES[words].params if p.param_type_name == "argument"]
                position = names.index(parameter.name) - len(names)
                right = right_call(words)
                right[position] = value
                return cli(*right)
            return cli(*right_call(words), max(parameter.opts, key=len), value)

        if parameter.name == "help" or getattr(parameter, "is_flag", False):
            continue
        if parameter.name == "url":
            for value in BAD_ADDRESSES:
                (harmless if value == "" else refused)(call(value))
        elif parameter.name == "state_url":
            for value in BAD_STATES:
                refused(call(value), named="DEEPCOMPRESS_STATE_URL")
        elif parameter.name == "host":
            for value in ("no-such-host.invalid", "1.2.3.4", "a b", "x" * 300):
                refused(call(value), named=value)
        elif parameter.name in OUTPUTS:
            for value in BAD_OUTPUTS[parameter.name == "pictures" :]:  # pictures are written into a folder
                refused(call(value), named=None if value == "/dev/full" else value)
        elif kind is Path:
            for value in bad_inputs(desk):
                (harmless if value.startswith(("tokens", "response", "fields", "gold")) else refused)(call(value))
        elif kind in (int, float):
            for value in BAD_NUMBERS:
                refused(call(value)) if value in ("x", "", "1.5.2") else harmless(call(value))
        elif issubclass(kind, StrEnum):
            refused(call("no-such-thing"), named="no-such-thing")
        else:
            assert kind is str
            for value in BAD_TEXTS:
                harmless(call(value))


@contextlib.contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """A server that sends the same bytes to everybody."""

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


WITH_SERVICE = [words for words in OWN if any(parameter.name == "url" for parameter in LEAVES[words].params)]


@pytest.mark.parametrize("words", WITH_SERVICE, ids=label)
def test_a_service_that_is_away_or_another(cli: Cli, desk: Path, words: tuple[str, ...]) -> None:
    closed = f"http://127.0.0.1:{free_port()}"
    result = cli(*right_call(words), "--url", closed)
    refused(result, named=closed)
    assert result.exit_code == 3
    assert "deepcompress serve" in result.stderr
    page = b"HTTP/1.1 %s\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    for reply in (b"220 mail.example ESMTP\r\n", b"", page % b"200 OK", page % b"404 Not Found", b"\x16\x03\x01" * 9):
        with answering(reply) as url:
            result = cli(*right_call(words), "--url", url)
            refused(result, named=url)
            assert result.exit_code == 3


def test_a_port_in_use_is_named(cli: Cli, desk: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = cli("serve", "--port", str(other.getsockname()[1]))
    refused(result, named="is in use")
    assert "--port" in result.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEYS_FILE", "missing.toml"),
        ("API_KEYS_FILE", "rows.jsonl"),
        ("API_KEYS_FILE", "a-folder"),
        ("REMOTE_CHECKERS_FILE", "missing.toml"),
        ("REMOTE_CHECKERS_FILE", "rows.jsonl"),
        ("REMOTE_CHECKERS_FILE", "a-folder"),
        ("METRICS_KEY_FILE", "missing"),
        ("STATE_PASSWORD_FILE", "a-folder"),
        ("DEFAULT_RUN", "{"),
        ("DEFAULT_RUN", '{"strategy": {"name": "no-such-thing"}}'),
        ("DEFAULT_RUN", '{"no_such_field": 1}'),
        ("STATE_URL", "mysql://x"),
        ("STATE_URL", "sqlite:////"),
        ("STATE_URL", "sqlite:///" + "x" * 5000),
        ("PORT", "eleven"),
        ("LOG_FORMAT", "prose"),
        ("WORKRES", "4"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "config"])
def test_a_setting_is_refused_before_the_start(
    cli: Cli, desk: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str, value: str
) -> None:
    monkeypatch.setenv(f"DEEPCOMPRESS_{name}", value)
    result = cli(command)
    refused(result, named=f"DEEPCOMPRESS_{name}")
    assert result.exit_code == 2
    assert "deepcompress at" not in result.output


def test_results_are_written_into_a_new_folder(cli: Cli, desk: Path) -> None:
    for words in OWN:
        for parameter in LEAVES[words].params:
            if parameter.name == "out":
                target = desk / "new" / "_".join(words) / "result"
                result = cli(*right_call(words), "--out", str(target))
                assert result.exit_code == 0, result.output
                assert target.stat().st_size > 0


def test_an_output_is_checked_before_the_input_is_read(cli: Cli, desk: Path) -> None:
    for words in (("score",), ("replay",)):
        result = cli(*words, "missing.jsonl", "--out", "rows.jsonl/inside")
        refused(result, named="rows.jsonl/inside")
    assert cli("score", "missing.jsonl", "--out", "left.jsonl").exit_code == 2
    assert not (desk / "left.jsonl").exists()


def test_bytes_that_are_no_text_can_be_printed(cli: Cli, desk: Path) -> None:
    harmless(cli("verify", "\udcff", "\udcff"))
    harmless(cli("runs", "show", "\udcff"))


# --- the terminal and the pipes ---------------------------------------------------------------------------

SILENT = {("serve",), ("runs", "rewind"), ("runs", "restore"), ("runs", "rm")}
PRINTING = [words for words in OWN if words not in SILENT]


def process(words: list[str], folder: Path, url: str, **streams: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "deepcompress_service", *words],
        cwd=folder,
        env={**os.environ, "DEEPCOMPRESS_URL": url},
        stderr=subprocess.PIPE,
        # A shell starts a job in the background with SIGINT ignored, and the tests may be one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **streams,
    )


def without_out(words: tuple[str, ...]) -> list[str]:
    """The right call, with its result on standard output where the command has that."""
    call = right_call(words)
    if "--out" in call:
        at = call.index("--out")
        del call[at : at + 2]
    return call


@pytest.mark.slow
@pytest.mark.parametrize("words", PRINTING, ids=label)
def test_a_full_disk_behind_standard_output(desk: Path, service: str, words: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        ended = process(without_out(words), desk, service, stdout=full)
        errors = ended.communicate(timeout=250)[1].decode()
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors
    assert ended.returncode in (1, 2)
    assert "No space left" in errors
    assert len(errors.strip().splitlines()) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("words", PRINTING, ids=label)
def test_a_reader_that_ends_early(desk: Path, service: str, words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = process(without_out(words), desk, service, stdout=writing)
    os.close(writing)
    errors = ended.communicate(timeout=250)[1].decode()
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors
    assert ended.returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "call", [["verify", "3", "-"], ["score", "-"], ["audit", "-"], ["replay", "-"], ["runs", "rm", "r"]], ids=label
)
def test_control_c(desk: Path, service: str, call: list[str]) -> None:
    waiting = process(call, desk, service, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    state = Path(f"/proc/{waiting.pid}/wchan")
    if state.read_text() in ("0", ""):  # a kernel without this file: wait as long as a start takes
        time.sleep(8)
    else:
        eventually(lambda: "pipe" in state.read_text(), state.read_text, 240)
    waiting.send_signal(signal.SIGINT)
    errors = waiting.communicate(timeout=100)[1].decode()
    assert "Traceback" not in errors
    assert waiting.returncode in (1, 130)
    assert len(errors.strip().splitlines()) <= 2
