"""Whole trainings by verl 0.9.1: its command, Ray, TransferQueue, agent loop, FSDP workers, weight updates and
checkpoints, started by ``examples/verl/run.sh`` against a live service. `verl_on_cpu` replaces the accelerator and
vLLM; the engine samples from a tiny model with the weights that verl sent.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deepcompress_client import Client

from ..waiting import eventually
from . import live
from .pages import ROOT

pytest.importorskip("verl", reason="needs verl: python tests/integrations/run_real.py verl")

import psutil

from . import tiny_model

pytestmark = pytest.mark.timeout(1500)  # Ray and verl take minutes to start where the machine is busy
STEPS = 5
TEMPLATE = "{% for message in messages %}{{ message.content }} {% endfor %}"
LINE = re.compile(r"step:(\d+) - (.*)")
METRIC = re.compile(r"(\S+):(?:np\.\w+\()?(-?[0-9][0-9.e+-]*)\)?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, and the data that the example's own command makes."""
    folder = tmp_path_factory.mktemp("verl")
    tiny_model.model().save_pretrained(folder / "model")
    tiny_model.tokenizer().save_pretrained(folder / "model")
    for split, count in (("train", 8), ("test", 4)):
        rows = ({"question": row["prompt"], "answer": f"#### {row['answer']}"} for row in tiny_model.problems(count))
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    subprocess.run(
        [sys.executable, str(ROOT / "examples/verl/prepare.py"), "train.jsonl", "test.jsonl", "data"],
        cwd=folder,
        check=True,
    )
    return folder


class Training:
    """A verl job in a process of its own, with its output in a file."""

    def __init__(self, folder: Path, url: str, run: str, name: str, *more: str, gpus: int = 1) -> None:
        self.output = folder / f"{run}-{name}.log"
        lines = [
            "trainer.device=cpu",
            f"trainer.n_gpus_per_node={gpus}",
            f"actor_rollout_ref.model.custom_chat_template='{TEMPLATE}'".replace("actor", "+actor", 1),
            "+actor_rollout_ref.model.override_config.attn_implementation=sdpa",
            "actor_rollout_ref.model.use_remove_padding=False",
            "actor_rollout_ref.actor.strategy=fsdp2",
            "actor_rollout_ref.actor.ppo_mini_batch_size=4",
            "actor_rollout_ref.actor.optim.lr=1e-2",
            "actor_rollout_ref.rollout.name=tiny",
            "actor_rollout_ref.rollout.n=4",
            "actor_rollout_ref.rollout.tensor_model_parallel_size=1",
            "actor_rollout_ref.rollout.agent.num_workers=1",
            "reward.num_workers=1",
            "data.train_batch_size=4",
            "data.max_prompt_length=32",
            "data.max_response_length=16",
            f"trainer.total_training_steps={STEPS}",
            "trainer.total_epochs=10",
            "trainer.save_freq=2",
            "trainer.test_freq=4",
            "trainer.logger=[console]",
            f"trainer.default_local_dir={folder / run}",
            "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
            "ray_kwargs.ray_init.num_cpus=32",
            f"+ray_kwargs.ray_init.num_gpus={gpus}",
            "+ray_kwargs.ray_init.include_dashboard=False",
        ]
        environment = {
            **os.environ,
            "DATA": str(folder / "data"),
            "MODEL": str(folder / "model"),
            "RUN": run,
            "DEEPCOMPRESS_URL": url,
            "VERL_USE_EXTERNAL_MODULES": "tests.integrations.verl_on_cpu",
            "VERL_ENGINE_DEVICE": "cuda",  # verl registers its FSDP engine under this name
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "RAY_worker_niceness": "0",
            "OMP_NUM_THREADS": "1",
        }
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                ["sh", str(ROOT / "examples/verl/run.sh"), *lines, *more],
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self) -> str:
        """The output up to now."""
        return self.output.read_text(errors="replace")

    @property
    def steps(self) -> dict[int, dict[str, float]]:
        """Verl's own metrics of each training step."""
        found = {}
        for line in LINE.finditer(self.text):
            values = {name: float(value) for name, value in METRIC.findall(line[2])}
            if "critic/score/mean" in values:
                found[int(line[1])] = values
        return found

    def finish(self) -> dict[int, dict[str, float]]:
        """Wait for the end, which must be an orderly one, and return the steps."""
        code = self.process.wait(1200)
        assert code == 0, self.text[-4000:]
        return self.steps

    def kill(self) -> None:
        """End the job and all that it started, at once."""
        parent = psutil.Process(self.process.pid)
        for process in [*parent.children(recursive=True), parent]:
            process.kill()
        self.process.wait(60)


