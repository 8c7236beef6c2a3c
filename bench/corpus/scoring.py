"""Requests that verify, shape and score, with each strategy, and the pages that show them."""

from __future__ import annotations

import random
import re

import httpx

from corpus.recorder import Json, Recorder, Row, answer_of, metric_names, nothing
from corpus.rows import SEED, gsm8k_groups, read_rows, shape_groups


async def send_service_pages(rec: Recorder) -> None:
    """Send requests for health, descriptions, pages, and paths that do not exist."""
    await rec.send("service/healthz", "GET", "/healthz")
    await rec.send("service/readyz", "GET", "/readyz")
    await rec.send("service/strategies", "GET", "/v1/strategies")
    await rec.send("openapi", "GET", "/openapi.json")
    await rec.send("service/page", "GET", "/", keep=nothing)
    await rec.send("service/docs", "GET", "/docs", keep=nothing)
    await rec.send("service/static", "GET", "/dashboard/static/js/main.js", keep=nothing)
    await rec.send("service/static-unknown", "GET", "/dashboard/static/js/none.js")
    await rec.send("service/static-outside", "GET", "/dashboard/static/js/%2e%2e/%2e%2e/board.py")
    await rec.send("service/no-such-path", "GET", "/v1/nothing")
    await rec.send("service/no-such-method", "DELETE", "/v1/score")


