"""One step read in all charts of a page, by pointer, keys and touch, in a real browser."""

from __future__ import annotations

import re

import httpx
from playwright.sync_api import expect

from .conftest import Pages, Serve, group, score, shots, train
from .test_page import panel


def test_a_step_read_in_one_chart_is_marked_in_all(serve: Serve, pages: Pages) -> None:
    address = serve()
    train(address, "marks", range(1, 9))
    page = pages.open(address, "/#/runs/marks")
    charts = ("Level and batch pass ratio", "Response length", "Reward", "Unfinished and unjudged")
    for title in charts:
        panel(page, title).locator(".plot .line").first.wait_for(state="attached")
    readings = page.locator(".tip:visible b")

    def marked(step: int | None) -> None:
        """All charts of steps mark this step, with the values of their lines; other charts mark nothing."""
        drawn = page.locator(".plot:has(.line)").count()
        expect(page.locator(".plot .cross")).to_have_count(0 if step is None else drawn)
        if step is None:
            expect(readings).to_have_count(0)
            return
        expect(readings).to_have_text([re.compile(rf"^Step {step}( \(open\))?$")] * drawn)
        row = {row["step"]: row for row in httpx.get(f"{address}/v1/runs/marks/history").json()["steps"]}[step]
        assert f"level{row['level']:.3f}" in panel(page, charts[0]).locator(".tip").inner_text().replace("\n", "")
        assert f"all{round(row['mean_tokens'])}" in panel(page, charts[1]).locator(".tip").inner_text().replace(
            "\n", ""
        )

    plot = panel(page, charts[0]).locator(".plot")
    width = plot.bounding_box()["width"] - 58
    plot.hover(position={"x": 48 + width * 4 / 7, "y": 120})
    marked(5)
    # The lines of all charts are at the same part of their width.
    places = page.locator(".plot .cross").evaluate_all(
        "all => all.map((one) => Math.round(100 * one.getBBox().x / one.ownerSVGElement.clientWidth))"
    )
    assert max(places) - min(places) <= 4
    if path := shots("crosshair"):
        page.screenshot(path=path)
    page.mouse.move(2, 2)
    marked(None)

    other = panel(page, charts[1]).locator(".plot")
    other.focus()
    page.keyboard.press("End")
    marked(8)
    page.keyboard.press("ArrowLeft")
    marked(7)
    score(address, "marks", 9, [group("set/00", "3", [("3", 5), ("4", 6)])])  # a new step moves no mark
    expect(panel(page, charts[3]).locator(".plot")).to_have_attribute("aria-label", re.compile("At step 9"))
    marked(7)
    plot.focus()  # the chart before loses its step
    marked(None)
    page.keyboard.press("Home")
    marked(1)
    page.keyboard.press("Escape")
    marked(None)


def test_a_touched_step_stays_marked(trained: str, pages: Pages) -> None:
    page = pages.open(trained, "/#/runs/trained", viewport={"width": 390, "height": 844}, has_touch=True)
    first, second = panel(page, "Level and batch pass ratio"), panel(page, "Response length")
    for one in (first, second):
        one.locator(".plot .line").first.wait_for(state="attached")
    width = first.locator(".plot").bounding_box()["width"] - 58
    first.locator(".plot").tap(position={"x": 48 + width, "y": 90})
    for one in (first, second):
        expect(one.locator(".tip b")).to_have_text(re.compile("Step 8"))
    second.locator(".plot").tap(position={"x": 48, "y": 90})
    for one in (first, second):
        expect(one.locator(".tip b")).to_have_text("Step 1")
        expect(one.locator(".cross")).to_have_count(1)
    page.get_by_role("heading", level=1).tap()
    for one in (first, second):
        expect(one.locator(".cross")).to_have_count(0)


def test_compared_runs_are_read_at_one_step(serve: Serve, pages: Pages) -> None:
    address = serve()
    train(address, "longer", range(1, 9))
    train(address, "shorter", range(1, 4))
    page = pages.open(address, "/#/compare?run=longer&run=shorter")
    tokens, level = panel(page, "Mean tokens"), panel(page, "Level")
    tokens.locator(".plot .line").nth(1).wait_for(state="attached")
    tokens.locator(".plot").focus()
    page.keyboard.press("Home")
    for chart in (tokens, level):
        expect(chart.locator(".tip b")).to_have_text("Step 1")
        assert [row.split("\n")[0] for row in chart.locator(".tip div").all_inner_texts()] == ["longer", "shorter"]
    page.keyboard.press("End")  # only one run has it
    for chart in (tokens, level):
        expect(chart.locator(".tip b")).to_have_text(re.compile("Step 8"))
        expect(chart.locator(".tip div")).to_have_count(1)
