"""``deepcompress config``: every setting, its value here, its variable, and what it is for."""

from __future__ import annotations

from typing import Annotated

import typer

from .helptext import teach

_HELP = """\
Print the configuration that the service would start with here.

Settings come from the environment: each is DEEPCOMPRESS_ and its name in capitals. A value that is not the
default is marked. API keys are counted, never shown.

  deepcompress config
  DEEPCOMPRESS_WORKERS=4 deepcompress config --json
"""


def register(app: typer.Typer) -> None:
    app.command("config", help=teach(_HELP))(config)


def config(
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of a table")] = False,
) -> None:
    import json

    from pydantic import ValidationError
    from rich.table import Table

    from deepcompress_service.settings import Settings, explain

    from .output import console, fail

    try:
        settings = Settings()
    except ValidationError as error:
        fail(explain(error))
    rows = []
    for name in Settings.model_fields:
        value = getattr(settings, name)
        changed = name in settings.model_fields_set
        rows.append((name, _show(name, value), changed))
    if as_json:
        typer.echo(json.dumps({name: value for name, value, _ in rows}, indent=2))
        return
    table = Table(show_edge=False, pad_edge=False)
    for column in ("variable", "value", "set here"):
        table.add_column(column, overflow="fold")
    for name, value, changed in rows:
        table.add_row(
            f"DEEPCOMPRESS_{name.upper()}", value, "yes" if changed else "", style="bold" if changed else ""
        )
    console().print(table)


def _show(name: str, value: object) -> str:
    from .output import without_password

    if name == "api_keys":
        return f"{len(value)} set" if isinstance(value, tuple) and value else "none"
    text = str(value)
    return without_password(text) if name == "state_url" else text
