"""The page about strategies is what the registry says."""

from __future__ import annotations

from pathlib import Path

from deepcompress_service.shaping.table import written

PAGE = Path(__file__).resolve().parents[2] / "docs" / "strategies.md"


def test_the_page_is_up_to_date() -> None:
    """Where this fails: python -m deepcompress_service.shaping.table docs/strategies.md"""
    page = PAGE.read_text()
    assert written(page) == page
