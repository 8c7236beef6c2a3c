"""Unused state is deleted after its time, on every store; state that is used, or acknowledged and within its time,
is not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deepcompress_service.app import create_app
from deepcompress_service.difficulty import errors
from deepcompress_service.difficulty.model import Commit, DifficultyConfig
from deepcompress_service.difficulty.retention import OBSERVATIONS_S, Swept
from deepcompress_service.difficulty.store import DifficultyStore, open_store
from deepcompress_service.difficulty.stores.memory import MemoryStore
from deepcompress_service.server import expiry
from deepcompress_service.settings import Settings

from ..waiting import eventually
from .conftest import SHARED_STORES
from .driving import Driver, Run, group
from .idling import let_pass

MakeRun = Callable[..., Run]
WEEK = int(OBSERVATIONS_S)
FAR = 10**9
"""Longer than any run of other tests on the same server has been idle."""


def test_an_unused_run_is_deleted(driver: Driver, new_run: MakeRun) -> None:
    idle, busy = new_run(), new_run()
    for run in (idle, busy):
        run.commit(1, group("a", 1))
        driver.checkpoint(run.name, "x", 1)
    let_pass(driver, idle.name, 2 * FAR)
    assert driver.sweep(FAR).runs == (idle.name,)
    assert driver.sweep(FAR).runs == ()
    with pytest.raises(errors.UnknownRun):
        idle.state  # noqa: B018
    names = [state.run for state in driver.list_runs()]
    assert (idle.name in names, busy.name in names) == (False, True)
    with pytest.raises(errors.EpochMismatch):
        idle.commit(2, group("a", 1), epoch=0)
    anew = idle.commit(1, group("a", 1))  # without an epoch, which creates no run
    assert (anew.created, anew.groups[0].replayed, anew.groups[0].problem.attempts) == (True, False, 0)
    assert driver.checkpoints(idle.name) == []
    assert [c.name for c in driver.checkpoints(busy.name)] == ["x"]


def test_without_a_limit_no_run_is_deleted(driver: Driver, new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 1))
    let_pass(driver, run.name, 2 * FAR)
    assert driver.sweep(None).runs == ()
    assert run.commit(1, group("a", 1)).groups[0].replayed


USES: dict[str, Callable[[Run], object]] = {
    "commit": lambda run: run.commit(2, group("a", 1)),
    "repeat": lambda run: run.commit(1, group("a", 1)),
    "late group": lambda run: run.commit(0, group("b", 1)),
    "observation": lambda run: run.observe(2, "b", "b0", True),
    "configuring": lambda run: run.driver.put_run(run.name, run.config, repr(run.config)),
    "checkpoint": lambda run: run.driver.checkpoint(run.name, "y", 1),
    "deleting a checkpoint": lambda run: run.driver.delete_checkpoint(run.name, "x"),
    "restore": lambda run: run.driver.restore(run.name, "x"),
    "rewind": lambda run: run.driver.rewind(run.name, 2),
    "import": lambda run: run.driver.import_run(run.name, run.driver.export(run.name)),
}


@pytest.mark.parametrize("use", USES)
def test_using_a_run_keeps_it(driver: Driver, new_run: MakeRun, use: str) -> None:
    run = new_run()
    run.commit(1, group("a", 1))
    driver.checkpoint(run.name, "x", 1)
    let_pass(driver, run.name, 2 * FAR)
    USES[use](run)
    let_pass(driver, run.name, FAR // 2)
    assert driver.sweep(FAR).runs == ()
    assert run.state.problems == 1


def test_looking_at_a_run_does_not_keep_it(driver: Driver, new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 1))
    let_pass(driver, run.name, 2 * FAR)
    for look in (driver.get_run, driver.history, driver.problems, driver.checkpoints, driver.export):
        look(run.name)
    driver.problem(run.name, "a")
    driver.list_runs()
    with pytest.raises(errors.EpochMismatch):
        run.commit(1, group("a", 1), epoch=7)
    assert driver.sweep(FAR).runs == (run.name,)


def test_a_run_without_a_note_of_its_use_is_counted_from_the_first_sweep(driver: Driver, new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 1))
    let_pass(driver, run.name, None)
    assert driver.sweep(FAR).runs == ()
    let_pass(driver, run.name, FAR - 60)
    assert driver.sweep(FAR).runs == ()
    let_pass(driver, run.name, 61)
    assert driver.sweep(FAR).runs == (run.name,)


@pytest.mark.parametrize("store_url", SHARED_STORES, indirect=True)
def test_a_run_made_anew_elsewhere_is_listed_again(driver: Driver, new_run: MakeRun, store_url: str) -> None:
    other = Driver(store_url)
    run = new_run()
    run.commit(1, group("a", 1))
    other.commit(Commit(run.name, (group("a", 1),), step=1))
    let_pass(driver, run.name, 2 * FAR)
    assert driver.sweep(FAR).runs == (run.name,)
    driver.sweep(FAR)
    config = DifficultyConfig()
    other.commit(Commit(run.name, (group("a", 1),), step=1, config=config, config_text="text"))
    assert run.name in [state.run for state in driver.list_runs()]
    other.close()


def test_observations_of_a_run_that_never_comes_are_dropped(driver: Driver, new_run: MakeRun) -> None:
    run, waiting = new_run(), new_run()
    for one in (run, waiting):
        assert one.observe(0, "a", "a0", True)
        assert one.observe(1, "b", "b0", True)
        let_pass(driver, one.name, WEEK - 3600)
    # The last observation keeps all of them: they are going to count together.
    assert waiting.observe(2, "c", "c0", False)
    for one in (run, waiting):
        let_pass(driver, one.name, WEEK - 3600)
    driver.sweep(None)
    with pytest.raises(errors.NotObserved):
        run.commit("observed", group(None, 1, 1, group_id="a"))
    assert waiting.commit("observed", group(None, 1, 1, group_id="a")).step == 0
    waiting.commit(3, group("z", 0))
    assert {s.step: s.observed_groups for s in driver.history(waiting.name)} == {0: 0, 1: 1, 2: 1, 3: 0}


def test_observations_of_a_run_that_was_only_configured_are_dropped(driver: Driver, new_run: MakeRun) -> None:
    run = new_run()
    driver.put_run(run.name, run.config, repr(run.config))
    run.observe(0, "a", "a0", True)
    let_pass(driver, run.name, WEEK + 60)
    driver.sweep(None)
    assert run.state.kind is None
    run.commit(1, group("z", 1))
    assert [s.step for s in driver.history(run.name)] == [1]


def test_observations_of_a_trained_run_live_as_long_as_it(driver: Driver, new_run: MakeRun) -> None:
    run = new_run()
    run.observe(1, "before", "0", True)
    run.observe(3, "before", "0", True)
    run.commit(0, group("a", 1))
    run.observe(2, "after", "0", True)
    let_pass(driver, run.name, 100 * WEEK)
    driver.sweep(None)
    run.commit(4, group("a", 1))
    assert {s.step: s.observed_groups for s in driver.history(run.name)} == {0: 0, 1: 1, 2: 1, 3: 1, 4: 0}


def test_observations_wait_as_long_as_is_set(store_url: str) -> None:
    driver = Driver(store_url, observations_s=3600.0)
    run = Run(driver, "an-hour", DifficultyConfig())
    for left, there in ((60, True), (-60, False)):
        run.observe(0, "a", "a0", True)
        let_pass(driver, run.name, 3600 - left)
        driver.sweep(None)
        group_of_it = group(None, 1, 1, group_id="a")
        if there:
            assert run.commit("observed", group_of_it).step == 0
            driver.delete_run(run.name)
        else:
            with pytest.raises(errors.NotObserved):
                run.commit("observed", group_of_it)
    driver.close()


@pytest.fixture
def sweeps(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log of the sweeps, also after an app has set up its logging. It loses no line while another thread logs."""
    log = logging.getLogger("deepcompress.expiry")
    log.addHandler(caplog.handler)
    yield caplog
    log.removeHandler(caplog.handler)


