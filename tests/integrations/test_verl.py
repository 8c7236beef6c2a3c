"""verl 0.9.1's own reward and advantage code, with its own data types, against a live service: the trainer's
configuration composed by hydra, reward workers as Ray actors, scores requested by the agent loop's method,
advantages computed by the V1 trainer's function. Only the rollout engine (which needs a GPU) is replaced by a
stand-in.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepcompress_client import Client

from . import live, reference
from .pages import PAGES, ROOT, blocks

pytest.importorskip("verl", reason="needs verl: python tests/integrations/run_real.py verl")

import numpy as np
import torch
import verl
from hydra import compose, initialize_config_dir
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, AgentLoopWorker
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories
from verl.utils.config import validate_config

from deepcompress_client.integrations._common import problem_name
from deepcompress_client.integrations.verl import (
    OUTCOMES,
    CheckpointCallback,
    DeepCompressRewardManager,
    Settings,
    check,
)

pytestmark = pytest.mark.timeout(1200)  # Ray and verl take minutes to start where the machine is busy

WORDS = ["<pad>", "<eos>", "<unk>", "is:\\boxed{1}", "is:\\boxed{2}", "so", "then", "what"]
EOS, RIGHT, WRONG, FILLER = 1, 3, 4, 5
Group = list[reference.Rollout]


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)
    LlamaConfig(vocab_size=len(WORDS)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    import pandas

    folder = tmp_path_factory.mktemp("data")
    files = {}
    for split in ("train", "test"):
        row = {"prompt": [{"role": "user", "content": "what"}], "extra_info": {"split": split, "index": 0}}
        pandas.DataFrame([row]).to_parquet(folder / f"{split}.parquet")
        files[split] = str(folder / f"{split}.parquet")
    return files


@pytest.fixture(scope="module")
def ray_cluster(service: live.Service) -> Iterator[None]:
    # Ray's workers have the environment that Ray was started in: it is the only source of the service's address,
    # where no
    # run is configured.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPCOMPRESS_URL", service.url)
        with live.ray_cluster():
            yield


PRESET = "+algorithm.deepcompress.preset=compress"
"""The page's line that the comparisons with the plain method leave out."""


def configuration(model: Path, files: dict[str, str], url: str, run: str, *more: str) -> Any:
    """Verl's own configuration with the lines of the documentation's page; the preset only if `more` names it."""
    lines = [line.replace("=my-run", f"={run}") for line in blocks("verl", "")[0].split()]
    lines.remove(PRESET)
    lines.append(f"+algorithm.deepcompress.url={url}")
    own = [
        f"actor_rollout_ref.model.path={model}",
        f"data.train_files={files['train']}",
        f"data.val_files={files['test']}",
        f"trainer.default_local_dir={model / 'checkpoints'}",
        "data.max_response_length=12",
        "reward.num_workers=1",
    ]
    with initialize_config_dir(str(Path(verl.__file__).parent / "trainer" / "config"), version_base=None):
        return compose("ppo_trainer", overrides=[*own, *lines, *more])


