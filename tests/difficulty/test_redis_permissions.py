"""A Redis whose user may not run what the service needs is not ready, and the log names the command."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from deepcompress_service.difficulty.errors import StoreUnavailable
from deepcompress_service.difficulty.model import DifficultyConfig
from deepcompress_service.difficulty.stores import redis as redis_store
from deepcompress_service.difficulty.stores import redis_permissions
from deepcompress_service.difficulty.stores.redis_permissions import KEY_PATTERNS, OPTIONAL, examples

from .driving import Driver, Run, group
from .servers import RESTRICTED, RedisServer, needs_redis, restrict
from .test_late_store import SHAPE, Service

SERVICE = Path(str(files("deepcompress_service")))
DECLARED = {command[0] for command in examples(1, cluster=True)} | OPTIONAL
DOCS = Path(__file__).parents[2] / "docs" / "difficulty-state.md"


def used_in_scripts() -> set[str]:
    found: set[str] = set()
    for file in (*SERVICE.glob("difficulty/stores/lua/*.lua"), SERVICE / "rendezvous" / "meet.lua"):
        for call in re.findall(r"\bcall\(([^,)\n]*)", file.read_text("utf-8")):
            names = re.findall(r"'([A-Z]+)'", call)
            assert names, f"{file.name}: the command of call({call} is no literal"
            found.update(names)
    return found


def used_in_python() -> set[str]:
    """Every literal in capitals that is the first word of a call's arguments, of a list or of a tuple."""
    found: set[str] = set()
    for file in (*SERVICE.glob("difficulty/stores/redis*.py"), SERVICE / "rendezvous" / "redis.py"):
        if file.name == "redis_permissions.py":
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            words = node.args[:2] if isinstance(node, ast.Call) else node.elts[:1] if _is_sequence(node) else []  # type: ignore[attr-defined]
            for word in words:
                if isinstance(word, ast.Constant) and re.fullmatch(r"[A-Z]{3,}( [A-Z]+)?", str(word.value)):
                    found.add(str(word.value).split()[0])
    return found


def _is_sequence(node: ast.AST) -> bool:
    return isinstance(node, ast.List | ast.Tuple)


def test_the_declared_commands_are_those_that_are_used() -> None:
    # Options of commands and types of errors, by the same form.
    assert used_in_scripts() | used_in_python() - {"WITHSCORES", "COUNT", "LIMIT", "STORETOONEW"} == DECLARED


def test_the_docs_list_the_commands() -> None:
    section = DOCS.read_text("utf-8").partition("### Permissions in Redis\n")[2].partition("\n## ")[0]
    rules = section.partition("    ACL SETUSER")[2].partition("\n\n")[0]
    allowed = {rule.upper() for rule in re.findall(r"\+([a-z|]+)", rules)}
    assert allowed == {rule.upper() for rule in restricted_commands()}
    assert re.findall(r"~(\S+)", rules) == list(KEY_PATTERNS)


def restricted_commands() -> set[str]:
    """The commands that the tests' restricted user may run."""
    return {rule[1:] for rule in RESTRICTED if rule.startswith("+")}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.kill()


@needs_redis
def test_each_example_has_the_arguments_of_its_command(server: RedisServer) -> None:
    """Redis 8 answers that a command with too few arguments is forbidden; older ones do not count them."""
    with server.client() as client:
        for words in examples(1, cluster=True):
            name = "|".join(words[:2]) if words[0] in ("CLUSTER", "MEMORY") else words[0]
            (known,) = client.execute_command("COMMAND", "INFO", name).values()
            arity = known["arity"]
            assert len(words) == arity or len(words) >= -arity > 0, words


@needs_redis
def test_each_command_that_is_forbidden_is_named(server: RedisServer) -> None:
    url = restrict(server.url)
    driver = Driver(url)
    try:
        driver.ping()
        with server.client() as client:
            for name in sorted({command[0] for command in examples(0, cluster=False)}):
                client.execute_command("ACL", "SETUSER", "service", f"-{name}")
                with pytest.raises(StoreUnavailable) as refused:
                    driver.ping()
                assert refused.value.detail == "Redis forbids commands that the service needs"
                assert name.lower() in str(refused.value).lower().split("the service needs")[0]
                client.execute_command("ACL", "SETUSER", "service", *RESTRICTED)
                driver.ping()
    finally:
        driver.close()


