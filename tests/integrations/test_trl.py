"""TRL itself, newest and oldest: trainings with a tiny random model against a live service on Redis. What the trainer
got is held against a reference computation from what the trainer sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepcompress_client import Client
from deepcompress_client.integrations._common import problem_name
from deepcompress_client.integrations._versions import parse

from ..ports import free_port
from ..waiting import eventually
from . import live, reference
from .pages import ROOT, blocks

trl = pytest.importorskip("trl", reason="needs TRL: python tests/integrations/run_real.py trl")
psutil = pytest.importorskip("psutil", reason="needs psutil, which accelerate brings")

pytestmark = pytest.mark.timeout(1200)  # importing torch and TRL takes minutes where the machine is busy

SCRIPT = Path(__file__).with_name("trl_training.py")
Call = dict[str, Any]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Service]:
    folder = tmp_path_factory.mktemp("trl")
    with live.redis(folder / "redis") as state_url, live.serving(folder / "service", state_url) as running:
        yield running


def start(
    folder: Path, url: str, run: str, *options: str, processes: int = 1, name: str = "out"
) -> subprocess.Popen[bytes]:
    """Start the script, alone or by torchrun."""
    folder.mkdir(exist_ok=True)
    alone = [sys.executable]
    port = str(free_port())
    together = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    launch = alone if processes == 1 else [*together, "--master-port", port]
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [*launch, str(SCRIPT), "--out", str(folder / name), "--url", url, "--name", run, *options],
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)},
        )


def train(folder: Path, url: str, run: str, *options: str, processes: int = 1) -> list[dict[str, Any]]:
    """Run the script to its end; what each rank wrote down."""
    process = start(folder, url, run, *options, processes=processes)
    try:
        assert process.wait(900) == 0, (folder / "out.log").read_text()[-4000:]
    finally:
        kill(process)
    return [json.loads((folder / f"out.{rank}.json").read_text()) for rank in range(processes)]


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a training at once, with its workers, which torchrun starts in sessions of their own."""
    if process.poll() is None:
        parent = psutil.Process(process.pid)
        for one in [*parent.children(recursive=True), parent]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait(60)


def calls_of(folder: Path, name: str, processes: int) -> list[Call]:
    """The calls that all ranks have written down, each joined over the ranks."""
    files = [folder / f"{name}.{rank}.calls" for rank in range(processes)]
    ranks = [[json.loads(line) for line in file.read_text().splitlines()] for file in files if file.exists()]
    return joined(ranks) if len(ranks) == processes else []


def joined(ranks: list[list[Call]]) -> list[Call]:
    """Each call of all ranks as one; a rank that was killed has none of the last."""
    lists = ("prompts", "completions", "gold", "tokens", "rewards")
    calls = []
    for parts in zip(*ranks, strict=False):
        assert len({(part["training"], part["step"]) for part in parts}) == 1
        calls.append({**parts[0], **{name: [one for part in parts for one in part[name]] for name in lists}})
    return calls


def groups_of(call: Call, size: int) -> list[list[reference.Rollout]]:
    """Verdicts and lengths, computed again from the texts."""
    rollouts = []
    for completion, gold, tokens in zip(call["completions"], call["gold"], call["tokens"], strict=True):
        boxed = re.findall(r"\\boxed\{(\d)\}", completion)
        rollouts.append((bool(boxed) and boxed[-1] == gold, tokens))
    return [rollouts[start : start + size] for start in range(0, len(rollouts), size)]


def check(calls: list[Call], url: str, run: str, level: float = 1.0) -> list[float]:
    """Every training call got its reference rewards (or, in an outage, none at all), and the service's level is
    the one that these calls make, once each. The levels, by step.
    """
    history = {entry.step: entry for entry in Client(url).run(run, join=True).history().steps}
    levels = []
    for call in calls:
        groups = groups_of(call, call["size"])
        if not call["training"]:
            assert call["rewards"] == [1.0 if correct else -1.0 for group in groups for correct, _ in group]
            continue
        if all(reward is None for reward in call["rewards"]) and call["step"] not in history:
            continue
        entry = history.pop(call["step"])
        level = reference.next_level(level, groups)
        levels.append(level)
        assert entry.level == pytest.approx(level, abs=1e-12)
        assert (entry.groups, entry.rollouts, entry.stale_groups) == (len(groups), 4 * len(groups), 0)
        if any(reward is not None for reward in call["rewards"]):
            assert call["size"] == 4
            expected = [reward for group in groups for reward in reference.rewards(group, level)]
            assert call["rewards"] == pytest.approx(expected, abs=1e-9)
    return levels


