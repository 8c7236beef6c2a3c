"""Requests in the protocols of training frameworks."""

from __future__ import annotations

import asyncio

from corpus.recorder import Json, Recorder, Row
from corpus.runs import ensure


async def send_compat(rec: Recorder) -> None:
    """Send requests in the protocols of the frameworks."""
    query = ["What is 6 times 7? So it is \\boxed{42}<|im_end|>", "2+2? \\boxed{5}</s>", "3? it is three"]
    openrlhf = {
        "query": query,
        "prompts": ["What is 6 times 7? ", "2+2?", "other"],
        "labels": ["42", 4, ["3", "three"]],
    }
    at = "/compat/openrlhf/get_reward"
    await rec.send("openrlhf/pm1", "POST", at, openrlhf)
    await rec.send("openrlhf/0_1", "POST", f"{at}?outcome_range=0_1&answer_format=final_answer", openrlhf)
    await rec.send("openrlhf/labels", "POST", at, {**openrlhf, "labels": ["1"]})
    await rec.send("openrlhf/null", "POST", at, {**openrlhf, "labels": ["1", None, "2"]})
    await rec.send("openrlhf/range", "POST", f"{at}?outcome_range=2", openrlhf)

    for name, sent in {
        "right": {"prompt": "?", "response": "\\boxed{42}", "label": "42"},
        "wrong": {"prompt": "?", "response": "\\boxed{41}", "label": 42},
        "nothing": {"response": "", "label": "42"},
        "gold": {"response": "\\boxed{1}", "label": "\\frac{"},
        "no-label": {"response": "\\boxed{1}"},
    }.items():
        await rec.send(f"slime/{name}", "POST", "/compat/slime/rm", sent)
        await rec.send(f"slime/{name}/object", "POST", "/compat/slime/rm?reply=object", sent)

    task = {
        "global_step": 3,
        "data_id": "p7",
        "rollout_id": "5d0c",
        "response": "So \\boxed{42}",
        "reward_info": {"ground_truth": "42"},
        "reward_manager": ["math"],
    }
    for name, query_text, sent in (
        ("right", "", task),
        ("wrong", "?outcome_range=pm1", {**task, "response": "\\boxed{1}"}),
        ("marked", "?untrainable=marked", {**task, "reward_info": {"ground_truth": "\\frac{"}}),
        ("run", "?run=roll", task),
        ("run-unnamed", "?run=roll", {**task, "data_id": None}),
        ("no-gold", "", {**task, "reward_info": {}}),
    ):
        answer = await rec.send(f"roll/{name}", "POST", f"/compat/roll/submit_task{query_text}", sent)
        if "reward_request_id" in answer:
            asked = {"reward_request_id": answer["reward_request_id"]}
            await rec.send(f"roll/{name}/result", "POST", "/compat/roll/task_result", asked)
            await rec.send(f"roll/{name}/result/get", "GET", "/compat/roll/task_result", asked)
    await rec.send("roll/unknown", "POST", "/compat/roll/task_result", {"reward_request_id": "nonsense"})

    def row(index: int, text: str, group: Json = None, **more: Json) -> Row:
        named: Row = {} if group is None else {"_ng_group_id": group}
        return {
            "responses_create_params": {"input": [{"role": "user", "content": "What is 6 times 7?"}]},
            "expected_answer": "42",
            "_ng_task_index": 5,
            "_ng_rollout_index": index,
            "response": {
                "id": f"resp-{group}-{index}",
                "output": [
                    {"type": "reasoning", "summary": []},
                    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]},
                ],
                "usage": {"output_tokens": 20 + 7 * index},
            },
            **named,
            **more,
        }

    def text(index: int) -> str:
        return f"it is \\boxed{{{(42, 41, 42)[index]}}}"

    at = "/compat/nemo_gym/verify"
    await rec.send("nemo_gym/right", "POST", at, row(0, text(0)))
    await rec.send("nemo_gym/wrong", "POST", f"{at}?outcome_range=pm1", row(1, text(1)))
    await rec.send("nemo_gym/gold", "POST", f"{at}?gold=answer", row(0, text(0), answer=[42, "x"]))
    await rec.send("nemo_gym/masked", "POST", at, row(0, text(0), expected_answer="\\frac{"))
    cut = row(0, "and so")
    cut["response"]["incomplete_details"] = {"reason": "max_output_tokens"}
    await rec.send("nemo_gym/cut", "POST", at, cut)
    await rec.send("nemo_gym/no-gold", "POST", f"{at}?gold=none", row(0, text(0)))
    await rec.send("nemo_gym/cohort-alone", "POST", f"{at}?cohort=3", row(0, text(0)))
    await rec.send("cohort/unknown-run", "POST", f"{at}?run=no-such&cohort=1", row(0, text(0), "u"))
    await rec.send("cohort/stepless/put", "PUT", "/v1/runs/gym-plain", {})
    await rec.send("cohort/no-groups-per-step", "POST", f"{at}?run=gym-plain&cohort=1", row(0, text(0), "u"))
    await rec.send("cohort/put", "PUT", "/v1/runs/gym", {"groups_per_step": 2})
    held = f"{at}?run=gym&cohort=3"
    for group in ("g1", "g2", "g3", None):
        await asyncio.gather(
            *(rec.send(f"cohort/{group}/{index}", "POST", held, row(index, text(index), group)) for index in range(3))
        )
        await rec.send(f"cohort/{group}/replay", "POST", held, row(1, text(1), group))
    await rec.send("cohort/partial", "POST", f"{held}&timeout_s=1", row(0, text(0), "partial"))
    await rec.send("cohort/partial/late", "POST", held, row(1, text(1), "partial"))
    waits = asyncio.create_task(ensure(rec.send("cohort/held/0", "POST", held, row(0, text(0), "held"))))
    await asyncio.sleep(1.5)
    await rec.send("cohort/held/conflict", "POST", held, row(0, "\\boxed{9}", "held"))
    await rec.send("cohort/held/mismatch", "POST", held, row(1, text(1), "held", expected_answer="3"))
    again = asyncio.create_task(
        ensure(rec.send("cohort/held/again/0", "POST", held, row(0, text(0), "held", _ng_group_attempt=1)))
    )
    await waits
    await asyncio.sleep(0.5)
    await rec.send("cohort/held/superseded", "POST", held, row(1, text(1), "held"))
    await asyncio.gather(
        *(
            rec.send(f"cohort/held/again/{index}", "POST", held, row(index, text(index), "held", _ng_group_attempt=1))
            for index in (1, 2)
        ),
        again,
    )
    await rec.send("cohort/index", "POST", held, row(7, text(0), "index"))
    await rec.send("cohort/name", "POST", held, row(0, text(0), ""))
    no_usage = row(0, text(0), "tokens")
    del no_usage["response"]["usage"]
    await rec.send("cohort/tokens", "POST", held, no_usage)
    await rec.send("cohort/history", "GET", "/v1/runs/gym/history")
    for name in ("seed_session", "close_session"):
        await rec.send(f"nemo_gym/{name}", "POST", f"/compat/nemo_gym/{name}", {})
    await rec.send("nemo_gym/reverify_mode", "GET", "/compat/nemo_gym/reverify_mode")
    rows = [{"_ng_task_index": place % 3, "reward": place * 0.3, "n": place} for place in range(8)]
    rows.append({"_ng_task_index": 0, "reward": 0.0, "mask_sample": True})
    at = "/compat/nemo_gym/aggregate_metrics"
    await rec.send("nemo_gym/aggregate", "POST", at, {"verify_responses": rows})