def test_the_service_sweeps(tmp_path: Path, sweeps: pytest.LogCaptureFixture) -> None:
    settings = Settings(
        state_url=f"sqlite:///{tmp_path / 'state.sqlite3'}",
        verifier_workers=1,
        run_ttl_days=1e-9,
        sweep_interval_seconds=0.01,
        log_level="warning",
    )
    with TestClient(create_app(settings)) as client:
        client.put("/v1/runs/short-lived", json={}).raise_for_status()
        # The line is the last thing that a sweep does: the run is gone, and counted, before it.
        eventually(lambda: "deleted run short-lived" in sweeps.text)
        assert client.get("/v1/runs/short-lived").status_code == 404
        page = client.get("/metrics").text
        (line,) = [line for line in page.splitlines() if line.startswith("deepcompress_runs_expired_total ")]
        assert float(line.split()[1]) >= 1


@pytest.mark.parametrize(("days", "seconds"), [(0, None), (0.5, 43_200), (3, 259_200), (30, 2_592_000)])
def test_days_of_the_settings_are_seconds_to_a_sweep(days: float, seconds: float | None) -> None:
    asked: list[float | None] = []

    class Recording(MemoryStore):
        async def sweep(self, idle_s: float | None) -> Swept:
            asked.append(idle_s)
            return Swept()

    asyncio.run(expiry.sweep(Recording(), Settings(state_url="memory://", run_ttl_days=days)))
    assert asked == [seconds]