async def send_gsm8k(rec: Recorder) -> None:
    """Send real solutions: seven steps of a run, repeats, late groups, evaluation, and pages of its state."""
    groups = gsm8k_groups(60, box=True)
    if not groups:
        return
    await rec.send("gsm8k/put", "PUT", "/v1/runs/gsm8k", {"strategy": {"name": "deepcompress"}})
    bodies: list[Row] = []
    for step in range(6):
        chosen = [groups[(step * 14 + place) % len(groups)] for place in range(20)]
        for half in range(2):
            body = {"run": "gsm8k", "step": step, "groups": chosen[half * 10 : half * 10 + 10]}
            bodies.append(body)
            await rec.send(f"gsm8k/score/{step}/{half}", "POST", "/v1/score", body)
    await rec.send("gsm8k/replay/last", "POST", "/v1/score", bodies[-1])
    await rec.send("gsm8k/replay/closed", "POST", "/v1/score", bodies[4])
    mixed = {**bodies[-1], "groups": [bodies[-1]["groups"][0], {**groups[50], "group_id": "another"}]}
    await rec.send("gsm8k/replay/some", "POST", "/v1/score", mixed)
    late = {"run": "gsm8k", "step": 2, "groups": [{**groups[3], "group_id": "late-1"}, {**groups[59]}]}
    await rec.send("gsm8k/late", "POST", "/v1/score", late)
    await rec.send("gsm8k/late/replay", "POST", "/v1/score", late)
    other = {**groups[50], "group_id": "another", "rollouts": groups[50]["rollouts"][:3]}
    await rec.send("gsm8k/conflict", "POST", "/v1/score", {"run": "gsm8k", "step": 5, "groups": [other]})
    by_epoch = {"run": "gsm8k", "step": 6, "epoch": 0, "groups": groups[:5]}
    first = await rec.send("gsm8k/epoch-0", "POST", "/v1/score", by_epoch)
    epoch = (await rec.send("gsm8k/get", "GET", "/v1/runs/gsm8k")).get("epoch")
    if isinstance(first, dict) and first.get("epoch") is None:
        await rec.send("gsm8k/epoch-known", "POST", "/v1/score", {**by_epoch, "epoch": epoch})

    await rec.send("gsm8k/eval", "POST", "/v1/score", {"run": "gsm8k", "phase": "eval", "groups": groups[40:50]})
    await rec.send("gsm8k/eval/no-run", "POST", "/v1/score", {"phase": "eval", "step": 3, "groups": groups[:3]})
    unnamed = [{key: value for key, value in group.items() if key != "problem_id"} for group in groups[:3]]
    await rec.send("gsm8k/eval/unnamed", "POST", "/v1/score", {"phase": "eval", "groups": unnamed})

    await rec.send("gsm8k/history", "GET", "/v1/runs/gsm8k/history")
    await rec.send("gsm8k/history/part", "GET", "/v1/runs/gsm8k/history?since=2&limit=2")
    for sort in ("problem_id", "pass_ratio", "-pass_ratio"):
        cursor, page = "", 0
        while page < 20:
            answer = await rec.send(
                f"gsm8k/problems/{sort}/{page}",
                "GET",
                f"/v1/runs/gsm8k/problems?limit=13&sort={sort}{cursor and '&cursor=' + cursor}",
            )
            if not isinstance(answer, dict) or not answer.get("next"):
                break
            cursor, page = str(httpx.QueryParams({"c": answer["next"]}))[2:], page + 1
    for side in ("simple", "hard"):
        await rec.send(f"gsm8k/problems/{side}", "GET", f"/v1/runs/gsm8k/problems?difficulty={side}")
    await rec.send("gsm8k/problems/search", "GET", "/v1/runs/gsm8k/problems?search=k/1&limit=1000")
    await rec.send("gsm8k/problem", "GET", "/v1/runs/gsm8k/problems/gsm8k/17")
    await rec.send("gsm8k/problem/course", "GET", "/dashboard/runs/gsm8k/problem?problem=gsm8k/17")
    await rec.send("gsm8k/checkpoint", "POST", "/v1/runs/gsm8k/checkpoints/five", {"step": 5}, keep=_without_bytes)
    # The packed answers of these groups hold CPU times: `compare` leaves them out of names with "scored".
    exported = await rec.export("gsm8k/export/scored", "gsm8k")
    await rec.send(
        "gsm8k/import", "PUT", "/v1/runs/gsm8k-copy/import", content=exported, shown={"export of": "gsm8k"}
    )
    for number in (0, 5, 11):
        await rec.send(f"gsm8k/import/replay/{number}", "POST", "/v1/score", {**bodies[number], "run": "gsm8k-copy"})
    await rec.send("gsm8k/rewind", "POST", "/v1/runs/gsm8k/rewind", {"next_step": 4})
    await rec.send("gsm8k/rewound/8", "POST", "/v1/score", bodies[8])
    await rec.send("gsm8k/rewound/history", "GET", "/v1/runs/gsm8k/history")
    await rec.send("gsm8k/restore", "POST", "/v1/runs/gsm8k/restore", {"checkpoint": "five"})
    await rec.send("gsm8k/restored/replay", "POST", "/v1/score", bodies[-1])
    await rec.send("gsm8k/restored/history", "GET", "/v1/runs/gsm8k/history")

    plain = gsm8k_groups(20, box=False)
    for answer_format in ("boxed", "one_boxed", "final_answer", "bare"):
        run = f"gsm8k-{answer_format}"
        await rec.send(f"gsm8k/{answer_format}/put", "PUT", f"/v1/runs/{run}", {"answer_format": answer_format})
        for kind, of in (("plain", plain), ("box", groups[:20])):
            named = [{**group, "group_id": f"{kind}-{place}"} for place, group in enumerate(of)]
            body = {"run": run, "step": 1, "groups": named}
            await rec.send(f"gsm8k/{answer_format}/{kind}", "POST", "/v1/score", body)
        asked = {"run": run, "step": 2, "answer_format": "boxed", "groups": groups[:3]}
        await rec.send(f"gsm8k/{answer_format}/asked", "POST", "/v1/score", asked)
        evaluated = {"run": run, "phase": "eval", "groups": plain[:3]}
        await rec.send(f"gsm8k/{answer_format}/eval", "POST", "/v1/score", evaluated)


def _without_bytes(response: httpx.Response) -> Json:
    """Without the size, which depends on the packed CPU times."""
    answer = answer_of(response)
    return {key: value for key, value in answer.items() if key != "bytes"} if isinstance(answer, dict) else answer


