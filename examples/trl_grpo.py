"""GRPO with TRL on a file of problems, rewarded by deepcompress.

    deepcompress serve &
    python examples/trl_grpo.py --data train.jsonl --model Qwen/Qwen2.5-0.5B-Instruct --run my-run
    accelerate launch examples/trl_grpo.py ...                      # several GPUs
    python examples/trl_grpo.py ... --resume                        # after a crash, with the difficulty state

Rows are ``{"question": ..., "answer": ...}``; an answer may end in ``#### N`` (GSM8K). The preset ``compress``
shortens the answers to problems that the policy has mastered; ``authors`` is DeepCompress as its authors run it
(docs/strategies.md#presets).
"""

from __future__ import annotations

import argparse

from datasets import Dataset, load_dataset
from trl import GRPOConfig, GRPOTrainer

from deepcompress_client.integrations.trl import DeepCompressReward
from deepcompress_client.presets import fading, names

INSTRUCTION = "\nThink step by step, and put the final answer in \\boxed{}."


def problems(path: str, chat: bool) -> Dataset:
    """Return prompts and gold answers."""

    def row(one: dict[str, str]) -> dict[str, object]:
        asked = one["question"] + INSTRUCTION
        prompt = [{"role": "user", "content": asked}] if chat else asked
        return {"prompt": prompt, "answer": one["answer"].rpartition("####")[2].strip()}

    rows = load_dataset("json", data_files=path, split="train")
    return rows.map(row, remove_columns=[name for name in rows.column_names if name != "answer"])


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--run", required=True, help="the run's name in the service")
    parser.add_argument("--out", default="trl-output")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--preset", default="compress", choices=names(), help="the settings of the length reward")
    parser.add_argument("--level", type=float, default=0.5, help="for authors: the model's pass ratio at the start")
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=1024)
    parser.add_argument("--plain", action="store_true", help="prompts as text, for models without a chat template")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--resume", action="store_true")
    asked = parser.parse_args()

    if asked.preset == "compress":
        settings = {"length_weight": fading(3.0, asked.steps)}  # the last steps train on the outcome alone
    else:  # the level follows the pass ratio within the run
        settings = {"strategy": {"initial_level": asked.level, "ema": max(0.5, 1 - 5 / asked.steps)}}
    # The service's address: DEEPCOMPRESS_URL, else http://127.0.0.1:8321.
    reward = DeepCompressReward(run=asked.run, gold="answer", preset=asked.preset, **settings)
    trainer = GRPOTrainer(
        model=asked.model,
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=asked.out,
            max_steps=asked.steps,
            num_generations=asked.generations,
            per_device_train_batch_size=asked.generations,
            max_completion_length=asked.max_tokens,
            scale_rewards="none" if asked.preset == "compress" else "group",
            save_steps=50,
            logging_steps=1,
            use_cpu=asked.cpu,
            bf16=not asked.cpu,
            report_to=[],
        ),
        train_dataset=problems(asked.data, chat=not asked.plain),
    )
    reward.attach(trainer)
    trainer.train(resume_from_checkpoint=asked.resume or None)


if __name__ == "__main__":
    main()
