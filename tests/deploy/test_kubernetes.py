"""The Kubernetes manifests: rendered by kustomize itself, and held to what they promise."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from deepcompress_service.settings import Settings

from .conftest import DEPLOY

OVERLAYS = sorted(path.name for path in (DEPLOY / "kubernetes" / "overlays").iterdir())
Manifests = dict[str, dict[str, Any]]


def rendered(overlay: str) -> Manifests:
    """Everything an overlay renders, by kind and name."""
    folder = str(DEPLOY / "kubernetes" / "overlays" / overlay)
    for command in (["kubectl", "kustomize", folder], ["kustomize", "build", folder]):
        if shutil.which(command[0]):
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            found = [document for document in yaml.safe_load_all(done.stdout) if document]
            return {f"{one['kind']}/{re.sub('-[a-z0-9]{10}$', '', one['metadata']['name'])}": one for one in found}
    pytest.skip("needs kubectl or kustomize")


@pytest.fixture(scope="module", params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return rendered(request.param)


def pod(manifests: Manifests) -> dict[str, Any]:
    found: dict[str, Any] = manifests["Deployment/deepcompress"]["spec"]["template"]
    return found


def container(manifests: Manifests) -> dict[str, Any]:
    (found,) = pod(manifests)["spec"]["containers"]
    return dict(found)


def settings(manifests: Manifests) -> Settings:
    given = dict(manifests["ConfigMap/deepcompress"]["data"])
    given.pop("DEEPCOMPRESS_API_KEYS_FILE")  # a file of the pod
    known = {name.removeprefix("DEEPCOMPRESS_").lower(): value for name, value in given.items()}
    assert set(known) <= set(Settings.model_fields)
    return Settings(**known)


def test_every_part_is_there(manifests: Manifests) -> None:
    for kind in (
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "ServiceAccount",
        "PodMonitor",
        "PrometheusRule",
    ):
        assert f"{kind}/deepcompress" in manifests


def test_the_pod_may_do_nothing_it_does_not_need(manifests: Manifests) -> None:
    spec = pod(manifests)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    allowed = container(manifests)["securityContext"]
    assert allowed["readOnlyRootFilesystem"] is True
    assert allowed["allowPrivilegeEscalation"] is False
    assert allowed["capabilities"] == {"drop": ["ALL"]}
    assert container(manifests)["resources"]["limits"]["memory"]


def test_settings_are_settings_and_fit_the_pod(manifests: Manifests) -> None:
    chosen = settings(manifests)
    main = container(manifests)
    assert {port["name"]: port["containerPort"] for port in main["ports"]} == {"http": chosen.port}
    assert chosen.host == "0.0.0.0"
    # Drain delay, then uvicorn's 30 s for what is in flight, before the kill.
    assert pod(manifests)["spec"]["terminationGracePeriodSeconds"] > chosen.drain_seconds + 30
    # Readiness must be seen to drop before connections are refused.
    probe = main["readinessProbe"]
    assert chosen.drain_seconds > probe["periodSeconds"] * probe["failureThreshold"]
    # Worker processes at their own memory limits must not be what ends the pod by surprise: the server's part too.
    limit = int(main["resources"]["limits"]["memory"].removesuffix("Gi")) * 2**30
    assert chosen.max_inflight_body_bytes * chosen.workers + 2**30 < limit
    keys = manifests["ConfigMap/deepcompress"]["data"]["DEEPCOMPRESS_API_KEYS_FILE"]
    mounted = {mount["mountPath"] for mount in main["volumeMounts"]}
    assert keys.rpartition("/")[0] in mounted and "/tmp" in mounted


def test_selectors_select_the_pods(manifests: Manifests) -> None:
    labels = pod(manifests)["metadata"]["labels"]
    selectors = [
        manifests["Deployment/deepcompress"]["spec"]["selector"]["matchLabels"],
        manifests["Service/deepcompress"]["spec"]["selector"],
        manifests["PodDisruptionBudget/deepcompress"]["spec"]["selector"]["matchLabels"],
        manifests["NetworkPolicy/deepcompress"]["spec"]["podSelector"]["matchLabels"],
        manifests["PodMonitor/deepcompress"]["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
    target = manifests["HorizontalPodAutoscaler/deepcompress"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "deepcompress")


def test_the_network_is_closed_but_for_what_is_named(manifests: Manifests) -> None:
    policy = manifests["NetworkPolicy/deepcompress"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert all(rule.get("from") for rule in policy["ingress"])
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 6379}


def test_it_scales_on_a_metric_that_is_served(manifests: Manifests) -> None:
    from deepcompress_service.observability import metrics

    (queue, _) = manifests["HorizontalPodAutoscaler/deepcompress"]["spec"]["metrics"]
    name = queue["pods"]["metric"]["name"]
    assert name.encode() in metrics.exposition()[0]
    adapter = yaml.safe_load((DEPLOY / "kubernetes/components/autoscaling/adapter-rules.yaml").read_text())
    assert adapter["rules"][0]["name"]["as"] == name


def test_rules_are_those_of_prometheus(manifests: Manifests) -> None:
    """One set of rules; the operator's wrapping is made from it with
    yaml.safe_dump({..., "spec": yaml.safe_load(rules)}, sort_keys=False)."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules" / "deepcompress.yml").read_text())
    assert manifests["PrometheusRule/deepcompress"]["spec"] == rules


def test_a_cluster_of_its_own_keeps_what_was_acknowledged() -> None:
    manifests = rendered("redis-cluster")
    lines = manifests["ConfigMap/deepcompress-redis"]["data"]["redis-additional.conf"].splitlines()
    assert {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction"} <= set(lines)
    cluster = manifests["RedisCluster/deepcompress-redis"]["spec"]
    for part in ("redisLeader", "redisFollower"):
        assert cluster[part]["redisConfig"]["additionalRedisConfig"] == "deepcompress-redis"
    assert settings(manifests).store_replicas == 1
