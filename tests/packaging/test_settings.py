"""Settings are documented, carry their unit, and former names are refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from deepcompress_service.settings import RENAMED, Settings, _edits, explain, unknown_variables, variable

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


@pytest.mark.parametrize("value", ["inf", "nan", "-1"])
@pytest.mark.parametrize("name", [name for name, field in Settings.model_fields.items() if field.annotation is float])
def test_a_number_that_is_no_duration_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"DEEPCOMPRESS_{name.upper()}", value)
    with pytest.raises(ValueError, match=name):
        Settings()


@pytest.mark.parametrize("keys", ["a,,b", " ", ",", "a,", "a, "])
def test_an_empty_key_in_the_list_ends_the_start(keys: str) -> None:
    with pytest.raises(ValidationError, match="one of the keys is empty"):
        Settings(api_keys=keys)


@pytest.mark.parametrize("key", ["kéy", "a\tb", "\x01", "a\x7f"])
def test_a_key_that_no_header_carries_ends_the_start(tmp_path: Path, key: str) -> None:
    """Every request would be refused, and the reason would not be found."""
    with pytest.raises(ValidationError, match="no header can carry it"):
        Settings(api_keys=f"good,{key}")
    (tmp_path / "key").write_text(key)
    with pytest.raises(ValidationError, match="no header can carry it"):
        Settings(metrics_key_file=tmp_path / "key")
    assert Settings(api_keys="a key with spaces").api_keys == ("a key with spaces",)


def test_no_keys_and_an_unset_variable_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPCOMPRESS_API_KEYS", "")
    assert Settings().api_keys == ()
    monkeypatch.setenv("DEEPCOMPRESS_API_KEYS", "a, b")
    assert Settings().api_keys == ("a", "b")


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("DEEPCOMPRESS_API_KYES", "API_KEYS"),
        ("DEEPCOMPRESS_WORKER", "WORKERS"),
        ("DEEPCOMPRESS_STATEURL", "STATE_URL"),
        ("deepcompress_api_kyes", "API_KEYS"),
        ("DeepCompress_Api_Key_s", "API_KEYS"),
    ],
)
def test_a_misspelt_variable_ends_the_start_and_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, setting: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ValidationError, match=f"{name} is no setting: did you mean DEEPCOMPRESS_{setting}"):
        Settings()


@pytest.mark.parametrize(
    "name",
    [
        "DEEPCOMPRESS_URL",
        "DEEPCOMPRESS_API_KEY",
        "DEEPCOMPRESS_SERVICE_HOST",
        "DEEPCOMPRESS_SERVICE_PORT_HTTP",
        "DEEPCOMPRESS_PORT_8321_TCP_ADDR",
        "DEEPCOMPRESS_REDIS_PORT",
    ],
)
def test_variables_of_the_client_and_of_kubernetes_are_known(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    assert name not in dict(unknown_variables())
    Settings()


def test_a_long_name_is_not_compared_letter_by_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The edits between two names are counted only if their lengths are near: this took half a minute."""
    name = "DEEPCOMPRESS_" + "X" * 100_000
    monkeypatch.setenv(name, "1")
    assert (name, None) in unknown_variables()
    assert _edits("X" * 100_000, "Y") == 99_999


@pytest.mark.parametrize("content", [b"x" * (1 << 16) + b"y", b"\xff", b"a\0b"])
def test_a_secret_is_a_short_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ValidationError, match="secret"):
        Settings(metrics_key_file=tmp_path / "secret")


def test_another_variable_is_reported_and_has_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPCOMPRESS_SOMETHING_ELSE", "1")
    assert ("DEEPCOMPRESS_SOMETHING_ELSE", None) in unknown_variables()
    Settings()
