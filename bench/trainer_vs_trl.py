"""Rollouts a second: the bundled trainer against TRL's GRPOTrainer.

The same start checkpoint, task, batch (24 problems x 8), update (3 minibatches, every rollout in the loss),
sampling (T = 1, no top-k) and service, on one CPU thread each. The two alternate in the same run, so that
other work on the machine affects both alike. TRL is driven through this project's own adapter.

    python bench/trainer_vs_trl.py --trl-python /path/to/venv/bin/python

The virtual environment needs trl, datasets, httpx and pydantic; its TRL is 1.16 or one that the adapter supports.
Steps are timed from the second on. CPU seconds of the training process are reported beside wall seconds: on a
busy machine they vary less.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROBLEMS, GROUP, MINIBATCHES, MAX_NEW = 24, 8, 3, 150
ROLLOUTS = PROBLEMS * GROUP


def side_ours(url: str, steps: int, run: str, folder: Path) -> list[dict[str, float]]:
    """Train with the bundled trainer: `filter_metric: none` and a batch-wide update, as TRL does."""
    from deepcompress_client import Client
    from deepcompress_trainer.config import TrainConfig
    from deepcompress_trainer.train import Trainer

    config = TrainConfig(
        name=run,
        out=str(folder),
        steps=steps,
        problems_per_step=PROBLEMS,
        group_size=GROUP,
        minibatches=MINIBATCHES,
        max_new_tokens=MAX_NEW,
        filter_metric="none",
        device="cpu",
        eval_problems=1,
    )
    trainer = Trainer(config, Client(url), resume=False)
    times = []
    for step in range(steps):
        wall, cpu = time.perf_counter(), time.process_time()
        metrics = trainer.training_step(step)
        times.append(
            {
                "wall_s": time.perf_counter() - wall,
                "cpu_s": time.process_time() - cpu,
                "tokens": metrics["tokens"],
                "waited_s": metrics["time"]["rewards_s"],
            }
        )
    trainer.run_logger.close()
    return times


def side_trl(url: str, steps: int, run: str, folder: Path, problems: Path) -> list[dict[str, float]]:
    """TRL's GRPOTrainer through the adapter. One generation of 192 rollouts, three optimiser steps on it."""
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from deepcompress_client.integrations.trl import DeepCompressReward

    torch.set_num_threads(1)
    start = str(ROOT / "client" / "deepcompress_trainer" / "start")
    rows = [json.loads(line) for line in problems.read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(start, padding_side="left")
    reward = DeepCompressReward(run, url=url, gold="gold", problem_id="problem_id")
    settings = GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=ROLLOUTS // MINIBATCHES,
        steps_per_generation=MINIBATCHES,
        num_generations=GROUP,
        max_completion_length=MAX_NEW,
        max_steps=steps * MINIBATCHES,
        learning_rate=3e-4,
        beta=0.0,
        epsilon=0.2,
        epsilon_high=0.28,
        loss_type="dapo",
        scale_rewards="group",
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        logging_steps=MINIBATCHES,
        disable_tqdm=True,
    )
    marks: list[tuple[float, float]] = []
    lengths: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            marks.append((time.perf_counter(), time.process_time()))

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % MINIBATCHES == 0:
                marks.append((time.perf_counter(), time.process_time()))

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "completions/mean_length" in logs:
                lengths.append(float(logs["completions/mean_length"]))

    trainer = GRPOTrainer(
        model=start,
        reward_funcs=reward,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[Clock()],
    )
    reward.attach(trainer)
    trainer.train()
    pairs = itertools.pairwise(marks)
    return [
        {"wall_s": b[0] - a[0], "cpu_s": b[1] - a[1], "tokens": lengths[place] if place < len(lengths) else 0.0}
        for place, (a, b) in enumerate(pairs)
    ]


def run_side(side: str, python: str, url: str, steps: int, number: int, folder: Path) -> list[dict[str, float]]:
    out = folder / f"{side}-{number}.json"
    command = [python, __file__, "--side", side, "--url", url, "--steps", str(steps), "--out", str(out)]
    command += [
        "--run",
        f"bench-{side}-{number}",
        "--folder",
        str(folder / side),
        "--problems",
        str(folder / "p.jsonl"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "client")}
    subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
    found: list[dict[str, float]] = json.loads(out.read_text())
    return found[1:]  # the first step warms up


def report(times: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for side, rows in times.items():
        found[side] = {
            "steps": len(rows),
            "rollouts_per_s": ROLLOUTS / statistics.median(row["wall_s"] for row in rows),
            "rollouts_per_cpu_s": ROLLOUTS / statistics.median(row["cpu_s"] for row in rows),
            "mean_tokens": statistics.mean(row["tokens"] for row in rows),
        }
    ours, theirs = found["ours"], found["trl"]
    found["ratio_wall"] = ours["rollouts_per_s"] / theirs["rollouts_per_s"]
    found["ratio_cpu"] = ours["rollouts_per_cpu_s"] / theirs["rollouts_per_cpu_s"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-python", help="the interpreter of a virtual environment with TRL")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5, help="steps of each side in a round, the first not counted")
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    parser.add_argument("--side", choices=["ours", "trl"], help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--problems", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        if asked.side == "ours":
            times = side_ours(asked.url, asked.steps, asked.run, asked.folder)
        else:
            times = side_trl(asked.url, asked.steps, asked.run, asked.folder, asked.problems)
        asked.out.write_text(json.dumps(times))
        return
    if not asked.trl_python:
        parser.error("--trl-python: TRL lives in a virtual environment of its own")

    from deepcompress_client._embedded import embedded_service
    from deepcompress_trainer.data import chain_problems

    times: dict[str, list[dict[str, float]]] = {"ours": [], "trl": []}
    with tempfile.TemporaryDirectory() as name, embedded_service(Path(name) / "service") as url:
        folder = Path(name)
        rows = chain_problems(512, operations=(1, 16), seed=0, held_out=1)
        lines = [{"problem_id": p.problem_id, "prompt": p.prompt, "gold": p.gold} for p in rows]
        (folder / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
        for number in range(asked.rounds):
            times["ours"] += run_side("ours", sys.executable, url, asked.steps, number, folder)
            times["trl"] += run_side("trl", asked.trl_python, url, asked.steps, number, folder)
    found = report(times)
    for side in ("ours", "trl"):
        one = found[side]
        print(
            f"{side:5s} {one['rollouts_per_s']:8.1f} rollouts/s  {one['rollouts_per_cpu_s']:8.1f} per CPU second  "
            f"({one['steps']} steps, mean length {one['mean_tokens']:.1f} tokens)"
        )
    print(f"ratio {found['ratio_wall']:.2f} by the clock, {found['ratio_cpu']:.2f} by CPU time")
    if asked.out:
        asked.out.write_text(json.dumps({**found, "times": times}, indent=1))


if __name__ == "__main__":
    main()
