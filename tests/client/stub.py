"""A service of a few lines for the client's tests: it checks and shapes by a rule that depends on the whole
batch, so that a shape sent in parts would show.
"""

from __future__ import annotations

import json
from typing import Any

import httpx


class Stub:
    """Answers the three verbs and the run routes. `requests` keeps what came: (method, path, body)."""

    def __init__(self, max_body: int | None = None) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.max_body = max_body
        self.runs: dict[str, dict[str, Any]] = {}

    def paths(self) -> list[str]:
        return [f"{method} {path}" for method, path, _ in self.requests]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode().split("?")[0]
        body = json.loads(request.content) if request.content else None
        self.requests.append((request.method, path, body))
        if self.max_body is not None and len(request.content) > self.max_body:
            return problem(413, "too-large", limit=self.max_body)
        match request.method, path:
            case "POST", "/v1/verify":
                return httpx.Response(200, json={"verdicts": verdicts(body["items"])})
            case "POST", "/v1/shape":
                return httpx.Response(200, json=shaped(body))
            case "POST", "/v1/score":
                return httpx.Response(200, json=scored(body))
            case "POST", "/v1/observe":
                groups = [
                    {
                        "problem_id": one["problem_id"],
                        "group_id": one["problem_id"],
                        "recorded": [True] * len(one["rollouts"]),
                    }
                    for one in body["groups"]
                ]
                return httpx.Response(200, json={"run": body["run"], "step": body["step"], "groups": groups})
        if path.startswith("/v1/runs/"):
            return self._run(request.method, path.removeprefix("/v1/runs/").split("/"), body)
        return problem(404, "not-found")

    def _run(self, method: str, parts: list[str], body: Any) -> httpx.Response:
        name, *rest = parts
        run = self.runs.get(name)
        if method == "PUT" and not rest:
            if run is None:
                run = self.runs[name] = {"epoch": 0, "config": body, "kind": None, "step": None}
                return self.info(name, created=True)
            if run["kind"] is not None and run["config"] != body:
                return problem(409, "run-conflict")
            run["config"] = body
            return self.info(name)
        if run is None:
            return problem(404, "unknown-run")
        if rest == ["rewind"]:
            run["epoch"] += 1
            step = body["next_step"]
            if not step:  # no run of this stub continues another one: at its first step nothing is kept
                run.update(kind=None, step=None)
            return self.info(name)
        return self.info(name)

    def train(self, name: str, step: int) -> None:
        self.runs.setdefault(name, {"epoch": 0, "config": {}}).update(kind="stepped", step=step)

    def info(self, name: str, created: bool = False) -> httpx.Response:
        run = self.runs[name]
        row = {
            "run": name,
            "epoch": run["epoch"],
            "config": run["config"],
            "kind": run["kind"],
            "step": run["step"],
            "level": 1.0,
            "batch_pass_ratio": None,
            "problems": 0,
            "created": created,
        }
        return httpx.Response(200, json=row)


def problem(status: int, slug: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"type": f"urn:deepcompress:problem:{slug}", "title": slug, "detail": f"because {slug}", **more}
    return httpx.Response(status, json=body, headers=headers)


def verdicts(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for place, item in enumerate(items):
        if item["gold"] == "?":
            status = "gold_unreadable"
        else:
            alternatives = (item["gold"],) if isinstance(item["gold"], str) else tuple(item["gold"])
            status = "correct" if item["response"].endswith(alternatives) else "wrong"
        found.append(
            {
                "id": item.get("id", str(place)),
                "correct": status == "correct",
                "status": status,
                "answer": item["response"][-3:],
                "decided_by": "string",
                "reason": "the stub's rule",
            }
        )
    return found


def shaped(body: dict[str, Any]) -> dict[str, Any]:
    rights = [rollout["correct"] for group in body["groups"] for rollout in group["rollouts"]]
    level = sum(rights) / len(rights)
    groups = []
    for group in body["groups"]:
        right = [rollout["correct"] for rollout in group["rollouts"]]
        length = [level * rollout.get("tokens", 0) for rollout in group["rollouts"]]
        groups.append(
            {
                "problem_id": group["problem_id"],
                "group_id": group.get("group_id", group["problem_id"]),
                "pass_ratio": sum(right) / len(right),
                "level": level,
                "beta": sum(right) / len(right) - level,
                "difficulty": "even",
                "rewards": [(1 if ok else -1) + more for ok, more in zip(right, length, strict=True)],
                "components": {
                    "outcome": [1 if ok else -1 for ok in right],
                    "length": length,
                    "overlong": [0.0] * len(right),
                },
                "correct": right,
                "trainable": [rollout.get("status") != "gold_unreadable" for rollout in group["rollouts"]],
                "replayed": False,
                "stale": False,
            }
        )
    return {
        "run": body.get("run"),
        "epoch": body.get("epoch", 0),
        "step": body.get("step"),
        "phase": body.get("phase", "train"),
        "level": level,
        "batch_pass_ratio": level,
        "warnings": [],
        "groups": groups,
    }


def scored(body: dict[str, Any]) -> dict[str, Any]:
    groups, checked = [], []
    for group in body["groups"]:
        found = verdicts([{"gold": group["gold"], "response": r["response"]} for r in group["rollouts"]])
        checked.append(found)
        rows = [
            {"correct": v["correct"], "status": v["status"], "tokens": r.get("tokens", 0)}
            for v, r in zip(found, group["rollouts"], strict=True)
        ]
        groups.append({**group, "rollouts": rows})
    answer = shaped({**body, "groups": groups})
    for group, found in zip(answer["groups"], checked, strict=True):
        group["verdicts"] = found
    return answer