async def send_strategies(rec: Recorder) -> None:
    """Send requests for each registered strategy: its defaults, each parameter changed, and as a shadow."""
    listed = (await rec.send("strategies/list", "GET", "/v1/strategies"))["strategies"]
    draw = random.Random(SEED)
    names = [f"p{place}" for place in range(6)]
    steps = [shape_groups(draw, names, 6) for _ in range(4)]
    scored = [
        {
            "problem_id": f"s{place}",
            "gold": "42",
            "reference_accuracy": 0.5,
            "reference_tokens": 300.0,
            "target_tokens": 250.0,
            "rollouts": [
                {
                    "response": f"so \\boxed{{{answer}}}" if answer else "I do not know",
                    "tokens": 100 + 41 * place + 7 * index,
                    "truncated": not answer,
                    "thinking": index % 2 == 0,
                    "repetitive": index == 3,
                }
                for index, answer in enumerate(("42", "41", "", "84/2"))
            ],
        }
        for place in range(3)
    ]

    async def train(name: str, run: str, config: Row, count: int) -> None:
        answer = await rec.send(f"{name}/put", "PUT", f"/v1/runs/{run}", config, strategy=config["strategy"]["name"])
        if "epoch" not in answer:
            return
        for step in range(count):
            body = {"run": run, "step": step, "groups": steps[step]}
            await rec.send(f"{name}/{step}", "POST", "/v1/shape", body, strategy=config["strategy"]["name"])

    for strategy in listed:
        name = strategy["name"]
        await train(f"strategy/{name}/default", f"s-{name}", {"strategy": {"name": name}}, 4)
        body = {"run": f"s-{name}", "step": 4, "groups": scored}
        await rec.send(f"strategy/{name}/default/score", "POST", "/v1/score", body, strategy=name)
        await rec.send(f"strategy/{name}/default/history", "GET", f"/v1/runs/s-{name}/history", strategy=name)
        evaluated = {"run": f"s-{name}", "phase": "eval", "groups": steps[0]}
        await rec.send(f"strategy/{name}/default/eval", "POST", "/v1/shape", evaluated, strategy=name)
        pm1 = {"strategy": {"name": name}, "outcome": {"correct": 1.0, "wrong": 0.0}, "length_weight": 0.5}
        await train(f"strategy/{name}/outcome", f"s-{name}-o", pm1, 2)
        properties = strategy["parameters"].get("properties", {})
        for parameter, schema in properties.items():
            for index, value in enumerate(_other_values(schema)):
                changed = {"strategy": {"name": name, parameter: value}}
                await train(f"strategy/{name}/{parameter}/{index}", f"s-{name}-{parameter}-{index}", changed, 2)
        wrong = {"strategy": {"name": name, "no_such_parameter": 1}}
        await rec.send(f"strategy/{name}/unknown", "PUT", f"/v1/runs/s-{name}-u", wrong, strategy=name)
        for need in ("tokens", "thinking", "repetitive", "reference_accuracy", "reference_tokens", "target_tokens"):
            group = {key: value for key, value in steps[0][3].items() if key != need}
            group["rollouts"] = [
                {key: value for key, value in rollout.items() if key != need} for rollout in group["rollouts"]
            ]
            body = {"run": f"s-{name}", "step": 5, "groups": [{**group, "group_id": f"without {need}"}]}
            await rec.send(f"strategy/{name}/without/{need}", "POST", "/v1/shape", body, strategy=name)
        body = {"run": f"s-{name}-stepless", "request_id": "one", "groups": steps[0]}
        await rec.send(f"strategy/{name}/stepless/put", "PUT", f"/v1/runs/s-{name}-stepless", {**pm1}, strategy=name)
        await rec.send(f"strategy/{name}/stepless", "POST", "/v1/shape", body, strategy=name)

    every = [strategy["name"] for strategy in listed]
    for start in range(0, len(every), 16):
        shadow = [{"name": name} for name in every[start : start + 16]]
        config = {"strategy": {"name": "deepcompress"}, "shadow": shadow}
        await train(f"shadow/{start}", f"shadow-{start}", config, 3)
        body = {"run": f"shadow-{start}", "step": 3, "groups": scored}
        await rec.send(f"shadow/{start}/score", "POST", "/v1/score", body)
    for variant in ("floored", "verl", "openrlhf", "skyrl"):
        overlong = {"max_tokens": 2000, "buffer_tokens": 500, "factor": 0.7, "variant": variant}
        config = {"strategy": {"name": "deepcompress"}, "overlong": overlong}
        await train(f"overlong/{variant}", f"overlong-{variant}", config, 2)
    for level in (
        {"ema": 0.0},
        {"ema": 0.5, "initial_level": 0.25},
        {"reference": "previous"},
        {"reference": "dataset"},
        {"step_level": "last"},
        {"mode": "paper"},
    ):
        name = "level/" + ",".join(f"{key}={value}" for key, value in level.items())
        run = re.sub(r"[^a-z0-9.]", "-", name)
        await train(name, run, {"strategy": {"name": "deepcompress", **level}}, 4)
        for generation in (0, 1):
            body = {"run": run, "step": 4, "generation": generation}
            body["groups"] = [
                {**group, "group_id": f"{generation}-{group['problem_id']}"} for group in steps[generation]
            ]
            await rec.send(f"{name}/generation/{generation}", "POST", "/v1/shape", body)
        await rec.send(f"{name}/history", "GET", f"/v1/runs/{run}/history")


