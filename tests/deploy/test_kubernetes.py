"""The Kubernetes manifests: rendered by kustomize itself, and held to what they promise."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deepcompress_service.server.memory_plan import plan_memory
from deepcompress_service.settings import Settings
from deepcompress_verify.pool import DECIDE_MEMORY_BYTES

from .conftest import DEPLOY

OVERLAYS = sorted(path.name for path in (DEPLOY / "kubernetes" / "overlays").iterdir())
Manifests = dict[str, dict[str, Any]]


def rendered(overlay: str) -> Manifests:
    """Everything an overlay renders, by kind and name."""
    return built(DEPLOY / "kubernetes" / "overlays" / overlay)


def built(folder: Path) -> Manifests:
    """Everything that kustomize makes of a folder, by kind and name."""
    for command in (["kubectl", "kustomize", str(folder)], ["kustomize", "build", str(folder)]):
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


def pod_namespace(manifests: Manifests) -> str:
    return str(manifests["Deployment/deepcompress"]["metadata"]["namespace"])


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
    ):
        assert f"{kind}/deepcompress" in manifests


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_the_monitored_overlays_need_the_prometheus_operator(overlay: str) -> None:
    found = {name for name in rendered(overlay) if name in ("PodMonitor/deepcompress", "PrometheusRule/deepcompress")}
    assert len(found) == (2 if overlay.endswith("-monitored") else 0)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_is_in_a_namespace_and_nothing_beyond_the_named_resources(overlay: str) -> None:
    operators = {"RedisCluster", "PodMonitor", "PrometheusRule"}
    for one in rendered(overlay).values():
        if one["kind"] != "Namespace":
            assert one["metadata"]["namespace"] in ("deepcompress", "deepcompress-redis")
        if one["apiVersion"].count(".") > 1 and not one["apiVersion"].startswith(("networking.k8s.io", "policy")):
            assert one["kind"] in operators
        if one["kind"] not in operators:
            kubernetes_validate.validate(one, "1.32", strict=True)


def test_the_documented_command_sets_the_image(tmp_path: Path) -> None:
    """Write into an overlay what `kustomize edit set image deepcompress=REGISTRY/deepcompress:TAG` would."""
    shutil.copytree(DEPLOY / "kubernetes", tmp_path / "kubernetes")
    for overlay in OVERLAYS:
        file = tmp_path / "kubernetes" / "overlays" / overlay / "kustomization.yaml"
        content = yaml.safe_load(file.read_text())
        content["images"] = [{"name": "deepcompress", "newName": "my.registry/deepcompress", "newTag": "v9"}]
        file.write_text(yaml.safe_dump(content))
        assert container(built(file.parent))["image"] == "my.registry/deepcompress:v9"


def test_the_autoscaler_alone_decides_on_replicas(manifests: Manifests) -> None:
    assert "replicas" not in manifests["Deployment/deepcompress"]["spec"]
    assert manifests["HorizontalPodAutoscaler/deepcompress"]["spec"]["minReplicas"] == 2
    assert built(DEPLOY / "kubernetes" / "base")["Deployment/deepcompress"]["spec"]["replicas"] == 2


def test_the_pod_may_do_nothing_it_does_not_need(manifests: Manifests) -> None:
    spec = pod(manifests)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
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
    # All processes at their limits, and the files in memory, stay within the limit of the pod.
    limit = int(main["resources"]["limits"]["memory"].removesuffix("Gi")) * 2**30
    (tmp,) = (volume["emptyDir"] for volume in pod(manifests)["spec"]["volumes"] if volume["name"] == "tmp")
    plan = plan_memory(chosen, limit - int(tmp["sizeLimit"].removesuffix("Mi")) * 2**20, DECIDE_MEMORY_BYTES)
    assert plan.fits
    assert plan.verifier == chosen.verifier_memory_bytes, "no limit has to be lowered"
    assert f"deepcompress.{pod_namespace(manifests)}.svc" in chosen.allowed_hosts
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
    ]
    if "PodMonitor/deepcompress" in manifests:
        selectors.append(manifests["PodMonitor/deepcompress"]["spec"]["selector"]["matchLabels"])
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


def test_rules_are_those_of_prometheus() -> None:
    """One set of rules; the operator's wrapping is made from it with
    yaml.safe_dump({..., "spec": yaml.safe_load(rules)}, sort_keys=False)."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules" / "deepcompress.yml").read_text())
    assert rendered("external-redis-monitored")["PrometheusRule/deepcompress"]["spec"] == rules


def test_a_cluster_of_its_own_keeps_what_was_acknowledged() -> None:
    manifests = rendered("redis-cluster")
    lines = manifests["ConfigMap/deepcompress-redis"]["data"]["redis-additional.conf"].splitlines()
    assert {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction"} <= set(lines)
    cluster = manifests["RedisCluster/deepcompress-redis"]["spec"]
    for part in ("redisLeader", "redisFollower"):
        assert cluster[part]["redisConfig"]["additionalRedisConfig"] == "deepcompress-redis"
    assert settings(manifests).store_replicas == 1


def test_the_redis_cluster_is_closed_to_others() -> None:
    manifests = rendered("redis-cluster")
    cluster = manifests["RedisCluster/deepcompress-redis"]
    assert cluster["metadata"]["namespace"] == "deepcompress-redis"
    assert cluster["spec"]["kubernetesConfig"]["redisSecret"] == {
        "name": "deepcompress-redis-password",
        "key": "password",
    }
    assert cluster["spec"]["podSecurityContext"]["runAsNonRoot"] is True
    assert cluster["spec"]["podSecurityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for part in ("redisLeader", "redisFollower"):
        allowed = cluster["spec"][part]["securityContext"]
        assert allowed["allowPrivilegeEscalation"] is False
        assert allowed["capabilities"] == {"drop": ["ALL"]}
    policy = manifests["NetworkPolicy/deepcompress-redis"]
    assert policy["metadata"]["namespace"] == "deepcompress-redis"
    assert policy["spec"]["podSelector"] == {}, "every pod of the namespace"
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    (service, _operator), nodes = (rule["from"] for rule in policy["spec"]["ingress"])
    assert service["podSelector"]["matchLabels"].items() <= pod(manifests)["metadata"]["labels"].items()
    assert service["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == pod_namespace(manifests)
    assert nodes == [{"podSelector": {}}]
    # The service may connect to it, in its namespace.
    (_, redis) = manifests["NetworkPolicy/deepcompress"]["spec"]["egress"]
    (to,) = redis["to"]
    assert to["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "deepcompress-redis"}
    levels = {
        one["metadata"]["name"]: one["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for one in manifests.values()
        if one["kind"] == "Namespace"
    }
    assert levels == {"deepcompress": "restricted", "deepcompress-redis": "baseline"}