@pytest.mark.parametrize(("days", "seconds"), [(0.25, 21_600), (3, 259_200), (7, 604_800)])
def test_days_of_the_settings_are_seconds_to_observations(
    days: float, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def recording(url: str, *, observations_s: float, **options: Any) -> DifficultyStore:
        asked.append(observations_s)
        return open_store(url, observations_s=observations_s, **options)

    monkeypatch.setattr("deepcompress_service.app.open_store", recording)
    settings = Settings(state_url="memory://", verifier_workers=1, observation_ttl_days=days)
    with TestClient(create_app(settings)):
        pass
    assert asked == [seconds]


def test_a_store_that_cannot_be_reached_is_swept_the_next_time(caplog: pytest.LogCaptureFixture) -> None:
    store = open_store("redis://127.0.0.1:1/0", timeout_s=0.05)
    asyncio.run(expiry.sweep(store, Settings(state_url="memory://")))
    assert "expired runs could not be deleted" in caplog.text


def test_settings_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUN_TTL_DAYS", "OBSERVATION_TTL_DAYS", "SWEEP_INTERVAL_SECONDS"):
        monkeypatch.setenv(f"DEEPCOMPRESS_{name}", "-1")
        with pytest.raises(ValueError, match=name.lower()):
            Settings()
        monkeypatch.delenv(f"DEEPCOMPRESS_{name}")
    assert Settings().run_ttl_days == 0


def test_looking_at_runs_that_are_not_there_keeps_nothing_in_memory() -> None:
    driver = Driver("memory://")
    for number in range(50):
        for look in (driver.get_run, driver.delete_run, driver.history, driver.export):
            with pytest.raises(errors.UnknownRun):
                look(f"nobody-{number}")
        with pytest.raises(errors.UnknownRun):
            driver.commit(Commit(f"nobody-{number}", (group("p", 1),), step=0))
    assert isinstance(driver.store, MemoryStore)
    state = driver.store._state
    assert not state.states and not state.made and not state.used
    driver.close()


def test_sweeps_are_half_a_period_to_a_period_apart_and_end_with_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    pause = asyncio.sleep

    async def short(seconds: float) -> None:
        pauses.append(seconds)
        await pause(0)

    async def scenario() -> None:
        store = MemoryStore()
        await store.open()
        monkeypatch.setattr(asyncio, "sleep", short)
        async with expiry.expiry_task(store, Settings(state_url="memory://", sweep_interval_seconds=80)):
            while len(pauses) < 400:
                await pause(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await store.close()

    asyncio.run(scenario())
    assert 40 <= min(pauses) < 44
    assert 76 < max(pauses) <= 80