class Rollouts:
    """Do what verl does with a batch of finished generations, up to the advantages."""

    def __init__(self, config: Any) -> None:
        from verl.experimental.reward_loop.reward_loop import RewardLoopManager, migrate_legacy_reward_impl

        self.config = migrate_legacy_reward_impl(config)
        self.manager = RewardLoopManager(self.config)
        self.worker = AgentLoopWorker.__new__(AgentLoopWorker)
        self.worker.processor = None
        self.worker.mm_processor_kwargs = {}
        self.worker.reward_loop_worker_handles = self.manager.reward_loop_worker_handles

    def verify(
        self,
        step: int,
        groups: dict[str, Group],
        split: str = "train",
        gold: str = "1",
        version: int | None = None,
        uid: str | None = None,
    ) -> dict[str, list[AgentLoopOutput]]:
        """Phase one, by uid: every sample of every group at once, as they stream in."""

        async def one(uid: str, problem: str, session: int, correct: bool, tokens: int) -> AgentLoopOutput:
            output = AgentLoopOutput(
                prompt_ids=[7, 7],
                response_ids=[FILLER] * (tokens - 2) + [RIGHT if correct else WRONG, EOS],
                response_mask=[1] * tokens,
                num_turns=2,
                metrics={},
                extra_fields={} if version is None else {"min_global_steps": version, "max_global_steps": version},
            )
            prompt = {
                "uid": uid,
                "session_id": session,
                "global_steps": step,
                "data_source": "test",
                "reward_model": {"ground_truth": gold, "style": "rule"},
                "extra_info": {"split": split, "index": 0},
                "raw_prompt": [{"role": "user", "content": f"what {problem}"}],
                "index": 0,
            }
            await self.worker._compute_score([output], prompt)
            return output

        async def all_of_them() -> dict[str, list[AgentLoopOutput]]:
            uids = {problem: uid or str(uuid.uuid4()) for problem in groups}
            outputs = await asyncio.gather(
                *(
                    one(uids[problem], problem, session, *rollout)
                    for problem, group in groups.items()
                    for session, rollout in enumerate(group)
                )
            )
            left = iter(outputs)
            return {uids[problem]: [next(left) for _ in group] for problem, group in groups.items()}

        return asyncio.run(all_of_them())

    def advantages(self, groups: dict[str, list[AgentLoopOutput]], padding: int = 2) -> dict[str, list[float]]:
        """Phase two, with rows in another order and empty ones among them, as batch balancing leaves them."""
        rows = [(uid, session, output) for uid, outputs in groups.items() for session, output in enumerate(outputs)]
        rows = rows[::-1]
        width = max(len(output.response_ids) for _, _, output in rows)
        size = len(rows) + padding
        scores, mask = torch.zeros(size, width), torch.zeros(size, width, dtype=torch.int64)
        for place, (_, _, output) in enumerate(rows):
            row = output.as_dict()
            mask[place, : len(row["response_mask"])] = row["response_mask"]
            scores[place, : len(row["rm_scores"])] = row["rm_scores"]
        data = DataProto.from_dict(
            tensors={"rm_scores": scores, "token_level_rewards": scores.clone(), "response_mask": mask},
            non_tensors={"uid": np.array([uid for uid, _, _ in rows] + ["pad0"] * padding, dtype=object)},
        )
        data = compute_advantage_for_multi_trajectories(
            data,
            batch_keys=[f"{uid}_{session}_0" for uid, session, _ in rows] + [f"pad0_{n}_0" for n in range(padding)],
            adv_estimator=self.config.algorithm.adv_estimator,
            num_repeat=4,
            norm_adv_by_std_in_grpo=True,
            config=self.config.algorithm,
        )
        advantages = data.batch["advantages"]
        assert torch.equal(advantages != 0, (advantages[:, :1] != 0) & (mask > 0))
        found: dict[str, list[float]] = {uid: [] for uid in groups}
        for place, (uid, _, _) in reversed(list(enumerate(rows))):
            found[uid].append(advantages[place, 0].item())
        return found


def expected(group: Group, level: float) -> list[float]:
    """GRPO's advantages of the reference rewards."""
    rewards = torch.tensor(reference.rewards(group, level))
    return ((rewards - rewards.mean()) / (rewards.std() + 1e-6)).tolist()


STEPS: list[dict[str, Group]] = [
    {
        "a": [(True, 4), (False, 9), (True, 8), (False, 3)],
        "b": [(True, 3), (True, 12), (False, 5), (True, 6)],
        "easy": [(True, 3), (True, 4), (True, 5), (True, 6)],
    },
    {
        "a": [(True, 5), (True, 9), (True, 7), (False, 3)],
        "b": [(False, 3), (True, 12), (False, 5), (False, 6)],
        "hopeless": [(False, 3), (False, 4), (False, 5), (False, 6)],
    },
]
FILTERED = {"easy", "hopeless"}
"""Groups that dynamic sampling drops, since all or none are right: the estimator never sees them."""


