"""Requests that are refused: each type of error, keys, and a store that cannot be reached."""

from __future__ import annotations

import gzip
import json

import httpx

from corpus.recorder import Json, Recorder, Row, answer_of

KEYS = """
[[key]]
name = "reader"
key = "key-read"
access = "read"
[[key]]
name = "team-a"
key = "key-team"
runs = "team-a-"
[[key]]
name = "team-b"
key = "key-other"
runs = "team-b-"
"""


async def send_errors(rec: Recorder) -> None:
    """Send requests that are refused, and some at the limits that are not."""
    rollout: Row = {"correct": True, "tokens": 5}
    group: Row = {"problem_id": "p", "rollouts": [rollout]}
    await rec.send("errors/put", "PUT", "/v1/runs/errors", {})
    bodies: dict[str, Row] = {
        "no-run": {"step": 1, "groups": [group]},
        "no-step": {"run": "errors", "groups": [group]},
        "no-groups": {"run": "errors", "step": 1, "groups": []},
        "no-problem": {"run": "errors", "step": 1, "groups": [{"rollouts": [rollout]}]},
        "no-rollouts": {"run": "errors", "step": 1, "groups": [{"problem_id": "p", "rollouts": []}]},
        "size": {"run": "errors", "step": 1, "groups": [{**group, "group_size": 2}]},
        "twice": {"run": "errors", "step": 1, "groups": [group, group]},
        "tokens": {"run": "errors", "step": 1, "groups": [{**group, "rollouts": [{"correct": True}]}]},
        "tokens-text": {"run": "errors", "step": 1, "groups": [{**group, "rollouts": [{**rollout, "tokens": "5"}]}]},
        "tokens-negative": {
            "run": "errors",
            "step": 1,
            "groups": [{**group, "rollouts": [{**rollout, "tokens": -1}]}],
        },
        "step-negative": {"run": "errors", "step": -1, "groups": [group]},
        "step-large": {"run": "errors", "step": 2**53, "groups": [group]},
        "epoch": {"run": "errors", "step": 1, "epoch": 12, "groups": [group]},
        "observed": {"run": "errors", "step": "observed", "groups": [group]},
        "unknown-field": {"run": "errors", "step": 1, "groups": [group], "extra": 1},
        "run-name": {"run": "no/slash", "step": 1, "groups": [group]},
        "status": {"run": "errors", "step": 1, "groups": [{**group, "rollouts": [{**rollout, "status": "maybe"}]}]},
        "reference": {"run": "errors", "step": 1, "groups": [{**group, "reference_accuracy": 2}]},
        "step-float": {"run": "errors", "step": 1.0, "groups": [group]},
        "fine": {"run": "errors", "step": 1, "groups": [{**group, "rollouts": [{**rollout, "status": "undecided"}]}]},
        "gold-unreadable": {
            "run": "errors",
            "step": 1,
            "groups": [
                {"problem_id": "q", "rollouts": [{"correct": False, "tokens": 1, "status": "gold_unreadable"}]}
            ],
        },
    }
    for name, body in bodies.items():
        await rec.send(f"errors/shape/{name}", "POST", "/v1/shape", body)
    item = {"gold": "1", "response": "\\boxed{1}"}
    checks: dict[str, Row] = {
        "empty": {"items": []},
        "gold-empty": {"items": [{**item, "gold": []}]},
        "gold-type": {"items": [{**item, "gold": [1]}]},
        "gold-long": {"items": [{**item, "gold": "1" * 65_537}]},
        "format": {"items": [item], "answer_format": "none"},
        "surrogate": {"items": [{**item, "response": "\ud800\\boxed{1}", "id": "s"}]},
        "alternatives": {"items": [{**item, "gold": ["2", "1"]}, {**item, "gold": ["\\frac{", "1"]}]},
        "fields": {"items": [{**item, "x": 1}] * 30},
        "crowded": {"items": [item], "x": [0] * 400_000},
    }
    for name, body in checks.items():
        await rec.send(f"errors/verify/{name}", "POST", "/v1/verify", body)
    content = json.dumps({"items": [item]}).encode()
    for name, raw, headers in (
        ("not-json", b"{", {}),
        ("empty", b"", {}),
        ("list", b"[]", {}),
        ("not-utf-8", b'{"items": "\xff"}', {}),
        ("nan", b'{"items": NaN}', {}),
        ("deep", b"[" * 100_000, {}),
        ("gzip", gzip.compress(content, mtime=0), {"content-encoding": "gzip"}),
        ("gzip-broken", b"no gzip", {"content-encoding": "gzip"}),
        ("gzip-cut", gzip.compress(content, mtime=0)[:-9], {"content-encoding": "gzip"}),
        ("encoding", content, {"content-encoding": "br"}),
        ("origin", content, {"origin": "http://elsewhere.example"}),
        ("type", content, {"content-type": "text/plain"}),
    ):
        await rec.send(f"errors/raw/{name}", "POST", "/v1/verify", content=raw, headers=headers)
    for name, config in {
        "strategy": {"strategy": {"name": "no-such"}},
        "parameter": {"strategy": {"name": "deepcompress", "alpha": "x"}},
        "outcome": {"strategy": {"name": "gr3"}, "outcome": {"correct": 1, "wrong": -1}},
        "outcome-part": {"outcome": {"wrong": 0}},
        "weight": {"length_weight": "1"},
        "overlong": {"overlong": {"max_tokens": 10, "buffer_tokens": 20}},
        "shadow": {"shadow": [{"name": "deepcompress"}] * 17},
        "shadow-twice": {"shadow": [{"name": "outcome"}, {"name": "outcome"}]},
        "shadow-label": {"shadow": [{"name": "outcome"}, {"name": "outcome", "label": "second"}]},
        "keep": {"keep_steps": 0},
        "field": {"no_such": 1},
        "large": {"strategy": {"name": "x" * (1 << 20)}},
    }.items():
        await rec.send(f"errors/config/{name}", "PUT", f"/v1/runs/errors-{name}", config)
    for name, method, path in (
        ("run", "GET", "/v1/runs/no-such"),
        ("run-history", "GET", "/v1/runs/no-such/history"),
        ("run-problems", "GET", "/v1/runs/no-such/problems"),
        ("run-export", "GET", "/v1/runs/no-such/export"),
        ("run-checkpoints", "GET", "/v1/runs/no-such/checkpoints"),
        ("run-delete", "DELETE", "/v1/runs/no-such"),
        ("run-name", "GET", "/v1/runs/a%20b"),
        ("problem", "GET", "/v1/runs/errors/problems/none"),
        ("course", "GET", "/dashboard/runs/errors/problem?problem=none"),
        ("course-run", "GET", "/dashboard/runs/no-such/problem?problem=none"),
        ("cursor", "GET", "/v1/runs/errors/problems?cursor=nonsense"),
        ("sort", "GET", "/v1/runs/errors/problems?sort=name"),
        ("limit", "GET", "/v1/runs/errors/problems?limit=0"),
        ("since", "GET", "/v1/runs/errors/history?since=-1"),
    ):
        await rec.send(f"errors/unknown/{name}", method, path)
    await rec.send("errors/rewind/unknown", "POST", "/v1/runs/no-such/rewind", {"next_step": 1})
    await rec.send("errors/rewind/field", "POST", "/v1/runs/errors/rewind", {})
    await rec.send("errors/restore/unknown", "POST", "/v1/runs/no-such/restore", {"checkpoint": "c"})
    await rec.send("errors/checkpoint/unknown", "POST", "/v1/runs/no-such/checkpoints/c", {"step": 1})
    await rec.send("errors/checkpoint/name", "POST", "/v1/runs/errors/checkpoints/a%20b", {"step": 1})


