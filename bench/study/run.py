"""Run tables of the study: every cell with every seed, resumable, results as JSONL.

    python bench/study/run.py official reward-filter --size main --seeds 5 --workers 2
    python bench/study/run.py confirmatory --size overthinking --workers 2                  20 seeds
    python bench/study/run.py all --size overthinking overthinking-long --workers 2        the second edition whole
    python bench/study/run.py all --size overthinking-short --seeds 1 --workers 2          all cells, briefly
    python bench/study/run.py all --size gpu --seeds 5 --workers 10
    python bench/study/report.py OUT/SIZE/runs.jsonl                  the tables and pictures of docs/study-tables.md

A run that has its line in OUT/SIZE/runs.jsonl is not run again; one that was interrupted goes on from its
checkpoint; cells of several tables with the same settings are one run. Tables named together are run seed by seed,
so that a study that is stopped has complete comparisons. The runs share one service, as the trainings of a team do.
`--size gpu` first makes its start checkpoint (about 4 million parameters), once.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from cells import GPU_START, SIZES, Table, key_of, settings_of, tables

from deepcompress_client._embedded import embedded_service
from deepcompress_verify.process_lifetime import end_with_parent

Job = tuple[str, int, dict[str, Any]]
"""A run: the first cell that it belongs to ("table / cell"), the seed, the settings."""
CURVE_POINTS = 16


def run_one(out: Path, size: str, job: Job, extra: dict[str, Any], url: str) -> dict[str, Any]:
    """Run one training, in a worker's process; return its result as a row."""
    from deepcompress_client import Client
    from deepcompress_trainer.config import parse
    from deepcompress_trainer.evaluate import Evaluation
    from deepcompress_trainer.train import Trainer

    class Training(Trainer):
        """A training that leaves out the evaluation of the start where it is the same for every run."""

        def evaluate(self, step: int) -> Evaluation | None:
            return None if step < 0 and size.startswith("overthinking") else super().evaluate(step)

    label, seed, settings = job
    name = f"{key_of(settings)}.{seed}"
    config = parse({**settings, **extra, "seed": seed, "name": name, "out": str(out / "runs")})
    log = out / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    began, worked = time.time(), time.process_time()
    with log.open("a") as written, contextlib.redirect_stdout(written), Client(url) as client:
        print(f"{label}, seed {seed}", flush=True)
        Training(config, client, resume=True).run()
    folder = out / "runs" / name
    evals = [json.loads(line) for line in (folder / "evals.jsonl").read_text().splitlines()]
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return {
        "size": size,
        "key": key_of(settings),
        "first_asked_by": label,
        "seed": seed,
        "settings": settings,
        "evals": [{"step": e["step"], "bins": rounded(e["bins"])} for e in evals],
        "mechanism": {name: in_parts(metrics, name, 3) for name in MECHANISM},
        "curves": {name: in_parts(metrics, name, CURVE_POINTS) for name in CURVES},
        "undecided": sum(row["undecided"] for row in metrics),
        "rewards_share": round(
            sum(m["time"]["rewards_s"] for m in metrics) / sum(m["time"]["step_s"] for m in metrics), 4
        ),
        "cpu_s": round(time.process_time() - worked, 1),
        "wall_s": round(time.time() - began, 1),
    }


def run_in_time(
    out: Path, size: str, job: Job, extra: dict[str, Any], url: str, until: datetime | None
) -> dict[str, Any] | None:
    """Run one training, unless that time has passed."""
    if until is not None and datetime.now() > until:
        return None
    return run_one(out, size, job, extra, url)


MECHANISM = (
    "length_share",
    "length_share_some",
    "length_share_all",
    "correct_pushed_down",
    "entropy",
    "entropy_sampled",
    "clip_share",
    "groups_kept",
    "groups_none",
    "groups_some",
    "groups_all",
    "beta_mean",
    "level",
    "accuracy",
    "tokens",
    "truncated",
)
CURVES = ("accuracy", "accuracy_hard", "tokens", "level", "entropy")


