"""Layout of help texts for any width of the terminal."""

from __future__ import annotations

import re


def teach(text: str) -> str:
    """Join the lines of each paragraph, so that the terminal wraps it; indented lines (examples) stay."""
    paragraphs = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.split("\n")
        if all(line.startswith("  ") for line in lines):
            paragraphs.append("\n".join(lines))
        else:
            paragraphs.append(" ".join(line.strip() for line in lines))
    if paragraphs[-1].startswith("  "):
        # Typer removes the common indentation of all lines after the first. An invisible line without
        # indentation prevents that.
        paragraphs.append("\u200b")
    return "\n\n".join(paragraphs)
