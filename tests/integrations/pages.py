"""The code blocks of docs/integrations, so that what a page shows is what is tested."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "integrations"


def blocks(page: str, language: str = "python", folder: Path = PAGES) -> list[str]:
    """The page's blocks of a language ("" for those without one), in order."""
    found: list[str] = []
    lines: list[str] | None = None
    wanted = False
    for line in (folder / f"{page}.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            if lines is None:
                lines, wanted = [], line[3:].strip() == language
                continue
            if wanted:
                found.append("\n".join(lines) + "\n")
            lines = None
        elif lines is not None:
            lines.append(line)
    return found
