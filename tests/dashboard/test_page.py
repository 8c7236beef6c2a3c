"""The content and the behaviour of the page, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from .conftest import Pages, Serve, group, score, shots, train


def text(page: Any, selector: str) -> str:
    found: str = page.locator(selector).inner_text()
    return found


def standing(page: Any, name: str, value: str) -> None:
    """Wait until a figure has this text."""
    figure = page.locator(".figure").filter(has=page.get_by_text(name, exact=True))
    figure.locator("dd", has_text=re.compile(f"^{value}")).wait_for(timeout=45_000)


def panel(page: Any, name: str) -> Any:
    return page.get_by_role("region", name=name, exact=True)


def test_runs_are_cards_that_lead_to_their_page(trained: str, pages: Pages) -> None:
    page = pages.open(trained)
    card = page.locator(".card", has_text="trained")
    card.wait_for()
    level = httpx.get(f"{trained}/v1/runs/trained").json()["level"]
    for shown in ("level", "pass ratio", f"{level:.3f}"):
        expect(card).to_contain_text(shown)
    tokens = httpx.get(f"{trained}/v1/runs/trained/history").json()["steps"][-1]["mean_tokens"]
    expect(card.locator(".fact", has_text="tokens").locator("b")).to_have_text(str(round(tokens)))
    expect(card.locator("svg.spark")).to_have_count(2)
    assert card.locator("path.tokens").get_attribute("d").count("L") == 7
    card.get_by_role("link", name="trained").click()
    page.get_by_role("heading", name="trained", level=1).wait_for()
    assert page.title() == "trained · deepcompress"
    assert page.get_by_role("navigation", name="Breadcrumb").inner_text() == "Runs / trained"


def test_a_run_shows_its_state(trained: str, pages: Pages) -> None:
    page = pages.open(trained, "/#/runs/trained")
    page.locator(".figure").first.wait_for()
    now = httpx.get(f"{trained}/v1/runs/trained/history").json()["steps"][-1]
    figures = page.locator(".figures")
    expect(figures).to_contain_text(f"{now['level']:.3f}")
    expect(figures).to_contain_text(f"{now['simple']} / {now['hard']}")
    for name in (
        "Level and batch pass ratio",
        "Response length",
        "Distribution of β",
        "Reward against length",
        "Problems",
        "Latest verdicts",
    ):
        expect(panel(page, name)).to_be_visible()
    expect(page.locator(".foot")).to_contain_text("Service: ready")
    if path := shots("run"):
        page.screenshot(path=path, full_page=True)


def test_charts_show_the_numbers_of_the_api(trained: str, pages: Pages) -> None:
    """The table beside a chart has the numbers that the chart draws."""
    page = pages.open(trained, "/#/runs/trained")
    steps = httpx.get(f"{trained}/v1/runs/trained/history").json()["steps"]
    chart = panel(page, "Level and batch pass ratio")
    chart.get_by_text("As a table").click()
    rows = chart.locator("tbody tr")
    rows.first.wait_for()
    expect(rows).to_have_count(len(steps))
    shown = [row.split("\t") for row in chart.locator("tbody").inner_text().splitlines()]
    for row, step in zip(shown, reversed(steps), strict=True):
        assert row == [str(step["step"]), f"{step['batch_pass_ratio']:.3f}", f"{step['level']:.3f}"]
    rewards = panel(page, "Reward against length")
    rewards.get_by_text("As a table").click()
    expect(rewards.locator("tbody tr")).to_have_count(120)
    expect(rewards.locator(".plot .mark-cross")).to_have_count(120 - now_correct(steps))
    betas = panel(page, "Distribution of β")
    betas.get_by_text("As a table").click()
    betas.locator("tbody tr").first.wait_for()
    counted = [int(row.split("\t")[2]) for row in betas.locator("tbody").inner_text().splitlines()]
    assert sum(counted) == 30


def test_rollouts_have_the_age_of_their_group(serve: Serve, pages: Pages) -> None:
    address = serve()
    httpx.put(f"{address}/v1/runs/aged", json={"asynchronous": True, "max_age": 3}).raise_for_status()
    groups = [
        {
            "problem_id": name,
            "group_id": name,
            "gold": "1",
            "rollouts": [
                {"response": f"\\boxed{{{n}}}", "tokens": 10 + n, "policy_version": version + n} for n in (1, 2)
            ],
        }
        for name, version in (("young", 6), ("old", 3))
    ]
    body = {"run": "aged", "step": 1, "policy_version": 8, "groups": groups}
    httpx.post(f"{address}/v1/score", json=body).raise_for_status()
    page = pages.open(address, "/#/runs/aged")
    rewards = panel(page, "Reward against length")
    rewards.get_by_text("As a table").click()
    expect(rewards.locator("thead")).to_contain_text("Policy version")
    expect(rewards.locator("tbody tr")).to_have_count(4)
    cells = [row.split("\t") for row in rewards.locator("tbody").inner_text().splitlines()]
    shown = {(row[0], row[-2], row[-1]) for row in cells}
    assert shown == {("young", "7", "1"), ("young", "8", "1"), ("old", "4", "4, too old"), ("old", "5", "4, too old")}
    facts = page.locator("li.verdict .where")
    expect(facts.filter(has_text="old")).to_have_count(2)
    assert "age 4, too old" in facts.filter(has_text="old").first.inner_text()
    assert "age 1" in facts.filter(has_text="young").first.inner_text()
    if path := shots("ages"):
        page.screenshot(path=path, full_page=True)


def now_correct(steps: list[dict[str, Any]]) -> int:
    correct: int = steps[-1]["correct"]
    return correct


def test_it_follows_the_run_live(serve: Serve, pages: Pages) -> None:
    address = serve()
    train(address, "live", range(1, 3))
    page = pages.open(address, "/#/runs/live")
    standing(page, "Open step", "2")
    train(address, "live", range(3, 4))
    standing(page, "Open step", "3")
    panel(page, "Reward against length").get_by_text("Step 3.").wait_for(timeout=45_000)
    httpx.post(f"{address}/v1/runs/live/rewind", json={"next_step": 2})
    page.locator(".chip", has_text="epoch 1").wait_for(timeout=45_000)
    standing(page, "Last step", "1")
    panel(page, "Problems").get_by_text("set/00").wait_for()
    pages.expected.append("404")  # the page may request the list once more before it receives the deletion
    httpx.delete(f"{address}/v1/runs/live")
    page.get_by_text("This run has no state").wait_for(timeout=45_000)
    panel(page, "Problems").get_by_text("No problems yet.").wait_for()
    expect(panel(page, "Problems").get_by_text("set/00")).to_have_count(0)


def test_problems_can_be_searched_filtered_sorted_paged_and_opened(trained: str, pages: Pages) -> None:
    page = pages.open(trained, "/#/runs/trained")
    problems = panel(page, "Problems")
    rows = problems.locator("tbody tr:not(.detail)")
    problems.get_by_text("set/00").wait_for()
    expect(rows).to_have_count(20)
    problems.get_by_role("button", name="Next").click()
    problems.get_by_text("set/29").wait_for()
    expect(rows).to_have_count(10)
    problems.get_by_role("button", name="Previous").click()
    problems.get_by_text("set/00").wait_for()

    problems.get_by_role("button", name="Simple").click()
    problems.get_by_text("set/04").wait_for(state="detached")
    assert set(problems.locator("tbody .chip").all_inner_texts()) == {"simple"}
    problems.get_by_role("button", name="All").click()

    problems.get_by_role("button", name="Pass ratio").click()
    page.locator("th[aria-sort=ascending]", has_text="Pass ratio").wait_for()
    problems.get_by_text("set/04").wait_for()
    expect(rows.first.locator("td, th").nth(2)).to_have_text("0%")  # waits: the rows come after the click
    problems.get_by_role("button", name="Pass ratio").click()
    problems.get_by_text("set/00").wait_for()

    problems.get_by_role("searchbox").fill("set/07")
    problems.get_by_text("set/00").wait_for(state="detached")
    expect(rows).to_have_count(1)
    problems.get_by_role("button", name="set/07").click()
    detail = problems.locator("tr.detail")
    detail.get_by_text("shortest correct response").wait_for()
    course = httpx.get(f"{trained}/dashboard/runs/trained/problem", params={"problem": "set/07"}).json()["steps"]
    assert len(course) == 8
    detail.get_by_text("As a table").click()
    expect(detail.locator("tbody tr")).to_have_count(8)
    problems.get_by_role("searchbox").fill("nothing like it")
    problems.get_by_text("No matching problems.").wait_for()


def test_verdicts_are_typeset_and_explained(trained: str, pages: Pages) -> None:
    run = "typeset"
    answers = [("\\frac{3}{4}", 10), ("0.75", 11), ("\\frac34", 12), ("\\sqrt{2}", 13), ("north west", 14)]
    score(trained, run, 1, [group("p", "3/4", answers)])
    verdicts = score(trained, run, 2, [group("p", "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", [("7", 5)])])
    page = pages.open(trained, f"/#/runs/{run}")
    listed = panel(page, "Latest verdicts")
    listed.locator("li.verdict").nth(5).wait_for()
    assert listed.locator("mfrac").count() >= 2
    expect(listed.locator("msqrt")).to_have_count(1)
    assert listed.locator("mtable mtd").all_text_contents() == ["1", "2", "3", "4"]
    expect(listed.locator(".plain", has_text="north west")).to_have_count(1)
    reason = verdicts["groups"][0]["verdicts"][0]["reason"]
    assert reason in listed.locator(".why").first.inner_text()
    listed.get_by_role("button", name="Correct", exact=True).click()
    assert set(listed.locator(".status").all_inner_texts()) == {"✓ correct"}
    listed.get_by_role("button", name="Other", exact=True).click()
    listed.get_by_text("No recent verdict of this kind.").wait_for()


def test_verdicts_pause_for_a_reader(serve: Serve, trained: str, pages: Pages) -> None:
    score(trained, "paused", 1, [group("p", "3", [("3", 1)])])
    page = pages.open(trained, "/#/runs/paused")
    listed = panel(page, "Latest verdicts")
    listed.locator("li.verdict").first.wait_for()
    listed.get_by_role("button", name="Pause").click()
    score(trained, "paused", 2, [group("p", "3", [("3", 1), ("5", 1)])])
    listed.get_by_role("button", name="Resume (new verdicts)").wait_for(timeout=45_000)
    expect(listed.locator("li.verdict")).to_have_count(1)
    listed.get_by_role("button", name="Resume").click()
    expect(listed.locator("li.verdict")).to_have_count(3)


def test_verdicts_without_a_run_have_a_place(serve: Serve, pages: Pages) -> None:
    address = serve()
    items = [{"gold": "3", "response": "\\boxed{3}"}, {"gold": "3", "response": "hm"}]
    httpx.post(f"{address}/v1/verify", json={"items": items}, timeout=60).raise_for_status()
    page = pages.open(address)
    page.get_by_text("No runs yet").wait_for()
    listed = panel(page, "Verdicts without a run")
    listed.locator("li.verdict").nth(1).wait_for()
    assert sorted(listed.locator(".status").all_inner_texts()) == ["∅ no answer", "✓ correct"]


def test_a_warning_is_a_notice(trained: str, pages: Pages) -> None:
    body = {
        "run": "trap",
        "step": 1,
        "groups": [{"problem_id": "p", "rollouts": [{"correct": True, "tokens": 7}] * 4}],
    }
    httpx.post(f"{trained}/v1/shape", json=body, timeout=60).raise_for_status()
    page = pages.open(trained, "/#/runs/trap")
    page.locator(".notice", has_text="equal-lengths").wait_for()


def test_charts_without_figures_are_left_out_and_named(serve: Serve, tmp_path: Path, pages: Pages) -> None:
    url = f"sqlite:///{tmp_path}/state.sqlite3"
    first = serve(state_url=url)
    train(first, "earlier", range(1, 4))
    serve.last.kill()  # type: ignore[attr-defined]
    serve.last.wait()  # type: ignore[attr-defined]
    address = serve(state_url=url)  # it has the steps, and none of the figures of the replica before
    page = pages.open(address, "/#/runs/earlier")
    panel(page, "Level and batch pass ratio").locator(".plot .line").first.wait_for(state="attached")
    left = page.locator(".left-out")
    expect(left).to_contain_text("reward, length reward")
    assert not panel(page, "Reward").is_visible() and not panel(page, "Reward against length").is_visible()
    expect(panel(page, "Unfinished and unjudged")).to_be_visible()  # truncation is in the store
    score(address, "earlier", 4, [group("set/00", "3", [("3", 5), ("4", 6)])])
    expect(panel(page, "Reward against length")).to_be_visible()
    expect(panel(page, "Reward")).to_be_visible()
    expect(left).to_have_text("")


def test_an_unknown_run_has_a_note(trained: str, pages: Pages) -> None:
    page = pages.open(trained, "/#/runs/nobody")
    page.get_by_text("This run has no state").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_themes(trained: str, pages: Pages, scheme: str) -> None:
    """WCAG AA: 4.5 to 1 for every piece of text, against what is really behind it."""
    page = pages.open(trained, "/#/runs/trained", color_scheme=scheme)
    page.locator("li.verdict").first.wait_for()
    page.locator("tbody tr").first.wait_for()
    assert page.evaluate(CONTRAST) == []


CONTRAST = """() => {
  const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (css) => {
    paint.clearRect(0, 0, 1, 1); paint.fillStyle = css; paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = rgba(getComputedStyle(one).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return rgba(getComputedStyle(document.documentElement).backgroundColor);
  };
  const bad = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility({opacityProperty: true})) continue;
    if (element.closest('button:disabled, .visually-hidden, .skip')) continue;
    const style = getComputedStyle(element);
    const ink = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(rgba(ink)), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const name = element.className.baseVal ?? element.className;
    if (ratio < 4.5) bad.add(`${name} ${node.data.trim().slice(0, 20)} ${ratio.toFixed(2)}`);
  }
  return [...bad];
}"""


SMALL = """() => [...document.querySelectorAll('main button, main a:not(.card a)')]
  .map((one) => [one.textContent, one.getBoundingClientRect().height])
  .filter(([, height]) => height > 0 && height < 24)
