"""A GRPO training of some steps with a tiny random model, as a script: run alone or by torchrun, with the clone in
PYTHONPATH. The arguments and the results of the reward, and the log, go to OUT.RANK.json, and each call at once to
OUT.RANK.calls, which a killed training leaves.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from deepcompress_client.integrations.trl import DeepCompressReward
from deepcompress_client.integrations.trl_sampler import curriculum_sampler
from tests.integrations.tiny_model import model, problems, tokenizer

# transformers 4 loads the optimizer of a process of several to "cpu:0", which torch knows as "cpu".
torch.serialization.register_package(
    5, lambda storage: None, lambda storage, place: storage if place.startswith("cpu:") else None
)


class Recording(DeepCompressReward):
    """Also writes down each call and its answer."""

    calls: list[dict[str, Any]]
    file: Path
    undecided: bool

    def _verify(self, *args: Any) -> list[Any]:
        rows = super()._verify(*args)
        if self.undecided:
            rows[0] = dataclasses.replace(rows[0], correct=False, status="undecided")
        return rows

    def __call__(self, *args: Any, **kwargs: Any) -> list[float | None]:
        trainer = self._trainer()  # type: ignore[misc]
        rewards = super().__call__(*args, **kwargs)
        self.calls.append(
            {
                "training": trainer.model.training,
                "step": kwargs["trainer_state"].global_step,
                "prompts": kwargs["prompts"],
                "completions": kwargs["completions"],
                "tokens": [len(ids) for ids in kwargs["completion_ids"]],
                "size": trainer.num_generations
                if trainer.model.training
                else getattr(trainer, "num_generations_eval", trainer.num_generations),
                "gold": kwargs["answer"],
                "rewards": rewards,
                "logs_metrics": "log_metric" in kwargs,
            }
        )
        with self.file.open("a") as file:
            file.write(json.dumps(self.calls[-1]) + "\n")
        return rewards


class CurriculumTrainer(GRPOTrainer):  # type: ignore[misc]
    """A trainer whose problems the service chooses, as on the page of curricula."""

    chosen_by: DeepCompressReward

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        return curriculum_sampler(self.chosen_by, self)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--save-steps", type=int, default=2)
    parser.add_argument("--per-device", type=int, default=8)
    parser.add_argument("--resume")
    parser.add_argument("--eval", action="store_true")
    parser.add_argument("--deadline", type=float, default=60.0)
    parser.add_argument("--keep-steps", type=int, default=64)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--continue-from")
    parser.add_argument("--undecided", action="store_true", help="each batch's first verdict is undecided")
    parser.add_argument("--curriculum", action="store_true", help="the service chooses the problems")
    asked = parser.parse_args()
    torch.set_num_threads(1)

    reward = Recording(
        run=asked.name,
        url=asked.url,
        gold="answer",
        deadline_s=asked.deadline,
        fresh=asked.fresh,
        continue_from=asked.continue_from,
        keep_steps=asked.keep_steps,
    )
    CurriculumTrainer.chosen_by = reward
    reward.calls = []
    rank = int(os.environ.get("RANK", "0"))
    reward.file = asked.out.with_suffix(f".{rank}.calls")
    reward.file.unlink(missing_ok=True)
    reward.undecided = asked.undecided
    # Fields of newer versions of TRL.
    newer = {"num_generations_eval": 2}
    known = {field.name for field in dataclasses.fields(GRPOConfig)}
    trainer = (CurriculumTrainer if asked.curriculum else GRPOTrainer)(
        model=model(),
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=str(asked.out.parent / "checkpoints"),
            per_device_train_batch_size=asked.per_device,
            per_device_eval_batch_size=4,
            gradient_accumulation_steps=1,
            ignore_data_skip=asked.curriculum,
            num_generations=4,
            **{name: value for name, value in newer.items() if name in known},
            max_completion_length=12,
            max_steps=asked.steps,
            learning_rate=1e-3,
            save_steps=asked.save_steps,
            eval_strategy="steps" if asked.eval else "no",
            eval_steps=2,
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            report_to=[],
            seed=3,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(problems(8)),
        eval_dataset=Dataset.from_list(problems(2)) if asked.eval else None,
        processing_class=tokenizer(),
    )
    reward.attach(trainer)
    trainer.train(resume_from_checkpoint=asked.resume)
    advantages = list(getattr(trainer, "_logs", {}).get("advantages", ()))
    logs = [entry for entry in trainer.state.log_history if "reward" in entry or "eval_reward" in entry]
    asked.out.with_suffix(f".{rank}.json").write_text(
        json.dumps({"calls": reward.calls, "logs": logs, "advantages": advantages})
    )


if __name__ == "__main__":
    main()
