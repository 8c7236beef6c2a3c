"""Settings, intervals, pictures and models: the smaller pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deepcompress_client import Client
from deepcompress_trainer import checkpoint
from deepcompress_trainer.__main__ import main
from deepcompress_trainer.config import TrainConfig, learning_rate_at, load, parse, shipped, start_checkpoint
from deepcompress_trainer.evaluate import mean_and_half_width, wilson
from deepcompress_trainer.model import Policy, load_policy, on_cpu
from deepcompress_trainer.plot import families, read_run
from deepcompress_trainer.rewards import run_settings
from deepcompress_trainer.sft import CHAIN_CURRICULUM, chain_pairs, learn
from deepcompress_trainer.train import Example, micro_batches_of, split


@pytest.mark.parametrize("name", shipped())
def test_shipped_configurations_load(name: str) -> None:
    assert load(name, {}).name == name


def test_the_service_takes_the_rewards_of_every_shipped_configuration(service_url: str) -> None:
    with Client(service_url) as client:
        for name in shipped():
            client.run(f"accepted-{name}", next_step=0, **run_settings(load(name, {})))


def test_flags_win_over_the_file_and_reach_into_mappings(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("learning_rate: 1e-4\nsteps: 5\nstrategy: {name: deepcompress, alpha: 0.1}\n")
    config = load(str(file), {"steps": "7", "strategy.alpha": "0.5", "overlong.max_tokens": "90"})
    assert (config.name, config.steps, config.learning_rate) == ("mine", 7, 1e-4)
    assert config.strategy == {"name": "deepcompress", "alpha": 0.5}
    assert config.overlong == {"max_tokens": 90}


def test_flags_alone_are_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[TrainConfig, bool]] = []
    asked: list[str | None] = []

    class Stand:
        """In the trainer's place: keeps what it was made with."""

        main = False

        def __init__(self, config: TrainConfig, client: Client, *, resume: bool) -> None:
            seen.append((config, resume))

        def run(self) -> None: ...

    monkeypatch.setattr("deepcompress_trainer.__main__.Client", asked.append)
    monkeypatch.setattr("deepcompress_trainer.__main__._say_where_no_service_is", lambda url: None)
    monkeypatch.setattr("deepcompress_trainer.train.Trainer", Stand)
    words = ["--out", str(tmp_path), "--data", "chain", "--service-url", "http://there:1", "--resume"]
    words += ["--strategy.alpha=0.5", "--chat", "true"]
    assert main(words) == 0
    ((config, resume),) = seen
    assert (config.data, config.chat, config.strategy["alpha"]) == ("chain", True, 0.5)
    assert asked == ["http://there:1"] and resume
    for wrong in ([], ["--steps"], ["tiny", "another", "--out", str(tmp_path)]):
        with pytest.raises(SystemExit):
            main(wrong)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, "no such setting: stepz"),
        ({"steps": "many"}, "steps"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"filter_metric": "accuracy"}, "acc, reward, none"),
        ({"filter_metric": "none", "max_generation_batches": 2}, "max_generation_batches"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(values)


def test_the_shipped_start_is_small_and_knows_the_task() -> None:
    size = sum(file.stat().st_size for file in start_checkpoint().iterdir())
    assert size < 2_000_000
    policy = load_policy(start_checkpoint())
    assert policy.decode(policy.encode_prompt("3 c +8 =", chat=False)) == "3 c +8 ="


def test_a_gpu_that_was_asked_for_by_name_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert on_cpu("auto") and on_cpu("cpu")
    with pytest.raises(ValueError, match="cuda"):
        on_cpu("cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert (on_cpu("auto"), on_cpu("cuda"), on_cpu("cpu")) == (False, False, True)


def test_prompts_go_through_the_chat_template_where_asked() -> None:
    policy = load_policy(start_checkpoint())
    policy.tokenizer.chat_template = (
        "{% for m in messages %}a {{ m.content }} {% endfor %}{% if add_generation_prompt %}b{% endif %}"
    )
    chat, plain = (policy.encode_prompt("3 c +8 =", chat=chat) for chat in (True, False))
    assert policy.decode(chat) == "a 3 c +8 = b"
    assert policy.decode(plain) == "3 c +8 ="


def test_warm_up_lowers_the_loss(untrained: Policy, capsys: pytest.CaptureFixture[str]) -> None:
    import copy
    import random

    policy = Policy(copy.deepcopy(untrained.model), untrained.tokenizer, untrained.end_ids, untrained.pad_id)
    rng = random.Random(0)
    batches = (chain_pairs(CHAIN_CURRICULUM[0], 16, rng) for _ in range(30))
    learn(policy, iter(batches), steps=30, learning_rate=3e-3, chat=False, report_every=29)
    losses = [float(line.split()[3]) for line in capsys.readouterr().out.splitlines()]
    assert losses[-1] < losses[0] - 0.5


def test_a_folder_without_a_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileNotFoundError):
        load_policy(tmp_path / "nothing")
    with pytest.raises(SystemExit):
        main(["--model", str(tmp_path / "nothing"), "--out", str(tmp_path)])
    assert "no model at" in capsys.readouterr().err


def test_intervals() -> None:
    assert mean_and_half_width([0.0, 1.0, 0.0, 1.0]) == pytest.approx((0.5, 1.96 * 0.57735 / 2), rel=1e-4)
    low, high = wilson(10, 10)
    assert high == 1.0 and 0.7 < low < 0.73


def test_minibatches_hold_whole_groups() -> None:
    from deepcompress_trainer.generate import Rollout

    def example(tokens: int, of: int) -> Example:
        return Example([of], Rollout([9] * tokens, [0.0] * tokens, truncated=False), 1.0, [0.0] * tokens)

    batch = [[example(5, of) for _ in range(4)] for of in range(7)]
    parts = list(split(batch, 3))
    assert sorted(len(part) for part in parts) == [8, 8, 12]
    groups = [{e.prompt_ids[0] for e in part} for part in parts]
    assert sum(len(group) for group in groups) == 7
    assert list(split(batch[:2], 3)) == batch[:2]
    micros = micro_batches_of([example(n, 0) for n in (30, 3, 8, 30)], 40)
    assert [[e.rollout.tokens for e in micro] for micro in micros] == [[3, 8], [30], [30]]


def test_the_learning_rate_warms_up_stays_and_falls_where_it_is_told_to() -> None:
    steady = TrainConfig(learning_rate=1.0, warmup_steps=4)
    assert [learning_rate_at(steady, step) for step in (0, 1, 3, 4, 500)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    falling = TrainConfig(learning_rate=1.0, warmup_steps=0, decay_steps=10, steps=10)
    assert [learning_rate_at(falling, step) for step in (0, 5, 9, 10, 12)] == pytest.approx([1.0, 0.5, 0.1, 0.0, 0.0])
    with pytest.raises(ValueError, match="decay_steps"):
        TrainConfig(steps=20, decay_steps=10)


def run_folder(tmp_path: Path, name: str, seed: int, **changes: Any) -> Path:
    config = TrainConfig(**{"name": name, "seed": seed, "out": str(tmp_path), **changes})
    config.folder.mkdir()
    checkpoint.write_settings(config)
    row = {"level": 0.9, "length_share": None, "entropy": 0.5, "groups_kept": 3, "groups_drawn": 4}
    (config.folder / "metrics.jsonl").write_text("".join(json.dumps({"step": s, **row}) + "\n" for s in range(4)))
    bins = {bin_name: {"sampled": 0.1 * seed + 0.2, "tokens": 20.0} for bin_name in ("all", "easy", "hard")}
    (config.folder / "evals.jsonl").write_text(
        "".join(json.dumps({"step": s, "bins": bins, "samples": []}) + "\n" for s in (-1, 3))
    )
    return config.folder


def test_seeds_of_the_same_settings_are_one_line_of_the_picture(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path, f"a{seed}", seed) for seed in range(3)]
    folders.append(run_folder(tmp_path, "b", 0, filter_metric="reward"))
    grouped = families(read_run(folder) for folder in folders)
    assert {label: len(runs) for label, runs in grouped.items()} == {
        "filter_metric=acc": 3,
        "filter_metric=reward": 1,
    }
    assert main(["plot", *map(str, folders), "--out", str(tmp_path / "p.png")]) == 0
    assert (tmp_path / "p.png").stat().st_size > 10_000
