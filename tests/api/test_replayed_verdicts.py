"""A repeat under another answer format keeps its recorded verdicts, and its caller is warned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deepcompress_verify import Verdict

SLUG = "replayed-verdicts-differ"


def body(run: str, *texts: str, **more: Any) -> dict[str, Any]:
    rollouts = [{"response": text, "tokens": 10 + index} for index, text in enumerate(texts)]
    return {"run": run, "step": 0, "groups": [{"problem_id": "p", "gold": "7", "rollouts": rollouts}], **more}


TEXTS = ("\\boxed{7}", "The answer is 7", "no")


def test_verdicts_that_would_differ_are_a_warning(service: TestClient, run: str) -> None:
    service.put(
        f"/v1/runs/{run}", json={}
    ).raise_for_status()  # else every answer of the step has the warning run-created
    first = service.post("/v1/score", json=body(run, *TEXTS)).json()
    again = service.post("/v1/score", json=body(run, *TEXTS)).json()
    assert again["warnings"] == []
    other = service.post("/v1/score", json=body(run, *TEXTS, answer_format="final_answer")).json()
    assert other["groups"] == [{**first["groups"][0], "replayed": True}]
    (warning,) = other["warnings"]
    assert warning.startswith(f"{SLUG}: ") and " 1 of their rollouts " in warning
    # In every answer while it holds, as every kind of warning.
    assert service.post("/v1/score", json=body(run, *TEXTS, answer_format="final_answer")).json() == other


def test_a_new_group_under_another_format_is_no_repeat(service: TestClient, run: str) -> None:
    service.post("/v1/score", json=body(run, *TEXTS))
    other = body(run, *TEXTS, answer_format="final_answer")
    other["groups"][0]["group_id"] = "another"
    answer = service.post("/v1/score", json=other).json()
    assert answer["groups"][0]["correct"] == [True, True, False]
    assert not any(warning.startswith(SLUG) for warning in answer["warnings"])


@pytest.mark.parametrize("undecided", ["recorded", "fresh"])
def test_undecided_verdicts_do_not_count(
    service: TestClient, run: str, undecided: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided = Verdict(True, "correct", "7", "string", "equal")
    verdicts = {"recorded": decided, "fresh": decided} | {undecided: Verdict(False, "undecided", "7", "limit", "")}
    pipeline = service.app.state.context.pipeline  # type: ignore[attr-defined]
    for name, verdict in verdicts.items():

        async def verify_many(checks: Sequence[object], *, verdict: Verdict = verdict, **_: object) -> list[Verdict]:
            return [verdict] * len(checks)

        monkeypatch.setattr(pipeline.verifier, "verify_many", verify_many)
        answer = service.post("/v1/score", json=body(run, "\\boxed{7}")).json()
        assert answer["groups"][0]["replayed"] is (name == "fresh")
        assert not any(warning.startswith(SLUG) for warning in answer["warnings"])
