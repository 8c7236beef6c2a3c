"""Keyboard, screen reader, reduced motion, and API keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import KEY, Pages, Serve, train


def focused(page: Any) -> str:
    found: str = page.evaluate("document.activeElement.textContent.trim() || document.activeElement.ariaLabel || ''")
    return found


def test_a_keyboard_reaches_everything(trained: str, pages: Pages) -> None:
    page = pages.open(trained)
    page.locator(".card").first.wait_for()
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.url.endswith("/")
    names = []
    for _ in range(60):
        page.keyboard.press("Tab")
        names.append(focused(page))
        if names[-1] == "trained":
            break
    assert "trained" in names
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="trained", level=1).wait_for()
    assert page.evaluate("document.activeElement.id") == "main"


def test_charts_are_read_with_the_arrow_keys(trained: str, pages: Pages) -> None:
    page = pages.open(trained, "/#/runs/trained")
    steps = httpx.get(f"{trained}/v1/runs/trained/history").json()["steps"]
    chart = page.locator("[aria-roledescription=chart]").first
    page.locator(".chart .line").first.wait_for(state="attached")
    label = chart.get_attribute("aria-label")
    assert f"At step {steps[-1]['step']}" in label and f"level {steps[-1]['level']:.3f}" in label
    chart.focus()
    page.keyboard.press("End")
    assert f"level {steps[-1]['level']:.3f}" in page.locator("#announcement").inner_text()
    page.keyboard.press("ArrowLeft")
    assert f"Step {steps[-2]['step']}:" in page.locator("#announcement").inner_text()
    assert page.locator(".tip").first.is_visible()
    page.keyboard.press("Escape")
    assert not page.locator(".tip").first.is_visible()


def test_series_can_be_hidden_by_keyboard(trained: str, pages: Pages) -> None:
    page = pages.open(trained, "/#/runs/trained")
    page.locator(".chart .line.c-level").first.wait_for(state="attached")
    toggle = page.get_by_role("button", name="level", exact=True)
    chart = page.get_by_role("region", name="Level and batch pass ratio", exact=True)
    drawn = chart.locator(".plot .line.c-level")
    assert drawn.count() == 1
    toggle.press("Space")
    assert toggle.get_attribute("aria-pressed") == "false"
    assert drawn.count() == 0


def test_the_page_has_its_landmarks_and_names(trained: str, pages: Pages) -> None:
    page = pages.open(trained, "/#/runs/trained")
    page.locator("tbody tr").first.wait_for()
    for role in ("banner", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1
    assert page.locator("h1").count() == 1
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, a, input, [role=group], [role=region], section, dialog')]
          .filter((one) => !(one.textContent.trim() || one.ariaLabel || one.getAttribute('aria-labelledby')))
          .map((one) => one.outerHTML)"""
    )
    assert unnamed == []
    assert page.locator("html").get_attribute("lang") == "en"
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))


def test_a_refresh_leaves_the_reader_where_they_are(trained: str, pages: Pages) -> None:
    train(trained, "moving", range(1, 2))
    page = pages.open(trained, "/#/runs/moving")
    opener = page.get_by_role("button", name="set/07")
    opener.click()
    page.locator("tr.detail dd").first.wait_for()
    opener.focus()
    train(trained, "moving", range(2, 3))
    page.locator("tr.detail dd", has_text="of 8").wait_for(timeout=45_000)
    assert focused(page) == "set/07"
    assert page.get_by_role("button", name="set/07").get_attribute("aria-expanded") == "true"


def test_nothing_moves_for_those_who_ask_for_that(trained: str, pages: Pages) -> None:
    page = pages.open(trained, "/#/runs/trained", reduced_motion="reduce")
    page.locator("#live[data-state=live]").wait_for()
    assert page.evaluate("document.getAnimations().length") == 0


def test_the_theme_is_remembered(trained: str, pages: Pages) -> None:
    page = pages.open(trained, color_scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    button = page.locator("#theme-button")
    button.click()
    button.click()
    assert button.get_attribute("aria-label") == "Theme: dark. Change it."
    dark = page.evaluate(paper)
    assert dark != light
    page.reload()
    assert page.evaluate(paper) == dark


@pytest.fixture(scope="module")
def locked(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A service with a full key, and a read key for the runs of one team."""
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    _write_keys(file)
    address = serve(api_keys=KEY, api_keys_file=file)
    train(address, "team-a-one", range(1, 3), key=KEY)
    train(address, "team-b-one", range(1, 2), key=KEY)
    (file.parent / "address").write_text(address)
    return address


def _write_keys(file: Path) -> None:
    file.write_text('[[key]]\nname = "a"\nkey = "read a"\naccess = "read"\nruns = "team-a-"\n')


def give(page: Any, key: str) -> None:
    dialog = page.get_by_role("dialog", name="API key")
    dialog.get_by_label("Key", exact=True).fill(key)
    dialog.get_by_role("button", name="Use this key").click()


def test_a_locked_service_requires_a_key_once_a_session(locked: str, pages: Pages) -> None:
    pages.expected.append("401")  # the browser reports each
    page = pages.open(locked)
    dialog = page.get_by_role("dialog", name="API key")
    dialog.wait_for()
    assert page.evaluate("document.activeElement.name") == "key"
    assert page.locator(".card").count() == 0
    give(page, "not it")
    dialog.get_by_role("alert").wait_for()
    give(page, KEY)
    page.locator(".card").nth(1).wait_for()
    page.locator(".card", has_text="team-a-one").get_by_role("link").click()
    page.locator("tbody tr").first.wait_for()
    page.locator("li.verdict").first.wait_for()
    session, local = (page.evaluate(f"Object.entries({kind}Storage)") for kind in ("session", "local"))
    cookie = page.evaluate("document.cookie")
    assert session == [["deepcompress-key", KEY]]
    assert KEY not in str(local) and cookie == "" and KEY not in page.url
    page.reload()
    page.locator("tbody tr").first.wait_for()
    fresh = pages.open(locked)
    fresh.get_by_role("dialog", name="API key").wait_for()


def test_a_key_shows_its_own_runs_and_no_others(locked: str, pages: Pages) -> None:
    pages.expected += ["401", "403"]
    page = pages.open(locked)
    give(page, "read a")
    page.locator(".card").first.wait_for()
    assert page.locator(".card h2").all_inner_texts() == ["team-a-one"]
    page.goto(f"{locked}/#/runs/team-b-one")
    page.get_by_text("this key is not for this run").wait_for()
    assert page.locator(".figure").count() == 0


def test_the_streams_and_problems_need_the_key_too(locked: str) -> None:
    for path in (
        "/dashboard/events",
        "/dashboard/runs/team-a-one/events",
        "/dashboard/runs/team-a-one/problem?problem=p",
    ):
        assert httpx.get(locked + path).status_code == 401
    reader = {"Authorization": "Bearer read a"}
    for path in ("/dashboard/runs/team-b-one/events", "/dashboard/runs/team-b-one/problem?problem=p"):
        assert httpx.get(locked + path, headers=reader).status_code == 403
    assert httpx.get(locked).status_code == 200
