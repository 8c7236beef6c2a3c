"""Run a table of the study: every cell with every seed, resumable, results as JSONL.

    python bench/study/run.py official --size cpu --seeds 5 --workers 2
    python bench/study/run.py all      --size gpu --seeds 5 --workers 10
    python bench/study/report.py OUT/*.jsonl                          the tables and pictures of docs/study.md

A run that has its line in OUT/TABLE.jsonl is not run again; one that was interrupted goes on from its checkpoint.
The runs share one service, as trainings of a team would. `--size gpu` first makes its start checkpoint
(about 5 million parameters), once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from cells import COMMON, GPU_START, SIZES, Table, tables

from deepcompress_trainer.embedded import embedded_service


def run_one(out: Path, table: str, cell: str, seed: int, settings: dict[str, Any], url: str) -> dict[str, Any]:
    """One training in a process of its own; its result as a row."""
    name = f"{table}.{''.join(c if c.isalnum() else '-' for c in cell)}.{seed}"
    file = out / "configs" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**settings, "seed": seed, "name": name, "out": str(out / "runs")}))
    command = [sys.executable, "-m", "deepcompress_trainer", str(file), "--service-url", url, "--resume", "--no-plot"]
    began = time.time()
    log = out / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as written:
        subprocess.run(command, check=True, stdout=written, stderr=written)
    folder = out / "runs" / name
    evals = [json.loads(line) for line in (folder / "evals.jsonl").read_text().splitlines()]
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "table": table,
        "cell": cell,
        "seed": seed,
        "settings": settings,
        "evals": [{"step": e["step"], "bins": e["bins"]} for e in evals],
        "mechanism": mechanism(metrics),
        "run": name,
        "wall_s": time.time() - began,
    }


def mechanism(metrics: list[dict[str, Any]]) -> dict[str, list[float | None]]:
    """The diagnostics' means over the first, second and last third of a run."""
    names = [
        "length_share",
        "length_share_some",
        "length_share_all",
        "correct_pushed_down",
        "entropy",
        "clip_share",
        "groups_kept",
        "groups_all",
        "beta_mean",
        "level",
        "accuracy",
        "tokens",
    ]
    third = max(1, len(metrics) // 3)
    parts = (metrics[:third], metrics[third : 2 * third], metrics[2 * third :])
    found: dict[str, list[float | None]] = {}
    for name in names:
        known = [[row[name] for row in part if row.get(name) is not None] for part in parts]
        found[name] = [sum(values) / len(values) if values else None for values in known]
    return found


def plan(table: Table, size: str, seeds: int) -> list[tuple[str, int, dict[str, Any]]]:
    """Seed by seed, so that an interrupted study has whole comparisons."""
    base = {**COMMON, **SIZES[size], **table.common}
    return [(cell, seed, {**base, **changes}) for seed in range(seeds) for cell, changes in table.cells.items()]


def done(file: Path) -> set[tuple[str, int]]:
    if not file.exists():
        return set()
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return {(row["cell"], row["seed"]) for row in rows}


def gpu_start(out: Path) -> str:
    folder = out / "start"
    if not (folder / "model.safetensors").exists():
        command = [sys.executable, "-m", "deepcompress_trainer.sft", "--device", "cuda", "chain", str(folder)]
        command += ["--width", str(GPU_START["width"]), "--layers", str(GPU_START["layers"])]
        subprocess.run(command, check=True)
    return str(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="a table of cells.py, or all")
    parser.add_argument("--size", choices=list(SIZES), default="cpu")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cells", help="only these, separated by commas (a pilot; the report says so)")
    parser.add_argument("--workers", type=int, default=1, help="trainings side by side")
    parser.add_argument("--out", type=Path, default=Path("study"))
    parser.add_argument("--service-url", help="else a service of the study's own is started")
    asked = parser.parse_args()
    known = tables(SIZES[asked.size]["steps"])
    chosen = known if asked.table == "all" else {asked.table: known[asked.table]}
    out = asked.out / asked.size
    out.mkdir(parents=True, exist_ok=True)
    extra = {"model": gpu_start(out)} if asked.size == "gpu" else {}

    def work(url: str) -> None:
        for name, table in chosen.items():
            results = out / f"{name}.jsonl"
            finished = done(results)
            wanted = [
                (cell, seed, {**settings, **extra})
                for cell, seed, settings in plan(table, asked.size, asked.seeds)
                if (cell, seed) not in finished and (not asked.cells or cell in asked.cells.split(","))
            ]
            with ThreadPoolExecutor(asked.workers) as pool:
                rows = pool.map(lambda one: run_one(out, name, one[0], one[1], one[2], url), wanted)  # noqa: B023
                for row in rows:
                    with results.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    last = row["evals"][-1]["bins"]["all"]
                    print(
                        f"{name} / {row['cell']} / seed {row['seed']}: sampled {last['sampled']:.1%}, "
                        f"greedy {last['greedy']:.1%}, {last['tokens']:.1f} tokens, {row['wall_s']:.0f} s",
                        flush=True,
                    )

    if asked.service_url:
        work(asked.service_url)
    else:
        with embedded_service(out / "service") as url:
            work(url)


if __name__ == "__main__":
    main()
