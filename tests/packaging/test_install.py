"""The distribution: the contents of the base install, and its errors where an extra is missing."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_base_install_is_httpx_and_pydantic() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [re.split(r"[<>=]", one)[0] for one in project["dependencies"]] == ["httpx", "pydantic"]
    assert project["requires-python"] == ">=3.11"


def test_the_packages_are_typed() -> None:
    for package in ("client/deepcompress_client", "service/deepcompress_verify", "service/deepcompress_service"):
        assert (ROOT / package / "py.typed").exists()


def test_nothing_in_the_service_imports_the_trainers_libraries() -> None:
    pattern = re.compile(r"^\s*(?:import|from) (?:torch|transformers|deepcompress_trainer)\b", re.MULTILINE)
    found = [
        path
        for folder in ("service/deepcompress_verify", "service/deepcompress_service", "client/deepcompress_client")
        for path in (ROOT / folder).rglob("*.py")
        if pattern.search(path.read_text())
        and "integrations" not in path.parts
        and path.name not in ("train.py", "sampler.py")
    ]
    assert found == []


def test_the_client_never_imports_the_service() -> None:
    found = [
        path
        for path in (ROOT / "client" / "deepcompress_client").rglob("*.py")
        if re.search(r"^\s*(?:import|from) deepcompress_(?:service|verify)", path.read_text(), re.MULTILINE)
    ]
    assert found == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_base_install_in_a_clean_environment(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(ROOT)], check=True, timeout=850)
    code = "from deepcompress_client import Client, AsyncClient; Client('http://127.0.0.1:1').close(); print('ok')"
    assert subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=tmp_path).stdout == "ok\n"
    command = subprocess.run([tmp_path / "venv" / "bin" / "deepcompress"], capture_output=True, text=True)
    assert command.returncode == 3
    assert 'pip install ".[service]"' in command.stderr
    listed = subprocess.run([python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True).stdout
    assert "fastapi" not in listed


def test_the_installed_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert metadata.version("deepcompress-reward") == project["version"]
