"""NeMo Gym 0.4.0 itself: its simple agent's `run`, over its server client, gets rewards from the compatible
endpoint, at the root of a service, and through a proxy that adds the prefix, as the page's nginx does. Its response
models read the answers, and its own aggregation is compared with ours. The model, which needs a GPU, is replaced by a
stand-in.
"""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deepcompress_client import Client

from . import live, reference

pytest.importorskip("nemo_gym", reason="needs NeMo Gym: python tests/integrations/run_real.py nemo_gym")

from nemo_gym import server_utils
from nemo_gym.config_types import AggregateMetrics
from nemo_gym.reward_profile import compute_aggregate_metrics
from omegaconf import OmegaConf
from responses_api_agents.simple_agent.app import SimpleAgent, SimpleAgentRunRequest

GROUP: list[reference.Rollout] = [(True, 4), (False, 9), (True, 8), (False, 3)]
PREVIOUS = {"name": "deepcompress", "reference": "previous"}


class Model:
    """Answers /v1/responses with the rollout that the request's metadata names, token ids and all."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                correct, tokens = json.loads(asked["metadata"]["rollout"])
                message = {
                    "id": "msg_1",
                    "type": "message",
                    "role": "assistant",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": _text(correct), "annotations": []}],
                    "prompt_token_ids": [1, 2],
                    "generation_token_ids": [5] * tokens,
                    "generation_log_probs": [-0.1] * tokens,
                }
                answer = {
                    "id": f"resp_{uuid.uuid4().hex}",
                    "created_at": 0.0,
                    "model": "played",
                    "object": "response",
                    "output": [message],
                    "parallel_tool_calls": True,
                    "tool_choice": "auto",
                    "tools": [],
                }
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def _text(correct: bool) -> str:
    return f"so \\boxed{{{42 if correct else 41}}}"


@contextmanager
def gym(service: live.Service, query: str = "") -> Iterator[tuple[live.Trouble, Any]]:
    """The proxy, and the agent that asks it."""
    with live.trouble(service) as between:
        between.only = "/verify"
        between.rewrite = lambda path: f"/compat/nemo_gym{path}{query if path == '/verify' else ''}"
        with agent_of(int(between.url.rpartition(":")[2])) as agent:
            yield between, agent


@contextmanager
def agent_of(port: int) -> Iterator[Any]:
    """The agent whose resources server is at this port."""
    model = Model()
    places = {"agent": model.server.server_address[1], "rewards": port}
    config = OmegaConf.create({name: {"a": {"b": {"host": "127.0.0.1", "port": at}}} for name, at in places.items()})
    client = server_utils.ServerClient.model_construct(head_server_config=None, global_config_dict=config)
    names = SimpleNamespace(name="agent", resources_server=SimpleNamespace(name="rewards"))
    yield SimpleAgent.model_construct(config=names, server_client=client)
    model.server.shutdown()
    model.server.server_close()


def with_client(work: Callable[[], Awaitable[Any]]) -> Any:
    """NeMo Gym has one HTTP client a process; here, one an event loop."""

    async def run() -> Any:
        server_utils._GLOBAL_AIOHTTP_CLIENT = None
        made = server_utils.set_global_aiohttp_client(server_utils.GlobalAIOHTTPAsyncClientConfig())
        try:
            return await work()
        finally:
            await made.close()
            server_utils._GLOBAL_AIOHTTP_CLIENT = None

    return asyncio.run(run())


async def run_one(agent: Any, rollout: reference.Rollout, gold: str = "42", **more: Any) -> Any:
    asked = {"input": [{"role": "user", "content": "6 times 7?"}], "metadata": {"rollout": json.dumps(rollout)}}
    body = SimpleAgentRunRequest.model_validate({"responses_create_params": asked, "expected_answer": gold, **more})
    return (await agent.run(SimpleNamespace(cookies={}), body)).model_dump()


def test_its_agent_gets_outcomes_and_what_cannot_be_judged_is_masked(service: live.Service) -> None:
    with gym(service) as (_, agent):

        async def rollouts() -> list[Any]:
            return [
                await run_one(agent, (True, 5), question="6 times 7?"),
                await run_one(agent, (False, 5)),
                await run_one(agent, (True, 5), gold="\\frac{1}{"),
            ]

        right, wrong, unknown = with_client(rollouts)
    assert (right["reward"], right["accuracy"], right["question"]) == (1.0, 1.0, "6 times 7?")
    assert right["response"]["output"][0]["generation_token_ids"] == [5] * 5
    assert (wrong["reward"], wrong["mask_sample"]) == (0.0, False)
    assert (unknown["mask_sample"], unknown["failure_kind"]) == (True, "gold_unreadable")


def test_its_groups_are_shaped_through_cut_connections_and_a_restart(service: live.Service, run: str) -> None:
    Client(service.url).run(run, strategy=PREVIOUS, groups_per_step=2)
    level = 1.0
    with gym(service, f"?run={run}&cohort=4") as (between, agent):
        for step in range(2):
            # Its client tries a cut connection again without end; the group is found as it was.
            between.faults = ["lost", "unanswered", "ok", "lost"] if step else ["ok", "restart", "lost", "ok"]

            async def rollouts(epoch: int = step) -> list[Any]:
                return list(
                    await asyncio.gather(
                        *(
                            run_one(agent, rollout, _ng_task_index=task, _ng_rollout_index=place, epoch=epoch)
                            for task in range(2)
                            for place, rollout in enumerate(GROUP)
                        )
                    )
                )

            found = with_client(rollouts)
            assert between.faults == []
            assert [one["reward"] for one in found] == pytest.approx(reference.rewards(GROUP, level) * 2, abs=1e-9)
            assert all(sum(one["reward_components"].values()) == one["reward"] for one in found)
            level = reference.next_level(level, [GROUP, GROUP])
    steps = Client(service.url).run(run, join=True).history().steps
    assert [(entry.groups, entry.rollouts) for entry in steps] == [(2, 8), (2, 8)]
    assert steps[-1].level == pytest.approx(level, abs=1e-12)


def test_its_groups_are_shaped_at_the_root_of_a_service(tmp_path: Path, run: str) -> None:
    with live.serving(tmp_path, NEMO_GYM=f"run={run}&cohort=4&groups_per_step=1") as own, agent_of(own.port) as agent:

        async def rollouts() -> list[Any]:
            calls = [run_one(agent, one, _ng_task_index=0, _ng_rollout_index=at) for at, one in enumerate(GROUP)]
            return list(await asyncio.gather(*calls))

        found = with_client(rollouts)
    assert [one["reward"] for one in found] == pytest.approx(reference.rewards(GROUP, 1.0), abs=1e-9)


def test_a_refusal_is_an_error_of_its_own_and_no_reward(service: live.Service) -> None:
    with gym(service) as (between, agent):
        between.always = "503"
        with pytest.raises(Exception, match="503"):
            with_client(lambda: run_one(agent, (True, 5)))


def test_its_aggregation_is_equal(service: live.Service) -> None:
    rows = [
        {"_ng_task_index": task, "_ng_rollout_index": place, "reward": float(correct), "accuracy": float(correct)}
        for task in range(2)
        for place, (correct, _) in enumerate(GROUP[: 4 - task])
    ]
    with gym(service) as (_, agent):

        async def ask() -> Any:
            request = SimpleNamespace(verify_responses=rows)
            return await server_utils.get_response_json(
                await agent.server_client.post("rewards", "/aggregate_metrics", json=vars(request))
            )

        ours = AggregateMetrics.model_validate(with_client(ask))
    own = compute_aggregate_metrics(rows)
    for name in ("mean/reward", "max/reward", "min/reward", "median/reward", "std/reward", "mean/accuracy"):
        assert ours.agent_metrics[name] == pytest.approx(own.agent_metrics[name]), name
        for mine, theirs in zip(ours.group_level_metrics, own.group_level_metrics, strict=True):
            assert mine["_ng_task_index"] == theirs["_ng_task_index"]
            assert mine[name] == pytest.approx(theirs[name]), name
