"""Text from outside is always shown as text."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from .conftest import Pages, group, score

HOSTILE = [
    '<img src=x onerror="window.hacked=1">',
    "<script>window.hacked=1</script>",
    '"><svg onload=window.hacked=1>',
    "\\text{<img src=x onerror=window.hacked=1>}",
    "\\frac{<b>1</b>}{2}",
    "javascript:window.hacked=1",
    "${window.hacked=1}{{window.hacked=1}}",
    "\\href{javascript:window.hacked=1}{x}",
    "\\begin{matrix}" * 40,
    "{" * 150 + "}" * 150,
    "\\frac" * 60,
    "x^" * 90 + "2",
    "\u202e321 txet desrever",
    "a\u200bb\u200dc",
    "\x07\x1b[31mred\x1b[0m",
    "Z" + "\u0301" * 150,
    "W" * 180,
    "\nevent: gone\ndata: {}\n\n",
    "__proto__",
    "</main></body></html>",
]
PROBLEMS = ["<i>italic</i>", "../../../etc/passwd", "a\u202eb", "x" * 400, "café/１", "__proto__", "' OR 1=1 --"]


@pytest.fixture(scope="module")
def attacked(trained: str) -> str:
    for step, text in enumerate(HOSTILE, start=1):
        groups = [group(PROBLEMS[step % len(PROBLEMS)], "3", [])]
        groups[0]["rollouts"] = [
            {"response": f"\\boxed{{{text}}}", "tokens": 5},
            {"response": text, "tokens": 6},
        ]
        score(trained, "attacked", step, groups)
    golds = [{"gold": text, "response": f"\\boxed{{{text}}}"} for text in HOSTILE]
    httpx.post(f"{trained}/v1/verify", json={"items": golds}, timeout=60).raise_for_status()
    return trained


def is_clean(page: Any) -> None:
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main script, .verdicts b, .verdicts svg, .problems b, main iframe").count() == 0
    assert page.locator("main a[href^='javascript']").count() == 0


def test_nothing_a_policy_wrote_becomes_markup(attacked: str, pages: Pages) -> None:
    page = pages.open(attacked, "/#/runs/attacked")
    listed = page.get_by_role("region", name="Latest verdicts")
    listed.locator("li.verdict").first.wait_for()
    while (more := listed.get_by_role("button", name="Show more")).is_visible():
        more.click()
    assert listed.locator("li.verdict").count() >= len(HOSTILE)
    is_clean(page)
    shown = listed.inner_text()
    assert "<script>window.hacked=1</script>" in shown
    assert "⟨U+202E⟩321 txet desrever" in shown
    assert "\u202e" not in shown
    # One long word or one tall stack of accents stays within its row.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("tbody tr").first.wait_for()
    problems = page.get_by_role("region", name="Problems", exact=True)
    assert "<i>italic</i>" in problems.inner_text()
    problems.get_by_role("button", name="<i>italic</i>").click()
    page.locator("tr.detail dd").first.wait_for()
    is_clean(page)


def test_a_problem_can_be_called_anything(attacked: str, pages: Pages) -> None:
    page = pages.open(attacked, "/#/runs/attacked")
    for name in PROBLEMS:
        course = httpx.get(f"{attacked}/dashboard/runs/attacked/problem", params={"problem": name})
        assert course.status_code == 200 and course.json()["steps"]
    problems = page.get_by_role("region", name="Problems", exact=True)
    problems.locator("tbody tr").first.wait_for()
    assert problems.locator("tbody tr").count() == len(PROBLEMS)
    for index in range(len(PROBLEMS)):
        problems.locator(".opener").nth(index).click()
        problems.locator("tr.detail .chart").wait_for()
        problems.locator(".opener").nth(index).click()
    is_clean(page)


def test_verdicts_that_named_no_run_are_text_too(attacked: str, pages: Pages) -> None:
    page = pages.open(attacked)
    page.get_by_role("region", name="Verdicts without a run").locator("li.verdict").first.wait_for()
    is_clean(page)


@pytest.mark.parametrize("run", ["%3Cimg%20src=x%20onerror=alert(1)%3E", "%E0%A4%A", "..%2F..%2Fv1", "a b", "%00"])
def test_an_address_can_name_anything(trained: str, pages: Pages, run: str) -> None:
    pages.expected += ["400", "404", "422"]  # the browser reports that the server refused the name
    page = pages.open(trained, f"/#/runs/{run}")
    page.locator("#live:not([data-state=connecting])").wait_for()
    is_clean(page)


def test_a_run_called_like_a_folder_is_a_run(trained: str, pages: Pages) -> None:
    """`.` and `..` are valid run names. A browser takes them out of any path, so the page cannot show them, and
    must not show something else in their place."""
    score(trained, "..", 1, [group("p", "3", [("3", 1)])])
    page = pages.open(trained, "/#/runs/..")
    page.get_by_text("A run of this name cannot be shown").wait_for()
    assert not [url for url in pages.requested if "/events" in url]


def test_the_policy_forbids_what_the_page_does_not_do(trained: str, pages: Pages) -> None:
    """Were there a hole in the page's scripts, the browser itself would still refuse."""
    pages.expected += ["Content Security Policy", "Content-Security-Policy", "Trusted"]
    page = pages.open(trained)
    page.locator(".card").first.wait_for()
    refused = page.evaluate(
        """async () => {
          const found = {};
          try { document.body.innerHTML = '<b>x</b>'; } catch (error) { found.markup = error.name; }
          const script = document.createElement('script');
          try { script.textContent = 'ran = 1'; } catch (error) { found.script = error.name; }
          document.head.append(script);
          const frame = document.createElement('a');
          frame.setAttribute('href', 'javascript:window.ran=1');
          document.body.append(frame);
          frame.click();
          await new Promise((resolve) => setTimeout(resolve, 300));
          found.ran = window.ran ?? null;
          try { await fetch('http://127.0.0.1:9/'); } catch (error) { found.fetch = error.name; }
          return found;
        }"""
    )
    assert refused["markup"] == "TypeError"
    assert refused["script"] == "TypeError"
    assert refused["ran"] is None
    assert refused["fetch"] == "TypeError"


def test_files_are_the_pages_own_and_no_others(trained: str) -> None:
    page = httpx.get(trained)
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert page.headers["x-frame-options"] == "DENY"
    again = httpx.get(trained, headers={"If-None-Match": page.headers["etag"]})
    assert again.status_code == 304 and not again.content
    names = (
        "../routes.py",
        "%2e%2e/routes.py",
        "js/../../x.js",
        "js",
        ".hidden",
        "js/.x",
        "no.js",
        "a\\b.js",
        "%00.js",
    )
    for name in names:
        answer = httpx.get(f"{trained}/dashboard/static/{name}")
        assert answer.status_code == 404, name