def test_rewards_are_the_reference_the_level_moves_once_a_step_and_a_resume_goes_on(
    service: live.Service, tmp_path: Path
) -> None:
    (first,) = train(tmp_path, service.url, "one", "--steps", "4", "--eval")
    assert [call["step"] for call in first["calls"] if call["training"]] == [0, 1, 2, 3]
    assert any(not call["training"] for call in first["calls"])
    levels = check(first["calls"], service.url, "one")
    logged = [entry for entry in first["logs"] if "reward" in entry]
    if first["calls"][0]["logs_metrics"]:
        assert [entry["deepcompress/level"] for entry in logged] == pytest.approx(levels, rel=1e-6)
    else:  # an older TRL passes no function for metrics
        assert parse(trl.__version__) < (1,)
    means = [sum(call["rewards"]) / len(call["rewards"]) for call in first["calls"] if call["training"]]
    assert [entry["reward"] for entry in logged] == pytest.approx(means, rel=1e-5)

    checkpoint = str(tmp_path / "checkpoints" / "checkpoint-2")
    (second,) = train(tmp_path, service.url, "one", "--steps", "5", "--resume", checkpoint)
    assert [call["step"] for call in second["calls"]] == [2, 3, 4]
    kept = [call for call in first["calls"] if call["training"] and call["step"] < 2]
    again = check([*kept, *second["calls"]], service.url, "one")
    assert again[:2] == levels[:2]
    assert Client(service.url).run("one", join=True).epoch == 1


def test_a_resume_from_further_back_than_the_records_takes_the_saved_state(
    service: live.Service, tmp_path: Path
) -> None:
    (first,) = train(tmp_path, service.url, "far", "--steps", "6", "--keep-steps", "1")
    checkpoint = str(tmp_path / "checkpoints" / "checkpoint-2")
    (second,) = train(tmp_path, service.url, "far", "--steps", "4", "--keep-steps", "1", "--resume", checkpoint)
    kept = [call for call in first["calls"] if call["step"] < 2]
    check([*kept, *second["calls"]], service.url, "far")


