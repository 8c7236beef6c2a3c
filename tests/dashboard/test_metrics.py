"""The metrics: right over several worker processes, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deepcompress_service.activity.recent import Activity
from deepcompress_service.activity.shared import SharedActivity
from deepcompress_service.difficulty.errors import StoreUnavailable
from deepcompress_service.difficulty.model import Commit, DifficultyConfig, GroupCommit
from deepcompress_service.difficulty.sources import MAX_SOURCES
from deepcompress_service.difficulty.store import DifficultyStore, open_store
from deepcompress_service.observability import metrics, run_metrics
from deepcompress_service.observability.run_metrics import RunMetrics
from deepcompress_verify import Verdict

from ..waiting import eventually
from .conftest import KEY, Serve, train

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(address: str, key: str | None = None) -> Samples:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    page = httpx.get(f"{address}/metrics", headers=headers, timeout=60)
    assert page.status_code == 200
    found: Samples = {}
    for family in text_string_to_metric_families(page.text):
        for sample in family.samples:
            where = (sample.name, frozenset(sample.labels.items()))
            assert where not in found, f"{where} twice"
            found[where] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    return sum(v for (n, have), v in samples.items() if n == name and frozenset(labels.items()) <= have)


@pytest.fixture(scope="module")
def many(serve: Serve) -> str:
    address = serve(workers=2)
    train(address, "many", range(1, 6))
    for _ in range(20):
        httpx.get(f"{address}/v1/runs/many").raise_for_status()
    httpx.get(f"{address}/v1/runs/nobody")
    httpx.get(f"{address}/no/such/{'x' * 50}")
    return address


def settled(address: str, ready: Callable[[Samples], bool]) -> Samples:
    """The metrics, once a request counts that was answered a moment before: some are counted after their answer."""
    found: list[Samples] = []

    def scraped() -> bool:
        found[:] = [scrape(address)]
        return ready(found[0])

    eventually(scraped, lambda: found[0])
    return found[0]


def test_several_workers_answer_as_one(many: str) -> None:
    def is_counted(samples: Samples) -> bool:
        return (
            value(samples, "deepcompress_requests_total", route="/v1/runs/{run}") >= 21
            and value(samples, "deepcompress_requests_total", route="none") >= 1
            and value(samples, "deepcompress_groups_total") >= 5 * 30
            and value(samples, "deepcompress_memory_bytes") > 20e6
            and value(samples, "deepcompress_verifier_workers_alive") == 2
        )

    settled(many, is_counted)
    for _ in range(6):
        samples = scrape(many)
        assert value(samples, "deepcompress_requests_total", route="/v1/score", code="200") == 5
        assert value(samples, "deepcompress_requests_total", route="/v1/runs/{run}") == 21
        assert value(samples, "deepcompress_requests_total", route="none") == 1
        assert value(samples, "deepcompress_verdicts_total") == 5 * 120
        assert value(samples, "deepcompress_verdicts_total", status="correct") == 5 * 60
        assert value(samples, "deepcompress_groups_total", phase="train", kind="new") == 5 * 30
        assert value(samples, "deepcompress_store_seconds_count", operation="commit") == 5
        assert value(samples, "deepcompress_verifier_workers") == 2
        assert value(samples, "deepcompress_verifier_workers_alive") == 2
        assert value(samples, "deepcompress_memory_bytes") > 20e6
        assert value(samples, "deepcompress_check_cpu_seconds_total") > 0


def test_runs_have_gauges_with_the_values_of_the_store(many: str) -> None:
    samples = settled(many, lambda found: value(found, "deepcompress_run_reward", run="many", component="total") != 0)
    steps = httpx.get(f"{many}/v1/runs/many/history").json()["steps"]
    closed = [step for step in steps if step["closed"]][-1]
    assert value(samples, "deepcompress_store_up") == 1
    assert value(samples, "deepcompress_runs") == 1
    assert value(samples, "deepcompress_run_level", run="many") == steps[-1]["level"]
    assert value(samples, "deepcompress_run_step", run="many") == 5
    assert (
        value(samples, "deepcompress_run_share", run="many", difficulty="hard") == closed["hard"] / closed["groups"]
    )
    assert value(samples, "deepcompress_run_mean_tokens", run="many", of="right") == closed["mean_tokens_correct"]
    assert value(samples, "deepcompress_run_mean_tokens", run="many", of="wrong") == closed["mean_tokens_wrong"]
    assert value(samples, "deepcompress_run_truncated_share", run="many") == 0
    assert value(samples, "deepcompress_run_reward", run="many", component="outcome") == 0
    total = sum(value(samples, "deepcompress_run_reward", run="many", component=c) for c in ("outcome", "length"))
    assert value(samples, "deepcompress_run_reward", run="many", component="total") == pytest.approx(total)


def test_figures_by_data_source_are_gauges_of_a_bounded_number(serve: Serve) -> None:
    address = serve()
    for step in (1, 2):
        groups = [
            {
                "problem_id": f"p{number}",
                "data_source": f"set-{number:02d}",
                "rollouts": [{"correct": k < 3, "tokens": 100 * step, "truncated": k == 0} for k in range(4)],
            }
            for number in range(2 * MAX_SOURCES)
        ]
        body = {"run": "split", "step": step, "groups": groups}
        httpx.post(f"{address}/v1/shape", json=body).raise_for_status()
    samples = settled(
        address, lambda found: value(found, "deepcompress_run_source_reward", run="split", data_source="set-00") > 0
    )
    for figure, number in (("pass_ratio", 0.75), ("mean_tokens", 100.0), ("truncated_share", 0.25)):
        name = f"deepcompress_run_source_{figure}"
        series = {dict(labels)["data_source"]: found for (one, labels), found in samples.items() if one == name}
        assert len(series) == MAX_SOURCES + 1 and series["set-00"] == series["other"] == number
    assert value(samples, "deepcompress_run_source_reward", run="split", data_source="set-00") > 0


def test_a_key_sees_the_gauges_of_its_own_runs(serve: Serve, tmp_path: Any) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('[[key]]\nkey = "a"\naccess = "read"\nruns = "a-"\n')
    address = serve(api_keys=KEY, api_keys_file=file)
    for run in ("a-1", "b-1"):
        train(address, run, range(1, 2), key=KEY)
    assert httpx.get(f"{address}/metrics").status_code == 401
    everything = {dict(labels).get("run") for _, labels in scrape(address, KEY)}
    assert {"a-1", "b-1"} <= everything
    assert {dict(labels).get("run") for _, labels in scrape(address, "a")} == {None, "a-1"}


def commit(run: str, step: int) -> Commit:
    one = GroupCommit("p", "p", f"{step}".encode().ljust(16, b"."), b"", 4, 2, tokens_sum=400, correct_tokens_sum=100)
    return Commit(run, (one,), step=step, config=DifficultyConfig(), config_text="{}")


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def shown(families: list[Any]) -> set[str]:
    return {sample.labels["run"] for family in families for sample in family.samples if "run" in sample.labels}


def test_gauges_of_runs_are_bounded_and_go_when_the_run_rests() -> None:
    async def scenario() -> None:
        store: DifficultyStore = open_store("memory://")
        await store.open()
        clock = Clock()
        told = RunMetrics(store, SharedActivity(Activity(clock), None), clock)
        for number in range(run_metrics.MAX_RUNS + 30):
            await store.commit(commit(f"run-{number:03d}", 1))
        assert len(shown(await told.families(lambda run: True))) == run_metrics.MAX_RUNS
        clock.now += 60
        await store.commit(commit("run-079", 2))
        assert "run-079" in shown(await told.families(lambda run: True))
        clock.now += run_metrics.IDLE_S - 30
        assert shown(await told.families(lambda run: True)) == {"run-079"}
        clock.now += 60
        assert shown(await told.families(lambda run: True)) == set()
        await store.commit(commit("run-001", 2))
        clock.now += 60
        assert shown(await told.families(lambda run: True)) == {"run-001"}

    asyncio.run(scenario())


def test_a_lost_store_is_shown_and_old_numbers_are_not() -> None:
    async def scenario() -> None:
        store: DifficultyStore = open_store("memory://")
        await store.open()
        await store.commit(commit("r", 1))
        clock = Clock()
        told = RunMetrics(store, SharedActivity(Activity(), None), clock)
        assert shown(await told.families(lambda run: True)) == {"r"}

        async def refuse() -> Any:
            raise StoreUnavailable("gone")

        store.list_runs = refuse  # type: ignore[method-assign]
        clock.now += 60
        families = await told.families(lambda run: True)
        assert shown(families) == set()
        assert {f.name: f.samples[0].value for f in families if f.samples}["deepcompress_store_up"] == 0

    asyncio.run(scenario())


def test_tiers_are_labels_up_to_a_bound() -> None:
    before = set(metrics._tiers)
    try:
        for number in range(3 * metrics.MAX_TIERS):
            metrics.tier_label(f"rule-{number}")
        assert len(metrics._tiers) == metrics.MAX_TIERS
        assert metrics.tier_label("one more") == "other"
        assert metrics.tier_label('"}\n') == "other"
        metrics.count_verdicts([Verdict(True, "correct", "1", "never seen", "", 1.0)])
    finally:
        metrics._tiers.clear()
        metrics._tiers.update(before)


def test_a_run_with_policy_versions_has_gauges_of_ages(serve: Serve) -> None:
    address = serve()
    httpx.put(f"{address}/v1/runs/late", json={"asynchronous": True, "max_age": 1}).raise_for_status()
    for step, version in ((1, 3), (2, 9)):
        groups = [
            {
                "problem_id": "p",
                "group_id": f"{step}{i}",
                "rollouts": [{"correct": True, "tokens": 3, "policy_version": v}],
            }
            for i, v in enumerate((3, 2, 0))
        ]
        body = {"run": "late", "step": step, "policy_version": version, "groups": groups}
        httpx.post(f"{address}/v1/shape", json=body).raise_for_status()
    samples = settled(
        address, lambda found: value(found, "deepcompress_groups_total", phase="train", kind="too_old") >= 4
    )
    assert value(samples, "deepcompress_run_age", run="late", of="mean") == pytest.approx(4 / 3)
    assert value(samples, "deepcompress_run_age", run="late", of="largest") == 3
    assert value(samples, "deepcompress_run_too_old_groups", run="late") == 1
    assert value(samples, "deepcompress_groups_total", phase="train", kind="too_old") == 4
