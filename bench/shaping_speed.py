"""The time to shape one large batch, for each strategy, compared with a plain Python loop.

A batch of 8,192 rollouts (512 groups of 16) is shaped by every strategy: the median CPU time and the best wall time
of several runs (other work on the machine makes wall times longer), beside the plain loop of the tests, which
computes only the rewards: no components, no checks.

    python bench/shaping_speed.py [--groups 512] [--size 16] [--repeats 15] [--limit-ms 60]

Exit status 1 if a strategy takes longer than the limit, in wall time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests are not installed

from rich.console import Console
from rich.table import Table
from tests.shaping.groups import ready
from tests.shaping.plain import PLAIN
from tests.shaping.test_plain import realistic

from deepcompress_client.presets import PRESETS
from deepcompress_service.shaping import ProblemHistory, reward_from_config, strategies
from deepcompress_service.shaping.lengths import LengthRecord

OPTIONS: dict[str, dict[str, Any]] = {
    "gate": {"gate": {"min_pass_ratio": 0.9}},
    "guard of the problem": {"guard": {"of": "problem"}},
    "target": {"target": {}},
    "target with the group's own lengths": {"target": {"current": True, "bonus": 0.2, "bonus_while": "spread"}},
    "gate by the stored ratio": {"gate": {"min_stored": 0.9}},
    "decoupled advantages": {"advantage": {"decouple": True}},
    "whitened advantages": {"advantage": {"decouple": True, "whiten": "batch"}},
}
"""Options of every strategy, as keyword arguments of `reward_from_config`."""


def milliseconds(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median CPU time and the best wall time of a call."""
    cpu, wall = [], []
    for _ in range(repeats):
        began_cpu, began = time.process_time(), time.perf_counter()
        call()
        wall.append((time.perf_counter() - began) * 1e3)
        cpu.append((time.process_time() - began_cpu) * 1e3)
    return median(cpu), min(wall)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=512)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--limit-ms", type=float, default=60.0)
    args = parser.parse_args()

    batch = realistic(args.groups, args.size)
    title = f"{args.groups * args.size:,} rollouts, {args.groups} groups of {args.size}, {args.repeats} runs"
    table = Table(title=title)
    for column in ("strategy", "CPU ms", "best wall ms", "plain loop", "faster"):
        table.add_column(column, no_wrap=True, justify="left" if column == "strategy" else "right")
    slow = []
    for info in strategies():
        reward = reward_from_config({"name": info.name})
        sent = ready(reward, batch)
        reward.shape(sent)
        cpu, wall = milliseconds(lambda r=reward, s=sent: r.shape(s), args.repeats)
        if wall > args.limit_ms:
            slow.append(info.name)
        plain = PLAIN.get(info.name)
        if plain is None:
            table.add_row(info.name, f"{cpu:.1f}", f"{wall:.1f}", "keeps state", "")
            continue
        few = max(3, args.repeats // 3)
        loop, _ = milliseconds(lambda p=plain: [p(g.tokens or (), g.correct, g) for g in batch], few)
        table.add_row(info.name, f"{cpu:.1f}", f"{wall:.1f}", f"{loop:.1f}", f"{loop / cpu:.1f}")
    stored = [
        replace(g, lengths=LengthRecord.of(g.tokens or ()), history=ProblemHistory(16, 15, 0.95)) for g in batch
    ]
    presets = {
        f"preset {preset.id}": {k: v for k, v in preset.run.items() if k not in ("strategy", "outcome")}
        for preset in PRESETS
        if preset.run["strategy"]["name"] == "outcome"
    }
    for label, options in {**OPTIONS, **presets}.items():
        name = "outcome" if label in presets else "kimi_k1.5"
        reward = reward_from_config({"name": name}, **options)
        cpu, wall = milliseconds(lambda r=reward: r.shape(stored), args.repeats)
        table.add_row(label if label in presets else f"{name}, {label}", f"{cpu:.1f}", f"{wall:.1f}", "", "")
    reward = reward_from_config({"name": "kimi_k1.5"})
    shaped = reward.shape(batch)
    cpu, wall = milliseconds(lambda: reward.signal(batch, shaped), args.repeats)
    table.add_row("figures (signal)", f"{cpu:.1f}", f"{wall:.1f}", "", "")
    Console().print(table)
    if slow:
        print(f"over {args.limit_ms:g} ms: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
