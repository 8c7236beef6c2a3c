"""The endpoints with the frameworks' own protocols, with the payloads that those frameworks document."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from deepcompress_client import Client

from . import live


@pytest.fixture(scope="module")
def http(service: live.Service) -> Any:
    with httpx.Client(base_url=f"{service.url}/compat", timeout=30) as client:
        yield client


# --- OpenRLHF -------------------------------------------------------------------------------------------


def query(response: str, prompt: str = "What is 6 times 7? ") -> dict[str, Any]:
    return {"query": [prompt + response], "prompts": [prompt], "labels": ["42"]}


def test_openrlhf_gets_lists_of_the_length_it_sent(http: httpx.Client) -> None:
    body = {
        "query": ["Q1 it is \\boxed{42}<|im_end|>", "Q2 it is \\boxed{41}</s>", "Q3 no answer"],
        "prompts": ["Q1 ", "Q2 ", "Q3 "],
        "labels": ["42", 42, ["42", "43"]],
    }
    answer = http.post("/openrlhf/get_reward", json=body).json()
    assert answer["rewards"] == [1.0, -1.0, -1.0]
    assert answer["scores"] == [1.0, 0.0, 0.0]
    assert {name: len(values) for name, values in answer["extra_logs"].items()} == {
        "acc": 3,
        "untrainable": 3,
        "prompt_not_found": 3,
    }


def test_openrlhf_evaluation_can_have_pass_rates_in_rewards(http: httpx.Client) -> None:
    answer = http.post("/openrlhf/get_reward?outcome_range=0_1", json=query("\\boxed{41}")).json()
    assert answer["rewards"] == answer["scores"] == [0.0]


def test_openrlhf_reads_the_answer_after_the_prompt_only(http: httpx.Client) -> None:
    prompt = "Answer as in \\boxed{42}. "
    asked = http.post("/openrlhf/get_reward", json=query("I do not know.", prompt)).json()
    assert asked["rewards"] == [-1.0]
    begun = {**query("I do not know.", prompt)}
    begun["query"] = ["<s>" + begun["query"][0]]  # a beginning-of-text token before the prompt
    assert http.post("/openrlhf/get_reward", json=begun).json()["rewards"] == [-1.0]
    assert http.post("/openrlhf/get_reward", json=begun).json()["extra_logs"]["prompt_not_found"] == [0.0]


def test_openrlhf_special_tokens_at_the_end_are_no_part_of_a_bare_answer(http: httpx.Client) -> None:
    body = query("42<|im_end|>\n<|endoftext|>")
    assert http.post("/openrlhf/get_reward?answer_format=bare", json=body).json()["scores"] == [1.0]


def test_openrlhf_mistakes_are_refused_by_name(http: httpx.Client) -> None:
    short = http.post("/openrlhf/get_reward", json={**query("x"), "labels": []})
    assert (short.status_code, "labels" in short.json()["detail"]) == (422, True)
    empty = http.post("/openrlhf/get_reward", json={**query("x"), "labels": [None]})
    assert (empty.status_code, "labels.0" in empty.json()["detail"]) == (422, True)


def test_an_unreadable_gold_is_marked_and_not_a_silent_zero(http: httpx.Client) -> None:
    body = {**query("\\boxed{4}"), "labels": ["\\frac{1}{"]}
    answer = http.post("/openrlhf/get_reward", json=body).json()
    assert answer["rewards"] == [-1.0]
    assert answer["extra_logs"]["untrainable"] == [1.0]


# --- slime ----------------------------------------------------------------------------------------------

SLIME = {"prompt": [{"role": "user", "content": "6 times 7?"}], "response": "So \\boxed{42}", "label": "42"}


def test_slime_gets_a_bare_number_which_is_the_raw_outcome(http: httpx.Client) -> None:
    assert http.post("/slime/rm", json=SLIME).json() == 1.0
    assert http.post("/slime/rm", json={**SLIME, "response": "So \\boxed{41}"}).json() == 0.0
    assert http.post("/slime/rm?outcome_range=pm1", json={**SLIME, "response": "?"}).json() == -1.0


def test_slime_gets_an_object_for_its_reward_keys(http: httpx.Client) -> None:
    answer = http.post("/slime/rm?reply=object", json={**SLIME, "response": "So \\boxed{41}"}).json()
    assert answer == {"reward": -1.0, "acc": 0.0, "status": "wrong", "untrainable": False}


# --- ROLL -----------------------------------------------------------------------------------------------

ROLL: dict[str, Any] = {
    "priority": 0,
    "project_id": "math",
    "experiment_id": "first",
    "global_step": 3,
    "data_id": "p/7",
    "rollout_id": "5d0c",
    "prompt": "6 times 7?",
    "response": "So \\boxed{42}",
    "reward_info": {"ground_truth": "42"},
    "reward_manager": ["math"],
    "timeout": 300,
}


def roll_result(http: httpx.Client, submitted: httpx.Response) -> dict[str, Any]:
    assert submitted.json()["errcode"] == 0
    request_id = submitted.json()["reward_request_id"]
    result: dict[str, Any] = http.request("GET", "/roll/task_result", json={"reward_request_id": request_id}).json()
    return result


def test_roll_submits_and_requests_the_result(http: httpx.Client) -> None:
    right = roll_result(http, http.post("/roll/submit_task", json=ROLL))
    assert (right["errcode"], right["reward_score"], right["dimention_reward_score"]["acc"]) == (0, 1.0, 1.0)
    wrong = roll_result(http, http.post("/roll/submit_task", json={**ROLL, "response": "\\boxed{1}"}))
    assert wrong["reward_score"] == 0.0
    signed = http.post("/roll/submit_task?outcome_range=pm1", json={**ROLL, "response": "\\boxed{1}"})
    assert roll_result(http, signed)["reward_score"] == -1.0


def test_a_roll_result_survives_a_restart_between_the_calls(tmp_path: Any) -> None:
    with live.serving(tmp_path) as own, httpx.Client(base_url=f"{own.url}/compat") as http:
        submitted = http.post("/roll/submit_task", json=ROLL)
        own.kill()
        own.start()
        assert roll_result(http, submitted)["reward_score"] == 1.0


def test_roll_verdicts_are_observed_where_a_run_is_named(http: httpx.Client, service: live.Service, run: str) -> None:
    opened = Client(service.url).run(run)
    for rollout, answer in enumerate(["42", "42", "41", "42"]):
        body = {**ROLL, "response": f"\\boxed{{{answer}}}", "rollout_id": str(rollout)}
        http.post(f"/roll/submit_task?run={run}", json=body)
    opened.shape([{"problem_id": "q", "rollouts": [{"correct": True, "tokens": 5}] * 2}], step=4)
    (observed,) = [entry for entry in opened.history().steps if entry.step == 3]
    assert (observed.observed_groups, observed.batch_pass_ratio) == (1, 0.75)


def test_roll_sends_its_key_in_a_header_of_its_own(tmp_path: Any) -> None:
    with live.serving(tmp_path, API_KEYS="secret") as own, httpx.Client(base_url=f"{own.url}/compat") as http:
        assert http.post("/roll/submit_task", json=ROLL).status_code == 401
        for value in ("secret", "Bearer secret"):
            sent = http.post("/roll/submit_task", json=ROLL, headers={"XRL-Authorization": value})
            assert sent.status_code == 200, sent.text
        assert http.post("/roll/submit_task", json=ROLL, headers={"XRL-Authorization": "no"}).status_code == 401


def test_a_made_up_roll_result_is_refused(http: httpx.Client) -> None:
    for made_up in ("", "!!!", "bnVsbA==", "WzFd"):
        assert http.post("/roll/task_result", json={"reward_request_id": made_up}).status_code == 422


# --- NeMo Gym -------------------------------------------------------------------------------------------


def gym_row(text: str, **more: Any) -> dict[str, Any]:
    """A row as NeMo Gym's agents send it, with the token ids that training adds."""
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
        "prompt_token_ids": [1, 2, 3],
        "generation_token_ids": [4, 5, 6, 7],
        "generation_log_probs": [-0.1] * 4,
    }
    thought = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "\\boxed{99}"}]}
    return {
        "responses_create_params": {"input": [{"role": "user", "content": "6 times 7?"}]},
        "response": {"id": "resp_1", "object": "response", "output": [thought, message]},
        "expected_answer": "42",
        "question": "6 times 7?",
        **more,
    }


