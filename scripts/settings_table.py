"""Write the table of all settings into docs/configuration.md, from the settings' definitions.

python scripts/settings_table.py            # write it
python scripts/settings_table.py --check    # exit status 1 if the page is not up to date
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from deepcompress_service.settings import Settings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
HEAD = "| variable | default | meaning |\n|---|---|---|\n"


def default_of(value: object) -> str:
    """Return the default as the page shows it."""
    if value is None or value == () or value == "":
        return "not set"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{json.dumps(value)}`" if isinstance(value, dict) else f"`{value}`"


def table() -> str:
    """Return the rows: the variable, its default, its meaning with its unit."""
    rows = []
    for name, field in Settings.model_fields.items():
        meaning = " ".join((field.description or "").split())
        default = default_of(field.get_default(call_default_factory=True))
        if "Default:" in meaning:  # it depends on the machine or on another setting
            default = "see the meaning"
        rows.append(f"| `{name.upper()}` | {default} | {meaning} |\n")
    return HEAD + "".join(rows)


def page() -> str:
    """Return the page with the table."""
    text = PAGE.read_text()
    before, head, rest = text.partition(HEAD)
    if not head:
        raise SystemExit(f"{PAGE} has no table of settings")
    rows = rest.splitlines(keepends=True)
    after = next((i for i, row in enumerate(rows) if not row.startswith("|")), len(rows))
    return before + table() + "".join(rows[after:])


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(page() != PAGE.read_text())
    PAGE.write_text(page())
