"""A fixed corpus of requests to every route, and a comparison of the answers of two versions.

    PYTHON bench/answer_corpus.py record --store sqlite --out old.jsonl     PYTHON: the interpreter of the version
    PYTHON bench/answer_corpus.py record --store redis --out old.jsonl      needs redis-server
    python bench/answer_corpus.py compare old.jsonl new.jsonl [--except NAME ...] [--openapi]

Use it before and after a change that must not alter any answer. `record` starts the service of the interpreter that
runs this file, with default settings, and writes one line of JSON for each request: name, method, path, request body,
status, answer, error type. `compare` exits 1 if two recordings differ in anything but CPU times and human text
(titles and details of errors, descriptions, the text of a warning after its slug). Only HTTP, `DEEPCOMPRESS_*`
variables and `create_app` are used, so one copy of this file serves all versions. Rows of ``shared/data`` are used
if they exist; set DEEPCOMPRESS_SHARED if they lie elsewhere.

Errors that are not in the corpus, because they need minutes, a full queue, a changed setting or a broken part:
abandoned, body-timeout, config-not-supported on a stored run, group-incomplete, internal-error, newer-configuration,
overloaded, rate-limited, rollout-gone, run-queue-full, stopping, store-too-new, strategy-failed, too-many-viewers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fnmatch
import gzip
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from servers import free_port, redis_server

if TYPE_CHECKING:
    pass

Json = Any
"""Any value of JSON."""
Row = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("DEEPCOMPRESS_SHARED", ROOT.parent / "shared"))
SEED = 20261129
LONGEST_KEPT = 1 << 16
"""Request bodies longer than this, in characters, are recorded as their length and SHA-256."""

UNSTABLE: tuple[str, ...] = ()
"""Names of requests whose answers depend on how fast the machine is, as patterns of `fnmatch`."""

TEXT_KEYS = frozenset({"description", "note", "summary", "title"})
"""Keys of /v1/strategies and /openapi.json that hold text for people."""


# --- data ---------------------------------------------------------------------------------------------------


def read_rows(name: str) -> list[Row]:
    """Return the rows of a ``.jsonl`` or ``.jsonl.gz`` file of the shared data; none if there is no such file."""
    path = SHARED / "data" / name
    if not path.exists():
        print(f"{path} does not exist: its requests are left out", file=sys.stderr)
        return []
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


_MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
_FINAL = re.compile(r"\nA: (.*)\Z", re.DOTALL)


def gsm8k_groups(count: int, box: bool) -> list[Row]:
    """Return `count` score groups of four real solutions each; `box` puts each final answer in a box."""
    groups = []
    for index, row in enumerate(read_rows("gsm8k_model_solutions.jsonl")[:count]):
        texts = [str(row[model]["solution"]) for model in _MODELS]
        rollouts = [
            {
                "response": _FINAL.sub(lambda end: f"\nA: \\boxed{{{end[1]}}}", text) if box else text,
                "tokens": len(text.split()) + 3,
                "truncated": (index * 4 + place) % 23 == 22,
            }
            for place, text in enumerate(texts)
        ]
        gold = str(row["ground_truth"]).rpartition("A: ")[2].strip()
        groups.append({"problem_id": f"gsm8k/{index}", "gold": gold, "rollouts": rollouts})
    return groups


def shape_groups(draw: random.Random, names: Sequence[str], size: int, inputs: bool = True) -> list[Row]:
    """Return one shape group a name, of `size` rollouts; `inputs` adds every input that a strategy may need."""
    groups = []
    for name in names:
        difficulty = draw.random()
        rollouts = []
        for _ in range(size):
            rollout: Row = {
                "correct": draw.random() < difficulty,
                "tokens": draw.randrange(1, draw.choice((50, 3000, 24_000))),
                "truncated": draw.random() < 0.1,
            }
            if inputs:
                rollout |= {"thinking": draw.random() < 0.6, "repetitive": draw.random() < 0.2}
            rollouts.append(rollout)
        group: Row = {"problem_id": name, "rollouts": rollouts}
        if inputs:
            group |= {
                "reference_accuracy": round(draw.random(), 3),
                "reference_tokens": float(draw.randrange(100, 5000)),
                "target_tokens": float(draw.randrange(100, 5000)),
            }
        groups.append(group)
    # The edges: all correct, none correct, equal lengths, a length of 0.
    for rollout in groups[0]["rollouts"]:
        rollout["correct"] = True
    if len(groups) > 1:
        for rollout in groups[1]["rollouts"]:
            rollout["correct"] = False
    if len(groups) > 2:
        for rollout in groups[2]["rollouts"]:
            rollout["tokens"] = 700
    groups[-1]["rollouts"][0]["tokens"] = 0
    return groups


# --- recording ----------------------------------------------------------------------------------------------


class Recorder:
    """Client of one service that keeps a line for each request."""

    def __init__(self, client: httpx.AsyncClient, lines: list[Row], routes: Sequence[str]) -> None:
        self._client = client
        self._lines = lines
        self._names = {line["name"] for line in lines}
        self._routes = [(route, re.compile(re.sub(r"\{[^}]*\}", ".+", route) + r"\Z")) for route in routes]

    async def send(
        self,
        name: str,
        method: str,
        path: str,
        body: Json = None,
        *,
        content: bytes | None = None,
        shown: Json = None,
        headers: Mapping[str, str] | None = None,
        strategy: str | None = None,
        keep: Callable[[httpx.Response], Json] | None = None,
    ) -> Json:
        """Send one request, record it, and return its answer.

        Args:
            name: unique name of the request.
            method: the HTTP method.
            path: path and query.
            body: JSON body; None sends none.
            content: bytes sent in place of `body`.
            shown: what is recorded as the body in place of `content`.
            headers: more headers, recorded with the request.
            strategy: the registered strategy that the request is about.
            keep: returns what is recorded as the answer; by default all of it.
        """
        sent = json.dumps(body).encode() if content is None and body is not None else content
        response = await self._client.request(
            method, path, content=sent, headers={"content-type": "application/json", **(headers or {})}
        )
        answer = keep(response) if keep is not None else _answer(response)
        if shown is None:
            shown = body if content is None else _text(content)
        self.write(name, method, path, shown, response, answer, headers=headers, strategy=strategy)
        return answer

    def write(
        self,
        name: str,
        method: str,
        path: str,
        body: Json,
        response: httpx.Response,
        answer: Json,
        headers: Mapping[str, str] | None = None,
        strategy: str | None = None,
    ) -> None:
        """Add the line of one answer.

        Raises:
            ValueError: the name was used before.
        """
        problem = response.headers.get("content-type", "").startswith("application/problem+json")
        self.add(
            {
                "name": name,
                "method": method,
                "path": path,
                "route": self._route(path),
                "strategy": strategy,
                "headers": dict(headers or {}),
                "body": _bounded(body),
                "status": response.status_code,
                "content_type": response.headers.get("content-type"),
                "retry_after": response.headers.get("retry-after"),
                "answer": answer,
                "error": str(answer["type"]) if problem and isinstance(answer, dict) else None,
            }
        )

    def add(self, line: Row) -> None:
        """Add a line as it is.

        Raises:
            ValueError: the name was used before.
        """
        if line["name"] in self._names:
            raise ValueError(f"two requests are named {line['name']}")
        self._names.add(line["name"])
        self._lines.append(line)

    def stream(self, path: str) -> contextlib.AbstractAsyncContextManager[httpx.Response]:
        """Open an answer that does not end."""
        return self._client.stream("GET", path)

    def _route(self, path: str) -> str:
        plain = path.partition("?")[0]
        matches = [route for route, pattern in self._routes if pattern.match(plain)]
        # The longest template is the most specific one.
        return max(matches, key=len, default=plain)


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.hex()


def _bounded(body: Json) -> Json:
    text = json.dumps(body)
    if len(text) <= LONGEST_KEPT:
        return body
    return {"characters": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def _answer(response: httpx.Response) -> Json:
    kind = response.headers.get("content-type", "")
    if "ndjson" in kind:
        return [json.loads(line) for line in response.text.splitlines()]
    if "json" in kind:
        return json.loads(response.content)
    return response.text


def _nothing(_: httpx.Response) -> Json:
    return None


def _metric_names(response: httpx.Response) -> Json:
    lines = [line for line in response.text.splitlines() if line.startswith("deepcompress_")]
    return sorted({line.rpartition(" ")[0] for line in lines if "_bucket{" not in line and "_created" not in line})


@contextlib.contextmanager
def service_process(folder: Path, state_url: str, **settings: str) -> Iterator[str]:
    """Start `deepcompress serve` of this interpreter with default settings, and yield its URL."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEEPCOMPRESS_")}
    environment |= {
        "DEEPCOMPRESS_PORT": str(port),
        "DEEPCOMPRESS_STATE_URL": state_url,
        "DEEPCOMPRESS_VERIFIER_WORKERS": "1",
        "DEEPCOMPRESS_LOG_LEVEL": "error",
        **{f"DEEPCOMPRESS_{name.upper()}": value for name, value in settings.items()},
    }
    with (
        (folder / "service.log").open("ab") as log,
        subprocess.Popen(
            [sys.executable, "-m", "deepcompress_service", "serve"],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@contextlib.asynccontextmanager
async def recorder(url: str, lines: list[Row], wait_for: str = "/readyz") -> AsyncIterator[Recorder]:
    """Yield a recorder on the service at `url`, once it answers `wait_for` with 200."""
    async with httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(300)) as client:
        for _ in range(600):
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(wait_for)).status_code == 200:
                    break
            await asyncio.sleep(0.1)
        else:
            raise RuntimeError(f"the service at {url} did not become ready")
        described = await client.get("/openapi.json")
        routes = list(described.json()["paths"]) if described.status_code == 200 else []
        routes += ["/dashboard/events", "/dashboard/runs/{run}/events", "/dashboard/runs/{run}/problem"]
        yield Recorder(client, lines, [*routes, "/dashboard/static/{name}"])