@pytest.mark.usefixtures("ray_cluster")
def test_both_phases_are_the_method_and_filtered_groups_count(
    service: live.Service, tokenizer_folder: Path, data_files: dict[str, str], run: str
) -> None:
    rollouts = Rollouts(configuration(tokenizer_folder, data_files, service.url, run, "reward.num_workers=2"))
    level = 1.0
    for step, groups in enumerate(STEPS, 1):
        validation = rollouts.verify(step - 1, {"v": [(True, 4), (False, 4)]}, split="test")
        assert [o.extra_fields["reward_extra_info"]["acc"] for o in next(iter(validation.values()))] == [1.0, 0.0]

        verified = rollouts.verify(step, groups)
        for outputs, group in zip(verified.values(), groups.values(), strict=True):
            assert [o.reward_score for o in outputs] == [1.0 if correct else -1.0 for correct, _ in group]
            assert len({tuple(o.extra_fields["reward_extra_info"]) for o in outputs}) == 1
        kept = {
            uid: outputs
            for (uid, outputs), name in zip(verified.items(), groups, strict=True)
            if name not in FILTERED
        }
        advantages = rollouts.advantages(kept)

        # The estimator shapes what was kept; while the step is open its level is over those groups alone.
        shaped = [group for name, group in groups.items() if name not in FILTERED]
        seen = reference.next_level(level, shaped)
        for found, group in zip(advantages.values(), shaped, strict=True):
            assert found == pytest.approx(expected(group, seen), abs=1e-5)
        level = reference.next_level(level, list(groups.values()))

    # A later step closes the last; both closed steps then hold every group, the filtered ones too.
    last = {"a": [(True, 4), (False, 9), (True, 8), (False, 3)]}
    rollouts.advantages(rollouts.verify(3, last))
    history = Client(service.url).run(run, join=True).history().steps
    assert [entry.step for entry in history] == [1, 2, 3]
    assert [entry.groups for entry in history][:2] == [3, 3]
    assert history[1].level == pytest.approx(level, abs=1e-12)


@pytest.mark.usefixtures("ray_cluster")
def test_the_lines_of_the_page_as_they_are_open_a_run_with_the_preset(
    service: live.Service, tokenizer_folder: Path, data_files: dict[str, str], run: str
) -> None:
    rollouts = Rollouts(configuration(tokenizer_folder, data_files, service.url, run, PRESET))
    advantages = rollouts.advantages(rollouts.verify(1, {"a": [(True, 4), (False, 9), (True, 8), (False, 3)]}))
    preset = Client(service.url).run(run, join=True).info().config.preset
    assert preset is not None and preset.startswith("compress@")
    (found,) = advantages.values()
    assert found[0] > 0 > found[1]


@pytest.mark.usefixtures("ray_cluster")
def test_what_must_not_be_trained_on_gets_no_advantage(
    service: live.Service, tokenizer_folder: Path, data_files: dict[str, str], run: str
) -> None:
    rollouts = Rollouts(configuration(tokenizer_folder, data_files, service.url, run))
    group = [(True, 4), (False, 9), (True, 8), (False, 3)]
    verified = rollouts.verify(1, {"a": group})
    outputs = next(iter(verified.values()))
    outputs[1].reward_score = OUTCOMES["undecided"]
    (found,) = rollouts.advantages(verified).values()
    assert found[1] == 0.0
    rewards = reference.rewards(group, reference.next_level(1.0, [group]))
    kept = torch.tensor([rewards[n] for n in (0, 2, 3)])
    normalised = ((kept - kept.mean()) / (kept.std() + 1e-6)).tolist()
    assert [found[n] for n in (0, 2, 3)] == pytest.approx(normalised, abs=1e-5)


@pytest.mark.usefixtures("ray_cluster")
def test_a_verdict_that_is_missing_is_marked_for_our_estimator_alone(
    service: live.Service, tokenizer_folder: Path, data_files: dict[str, str], run: str
) -> None:
    """Another estimator would take the mark for a reward, and a group of wrong answers for one with a spread."""
    from omegaconf import OmegaConf

    for own, given in ((True, OUTCOMES["gold_unreadable"]), (False, -1.0)):
        config = configuration(tokenizer_folder, data_files, service.url, run)
        if not own:
            OmegaConf.set_struct(config, False)
            del config.algorithm["deepcompress"]
            config.algorithm.adv_estimator = "grpo"
        (outputs,) = Rollouts(config).verify(1, {"a": [(True, 4)]}, gold="\\frac{1}{").values()
        assert outputs[0].reward_score == given
        assert outputs[0].extra_fields["reward_extra_info"]["gold_unreadable"] == 1.0


