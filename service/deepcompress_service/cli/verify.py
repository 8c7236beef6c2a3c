"""``deepcompress verify GOLD ANSWER``: compare one answer, in this process, and print the reason."""

from __future__ import annotations

from typing import Annotated

import typer

from .commands import NegativeArguments
from .formats import Format, parse_checker, parse_object
from .helptext import teach

_HELP = """\
Compare one answer with one gold answer and print the reason.

Runs in this process, without a server, and stores nothing. ANSWER is the bare answer; with
[bold]--format boxed[/bold] (or another) it is a response from which the answer is extracted.
[bold]-[/bold] as ANSWER reads it from standard input.

  deepcompress verify '\\frac{3}{4}' 0.75
  deepcompress verify '[0,1)' '0 \\le x < 1'
  deepcompress verify -3 '-\\frac{6}{2}'
  deepcompress verify 42 - --format boxed < response.txt
  deepcompress verify '2\\sqrt{3}' '\\sqrt{12}' --explain

An argument may begin with a minus sign. One that looks like an option, such as -c, goes after [bold]--[/bold].

--checker takes the built-in checkers, those of installed packages, and the remote checkers of
DEEPCOMPRESS_REMOTE_CHECKERS_FILE.

Exit status: 0 correct, 1 not correct, 2 invalid arguments, 4 undecided, unchecked or the gold is unreadable.
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("verify", help=teach(_HELP), cls=NegativeArguments)(verify)


def verify(
    gold: Annotated[str, typer.Argument(help="the gold answer", show_default=False)],
    answer: Annotated[
        str,
        typer.Argument(help="the answer, or a response with --format; - reads standard input", show_default=False),
    ],
    answer_format: Annotated[Format, typer.Option("--format", "-f", help="answer format of ANSWER")] = Format.bare,
    alternative: Annotated[
        list[str] | None, typer.Option("--or", help="an alternative gold answer; may be repeated")
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
    question: Annotated[str | None, typer.Option(help="the problem's text, for a remote checker")] = None,
    row: Annotated[str | None, typer.Option(help="an object of the row as JSON, for a remote checker")] = None,
    truncated: Annotated[bool, typer.Option("--truncated", help="the response was cut off")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the verdict as one JSON object")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="print the parsed gold and answer, and the result of each tier")
    ] = False,
) -> None:
    """Print the verdict. The exit status depends on it.

    Raises:
        Exit: with the status in the help text, if it is not 0.
    """
    import dataclasses
    import json

    from deepcompress_verify import CheckerError
    from deepcompress_verify import verify as check
    from deepcompress_verify.checkers import checker_names
    from deepcompress_verify.extract import MAX_RESPONSE_CHARS

    from .output import STATUS_STYLE, clean, console, fail, read_text

    if answer == "-":
        answer = read_text(4 * MAX_RESPONSE_CHARS + 1)
    golds = [gold, *(alternative or [])]
    chosen = parse_checker(checker)
    verdict = None
    if isinstance(chosen, str) and chosen not in checker_names():
        from .endpoints import check_remotely

        verdict = check_remotely(
            chosen,
            golds,
            answer,
            answer_format=answer_format.value,
            truncated=truncated,
            question=question,
            row=parse_object("--row", row),
        )
    try:
        verdict = verdict or check(
            golds,
            answer,
            answer_format=answer_format.value,
            truncated=truncated,
            checker=chosen,
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
            ("answer", verdict.answer if verdict.answer is not None else "none"),
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
    if verdict.status in ("undecided", "gold_unreadable", "unchecked"):
        raise typer.Exit(4)
    raise typer.Exit(0 if verdict.correct else 1)