def test_groups_split_over_two_processes_are_made_whole(service: live.Service, tmp_path: Path) -> None:
    """Two completions of each prompt on either rank: neither holds a whole group."""
    ranks = train(tmp_path, service.url, "two", "--per-device", "2", "--eval", processes=2)
    assert [len(rank["calls"]) for rank in ranks] == [6, 6]
    assert {len(call["rewards"]) for rank in ranks for call in rank["calls"] if call["training"]} == {2}
    check(joined([rank["calls"] for rank in ranks]), service.url, "two")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_training_resumes_at_its_checkpoint(service: live.Service, tmp_path: Path, processes: int) -> None:
    """Killed at once, later than its checkpoint: the steps in between are forgotten, and counted again once."""
    run, options = f"killed-{processes}", ("--per-device", str(8 // processes**2))
    checkpoint = tmp_path / "checkpoints" / "checkpoint-2"
    first = start(tmp_path, service.url, run, "--steps", "400", *options, processes=processes, name="first")

    def late() -> bool:
        assert first.poll() is None, (tmp_path / "first.log").read_text()[-4000:]
        return (checkpoint / "trainer_state.json").exists() and len(calls_of(tmp_path, "first", processes)) > 3

    try:
        eventually(late, "no two steps after the checkpoint", 600)
    finally:
        kill(first)
    before = Client(service.url).run(run, join=True)
    assert len(before.history().steps) > 3
    train(tmp_path, service.url, run, "--steps", "6", *options, "--resume", str(checkpoint), processes=processes)
    kept = [call for call in calls_of(tmp_path, "first", processes) if call["step"] < 2]
    again = calls_of(tmp_path, "out", processes)
    assert [call["step"] for call in again] == [2, 3, 4, 5]
    check([*kept, *again], service.url, run)
    after = Client(service.url).run(run, join=True)
    assert after.epoch == before.epoch + 1
    assert [entry.step for entry in after.history().steps] == list(range(6))


def test_a_new_training_of_the_same_name_is_not_paid_against_old_levels(
    service: live.Service, tmp_path: Path
) -> None:
    run = Client(service.url).run("again", next_step=0)
    wrong = {"problem_id": "p", "rollouts": [{"correct": False, "tokens": 1}] * 2}
    for step in range(5):
        run.shape([wrong], step=step)
    with pytest.raises(AssertionError, match="fresh=True"):
        train(tmp_path / "refused", service.url, "again", "--steps", "2")
    assert len(run.history().steps) == 5
    (seen,) = train(tmp_path, service.url, "again", "--steps", "2", "--fresh")
    check(seen["calls"], service.url, "again")


def test_a_training_that_starts_again_before_its_first_checkpoint_is_known(
    service: live.Service, tmp_path: Path
) -> None:
    train(tmp_path, service.url, "restarted", "--steps", "2", "--save-steps", "100")
    (seen,) = train(tmp_path, service.url, "restarted", "--steps", "3", "--save-steps", "100")
    assert [call["step"] for call in seen["calls"]] == [0, 1, 2]
    level = check(seen["calls"], service.url, "restarted")[-1]
    (second,) = train(
        tmp_path / "2", service.url, "stage-2", "--steps", "2", "--continue-from", "restarted", "--save-steps", "1"
    )
    check(second["calls"], service.url, "stage-2", level)


def test_an_undecided_rollout_teaches_nothing(service: live.Service, tmp_path: Path) -> None:
    """TRL before 1.6 would train None as 0, between right and wrong."""
    (seen,) = train(tmp_path, service.url, "undecided", "--steps", "3", "--undecided", "--save-steps", "100")
    old = parse(trl.__version__) < (1, 6)
    for call in seen["calls"]:
        first, *others = call["rewards"][:4]
        assert first == (pytest.approx(sum(others) / 3) if old else None)
    assert seen["advantages"]  # those of the last step
    assert seen["advantages"][0] == pytest.approx(0.0, abs=1e-6)


def test_delays_refusals_and_cut_connections_change_no_reward_and_count_nothing_twice(
    service: live.Service, tmp_path: Path
) -> None:
    with live.trouble(service.url) as between:
        between.faults = ["503", "unanswered", "ok", "lost", "unanswered", "slow", "503", "unanswered", "lost"] * 2
        (seen,) = train(tmp_path, between.url, "trouble", "--steps", "4")
        assert {"503", "lost", "unanswered", "slow"} <= {fault for _, fault in between.seen}
    assert all(None not in call["rewards"] for call in seen["calls"])
    check(seen["calls"], service.url, "trouble")


def test_a_service_that_crashes_and_comes_back_stalls_the_training_and_no_more(tmp_path: Path) -> None:
    with live.serving(tmp_path / "service") as service, live.trouble(service.url) as between:
        stop = threading.Event()

        def crash() -> None:
            while not stop.is_set() and sum("/v1/shape" in path for path, _ in between.seen) < 2:
                time.sleep(0.01)
            service.kill()
            time.sleep(3)
            service.start()

        crashing = threading.Thread(target=crash)
        crashing.start()
        (seen,) = train(tmp_path / "training", between.url, "crash", "--steps", "6")
        stop.set()
        crashing.join()
        assert len(seen["calls"]) == 6
        assert all(None not in call["rewards"] for call in seen["calls"])
        check(seen["calls"], service.url, "crash")


def test_a_service_that_stays_away_gives_none_within_the_deadline(service: live.Service, tmp_path: Path) -> None:
    with live.trouble(service.url) as between:
        between.only = "/v1/shape"
        between.faults = ["ok"] + ["503"] * 3
        (seen,) = train(tmp_path, between.url, "away", "--steps", "5", "--deadline", "2")
    without = [call for call in seen["calls"] if all(reward is None for reward in call["rewards"])]
    assert 1 <= len(without) <= 3
    assert all(reward != 0 for call in seen["calls"] for reward in call["rewards"])
    check(seen["calls"], service.url, "away")


LINES = """
import sys
from datasets import Dataset
from tests.integrations.tiny_model import model, problems, tokenizer
from trl import GRPOConfig
dataset, folder = Dataset.from_list(problems(8)), sys.argv[1]
config = GRPOConfig(
    output_dir=folder + "/out", per_device_train_batch_size=4, num_generations=4, max_completion_length=8,
    max_steps=2, use_cpu=True, bf16=False, report_to=[], save_strategy="no",
)
tiny = model(); tiny.save_pretrained(folder); tokenizer().save_pretrained(folder)
model = folder
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_the_service_chooses_the_problems_also_after_a_resume(tmp_path: Path, processes: int) -> None:
    """Each step has the recorded sample, in its order, and the rewards and the level are those of any training."""
    with live.serving(tmp_path / "service") as running:
        choose_and_resume(running.url, tmp_path, processes)


def choose_and_resume(url: str, tmp_path: Path, processes: int) -> None:
    run = f"chosen-{processes}"
    words = ("--curriculum", "--per-device", str(8 // processes))
    first = train(tmp_path, url, run, "--steps", "4", *words, processes=processes)
    checkpoint = str(tmp_path / "checkpoints" / "checkpoint-2")
    second = train(tmp_path, url, run, "--steps", "5", *words, "--resume", checkpoint, processes=processes)
    opened = Client(url).run(run, join=True)
    assert opened.dataset().problems == 8

    before, after = (joined([rank["calls"] for rank in ranks]) for ranks in (first, second))
    calls = [*(call for call in before if call["step"] < 2), *after]
    assert [call["step"] for call in calls] == [0, 1, 2, 3, 4]
    check(calls, url, run)
    for call in calls[2:]:  # the samples of the steps before the resume are those of the same state
        sample = opened.sample(call["step"], 2, {"name": "signal", "group_size": 4})
        problems = [
            problem_name(prompt, gold) for prompt, gold in zip(call["prompts"][::4], call["gold"][::4], strict=True)
        ]
        assert problems == [one.problem_id for one in sample.problems]


def test_the_lines_of_the_page_and_the_example(service: live.Service, tmp_path: Path) -> None:
    def finish(*command: str) -> None:
        done = subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            timeout=600,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "DEEPCOMPRESS_URL": service.url},
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]

    finish("-c", LINES + blocks("trl")[0], str(tmp_path))
    opened = Client(service.url).run("my-run", join=True)
    assert [entry.step for entry in opened.history().steps] == [0, 1]
    assert (opened.info().config.preset or "").startswith("compress@")

    rows = [{"question": f"what is {n} ?", "answer": f"so it is #### {n}"} for n in range(4)]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    options = ["--plain", "--cpu", "--steps", "2", "--generations", "4", "--max-tokens", "8"]
    files = ["--data", str(data), "--model", str(tmp_path), "--out", str(tmp_path / "trained")]
    finish("examples/trl_grpo.py", "--run", "example", *files, *options)
    assert [entry.step for entry in Client(service.url).run("example", join=True).history().steps] == [0, 1]


GROUP_REWARD = """
from deepcompress_client.integrations.trl import DeepCompressGroupReward
from trl import GRPOTrainer
reward = DeepCompressGroupReward(run="wrong-class", gold="answer", groups_per_step=2)
GRPOTrainer(model=model, reward_funcs=reward, args=config, train_dataset=dataset).train()
"""


def test_the_group_reward_in_the_ordinary_trainer_is_refused(service: live.Service, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LINES + GROUP_REWARD, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "DEEPCOMPRESS_URL": service.url},
        check=False,
    )
    assert done.returncode != 0
    errors = ["takes one group a call"]
    if parse(trl.__version__) < (1, 16):  # older ones take an object for a function that need not be awaited
        errors.append("was never awaited")
    assert any(error in done.stderr for error in errors), done.stderr[-4000:]


# --- without a training ---------------------------------------------------------------------------------


def test_missing_facts_are_logged_at_start() -> None:
    from types import SimpleNamespace

    from deepcompress_client.integrations.trl import DeepCompressReward

    reward = DeepCompressReward(run="r", gold="answer")
    trainer = SimpleNamespace(
        reward_funcs=[reward], train_dataset=SimpleNamespace(column_names=["prompt", "solution"])
    )
    trainer.eval_dataset = None
    with pytest.raises(ValueError, match=r"train_dataset has no column 'answer'"):
        reward.attach(trainer)
    with pytest.raises(RuntimeError, match=r"attach\(trainer\)"):
        reward(prompts=["p"], completions=["c"], completion_ids=[[1]], answer=["1"])


def test_attach_audits_the_golds_and_warns_of_weights(
    service: live.Service, caplog: pytest.LogCaptureFixture
) -> None:
    from types import SimpleNamespace

    from accelerate import PartialState
    from datasets import Dataset

    from deepcompress_client.integrations.trl import DeepCompressReward

    class Trainer(SimpleNamespace):
        """A namespace that weak references can refer to, as they can to a trainer."""

    PartialState(cpu=True)
    reward = DeepCompressReward(run="r", url=service.url, gold="answer")

    def attach(gold: str, **options: Any) -> None:
        data = Dataset.from_list([{"prompt": "how many?", "answer": gold}] * 4)
        reward.attach(
            Trainer(
                reward_funcs=[reward, len],
                train_dataset=data,
                eval_dataset=None,
                args=SimpleNamespace(output_dir=None, **options),
                accelerator=SimpleNamespace(num_processes=1),
                add_callback=lambda _: None,
            )
        )

    attach("12")
    assert caplog.text == ""
    attach("\\frac{1}{")
    assert "not readable" in caplog.text
    attach("12", reward_weights=[0.0, 1.0], multi_objective_aggregation="normalize_then_sum")
    assert "weight 0.0" in caplog.text
    assert "normalize_then_sum" in caplog.text


def test_the_asynchronous_trainer_scores_a_group_a_call(service: live.Service) -> None:
    """TRL's own scoring of a group, with the reward as its spawned worker has it: unpickled."""
    worker = pytest.importorskip(
        "trl.experimental.async_grpo.async_rollout_worker",
        reason="needs the asynchronous trainer of TRL 1 and aiohttp",
    )
    from types import SimpleNamespace

    from accelerate import PartialState

    from deepcompress_client.integrations.trl import DeepCompressGroupReward

    PartialState(cpu=True)  # the worker logs through accelerate

    reward = pickle.loads(
        pickle.dumps(
            DeepCompressGroupReward(
                run="async", url=service.url, gold="answer", groups_per_step=2, end_token_ids=(1,)
            )
        )
    )
    loop = next(kind for kind in vars(worker).values() if isinstance(kind, type) and hasattr(kind, "_score_group"))
    level = 1.0
    steps = [
        [[(True, 3), (False, 5), (True, 9), (False, 2)], [(True, 4), (True, 8), (False, 4), (True, 2)]],
        [[(False, 3), (False, 5), (True, 9), (False, 2)], [(True, 4), (True, 8), (True, 4), (True, 2)]],
    ]

    async def score() -> list[list[float]]:
        seen = []
        for groups in steps:
            for number, group in enumerate(groups):
                samples = await loop._score_group(
                    SimpleNamespace(
                        reward_funcs=[reward],
                        reward_func_names=[reward.__name__],
                        _env_reward_types=[],
                        _provides_rollout_reward=False,
                    ),
                    SimpleNamespace(
                        prompts=[f"what {number}"] * 4,
                        completions=[f"\\boxed{{{7 if correct else 8}}}" for correct, _ in group],
                        completions_ids=[[5] * (tokens - 1) + [1] for _, tokens in group],
                        reward_kwargs={"answer": ["7"] * 4},
                        env_rewards=[],
                        rollout_rewards=[],
                        tool_call_counts=[0] * 4,
                        tool_failure_counts=[0] * 4,
                        completions_sequences=[
                            [SimpleNamespace(input_ids=[1], completion_mask=[1], old_log_probs=[0.0])]
                        ]
                        * 4,
                        model_version=0,
                        group_id=number,
                    ),
                )
                seen.append([sample.metrics["reward"] for sample in samples])
        return seen

    seen = asyncio.run(score())
    for step, groups in enumerate(steps):
        # Against the level of the step before, whichever groups came earlier in this one.
        for number, group in enumerate(groups):
            assert seen[2 * step + number] == pytest.approx(reference.rewards(group, level), abs=1e-9)
        level = reference.next_level(level, groups)
    history = Client(service.url).run("async", join=True).history().steps
    assert [entry.groups for entry in history] == [2, 2]
    assert history[-1].level == pytest.approx(level, abs=1e-12)