@needs_redis
@pytest.mark.parametrize("left_out", KEY_PATTERNS)
def test_keys_that_are_forbidden(server: RedisServer, left_out: str) -> None:
    url = restrict(server.url, *(["resetkeys"] + [f"~{pattern}" for pattern in KEY_PATTERNS if pattern != left_out]))
    with pytest.raises(StoreUnavailable, match=left_out.rstrip("*")):
        Driver(url)


@needs_redis
def test_keys_that_may_only_be_read(server: RedisServer) -> None:
    url = restrict(server.url, "resetkeys", *(f"%R~{pattern}" for pattern in KEY_PATTERNS))
    with pytest.raises(StoreUnavailable, match=r"forbids its user (DEL|HSET|SET)"):
        Driver(url)


@needs_redis
@pytest.mark.parametrize("rules", [["-info"], ["-config"], ["-info", "-config", "-@dangerous", "-@admin"]])
def test_a_managed_redis_is_ready(server: RedisServer, rules: list[str]) -> None:
    driver = Driver(restrict(server.url, "+@all", *rules, "~*"))
    try:
        driver.ping()
        assert driver.risks() == ([] if "-info" in rules else driver.risks())
        Run(driver, "r", DifficultyConfig()).commit(0, group("a", 1))
    finally:
        driver.close()


@needs_redis
def test_a_command_that_is_renamed_is_named(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", "--rename-command", "COPY", "")
    server.start()
    try:
        with pytest.raises(StoreUnavailable, match="COPY"):
            Driver(server.url)
    finally:
        server.kill()


@needs_redis
def test_a_command_that_is_forbidden_while_a_run_trains_changes_nothing(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "WATCH_S", 0.0)
    driver = Driver(restrict(server.url))
    try:
        run = Run(driver, "r", DifficultyConfig())
        run.commit(0, group("a", 1))
        with server.client() as client:
            before = {key: client.dump(key) for key in client.keys("dc:{r}:*")}
            client.execute_command("ACL", "SETUSER", "service", "-zadd")
            with pytest.raises(StoreUnavailable, match="ZADD"):
                run.commit(1, group("a", 1))
            assert {key: client.dump(key) for key in client.keys("dc:{r}:*")} == before
            client.execute_command("ACL", "SETUSER", "service", "+zadd")
        assert run.commit(1, group("a", 1)).step == 1
    finally:
        driver.close()


@needs_redis
def test_a_replica_s_acknowledgement_needs_no_other_keys(server: RedisServer) -> None:
    with pytest.raises(StoreUnavailable, match="WAIT"):
        Driver(restrict(server.url, "-wait"), replicas=1)
    with pytest.raises(StoreUnavailable, match="0 of the 1 replicas"):
        Driver(restrict(server.url), replicas=1, timeout_s=2.0)


@needs_redis
@pytest.mark.slow
def test_a_service_whose_redis_forbids_scripts_is_not_ready(server: RedisServer, tmp_path: Path) -> None:
    service = Service(restrict(server.url, "-evalsha"), tmp_path)
    try:
        not_ready = service.await_status("/readyz", 503)
        assert "evalsha" in not_ready.json()["why"]["store"]
        assert "evalsha" in service.log.read_text()
        refused = service.post("/v1/shape", SHAPE)
        assert refused.status_code == 503
        assert refused.json()["type"].endswith(":store-unavailable")
        assert "evalsha" not in refused.text.lower()
        restrict(server.url)
        service.await_status("/readyz", 200)
        service.await_shaped()
    finally:
        service.stop()


def test_a_reply_of_many_commands_is_short() -> None:
    commands = examples(0, cluster=False)
    why = redis_permissions.refusal(commands, list(range(1, len(commands) + 1)))
    assert why is not None
    assert f"and {len(commands) - redis_permissions.MOST_NAMED} more" in why
    assert redis_permissions.refusal(commands, []) is None