def _other_values(schema: Row) -> list[Json]:
    """Return values of a parameter other than its default, from its JSON Schema."""
    if "enum" in schema:
        return [value for value in schema["enum"] if value != schema["default"]]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if "boolean" in kinds:
        return [not schema["default"]]
    default = schema["default"]
    values: list[Json] = [0.5 if not default else default * 0.5, 0.25 if not default else default * 1.5]
    if "integer" in kinds:
        values = [max(1, int(value)) for value in values]
    values = [min(max(value, schema["minimum"]), schema["maximum"]) for value in values]
    return [*values, *([None] if "null" in kinds and default is not None else []), "text", 1e300]


async def send_answers(rec: Recorder) -> None:
    """Send the labelled answers in batches, and each hostile row by itself."""
    rows = read_rows("answers_dev.jsonl")
    for answer_format in ("boxed", "one_boxed", "final_answer", "bare"):
        for start in range(0, len(rows), 100):
            items = [
                {"id": row["id"], "gold": row["gold"], "response": row["response"]}
                for row in rows[start : start + 100]
            ]
            body = {"items": items, "answer_format": answer_format}
            await rec.send(f"answers/{answer_format}/{start}", "POST", "/v1/verify", body)
    for row in read_rows("hostile_dev.jsonl.gz"):
        body = {"items": [{"id": row["id"], "gold": row["gold"], "response": row["response"]}]}
        await rec.send(f"hostile/{row['id']}", "POST", "/v1/verify", body)
    hostile = [row for row in read_rows("hostile_dev.jsonl.gz") if row["kind"].startswith("hack")]
    groups = [
        {"problem_id": row["id"], "gold": row["gold"], "rollouts": [{"response": row["response"], "tokens": 9}] * 2}
        for row in hostile
    ]
    if groups:
        await rec.send("hostile/score", "POST", "/v1/score", {"run": "hostile", "step": 1, "groups": groups})


async def send_summaries(rec: Recorder) -> None:
    """Read the lists, metrics and streams that cover all earlier requests."""
    await rec.send("end/runs", "GET", "/v1/runs")
    await rec.send("end/metrics", "GET", "/metrics", keep=metric_names)
    for name, path in (("all", "/dashboard/events"), ("run", "/dashboard/runs/errors/events")):
        async with rec.stream(path) as response:
            text = ""
            async for piece in response.aiter_text():
                text += piece
                if "event: health" in text:
                    break
            events = sorted({line[7:] for line in text.splitlines() if line.startswith("event: ")})
            rec.write(f"end/events/{name}", "GET", path, None, response, events)
