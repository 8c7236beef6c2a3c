"""Imports point one way: the composition root imports all, the domains import neither each other nor the web."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "service"

# Each room of the service, and the rooms that it may import (its own is always allowed).
ALLOWED = {
    "shaping": set(),
    "difficulty": set(),
    "curriculum": set(),
    "server": {"activity", "api", "difficulty", "observability", "settings"},
    "rendezvous": {"difficulty"},
    "activity": {"difficulty", "shaping", "deepcompress_verify"},
    "observability": {"activity", "difficulty", "deepcompress_verify"},
    "api": {
        "activity",
        "admission",
        "deepcompress_verify",
        "difficulty",
        "observability",
        "remote",
        "rendezvous",
        "scoring",
        "settings",
        "shaping",
    },
    "remote": {"admission"},
    "admission": {"observability"},
    "scoring": {
        "activity",
        "admission",
        "curriculum",
        "deepcompress_verify",
        "difficulty",
        "observability",
        "remote",
        "settings",
        "shaping",
    },
    "dashboard": {"activity", "admission", "api", "difficulty", "observability", "settings"},
    "settings": set(),
}
VERIFY_MAY_IMPORT = {"deepcompress_verify", "orjson", "flint", "sympy", "mpmath", "re2", "jsonschema", "referencing"}


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of everything that a file under service/ imports."""
    parts = file.relative_to(SERVICE).with_suffix("").parts
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(parts[: len(parts) - node.level]) if node.level else []
            module = [*base, *((node.module or "").split(".") if node.module else [])]
            yield from ((node.lineno, ".".join([*module, alias.name])) for alias in node.names)


def room_of(name: str) -> str | None:
    """The room that a dotted name belongs to; None for a library."""
    first, _, rest = name.partition(".")
    if first == "deepcompress_verify":
        return first
    return rest.partition(".")[0] if first == "deepcompress_service" else None


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    home = SERVICE / "deepcompress_service" / room
    files = list(home.rglob("*.py")) if home.is_dir() else [home.with_suffix(".py")]
    assert files
    against = [
        f"{file.relative_to(SERVICE)}:{line} imports {name}"
        for file in files
        for line, name in imported(file)
        if room_of(name) not in {None, room, *ALLOWED[room]}
    ]
    assert against == []


@pytest.mark.parametrize("room", ["shaping", "difficulty", "curriculum", "remote", "rendezvous"])
def test_the_domains_import_nothing_of_the_client(room: str) -> None:
    files = (SERVICE / "deepcompress_service" / room).rglob("*.py")
    names = [name for file in files for _, name in imported(file)]
    assert names and not [name for name in names if name.startswith(("deepcompress_client", "deepcompress_trainer"))]


def test_the_arrows_make_no_circle() -> None:
    TopologicalSorter(ALLOWED).prepare()  # raises CycleError


def test_every_room_is_listed_here() -> None:
    """`cli` and `app` are the composition roots: they may import everything."""
    folders = {path.parent.name for path in (SERVICE / "deepcompress_service").glob("*/__init__.py")}
    modules = {path.stem for path in (SERVICE / "deepcompress_service").glob("*.py")}
    assert folders - {"cli"} == set(ALLOWED) - {"settings"}
    assert modules == {"__init__", "__main__", "app", "settings"}


def test_the_verifier_imports_nothing_of_the_service() -> None:
    against = [
        f"{file.relative_to(SERVICE)}:{line} imports {name}"
        for file in (SERVICE / "deepcompress_verify").rglob("*.py")
        for line, name in imported(file)
        if name.partition(".")[0] not in VERIFY_MAY_IMPORT | set(sys.stdlib_module_names)
    ]
    assert against == []


def test_the_verifier_runs_without_the_service_and_its_libraries() -> None:
    code = (
        "import sys\n"
        "for name in ('deepcompress_service', 'fastapi', 'redis', 'numpy', 'pydantic', 'httpx', 'uvicorn'):\n"
        "    sys.modules[name] = None\n"
        "from deepcompress_verify import verify\n"
        "assert verify('\\\\frac34', 'So \\\\boxed{0.75}').correct\n"
        "assert not verify('\\\\frac34', 'So \\\\boxed{0.8}').correct\n"
        "from deepcompress_verify import math_verify\n"
        "assert math_verify.verify(math_verify.parse('3/4'), math_verify.parse('So \\\\boxed{0.75}'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
