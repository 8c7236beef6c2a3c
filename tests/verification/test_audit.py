"""The audit of a data set: its findings, and its output for scripts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deepcompress_service.cli.app import app
from deepcompress_verify import VerifierPool
from deepcompress_verify.audit import Finding, GoldRow, RolloutRow, audit_golds, audit_rollouts, inspect_gold


def kinds(gold: str) -> set[str]:
    return {kind for kind, _ in inspect_gold(gold)}


@pytest.mark.parametrize(
    "gold",
    ["42", r"\frac{3}{4}", r"2\sqrt{3}", "(2, 5)", r"\{1, 2\}", "x^2+1", "1,000", "$12{,}345$", r"\text{Tuesday}",
     r"\begin{pmatrix}1\\2\end{pmatrix}", r"(-\infty, 3]", "x = 5", r"30^\circ", r"\sum_{k=1}^{10} k", "B",
     "no solution", "New York"],
)  # fmt: skip
def test_ordinary_golds_give_no_findings(gold: str) -> None:
    assert kinds(gold) == set()


@pytest.mark.parametrize("gold", ["", r"\frac{1}{", "(" * 200, "9" * 100_000, "{"])
def test_golds_that_cannot_be_read(gold: str) -> None:
    assert kinds(gold) == {"unreadable"}


@pytest.mark.parametrize(
    "gold",
    [
        "0,5",
        r"(1,200)",
        r"\log 7",
        "3 or 4",
        "The rent for each room is not known to us",
        "the graph is a circle",
        "increasing on the interval",
        "He has 5 apples.\n\n#### 5\nor 6",
    ],
)
def test_golds_that_read_in_two_ways(gold: str) -> None:
    assert "ambiguous" in kinds(gold)


@pytest.mark.parametrize("gold", [r"\int_0^1 x^{x^{x}} dx", r"\sum_{k=1}^{\infty} \frac{\sin(k^2)}{k^3+\ln(k)}"])
def test_golds_that_will_often_be_undecided(gold: str) -> None:
    assert "often_undecided" in kinds(gold)


def test_one_problem_with_two_golds_is_a_conflict() -> None:
    problems = [
        GoldRow("p", ("1",)),
        GoldRow("q", ("2",)),
        GoldRow("p", ("1",)),
        GoldRow("p", ("3",)),
        GoldRow("r", ()),
    ]
    found = list(audit_golds(problems))
    assert [[finding.kind for finding in findings] for findings in found] == [
        [],
        [],
        [],
        ["conflict"],
        ["unreadable"],
    ]


def rollouts(problem: str, gold: str, answers: list[str]) -> list[RolloutRow]:
    return [RolloutRow(problem, (gold,), rf"so \boxed{{{answer}}}") for answer in answers]


def audited(texts: list[RolloutRow], **options: Any) -> list[Finding]:
    async def main() -> list[Finding]:
        pool = VerifierPool(workers=1, cas_workers=0)
        await pool.start()
        try:
            return await audit_rollouts(texts, pool, **options)
        finally:
            await pool.close()

    return asyncio.run(main())


def test_a_key_that_no_rollout_equals_although_they_agree_is_likely_wrong() -> None:
    texts = [
        *rollouts("wrong key", "7", [r"\frac{1}{2}", "0.5", "1/2", "3"]),
        *rollouts("solved", "7", ["7", "8", "8", "8"]),
        *rollouts("no agreement", "7", ["1", "2", "3", "4"]),
        *rollouts("too few", "7", ["1", "1"]),
        *rollouts("gold not readable", r"\frac{", ["1", "1", "1", "1"]),
    ]
    done: list[int] = []
    findings = audited(texts, advance=done.append)
    assert [(finding.kind, finding.problem_id) for finding in findings] == [("likely_wrong", "wrong key")]
    assert "3 of them" in findings[0].detail
    assert sum(done) == len(texts)
    assert [f.problem_id for f in audited(texts, least=2, agreement=0.25)] == ["wrong key", "too few"]


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_exit_status_shows_whether_there_are_errors(tmp_path: Path) -> None:
    fine = written(tmp_path / "fine.jsonl", [{"problem_id": "a", "gold": "1"}, {"gold": 2}, {"gold": ["3", "3.0"]}])
    look = written(tmp_path / "look.jsonl", [{"gold": "0,5"}])
    bad = written(
        tmp_path / "bad.jsonl", [{"problem_id": "a", "gold": "1"}, {"problem_id": "b", "gold": r"\frac{1}{"}]
    )
    broken = written(tmp_path / "broken.jsonl", [{"question": "?"}])
    run = CliRunner().invoke
    assert run(app, ["audit", fine]).exit_code == 0
    assert run(app, ["audit", look]).exit_code == 0
    assert run(app, ["audit", look, "--strict"]).exit_code == 1
    assert run(app, ["audit", bad]).exit_code == 1
    assert run(app, ["audit", broken]).exit_code == 2
    assert run(app, ["audit", str(tmp_path / "none.jsonl")]).exit_code == 2


def test_the_command_finds_likely_wrong_keys_and_writes_json(tmp_path: Path) -> None:
    rows = [
        {"problem_id": "p", "gold": "7", "response": rf"\boxed{{{answer}}}", "tokens": 1}
        for answer in ("8", "8.0", "8")
    ]
    path = written(tmp_path / "rollouts.jsonl", rows)
    result = CliRunner().invoke(app, ["audit", path, "--rollouts", path, "--json"])
    assert result.exit_code == 1
    (finding,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert (finding["kind"], finding["problem_id"], finding["gold"]) == ("likely_wrong", "p", "7")


def test_hostile_golds_do_not_reach_the_terminal_raw(tmp_path: Path) -> None:
    path = written(
        tmp_path / "golds.jsonl", [{"problem_id": "\x1b[2J", "gold": "\x1b]0;x\x07[bold]"}, {"gold": "\ud800"}]
    )
    result = CliRunner().invoke(app, ["audit", path])
    assert result.exit_code in (0, 1)
    assert "\x1b[2J" not in result.stdout
