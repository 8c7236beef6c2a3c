"""The image and the compose file, as far as they can be held to account without a container engine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from deepcompress_service.server.memory_plan import plan_memory
from deepcompress_service.settings import Settings
from deepcompress_verify.pool import DECIDE_MEMORY_BYTES

from ..ports import free_port

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def stage(name: str) -> list[tuple[str, str]]:
    """The instructions of a stage, with those of the stages that it is built from."""
    found = instructions()
    (start,) = [i for i, (word, rest) in enumerate(found) if word == "FROM" and rest.endswith(f" AS {name}")]
    ends = [i for i, (word, _) in enumerate(found) if word == "FROM" and i > start]
    own = found[start : ends[0] if ends else len(found)]
    base = own[0][1].split()[0]
    known = [rest.split()[-1] for word, rest in found if word == "FROM"]
    return (stage(base) if base in known else own[:1]) + own[1:]


def last_stage() -> list[tuple[str, str]]:
    names = [rest.split()[-1] for word, rest in instructions() if word == "FROM"]
    assert names[-1] == "service", "`docker build .` makes the service's image"
    return stage("service")


@pytest.mark.parametrize("name", ["service", "trainer"])
def test_the_image_is_built_in_stages_and_runs_without_root(name: str) -> None:
    words = dict(stage(name))
    assert words["USER"] == "10001:10001"
    assert ("HEALTHCHECK" in words) == (name == "service"), "the trainer serves nothing that could be asked"
    steps = [rest for word, rest in stage(name) if word == "RUN"]
    assert len(steps) == 1 and "pip" not in steps[0], "no build steps in an image"
    (copied,) = [rest for word, rest in stage(name) if word == "COPY"]
    assert copied.startswith(f"--from=build-{name} ")


def test_what_the_image_copies_is_there_and_let_in() -> None:
    let_in = set(re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert source in let_in or str(Path(source).parent) in let_in


def test_the_images_settings_are_settings() -> None:
    environment = " ".join(rest for word, rest in last_stage() if word == "ENV")
    names = set(re.findall(r"DEEPCOMPRESS_([A-Z_]+)=", environment))
    assert {name.lower() for name in names} <= set(Settings.model_fields)


def _healthcheck() -> list[str]:
    (rest,) = (rest for word, rest in last_stage() if word == "HEALTHCHECK")
    command: list[str] = yaml.safe_load(rest[rest.index("[") :])
    return command


def check_health(port: int) -> subprocess.CompletedProcess[bytes]:
    """Run the health check against a port of the test's own, since another program may serve on the image's port."""
    command = _healthcheck()
    assert command[0] == "python"
    (image_port,) = re.findall(r"DEEPCOMPRESS_PORT=(\d+)", DOCKERFILE)
    elsewhere = [word.replace(image_port, str(port)) for word in command]
    assert elsewhere != command, "the health check asks the port that the image serves"
    return subprocess.run([sys.executable, *elsewhere[1:]], capture_output=True, timeout=240)


def test_the_health_check_fails_where_nothing_listens() -> None:
    result = check_health(free_port())
    assert result.returncode != 0
    assert b"refused" in result.stderr


@pytest.mark.parametrize("status", [200, 503])
def test_the_health_check_reads_the_status(status: int) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        result = check_health(server.server_address[1])
        server.shutdown()
    assert (result.returncode == 0) == (status == 200), result.stderr
    assert not result.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_build_stage_works_step_by_step(tmp_path: Path) -> None:
    """The steps of the build stage in a clean folder, with a virtual environment in place of /opt's."""
    source, target = tmp_path / "src", tmp_path / "opt"
    source.mkdir()
    for word, rest in stage("build-service"):
        if word == "COPY":
            *sources, place = rest.split()
            for name in sources:
                (source / place).parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / name).is_dir():
                    ignored = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(ROOT / name, source / place, ignore=ignored)
                else:
                    shutil.copy(ROOT / name, source / place)
        if word == "RUN":
            step = re.sub(r"--mount=\S+ ", "", rest)
            step = step.replace("/opt/deepcompress", str(target)).replace("/opt/build", str(tmp_path / "pip"))
            step = step.replace("python -m", f"{sys.executable} -m")
            subprocess.run(["sh", "-ec", step], cwd=source, check=True, timeout=850, stdout=subprocess.DEVNULL)
    packages = next(target.glob("lib/python*/site-packages"))
    for absent in ("pip", "matplotlib", "sympy/core/tests", "numpy/tests"):
        assert not (packages / absent).exists()
    picture = subprocess.run(
        [target / "bin" / "deepcompress", "curves"], capture_output=True, text=True, cwd=tmp_path
    )
    assert picture.returncode == 2
    assert "matplotlib" in picture.stderr
    (entry,) = (yaml.safe_load(rest) for word, rest in last_stage() if word == "ENTRYPOINT")
    found = subprocess.run(
        [target / "bin" / entry[0], "demo", "--json"], capture_output=True, text=True, cwd=tmp_path, timeout=240
    )
    assert len(found.stdout.splitlines()) == 5, found.stderr
    installed = next(target.glob("lib/python*/site-packages/deepcompress_service"))
    for folder in ("cli", "difficulty", "dashboard"):
        for file in (ROOT / "service" / "deepcompress_service" / folder).rglob("*.*"):
            if file.suffix not in (".pyc",):
                assert (installed / file.relative_to(ROOT / "service" / "deepcompress_service")).exists()