def test_nemo_gym_gets_its_row_back_with_the_reward(http: httpx.Client) -> None:
    row = gym_row("So \\boxed{42}", _ng_task_index=3, _ng_rollout_index=1)
    answer = http.post("/nemo_gym/verify", json=row).json()
    assert {name: answer[name] for name in row} == row
    assert (answer["reward"], answer["accuracy"], answer["mask_sample"]) == (1.0, 1.0, False)
    assert sum(answer["reward_components"].values()) == answer["reward"]
    assert http.post("/nemo_gym/verify", json=gym_row("\\boxed{41}")).json()["reward"] == 0.0


def test_nemo_gym_what_cannot_be_judged_is_masked(http: httpx.Client) -> None:
    answer = http.post("/nemo_gym/verify", json=gym_row("\\boxed{4}", expected_answer="\\frac{1}{")).json()
    assert (answer["reward"], answer["mask_sample"], answer["failure_kind"]) == (0.0, True, "gold_unreadable")
    assert sum(answer["reward_components"].values()) == answer["reward"]
    missing = http.post("/nemo_gym/verify", json={**gym_row("x"), "expected_answer": None})
    assert (missing.status_code, "expected_answer" in missing.json()["detail"]) == (422, True)


def test_nemo_gym_text_with_lone_surrogates_is_answered(http: httpx.Client) -> None:
    body = b'{"expected_answer":"42","response":{"output":[{"type":"message","content":"\\ud800 \\\\boxed{42}"}]}}'
    answer = http.post("/nemo_gym/verify", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["reward"]) == (200, 1.0)


