"""The event loop: no route decodes large bodies on it, and no body causes a 5xx."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deepcompress_service.api import body_lines as lines
from deepcompress_service.api import json_bodies as bodies

from .routes import routes, walked

CASES = 24
"""Bodies for each route."""
DEEP = 5_000
DIGITS = 400


FIELDS = (
    "run", "step", "groups", "items", "rollouts", "gold", "response", "tokens", "correct", "problem_id", "strategy",
    "label", "prompt", "query", "prompts", "labels", "verify_responses", "extra", "reward_info", "ground_truth",
    "row", "checker", "scores", "next_step", "checkpoint", "reward_request_id", "reward", "usage", "output",
    "output_tokens", "rollout_index", "group_size", "checkers", "length_weight",
)  # fmt: skip


def nested(choice: random.Random, depth: int) -> str:
    opening = [choice.choice(("[", f'{{"{choice.choice(FIELDS)}":')) for _ in range(depth)]
    return "".join(opening) + "1" + "".join("]" if one == "[" else "}" for one in reversed(opening))


def value(choice: random.Random, depth: int) -> Any:
    kind = choice.random()
    if depth and kind < 0.35:
        return {choice.choice(FIELDS): value(choice, depth - 1) for _ in range(choice.randrange(6))}
    if depth and kind < 0.6:
        return [value(choice, depth - 1) for _ in range(choice.randrange(5))]
    return choice.choice(
        (None, True, 0, -1, 7, 2**53, 2**63, 2**64, 10**DIGITS, 1.5, -0.0, "", "1", "x" * 50, "\ud800")
    )


def large(choice: random.Random) -> str:
    """JSON of a megabyte."""
    field = choice.choice(FIELDS)
    part = json.dumps(value(choice, 3))
    count = (1 << 20) // (len(part) + 1)
    return f'{{"{field}":[{",".join([part] * count)}]}}'


def body(choice: random.Random) -> str:
    kind = choice.randrange(8)
    if kind == 7:
        return choice.choice(("", "1", "[]")).join(["\n"] * 100_000)
    if kind == 0:
        return large(choice)
    if kind == 6:
        part = choice.choice(("1", "[]", "{}", '""', '{"reward":1}'))
        return f'{{"{choice.choice(FIELDS)}":[{",".join([part] * (200_000 // (len(part) + 1)))}]}}'
    if kind == 1:
        depth = choice.choice((60, 70, 200, 300, DEEP))
        return f'{{"response":"x","{choice.choice(FIELDS)}":{nested(choice, depth)}}}'
    if kind == 2:
        return nested(choice, choice.choice((3, 70, DEEP)))
    if kind == 3:
        return f'{{"{choice.choice(FIELDS)}":{"9" * choice.choice((DIGITS, 4_000, 100_000))}}}'
    return json.dumps({choice.choice(FIELDS): value(choice, 4) for _ in range(choice.randrange(1, 12))})


@dataclass
class OnLoop:
    """Work of one call on an event loop, one entry for each call."""

    sizes: list[int] = field(default_factory=list)
    """Bytes that were decoded."""
    values: list[int] = field(default_factory=list)
    """Values that were walked."""


def on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> OnLoop:
    found = OnLoop()

    def watch(module: object, name: str, record: Callable[..., None]) -> None:
        inner: Callable[..., Any] = getattr(module, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            if on_loop():
                record(*arguments)
            return inner(*arguments, **options)

        monkeypatch.setattr(module, name, watched)

    # A packed body may grow: it counts as a thousand times its size.
    watch(bodies, "decompress", lambda raw, *_: found.sizes.append(1000 * len(raw)))
    watch(bodies, "parse", lambda _, raw: found.sizes.append(len(raw)))
    watch(lines, "_checked_lines", lambda raw: (found.sizes.append(len(raw)), found.values.append(raw.count(b"\n"))))
    for module in (bodies, lines):
        watch(module, "check_values", lambda value: found.values.append(count(value)))
    watch(bodies, "count_structure", lambda raw: found.sizes.append(len(raw)))
    return found


def count(value: object) -> int:
    pending, total = [value], 0
    while pending:
        one = pending.pop()
        total += 1
        if isinstance(one, dict | list):
            pending.extend(one.values() if isinstance(one, dict) else one)
    return total


@pytest.mark.parametrize("seed", range(3))
def test_every_route_decodes_little_on_the_loop_and_never_fails(
    service: TestClient, decoded: OnLoop, seed: int
) -> None:
    choice = random.Random(seed)
    for method, path in routes(service):
        for number in range(CASES // 3 if method in ("POST", "PUT") else 2):
            text = body(choice).encode("utf-8", "surrogatepass")
            packed = number % 4 == 3
            headers = {"content-encoding": "gzip"} if packed else {}
            answer = service.request(method, path, content=gzip.compress(text) if packed else text, headers=headers)
            assert answer.status_code < 500, (method, path, text[:300], answer.text[:300])
    assert max(decoded.sizes) <= max(bodies.ON_LOOP_BYTES, 1000 * bodies.ON_LOOP_PACKED_BYTES)
    assert 0 < max(decoded.values) <= bodies.ON_LOOP_VALUES + 1


def test_a_large_body_is_decoded_beside_the_loop(service: TestClient, decoded: OnLoop) -> None:
    items = [{"gold": "1", "response": "x" * 1000 + r"\boxed{1}"} for _ in range(1000)]
    answer = service.post("/v1/verify", json={"items": items})
    assert [one["correct"] for one in answer.json()["verdicts"]] == [True] * 1000
    assert max(decoded.sizes, default=0) <= bodies.ON_LOOP_BYTES


def test_every_route_that_reads_a_body_decodes_it_in_one_place(
    service: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A route whose signature has a body would be decoded by the framework, without our bounds."""
    every = list(walked(service.app.routes))  # type: ignore[attr-defined]
    assert [route.path for route in every if getattr(route, "body_field", None)] == []
    seen: list[object] = []
    inner = bodies.check_values
    for module in (bodies, lines):
        monkeypatch.setattr(module, "check_values", lambda value: (seen.append(value), inner(value)))
    given = {"mark": "only here"}
    reading = set()
    for method, path in routes(service):
        seen.clear()
        answer = service.request(method, path, json=given)
        if seen:
            reading.add(path)
        elif method in ("POST", "PUT"):
            # It takes no body.
            assert answer.status_code in (200, 404, 405, 409, 422), (path, answer.status_code)
            assert "mark" not in answer.text
    assert {"/v1/score", "/v1/runs/loop", "/v1/runs/loop/import", "/compat/slime/rm", "/v1/rollouts"} <= reading