@pytest.mark.usefixtures("ray_cluster")
def test_a_reward_that_something_was_added_to_is_refused(
    service: live.Service, tokenizer_folder: Path, data_files: dict[str, str], run: str
) -> None:
    rollouts = Rollouts(configuration(tokenizer_folder, data_files, service.url, run))
    verified = rollouts.verify(1, {"a": [(True, 4), (False, 9)]})
    next(iter(verified.values()))[0].reward_score = 0.93
    with pytest.raises(ValueError, match="something else was added"):
        rollouts.advantages(verified)


@pytest.mark.usefixtures("ray_cluster")
def test_trouble_on_the_way_changes_nothing_and_counts_nothing_twice(
    service: live.Service, tokenizer_folder: Path, data_files: dict[str, str], run: str
) -> None:
    with live.trouble(service) as between:
        rollouts = Rollouts(configuration(tokenizer_folder, data_files, between.url, run))
        between.faults = ["503", "unanswered", "lost", "slow", "unanswered", "503", "ok", "lost"]
        groups = {name: group for name, group in STEPS[0].items() if name not in FILTERED}
        verified = rollouts.verify(1, groups)
        between.faults = ["unanswered", "503", "restart", "lost"]
        advantages = rollouts.advantages(verified)
    level = reference.next_level(1.0, list(groups.values()))
    for found, group in zip(advantages.values(), groups.values(), strict=True):
        assert found == pytest.approx(expected(group, level), abs=1e-5)
    (entry,) = Client(service.url).run(run, join=True).history().steps
    assert (entry.groups, entry.rollouts) == (2, 8)
    assert entry.level == pytest.approx(level, abs=1e-12)


@pytest.mark.usefixtures("ray_cluster")
def test_a_service_that_stays_away_fails_the_sample_within_the_deadline(
    service: live.Service, tokenizer_folder: Path, data_files: dict[str, str], run: str
) -> None:
    with live.trouble(service.url) as between:
        config = configuration(tokenizer_folder, data_files, between.url, run, "+algorithm.deepcompress.deadline_s=2")
        rollouts = Rollouts(config)
        between.faults = ["503"] * 100
        with pytest.raises(Exception, match=r"503|overloaded"):
            rollouts.verify(1, {"a": [(True, 4)]})


def test_the_example_is_a_configuration_that_verl_takes(tmp_path: Path) -> None:
    """With the data that the example's own command makes, and the check that verl makes before it starts Ray."""
    rows = [{"question": f"what is {n} ?", "answer": f"so it is #### {n}"} for n in range(4)]
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    files = [str(tmp_path / "train.jsonl"), str(tmp_path / "test.jsonl"), str(tmp_path / "data")]
    subprocess.run([sys.executable, str(ROOT / "examples" / "verl" / "prepare.py"), *files], check=True)
    command = (ROOT / "examples" / "verl" / "run.sh").read_text().partition("verl.trainer.main_ppo")[2]
    values = {"$DATA": files[2], "$MODEL": "/model", "$RUN": "my-run", "${PRESET:-compress}": "compress"}
    for name, value in values.items():
        command = command.replace(name, value)
    overrides = [word for word in shlex.split(command.replace("\\\n", " ")) if word != "$@"]
    with initialize_config_dir(str(Path(verl.__file__).parent / "trainer" / "config"), version_base=None):
        config = compose("ppo_trainer", overrides=overrides)
    settings = Settings.of(config.algorithm)
    assert settings is not None
    if CheckpointCallback is None:
        with pytest.raises(ValueError, match=r"checkpoint_callback_class: verl before 0\.9\.1 calls none"):
            check(config, settings)
        config.trainer.checkpoint_callback_class = None
    with_reference, with_critic = need_reference_policy(config), need_critic(config)
    validate_config(config=config, use_reference_policy=with_reference, use_critic=with_critic)
    check(config, settings)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("trainer.use_v1=false", "use_v1"),
        ("trainer.v1.trainer_mode=elsewhere", "only sync, colocate_async, separate_async"),
        ("+algorithm.deepcompress.max_age=2", "max_off_policy_threshold"),
        ("algorithm.filter_groups.enable=true", "filter_groups.metric=.*only acc"),
        ("algorithm.adv_estimator=grpo", "only deepcompress_grpo"),
        ("algorithm.use_kl_in_reward=true", "use_kl_in_reward=false"),
        ("+algorithm.deepcompress.train_splits=[learn]", "train_splits"),
        ("+algorithm.deepcompress.keep_stps=3", "keep_stps"),
    ],
)
def test_settings_that_cannot_work_are_errors_at_start(
    tokenizer_folder: Path, data_files: dict[str, str], override: str, says: str
) -> None:
    from transformers import AutoTokenizer

    config = configuration(tokenizer_folder, data_files, "http://127.0.0.1:9", "r", override)
    with pytest.raises(Exception, match=says):
        DeepCompressRewardManager(config, AutoTokenizer.from_pretrained(tokenizer_folder))


