"""A rewarded TRL training on a CPU, in minutes: the shipped start model on chains of arithmetic.

    deepcompress serve &
    python examples/trl_tiny.py                  # with the length reward
    python examples/trl_tiny.py --outcome        # without, to compare

Needs TRL and, from a clone of this repository, `pip install .`: the start model and its problems are in the package.
"""

from __future__ import annotations

import argparse
from importlib.resources import files

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from deepcompress_client.integrations.trl import DeepCompressReward
from deepcompress_trainer.task import chain_rows

STEPS = 60


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outcome", action="store_true", help="no length reward")
    asked = parser.parse_args()

    model = str(files("deepcompress_trainer") / "start")
    rows = chain_rows(2_000, operations=(1, 8), seed=1)
    data = Dataset.from_list([{"prompt": row["prompt"], "answer": row["gold"]} for row in rows])

    # The level starts near the model's own pass ratio, and lambda fits the number of steps: 1 - 5/60.
    strategy = {"name": "deepcompress", "mode": "paper", "initial_level": 0.5, "ema": 0.92}
    reward = DeepCompressReward(
        run="tiny-outcome" if asked.outcome else "tiny-deepcompress",
        gold="answer",
        strategy={"name": "outcome"} if asked.outcome else strategy,
    )
    torch.set_num_threads(1)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir="trl-tiny",
            max_steps=STEPS,
            num_generations=8,
            per_device_train_batch_size=128,
            max_completion_length=100,
            learning_rate=3e-4,
            logging_steps=10,
            save_strategy="no",
            use_cpu=True,
            bf16=False,
            report_to=[],
        ),
        train_dataset=data,
    )
    reward.attach(trainer)
    trainer.train()
    for line in trainer.state.log_history:
        if "reward" in line:
            level, ratio = line["deepcompress/level"], line["deepcompress/batch_pass_ratio"]
            tokens = line["completions/mean_length"]
            print(f"step {line['step']:3}  pass ratio {ratio:.2f}  level {level:.2f}  {tokens:.1f} tokens")


if __name__ == "__main__":
    main()
