"""``deepcompress profile ROLLOUTS.jsonl``: pass ratio and mean length of each problem, as a data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .formats import Format
from .golds import DefaultChecker, GoldField, IdField, Routing, SourceCheckers, gold_of, options_of, progress_bars
from .helptext import teach
from .jsonl import JsonlError, Row, read_jsonl
from .profiling import ProblemProfile, Profile, tokens_of

if TYPE_CHECKING:
    from deepcompress_verify import Check, VerifierPool
    from deepcompress_verify.verdict import AnswerFormat

_HELP = """\
Turn logged rollouts into a data set with the pass ratio and the mean length of each problem.

ROLLOUTS.jsonl (- reads standard input) has one JSON object per line:

  {"problem_id": "p7", "data_source": "gsm8k", "correct": true, "tokens": 812}
  {"problem_id": "p7", "data_source": "gsm8k", "gold": "3/4", "response": "...", "tokens": 900}

A row has correct; or gold and response, which are checked in this process. It may also have status, truncated and
data_source; for the check also checker, options and answer_format.

The output has one line per problem: problem_id, data_source, pass_ratio, rollouts, tokens. Register it with a run
(Run.register), which then samples from it, or give it to a run as its profile (Client.run(profile=...)), which
fills reference_accuracy and reference_tokens of its groups.

  deepcompress profile rollouts.jsonl --out profile.jsonl
  deepcompress profile rollouts.jsonl --out profile.jsonl --json
  deepcompress profile - < rollouts.jsonl > profile.jsonl

Undecided rollouts count as wrong, unchecked ones are left out, and so are problems whose gold cannot be read. tokens
is the mean length of the rollouts that have one.

Exit status: 0 success, 2 the file is invalid: up to 20 of its bad lines are named, and nothing is written.
"""

MAX_ERRORS = 20
_BATCH = 512
_BATCH_CHARS = 16_000_000


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("profile", help=teach(_HELP))(profile)


def profile(
    rollouts: Annotated[Path, typer.Argument(help="the file; - reads standard input", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="write the data set to this file; - for standard output")
    ] = Path("-"),
    gold_field: GoldField = "gold",
    id_field: IdField = "problem_id",
    answer_format: Annotated[
        Format, typer.Option("--format", "-f", help="answer format of rows without a field 'answer_format'")
    ] = Format.boxed,
    checker: DefaultChecker = None,
    checkers: SourceCheckers = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the summary as one JSON object")] = False,
) -> None:
    """Write the data set, and print a summary: on standard error if the data set is on standard output.

    Raises:
        Exit: with the status in the help text, if it is not 0.
    """
    import asyncio

    from .output import USAGE_ERROR, fail, output_file, prepare_file, print_error, reason

    prepare_file(out)
    try:
        routing = Routing.of_options(checker, checkers)
        reader = RolloutReader(gold_field, id_field, answer_format.value, routing)
        with progress_bars() as progress:
            bar = progress.add_task("reading rollouts", total=_count_lines(rollouts))
            asyncio.run(reader.read(rollouts, lambda count: progress.advance(bar, count)))
    except (OSError, ValueError) as error:
        fail(reason(error))
    if reader.errors:
        for bad in reader.errors:
            print_error(str(bad))
        raise typer.Exit(USAGE_ERROR)
    with output_file(out) as sink:
        for line in reader.profile.lines():
            sink.write(json.dumps(line, ensure_ascii=False) + "\n")
    _print_summary(reader.profile.summary(), as_json, to_stderr=str(out) == "-")


def _count_lines(path: Path) -> int | None:
    """Return the number of lines of a file; None for a pipe."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b"")) or None