def test_the_golds_of_the_first_rows_are_checked_at_start(
    service: live.Service, tokenizer_folder: Path, data_files: dict[str, str], run: str, tmp_path: Path
) -> None:
    import pandas
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    row = {"prompt": [{"role": "user", "content": "what"}], "extra_info": {"split": "train", "index": 0}}
    for golds, fails in (
        (["\\frac{1}{", "\\frac{2}{", "\\frac{3}{", "\\frac{4}{"], True),
        (["\\frac{1}{", "7"], False),
    ):
        rows = [{**row, "reward_model": {"ground_truth": gold, "style": "rule"}} for gold in golds]
        pandas.DataFrame(rows).to_parquet(tmp_path / "train.parquet")
        files = {**data_files, "train": str(tmp_path / "train.parquet")}
        config = configuration(tokenizer_folder, files, service.url, run)
        if fails:
            with pytest.raises(
                ValueError, match=r"4 of the first 4 different golds of reward_model\.ground_truth are not"
            ):
                DeepCompressRewardManager(config, tokenizer)
        else:
            DeepCompressRewardManager(config, tokenizer)


@pytest.mark.usefixtures("ray_cluster")
def test_golds_that_pass_are_checked_where_the_data_are_no_local_files(
    service: live.Service, tokenizer_folder: Path, data_files: dict[str, str], run: str
) -> None:
    rollouts = Rollouts(configuration(tokenizer_folder, data_files, service.url, run))
    for number in range(3):
        rollouts.verify(1, {f"p{number}": [(True, 4)]}, gold=f"\\frac{{{number}}}{{")
    with pytest.raises(Exception, match="4 of the first 4 different golds"):
        rollouts.verify(1, {"p3": [(True, 4)]}, gold="\\frac{3}{")


def test_a_filter_on_the_outcome_is_taken(tokenizer_folder: Path, data_files: dict[str, str]) -> None:
    more = ("algorithm.filter_groups.enable=true", "algorithm.filter_groups.metric=acc")
    config = configuration(tokenizer_folder, data_files, "http://127.0.0.1:9", "r", *more)
    check(config, Settings.of(config.algorithm) or pytest.fail("no run"))


