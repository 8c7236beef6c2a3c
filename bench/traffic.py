"""Mixed traffic for the load tests: batches of rollouts, some of them hostile, with their expected verdicts.

Rows come from `../shared/data` (load_dev, hostile_dev) if it exists, else from the generator below. The expected
verdict of a row is requested once from an idle service; any other verdict afterwards is wrong.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import httpx
import orjson

from capacity import answers
from hostile_batch import FAMILIES

SHARED = Path(os.environ.get("DEEPCOMPRESS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
MAX_GOLD = 65_536
"""The service's limit on the text of a gold answer."""
FILLER = "Wait, let me check that again. The sum of the roots is the negative of the second coefficient. "


@dataclass(slots=True)
class Row:
    """One rollout, its gold, and its expected verdict."""

    problem: str
    gold: str | list[str]
    response: str
    tokens: int
    truncated: bool
    label: bool | None
    """True if the response is correct, by the label of the row; None without a label."""
    hostile: bool
    status: str = ""
    """Status of the verdict of an idle service."""


@dataclass(slots=True)
class Traffic:
    """All rows, and those whose verdict contradicts their label."""

    problems: list[list[Row]]
    hostile: list[Row]
    source: str
    mislabelled: list[str] = field(default_factory=list)

    def rows(self) -> list[Row]:
        return [row for rows in (*self.problems, self.hostile) for row in rows]

    def groups(self, choice: random.Random, rollouts: int, share: float) -> list[list[Row]]:
        """Return groups of up to 8 rollouts of different problems; `share` of them are hostile, of one row each."""
        size = min(8, rollouts)
        found = []
        for _ in range(max(1, rollouts // size)):
            if choice.random() < share:
                found.append([choice.choice(self.hostile)] * size)
            else:
                found.append(choice.sample(choice.choice(self.problems), size))
        return found

    async def learn(self, client: httpx.AsyncClient) -> None:
        """Request every row's verdict once, a few at a time, and compare it with the row's label."""
        rows = self.rows()
        for start in range(0, len(rows), 32):
            part = rows[start : start + 32]
            items = [{"gold": r.gold, "response": r.response, "truncated": r.truncated} for r in part]
            answer = await client.post("/v1/verify", content=encoded({"items": items}))
            answer.raise_for_status()
            for row, verdict in zip(part, answer.json()["verdicts"], strict=True):
                row.status = verdict["status"]
                if row.label is not None and row.label != verdict["correct"]:
                    self.mislabelled.append(f"{row.problem} ({row.status})")


def load() -> Traffic:
    """Return the shared rows if they exist, else generated ones."""
    data = SHARED / "data"
    if (data / "load_dev.jsonl.gz").is_file() and (data / "hostile_dev.jsonl.gz").is_file():
        problems: dict[str, list[Row]] = {}
        for one in _read(data / "load_dev.jsonl.gz"):
            row = Row(
                *(one["problem_id"], one["gold"], one["response"], one["tokens"], one["truncated"]),
                label=one["label"] if "nobox" not in one["mode"] and not one["truncated"] else None,
                hostile=False,
            )
            problems.setdefault(row.problem, []).append(row)
        hostile = []
        for one in _read(data / "hostile_dev.jsonl.gz"):
            label = {"false": False, "fast-false": False, "fast-true": True}.get(one["must"])
            gold, response = one["gold"], one["response"].replace("@MARKERS@", "/nonexistent")
            judged = None if "policy" in one else label
            if len(gold) > MAX_GOLD:
                continue  # a 413 by design: golds are the caller's
            hostile.append(Row(one["id"], gold, response, max(1, len(response) // 4), False, judged, True))
        return Traffic(list(problems.values()), hostile + _costly(), "load_dev, hostile_dev and costly families")
    return Traffic(_made_up(), _made_up_hostile() + _costly(), "generated rows (no ../shared/data)")


def _costly() -> list[Row]:
    """Return rows of the families that cost most (bench/costly_answers.py, bench/hostile_batch.py)."""
    return [
        Row(f"costly {family} {n}", gold, f"So \\boxed{{{answer}}}", 100, False, None, True)
        for family, make in FAMILIES.items()
        if family != "spinning"
        for n in range(8)
        for gold, answer in [make(n)]
    ]


def encoded(body: dict[str, Any]) -> bytes:
    """Return a request's body. Some hostile rows have lone surrogates, which only the slow encoder accepts."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return json.dumps(body).encode()


def _read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _made_up() -> list[list[Row]]:
    choice = random.Random(7)
    problems = []
    for number in range(128):
        gold, _ = answers(choice)
        rows = []
        for _ in range(16):
            tokens = int(choice.lognormvariate(7.8, 0.5))
            text = (FILLER * (4 * tokens // len(FILLER) + 1))[: 4 * tokens]
            answer = gold if choice.random() < 0.5 else answers(choice)[1]
            rows.append(Row(f"p{number}", gold, f"{text} \\boxed{{{answer}}}", tokens, False, None, False))
        problems.append(rows)
    return problems


def _made_up_hostile() -> list[Row]:
    nested = 3000
    texts = {
        "power": r"\boxed{9^{9^{9^{9^{9}}}}}",
        "factorial": r"\boxed{(((99999!)!)!)!}",
        "digits": r"\boxed{" + "7" * 100_000 + "}",
        "parentheses": r"\boxed{" + "(" * nested + "42" + ")" * nested + "}",
        "fractions": r"\boxed{" + r"\frac{1}{" * nested + "1" + "}" * nested + "}",
        "unclosed": r"\boxed{" * nested,
        "matrix": r"\boxed{\begin{pmatrix}" + "1&" * 20_000 + r"1\end{pmatrix}}",
        "inject": r"\boxed{__import__('os').system('id')}",
        "lambda": r"\boxed{(lambda: ().__class__.__base__.__subclasses__())()}",
        "surrogates": "\\boxed{4\u202e2\x00\ufffe}",
        "commas": r"\boxed{" + "1," * 100_000 + "}",
        "series": r"\boxed{\sum_{k=1}^{10^{10}}\frac{\sin k!}{k^{k}}}",
        "integral": r"\boxed{\int_0^1 \frac{\sin(x^x)}{\ln(1+\sqrt{x^{\pi}})} dx}",
        "equations": r"\boxed{x=42=43=41}",
        "long": FILLER * 40_000 + r"\boxed{41}",
    }
    return [
        Row(f"hostile-{name}", "42", text, len(text) // 4 + 1, False, False, True) for name, text in texts.items()
    ]


# --- checks of the answers --------------------------------------------------------------------------------


@dataclass(slots=True)
class Findings:
    """Counts of the faults."""

    wrong: Counter[str] = field(default_factory=Counter)
    """Number of wrong verdicts, levels and rewards, by kind."""
    undecided: int = 0
    """Number of rows that are undecided in only one of the two: under load, or in the idle service."""
    examples: list[str] = field(default_factory=list)

    def note(self, kind: str, text: str) -> None:
        self.wrong[kind] += 1
        if len(self.examples) < 10:
            self.examples.append(f"{kind}: {text}")

    def verdicts(self, rows: Sequence[Row], verdicts: Sequence[dict[str, Any]]) -> None:
        for row, verdict in zip(rows, verdicts, strict=True):
            if verdict["status"] == row.status:
                continue
            if "undecided" in (verdict["status"], row.status):
                self.undecided += 1
            else:
                self.note("verdict", f"{row.problem} is {verdict['status']}, was {row.status}")

    def group(self, group: dict[str, Any], tokens: Sequence[int]) -> None:
        """Compare the rewards with the paper's (release mode, alpha 0.2), from the answer's level and verdicts."""
        correct = group["correct"]
        share = sum(correct) / len(correct)
        beta = share - group["level"]
        mean, spread = fmean(tokens), pstdev(tokens)
        for place, right in enumerate(correct):
            z = (tokens[place] - mean) / spread if spread else 0.0
            paid = right and 0 < share < 1
            must = (1.0 if right else -1.0) + (0.2 / (1 + math.exp(beta * z)) if paid else 0.0)
            if not math.isclose(group["rewards"][place], must, abs_tol=1e-9):
                self.note("reward", f"{group['group_id']}: {group['rewards'][place]} instead of {must}")
                return


def next_level(level: float, groups: Sequence[dict[str, Any]]) -> float:
    """Return the level after a step of these groups, without those whose gold is unreadable."""
    shares = [g["pass_ratio"] for g in groups if any(g["trainable"]) or not _unreadable(g)]
    return 0.99 * level + 0.01 * fmean(shares) if shares else level


def _unreadable(group: dict[str, Any]) -> bool:
    return all(verdict["status"] == "gold_unreadable" for verdict in group.get("verdicts", [{"status": ""}]))
