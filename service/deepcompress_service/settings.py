"""All settings of the service, with their defaults.

The environment variable of a setting is ``DEEPCOMPRESS_`` and its name in capitals. Settings are read and validated
once, at start; an error names the variable. The docstring under a setting is its description in
``deepcompress config`` and in docs/configuration.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl, quote

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from deepcompress_client.wire import MAX_COUNT, AnswerFormat, RunName

PREFIX = "DEEPCOMPRESS_"
MIB = 1024 * 1024
MAX_INTEGER = 2**63
"""Largest value of an integer setting."""

RENAMED = {
    "item_budget": "item_cpu_seconds",
    "batch_budget": "batch_cpu_seconds",
    "drain_delay": "drain_seconds",
    "store_timeout": "store_timeout_seconds",
    "sweep_every": "sweep_interval_seconds",
    "verifier_memory": "verifier_memory_bytes",
    "max_body": "max_body_bytes",
    "max_import": "max_import_bytes",
    "max_text": "max_text_chars",
    "max_gold": "max_gold_chars",
    "max_inflight_body": "max_inflight_body_bytes",
    "rollout_wait": "rollout_wait_seconds",
    "body_timeout": "body_timeout_seconds",
    "rate_per_key": "key_requests_per_second",
}
"""Former name of a setting to its name now. A former name that is set is an error: see `Settings`."""


OutcomeRange = Literal["pm1", "0_1"]
"""The rewards of a correct and a wrong answer: 1 and -1, or 1 and 0."""


class NemoGymQuery(BaseModel):
    """Query of NeMo Gym's /verify, of a request or of the setting `nemo_gym`."""

    gold: Annotated[str, Field(description="the row's field with the gold answer", max_length=128)] = (
        "expected_answer"
    )
    outcome_range: Annotated[OutcomeRange, Field(description="the range of rewards, without a cohort")] = "0_1"
    answer_format: Annotated[
        AnswerFormat | None, Field(description="the rule that finds the answer; else the server's default")
    ] = None
    run: Annotated[RunName | None, Field(description="with cohort: the run that the groups count in")] = None
    cohort: Annotated[int | None, Field(ge=1, le=4096, description="rollouts of a group")] = None
    groups_per_step: Annotated[
        int | None, Field(ge=1, le=MAX_COUNT, description="create a missing run, with this many groups in a step")
    ] = None
    timeout_s: Annotated[
        float, Field(gt=0, le=7200, description="seconds until a group is released with what has arrived")
    ] = 1800.0


