"""Whole trainings against a real service: the smoke run, the kill, the two processes, the lost store."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from deepcompress_client import Client
from deepcompress_client._embedded import embedded_service
from deepcompress_trainer.__main__ import main
from deepcompress_trainer.config import TrainConfig
from deepcompress_trainer.rewards import Rewards
from deepcompress_trainer.train import Trainer

from ..integrations import live
from ..waiting import eventually

SMALL = {
    "data": "chain",
    "chain_operations": [1, 4],
    "chain_problems": 64,
    "problems_per_step": 4,
    "group_size": 4,
    "max_new_tokens": 40,
    "minibatches": 2,
    "max_generation_batches": 2,
    "filter_metric": "acc",
    "eval_problems": 8,
    "eval_samples": 2,
    "eval_every": 3,
    "save_every": 2,
    "steps": 5,
    "device": "cpu",
}


DOCUMENTED = Path(__file__).parents[2] / "docs" / "trainer.md"


def settings(folder: Path, name: str, **changes: Any) -> TrainConfig:
    return TrainConfig(**{**SMALL, "out": str(folder), "name": name, **changes})


def rows(folder: Path, file: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """The files of a run, without values that depend on the machine's speed."""
    found = [json.loads(line) for line in (folder / file).read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "time"} for row in found]


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(
        folder / "checkpoints" / f"step-{step:06d}" / "model" / "model.safetensors"
    )
    return found


def same_weights(one: Path, other: Path, step: int) -> bool:
    left, right = weights(one, step), weights(other, step)
    return all(torch.equal(left[name], right[name]) for name in left)


def test_five_steps_from_the_command_line_end_in_a_picture(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small = [word for key, value in SMALL.items() for word in (f"--{key}", json.dumps(value).strip('"'))]
    assert main(["tiny", "--embedded", "--out", str(tmp_path), "--name", "smoke", *small]) == 0
    folder = tmp_path / "smoke"
    steps = rows(folder)
    assert [row["step"] for row in steps] == [0, 1, 2, 3, 4]
    assert all(0 < row["level"] <= 1 and row["groups_drawn"] >= 4 for row in steps)
    assert [row["step"] for row in rows(folder, "evals.jsonl")] == [-1, 2, 4]
    assert (folder / "curves.png").stat().st_size > 10_000
    said = capfd.readouterr().out
    assert "before and after" in said and said.count("  before ") == said.count("  after  ") == 1  # the one bin
    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("accuracy/all")] == [0, 1, 2, 3, 4]
    assert [event.step for event in board.Scalars("eval_sampled/all")] == [0, 3, 5]
    with pytest.raises(SystemExit):  # a run that is there is never overwritten unasked
        main(["tiny", "--embedded", "--out", str(tmp_path), "--name", "smoke", *small])


def test_a_killed_and_resumed_run_gives_the_same_numbers_bit_for_bit(tmp_path: Path, service_url: str) -> None:
    whole = settings(tmp_path / "whole", "kill-whole", steps=7)
    Trainer(whole, Client(service_url), resume=False).run()

    killed = settings(tmp_path / "killed", "kill-killed", steps=7)
    (tmp_path / "killed.json").write_text(json.dumps({**SMALL, "steps": 7}))
    command = [sys.executable, "-m", "deepcompress_trainer", str(tmp_path / "killed.json"), "--no-plot"]
    command += ["--out", killed.out, "--name", killed.name, "--service-url"]

    def steps() -> int:
        file = killed.folder / "metrics.jsonl"
        return len(file.read_text().splitlines()) if file.exists() else 0

    # Killed twice: before there is any checkpoint, and in the middle of a later step, which gets no answer.
    with live.trouble(service_url) as between:
        for wanted in (1, 4):

            def hold(path: str, body: bytes, wanted: int = wanted) -> bytes:
                if path in ("/v1/score", "/v1/shape") and steps() >= wanted:
                    between.over.wait()
                return body

            between.alter = hold
            process = subprocess.Popen([*command, between.url, "--resume"], stdout=subprocess.DEVNULL)

            def has_trained(wanted: int = wanted, process: subprocess.Popen[bytes] = process) -> bool:
                assert process.poll() is None
                return steps() >= wanted

            eventually(has_trained, seconds=240)
            process.send_signal(signal.SIGKILL)
            process.wait()
    Trainer(killed, Client(service_url), resume=True).run()

    assert rows(killed.folder) == rows(whole.folder)
    assert rows(killed.folder, "evals.jsonl") == rows(whole.folder, "evals.jsonl")
    assert same_weights(killed.folder, whole.folder, 6)
    client = Client(service_url)
    histories = [client.run(name, join=True).history().steps for name in (whole.name, killed.name)]
    assert histories[0] == histories[1]