def agree(run: str, url: str, told: dict[int, dict[str, float]], epoch: int = 0) -> None:
    """Compare the service's history with verl's metrics, and its levels with the recurrence."""
    state = Client(url).run(run, join=True)
    history = state.history().steps
    assert [entry.step for entry in history] == list(range(1, STEPS + 1))
    assert state.epoch == epoch
    level = 1.0
    for entry in history:
        assert (entry.groups, entry.rollouts) == (4, 16)
        if entry.step in told:
            assert told[entry.step]["critic/score/mean"] == pytest.approx(2 * entry.batch_pass_ratio - 1, abs=1e-6)
            assert told[entry.step]["response_length/mean"] == pytest.approx(entry.mean_tokens, abs=1e-4)
        level = 0.99 * level + 0.01 * entry.batch_pass_ratio
        assert entry.level == pytest.approx(level, abs=1e-9)


def trained(steps: dict[int, dict[str, float]], close: float = 0.01) -> None:
    """Check that verl updated the policy, and that its engine sampled with the updated weights."""
    for step, values in steps.items():
        assert values["actor/grad_norm"] > 0, step
        assert values["critic/advantages/max"] > 0 > values["critic/advantages/min"], step
        assert values["training/rollout_probs_diff_mean"] < close, step


def test_a_training_by_the_example_and_its_validation(service: live.Service, folder: Path, run: str) -> None:
    training = Training(folder, service.url, run, "whole")
    steps = training.finish()
    assert list(steps) == list(range(1, STEPS + 1))
    trained(steps)
    agree(run, service.url, steps)
    assert "val-core/test/acc/mean@1" in training.text
    # A checkpoint is named after the step that comes next.
    assert {"step-3", "step-5"} <= {one["name"] for one in Client(service.url).run(run, join=True).checkpoints()}


def test_two_workers_side_by_side(service: live.Service, folder: Path, run: str) -> None:
    """Two FSDP workers, each with an engine of its own."""
    steps = Training(folder, service.url, run, "two", gpus=2).finish()
    trained(steps)
    agree(run, service.url, steps)


def test_a_killed_training_resumes_at_its_checkpoint(service: live.Service, folder: Path, run: str) -> None:
    first = Training(folder, service.url, run, "first")

    def has_trained() -> bool:
        assert first.process.poll() is None, first.text[-4000:]
        return 3 in first.steps

    eventually(has_trained, seconds=900)
    first.kill()
    second = Training(folder, service.url, run, "second").finish()
    resumed = min(second)
    assert resumed in (3, 5)  # the checkpoint of step 2, or of step 4 where the kill came late
    trained(second)
    told = {step: values for step, values in first.steps.items() if step < resumed}
    agree(run, service.url, {**told, **second}, epoch=1)


def test_the_asynchronous_mode_on_the_same_workers(service: live.Service, folder: Path, run: str) -> None:
    """`colocate_async`: the next batch is sampled by the policy before the update."""
    training = Training(folder, service.url, run, "async", "trainer.v1.trainer_mode=colocate_async")
    steps = training.finish()
    assert list(steps) == list(range(1, STEPS + 1))
    trained(steps, close=0.1)
    agree(run, service.url, steps)