class Settings(BaseSettings):
    """Settings of one service: every worker process of one ``deepcompress serve`` has the same ones.

    Raises:
        ValidationError: a value is invalid, or a setting has a former name (`RENAMED`). `explain` turns it into text.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8321
    """TCP port to listen on. 0: a free one."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """HTTP server processes. Each has its own verifier workers."""

    state_url: str = "sqlite:///deepcompress.sqlite3"
    """Store of the difficulty state: sqlite:///PATH, redis://, rediss://, redis+sentinel://, redis+cluster:// or
    memory:// (for tests; one HTTP process only)."""
    state_password_file: Path | None = None
    """File that contains the password of a Redis store, for a state_url without one. It is read once, at start."""
    store_timeout_seconds: Annotated[float, Field(gt=0)] = 5.0
    """Longest time for one operation of the store, its retries included."""
    store_replicas: Annotated[int, Field(ge=0, validate_default=True)] = None  # type: ignore[assignment]
    """Redis replicas that must acknowledge a write before the response is sent (WAIT); with fewer: 503. Default: 1
    for redis+sentinel:// and redis+cluster://, which replace a failed master by a replica; else 0."""
    run_ttl_days: Annotated[float, Field(ge=0)] = 0.0
    """A run that was not used for this many days is deleted with its checkpoints, and its epoch rises. 0: never.
    Training requests (repeats too), observations and changes count as use; reads do not."""
    observation_ttl_days: Annotated[float, Field(gt=0)] = 7.0
    """Days for which the observations of a run that was never trained are kept. Those of a trained run are kept as
    long as the run."""
    sweep_interval_seconds: Annotated[float, Field(ge=0.01)] = 3600.0
    """Longest time between two deletions of expired runs and observations."""

    verifier_workers: Annotated[int, Field(ge=1, le=256)] = Field(default_factory=lambda: os.cpu_count() or 1)
    """Verifier processes, which compare answers, per HTTP process. Default: the number of CPUs."""
    item_cpu_seconds: Annotated[float, Field(gt=0)] = 2.0
    """Most CPU time for one comparison. After that it is stopped and its status is undecided."""
    batch_cpu_seconds: Annotated[float, Field(gt=0)] = 2.0
    """Most CPU time for the long comparisons of one request, those over 0.15 s; a millisecond for each rollout is
    added. The long ones run last, and those for which no time is left are undecided."""
    verifier_memory_bytes: Annotated[int, Field(ge=128 * MIB)] = 512 * MIB
    """Largest address space of one verifier process; those that do not run the computer algebra system get at most
    256 MiB. The item that exceeds it is undecided. It is lowered at start if all processes together would exceed the
    memory limit of their container."""

    remote_checkers_file: Path | None = None
    """TOML file of the remote checkers: endpoints that check answers, such as a code sandbox or a judge
    (docs/remote-checkers.md). It is read at start."""

    max_body_bytes: Annotated[int, Field(ge=1024)] = 128 * MIB
    """Largest request body, after decompression."""
    max_import_bytes: Annotated[int, Field(ge=1024)] = 4096 * MIB
    """Largest export that can be imported, after decompression. It is read line by line; max_body_bytes limits a
    line."""
    max_text_chars: Annotated[int, Field(ge=1024)] = 8 * MIB
    """Longest response text. A longer one is unreadable (reason too_long)."""
    max_gold_chars: Annotated[int, Field(ge=64)] = 65_536
    """Longest gold answer, its alternatives added up. A longer one: 413."""
    max_items: Annotated[int, Field(ge=1)] = 262_144
    """Most rollouts in one request."""
    max_groups: Annotated[int, Field(ge=1)] = 16_384
    """Most groups in one request."""
    max_runs: Annotated[int, Field(ge=1)] = 10_000
    """Most runs in the store. With as many, a request that would create one is refused: 403 too-many-runs."""
    max_dataset_problems: Annotated[int, Field(ge=1)] = 1_000_000
    """Most problems of a run's data set. With more: 413."""
    max_sample: Annotated[int, Field(ge=1)] = 16_384
    """Most problems of one sample. With more: 413."""
    max_inflight_body_bytes: Annotated[int, Field(ge=1024)] = 512 * MIB
    """Most bytes of request bodies in one process at once. Beyond it: 503 with Retry-After."""
    max_inflight_requests: Annotated[int, Field(ge=1)] = 512
    """Most requests in one process at once. Beyond it: 503 with Retry-After."""
    max_active: Annotated[int, Field(ge=1)] = 16
    """Requests that one process works on at once. The others wait, and the runs take turns."""
    max_waiting_per_run: Annotated[int, Field(ge=1)] = 256
    """Most requests of one run that wait for their turn. Beyond it: 429 with Retry-After."""
    max_waiting_rollouts: Annotated[int, Field(ge=1)] = 65_536
    """Most single rollouts that wait for their group in one process. Beyond it: 503."""
    rollout_wait_seconds: Annotated[float, Field(gt=0)] = 100.0
    """Longest time that a single rollout's request is held open. After that: 503, and the same request again
    continues to wait. Set it below the timeout of the callers."""
    body_timeout_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Longest time for a request body to arrive. After that: 408."""
    drain_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Time between SIGTERM, when /readyz begins to return 503, and the end of accepting connections. Set it so that
    the load balancer has noticed."""

    api_keys: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated keys with full access to every run. If neither this nor api_keys_file is set, there is no
    authentication."""
    api_keys_file: Path | None = None
    """TOML file of keys with scopes. It is read again when it changes."""
    metrics_key_file: Path | None = None
    """File that contains a key for /metrics alone, for Prometheus. Without other keys nothing needs a key. It is read
    once, at start."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated host names and addresses, without ports, that requests may use while no keys are set; others
    get 421. Always allowed: loopback names, and host unless it is a wildcard. *.DOMAIN: all names below it. *: every
    host, which exposes the service to DNS rebinding. /healthz, /readyz and /metrics accept every host."""
    key_requests_per_second: Annotated[int, Field(ge=0)] = 0
    """Requests a second that one key may send to one process. Beyond it: 429. 0: no limit."""

    log_format: Literal["console", "json"] = "console"
    """Format of the log on standard error: console (for people) or json (one object a line)."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged: debug, info, warning or error. Only debug logs answers and gold answers."""
    tracing: bool = False
    """Send OpenTelemetry traces over OTLP to OTEL_EXPORTER_OTLP_ENDPOINT. Needs the extra [tracing]."""

    default_run: str = "{}"
    """Configuration (JSON, as for PUT /v1/runs/RUN) of a run that is created by its first training request."""
    nemo_gym: str | None = None
    """Answer NeMo Gym at the root of the address, with this query for its /verify: gold=expected_answer for outcomes,
    run=NAME&cohort=16&groups_per_step=128 for the length term (docs/integrations/nemo_gym.md)."""
    problem_weight: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Weight of the newest step in a problem's smoothed pass ratio."""

    @model_validator(mode="before")
    @classmethod
    def _reject_renamed(cls, data: object) -> object:
        given: Iterable[object] = data if isinstance(data, dict) else ()
        names = {str(name).lower() for name in given}
        names |= {name[len(PREFIX) :].lower() for name in os.environ if name.upper().startswith(PREFIX)}
        former = [name for name in RENAMED if name in names]
        if former:
            raise ValueError(
                "; ".join(f"{variable(name)} is now called {variable(RENAMED[name])}: rename it" for name in former)
            )
        misspelt = [(name, close) for name, close in unknown_variables() if close is not None]
        if misspelt:
            raise ValueError("; ".join(f"{name} is no setting: did you mean {close}?" for name, close in misspelt))
        return data

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        keys = value.split(",") if isinstance(value, str) else value
        if not isinstance(keys, list | tuple) or keys == [""]:
            return ()  # unset, or set to nothing: no keys
        stripped = tuple(str(key).strip() for key in keys)
        if not all(stripped):
            raise ValueError(
                "one of the keys is empty: is a variable in it unset? An empty key would open the service"
            )
        if not all(map(is_sendable, stripped)):
            raise ValueError(f"one of the keys {KEY_RULE}")
        return stripped

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not _HOST_PATTERN.fullmatch(name):
                raise ValueError("give host names or addresses, without scheme and port: gpu-node, 10.0.0.5, *.lab")
        return names

    @field_validator("nemo_gym")
    @classmethod
    def _is_query(cls, query: str | None) -> str | None:
        if not query:
            return None  # unset, or set to nothing
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
        values = dict(pairs)
        known = NemoGymQuery.model_fields
        if set(values) - set(known) or len(values) < len(pairs) or ("run" in values) != ("cohort" in values):
            raise ValueError(
                f"give a query such as run=NAME&cohort=16, each name once, run and cohort together, out of: "
                f"{', '.join(sorted(known))}"
            )
        try:
            NemoGymQuery.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ValueError(f"{first['loc'][0]}: {first['msg']}") from None
        return query

    @field_validator("*")
    @classmethod
    def _is_bounded(cls, value: object) -> object:
        if isinstance(value, int) and value > MAX_INTEGER:
            raise ValueError(f"Input should be at most {MAX_INTEGER}")
        return value

    @field_validator("state_password_file", "metrics_key_file")
    @classmethod
    def _has_text(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        if file is not None:
            secret = read_secret(file)
            if info.field_name == "metrics_key_file" and not is_sendable(secret):
                raise ValueError(f"the key in {file} {KEY_RULE}")
        return file

    @field_validator("store_replicas", mode="before")
    @classmethod
    def _default_replicas(cls, value: object, info: ValidationInfo) -> object:
        if value is None:
            return int(_has_failover(str(info.data.get("state_url"))))
        return value

    @model_validator(mode="after")
    def _one_password(self) -> Settings:
        if self.state_password_file is not None and (
            not self.state_url.startswith("redis") or "@" in self.state_url.partition("://")[2].partition("/")[0]
        ):
            raise ValueError(
                "DEEPCOMPRESS_STATE_PASSWORD_FILE needs a DEEPCOMPRESS_STATE_URL of a Redis, without a password in it"
            )
        return self

    @property
    def store_url(self) -> str:
        """The store's URL, with the password of `state_password_file` if there is one."""
        if self.state_password_file is None:
            return self.state_url
        scheme, _, rest = self.state_url.partition("://")
        return f"{scheme}://:{quote(read_secret(self.state_password_file), safe='')}@{rest}"

    @property
    def requires_key(self) -> bool:
        """True if requests need a key."""
        return bool(self.api_keys) or self.api_keys_file is not None

    @property
    def has_failover(self) -> bool:
        """True if a replica may replace the Redis master that acknowledged a write."""
        return _has_failover(self.state_url)

    @model_validator(mode="after")
    def _memory_is_one_process(self) -> Settings:
        if self.state_url.startswith("memory:") and self.workers > 1:
            raise ValueError(
                "DEEPCOMPRESS_STATE_URL=memory:// keeps state in one process: "
                "set DEEPCOMPRESS_WORKERS=1 or use sqlite:/// or redis://"
            )
        return self


_HOST_PATTERN = re.compile(r"\*|(\*\.)?[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]?")
"""A host name, an IPv4 or IPv6 address, all names below a domain, or all hosts."""


KEY_RULE = "is not printable ASCII without a space at either end, so no header can carry it"
_KEY = re.compile(r"[!-~]([ -~]*[!-~])?")


def is_sendable(key: str) -> bool:
    """Return True if a header can carry the API key: another one would never be accepted."""
    return _KEY.fullmatch(key) is not None


MAX_SECRET_BYTES = 1 << 16


def read_secret(file: Path) -> str:
    """Return the text of a file that contains one secret, without the line end.

    Raises:
        ValueError: The file cannot be read, or is empty.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_SECRET_BYTES + 1)
        secret = content.decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read: {type(error).__name__}") from None
    if not secret:
        raise ValueError(f"{file} is empty")
    if len(content) > MAX_SECRET_BYTES or "\0" in secret:
        raise ValueError(f"{file} is not a text of at most {MAX_SECRET_BYTES} bytes")
    return secret


def _has_failover(state_url: str) -> bool:
    return state_url.startswith(("redis+sentinel:", "redis+cluster:"))


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


OTHER_VARIABLES = frozenset({"DEEPCOMPRESS_URL", "DEEPCOMPRESS_API_KEY"})
"""Variables with the same prefix that others read: the client."""
_SERVICE_LINK = re.compile(r"DEEPCOMPRESS(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_.+)?)")
"""Variables that Kubernetes sets in every pod for a Service whose name begins with "deepcompress"."""
MAX_EDITS = 2


def unknown_variables() -> list[tuple[str, str | None]]:
    """Return each variable with the prefix that nothing reads, and the setting it is a misspelling of, if any.

    Variables are read in any case of letters, so their names are compared in capitals.
    """
    known = {variable(name) for name in Settings.model_fields} | OTHER_VARIABLES
    unknown = []
    for name in sorted(os.environ):
        capitals = name.upper()
        if capitals.startswith(PREFIX) and capitals not in known and not _SERVICE_LINK.fullmatch(capitals):
            edits = {other: _edits(capitals, other) for other in known - OTHER_VARIABLES}
            close = min(edits, key=edits.__getitem__)
            unknown.append((name, close if edits[close] <= MAX_EDITS else None))
    return unknown


def _edits(one: str, other: str) -> int:
    """Return the least number of insertions, deletions and replacements that turn one text into the other.

    For texts whose lengths differ by more than MAX_EDITS it is that difference, which is a lower bound.
    """
    if abs(len(one) - len(other)) > MAX_EDITS:
        return abs(len(one) - len(other))
    previous = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, target in enumerate(other, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (letter != target)))
        previous = row
    return previous[-1]


def explain(error: ValidationError) -> str:
    """Return a one-line message that names each invalid variable. It contains no values: they may be secrets."""
    lines = []
    for detail in error.errors(include_url=False, include_input=False):
        name = "_".join(str(part) for part in detail["loc"])
        message = detail["msg"].removeprefix("Value error, ")
        lines.append(f"{variable(name)}: {message}" if name else message)
    return "; ".join(lines)
