"""Alert rules and Grafana dashboards, held by a real Prometheus that scrapes a real service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..ports import free_port
from .conftest import DEPLOY, Parts, program, wait_until

RULES = DEPLOY / "prometheus" / "rules" / "deepcompress.yml"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
VARIABLES = {"$__rate_interval": "1m", "$run": ".*"}


def test_rules_and_configuration_are_what_prometheus_takes(tmp_path: Path) -> None:
    promtool = program("promtool")
    # promtool asks for the file of the key, which Compose makes.
    (tmp_path / "key").write_text("a-key\n")
    shutil.copytree(RULES.parent, tmp_path / "rules")
    configuration = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    assert "credentials_file: /run/metrics-secret/key" in configuration
    (tmp_path / "prometheus.yml").write_text(configuration.replace("/run/metrics-secret/key", str(tmp_path / "key")))
    for what in (["check", "rules", str(RULES)], ["check", "config", str(tmp_path / "prometheus.yml")]):
        done = subprocess.run([promtool, *what], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    cases = (Path(__file__).parent / "alerts_test.yml").read_text().replace("RULES", str(RULES))
    (tmp_path / "alerts_test.yml").write_text(cases)
    command = [program("promtool"), "test", "rules", str(tmp_path / "alerts_test.yml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def rollouts(*pairs: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"response": f"\\boxed{{{answer}}}", "tokens": tokens} for answer, tokens in pairs]


def exercise(service: str, step: int) -> None:
    """One of everything that is counted."""
    groups = [
        {
            "problem_id": "simple",
            "data_source": "gsm8k",
            "gold": "1/2",
            "rollouts": rollouts(("0.5", 10), ("1/2", 30), ("3", 20), ("0.5", 5)),
        },
        {"problem_id": "hard", "gold": "x+1", "rollouts": rollouts(("1+x", 90), ("x", 70), ("x", 80), ("x", 99))},
        {"problem_id": "even", "gold": "4", "rollouts": rollouts(("4", 7), ("4", 7), ("4", 7), ("4", 7))},
    ]
    for run in ("first", "second"):
        body: dict[str, Any] = {"run": run, "step": step, "groups": groups}
        assert httpx.post(f"{service}/v1/score", json=body, timeout=60).status_code == 200
        assert httpx.post(f"{service}/v1/score", json=body, timeout=60).status_code == 200  # replayed
        shape = {
            "run": run,
            "step": step,
            "groups": [{"problem_id": "hard", "rollouts": [{"correct": True, "tokens": 1}]}],
        }
        assert httpx.post(f"{service}/v1/shape", json=shape, timeout=60).status_code == 409
    items = [{"gold": "1", "response": "no"}, {"gold": "\\frac{1}{", "response": "\\boxed{1}"}]
    assert httpx.post(f"{service}/v1/verify", json={"items": items}, timeout=60).status_code == 200


@pytest.fixture(scope="module")
def prometheus(parts: Parts) -> str:
    """Two replicas, one of them with two workers, on one Redis, under Prometheus."""
    program("prometheus")
    state = parts.redis()
    ports = [free_port(), free_port()]
    parts.service(ports[0], state, workers=2)
    parts.service(ports[1], state)
    server = parts.prometheus([f"127.0.0.1:{port}" for port in ports])
    for step in range(1, 10):
        exercise(f"http://127.0.0.1:{ports[step % 2]}", step)
        time.sleep(1)
    wait_until(lambda: len(query(server, "max by (run) (deepcompress_run_level)")) == 2, what="the runs' gauges")
    return server


def query(server: str, expression: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{server}/api/v1/query", params={"query": expression}, timeout=60)
    body = answer.json()
    assert body["status"] == "success", f"{expression}: {body}"
    found: list[dict[str, Any]] = body["data"]["result"]
    return found


def queries(dashboard: Path) -> list[tuple[str, str]]:
    panels = json.loads(dashboard.read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


def answers(server: str, expression: str) -> bool:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return any(row["value"][1] != "NaN" for row in query(server, expression))


def test_every_query_of_every_dashboard_is_answered(prometheus: str) -> None:
    assert DASHBOARDS
    asked = [(dashboard.stem, *one) for dashboard in DASHBOARDS for one in queries(dashboard)]
    assert len(asked) > 35
    silent = [(where, title, expression) for where, title, expression in asked if not answers(prometheus, expression)]
    assert silent == []


def test_dashboards_and_rules_name_only_served_metrics(prometheus: str) -> None:
    served = {row["metric"]["__name__"] for row in query(prometheus, '{job="deepcompress"}')}
    text = RULES.read_text() + "".join(dashboard.read_text() for dashboard in DASHBOARDS)
    named = {name for name in re.findall(r"\bdeepcompress_[a-z0-9_]+", text) if name not in served}
    assert named == set()


def test_rules_load_and_record(prometheus: str) -> None:
    groups = httpx.get(f"{prometheus}/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == 18
    wait_until(lambda: bool(query(prometheus, "deepcompress:run_level")), what="a recorded series")
    rules = [r for g in httpx.get(f"{prometheus}/api/v1/rules").json()["data"]["groups"] for r in g["rules"]]
    assert [rule for rule in rules if rule["health"] == "err"] == []


def test_series_stay_few(prometheus: str) -> None:
    """About what one replica costs a Prometheus, with two runs: the number docs/deployment.md names."""
    assert len(query(prometheus, '{job="deepcompress"}')) / 2 < 1200


def test_dashboards_are_provisioned_as_they_stand() -> None:
    for dashboard in DASHBOARDS:
        board = json.loads(dashboard.read_text())
        assert board["uid"] and board["title"] and "id" not in board
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(numbers) == len(set(numbers))
        for panel in board["panels"]:
            assert panel["datasource"]["uid"] == "deepcompress-prometheus"
            assert panel["description"]
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
