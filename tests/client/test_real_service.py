"""The client against the service itself, over sockets: parts, losses, restarts."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deepcompress_client import AsyncClient, Client, Retry, errors, wire
from deepcompress_service.app import create_app
from deepcompress_service.cli.embedded import embedded_service
from deepcompress_service.settings import Settings

from ..ports import free_port
from .both import QUICK
from .proxy import FATES, LossyProxy

PATIENT = Retry(max_elapsed_s=240.0, first_wait_s=0.005, max_wait_s=0.1)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with embedded_service() as address:
        yield address


def make_groups(step: int, count: int = 8, size: int = 4) -> list[dict[str, Any]]:
    draw = random.Random(step)
    return [
        {
            "problem_id": f"p{p}",
            "gold": "\\frac{1}{" if p == 6 else str(p),
            "rollouts": [
                {
                    "response": f"so \\boxed{{{p if draw.random() < 0.5 else p + 1}}}",
                    "tokens": draw.randrange(50, 4000),
                    "truncated": draw.random() < 0.1,
                }
                for _ in range(size)
            ],
        }
        for p in range(count)
    ]


def comparable(answer: wire.ScoreAnswer) -> dict[str, Any]:
    """Return an answer without the fields that may differ: run and incarnation, CPU times, ``replayed``."""
    rows = answer.to_dict()
    rows.pop("run")
    rows.pop("incarnation", None)
    for group in rows["groups"]:
        group.pop("replayed")
        for verdict in group["verdicts"]:
            verdict.pop("cpu_ms")
    return rows


@pytest.mark.parametrize("phase", ["train", "eval"])
def test_parts_equal_the_whole_to_the_last_bit(client: Callable[..., Any], url: str, phase: wire.Phase) -> None:
    name = f"parts-{phase}-{random.random()}"
    with Client(url) as plain:
        whole = plain.score(make_groups(0), run=name, step=0, phase=phase)
    parts = client(url, max_request_bytes=300).score(make_groups(0), run=f"{name}-cut", step=0, phase=phase)
    assert comparable(parts) == comparable(whole)


def test_the_runs_answer_format_holds_for_parts_too(client: Callable[..., Any], url: str) -> None:
    groups = [{"problem_id": "p", "gold": "7", "rollouts": [{"response": "The answer is 7", "tokens": 3}] * 2}]
    one = client(url, max_request_bytes=1)
    run = one.run(f"format-{random.random()}", answer_format="final_answer")
    assert run.score(groups, step=0).groups[0].correct == [True, True]


def test_losses_on_the_way_change_nothing(client: Callable[..., Any], url: str) -> None:
    name = f"lossy-{random.random()}"
    proxy = LossyProxy(url, seed=7)
    lossy = client(proxy.url, retry=PATIENT)
    with Client(url) as plain:
        straight = plain.run(f"{name}-straight")
        run = lossy.run(name)
        for step in range(12):
            expected = straight.score(make_groups(step), step=step)
            assert comparable(run.score(make_groups(step), step=step)) == comparable(expected)
        assert run.history().steps == straight.history().steps
        assert list(run.problems()) == list(straight.problems())
    proxy.close()
    assert set(FATES) <= set(proxy.happened)


def test_shards_from_many_threads_make_the_same_level(url: str) -> None:
    name = f"shards-{random.random()}"
    groups = make_groups(3, count=40)
    with Client(url, retry=QUICK) as one:
        whole = one.run(f"{name}-whole").score(groups, step=3)
        run = one.run(name)
        random.Random(1).shuffle(groups)
        shards = [groups[start : start + 5] for start in range(0, 40, 5)] * 2
        threads = [threading.Thread(target=lambda part=part: run.score(part, step=3)) for part in shards]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert run.info().level == whole.level
        (step,) = run.history().steps
        assert (step.groups, step.rollouts) == (39, 156), "one gold cannot be read: its group does not count"


def test_an_epoch_that_has_passed_is_refused_and_can_be_refreshed(client: Callable[..., Any], url: str) -> None:
    one = client(url)
    name = f"epochs-{random.random()}"
    run, other = one.run(name), one.run(name, join=True)
    run.score(make_groups(0), step=0)
    run.rewind(0)
    with pytest.raises(errors.EpochMismatch):
        other.score(make_groups(0), step=0)
    other.refresh()
    assert not other.score(make_groups(0), step=0).groups[0].replayed


def test_the_ways_back(client: Callable[..., Any], url: str) -> None:
    one = client(url)
    run = one.run(f"back-{random.random()}")
    levels = [run.score(make_groups(step), step=step).level for step in range(4)]
    run.checkpoint("after-1", 1)
    assert [found["name"] for found in run.checkpoints()] == ["after-1"]
    run.rewind(3)
    assert run.info().level == levels[2]
    exported = run.export()
    run.restore("after-1")
    assert run.info().level == levels[1]
    run.import_state(exported)
    assert run.info().level == levels[2]
    assert run.epoch == 3
    run.delete_checkpoint("after-1")
    assert run.problem("p3").attempts == 12
    run.delete()
    with pytest.raises(errors.NotFound):
        run.info()


def test_an_export_goes_through_a_file_as_it_is(client: Callable[..., Any], url: str, tmp_path: Path) -> None:
    one = client(url)
    run = one.run(f"file-{random.random()}")
    for step in range(3):
        run.score(make_groups(step), step=step)
    file = tmp_path / "run.jsonl"
    run.export_to(file)
    assert file.read_bytes() == run.export()
    copy = one.import_run(f"{run.name}-copy", file)
    assert (copy.level, copy.problems) == (run.info().level, run.info().problems)
    run.import_state(file)
    assert run.epoch == 1
    before = file.read_bytes()
    run.delete()
    with pytest.raises(errors.NotFound, match=run.name):
        run.export_to(file)
    assert file.read_bytes() == before, "a refusal leaves the file as it was"
    assert [found.name for found in tmp_path.iterdir()] == ["run.jsonl"]


def test_a_training_starts_again_only_if_configured(client: Callable[..., Any], url: str) -> None:
    one = client(url)
    name = f"again-{random.random()}"
    first = one.run(name, next_step=0).score(make_groups(0), step=0)
    with pytest.raises(errors.RunInUse):
        one.run(name)
    again = one.run(name, next_step=0, keep_steps=7)
    second = again.score(make_groups(0), step=0)
    assert not second.groups[0].replayed
    assert second.level == first.level
    # A setting that a new training leaves out is the default, not the value of the last training.
    assert one.run(name, next_step=1).info().config.keep_steps == 7
    assert one.run(name, next_step=0).info().config.keep_steps == 64
    assert again.info().kind is None


def test_the_services_own_pages(client: Callable[..., Any], url: str) -> None:
    one = client(url)
    assert one.health()["status"] == "ok"
    assert one.ready()["ready"] is True
    assert "deepcompress" in [strategy["name"] for strategy in one.strategies()]


def test_an_app_in_this_process_needs_no_socket() -> None:
    async def ask() -> bool:
        app = create_app(Settings(state_url="memory://", log_level="warning"))
        async with (
            app.router.lifespan_context(app),
            AsyncClient("http://localhost", transport=httpx.ASGITransport(app)) as one,
        ):
            return (await one.verify_one("7", "\\boxed{7}")).correct

    assert asyncio.run(ask())


def test_a_service_killed_in_the_middle_loses_and_doubles_nothing(url: str, tmp_path: Path) -> None:
    port = free_port()

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "deepcompress_service", "serve", "--port", str(port)],
            cwd=tmp_path,
            env={**os.environ, "DEEPCOMPRESS_LOG_LEVEL": "error"},
        )

    service = start()
    try:
        killed = threading.Event()
        with Client(f"http://127.0.0.1:{port}", retry=PATIENT) as one, Client(url) as plain:
            run = one.run("r")
            straight = plain.run(f"killed-{random.random()}")

            def train() -> None:
                for step in range(30):
                    run.score(make_groups(step), step=step)
                    if step >= 5:
                        killed.set()

            training = threading.Thread(target=train)
            training.start()
            assert killed.wait(240)
            service.send_signal(signal.SIGKILL)
            service.wait()
            service = start()
            for step in range(30):
                straight.score(make_groups(step), step=step)
            training.join()
            assert run.history().steps == straight.history().steps
            assert list(run.problems()) == list(straight.problems())
    finally:
        service.kill()
        service.wait()