@pytest.mark.parametrize(
    "where", ["deepcompress_trainer.model.save_policy", "deepcompress_trainer.train.clipped_loss"]
)
def test_a_crash_after_the_service_has_acknowledged_changes_no_number(
    where: str, tmp_path: Path, service_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a checkpoint is being written (the service has saved its half), and in the middle of an update (the step
    has been counted): both are done again, and count once.
    """
    name = where.rpartition(".")[2]
    whole = settings(tmp_path / "whole", f"whole-{name}", steps=5)
    Trainer(whole, Client(service_url), resume=False).run()

    broken = settings(tmp_path / "broken", f"broken-{name}", steps=5)
    trainer = Trainer(broken, Client(service_url), resume=False)
    left = 2 if name == "save_policy" else 7  # a few calls go well, then the process ends
    honest = getattr(sys.modules[where.rpartition(".")[0]], name)

    def failing(*arguments: Any, **how: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return honest(*arguments, **how)

    with monkeypatch.context() as patched:
        patched.setattr(where, failing)
        with pytest.raises(KeyboardInterrupt):
            trainer.run()
    trainer.run_logger.close()
    Trainer(broken, Client(service_url), resume=True).run()

    assert rows(broken.folder) == rows(whole.folder)
    assert same_weights(broken.folder, whole.folder, 4)
    histories = [Client(service_url).run(one.name, join=True).history().steps for one in (whole, broken)]
    assert histories[0] == histories[1]


def test_a_service_that_lost_its_store_is_given_the_exported_state(tmp_path: Path, service_url: str) -> None:
    whole = settings(tmp_path / "whole", "lost-whole", steps=4)
    Trainer(whole, Client(service_url), resume=False).run()
    moved = settings(tmp_path / "moved", "lost-moved", steps=2)
    Trainer(moved, Client(service_url), resume=False).run()
    with embedded_service(tmp_path / "other") as other:
        Trainer(settings(tmp_path / "moved", "lost-moved", steps=4), Client(other), resume=True).run()
    assert rows(moved.folder) == rows(whole.folder)


@pytest.mark.parametrize("slug", ["run-lost", "run-rolled-back"])
def test_a_store_without_the_run_s_state_stops_the_training_and_a_resume_goes_on(
    slug: str, tmp_path: Path, service_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = settings(tmp_path / "whole", f"whole-{slug}")
    Trainer(whole, Client(service_url), resume=False).run()
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    finish = Rewards.finish

    with embedded_service(tmp_path / "service") as url:
        live, old = (sqlite3.connect(tmp_path / folder) for folder in ("service/service.sqlite3", "old.sqlite3"))

        def losing(self: Rewards, step: int, generation: int, groups: Any) -> dict[str, Any]:
            if (step, generation) == (2, 0):  # after the first checkpoint
                live.backup(old)
            if (step, generation) == (3, 0):
                if slug == "run-lost":
                    Client(url).delete_run(f"stopped-{slug}")
                else:
                    old.backup(live)
            return finish(self, step, generation, groups)

        command = [str(tmp_path / "small.json"), "--out", str(tmp_path), "--name", f"stopped-{slug}", "--no-plot"]
        command += ["--service-url", url]
        with monkeypatch.context() as patched, pytest.raises(SystemExit) as ended:
            patched.setattr(Rewards, "finish", losing)
            main(command)
        assert ended.value.code == 3
        message = capsys.readouterr().err
        assert f"error: {slug}: " in message and "--resume" in message
        assert len(rows(tmp_path / f"stopped-{slug}")) == 3, "nothing was trained on without the run's state"
        assert main([*command, "--resume"]) == 0
        live.close()
        old.close()
    assert rows(tmp_path / f"stopped-{slug}") == rows(whole.folder)


def test_text_verified_while_generating_gives_the_same_rewards(tmp_path: Path, service_url: str) -> None:
    config = settings(tmp_path, "chunks", generation_chunk=2)
    trainer = Trainer(config, Client(service_url), resume=False)
    assert trainer.rewards is not None
    whole = Rewards.open(Client(service_url), settings(tmp_path, "chunks-whole"))
    seen: list[Any] = []
    finish = trainer.rewards.finish

    def both(step: int, generation: int, groups: Any) -> dict[str, Any]:
        streamed = finish(step, generation, groups)
        seen.append((dict(streamed), whole.finish(step, generation, groups)))
        return streamed

    trainer.rewards.finish = both  # type: ignore[method-assign]
    for step in range(2):
        trainer.training_step(step)
    for streamed, scored in seen:
        assert streamed == scored


def test_a_setting_that_decides_the_numbers_may_not_change_at_a_resume(tmp_path: Path, service_url: str) -> None:
    Trainer(settings(tmp_path, "changed", steps=2), Client(service_url), resume=False).run()
    with pytest.raises(ValueError, match="learning_rate"):
        Trainer(settings(tmp_path, "changed", learning_rate=1e-5), Client(service_url), resume=True)


def test_a_resume_with_another_number_of_processes_is_refused_by_name(
    tmp_path: Path, service_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(tmp_path, "processes", steps=1)
    Trainer(config, Client(service_url), resume=False).run()
    state = config.folder / "checkpoints" / "step-000000" / "state.json"
    written = json.loads(state.read_text())
    assert written["processes"] == 1
    state.write_text(json.dumps({**written, "processes": 2}))
    with pytest.raises(ValueError, match="were 2, are 1; go on with torchrun --nproc_per_node 2"):
        Trainer(config, Client(service_url), resume=True)
    del written["processes"]  # as an older trainer wrote it: taken as it is
    state.write_text(json.dumps(written))
    Trainer(config, Client(service_url), resume=True).run_logger.close()


def test_a_length_term_without_beta_ends_the_run_in_a_line(
    tmp_path: Path, service_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "none.json"
    file.write_text(json.dumps({**SMALL, "length_term": "advantage", "strategy": {"name": "outcome"}}))
    with pytest.raises(SystemExit) as ended:
        main([str(file), "--out", str(tmp_path), "--name", "no-beta", "--service-url", service_url])
    assert ended.value.code == 2
    assert "length_term advantage needs a strategy with beta; outcome gives none" in capsys.readouterr().err


def test_masked_rollouts_decide_nothing_about_their_group(tmp_path: Path, service_url: str) -> None:
    """With responses cut at once, everything is truncated, and where that is masked nothing trains."""
    changes = {"filter_metric": "none", "max_generation_batches": 1, "max_new_tokens": 1}
    config = settings(tmp_path, "masked", mask_truncated=True, **changes)
    trainer = Trainer(config, Client(service_url), resume=False)
    found = trainer.training_step(0)
    trainer.run_logger.close()
    assert (found["truncated"], found["groups_kept"], found["tokens_trained"]) == (1.0, 0, 0)
    assert found["entropy"] is None and found["entropy_sampled"] > 0


def test_a_run_that_breaks_closes_what_it_opened(
    tmp_path: Path, service_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(settings(tmp_path, "breaks"), Client(service_url), resume=False)
    closed: list[str] = []
    assert trainer.rewards is not None
    monkeypatch.setattr(trainer.rewards, "close", lambda: closed.append("rewards"))
    monkeypatch.setattr(trainer.run_logger, "close", lambda: closed.append("watch"))
    monkeypatch.setattr(trainer, "training_step", lambda step: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.run()
    assert closed == ["watch", "rewards"]


def test_the_size_of_forward_passes_changes_no_update(tmp_path: Path, service_url: str) -> None:
    found = []
    for name, micro_tokens in (("large", 100_000), ("small", 150)):
        changes = {"filter_metric": "none", "max_generation_batches": 1}
        config = settings(tmp_path, f"micro-{name}", steps=1, micro_tokens=micro_tokens, **changes)
        Trainer(config, Client(service_url), resume=False).run()
        found.append((weights(config.folder, 0), rows(config.folder)[0]["grad_norm"]))
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-4)


def test_recomputed_log_probabilities_make_the_first_ratio_one(tmp_path: Path, service_url: str) -> None:
    changes = {"filter_metric": "none", "max_generation_batches": 1, "minibatches": 1, "gradient_checkpointing": True}
    config = settings(tmp_path, "recompute", steps=1, old_logprobs="recompute", **changes)
    trainer = Trainer(config, Client(service_url), resume=False)
    found = trainer.training_step(0)
    assert found["ratio_error"] < 1e-6 and found["clip_share"] == 0
    assert found["grad_norm"] > 0


@pytest.mark.slow
def test_two_processes_keep_groups_whole_and_move_the_level_once_a_step(tmp_path: Path, service_url: str) -> None:
    config = settings(tmp_path, "two", steps=3, problems_per_step=5)
    (tmp_path / "two.json").write_text(json.dumps({**SMALL, "steps": 3, "problems_per_step": 5}))
    (documented,) = (line.split() for line in DOCUMENTED.read_text().splitlines() if line.startswith("    torchrun"))
    meant = {"my.yaml": str(tmp_path / "two.json"), "http://HOST:8321": service_url}
    command = [meant.get(word, word) for word in documented]
    command[:1] = [sys.executable, "-m", "torch.distributed.run"]  # torchrun of this environment
    command += ["--no-plot", "--out", str(tmp_path), "--name", "two"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "two: to 3 steps, 2 processes" in done.stdout
    state = json.loads((config.folder / "checkpoints" / "step-000002" / "state.json").read_text())
    assert state["processes"] == 2

    steps = rows(config.folder)
    history = Client(service_url).run("two", join=True).history().steps
    assert [step.step for step in history] == [0, 1, 2]
    for row, step in zip(steps, history, strict=True):
        assert step.groups == row["groups_drawn"] and step.groups % 5 == 0
        assert step.rollouts == step.groups * 4
        assert step.level == row["level"]
    assert torch.isfinite(torch.stack([w.float().sum() for w in weights(config.folder, 2).values()])).all()


@pytest.mark.slow
def test_two_processes_make_the_update_of_one(tmp_path: Path) -> None:
    """The gradient of a fixed batch, and what is said of it, in one process and in two."""
    script = tmp_path / "update.py"
    script.write_text(_UPDATE)
    results = []
    for processes in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        command += [str(script), str(tmp_path / f"norm-{processes}")]
        done = subprocess.run(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert "requires_grad" not in done.stderr, "torch warns where a number is taken out of the graph"
        results.append(json.loads((tmp_path / f"norm-{processes}").read_text()))
    one, two = results
    assert one["tokens_trained"] == two["tokens_trained"] == sum(4 + 3 * place for place in range(7))
    assert one["clip_share"] > 0 and one["kl"] > 0 and one["entropy"] > 0
    assert one == pytest.approx(two, rel=1e-4)


_UPDATE = """
import json
import sys
import torch
from accelerate import Accelerator
from deepcompress_client.wire import GroupRewards, RewardComponents
from deepcompress_trainer.config import TrainConfig
from deepcompress_trainer.data import Draw, Problem
from deepcompress_trainer.generate import Rollout
from deepcompress_trainer.grpo import Advantages, Group
from deepcompress_trainer.model import new_tiny_policy
from deepcompress_trainer.train import Trainer

trainer = object.__new__(Trainer)
trainer.config = TrainConfig(device="cpu", micro_tokens=60, minibatches=1, max_grad_norm=1e9, kl=0.1)
trainer.accelerator = Accelerator(cpu=True)
trainer.policy = new_tiny_policy(width=32, layers=1)
trainer.reference = new_tiny_policy(width=32, layers=1, seed=1)
trainer.optimiser = torch.optim.SGD(trainer.policy.model.parameters(), lr=0.0)
draw = torch.Generator().manual_seed(3)
responses = [torch.randint(3, 50, (4 + 3 * place,), generator=draw).tolist() for place in range(7)]
rollouts = [Rollout(ids, [-4.0] * len(ids), False) for ids in responses]
zeros = [0.0] * 7
said = GroupRewards(
    problem_id="p", group_id="p@0", pass_ratio=1.0, level=None, beta=None, difficulty=None, rewards=zeros,
    components=RewardComponents(outcome=zeros, length=zeros, overlong=zeros),
    correct=[True] * 7, trainable=[True] * 7,
)
group = Group(Draw(0, Problem("p", "q", "1", "easy")), [1, 5], rollouts, said)
advantage = torch.tensor([1.0 - 0.3 * place for place in range(7)]).double().numpy()
found = trainer.update(0, [group], [Advantages(advantage, *[0 * advantage] * 3)])
if trainer.accelerator.is_main_process:
    open(sys.argv[1], "w").write(json.dumps(found))
trainer.leave()
"""
