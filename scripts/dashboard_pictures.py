"""Take the pictures of the dashboard that the documentation has, in the installed Chromium.

python scripts/dashboard_pictures.py docs/pictures                              trains examples/own_loop.py first
python scripts/dashboard_pictures.py docs/pictures --url URL                    a running service has its runs
python scripts/dashboard_pictures.py FILE.png --url URL --runs RUN RUN ...      runs of a running service, compared
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Browser, sync_playwright

from deepcompress_client import Client
from deepcompress_service.cli.embedded import embedded_service

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import own_loop

KINDS = ("outcome", "paper", "release")
"""The runs of the example, in the order in which they are compared."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a browser without a window."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def take(
    browser: Browser, address: str, file: Path, *, dark: bool = False, wide: int = 1280, high: int = 1300
) -> None:
    """Write a picture of a page, once its charts are drawn."""
    page = browser.new_page(viewport={"width": wide, "height": high}, color_scheme="dark" if dark else "light")
    page.goto(address)
    page.locator("svg.chart .line, svg.spark path").first.wait_for(timeout=60_000)
    page.wait_for_timeout(2500)
    page.screenshot(path=file)
    page.close()


def comparison(runs: Sequence[str]) -> str:
    """Return the address of a comparison on the page."""
    return "/#/compare?" + "&".join(f"run={quote(run)}" for run in runs) + "&smooth=0.6"


def train(url: str) -> None:
    """Train the example's policy with three rewards."""
    with Client(url) as client:
        for kind in KINDS:
            for _ in own_loop.train(kind, client):
                pass


def take_all(url: str, folder: Path) -> None:
    """Take the pictures of the page and the tutorials. The service has the example's runs."""
    with chromium() as browser:
        run = "/#/runs/own-loop-paper?smooth=0.6"
        take(browser, url + "/", folder / "dashboard-runs.png", high=440)
        take(browser, url + run, folder / "dashboard-light.png", high=2120)
        take(browser, url + run, folder / "dashboard-dark.png", dark=True)
        take(browser, url + comparison([f"own-loop-{kind}" for kind in KINDS]), folder / "dashboard-compare.png")


def main() -> None:
    """Read the arguments, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a folder, or with --url a file")
    parser.add_argument("--url", help="address of a running service")
    parser.add_argument("--runs", nargs="+", default=[], help="runs of that service")
    chosen = parser.parse_args()
    if chosen.url is None:
        with embedded_service() as url:
            train(url)
            take_all(url, chosen.out)
    elif chosen.runs:
        with chromium() as browser:
            take(browser, chosen.url.rstrip("/") + comparison(chosen.runs), chosen.out, high=860)
    else:
        take_all(chosen.url.rstrip("/"), chosen.out)


if __name__ == "__main__":
    main()
