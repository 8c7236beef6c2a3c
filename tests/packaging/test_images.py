"""The image and the compose file, as far as they can be held to account without a container engine."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepcompress_service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(i for i, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def test_the_image_is_built_in_stages_and_runs_without_root() -> None:
    assert [word for word, _ in instructions()].count("FROM") >= 2
    words = dict(last_stage())
    assert words["USER"] not in ("root", "0")
    assert "HEALTHCHECK" in words
    assert [word for word, _ in last_stage() if word == "RUN"] == ["RUN"], "no build steps in the last stage"


def test_what_the_image_copies_is_there_and_let_in() -> None:
    let_in = set(re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert source in let_in


def test_the_images_settings_are_settings() -> None:
    (environment,) = (rest for word, rest in last_stage() if word == "ENV")
    names = set(re.findall(r"DEEPCOMPRESS_([A-Z_]+)=", environment))
    assert {name.lower() for name in names} <= set(Settings.model_fields)


def _healthcheck() -> list[str]:
    (rest,) = (rest for word, rest in last_stage() if word == "HEALTHCHECK")
    command: list[str] = yaml.safe_load(rest[rest.index("[") :])
    return command


def test_the_health_check_says_no_where_nothing_listens() -> None:
    """The test asks a port of its own, since another program may serve on the image's port."""
    command = _healthcheck()
    assert command[0] == "python"
    (port,) = re.findall(r"DEEPCOMPRESS_PORT=(\d+)", DOCKERFILE)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # a bound port that does not listen refuses connections
        elsewhere = [word.replace(f"127.0.0.1:{port}/", f"127.0.0.1:{held.getsockname()[1]}/") for word in command]
        assert elsewhere != command, "the health check asks the port that the image serves"
        result = subprocess.run([sys.executable, *elsewhere[1:]], capture_output=True, timeout=30)
    assert result.returncode != 0
    assert b"refused" in result.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_build_stage_works_step_by_step(tmp_path: Path) -> None:
    """The steps of the build stage in a clean folder, with a virtual environment in place of /opt's."""
    source, target = tmp_path / "src", tmp_path / "opt"
    source.mkdir()
    for word, rest in instructions():
        if word == "FROM" and not rest.endswith("AS build"):
            break
        if word == "COPY":
            *sources, place = rest.split()
            for name in sources:
                if (ROOT / name).is_dir():
                    ignored = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(ROOT / name, source / place, ignore=ignored)
                else:
                    shutil.copy(ROOT / name, source / place)
        if word == "RUN":
            step = (
                rest.replace("$EXTRAS", "service")
                .replace("/opt/deepcompress", str(target))
                .replace("python -m", f"{sys.executable} -m", 1)
            )
            subprocess.run(["sh", "-ec", step], cwd=source, check=True, timeout=850, stdout=subprocess.DEVNULL)
    (entry,) = (yaml.safe_load(rest) for word, rest in last_stage() if word == "ENTRYPOINT")
    found = subprocess.run(
        [target / "bin" / entry[0], "demo", "--json"], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert len(found.stdout.splitlines()) == 5, found.stderr
    installed = next(target.glob("lib/python*/site-packages/deepcompress_service"))
    for folder in ("cli", "difficulty", "dashboard"):
        for file in (ROOT / "service" / "deepcompress_service" / folder).rglob("*.*"):
            if file.suffix not in (".pyc",):
                assert (installed / file.relative_to(ROOT / "service" / "deepcompress_service")).exists()


def test_compose_keeps_what_redis_acknowledged() -> None:
    command = COMPOSE["services"]["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "always"
    assert options["--maxmemory-policy"] == "noeviction"
    (mount,) = COMPOSE["services"]["redis"]["volumes"]
    volume, _, place = mount.partition(":")
    assert volume in COMPOSE["volumes"]
    assert place == "/data"


def test_compose_says_only_what_compose_knows() -> None:
    """The keys used, against the compose specification (compose-spec.json), of which this is the part we use."""
    known = {
        "build", "cap_drop", "command", "depends_on", "deploy", "environment", "healthcheck", "image", "networks",
        "ports", "profiles", "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs", "volumes",
    }  # fmt: skip
    assert set(COMPOSE) <= {"name", "services", "volumes", "x-service"}
    for name, service in COMPOSE["services"].items():
        assert set(service) <= known, name
        for other, condition in (service.get("depends_on") or {}).items():
            assert other in COMPOSE["services"]
            if condition["condition"] == "service_healthy" and "build" not in COMPOSE["services"][other]:
                assert "healthcheck" in COMPOSE["services"][other]
        for variable in service.get("environment") or {}:
            if variable.startswith("DEEPCOMPRESS_") and name.startswith("service"):
                assert variable.removeprefix("DEEPCOMPRESS_").lower() in Settings.model_fields
        for port in service.get("ports") or []:
            assert port.startswith("127.0.0.1:"), "published to this machine only"


def test_compose_mounts_what_is_there_and_volumes_it_declares() -> None:
    used = set()
    for name, service in COMPOSE["services"].items():
        for mount in service.get("volumes") or []:
            source = mount.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).is_dir(), name
                assert mount.endswith(":ro"), name
            else:
                used.add(source)
    assert used == set(COMPOSE["volumes"])


def test_compose_and_the_files_it_mounts_speak_of_the_same_names() -> None:
    services = COMPOSE["services"]
    replicas = set(re.findall(r"server ([\w-]+):8321", (ROOT / "deploy/nginx/upstreams.conf").read_text()))
    assert replicas == {name for name in services if name.startswith("service-")}
    (alias,) = services["service-1"]["networks"]["default"]["aliases"]
    scrape = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"][0]
    assert scrape["dns_sd_configs"][0]["names"] == [alias]
    listening = re.search(r"^listen (\d+);", (ROOT / "deploy/nginx/listen.conf").read_text(), re.MULTILINE)
    assert listening is not None
    (published,) = services["proxy"]["ports"]
    assert published.endswith(f":{listening[1]}")
    assert services["trainer"]["environment"]["DEEPCOMPRESS_URL"] == f"http://proxy:{listening[1]}"
    provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/deepcompress.yml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in services["grafana"]["volumes"]


def test_docker_reads_the_compose_file() -> None:
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker has no compose plugin here")
    subprocess.run(["docker", "compose", "config", "--quiet"], cwd=ROOT, check=True)