@pytest.mark.usefixtures("ray_cluster")
def test_samples_of_one_uid_have_one_problem(
    service: live.Service, tokenizer_folder: Path, data_files: dict[str, str], run: str
) -> None:
    rollouts = Rollouts(configuration(tokenizer_folder, data_files, service.url, run))
    rollouts.verify(1, {"a": [(True, 4), (False, 3)]}, uid="one")
    with pytest.raises(Exception, match="samples of uid one have different prompts or golds"):
        rollouts.verify(1, {"a": [(True, 4)]}, uid="one", gold="2")
    with pytest.raises(Exception, match="samples of uid one have different prompts or golds"):
        rollouts.verify(1, {"b": [(True, 4)]}, uid="one")


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("mode", ["colocate_async", "separate_async"])
def test_the_asynchronous_modes_count_groups_at_the_trainers_step(
    service: live.Service, tokenizer_folder: Path, data_files: dict[str, str], run: str, mode: str
) -> None:
    """Groups of older policies and of earlier batches, one that is never trained, and a job that resumes with a group
    that its checkpoint restored: verl's own trainer passes the estimator the same and sets the step in the same way.
    """
    from verl.utils.skip import SkipManager

    from deepcompress_client.integrations import _ray
    from deepcompress_client.integrations import verl as adapter

    override = f"trainer.v1.trainer_mode={mode}"
    rollouts = Rollouts(configuration(tokenizer_folder, data_files, service.url, run, override))
    groups = {"a": STEPS[0]["a"], "b": STEPS[0]["b"], "hopeless": STEPS[1]["hopeless"], "late": STEPS[1]["b"]}
    verified = rollouts.verify(1, groups, version=0)
    uids = dict(zip(groups, verified, strict=True))
    fresh = rollouts.verify(2, {"a": STEPS[1]["a"]}, version=1)
    try:
        SkipManager.set_step(1)
        first = rollouts.advantages({uids["a"]: verified[uids["a"]]})
        assert next(iter(first.values())) == pytest.approx(expected(groups["a"], 1.0), abs=1e-5)

        SkipManager.set_step(2)  # two calls in one step, as separate_async makes one for each mini-batch
        level = reference.next_level(1.0, [groups["a"]])
        second = rollouts.advantages({uids["b"]: verified[uids["b"]]})
        assert next(iter(second.values())) == pytest.approx(expected(groups["b"], level), abs=1e-5)
        third = rollouts.advantages(fresh)
        assert next(iter(third.values())) == pytest.approx(expected(STEPS[1]["a"], level), abs=1e-5)
        history = Client(service.url).run(run, join=True).history().steps
        assert [(one.step, one.groups, one.mean_age, one.largest_age) for one in history] == [
            (1, 1, 0.0, 0),
            (2, 2, 0.5, 1),
        ]

        import ray

        ray.kill(_ray._openers.pop(run))  # the job ends, and the next one resumes at step 3
        adapter._runs.clear()
        SkipManager.set_step(3)
        restored = rollouts.advantages({uids["late"]: verified[uids["late"]]})
        level = reference.next_level(level, [groups["b"], STEPS[1]["a"]])
        assert next(iter(restored.values())) == pytest.approx(expected(groups["late"], level), abs=1e-5)
    finally:
        SkipManager.set_step(-1)
    state = Client(service.url).run(run, join=True)
    assert state.epoch == 1
    assert [(one.step, one.groups, one.observed_groups) for one in state.history().steps] == [
        (1, 1, 0),
        (2, 2, 0),
        (3, 1, 0),
    ], "the group that was never trained counts nowhere"


