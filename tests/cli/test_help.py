"""The help of the command line: complete, quick, and there with a base install."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from typing import Any, get_args

import pytest

import deepcompress_client
from deepcompress_client import wire
from deepcompress_service.cli import entry
from deepcompress_service.cli.app import app
from deepcompress_service.cli.formats import Format
from deepcompress_service.cli.output import STATUS_STYLE
from deepcompress_verify import verdict


def names() -> list[str]:
    commands = [command.name or "" for command in app.registered_commands]
    return commands + [group.name or "" for group in app.registered_groups]


@pytest.mark.parametrize("name", names())
def test_every_command_has_a_help_that_teaches(cli: Callable[..., Any], name: str) -> None:
    result = cli(name, "--help")
    assert result.exit_code == 0
    assert f"  deepcompress {name}" in result.output, "no example in the help"


def test_help_loads_no_server_and_no_mathematics() -> None:
    code = (
        "import sys; from deepcompress_service.cli.app import app; "
        "print([m for m in ('fastapi', 'uvicorn', 'sympy', 'flint', 'numpy', 'httpx') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_a_base_install_names_the_extra_of_the_service(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as end:
        entry.main()
    assert end.value.code == 3
    assert 'pip install ".[service]"' in capsys.readouterr().err


def test_a_base_install_prints_its_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["deepcompress", "--version"])
    with pytest.raises(SystemExit) as end:
        entry.main()
    assert end.value.code == 0
    assert (
        capsys.readouterr().out
        == f"deepcompress {deepcompress_client.__version__} (the client; the service is not installed)\n"
    )


def test_formats_and_statuses_are_those_of_the_wire() -> None:
    assert tuple(Format) == get_args(wire.AnswerFormat) == get_args(verdict.AnswerFormat)
    assert tuple(STATUS_STYLE) == get_args(wire.Status) == get_args(verdict.Status)


def test_the_page_has_a_word_for_every_status() -> None:
    script = (resources.files("deepcompress_service") / "dashboard/static/js/views/verdicts.js").read_text("utf-8")
    words = script.partition("const WORDS = {")[2].partition("};")[0]
    assert tuple(re.findall(r"^ +(\w+): \[", words, re.MULTILINE)) == get_args(wire.Status)