def test_nemo_gym_sessions_and_metrics(http: httpx.Client) -> None:
    assert http.post("/nemo_gym/seed_session", json=gym_row("")).json() == {}
    assert http.post("/nemo_gym/close_session", json={}).json() == {}
    assert http.get("/nemo_gym/reverify_mode").status_code == 200
    rows = [
        {"_ng_task_index": 0, "_ng_rollout_index": 0, "reward": 1.0},
        {"_ng_task_index": 0, "_ng_rollout_index": 1, "reward": 0.0},
        {"_ng_task_index": 1, "_ng_rollout_index": 0, "reward": 1.0},
        {"_ng_task_index": 1, "_ng_rollout_index": 1, "reward": 0.0, "mask_sample": True},
    ]
    answer = http.post("/nemo_gym/aggregate_metrics", json={"verify_responses": rows}).json()
    assert answer["key_metrics"]["mean/reward"] == pytest.approx(2 / 3)
    assert [(group["_ng_task_index"], group["mean/reward"]) for group in answer["group_level_metrics"]] == [
        (0, 0.5),
        (1, 1.0),
    ]


# --- all ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/openrlhf/get_reward", query("\\boxed{42}")),
        ("/slime/rm", SLIME),
        ("/roll/submit_task", ROLL),
        ("/nemo_gym/verify", gym_row("\\boxed{42}")),
    ],
)
def test_the_keys_that_guard_the_service_guard_these_too(tmp_path: Any, path: str, body: dict[str, Any]) -> None:
    with live.serving(tmp_path, API_KEYS="secret") as own, httpx.Client(base_url=f"{own.url}/compat") as http:
        assert http.post(path, json=body).status_code == 401
        assert http.post(path, json=body, headers={"Authorization": "Bearer secret"}).status_code == 200
