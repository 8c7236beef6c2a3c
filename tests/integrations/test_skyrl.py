"""SkyRL 0.4.0's own generator, environment and preparation of a batch, against a live service. Only its inference
engine, which needs a GPU, is a stand-in.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deepcompress_client import Client

from . import live, reference

pytest.importorskip("skyrl", reason="needs SkyRL: python tests/integrations/run_real.py skyrl")

from skyrl.train.config import GeneratorConfig, SkyRLGymConfig
from skyrl.train.generators.skyrl_gym_generator import SkyRLGymGenerator
from skyrl.train.generators.utils import prepare_generator_input
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from deepcompress_client.integrations.skyrl import shaped

WORDS = ["<pad>", "<eos>", "<unk>", "\\boxed{7}", "\\boxed{8}", "so", "what", "who"]
EOS, RIGHT, WRONG, FILLER = 1, 3, 4, 5
Group = list[reference.Rollout]
STEPS: list[list[Group]] = [
    [[(True, 4), (False, 9), (True, 8), (False, 3)], [(True, 3), (True, 12), (False, 5), (True, 6)]],
    [[(True, 5), (True, 9), (True, 7), (False, 3)], [(False, 3), (True, 12), (False, 5), (False, 6)]],
]


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = "{% for message in messages %}{{ message['content'] }} <eos> {% endfor %}"
    return made


class Engine:
    """The inference engine: each sample gets the response that was set for its session."""

    model_name = "tiny"

    def __init__(self, words: PreTrainedTokenizerFast) -> None:
        self.words = words
        self.responses: dict[str, reference.Rollout] = {}

    async def generate(self, input_batch: Any, model: str | None = None) -> dict[str, Any]:
        (session,) = input_batch["session_ids"]
        correct, tokens = self.responses[session]
        await asyncio.sleep(0.002 * (tokens % 3))
        ids = [FILLER] * (tokens - 2) + [RIGHT if correct else WRONG, EOS]
        text = self.words.decode(ids, skip_special_tokens=True)
        return {"responses": [text], "response_ids": [ids], "stop_reasons": ["stop"]}

    async def finish_session(self, *_: Any, **__: Any) -> None: ...


class Trainer:
    """As much of SkyRL's trainer as prepares a batch and calls the generator."""

    def __init__(self, url: str, run: str, **more: Any) -> None:
        words = tokenizer()
        self.engine = Engine(words)
        config = GeneratorConfig(max_input_length=64)
        config.sampling_params.max_generate_length = 32
        self.generator = shaped(SkyRLGymGenerator, run=run, url=url, **more)(
            generator_cfg=config,
            skyrl_gym_cfg=SkyRLGymConfig(max_env_workers=0),
            inference_engine_client=self.engine,
            tokenizer=words,
        )

    def generate(self, step: int, groups: list[Group], phase: str = "train", golds: Any = "7") -> dict[str, Any]:
        prompts = [
            {
                "prompt": [{"role": "user", "content": ("what", "who")[number]}],
                "env_class": "gsm8k",
                "env_extras": {"reward_spec": {"method": "rule", "ground_truth": golds}},
                "uid": str(number),
            }
            for number in range(len(groups))
        ]
        batch, uids = prepare_generator_input(prompts, len(groups[0]), None, "gsm8k", phase, step)
        flat = [rollout for group in groups for rollout in group]
        for one, rollout in zip(batch["trajectory_ids"], flat, strict=True):
            self.engine.responses[f"{one.instance_id}_{one.repetition_id}"] = rollout
        output = asyncio.run(self.generator.generate(batch, disable_tqdm=True))
        assert len(uids) == len(output["response_ids"])
        return output


def rewards(output: dict[str, Any]) -> list[float]:
    """The reward of each trajectory, as SkyRL sums it."""
    return [sum(one) if isinstance(one, list) else one for one in output["rewards"]]


def test_a_training_and_its_evaluation(service: live.Service, run: str) -> None:
    trainer, level = Trainer(service.url, run), 1.0
    for step, groups in enumerate(STEPS, 1):  # SkyRL counts its steps from 1
        output = trainer.generate(step, groups)
        level = reference.next_level(level, groups)
        expected = [reward for group in groups for reward in reference.rewards(group, level)]
        assert rewards(output) == pytest.approx(expected, abs=1e-9)
        assert [sum(mask) for mask in output["loss_masks"]] == [tokens for group in groups for _, tokens in group]
        evaluated = trainer.generate(step, groups, phase="eval")
        assert rewards(evaluated) == [float(correct) for group in groups for correct, _ in group]
    history = Client(service.url).run(run, join=True).history().steps
    assert [(entry.step, entry.groups) for entry in history] == [(1, 2), (2, 2)]


def test_a_restarted_job_goes_back_to_the_step_where_it_resumes(
    service: live.Service, run: str, tmp_path: Path
) -> None:
    first = Trainer(service.url, run, folder=tmp_path)
    outputs = [first.generate(step, groups) for step, groups in enumerate(STEPS, 1)]
    again = Trainer(service.url, run, folder=tmp_path)  # it crashed after step 2; its checkpoint is of step 1
    assert rewards(again.generate(2, STEPS[1])) == rewards(outputs[1])
    history = Client(service.url).run(run, join=True).history().steps
    assert [entry.step for entry in history] == [1, 2]
    with pytest.raises(Exception, match="epoch-mismatch"):
        first.generate(3, STEPS[0])


def test_what_must_not_be_trained_on_has_an_empty_loss_mask(service: live.Service, run: str) -> None:
    output = Trainer(service.url, run).generate(1, STEPS[0], golds="\\frac{1}{")
    assert [sum(mask) for mask in output["loss_masks"]] == [0] * 8


def test_rollouts_of_several_golds_are_no_group(service: live.Service, run: str) -> None:
    trainer = Trainer(service.url, run)
    prepare = trainer.generator._shaping.apply

    async def apply(batch: Any, output: Any, words: Any) -> None:
        batch["env_extras"][2]["reward_spec"] = {"ground_truth": "8"}
        await prepare(batch, output, words)

    trainer.generator._shaping.apply = apply
    with pytest.raises(ValueError, match="2 different pairs of prompt and gold"):
        trainer.generate(1, STEPS[0])


def test_a_row_without_a_gold_is_an_error(service: live.Service, run: str) -> None:
    with pytest.raises(Exception, match=r"ground_truth|reward_spec"):
        Trainer(service.url, run).generate(1, STEPS[0], golds=None)


def test_trouble_on_the_way_changes_nothing_and_counts_nothing_twice(service: live.Service, run: str) -> None:
    with live.trouble(service) as between:
        trainer, level = Trainer(between.url, run), 1.0
        between.faults = ["503", "unanswered", "lost", "restart", "unanswered", "503"]
        for step, groups in enumerate(STEPS, 1):
            level = reference.next_level(level, groups)
            expected = [reward for group in groups for reward in reference.rewards(group, level)]
            assert rewards(trainer.generate(step, groups)) == pytest.approx(expected, abs=1e-9)
    history = Client(service.url).run(run, join=True).history().steps
    assert [(entry.step, entry.groups) for entry in history] == [(1, 2), (2, 2)]


def test_a_service_that_stays_away_stops_the_step_within_the_deadline(service: live.Service, run: str) -> None:
    with live.trouble(service.url) as between:
        trainer = Trainer(between.url, run, deadline_s=2)
        between.faults = ["503"] * 100
        with pytest.raises(Exception, match=r"503|overloaded"):
            trainer.generate(1, STEPS[0])
