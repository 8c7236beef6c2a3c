"""The findings of `deepcompress audit`, as lines of the corpus."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from corpus.recorder import Row

AUDITED = (
    "42",
    "\\frac{3}{4}",
    "\\frac{",
    "(1, 2)",
    "x^2 + 1",
    "1,234",
    "\\text{Tuesday}",
    "",
    "1.5\\times 10^3",
    "[0,1)",
)


def audit(folder: Path) -> Iterator[Row]:
    """Yield the findings of `deepcompress audit` as lines of the corpus."""
    golds = folder / "golds.jsonl"
    rollouts = folder / "rollouts.jsonl"
    rows: list[Row] = [{"problem_id": f"p{place}", "gold": gold} for place, gold in enumerate(AUDITED)]
    rows.append({"problem_id": "p0", "gold": "another"})
    golds.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = [{"problem_id": f"p{p}", "response": f"\\boxed{{{7 + p}}}"} for p in range(4) for _ in range(4)]
    rollouts.write_text("".join(json.dumps(row) + "\n" for row in answers))
    for name, options in (("golds", []), ("rollouts", ["--rollouts", str(rollouts)])):
        command = [sys.executable, "-m", "deepcompress_service", "audit", str(golds), *options, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        findings = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        yield {
            "name": f"audit/{name}",
            "method": "CLI",
            "path": "deepcompress audit",
            "route": "deepcompress audit",
            "strategy": None,
            "headers": {},
            "body": {"golds": rows, "rollouts": answers if options else None},
            "status": done.returncode,
            "content_type": None,
            "retry_after": None,
            "answer": findings,
            "error": None,
        }