def test_a_restarted_job_goes_back_to_the_step_where_it_resumes(
    service: live.Service, tokenizer_folder: Path, data_files: dict[str, str], run: str, tmp_path: Path
) -> None:
    """Two Ray jobs, one after the other, each in a process of its own: the first is lost after step 3, the second
    resumes from the checkpoint of step 1.
    """
    job = textwrap.dedent(
        """
        import json, sys
        from pathlib import Path
        from tests.integrations import live
        from tests.integrations.test_verl import Rollouts, STEPS, configuration
        from deepcompress_client.integrations.verl import CheckpointCallback, DeepCompressCheckpoint

        model, files, url, run, steps = sys.argv[1:]
        with live.ray_cluster():
            rollouts = Rollouts(configuration(Path(model), json.loads(files), url, run))
            for step in json.loads(steps):
                groups = {name: STEPS[step % 2][name] for name in "ab"}
                rollouts.advantages(rollouts.verify(step, groups))
                if CheckpointCallback is not None:
                    DeepCompressCheckpoint(rollouts.config).on_save(None, global_step=step, checkpoint_dir="")
        """
    )

    def start(*steps: int) -> None:
        arguments = [str(tokenizer_folder), json.dumps(data_files), service.url, run, json.dumps(steps)]
        done = subprocess.run(
            [sys.executable, "-c", job, *arguments],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=1100,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    start(1, 2, 3)
    start(2)
    state = Client(service.url).run(run, join=True)
    assert [entry.step for entry in state.history().steps] == [1, 2]
    assert state.epoch == 1
    assert ("step-2" in {one["name"] for one in state.checkpoints()}) == (CheckpointCallback is not None)
    level = 1.0
    for step in (1, 2):
        level = reference.next_level(level, [STEPS[step % 2][name] for name in "ab"])
    assert state.history().steps[-1].level == pytest.approx(level, abs=1e-12)


# --- the service chooses the problems ------------------------------------------------------------------------------


@pytest.fixture
def chosen_files(tmp_path: Path) -> dict[str, str]:
    """Twelve problems and a row that repeats one of them."""
    import pandas

    files = {}
    for split, count in (("train", 12), ("test", 2)):
        rows = [
            {
                "prompt": [{"role": "user", "content": f"what {number}"}],
                "reward_model": {"ground_truth": str(number % 2 + 1), "style": "rule"},
                "data_source": f"set{number % 3}",
                "extra_info": {"split": split, "index": number},
            }
            for number in [*range(count), 0]
        ]
        files[split] = str(tmp_path / f"{split}.parquet")
        pandas.DataFrame(rows).to_parquet(files[split])
    return files


def loader(config: Any, dataset: Any) -> Any:
    """As the V1 trainer makes it."""
    from torchdata.stateful_dataloader import StatefulDataLoader
    from verl.trainer.ppo.utils import create_rl_sampler
    from verl.utils.dataset.rl_dataset import collate_fn

    sampler = create_rl_sampler(config.data, dataset)
    workers = config.data.dataloader_num_workers
    size = config.data.train_batch_size
    return StatefulDataLoader(
        dataset, batch_size=size, num_workers=workers, drop_last=True, collate_fn=collate_fn, sampler=sampler
    )


@pytest.mark.usefixtures("ray_cluster")
def test_the_service_chooses_the_problems_of_each_step(
    service: live.Service, tokenizer_folder: Path, chosen_files: dict[str, str], run: str, tmp_path: Path
) -> None:
    """The loader yields the recorded samples, under the names that the manager sends; a resume goes on."""
    from transformers import AutoTokenizer
    from verl.trainer.ppo.utils import create_rl_dataset

    lines = blocks("curriculum", "", PAGES.parent)[-1].split()
    more = [*lines, "data.train_batch_size=4", f"trainer.default_local_dir={tmp_path}"]
    config = configuration(tokenizer_folder, chosen_files, service.url, run, *more)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)

    def dataset(split: str) -> Any:
        return create_rl_dataset(config.data[f"{split}_files"], config.data, tokenizer, None)

    assert len(dataset("val")) == 3, "validation has its own rows, in their order"
    assert [row["index"] for row in dataset("val")] == [0, 1, 0]
    batches = loader(config, dataset("train"))
    assert len(batches) == 3
    opened = None
    seen = []
    for step, batch in enumerate(batches, 1):
        names = [
            problem_name(list(prompt), model["ground_truth"])
            for prompt, model in zip(batch["raw_prompt"], batch["reward_model"], strict=True)
        ]
        opened = opened or Client(service.url).run(run, join=True)
        sample = opened.sample(step, 4, "signal")
        assert names == [one.problem_id for one in sample.problems]
        assert list(batch["data_source"]) == [one.data_source for one in sample.problems]
        seen.append(names)
        if step == 1:
            saved = batches.state_dict()
    assert opened is not None and opened.dataset().problems == 12
    again = loader(config, dataset("train"))
    again.load_state_dict(saved)
    rest = [[row["content"] for prompt in batch["raw_prompt"] for row in prompt] for batch in again]
    assert len(rest) == 2 and len(set(rest[0])) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.dataloader_num_workers=8", "dataloader_num_workers=0"),
        ("data.shuffle=true", "shuffle=false"),
        ("+data.curriculum.unknown=1", "no setting unknown"),
        ("data.train_batch_size=64", "do not fill one batch"),
        ("~data.deepcompress", "data.deepcompress is missing"),
    ],
)
def test_settings_that_do_not_fit_a_curriculum_are_refused(
    tokenizer_folder: Path, chosen_files: dict[str, str], tmp_path: Path, change: str, message: str
) -> None:
    from transformers import AutoTokenizer
    from verl.trainer.ppo.utils import create_rl_dataset

    lines = blocks("curriculum", "", PAGES.parent)[-1].split()
    more = [*lines, "data.train_batch_size=4", f"trainer.default_local_dir={tmp_path}", change]
    config = configuration(tokenizer_folder, chosen_files, "http://127.0.0.1:9", "refused", *more)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    with pytest.raises(ValueError, match=message):
        create_rl_dataset(config.data.train_files, config.data, tokenizer, None)
