"""``deepcompress verify GOLD ANSWER``: one comparison, in this process, with the reason in words."""

from __future__ import annotations

from typing import Annotated

import typer

from .formats import Format, parse_checker
from .helptext import teach

_HELP = """\
Compare one answer with one gold answer and say why.

Runs in this process: no server is asked and nothing is stored. ANSWER is the bare answer; with
[bold]--format boxed[/bold] (or another) it is a whole response in which the answer is looked for first.
Give [bold]-[/bold] as ANSWER to read it from standard input.

  deepcompress verify '\\frac{3}{4}' 0.75
  deepcompress verify '[0,1)' '0 \\le x < 1'
  deepcompress verify 42 - --format boxed < response.txt
  deepcompress verify '2\\sqrt{3}' '\\sqrt{12}' --explain

Exit status: 0 correct, 1 not correct, 2 bad arguments, 4 undecided or the gold is unreadable.
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("verify", help=teach(_HELP))(verify)


def verify(
    gold: Annotated[str, typer.Argument(help="the gold answer", show_default=False)],
    answer: Annotated[
        str,
        typer.Argument(help="the answer, or a whole response with --format; - reads it", show_default=False),
    ],
    answer_format: Annotated[
        Format, typer.Option("--format", "-f", help="where in ANSWER the answer is looked for")
    ] = Format.bare,
    alternative: Annotated[
        list[str] | None, typer.Option("--or", help="another gold answer that also suffices; may be repeated")
    ] = None,
    checker: Annotated[
        str | None,
        typer.Option(
            "--checker", "-c", help="a checker's name, or its name and parameters as JSON", show_default="math"
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="a choice of the row; repeated, in order")
    ] = None,
    truncated: Annotated[bool, typer.Option("--truncated", help="the response was cut off")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="the verdict as one JSON object")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="show both sides as they were read, and what each tier said")
    ] = False,
) -> None:
    import dataclasses
    import json
    import sys

    from deepcompress_verify import CheckerError
    from deepcompress_verify import verify as check

    from .output import STATUS_STYLE, clean, console, fail

    if answer == "-":
        answer = sys.stdin.buffer.read().decode("utf-8", "replace")
    golds = [gold, *(alternative or [])]
    try:
        verdict = check(
            golds,
            answer,
            answer_format=answer_format.value,
            truncated=truncated,
            checker=parse_checker(checker),
            options=option or (),
        )
    except CheckerError as error:
        fail(str(error))

    if as_json:
        print(json.dumps(dataclasses.asdict(verdict), ensure_ascii=False))
    else:
        out = console()
        out.print(f"[{STATUS_STYLE[verdict.status]}]{verdict.status.replace('_', ' ')}[/]", highlight=False)
        for name, value in (
            ("gold", " or ".join(golds)),
            ("answer", verdict.answer if verdict.answer is not None else "none found"),
            ("decided by", verdict.decided_by),
            ("reason", verdict.reason),
        ):
            out.print(f"  {name:<10}  ", end="", highlight=False)
            out.print(clean(value), markup=False, highlight=False)
        if explain and checker is None and not option:
            from deepcompress_verify import explain as explained

            text = explained.render(
                explained.explain(golds, answer, answer_format=answer_format.value, truncated=truncated)
            )
            out.print()
            out.print(text, markup=False, highlight=False, soft_wrap=True)
    if verdict.status in ("undecided", "gold_unreadable"):
        raise typer.Exit(4)
    raise typer.Exit(0 if verdict.correct else 1)
