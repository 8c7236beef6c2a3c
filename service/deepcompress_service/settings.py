"""Every setting of the service, its default and its environment variable (``DEEPCOMPRESS_`` + NAME).

Read once, at start, and validated then: an error names the variable.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIB = 1024 * 1024


class Settings(BaseSettings):
    """Settings of one service process group. Sizes are in bytes, times in seconds, unless the name says."""

    model_config = SettingsConfigDict(env_prefix="DEEPCOMPRESS_", extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8321
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """HTTP processes. Each has its own verifier workers."""
    state_url: str = "sqlite:///deepcompress.sqlite3"
    """Where difficulty state is kept: sqlite:///PATH, redis://, rediss://, redis+sentinel://,
    redis+cluster:// or memory:// (tests; one worker only)."""
    store_timeout: Annotated[float, Field(gt=0)] = 5.0
    run_ttl_days: Annotated[float, Field(ge=0)] = 0.0
    """Days after which a run that nobody used is deleted, its checkpoints too; its epoch rises. 0: never. Training
    requests (repeats too), observations and every change are use; looking is not."""
    observation_ttl_days: Annotated[float, Field(gt=0)] = 7.0
    """Days for which what verify saw waits for a run that was never trained. A trained run's observations live as
    long as the run."""
    sweep_every: Annotated[float, Field(gt=0)] = 3600.0
    """Seconds between two looks for runs and observations whose time is over."""
    store_replicas: Annotated[int, Field(ge=0, validate_default=True)] = None  # type: ignore[assignment]
    """Redis replicas that must acknowledge a write before it is answered (WAIT); else 503. Unless it is set: 1 with
    redis+sentinel:// and redis+cluster://, whose masters are replaced by replicas, and 0 with one Redis."""

    verifier_workers: Annotated[int, Field(ge=1, le=256)] = Field(default_factory=lambda: os.cpu_count() or 1)
    """Answer-checking processes per HTTP process."""
    item_budget: Annotated[float, Field(gt=0)] = 2.0
    """CPU seconds that one comparison may spend in the computer algebra system."""
    batch_budget: Annotated[float, Field(gt=0)] = 30.0
    """CPU seconds that one batch may spend in the computer algebra system and on stopped items; what is then
    still open is `undecided`."""
    verifier_memory: Annotated[int, Field(ge=128 * MIB)] = 1024 * MIB

    max_body: Annotated[int, Field(ge=1024)] = 128 * MIB
    """Largest request body, after decompression."""
    max_import: Annotated[int, Field(ge=1024)] = 4096 * MIB
    """Largest export that may be imported, after decompression. It is read line by line and never held whole; a line
    is bounded as a body is."""
    max_text: Annotated[int, Field(ge=1024)] = 8 * MIB
    """Longest response text, in characters; a longer one is `unreadable`, reason too_long."""
    max_gold: Annotated[int, Field(ge=64)] = 65_536
    max_items: Annotated[int, Field(ge=1)] = 262_144
    """Most rollouts in one request."""
    max_groups: Annotated[int, Field(ge=1)] = 16_384
    max_inflight_body: Annotated[int, Field(ge=1024)] = 512 * MIB
    """Bytes of request bodies held at once; beyond it requests get 503 and Retry-After."""
    max_inflight_requests: Annotated[int, Field(ge=1)] = 512
    max_active: Annotated[int, Field(ge=1)] = 16
    """Requests that work at once; the others wait, and runs take turns."""
    max_waiting_per_run: Annotated[int, Field(ge=1)] = 256
    """Requests of one run that may wait for their turn; beyond it they get 429."""
    max_waiting_rollouts: Annotated[int, Field(ge=1)] = 65_536
    """Single rollouts that may wait for their group in one process; beyond it they get 503."""
    rollout_wait: Annotated[float, Field(gt=0)] = 100.0
    """Seconds that a single rollout's request is held open; beyond it: 503, and the same request again waits on.
    Keep it under the callers' own timeout."""
    body_timeout: Annotated[float, Field(gt=0)] = 60.0
    """Seconds that a request's body may take to arrive; beyond it the request gets 408."""
    drain_delay: Annotated[float, Field(ge=0)] = 0.0
    """Seconds between SIGTERM, when /readyz begins to say no, and the end of accepting connections: long
    enough for a load balancer to notice."""

    api_keys: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated, full access to every run. With this and the file unset: no authentication."""
    api_keys_file: Path | None = None
    """TOML file of keys with scopes (see api/auth.py); read again when it changes."""
    rate_per_key: Annotated[int, Field(ge=0)] = 0
    """Requests a second that one key may send to one process. 0: no limit."""
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    tracing: bool = False
    """OpenTelemetry traces over OTLP; where to is said by OTEL_EXPORTER_OTLP_ENDPOINT. Needs the extra [tracing]."""

    default_run: str = "{}"
    """Configuration (JSON, as for PUT /v1/runs/RUN) of runs that a training request names for the first time."""

    problem_weight: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Weight of the newest step in a problem's smoothed pass ratio."""

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(key.strip() for key in value.split(",") if key.strip())
        return value

    @field_validator("store_replicas", mode="before")
    @classmethod
    def _replicas_where_masters_are_replaced(cls, value: object, info: ValidationInfo) -> object:
        if value is None:
            return int(_masters_are_replaced(str(info.data.get("state_url"))))
        return value

    @property
    def masters_are_replaced(self) -> bool:
        """Whether another server may take over from the one that acknowledged."""
        return _masters_are_replaced(self.state_url)

    @model_validator(mode="after")
    def _memory_is_one_process(self) -> Settings:
        if self.state_url.startswith("memory:") and self.workers > 1:
            raise ValueError(
                "DEEPCOMPRESS_STATE_URL=memory:// keeps state in one process: "
                "set DEEPCOMPRESS_WORKERS=1 or use sqlite:/// or redis://"
            )
        return self


def _masters_are_replaced(state_url: str) -> bool:
    return state_url.startswith(("redis+sentinel:", "redis+cluster:"))


def explain(error: ValidationError) -> str:
    """What is wrong with the settings, naming each variable; for a person, and without the values."""
    lines = []
    for found in error.errors(include_url=False, include_input=False):
        where = "_".join(str(part) for part in found["loc"]).upper()
        message = found["msg"].removeprefix("Value error, ")
        lines.append(f"DEEPCOMPRESS_{where}: {message}" if where else message)
    return "; ".join(lines)
