"""The page /docs in a browser: a key that is entered there reaches the service, and nothing is asked of others."""

from __future__ import annotations

from .conftest import KEY, Pages, Serve


def test_a_key_entered_at_authorize_can_create_a_run(serve: Serve, pages: Pages) -> None:
    address = serve(api_keys=KEY)
    # The browser's own Basic password opens the page; it cannot change anything.
    page = pages.open(address, "/docs", http_credentials={"username": "any", "password": KEY})
    page.get_by_role("heading", name="deepcompress", exact=False).first.wait_for()
    assert page.get_by_text("Check answers and compute rewards.").count() == 1
    page.locator("button.authorize").first.click()
    page.locator(".auth-container").first.locator("input").first.fill(KEY)
    page.locator(".auth-btn-wrapper button.authorize").first.click()
    page.locator(".close-modal").click()
    operation = page.locator(".opblock-put", has_text="Create a run, or confirm its configuration").first
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.locator("input[placeholder='run']").fill("from-the-page")
    operation.get_by_role("button", name="Execute").click()
    assert operation.locator(".live-responses-table .response-col_status").inner_text().startswith("201")
    assert all(url.startswith((address, "data:")) for url in pages.requested)