def in_parts(metrics: list[dict[str, Any]], name: str, parts: int) -> list[float | None]:
    """Return the means of a metric over equal parts of a run; None where no step of a part has it."""
    found: list[float | None] = []
    for part in range(parts):
        rows = metrics[part * len(metrics) // parts : (part + 1) * len(metrics) // parts]
        known = [row[name] for row in rows if row.get(name) is not None]
        found.append(round(sum(known) / len(known), 5) if known else None)
    return found


def rounded(value: Any) -> Any:
    """Round to six digits, more than an evaluation is accurate to."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def plan(
    chosen: dict[str, Table],
    size: str,
    seeds: int | None = None,
    cells: set[str] | None = None,
    first_seed: int | None = None,
) -> list[Job]:
    """Every different run once, seed by seed; `cells` are the only ones, by CELL or TABLE/CELL.

    Without `seeds` and `first_seed`: those that each table declares.
    """
    jobs: list[Job] = []
    planned: set[tuple[str, int]] = set()
    numbers = {name: table.seeds if seeds is None else seeds for name, table in chosen.items()}
    for number in range(max(numbers.values())):
        for name, table in chosen.items():
            if number >= numbers[name]:
                continue
            seed = number + (table.first_seed if first_seed is None else first_seed)
            for cell in table.cells:
                settings = settings_of(table, cell, size)
                if (key_of(settings), seed) in planned or (
                    cells is not None and not {cell, f"{name}/{cell}"} & cells
                ):
                    continue
                planned.add((key_of(settings), seed))
                jobs.append((f"{name} / {cell}", seed, settings))
    return jobs


def read_rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def gpu_start(out: Path) -> str:
    folder = out / "start"
    if not (folder / "model.safetensors").exists():
        command = [sys.executable, "-m", "deepcompress_trainer.sft", "--device", "cuda", "chain", str(folder)]
        command += ["--width", str(GPU_START["width"]), "--layers", str(GPU_START["layers"])]
        subprocess.run(command, check=True)
    return str(folder)


def overthinking_start(out: Path) -> str:
    folder = out.parent / "overthinking" / "start"  # of all lengths
    if not (folder / "model.safetensors").exists():
        command = [sys.executable, "-m", "deepcompress_trainer.sft", "--device", "cpu", "overthinking", str(folder)]
        subprocess.run(command, check=True)
    return str(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", help="tables of cells.py, or all")
    parser.add_argument(
        "--size", choices=list(SIZES), nargs="+", default=["main"], help="several run one after another"
    )
    parser.add_argument("--seeds", type=int, help="else the number that each table declares")
    parser.add_argument("--first-seed", type=int, help="else the one that each table declares")
    parser.add_argument("--until", type=datetime.fromisoformat, help="begin no seed after this time (ISO 8601)")
    parser.add_argument("--cells", help="only these, CELL or TABLE/CELL, separated by semicolons")
    parser.add_argument("--workers", type=int, default=1, help="trainings side by side")
    parser.add_argument("--eval-every", type=int, help="evaluate more often, for curves; changes no training")
    parser.add_argument("--out", type=Path, default=Path("study"))
    parser.add_argument("--service-url", help="else a service of the study's own is started")
    asked = parser.parse_args()
    for size in asked.size:
        known = tables(size)
        if unknown := set(asked.tables) - {"all", *known}:
            parser.error(f"size {size} has no table {', '.join(sorted(unknown))}: choose from {', '.join(known)}")
        chosen = known if asked.tables == ["all"] else {name: known[name] for name in asked.tables}
        out = asked.out / size
        out.mkdir(parents=True, exist_ok=True)
        with (out / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
            except BlockingIOError:
                parser.error(f"another study is running in {out}: both would train the same runs")
            study(asked, size, chosen, out)


def study(asked: argparse.Namespace, size: str, chosen: dict[str, Table], out: Path) -> None:
    """Execute every run that has no row yet."""
    results = out / "runs.jsonl"
    finished = {(row["key"], row["seed"]) for row in read_rows(results)}
    jobs = plan(chosen, size, asked.seeds, set(asked.cells.split(";")) if asked.cells else None, asked.first_seed)
    wanted = [job for job in jobs if (key_of(job[2]), job[1]) not in finished]
    print(f"{len(jobs)} runs, {len(wanted)} of them to do", flush=True)
    if not wanted:
        return
    extra: dict[str, Any] = {}
    if size == "gpu":
        extra["model"] = gpu_start(out)
    elif size.startswith("overthinking"):
        extra["model"] = overthinking_start(out)
    if asked.eval_every:
        extra["eval_every"] = asked.eval_every

    def work(url: str) -> None:
        # New processes, not forks: CUDA and threads do not survive a fork.
        with ProcessPoolExecutor(
            asked.workers, mp_context=get_context("spawn"), initializer=end_with_parent, initargs=(signal.SIGTERM,)
        ) as pool:
            running = {pool.submit(run_in_time, out, size, job, extra, url, asked.until): job for job in wanted}
            for future in as_completed(running):
                if future.exception():
                    label, seed, _ = running[future]  # the others go on; the same command goes on with this one
                    print(f"FAILED: {label}, seed {seed}: {future.exception()}", flush=True)
                    continue
                row = future.result()
                if row is None:
                    label, seed, _ = running[future]
                    print(f"not begun in time: {label}, seed {seed}", flush=True)
                    continue
                with results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                last = row["evals"][-1]["bins"]["all"]
                print(
                    f"{row['first_asked_by']} / seed {row['seed']}: sampled {last['sampled']:.1%}, "
                    f"greedy {last['greedy']:.1%}, {last['tokens']:.1f} tokens, {row['cpu_s']:.0f} CPU s",
                    flush=True,
                )
            if any(future.exception() for future in running):
                raise SystemExit(1)

    if asked.service_url:
        work(asked.service_url)
    else:
        with embedded_service(out / "service") as url:
            work(url)


if __name__ == "__main__":
    main()