def test_compose_keeps_what_redis_acknowledged() -> None:
    _, configuration, *command = COMPOSE["services"]["redis"]["command"]
    options = dict(zip(command[::2], command[1::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "always"
    assert options["--maxmemory-policy"] == "noeviction"
    mounts = dict(mount.split(":", 1) for mount in COMPOSE["services"]["redis"]["volumes"])
    assert mounts["redis-data"] == "/data"
    assert configuration.startswith(mounts["redis-secret"].removesuffix(":ro") + "/")


def test_only_the_replicas_reach_redis() -> None:
    assert COMPOSE["networks"]["state"] == {"internal": True}
    reach = {name for name, service in COMPOSE["services"].items() if "state" in (service.get("networks") or ())}
    know = {name for name, service in COMPOSE["services"].items() if "redis-secret" in str(service.get("volumes"))}
    assert reach == {"redis", "service-1", "service-2"}
    assert know == reach | {"secrets"}
    assert "ports" not in COMPOSE["services"]["redis"]


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_container_is_hardened_and_bounded(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"] and service["pids_limit"]
    for port in service.get("ports") or []:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{DEEPCOMPRESS_[A-Z]+_PORT:-\d+\}:\d+", port), (
            "this machine only; a variable"
        )
    if "build" in service:
        assert service["pull_policy"] == "build", "the name may belong to others on a registry"


def test_the_verifiers_fit_into_the_memory_of_a_container() -> None:
    service = COMPOSE["services"]["service-1"]
    chosen = {"verifier_workers": service["environment"]["DEEPCOMPRESS_VERIFIER_WORKERS"]}
    settings = Settings(state_url="memory://", **chosen)
    limit = int(service["mem_limit"].removesuffix("g")) * 2**30
    plan = plan_memory(settings, limit, DECIDE_MEMORY_BYTES)
    assert plan.fits
    assert plan.verifier == settings.verifier_memory_bytes, "no limit has to be lowered"


def test_compose_follows_the_specification() -> None:
    """The merged file against the Compose specification, and references between its parts."""
    with_defaults = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", json.dumps(COMPOSE))
    PyCompose.from_yaml(with_defaults).validate()
    with pytest.raises(Exception, match="pids_limits"):
        PyCompose.from_yaml(json.dumps({"services": {"redis": {"image": "redis", "pids_limits": 7}}}))
    for name, service in COMPOSE["services"].items():
        for other, condition in (service.get("depends_on") or {}).items():
            assert other in COMPOSE["services"]
            if condition["condition"] == "service_healthy" and "build" not in COMPOSE["services"][other]:
                assert "healthcheck" in COMPOSE["services"][other]
        for variable in service.get("environment") or {}:
            if variable.startswith("DEEPCOMPRESS_") and name.startswith("service"):
                assert variable.removeprefix("DEEPCOMPRESS_").lower() in Settings.model_fields
        assert set(service.get("networks") or ()) <= set(COMPOSE["networks"])
        assert set((service.get("build") or {}).get("secrets") or ()) <= set(COMPOSE["secrets"])


def test_compose_mounts_what_is_there_and_volumes_it_declares() -> None:
    used = set()
    for name, service in COMPOSE["services"].items():
        for mount in service.get("volumes") or []:
            source = mount.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), name
                assert mount.endswith(":ro"), name
            else:
                used.add(source)
    assert used == set(COMPOSE["volumes"])


def test_secrets_are_made_once(tmp_path: Path) -> None:
    for name in ("redis-secret", "metrics-secret", "grafana-secret"):
        (tmp_path / name).mkdir()
    made = []
    for _ in range(2):
        subprocess.run(["sh", str(ROOT / "deploy/secrets/secrets.sh"), str(tmp_path)], check=True, timeout=240)
        made.append(
            {str(file.relative_to(tmp_path)): file.read_text() for file in tmp_path.rglob("*") if file.is_file()}
        )
    assert made[0] == made[1]
    redis = made[0].pop("redis-secret/redis.conf")
    assert redis == "requirepass " + made[0]["redis-secret/password"]
    assert set(made[0]) == {"redis-secret/password", "metrics-secret/key", "grafana-secret/password"}
    assert len(set(made[0].values())) == 3
    assert all(re.fullmatch(r"[0-9a-f]{48}\n", secret) for secret in made[0].values())


def test_compose_and_the_files_it_mounts_use_the_same_names() -> None:
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
