"""The page /docs in a browser: a key that is entered there reaches the service, and no other server gets a
request."""

from __future__ import annotations

from playwright.sync_api import expect

from .conftest import KEY, Pages, Serve


def test_a_key_entered_at_authorize_is_sent(serve: Serve, pages: Pages) -> None:
    address = serve()
    page = pages.open(address, "/docs")
    page.locator("h1.title, h2.title").first.wait_for()
    expect(page.get_by_text("Check answers and compute rewards.")).to_have_count(1)
    page.locator("button.authorize").first.click()
    page.locator(".auth-container", has_text="bearer").first.locator("input").first.fill(KEY)
    page.locator(".auth-btn-wrapper button.authorize").first.click()
    page.locator(".close-modal").click()
    operation = page.locator(".opblock-put", has_text="Create a run, or confirm its configuration").first
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.locator("input[placeholder='run']").fill("from-the-page")
    with page.expect_request("**/v1/runs/from-the-page") as sent:
        operation.get_by_role("button", name="Execute").click()
    assert sent.value.headers["authorization"] == f"Bearer {KEY}"
    assert sent.value.response().status == 201
    assert all(url.startswith((address, "data:")) for url in pages.requested)
