"""``deepcompress config``: print every setting with its variable, value and meaning."""

from __future__ import annotations

from typing import Annotated

import typer

from .helptext import teach

_HELP = """\
Print the configuration with which the service would start.

Settings come from the environment: the variable is DEEPCOMPRESS_ and the setting's name in capitals. Variables that
are set here are printed in bold. API keys are counted, not shown. Names end in their unit. A setting with which the
service could not start is an error, as for deepcompress serve.

  deepcompress config
  DEEPCOMPRESS_WORKERS=4 deepcompress config --json
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("config", help=teach(_HELP))(config)


def config(
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object instead of a table")] = False,
) -> None:
    """Print the settings in force. Exit status 2 if one is invalid."""
    import json

    from pydantic import ValidationError
    from rich.table import Table
    from rich.text import Text

    from deepcompress_service.settings import Settings, explain, variable

    from .output import console, fail
    from .startup import check_start

    try:
        settings = Settings()
    except ValidationError as error:
        fail(explain(error))
    check_start(settings)
    values = {name: _show(name, getattr(settings, name)) for name in Settings.model_fields}
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    table = Table(show_edge=False, pad_edge=False)
    for column in ("variable", "value", "meaning"):
        table.add_column(column, overflow="fold")
    for name, field in Settings.model_fields.items():
        changed = name in settings.model_fields_set
        meaning = " ".join((field.description or "").split())
        cells = (variable(name), values[name], meaning)
        table.add_row(*map(Text, cells), style="bold" if changed else "")
    console().print(table)


def _show(name: str, value: object) -> str:
    from .output import without_password

    if name == "api_keys":
        return f"{len(value)} set" if isinstance(value, tuple) and value else "none"
    text = str(value)
    return without_password(text) if name == "state_url" else text
