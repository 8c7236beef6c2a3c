"""Modules in the place of frameworks that are not installed."""

from __future__ import annotations

import sys
import types
from types import SimpleNamespace
from typing import Any

import pytest


def played(monkeypatch: pytest.MonkeyPatch, name: str, **contents: Any) -> None:
    """Make a module, and its parents, with these names in it."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        inner = ".".join(parts[:length])
        if inner not in sys.modules or length == len(parts):
            monkeypatch.setitem(sys.modules, inner, types.ModuleType(inner))
    vars(sys.modules[name]).update(contents)


def played_areal(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Make AReaL's module with the context of a workflow, and return the context."""
    context = SimpleNamespace(is_eval=False)
    played(monkeypatch, "areal.infra", workflow_context=SimpleNamespace(get=lambda: context))
    return context
