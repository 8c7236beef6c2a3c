"""The Tinker cookbook's own group rollouts against a live service, with a scripted policy in place of Tinker's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deepcompress_client import Client, errors

from . import live, reference
from .pages import blocks

pytest.importorskip(
    "tinker_cookbook", reason="needs the Tinker cookbook: python tests/integrations/run_real.py tinker_cookbook"
)

import tinker
from tinker_cookbook.completers import TokenCompleter, TokensWithLogprobs
from tinker_cookbook.renderers import ParseTermination
from tinker_cookbook.rl.problem_env import ProblemEnv, ProblemGroupBuilder
from tinker_cookbook.rl.rollouts import do_group_rollout

GROUPS: list[list[reference.Rollout]] = [
    [(True, 4), (False, 9), (True, 8), (False, 3)],
    [(True, 3), (True, 12), (False, 5), (True, 6)],
]
RIGHT, WRONG, FILLER, END = 7, 8, 5, 1


class Renderer:
    """Words as tokens: an answer, then filler, then the end."""

    def build_generation_prompt(self, conversation: Any) -> Any:
        return tinker.ModelInput.from_ints([2, 3])

    def get_stop_sequences(self) -> list[int]:
        return [END]

    def parse_response(self, tokens: list[int]) -> Any:
        message = {"role": "assistant", "content": f"so \\boxed{{{tokens[0]}}}"}
        return message, ParseTermination.STOP_SEQUENCE


class Policy(TokenCompleter):  # type: ignore[misc]
    """Answers in the order of a group's rollouts."""

    def __init__(self, group: list[reference.Rollout], cut: int | None = None) -> None:
        self.left, self.cut = list(enumerate(group)), cut

    async def __call__(self, model_input: Any, stop: Any, **_: Any) -> Any:
        place, (correct, tokens) = self.left.pop(0)
        ids = [RIGHT if correct else WRONG, *[FILLER] * (tokens - 2), END]
        return TokensWithLogprobs(ids, [0.0] * tokens, "length" if place == self.cut else "stop")


class Env(ProblemEnv):  # type: ignore[misc]
    def __init__(self, question: str, answer: str) -> None:
        super().__init__(Renderer())
        self.question, self.answer = question, answer

    def get_question(self) -> str:
        return self.question

    def check_answer(self, sample_str: str) -> bool:
        return f"{{{self.answer}}}" in sample_str

    def check_format(self, sample_str: str) -> bool:
        return True

    def get_reference_answer(self) -> str:
        return self.answer


def names(service: live.Service, monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    """The names of the page's lines."""
    monkeypatch.setenv("DEEPCOMPRESS_URL", service.url)
    defined: dict[str, Any] = {"log_path": str(folder)}
    exec(compile(blocks("tinker_cookbook")[0], "tinker_cookbook.md", "exec"), defined)
    return defined


def roll(builder: Any, question: str, group: list[reference.Rollout], gold: str = "7", **policy: Any) -> Any:
    built = builder(env_thunk=lambda: Env(question, gold), num_envs=len(group))
    return asyncio.run(do_group_rollout(built, Policy(group, **policy)))


def test_the_lines_of_the_page_give_its_groups_their_rewards(
    service: live.Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    defined = names(service, monkeypatch, tmp_path)
    builder, level = defined["ShapedGroupBuilder"], 1.0
    defined["rewards"]._config["groups_per_step"] = 2
    for _ in range(2):
        for number, group in enumerate(GROUPS):
            rolled = roll(builder, f"what {number}", group, cut=1)
            # The cookbook's sum of the environment's own rewards and those of the group.
            assert rolled.get_total_rewards() == pytest.approx(reference.rewards(group, level), abs=1e-9)
            assert [one["deepcompress_correct"] for one in rolled.metrics_G] == [float(ok) for ok, _ in group]
        level = reference.next_level(level, GROUPS)
    plain = roll(ProblemGroupBuilder, "what 0", GROUPS[0])
    assert plain.get_total_rewards() == [1.0, 0.0, 1.0, 0.0], "a test set's groups pass by the service"
    steps = Client(service.url).run("my-run", join=True).history().steps
    assert [(entry.groups, entry.truncated) for entry in steps] == [(2, 2), (2, 2)]
    assert steps[-1].level == pytest.approx(level, abs=1e-12)

    (tmp_path / "checkpoints.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"has a checkpoint, checkpoints\.jsonl"):
        names(service, monkeypatch, tmp_path)
    with pytest.raises(errors.RunInUse):
        roll(names(service, monkeypatch, tmp_path / "another")["ShapedGroupBuilder"], "what", GROUPS[0])


def test_a_group_without_verdicts_has_no_spread(
    service: live.Service, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepcompress_client.integrations.tinker_cookbook import GroupRewards

    rewards = GroupRewards(run, groups_per_step=1, next_step=0, url=service.url)

    class Builder(ProblemGroupBuilder):  # type: ignore[misc]
        async def compute_group_rewards(self, trajectory_group: Any, env_group: Any) -> Any:
            return await rewards(trajectory_group, env_group)

    rolled = roll(Builder, "what", GROUPS[0], gold="\\frac{1}{")
    assert len({round(total, 9) for total in rolled.get_total_rewards()}) == 1
    assert [one["deepcompress_trainable"] for one in rolled.metrics_G] == [0.0] * 4
    monkeypatch.setattr("multiprocessing.parent_process", lambda: object())
    with pytest.raises(RuntimeError, match="no rollout executor"):
        roll(Builder, "what", GROUPS[0])
