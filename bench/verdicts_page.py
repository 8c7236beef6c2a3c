"""Write docs/verdicts.md: our verdicts on public grading complaints, beside those of math-verify.

    python bench/verdicts_page.py               both columns; installs math-verify into an environment of its own
    python bench/verdicts_page.py --keep-peer   our column only; math-verify's is kept as the page has it

The rows are in bench/data/public_complaints.jsonl: a gold, an answer (put into a box) or a response, true if they are
equal, and the address of the complaint.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from deepcompress_verify import verify

DATA = Path(__file__).parent / "data" / "public_complaints.jsonl"
PAGE = Path(__file__).parents[1] / "docs" / "verdicts.md"
PEER_SECONDS = 20.0
MAX_SHOWN = 120

HEAD = """# Verdicts on public complaints

People report answers that a grader judged wrongly. This page takes such reports from the issues of math-verify and
of other graders and evaluations, and compares the verdicts of this checker with those of math-verify 0.9.0. Both
columns are measured (`python bench/verdicts_page.py`); a complaint may be about an older version or another grader.

"Equal" is our reading of the complaint, by mathematics, and may differ from the reporter's: the reporter of
`Theta(log log n)` expected yes. Only the verdict `correct` is paid. This checker also has the verdicts `unreadable`
and `no_answer`.

The counts are not the accuracy of either checker: most rows come from math-verify's own issues, and the rules of this
checker were written after reading such reports. [checking.md](checking.md) has the benches on labelled answers.

| | right | pays a wrong answer | misses a right answer |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Complaint:
    """A row of the data."""

    source: str
    kind: str
    gold: str
    right: bool
    """True if the answer is equal to the gold."""
    answer: str | None = None
    response: str | None = None

    @property
    def text(self) -> str:
        """The response."""
        return f"So it is \\boxed{{{self.answer}}}." if self.response is None else self.response


def complaints() -> list[Complaint]:
    """Return the rows of the data."""
    return [Complaint(**json.loads(line)) for line in DATA.read_text().splitlines()]


def ours(row: Complaint) -> str:
    """Return this checker's verdict: `correct` or `wrong`, or another status."""
    answer_format = "boxed" if row.response is None else "final_answer"
    return verify(row.gold, row.text, answer_format=answer_format).status  # type: ignore[arg-type]


def theirs(rows: list[Complaint]) -> list[str]:
    """Return math-verify's verdicts, measured now."""
    from peers import Peer

    verdicts = []
    with Peer() as peer:
        for row in rows:
            verdict = peer.verify(row.gold, row.text, limit_s=PEER_SECONDS)
            said = "correct" if verdict.correct else "wrong"
            verdicts.append(f"no verdict in {PEER_SECONDS:.0f} s" if verdict.killed else said)
    return verdicts


def kept(page: str) -> list[str]:
    """Return math-verify's verdicts as a page has them."""
    return [
        line.removesuffix(" |").split(" | ")[-1].strip("*") for line in page.splitlines() if line.startswith("| [")
    ]


def render(rows: list[Complaint], our: list[str], their: list[str]) -> str:
    """Return the page."""
    lines = [_summary("this checker", rows, our), _summary("math-verify 0.9.0", rows, their)]
    table = ["", "A verdict in bold is wrong. Answers are in a `\\boxed{}`, unless the row has a whole response.", ""]
    table += [
        "| complaint | gold | answer | equal | kind | this checker | math-verify |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, mine, other in zip(rows, our, their, strict=True):
        answer = _code(row.answer) if row.response is None else f"response: {_code(row.response)}"
        cells = [
            f"[{_name(row.source)}]({row.source})",
            _code(row.gold),
            answer,
            "yes" if row.right else "no",
            row.kind,
        ]
        table.append("| " + " | ".join([*cells, _marked(row, mine), _marked(row, other)]) + " |")
    return HEAD + "\n".join(lines + table) + "\n"


def _is_right(row: Complaint, verdict: str) -> bool:
    return not verdict.startswith("no verdict") and (verdict == "correct") == row.right


def _marked(row: Complaint, verdict: str) -> str:
    return verdict if _is_right(row, verdict) else f"**{verdict}**"


def _summary(name: str, rows: list[Complaint], verdicts: list[str]) -> str:
    count: Counter[str] = Counter()
    for row, verdict in zip(rows, verdicts, strict=True):
        paid = verdict == "correct"
        count["right" if _is_right(row, verdict) else "pays" if paid else "misses" if row.right else "none"] += 1
    return f"| {name} | {count['right']} of {len(rows)} | {count['pays']} | {count['misses']} |"


def _code(text: str | None) -> str:
    shown = " ".join((text or "").split())
    shown = shown if len(shown) <= MAX_SHOWN else shown[: MAX_SHOWN // 2] + " … " + shown[-MAX_SHOWN // 2 :]
    return f"`{shown}`".replace("|", "\\|") if shown else "(empty)"


def _name(source: str) -> str:
    match = re.fullmatch(r"https://github\.com/[^/]+/([^/]+)/(?:issues|pull)/([0-9]+)", source)
    return f"{match[1]} {match[2]}" if match else source


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep-peer", action="store_true", help="keep math-verify's column of the page")
    rows = complaints()
    their = kept(PAGE.read_text()) if parser.parse_args().keep_peer else theirs(rows)
    PAGE.write_text(render(rows, [ours(row) for row in rows], their))
    print(*PAGE.read_text().splitlines()[10:15], sep="\n")


if __name__ == "__main__":
    main()
