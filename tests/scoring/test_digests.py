"""Digests of groups: those of the first version still hold, and a later field adds to one only if it is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import StrictInt

from deepcompress_client.wire import GROUP_FIELDS, ROLLOUT_FIELDS, ScoreGroup, ScoreRollout, ShapeGroup, ShapeRollout
from deepcompress_service.scoring import records
from deepcompress_service.scoring.records import score_digest, shape_digest

ROWS = json.loads((Path(__file__).parents[1] / "data" / "digests.json").read_text())
MODELS = {"shape": ShapeGroup, "score": ScoreGroup}


class LaterShapeRollout(ShapeRollout):
    """A rollout with fields that a later version adds."""

    rating: StrictInt | None = None
    mood: str | None = None


class LaterScoreRollout(ScoreRollout):
    """A rollout with fields that a later version adds."""

    rating: StrictInt | None = None
    mood: str | None = None


class LaterShapeGroup(ShapeGroup):
    """A group of a later version."""

    weather: str | None = None
    rollouts: list[LaterShapeRollout]  # type: ignore[assignment]


class LaterScoreGroup(ScoreGroup):
    """A group of a later version."""

    weather: str | None = None
    rollouts: list[LaterScoreRollout]  # type: ignore[assignment]


LATER = {"shape": LaterShapeGroup, "score": LaterScoreGroup}


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digests of a version with two more fields of a rollout, and one of a group."""
    monkeypatch.setattr(records, "ROLLOUT_FIELDS", (*ROLLOUT_FIELDS, "rating", "mood"))
    monkeypatch.setattr(records, "_LATER_FIELDS", (*records._LATER_FIELDS, "rating", "mood"))
    monkeypatch.setattr(records, "GROUP_FIELDS", (*GROUP_FIELDS, "weather"))
    monkeypatch.setattr(records, "_LATER_GROUP_FIELDS", (*records._LATER_GROUP_FIELDS, "weather"))


def digest(group: ShapeGroup | ScoreGroup) -> str:
    made = shape_digest(group) if isinstance(group, ShapeGroup) else score_digest(group)
    return made.hex()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['kind']}-{row['digest'][:8]}")
def test_digests_of_the_first_version_hold(row: dict[str, Any]) -> None:
    assert digest(MODELS[row["kind"]](**row["group"])) == row["digest"]


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['kind']}-{row['digest'][:8]}")
def test_a_later_field_that_is_not_sent_adds_nothing(row: dict[str, Any]) -> None:
    assert digest(LATER[row["kind"]](**row["group"])) == row["digest"]
    nulls = [{**rollout, "rating": None} for rollout in row["group"]["rollouts"]]
    assert digest(LATER[row["kind"]](**{**row["group"], "rollouts": nulls, "weather": None})) == row["digest"]


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("kind", ["shape", "score"])
def test_a_later_field_that_is_sent_is_part_of_the_digest(kind: str) -> None:
    group = next(row["group"] for row in ROWS if row["kind"] == kind)
    first, *rest = group["rollouts"]
    sent: list[dict[str, Any]] = [{}, {"rating": 0}, {"rating": 1}, {"mood": ""}, {"rating": 1, "mood": "calm"}]
    digests = {digest(LATER[kind](**{**group, "rollouts": [{**first, **more}, *rest]})) for more in sent}
    digests.add(digest(LATER[kind](**{**group, "rollouts": [first, {**rest[0], "rating": 1}, *rest[1:]]})))
    digests |= {digest(LATER[kind](**{**group, "weather": weather})) for weather in ("", "fair")}
    assert len(digests) == len(sent) + 3


def test_every_field_of_a_rollout_is_part_of_the_digest() -> None:
    plain = {"correct": True, "tokens": 5}
    values: dict[str, Any] = {
        "tokens": 6,
        "scores": {"format": 0.5},
        "context_tokens": 7,
        "turns": 2,
        "policy_version": 3,
    }
    digests = [digest(ShapeGroup(problem_id="p", rollouts=[ShapeRollout(**plain)]))]
    for name in ROLLOUT_FIELDS:
        value = values.get(name, True)
        digests.append(digest(ShapeGroup(problem_id="p", rollouts=[ShapeRollout(**{**plain, name: value})])))
    assert len(set(digests)) == len(ROLLOUT_FIELDS) + 1
