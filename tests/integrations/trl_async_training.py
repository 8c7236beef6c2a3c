"""A training of some steps by TRL's asynchronous trainer, as a script: the tiny model, a scripted vLLM, PYTHONPATH
with the clone. Each call of the reward is a line of OUT.calls, and the result is OUT.RANK.json.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from deepcompress_client.integrations.trl import DeepCompressGroupReward
from tests.integrations import scripted_vllm
from tests.integrations.tiny_model import model, problems, tokenizer

scripted_vllm.install()  # also in the process that scores, which imports this file


class Recording(DeepCompressGroupReward):
    """Also writes down each call and its answer, in the process that scores."""

    calls: Path

    async def __call__(self, *args: Any, **kwargs: Any) -> list[float | None]:
        rewards = await super().__call__(*args, **kwargs)
        call = {
            "prompt": kwargs["prompts"][0][-1]["content"],
            "completions": [completion[-1]["content"] for completion in kwargs["completions"]],
            "tokens": [len(ids) for ids in kwargs["completion_ids"]],
            "gold": kwargs["answer"],
            "rewards": rewards,
        }
        with self.calls.open("a") as lines:
            lines.write(json.dumps(call) + "\n")
        return rewards


def main() -> None:
    from trl.experimental.async_grpo import AsyncGRPOConfig, AsyncGRPOTrainer

    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--vllm", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--save-steps", type=int, default=8)
    parser.add_argument("--resume")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    scripted_vllm.without_a_gpu()

    words = tokenizer()
    words.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    words.response_template = {
        "defaults": {"role": "assistant"},
        "start_anchor": "?",
        "fields": {"content": {"close": "<eos>", "content": "text"}},
    }
    folder = asked.out.parent / "model"
    if not folder.exists():
        model().save_pretrained(folder)
        words.save_pretrained(folder)
    rows = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in problems(8)]

    reward = Recording(run=asked.name, url=asked.url, gold="answer", groups_per_step=2, deadline_s=60)
    reward.calls = asked.out.with_suffix(".calls")
    trainer = AsyncGRPOTrainer(
        model=str(folder),
        reward_funcs=reward,
        args=AsyncGRPOConfig(
            output_dir=str(asked.out.parent / "checkpoints"),
            vllm_server_base_url=asked.vllm,
            per_device_train_batch_size=8 // int(os.environ.get("WORLD_SIZE", "1")),
            num_generations=4,
            max_completion_length=12,
            token_budget=0,  # a fixed number of samples in each step: two groups
            max_inflight_tasks=24,
            max_staleness=100,  # none is dropped: a resumed training generates from the first dropped group on
            max_steps=asked.steps,
            save_steps=asked.save_steps,
            learning_rate=1e-2,
            gradient_checkpointing=False,
            use_cpu=True,
            bf16=False,
            report_to=[],
            seed=3,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=words,
    )
    reward.attach(trainer)
    trainer.train(resume_from_checkpoint=asked.resume)
    weights = trainer.accelerator.unwrap_model(trainer.model).state_dict()
    rank = os.environ.get("RANK", "0")
    asked.out.with_suffix(f".{rank}.json").write_text(
        json.dumps(
            {
                "steps": trainer.state.global_step,
                "logs": trainer.state.log_history,
                "weights": scripted_vllm.digest(weights),
                "groups": sorted(trainer._trained_groups),
            }
        )
    )


if __name__ == "__main__":
    main()