# --- the corpus ---------------------------------------------------------------------------------------------


async def send_service_pages(rec: Recorder) -> None:
    """Send requests for health, descriptions, pages, and paths that do not exist."""
    await rec.send("service/healthz", "GET", "/healthz")
    await rec.send("service/readyz", "GET", "/readyz")
    await rec.send("service/strategies", "GET", "/v1/strategies")
    await rec.send("openapi", "GET", "/openapi.json")
    await rec.send("service/page", "GET", "/", keep=_nothing)
    await rec.send("service/docs", "GET", "/docs", keep=_nothing)
    await rec.send("service/static", "GET", "/dashboard/static/js/main.js", keep=_nothing)
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
    exported = b""

    def whole(response: httpx.Response) -> Json:
        nonlocal exported
        exported = response.content
        return _answer(response)

    await rec.send("gsm8k/export/scored", "GET", "/v1/runs/gsm8k/export", keep=whole)
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
    answer = _answer(response)
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
    exported = b""

    def whole(response: httpx.Response) -> Json:
        nonlocal exported
        exported = response.content
        return _answer(response)

    await rec.send("runs/export", "GET", "/v1/runs/way/export", keep=whole)
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
        task = asyncio.create_task(_ensure(post(name, sent)))
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


async def _ensure(work: Awaitable[Json]) -> Json:
    return await work


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
    waits = asyncio.create_task(_ensure(rec.send("cohort/held/0", "POST", held, row(0, text(0), "held"))))
    await asyncio.sleep(1.5)
    await rec.send("cohort/held/conflict", "POST", held, row(0, "\\boxed{9}", "held"))
    await rec.send("cohort/held/mismatch", "POST", held, row(1, text(1), "held", expected_answer="3"))
    again = asyncio.create_task(
        _ensure(rec.send("cohort/held/again/0", "POST", held, row(0, text(0), "held", _ng_group_attempt=1)))
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
    await rec.send("end/metrics", "GET", "/metrics", keep=_metric_names)
    for name, path in (("all", "/dashboard/events"), ("run", "/dashboard/runs/errors/events")):
        async with rec.stream(path) as response:
            text = ""
            async for piece in response.aiter_text():
                text += piece
                if "event: health" in text:
                    break
            events = sorted({line[7:] for line in text.splitlines() if line.startswith("event: ")})
            rec.write(f"end/events/{name}", "GET", path, None, response, events)


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
    answer = _answer(response)
    return {**answer, "why": sorted(answer["why"])}


def audit(folder: Path) -> Iterator[Row]:
    """Yield the findings of `deepcompress audit` as lines of the corpus."""
    golds = folder / "golds.jsonl"
    rollouts = folder / "rollouts.jsonl"
    rows: list[Row] = [{"problem_id": f"p{place}", "gold": gold} for place, gold in enumerate(AUDITED)]
    rows.append({"problem_id": "p0", "gold": "another"})
    golds.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = [{"problem_id": f"p{p}", "response": f"\\boxed{{{7 + p}}}"} for p in range(4) for _ in range(4)]
    rollouts.write_text("".join(json.dumps(row) + "\n" for row in answers))
    for name, options in (("golds", []), ("rollouts", ["--rollouts", str(rollouts)])):
        command = [sys.executable, "-m", "deepcompress_service", "audit", str(golds), *options, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        findings = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        yield {
            "name": f"audit/{name}",
            "method": "CLI",
            "path": "deepcompress audit",
            "route": "deepcompress audit",
            "strategy": None,
            "headers": {},
            "body": {"golds": rows, "rollouts": answers if options else None},
            "status": done.returncode,
            "content_type": None,
            "retry_after": None,
            "answer": findings,
            "error": None,
        }


AUDITED = (
    "42",
    "\\frac{3}{4}",
    "\\frac{",
    "(1, 2)",
    "x^2 + 1",
    "1,234",
    "\\text{Tuesday}",
    "",
    "1.5\\times 10^3",
    "[0,1)",
)
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


async def record_all(store: str, folder: Path) -> list[Row]:
    """Return the lines of the whole corpus, recorded from services of this interpreter."""
    lines: list[Row] = []
    with contextlib.ExitStack() as stack:
        state_url = f"sqlite:///{folder}/state.sqlite3"
        if store == "redis":
            state_url = stack.enter_context(redis_server(folder))
        url = stack.enter_context(service_process(folder, state_url))
        async with recorder(url, lines) as rec:
            for part in (
                send_service_pages,
                send_errors,
                send_runs,
                send_observing,
                send_rollouts,
                send_compat,
                send_gsm8k,
                send_strategies,
                send_answers,
                send_summaries,
            ):
                await part(rec)
                print(f"{part.__name__}: {len(lines)} requests so far", file=sys.stderr)
            for line in audit(folder):
                rec.add(line)
    keys = folder / "keys.toml"
    keys.write_text(KEYS)
    settings = {"api_keys": "key-full", "api_keys_file": str(keys)}
    with service_process(folder, f"sqlite:///{folder}/keys.sqlite3", **settings) as url:
        async with recorder(url, lines) as rec:
            await send_keys(rec)
    with service_process(folder, f"redis://127.0.0.1:{free_port()}/0") as url:
        async with recorder(url, lines, wait_for="/healthz") as rec:
            await send_no_store(rec)
    return lines


def record(store: str, out: Path) -> None:
    """Record the corpus into `out`, and print what it covers."""
    with tempfile.TemporaryDirectory() as name:
        lines = asyncio.run(record_all(store, Path(name)))
    with out.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    documented = next(line["answer"]["paths"] for line in lines if line["name"] == "openapi")
    asked = {(line["method"], line["route"]) for line in lines}
    missed = [
        f"{method.upper()} {path}"
        for path, methods in documented.items()
        for method in methods
        if (method.upper(), path) not in asked
    ]
    slugs = sorted({line["error"].rpartition("/")[2].rpartition(":")[2] for line in lines if line["error"]})
    print(f"{out}: {len(lines)} requests; {_extent(lines)}")
    print(f"errors: {', '.join(slugs)}")
    if missed:
        print(f"routes without a request: {', '.join(missed)}")


# --- comparing ----------------------------------------------------------------------------------------------


def normal(line: Row) -> Row:
    """Return the line without CPU times, random ids and human text."""
    name = line["name"]
    answer = line["answer"]
    if name == "openapi" or name.endswith(("service/strategies", "strategies/list")):
        answer = _without(answer, TEXT_KEYS)
    elif line["error"] is not None or name.startswith("audit/"):
        answer = _without(answer, frozenset({"detail", "title"}))
    else:
        answer = _without(answer, frozenset({"cpu_ms", "incarnation", "version"}))
        if isinstance(answer, dict) and isinstance(answer.get("warnings"), list):
            # Older recordings have no run-created.
            slugs = [str(text).partition(":")[0] for text in answer["warnings"]]
            answer["warnings"] = [slug for slug in slugs if slug != "run-created"]
        if line["route"] and "/checkpoints" in line["route"]:
            # The size of a checkpoint in Redis is memory as Redis measures it, and differs from one time to the next.
            answer = _without(answer, frozenset({"bytes"}))
    if name.endswith(("export", "export/scored")) and isinstance(answer, list):
        # The order of an export's rows and cells has no meaning, and packed verdicts hold CPU times.
        scored = name.endswith("scored")
        rows = [_without(row, frozenset({"data"})) if scored else row for row in answer]
        answer = sorted(rows, key=lambda row: json.dumps([row.get("table"), row.get("key")]))
        for row in answer:
            if isinstance(row.get("meta"), dict) and isinstance(row["meta"].get("cells"), list):
                row["meta"]["cells"].sort()
    return {**line, "answer": answer}


def _without(value: Json, keys: frozenset[str]) -> Json:
    if isinstance(value, dict):
        # A property may have the name of one of the keys: what is text is a string.
        return {
            key: _without(one, keys)
            for key, one in value.items()
            if key not in keys or not isinstance(one, str | int | float)
        }
    if isinstance(value, list):
        return [_without(one, keys) for one in value]
    return value


def differences(old: Json, new: Json, path: str = "") -> Iterator[tuple[str, Json, Json]]:
    """Yield (path, old, new) for each place at which two values of JSON differ, to the last bit."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if key not in old or key not in new:
                yield f"{path}.{key}", old.get(key, "(absent)"), new.get(key, "(absent)")
            else:
                yield from differences(old[key], new[key], f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{path}.{index}")
    elif json.dumps(old) != json.dumps(new):
        yield path, old, new


def read_lines(path: Path) -> dict[str, Row]:
    """Return the lines of a recording by name."""
    with path.open(encoding="utf-8") as file:
        return {line["name"]: line for line in map(json.loads, file)}


def before_components(value: Any) -> Any:
    """Return an answer in the form of version 0.1: `components.length` without the weight, no `why`."""
    if isinstance(value, list):
        return [before_components(one) for one in value]
    if not isinstance(value, dict):
        return value
    row = {name: before_components(one) for name, one in value.items() if name not in ("why", "length_term")}
    if "length_term" in value:
        row["components"] = {**row["components"], "length": value["length_term"]}
    return row


def compare(old_path: Path, new_path: Path, excepted: Sequence[str], openapi: bool) -> int:
    """Print how two recordings differ, and return the exit status: 1 if they do."""
    old, new = read_lines(old_path), read_lines(new_path)
    patterns = [*UNSTABLE, *excepted, *(() if openapi else ("openapi",))]
    names = [name for name in {**old, **new} if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    different = 0
    kinds: Counter[str] = Counter()
    for name in names:
        if name not in old or name not in new:
            different += 1
            kinds["(only in one)"] += 1
            print(f"{name}: only in {old_path if name in old else new_path}")
            continue
        changes = list(differences(*(before_components(normal(one[name])) for one in (old, new))))
        if not changes:
            continue
        different += 1
        print(f"{name} ({old[name]['method']} {old[name]['path']}): {len(changes)} differences")
        for path, one, other in changes[:4]:
            print(f"    {path[1:]}: {json.dumps(one)[:200]} -> {json.dumps(other)[:200]}")
        kinds.update(re.sub(r"\.\d+", ".*", path[1:]) for path, _, _ in changes)
    compared = [new[name] for name in names if name in new and name in old]
    left_out = len({**old, **new}) - len(names)
    print(f"compared {len(compared)} requests ({_extent(compared)}); {left_out} left out; {different} differ")
    for kind, count in kinds.most_common(30):
        print(f"    {count} times {kind}")
    return 1 if different else 0


def _extent(lines: Sequence[Row]) -> str:
    routes = {(line["method"], line["route"]) for line in lines}
    strategies = {line["strategy"] for line in lines if line["strategy"]}
    errors = {line["error"] for line in lines if line["error"]}
    verdicts = json.dumps([line["answer"] for line in lines]).count('"decided_by":')
    return f"{len(routes)} routes, {len(strategies)} strategies, {len(errors)} error types, {verdicts} verdicts"


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="send the corpus and write the answers")
    recording.add_argument("--store", choices=("sqlite", "redis"), default="sqlite")
    recording.add_argument("--out", type=Path, required=True)
    comparing = commands.add_parser("compare", help="compare two recordings; exits 1 if they differ")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    comparing.add_argument(
        "--except", dest="excepted", nargs="+", action="extend", default=[], help="names left out, as patterns"
    )
    comparing.add_argument("--openapi", action="store_true", help="compare /openapi.json too, without its texts")
    options = parser.parse_args()
    if options.command == "record":
        record(options.store, options.out)
    else:
        sys.exit(compare(options.old, options.new, options.excepted, options.openapi))


if __name__ == "__main__":
    main()
