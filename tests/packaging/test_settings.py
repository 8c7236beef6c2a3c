"""Settings are documented, carry their unit, and former names are refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from deepcompress_service.settings import RENAMED, Settings, explain, variable

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_configuration_page_with_its_meaning(name: str) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text().partition("## All settings")[2]
    meaning = " ".join((Settings.model_fields[name].description or "").split())
    assert meaning
    row = re.search(rf"^\| `{name.upper()}` \| .+ \| (.*) \|$", page, re.MULTILINE)
    assert row is not None
    assert row[1] == meaning


def test_the_page_lists_no_setting_that_does_not_exist() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text().partition("## All settings")[2]
    assert {name.lower() for name in re.findall(r"^\| `(\w+)`", page, re.MULTILINE)} == set(Settings.model_fields)


@pytest.mark.parametrize("former", RENAMED)
def test_a_former_name_is_an_error_that_gives_the_new_one(former: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable(former), "7")
    with pytest.raises(ValidationError) as error:
        Settings()
    assert f"{variable(former)} is now called {variable(RENAMED[former])}" in explain(error.value)


def test_a_former_name_as_an_argument_is_an_error_too() -> None:
    with pytest.raises(ValidationError, match="DEEPCOMPRESS_DRAIN_SECONDS"):
        Settings(drain_delay=5)  # type: ignore[call-arg]


def test_new_names_exist_and_former_ones_do_not() -> None:
    assert set(RENAMED.values()) <= set(Settings.model_fields)
    assert not set(RENAMED) & set(Settings.model_fields)
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert all(f"`{variable(a)}` | `{variable(b)}`" in changes for a, b in RENAMED.items())
