"""``deepcompress audit GOLDS.jsonl``: find unreadable, conflicting and likely wrong gold answers of a data set."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .formats import Format
from .golds import DefaultChecker, GoldField, IdField, Routing, SourceCheckers, gold_of, options_of, progress_bars
from .helptext import teach
from .jsonl import read_jsonl

if TYPE_CHECKING:
    from deepcompress_verify.audit import Finding, GoldRow, RolloutRow

_HELP = """\
Check the gold answers of a data set before a training run.

GOLDS.jsonl (- reads standard input) has one JSON object per line. problem_id is optional, and gold may be a list of
alternatives. The fields checker, options and data_source are as in a request; --checkers gives the checker of each
data_source, as in a run's configuration. Golds of remote checkers are not read:

  {"problem_id": "p7", "gold": "\\\\frac{3}{4}"}

With --rollouts (rows as for "deepcompress score") it also lists the problems that no rollout solves although many
answers agree with each other: their gold answers are likely wrong. GOLDS.jsonl may then be the same file.

  deepcompress audit golds.jsonl
  deepcompress audit golds.jsonl --rollouts rollouts.jsonl --agreement 0.6
  deepcompress audit golds.jsonl --checkers '{"gpqa": "choice", "code": "sandbox"}'
  deepcompress audit golds.jsonl --gold-field answer --json > findings.jsonl

Errors: unreadable (the group would never be trainable), conflict (one problem, two golds), likely_wrong (see above).
Hints: ambiguous (has two readings), often_undecided (no exact rule can compare it).

Exit status: 0 no errors, 1 errors (with --strict: any finding), 2 the file is invalid.
"""

_STYLE = {
    "unreadable": "bold red",
    "conflict": "bold red",
    "likely_wrong": "bold red",
    "ambiguous": "yellow",
    "often_undecided": "yellow",
}


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("audit", help=teach(_HELP))(audit)


def audit(
    golds: Annotated[
        Path, typer.Argument(help="the file of gold answers; - reads standard input", show_default=False)
    ],
    rollouts: Annotated[
        Path | None,
        typer.Option("--rollouts", "-r", help="file of rollouts, to find gold answers that are likely wrong"),
    ] = None,
    gold_field: GoldField = "gold",
    id_field: IdField = "problem_id",
    answer_format: Annotated[
        Format, typer.Option("--format", "-f", help="answer format of the responses")
    ] = Format.boxed,
    checker: DefaultChecker = None,
    checkers: SourceCheckers = None,
    agreement: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="share of a problem's answers that must agree")
    ] = 0.5,
    least: Annotated[int, typer.Option(min=2, help="smallest number of answers that must agree")] = 3,
    limit: Annotated[int, typer.Option(min=0, help="most findings listed per kind; 0: all")] = 20,
    strict: Annotated[bool, typer.Option("--strict", help="exit status 1 for findings of any kind")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print all findings as JSON, one per line")] = False,
) -> None:
    """Check the gold answers, and print the findings. Exit status 1 if there are errors.

    Raises:
        Exit: with the status in the help text, if it is not 0.
    """
    import asyncio

    from deepcompress_verify import VerifierPool
    from deepcompress_verify.audit import SERIOUS, audit_golds, audit_rollouts

    from .output import fail, reason

    if str(golds) == str(rollouts) == "-":
        fail("standard input can be read once: give GOLDS.jsonl or --rollouts as a file")
    try:
        routing = Routing.of_options(checker, checkers)
        problems = list(_problems(golds, gold_field, id_field, routing))
        texts = [] if rollouts is None else list(_rollouts(rollouts, gold_field, id_field, problems, routing))
    except (OSError, ValueError) as error:
        fail(reason(error))

    findings: list[Finding] = []
    with progress_bars() as progress:
        bar = progress.add_task("reading golds", total=len(problems))
        for row_findings in audit_golds(problems):
            findings += row_findings
            progress.advance(bar)

        async def checked() -> list[Finding]:
            pool = VerifierPool()
            await pool.start()
            try:
                task = progress.add_task("checking rollouts", total=len(texts))
                return await audit_rollouts(
                    texts,
                    pool,
                    answer_format=answer_format.value,
                    agreement=agreement,
                    least=least,
                    advance=lambda count: progress.advance(task, count),
                )
            finally:
                await pool.close()

        if texts:
            findings += asyncio.run(checked())

    if as_json:
        _print_json(findings)
    else:
        _print_table(findings, len(problems), len(texts), limit)
    if any(strict or finding.kind in SERIOUS for finding in findings):
        raise typer.Exit(1)


def _problems(path: Path, gold_field: str, id_field: str, routing: Routing) -> Iterator[GoldRow]:
    from deepcompress_verify.audit import GoldRow

    for row in read_jsonl(path):
        name = row.name(id_field, f"line {row.number}")
        checker, remote = routing.of(row)
        yield GoldRow(name, gold_of(row, gold_field), checker, options_of(row), remote)


def _rollouts(
    path: Path, gold_field: str, id_field: str, problems: list[GoldRow], routing: Routing
) -> Iterator[RolloutRow]:
    from deepcompress_verify.audit import RolloutRow

    known = {problem.problem_id: problem for problem in problems}
    for row in read_jsonl(path):
        response = row.fields.get("response")
        if id_field not in row.fields or not isinstance(response, str):
            raise row.error(f"needs {id_field} and response")
        name = row.name(id_field)
        problem = known.get(name)
        truncated = bool(row.fields.get("truncated"))
        if problem is None:
            checker, remote = routing.of(row)
            if not remote:
                yield RolloutRow(name, gold_of(row, gold_field), response, truncated, checker, options_of(row))
        elif not problem.remote:
            yield RolloutRow(name, problem.gold, response, truncated, problem.checker, problem.options)


def _print_json(findings: list[Finding]) -> None:
    import dataclasses

    for finding in findings:
        print(json.dumps(dataclasses.asdict(finding)))


def _print_table(findings: list[Finding], problems: int, rollouts: int, limit: int) -> None:
    from rich.table import Table
    from rich.text import Text

    from .output import clean, console, counted

    out = console()
    counts: Counter[str] = Counter(finding.kind for finding in findings)
    shown: Counter[str] = Counter()
    table = Table(title="findings", title_justify="left")
    for name in ("kind", "problem", "gold", "why"):
        table.add_column(name, overflow="fold")
    for finding in sorted(findings, key=lambda finding: list(_STYLE).index(finding.kind)):
        shown[finding.kind] += 1
        if limit and shown[finding.kind] > limit:
            continue
        cells = (clean(text, 160) for text in (finding.problem_id, finding.gold, finding.detail))
        table.add_row(Text(finding.kind, style=_STYLE[finding.kind]), *map(Text, cells))
    if findings:
        out.print(table)
    for kind, count in counts.items():
        if limit and count > limit:
            out.print(f"{count - limit} more of {kind} (--limit 0 lists all)", style="dim")
    read = counted(problems, "gold") + (f" and {counted(rollouts, 'rollout')}" if rollouts else "")
    summary = ", ".join(f"{counts[kind]} {kind}" for kind in _STYLE if counts[kind]) or "no findings"
    out.print(f"{read}: {summary}", highlight=False)
