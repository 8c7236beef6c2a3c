"""Clients and services of different versions: a newer answer and an older answer are both read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from deepcompress_client import errors, wire
from deepcompress_client._core import Reply, read

from .stub import Stub, shaped

GROUP = {"problem_id": "p", "rollouts": [{"correct": True, "tokens": 3}, {"correct": False, "tokens": 4}]}
INFO = {
    "run": "r",
    "epoch": 3,
    "config": {"strategy": {"name": "deepcompress", "alpha": 0.5}, "length_weight": 0.5, "keep_steps": 8},
    "kind": "stepped",
    "step": 4,
    "level": 0.5,
    "batch_pass_ratio": 0.25,
    "problems": 2,
}


def answering(answer: dict[str, Any]) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(200, json=answer)


def test_a_run_of_a_newer_service_is_read_without_its_new_settings(client: Callable[..., Any]) -> None:
    newer = {**INFO, "owner": "somebody", "config": {**INFO["config"], "curriculum": {"from": 3}}}  # type: ignore[dict-item]
    newer["config"]["outcome"] = {"correct": 2.0, "partly": 0.5}  # type: ignore[index]
    newer["config"]["overlong"] = {"max_tokens": 9, "buffer_tokens": 3, "unit": "tokens"}  # type: ignore[index]
    run = client(handler=answering(newer)).run("r", join=True)
    info = run.info()
    known = {"outcome": {"correct": 2.0}, "overlong": {"max_tokens": 9, "buffer_tokens": 3}}
    older = {**INFO, "config": {**INFO["config"], **known}}  # type: ignore[dict-item]
    assert info == read(wire.RunInfo, Reply(200, json.dumps(older).encode()))
    assert (run.epoch, info.config.keep_steps, info.config.length_weight) == (3, 8, 0.5)


def test_every_run_of_a_newer_service_is_listed(client: Callable[..., Any]) -> None:
    newer = {**INFO, "config": {**INFO["config"], "curriculum": None}}  # type: ignore[dict-item]
    assert [info.run for info in client(handler=answering({"runs": [newer]})).runs()] == ["r"]


def test_a_setting_that_a_caller_misspells_is_still_refused(client: Callable[..., Any]) -> None:
    with pytest.raises(errors.InvalidRequest, match="keep_step"):
        client(handler=Stub()).run("r", keep_step=3)


def test_rewards_of_an_older_service_are_read(client: Callable[..., Any]) -> None:
    """Its groups have no ``length_term``, no ``why`` and none of the fields that a strategy adds."""
    older = shaped({"groups": [GROUP], "run": "r", "epoch": 3, "step": 4})
    for group in older["groups"]:
        del group["replayed"], group["stale"]
    (group,) = client(handler=answering(older)).shape([GROUP], run="r", step=4).groups
    assert (group.length_term, group.why, group.mask, group.weights, group.advantages) == (None,) * 5
    assert (group.replayed, group.stale) == (False, False)
    assert "length_term" not in group.to_dict()
    assert "why" not in group.to_dict()


def test_rewards_of_a_newer_service_are_read_without_its_new_fields(client: Callable[..., Any]) -> None:
    newer = shaped({"groups": [GROUP], "run": "r", "epoch": 3, "step": 4})
    expected = client(handler=answering(newer)).shape([GROUP], run="r", step=4)
    for group in newer["groups"]:
        group["novelty"] = [0.5, 0.5]
        group["components"] = {**group["components"], "novelty": [0.1, 0.2]}
    assert client(handler=answering({**newer, "took_ms": 3})).shape([GROUP], run="r", step=4) == expected
