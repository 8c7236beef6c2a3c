"""Comparison, smoothing, CSV files, filters in the address, the list of runs, and deletion, in a real browser."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from .conftest import KEY, Pages, Serve, group, score, shots, train
from .test_page import CONTRAST, SMALL, panel


def learn(address: str, run: str, steps: int, tokens: int, strategy: str = "deepcompress") -> None:
    """A run whose correct answers have this length, and an unanswered rollout in every step."""
    httpx.put(f"{address}/v1/runs/{run}", json={"strategy": {"name": strategy}}, timeout=60).raise_for_status()
    for step in range(1, steps + 1):
        groups = [
            group(f"p{number}", "3", [("3", tokens + step), ("3", tokens + 40), ("4", tokens + 90)])
            for number in range(4)
        ]
        groups[0]["rollouts"].append({"response": "hm", "tokens": tokens})
        score(address, run, step, groups)


@pytest.fixture(scope="module")
def two(serve: Serve) -> str:
    address = serve()
    learn(address, "without", 6, 400, "outcome")
    learn(address, "with", 4, 200)
    return address


COMPARE = "/#/compare?run=without&run=with"


def saved(page: Any, button: Any) -> list[dict[str, str]]:
    with page.expect_download() as download:
        button.click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def test_runs_are_chosen_in_the_list_and_drawn_in_one_chart(two: str, pages: Pages) -> None:
    page = pages.open(two)
    page.locator(".card").nth(1).wait_for()
    page.get_by_label("Compare without").check()
    assert page.get_by_text("Compare: choose another run").is_visible()
    page.get_by_label("Compare with", exact=True).check()
    page.get_by_role("link", name="Compare 2 runs").click()
    page.get_by_role("heading", name="Compare runs").wait_for()
    assert page.title() == "Compare · deepcompress"
    chart = panel(page, "Mean tokens")
    expect(chart.locator(".plot .line")).to_have_count(2)
    chart.get_by_text("As a table").click()
    expect(chart.locator("tbody tr")).to_have_count(6)
    rows = [row.split("\t") for row in chart.locator("tbody").inner_text().splitlines()]
    steps = {
        run: {row["step"]: row for row in httpx.get(f"{two}/v1/runs/{run}/history").json()["steps"]}
        for run in ("without", "with")
    }
    assert [row[0] for row in rows] == ["6", "5", "4", "3", "2", "1"]
    for row in rows:
        for run, shown in zip(("without", "with"), row[1:], strict=True):
            known = steps[run].get(int(row[0]))
            assert shown == ("–" if known is None else str(round(known["mean_tokens"])))
    # A run that has ended earlier does not shorten the other one's line.
    lines = chart.locator(".plot .line").evaluate_all("all => all.map((one) => one.getBBox().width)")
    assert max(lines) > 1.5 * min(lines) > 0


def test_the_table_compares_the_last_steps_that_every_run_has(two: str, pages: Pages) -> None:
    page = pages.open(two, COMPARE)
    table = page.get_by_role("region", name="Runs", exact=True)
    table.get_by_text("steps 1 to 4").wait_for()
    mean = {}
    for run in ("without", "with"):
        rows = httpx.get(f"{two}/v1/runs/{run}/history").json()["steps"][:4]
        mean[run] = sum(row["mean_tokens"] for row in rows) / 4
    change = 100 * mean["with"] / mean["without"] - 100
    assert change < -30
    cells = table.locator("tbody tr").nth(1)
    expect(cells).to_contain_text(f"−{abs(change):.1f}%")
    expect(cells).to_contain_text(str(round(mean["with"])))
    # Charts without a value other than zero are left out, and named.
    expect(panel(page, "No answer")).to_be_visible()
    expect(panel(page, "Mean length reward")).to_be_visible()
    expect(page.locator(".left-out")).to_contain_text("undecided")
    expect(panel(page, "Undecided")).not_to_be_visible()
    table.get_by_role("link", name="Remove without").click()
    page.get_by_role("heading", name="with", level=1).wait_for()


def test_a_reading_has_the_colour_of_each_run_and_names_the_smoothed_value(two: str, pages: Pages) -> None:
    page = pages.open(two, f"{COMPARE}&smooth=0.5")
    chart = panel(page, "Mean tokens")
    chart.locator(".plot .line").first.wait_for(state="attached")
    chart.locator("[aria-roledescription=chart]").focus()
    page.keyboard.press("Home")
    swatches = chart.locator(".tip .swatch")
    expect(swatches).to_have_count(2)
    colour = "one => getComputedStyle(one).backgroundColor"
    named = page.locator(".compare-table .swatch")
    assert [one.evaluate(colour) for one in swatches.all()] == [one.evaluate(colour) for one in named.all()]
    expect(chart.locator(".tip small")).to_have_text("value (smoothed)")


def test_a_comparison_follows_its_runs_and_survives_a_missing_one(serve: Serve, pages: Pages) -> None:
    address = serve()
    learn(address, "a", 2, 100)
    page = pages.open(address, "/#/compare?run=a&run=gone")
    page.get_by_text("(no state)").wait_for()
    table = page.get_by_role("region", name="Runs", exact=True)
    table.get_by_text("steps 1 to 2").wait_for()
    score(address, "a", 3, [group("p", "3", [("3", 5), ("4", 6)])])
    table.get_by_text("steps 1 to 3").wait_for(timeout=45_000)


def test_charts_of_a_run_show_what_the_answers_were(two: str, pages: Pages) -> None:
    page = pages.open(two, "/#/runs/with")
    chart = panel(page, "Length reward")
    chart.locator(".plot .line, .plot .dot").first.wait_for(state="attached")
    rows = saved(page, page.get_by_role("button", name="Download CSV"))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    now = rows[-1]
    # 4 mixed groups with 8 right answers of 13; one response without an answer.
    assert float(now["mixed"]) == 1 and float(now["no_answer"]) == pytest.approx(1 / 13)
    assert float(now["reward"]) == pytest.approx(float(now["outcome"]) + float(now["length"]))
    assert float(now["length"]) != 0 and 0 < abs(float(now["length_share"])) < 1
    assert now["first_request"].startswith("20") and now["undecided"] == "0"
    panel(page, "Reward against length").get_by_role("button", name="Length reward", exact=True).click()
    assert "y=length" in page.url
    points = saved(page, page.get_by_role("button", name="Reward against length: download as CSV"))
    assert {row["correct"] for row in points} == {"true", "false"}
    assert any(float(row["length_reward"]) for row in points if row["correct"] == "true")
    ticks = panel(page, "Reward against length").locator(".plot text").all_inner_texts()
    # The axis is that of the length reward: its labels are far below 1.
    assert not any(text in ticks for text in ("1", "−1"))


def test_smoothing_and_filters_are_in_the_address(two: str, pages: Pages) -> None:
    page = pages.open(two, "/#/runs/without")
    chart = panel(page, "Response length")
    chart.locator(".plot .line").first.wait_for(state="attached")
    assert chart.locator(".line.raw").count() == 0
    slider = page.get_by_role("slider", name="Smoothing")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.url.endswith("?smooth=0.6")
    expect(chart.locator(".line.raw")).not_to_have_count(0)
    page.get_by_role("button", name="Last 50").click()
    problems = panel(page, "Problems")
    problems.get_by_role("button", name="Hard").click()
    problems.get_by_role("searchbox").fill("p2")
    problems.get_by_text("p1").wait_for(state="detached")
    assert {"smooth=0.6", "range=50", "difficulty=hard", "search=p2"} == set(page.url.partition("?")[2].split("&"))
    page.reload()
    chart.locator(".line.raw").first.wait_for(state="attached")
    assert page.get_by_role("button", name="Last 50").get_attribute("aria-pressed") == "true"
    assert problems.get_by_role("searchbox").input_value() == "p2"
    assert slider.get_attribute("aria-valuetext") == "0.6"
    # The smoothed line is the unbiased average of what the table has.
    values = [row["mean_tokens"] for row in httpx.get(f"{two}/v1/runs/without/history").json()["steps"]]
    total = norm = 0.0
    for value in values:
        total, norm = 0.6 * total + 0.4 * value, 0.6 * norm + 0.4
    chart.locator(".plot").focus()
    page.keyboard.press("End")
    assert f"all {values[-1]:.0f} ({total / norm:.0f})" in page.locator("#announcement").inner_text()


def test_the_list_is_searched_sorted_and_paged(serve: Serve, pages: Pages) -> None:
    address = serve()
    body = {"step": 1, "groups": [{"problem_id": "p", "rollouts": [{"correct": True, "tokens": 9}] * 2}]}
    for number in range(30):
        httpx.post(f"{address}/v1/shape", json={**body, "run": f"run-{number:02d}"}).raise_for_status()
        time.sleep(0.01)
    page = pages.open(address)
    heads = page.locator(".card h2")
    expect(heads).to_have_count(24)
    expect(heads.first).to_have_text("run-29")
    page.get_by_role("button", name="Next").click()
    expect(heads).to_have_count(6)
    page.get_by_role("searchbox").fill("run-1")
    expect(heads).to_have_count(10)
    page.get_by_text("10 of 30 runs.").wait_for()
    page.get_by_label("Order").select_option("run")
    expect(heads.first).to_have_text("run-10")
    assert set(page.url.partition("?")[2].split("&")) == {"search=run-1", "sort=run"}
    page.reload()
    expect(heads).to_have_count(10)
    expect(heads.first).to_have_text("run-10")
    page.get_by_role("searchbox").fill("no such run")
    page.get_by_text("No run has this in its name.").wait_for()


def test_a_run_is_deleted_with_its_name_and_a_full_key(serve: Serve, pages: Pages, tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('[[key]]\nkey = "reader"\naccess = "read"\n')
    address = serve(api_keys=KEY, api_keys_file=file)
    train(address, "old", range(1, 2), KEY)
    train(address, "kept", range(1, 2), KEY)

    def opened(key: str) -> Any:
        page = pages.open(address)
        pages.expected.append("401")
        page.get_by_label("Key", exact=True).fill(key)
        page.get_by_role("button", name="Use this key").click()
        page.locator(".card", has_text="old").get_by_role("link").click()
        page.locator(".figure").first.wait_for()
        return page

    reader = opened("reader")
    button = reader.get_by_role("button", name="Delete…")
    assert button.is_disabled() and "full access" in str(button.get_attribute("title"))
    page = opened(KEY)
    page.get_by_role("button", name="Delete…").click()
    confirm = page.get_by_role("button", name="Delete this run")
    assert confirm.is_disabled()
    page.get_by_label("Type the name of the run").fill("ol")
    assert confirm.is_disabled()
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    header = {"Authorization": f"Bearer {KEY}"}
    assert httpx.get(f"{address}/v1/runs/old", headers=header).status_code == 200
    page.get_by_role("button", name="Delete…").click()
    page.get_by_label("Type the name of the run").fill("old")
    pages.expected.append("404")  # the page may ask for problems once more
    confirm.click()
    page.get_by_role("heading", name="Runs", level=1).wait_for()
    expect(page.locator(".card h2")).to_have_text(["kept"], timeout=45_000)
    assert httpx.get(f"{address}/v1/runs/old", headers=header).status_code == 404


HOSTILE = ["-1-cmd", "..x", "a--b"]
IN_ADDRESS = ["<img src=x onerror=window.hacked=1>", "=1+1", '"><script>window.hacked=1</script>', "\u202ex"]


def test_hostile_names_and_addresses_stay_text(two: str, pages: Pages) -> None:
    for run in HOSTILE:
        train(two, run, range(1, 2))
    problem = '=HYPERLINK("http://x","y")'
    score(two, "-1-cmd", 2, [group(problem, "3", [("3", 5), ("4", 9)])])
    page = pages.open(two, "/#/runs/-1-cmd")
    page.locator(".figure").first.wait_for()
    panel(page, "Reward against length").get_by_text("Step 2.").wait_for()
    rows = saved(page, page.get_by_role("button", name="Reward against length: download as CSV"))
    # A spreadsheet would run a cell that begins with `=`.
    assert {row["problem_id"] for row in rows} == {"'" + problem}
    page = pages.open(two, "/#/compare?run=-1-cmd&run=..x")
    page.locator(".compare-table tbody tr").nth(1).wait_for()
    page.get_by_text("runs, live.").wait_for()
    rows = saved(page, page.get_by_role("button", name="Download CSV"))
    assert {row["run"] for row in rows} == {"'-1-cmd", "..x"}
    pages.expected += ["422", "404"]
    for text in IN_ADDRESS:
        encoded = page.evaluate("encodeURIComponent", text)
        for path in (
            f"/#/compare?run={encoded}&run=with",
            f"/#/?search={encoded}&select={encoded}&page=-3&sort={encoded}",
        ):
            page = pages.open(two, path)
            page.locator("#live:not([data-state=connecting])").wait_for()
            page.wait_for_timeout(300)
            assert page.evaluate("window.hacked") is None
            assert page.locator("main img, main script").count() == 0
            assert "\u202e" not in page.locator("main").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_comparison_is_readable_and_fits_a_phone(two: str, pages: Pages, scheme: str) -> None:
    page = pages.open(two, COMPARE + "&smooth=0.6", color_scheme=scheme)
    panel(page, "Mean tokens").locator(".plot .line").first.wait_for(state="attached")
    assert page.evaluate(CONTRAST) == []
    page.get_by_role("link", name="Choose runs").click()
    page.get_by_role("link", name="Compare 2 runs").wait_for()
    page.locator(".card").first.wait_for()
    assert page.evaluate(CONTRAST) == []
    phone = pages.open(two, COMPARE, viewport={"width": 360, "height": 740}, has_touch=True, color_scheme=scheme)
    panel(phone, "Mean tokens").locator(".plot .line").first.wait_for(state="attached")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    assert phone.evaluate(SMALL.replace("main a:not(.card a)", "main a.button")) == []
    if shot := shots(f"compare-{scheme}"):
        page.screenshot(path=shot, full_page=True)


def test_a_finished_run_has_no_open_step(serve: Serve, tmp_path: Path, pages: Pages) -> None:
    import sqlite3

    store = tmp_path / "s.sqlite3"
    address = serve(state_url=f"sqlite:///{store}")
    train(address, "done", range(1, 3))
    with sqlite3.connect(store) as database:
        database.execute("UPDATE used SET at = ? WHERE run = 'done'", (time.time() - 3 * 86400,))
    page = pages.open(address, "/#/runs/done")
    page.locator(".times", has_text="idle").wait_for()
    expect(page.locator(".figure", has_text="Last step")).to_be_visible()
    assert page.locator(".figure", has_text="Open step").count() == 0
