"""Requests of the life of runs: configuration, state, checkpoints, exports, observations, waiting rollouts."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import Awaitable

from corpus.recorder import Json, Recorder, Row
from corpus.rows import SEED, shape_groups


async def send_runs(rec: Recorder) -> None:
    """Send requests on runs without text, whose whole state is deterministic: rewinds, exports, configurations."""
    draw = random.Random(SEED + 1)
    names = [f"set/{place:02}" for place in range(9)]
    steps = [shape_groups(draw, draw.sample(names, 5), 4, inputs=False) for _ in range(8)]
    config = {"strategy": {"name": "deepcompress"}, "keep_steps": 4}
    await rec.send("runs/put", "PUT", "/v1/runs/way", config)
    await rec.send("runs/put/again", "PUT", "/v1/runs/way", config)
    await rec.send("runs/put/other-before-state", "PUT", "/v1/runs/way", {**config, "length_weight": 2.0})
    await rec.send("runs/put/back", "PUT", "/v1/runs/way", config)
    for step, groups in enumerate(steps[:5]):
        await rec.send(f"runs/shape/{step}", "POST", "/v1/shape", {"run": "way", "step": step, "groups": groups})
        at = f"/v1/runs/way/checkpoints/at-{step}"
        await rec.send(f"runs/checkpoint/{step}", "POST", at, {"step": step})
    await rec.send("runs/put/with-state", "PUT", "/v1/runs/way", config)
    await rec.send("runs/put/part", "PUT", "/v1/runs/way", {"keep_steps": 4})
    await rec.send("runs/put/nothing", "PUT", "/v1/runs/way", {})
    await rec.send("runs/put/other", "PUT", "/v1/runs/way", {**config, "length_weight": 2.0})
    await rec.send("runs/checkpoint/later", "POST", "/v1/runs/way/checkpoints/past", {"step": 3})
    await rec.send("runs/checkpoint/future", "POST", "/v1/runs/way/checkpoints/future", {"step": 99})
    await rec.send("runs/checkpoint/old", "POST", "/v1/runs/way/checkpoints/old", {"step": 0})
    await rec.send("runs/checkpoint/get", "GET", "/v1/runs/way/checkpoints/at-1")
    await rec.send("runs/checkpoint/unknown", "GET", "/v1/runs/way/checkpoints/none")
    await rec.send("runs/checkpoint/list", "GET", "/v1/runs/way/checkpoints")
    await rec.send("runs/checkpoint/delete", "DELETE", "/v1/runs/way/checkpoints/at-1")
    await rec.send("runs/checkpoint/delete/again", "DELETE", "/v1/runs/way/checkpoints/at-1")
    await rec.send("runs/too-old", "POST", "/v1/shape", {"run": "way", "step": 0, "groups": steps[7]})
    late = [{**group, "group_id": f"late {group['problem_id']}"} for group in steps[6]]
    await rec.send("runs/late", "POST", "/v1/shape", {"run": "way", "step": 3, "groups": late})
    await rec.send("runs/history/late", "GET", "/v1/runs/way/history")
    exported = await rec.export("runs/export", "way")
    shown = {"export of": "way"}
    await rec.send("runs/import", "PUT", "/v1/runs/way-copy/import", content=exported, shown=shown)
    await rec.send("runs/import/export", "GET", "/v1/runs/way-copy/export")
    packed = gzip.compress(exported, mtime=0)
    await rec.send(
        "runs/import/gzip",
        "PUT",
        "/v1/runs/way-gzip/import",
        content=packed,
        shown=shown,
        headers={"content-encoding": "gzip"},
    )
    await rec.send("runs/import/replay", "POST", "/v1/shape", {"run": "way-copy", "step": 4, "groups": steps[4]})
    await rec.send("runs/import/go-on", "POST", "/v1/shape", {"run": "way-copy", "step": 5, "groups": steps[5]})
    lines = exported.splitlines()
    broken = {
        "empty": b"",
        "cut": b"\n".join(lines[:-1]),
        "after-end": b"\n".join([*lines, lines[1]]),
        "not-json": b"{",
        "count": b"\n".join([*lines[:2], lines[-1]]),
        "version": exported.replace(b'"version": 1', b'"version": 99').replace(b'"version":1', b'"version":99'),
        "table": exported.replace(b'"problems"', b'"troubles"'),
    }
    for kind, content in broken.items():
        await rec.send(
            f"runs/import/bad/{kind}", "PUT", "/v1/runs/way-bad/import", content=content, shown={"bad export": kind}
        )
    header = json.loads(lines[0])
    if "config_text" in header.get("meta", {}):
        stored = json.loads(header["meta"]["config_text"])
        for kind, text in (
            ("newer", json.dumps({**stored, "a_newer_field": 1})),
            ("strategy", json.dumps({**stored, "strategy": {"name": "no-such"}})),
            ("text", "nonsense"),
        ):
            header["meta"]["config_text"] = text
            await rec.send(
                f"runs/import/config/{kind}",
                "PUT",
                "/v1/runs/way-config/import",
                content=b"\n".join([json.dumps(header).encode(), *lines[1:]]),
                shown={"export with configuration": kind},
            )
    await rec.send("runs/rewind", "POST", "/v1/runs/way/rewind", {"next_step": 3})
    await rec.send("runs/rewind/too-far", "POST", "/v1/runs/way/rewind", {"next_step": 1})
    await rec.send(
        "runs/rewind/old-epoch", "POST", "/v1/shape", {"run": "way", "step": 3, "epoch": 1, "groups": late}
    )
    await rec.send("runs/rewind/go-on", "POST", "/v1/shape", {"run": "way", "step": 3, "groups": steps[6]})
    await rec.send("runs/rewind/history", "GET", "/v1/runs/way/history")
    await rec.send("runs/restore", "POST", "/v1/runs/way/restore", {"checkpoint": "at-2"})
    await rec.send("runs/restore/unknown", "POST", "/v1/runs/way/restore", {"checkpoint": "none"})
    await rec.send("runs/restore/problems", "GET", "/v1/runs/way/problems")
    await rec.send("runs/rewind/all", "POST", "/v1/runs/way/rewind", {"next_step": None})
    await rec.send("runs/rewind/all/get", "GET", "/v1/runs/way")
    await rec.send("runs/delete", "DELETE", "/v1/runs/way-copy")
    await rec.send("runs/delete/again", "DELETE", "/v1/runs/way-copy")
    await rec.send("runs/delete/get", "GET", "/v1/runs/way-copy")
    await rec.send("runs/delete/put", "PUT", "/v1/runs/way-copy", {})
    await rec.send("runs/created-by-shape", "POST", "/v1/shape", {"run": "way-new", "step": 7, "groups": steps[0]})
    await rec.send("runs/created-by-shape/get", "GET", "/v1/runs/way-new")

    # Runs without steps.
    await rec.send("stepless/put", "PUT", "/v1/runs/stepless", {"groups_per_step": 3})
    for number, groups in enumerate(steps[:6]):
        body = {"run": "stepless", "request_id": f"r{number}", "groups": groups[: 1 + number % 4]}
        await rec.send(f"stepless/{number}", "POST", "/v1/shape", body)
    body = {"run": "stepless", "request_id": "r3", "groups": steps[3][:4]}
    await rec.send("stepless/replay", "POST", "/v1/shape", body)
    await rec.send("stepless/conflict", "POST", "/v1/shape", {**body, "groups": steps[4]})
    await rec.send("stepless/kind", "POST", "/v1/shape", {"run": "stepless", "step": 1, "groups": steps[3]})
    await rec.send("stepless/history", "GET", "/v1/runs/stepless/history")
    await rec.send("stepless/export", "GET", "/v1/runs/stepless/export")
    await rec.send("stepped/kind", "POST", "/v1/shape", {"run": "way-new", "request_id": "r", "groups": steps[3]})


async def send_observing(rec: Recorder) -> None:
    """Send groups that are observed by verify, of which some are never shaped."""
    await rec.send("observe/put", "PUT", "/v1/runs/observed", {})
    for step in (1, 2):
        items = [
            {
                "id": f"{problem}-{index}",
                "gold": str(problem),
                "response": f"\\boxed{{{problem + (index * step + problem) % 3}}}",
                "run": "observed",
                "step": step,
                "problem_id": f"o{problem}",
                "group_id": f"{step}-o{problem}",
                "rollout_id": f"{step}-{problem}-{index}",
                "tokens": 40 + 9 * index + problem,
                "truncated": index == 3,
            }
            for problem in range(5)
            for index in range(4)
        ]
        answer = await rec.send(f"observe/{step}/verify", "POST", "/v1/verify", {"items": items})
        await rec.send(f"observe/{step}/verify/again", "POST", "/v1/verify", {"items": items[:6]})
        right = [verdict["correct"] for verdict in answer["verdicts"]]
        groups = [
            {
                "group_id": f"{step}-o{problem}",
                "rollouts": [
                    {
                        "correct": right[problem * 4 + index],
                        "tokens": 40 + 9 * index + problem,
                        "truncated": index == 3,
                    }
                    for index in range(4)
                ],
            }
            for problem in (0, 2)
        ]
        await rec.send(
            f"observe/{step}/shape", "POST", "/v1/shape", {"run": "observed", "step": "observed", "groups": groups}
        )
        groups[0] = {**groups[0], "group_id": f"{step}-o3"}
        await rec.send(
            f"observe/{step}/named", "POST", "/v1/shape", {"run": "observed", "step": step, "groups": groups[:1]}
        )
    unseen = [{"group_id": "unseen", "rollouts": [{"correct": True, "tokens": 4}]}]
    await rec.send("observe/unseen", "POST", "/v1/shape", {"run": "observed", "step": "observed", "groups": unseen})
    await rec.send("observe/unnamed", "POST", "/v1/shape", {"run": "observed", "step": 2, "groups": unseen})
    await rec.send(
        "observe/close",
        "POST",
        "/v1/shape",
        {"run": "observed", "step": 3, "groups": [{"problem_id": "o1", **unseen[0]}]},
    )
    await rec.send("observe/history", "GET", "/v1/runs/observed/history")
    await rec.send("observe/problems", "GET", "/v1/runs/observed/problems")
    for step in (4, 5):
        items = [{**items[0], "step": step, "group_id": "both", "rollout_id": str(step)}]
        await rec.send(f"observe/both/{step}", "POST", "/v1/verify", {"items": items})
    both = {"run": "observed", "step": "observed", "groups": [{**unseen[0], "group_id": "both"}]}
    await rec.send("observe/both", "POST", "/v1/shape", both)
    late: Row = {"gold": "1", "response": "\\boxed{1}", "run": "observed", "problem_id": "o1", "rollout_id": "x"}
    await rec.send("observe/late", "POST", "/v1/verify", {"items": [{**late, "step": 1}]})
    await rec.send("observe/eval", "POST", "/v1/verify", {"items": [{**late, "phase": "eval"}]})
    await rec.send("observe/no-step", "POST", "/v1/verify", {"items": [late]})
    await rec.send("observe/epoch", "POST", "/v1/verify", {"items": [{**late, "step": 4, "epoch": 77}]})
    await rec.send("observe/unknown-run", "POST", "/v1/verify", {"items": [{**late, "run": "no-such", "step": 4}]})
    elsewhere = {"problem_id": "o9", "rollouts": [{"correct": True, "tokens": 9}, {"correct": False}]}
    await rec.send(
        "observe/elsewhere", "POST", "/v1/observe", {"run": "verified-elsewhere", "step": 1, "groups": [elsewhere]}
    )


async def send_rollouts(rec: Recorder) -> None:
    """Send single rollouts that wait for their group, and one for each reason to refuse it."""

    def body(group: str, index: int, **more: Json) -> Row:
        return {
            "run": "single",
            "step": 1,
            "problem_id": group,
            "group_size": 3,
            "rollout_index": index,
            "gold": "\\frac{3}{4}",
            "response": f"so \\boxed{{{('0.75', '3/4', '1/8')[index % 3]}}}",
            "tokens": 30 + 11 * index,
            **more,
        }

    def post(name: str, sent: Row) -> Awaitable[Json]:
        return rec.send(f"rollouts/{name}", "POST", "/v1/rollouts", sent)

    async def first(name: str, sent: Row) -> asyncio.Task[Json]:
        task = asyncio.create_task(ensure(post(name, sent)))
        await asyncio.sleep(1.5)
        return task

    for group in ("a", "b"):
        await asyncio.gather(*(post(f"{group}/{index}", body(group, index)) for index in range(3)))
        await post(f"{group}/replay", body(group, 1))
    for index in range(2):
        await post(f"one/{index}", body(f"one-{index}", 0, group_size=1))
    waits = await first("held/0", body("held", 0))
    await post("held/conflict", body("held", 0, response="\\boxed{7}"))
    await post("held/mismatch", body("held", 1, gold="8"))
    second = await first("held/attempt-1/0", body("held", 0, attempt=1))
    await waits
    await post("held/superseded", body("held", 1))
    await asyncio.gather(*(post(f"held/attempt-1/{index}", body("held", index, attempt=1)) for index in (1, 2)))
    await second
    await post("partial/0", body("partial", 0, timeout_s=1.0))
    await post("partial/late", body("partial", 1, timeout_s=1.0))
    await post("partial/attempt-1", body("partial", 1, attempt=1))
    await post("eval", body("eval", 1, phase="eval"))
    await post("eval/final", body("eval", 1, phase="eval", answer_format="final_answer", response="Answer: 3/4"))
    await rec.send("rollouts/final/put", "PUT", "/v1/runs/single-final", {"answer_format": "final_answer"})
    for phase in ("train", "eval"):
        final = body("final", 0, run="single-final", phase=phase, group_size=1, response="The answer is 3/4.")
        await post(f"final/{phase}", final)
    await post("index", body("wrong", 3))
    await post("epoch", body("wrong", 0, epoch=44))
    await post("tokens", {key: value for key, value in body("wrong", 0).items() if key != "tokens"})
    await post("gold", body("wrong", 0, gold="9" * 70_000))
    await rec.send("rollouts/run", "GET", "/v1/runs/single")
    await rec.send("rollouts/history", "GET", "/v1/runs/single/history")
    stepless = [body("g", index, run="single-stepless", step=None) for index in range(3)]
    await rec.send("rollouts/stepless/put", "PUT", "/v1/runs/single-stepless", {"groups_per_step": 2})
    await asyncio.gather(*(post(f"stepless/{sent['rollout_index']}", sent) for sent in stepless))


async def ensure(work: Awaitable[Json]) -> Json:
    return await work