class RolloutReader:
    """Reads logged rollouts into `profile`; the errors of their lines are in `errors`, at most `MAX_ERRORS`."""

    def __init__(self, gold_field: str, id_field: str, answer_format: AnswerFormat, routing: Routing) -> None:
        self.profile = Profile()
        self.errors: list[JsonlError] = []
        self._gold_field, self._id_field = gold_field, id_field
        self._answer_format, self._routing = answer_format, routing
        self._waiting: list[tuple[ProblemProfile, int | None, Check]] = []
        self._chars = 0
        self._pool: VerifierPool | None = None
        """Started for the first rollouts that are checked."""

    async def read(self, path: Path, advance: Callable[[int], object]) -> None:
        """Read the whole file. `advance` is called with the number of rows done since the last call.

        Raises:
            OSError: The file cannot be read.
            JsonlError: A line is not a JSON object, or the file has no rows.
        """
        try:
            for row in read_jsonl(path):
                try:
                    self._take(row)
                except JsonlError as error:
                    self.errors.append(error)
                    if len(self.errors) == MAX_ERRORS:
                        return
                if len(self._waiting) >= _BATCH or self._chars >= _BATCH_CHARS:
                    await self._check()
                advance(1)
            await self._check()
        finally:
            if self._pool is not None:
                await self._pool.close()

    async def _check(self) -> None:
        """Check the waiting answers, and count them. After an error of a line only the lines are read."""
        if self._waiting and not self.errors:
            if self._pool is None:
                from deepcompress_verify import VerifierPool

                self._pool = VerifierPool()
                await self._pool.start()
            verdicts = await self._pool.verify_many([check for _, _, check in self._waiting])
            for (problem, tokens, _), verdict in zip(self._waiting, verdicts, strict=True):
                self.profile.count(problem, verdict.correct, verdict.status, tokens)
        self._waiting, self._chars = [], 0

    def _take(self, row: Row) -> None:
        """Count a row with a verdict; keep one with a text until it is checked.

        Raises:
            JsonlError: The row is not valid.
        """
        from deepcompress_verify.verdict import STATUSES

        fields = row.fields
        tokens = tokens_of(row)
        status = fields.get("status")
        if status is not None and status not in STATUSES:
            raise row.error(f"status must be one of {', '.join(STATUSES)}")
        if not isinstance(fields.get("truncated", False), bool):
            raise row.error("truncated must be true or false")
        if "correct" in fields:
            if not isinstance(fields["correct"], bool):
                raise row.error("correct must be true or false")
            self.profile.count(self.profile.add(row, self._id_field), fields["correct"], status, tokens)
            return
        check = self._checked_by(row)
        self._waiting.append((self.profile.add(row, self._id_field), tokens, check))
        self._chars += len(check.response)

    def _checked_by(self, row: Row) -> Check:
        from typing import get_args

        from deepcompress_client.wire import AnswerFormat
        from deepcompress_verify import Check

        response = row.fields.get("response")
        if self._gold_field not in row.fields or not isinstance(response, str):
            raise row.error(f"needs correct, or {self._gold_field} and response")
        chosen = row.fields.get("answer_format") or self._answer_format
        if chosen not in get_args(AnswerFormat):
            raise row.error(f"answer_format must be one of {', '.join(get_args(AnswerFormat))}")
        checker, remote = self._routing.of(row)
        if remote:
            raise row.error("its checker is remote: log correct, the verdict of the training")
        truncated = bool(row.fields.get("truncated"))
        return Check(gold_of(row, self._gold_field), response, chosen, truncated, checker, options_of(row))


def _print_summary(summary: dict[str, Any], as_json: bool, to_stderr: bool) -> None:
    from .output import clean, console, progress_console

    out = progress_console() if to_stderr else console()
    if as_json:
        out.print(json.dumps(summary, ensure_ascii=False), markup=False, soft_wrap=True)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("data source", overflow="fold")
    for name in ("problems", "rollouts", "pass ratio", "mean tokens", "none correct", "all correct"):
        table.add_column(name, justify="right")
    for name, one in (*summary["data_sources"].items(), ("all", summary)):
        ratio, tokens = one["pass_ratio"], one["mean_tokens"]
        table.add_row(
            Text(clean(name, 60)),
            f"{one['problems']:,}",
            f"{one['rollouts']:,}",
            "–" if ratio is None else f"{ratio:.3f}",
            "–" if tokens is None else f"{tokens:,.0f}",
            f"{one['none_correct']:,}",
            f"{one['all_correct']:,}",
        )
    out.print(table)
    texts = {
        "gold_unreadable": "problems left out: their gold cannot be read",
        "undecided": "undecided rollouts counted as wrong",
        "unchecked": "unchecked rollouts left out",
    }
    for name, text in texts.items():
        if summary[name]:
            out.print(f"{summary[name]:,} {text}", style="yellow")
