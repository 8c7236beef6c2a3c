"""The warnings that a request can cause, each given once, by a stable slug."""

from __future__ import annotations

from typing import Any

from deepcompress_service.scoring.warnings import reward_warnings
from deepcompress_service.shaping import Group, reward_from_config


def slugs(config: dict[str, Any], *groups: Group, **more: Any) -> set[str]:
    reward = reward_from_config(
        config,
        more.get("outcome"),
        more.get("length_weight", 1.0),
        more.get("overlong"),
        gate=more.get("gate"),
        advantage=more.get("advantage"),
    )
    return {slug for slug, _ in reward_warnings(reward, groups, reward.shape(groups))}


def group(correct: str, *tokens: int, truncated: str = "", **more: Any) -> Group:
    cut = truncated or "." * len(tokens)
    return Group(tuple(c == "+" for c in correct), tokens, tuple(c == "t" for c in cut), level=0.5, **more)


def test_a_healthy_batch_has_no_warning() -> None:
    assert slugs({"name": "deepcompress"}, group("++--", 100, 200, 300, 400), group("+-", 50, 60)) == set()


def test_each_trap_is_seen() -> None:
    fine = group("+-", 50, 60)
    assert slugs({"name": "deepcompress"}, fine, group("+-", 9, 9)) == {"equal-lengths"}
    assert slugs({"name": "deepcompress"}, group("++", 8, 9), group("++", 4, 5)) == {"all-solved"}
    assert slugs({"name": "deepcompress"}, fine, group("+-", 7, 9, truncated=".t")) == {"truncation-rate"}
    overlong = {"max_tokens": 55, "buffer_tokens": 10}
    assert slugs({"name": "deepcompress"}, fine, overlong=overlong) == {"longer-than-max"}
    assert slugs({"name": "l1_exact"}, group("+-", 8000, 10, target_tokens=10.0)) == {
        "correct-below-wrong",
        "wrong-pays-for-length",
    }
    assert slugs({"name": "alp"}, fine) == {"wrong-pays-for-length", "uncertain-formula"}


def test_one_truncated_in_five_is_not_yet_a_trap() -> None:
    assert slugs({"name": "deepcompress"}, group("+----", 1, 2, 3, 4, 5, truncated="....t")) == set()


def test_groups_that_cannot_be_trained_on_are_left_out() -> None:
    unreadable = group("--", 9, 9, truncated="tt", trainable=(False, False))
    assert slugs({"name": "deepcompress"}, group("+-", 50, 60), unreadable) == set()


def test_a_group_of_one_or_without_lengths_is_not_of_equal_lengths() -> None:
    plain = Group((True, False), None, (False, False))
    assert slugs({"name": "outcome"}, group("+", 9), group("-", 9), plain) == set()


def test_a_correct_rollout_paid_as_a_wrong_one_is_not_paid_less() -> None:
    config = {"name": "dapo_soft_overlong", "variant": "skyrl", "max_tokens": 100, "buffer_tokens": 50}
    assert "correct-below-wrong" not in slugs(config, group("+-", 200, 300))
    assert "correct-below-wrong" in slugs(config, group("+-", 200, 10), outcome={"wrong": 0.5})


def test_a_decoupled_penalty_of_correct_answers_cancels_the_outcome() -> None:
    """The rewards are in order, the advantages are not: the study's trainings with them lost 65 points."""
    config: dict[str, Any] = {"name": "arora_zanette", "alpha": 1.0}
    mixed = group("+++---", 100, 300, 800, 200, 300, 400)
    assert slugs(config, mixed) == set()
    assert slugs(config, mixed, advantage={"decouple": True}) == {"correct-below-wrong"}
    assert slugs(config, mixed, advantage={"decouple": True}, gate={}) == set()
    assert slugs(config, mixed, advantage={"decouple": True}, length_weight=0.1) == set()


def test_rollouts_that_are_not_trained_on_are_not_paid_less() -> None:
    config = {"name": "l1_exact"}
    assert "correct-below-wrong" in slugs(config, group("+-", 8000, 10, target_tokens=10.0))
    assert "correct-below-wrong" not in slugs(
        config, group("+-", 8000, 10, target_tokens=10.0, trainable=(False, True))
    )