"""


def test_it_fits_a_phone(trained: str, pages: Pages) -> None:
    for path in ("/", "/#/runs/trained"):
        page = pages.open(trained, path, viewport={"width": 360, "height": 740}, has_touch=True)
        page.locator(".card, tbody tr").first.wait_for()
        page.wait_for_timeout(1500)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        small = page.evaluate(SMALL)
        assert small == []
        assert page.evaluate("document.documentElement.scrollHeight") < 5000
        if shot := shots(f"phone{'-run' if 'runs' in path else ''}"):
            page.screenshot(path=shot, full_page=True)


def test_charts_by_time_leave_out_steps_without_one(trained: str, pages: Pages) -> None:
    page = pages.open(trained, "/#/runs/trained")
    chart = panel(page, "Level and batch pass ratio")
    title = chart.locator(".axis-title")
    expect(title).to_have_text("step")
    page.get_by_role("button", name="By time").click()
    expect(title).to_have_text("time")
    assert page.url.endswith("?x=time")
    label = re.compile(r"^\d\d:\d\d(:\d\d)?$")
    assert chart.locator(".chart text").filter(has_text=label).count() > 0
    steps = httpx.get(f"{trained}/v1/runs/trained/history").json()["steps"]
    chart.get_by_text("As a table").click()
    expect(chart.locator("tbody tr")).to_have_count(len(steps))
    if path := shots("run-by-time"):
        page.screenshot(path=path)
    again = pages.open(trained, "/#/runs/trained?x=time")
    expect(panel(again, "Response length").locator(".axis-title")).to_have_text("time")


def test_steps_are_chosen_by_dragging_and_by_keys(trained: str, pages: Pages) -> None:
    page = pages.open(trained, "/#/runs/trained")
    chart, other = panel(page, "Level and batch pass ratio"), panel(page, "Response length")
    for one in (chart, other):
        one.get_by_text("As a table").click()
        expect(one.locator("tbody tr")).to_have_count(8)
    plot = chart.locator(".plot")
    width = plot.bounding_box()["width"] - 58  # of the plot within the axes: steps 1 to 8
    plot.hover(position={"x": 48 + width * 2 / 7, "y": 120})
    page.mouse.down()
    plot.hover(position={"x": 48 + width * 4 / 7, "y": 120})
    expect(chart.locator(".selected")).to_have_count(1)
    page.mouse.up()
    shown = page.get_by_role("button", name="Steps 3 to 5: show all steps")
    shown.wait_for()
    assert page.url.endswith("?range=3-5")
    for one in (chart, other):
        expect(one.locator("tbody tr")).to_have_count(3)
    expect(chart.locator(".selected")).to_have_count(0)
    again = pages.open(trained, "/#/runs/trained?range=3-5")
    again.get_by_role("button", name="Steps 3 to 5: show all steps").wait_for()

    plot.dblclick()
    expect(shown).to_have_count(0)
    expect(chart.locator("tbody tr")).to_have_count(8)
    assert "range" not in page.url
    plot.focus()
    for key in ("Home", "ArrowRight", "["):
        page.keyboard.press(key)
    assert page.url.endswith("?range=2-8")
    for key in ("End", "ArrowLeft", "]"):
        page.keyboard.press(key)
    assert page.url.endswith("?range=2-7")
    expect(other.locator("tbody tr")).to_have_count(6)
    page.keyboard.press("0")
    expect(other.locator("tbody tr")).to_have_count(8)
    plot.click(position={"x": 200, "y": 120})  # it selects nothing
    assert "range" not in page.url


def test_the_page_sends_requests_only_to_its_server(trained: str, pages: Pages) -> None:
    page = pages.open(trained, "/#/runs/trained")
    page.locator("li.verdict").first.wait_for()
    assert pages.requested
    assert {url for url in pages.requested if not url.startswith(trained + "/")} == set()


def test_it_comes_back_when_the_connection_was_lost(trained: str, pages: Pages) -> None:
    pages.expected += ["ERR_", "Failed to fetch", "network error"]  # of the requests that it could not send
    page = pages.open(trained, "/#/runs/trained")
    page.locator("#live[data-state=live]").wait_for()
    page.context.set_offline(True)
    page.evaluate("window.stop()")
    page.locator("#live[data-state=lost]").wait_for()
    page.context.set_offline(False)
    page.locator("#live[data-state=live]").wait_for(timeout=60_000)


def test_figures_by_data_source_have_a_line_each(serve: Serve, pages: Pages) -> None:
    address = serve()
    for step in range(1, 7):
        groups = []
        for number, source in enumerate(("gsm8k", "aime", "<b>=1+1</b>")):
            answers = [("3" if k > number else "4", 100 * (number + 1) + 10 * k + step) for k in range(4)]
            groups.append({**group(f"p{number}", "3", answers), "data_source": source})
        score(address, "split", step, groups)
    page = pages.open(address, "/#/runs/split?source=tokens")
    chart = panel(page, "By data source")
    chart.get_by_role("button", name="gsm8k").wait_for()
    chart.get_by_text("As a table").click()
    expect(chart.locator("tbody tr")).to_have_count(6)
    head = chart.locator("thead").inner_text().strip().split("\t")
    assert head == ["Step", "<b>=1+1</b>", "aime", "gsm8k"]
    assert chart.locator("tbody tr").first.inner_text().split("\t") == ["6", "321", "221", "121"]
    chart.get_by_role("button", name="Pass ratio").click()
    expect(chart.locator("tbody tr").first).to_have_text("60.2500.5000.750")
    assert "source=" not in page.url
    expect(chart.locator("svg.chart path.line")).to_have_count(3)
    chart.get_by_role("button", name="aime").click()
    expect(chart.locator("svg.chart path.line")).to_have_count(2)
    if path := shots("data-sources"):
        chart.get_by_role("button", name="aime").click()
        chart.screenshot(path=path)


def test_a_run_without_data_sources_has_no_such_chart(trained: str, pages: Pages) -> None:
    page = pages.open(trained, "/#/runs/trained")
    page.locator(".figure").first.wait_for()
    expect(panel(page, "By data source")).to_have_count(0)


def test_ages_of_groups_have_a_chart_where_requests_have_versions(serve: Serve, trained: str, pages: Pages) -> None:
    address = serve()
    httpx.put(f"{address}/v1/runs/late", json={"asynchronous": True, "max_age": 3}).raise_for_status()
    for step in (1, 2, 3):
        rollouts = [
            [{"correct": ok, "tokens": 9, "policy_version": version} for ok in (True, False)]
            for version in (step - 1, max(0, step - 2), 0)
        ]
        groups = [{"problem_id": f"p{i}", "group_id": f"{step}-{i}", "rollouts": r} for i, r in enumerate(rollouts)]
        body = {"run": "late", "step": step, "policy_version": 2 * step - 1, "groups": groups}
        httpx.post(f"{address}/v1/shape", json=body).raise_for_status()
    page = pages.open(address, "/#/runs/late")
    chart = panel(page, "Age of groups")
    chart.get_by_text("As a table").click()
    expect(chart.locator("tbody tr")).to_have_count(3)
    shown = [row.split("\t")[:3] for row in chart.locator("tbody").inner_text().splitlines()]
    steps = httpx.get(f"{address}/v1/runs/late/history").json()["steps"]
    assert shown == [
        [str(one["step"]), f"{one['largest_age']:.1f}", f"{one['mean_age']:.1f}"] for one in reversed(steps)
    ]
    standing(page, "Open step", "3")
    expect(page.locator(".figures")).to_contain_text("too old")
    plain = pages.open(trained, "/#/runs/trained")
    plain.locator(".figure").first.wait_for()
    expect(panel(plain, "Age of groups")).to_have_count(0)