async def send_keys(rec: Recorder) -> None:
    """Send requests to a service with keys."""
    shape = {
        "run": "team-a-1",
        "step": 1,
        "groups": [{"problem_id": "p", "rollouts": [{"correct": True, "tokens": 1}]}],
    }
    for name, headers in {
        "none": {},
        "wrong": {"authorization": "Bearer no"},
        "full": {"authorization": "Bearer key-full"},
        "read": {"authorization": "Bearer key-read"},
        "team": {"x-api-key": "key-team"},
        "other-team": {"authorization": "Bearer key-other"},
        "basic": {"authorization": "Basic dTprZXktZnVsbA=="},
    }.items():
        await rec.send(f"keys/{name}/shape", "POST", "/v1/shape", shape, headers=headers)
        await rec.send(f"keys/{name}/get", "GET", "/v1/runs/team-a-1", headers=headers)
        await rec.send(f"keys/{name}/list", "GET", "/v1/runs", headers=headers)
        await rec.send(f"keys/{name}/healthz", "GET", "/healthz", headers=headers)
    own = {"xrl-authorization": "key-full"}
    task = {"response": "\\boxed{1}", "reward_info": {"ground_truth": "1"}}
    await rec.send("keys/roll", "POST", "/compat/roll/submit_task", task, headers=own)


async def send_no_store(rec: Recorder) -> None:
    """Send requests to a service whose store cannot be reached."""
    group = {"problem_id": "p", "rollouts": [{"correct": True, "tokens": 1}]}
    await rec.send("no-store/healthz", "GET", "/healthz")
    await rec.send("no-store/readyz", "GET", "/readyz", keep=_ready)
    item = {"gold": "1", "response": "\\boxed{1}"}
    observed = {**item, "run": "r", "step": 1, "problem_id": "p", "rollout_id": "0"}
    await rec.send("no-store/verify", "POST", "/v1/verify", {"items": [item, observed]})
    await rec.send("no-store/shape", "POST", "/v1/shape", {"run": "r", "step": 1, "groups": [group]})
    await rec.send("no-store/eval", "POST", "/v1/shape", {"run": "r", "phase": "eval", "groups": [group]})
    await rec.send("no-store/run", "GET", "/v1/runs/r")
    await rec.send("no-store/put", "PUT", "/v1/runs/r", {})


def _ready(response: httpx.Response) -> Json:
    answer = answer_of(response)
    return {**answer, "why": sorted(answer["why"])}
