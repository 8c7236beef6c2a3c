"""The comparison of two recordings."""

from __future__ import annotations

import fnmatch
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from corpus.recorder import Json, Row

UNSTABLE: tuple[str, ...] = ()
"""Names of requests whose answers depend on how fast the machine is, as patterns of `fnmatch`."""

TEXT_KEYS = frozenset({"description", "note", "summary", "title"})
"""Keys of /v1/strategies and /openapi.json that hold text for people."""


def normal(line: Row) -> Row:
    """Return the line without CPU times and human text."""
    name = line["name"]
    answer = line["answer"]
    if name == "openapi" or name.endswith(("service/strategies", "strategies/list")):
        answer = _without(answer, TEXT_KEYS)
    elif line["error"] is not None or name.startswith("audit/"):
        answer = _without(answer, frozenset({"detail", "title"}))
    else:
        # The identity of a run is random, and older recordings have none; nor have they `run-created`.
        answer = _without(answer, frozenset({"cpu_ms", "incarnation", "version"}))
        if isinstance(answer, dict) and isinstance(answer.get("warnings"), list):
            slugs = [str(text).partition(":")[0] for text in answer["warnings"]]
            answer["warnings"] = [slug for slug in slugs if slug != "run-created"]
        if line["route"] and "/checkpoints" in line["route"]:
            # The size of a checkpoint in Redis is memory as Redis measures it, and differs from one time to the next.
            answer = _without(answer, frozenset({"bytes"}))
    if name.endswith(("export", "export/scored")) and isinstance(answer, list):
        # The order of an export's rows and cells has no meaning, and packed verdicts hold CPU times.
        scored = name.endswith("scored")
        rows = [_without(row, frozenset({"data"})) if scored else row for row in answer]
        answer = sorted(rows, key=lambda row: json.dumps([row.get("table"), row.get("key")]))
        for row in answer:
            if isinstance(row.get("meta"), dict) and isinstance(row["meta"].get("cells"), list):
                row["meta"]["cells"].sort()
    return {**line, "answer": answer}


def _without(value: Json, keys: frozenset[str]) -> Json:
    if isinstance(value, dict):
        # A property may have the name of one of the keys: what is text is a string.
        return {
            key: _without(one, keys)
            for key, one in value.items()
            if key not in keys or not isinstance(one, str | int | float)
        }
    if isinstance(value, list):
        return [_without(one, keys) for one in value]
    return value


def differences(old: Json, new: Json, path: str = "") -> Iterator[tuple[str, Json, Json]]:
    """Yield (path, old, new) for each place at which two values of JSON differ, to the last bit."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if key not in old or key not in new:
                yield f"{path}.{key}", old.get(key, "(absent)"), new.get(key, "(absent)")
            else:
                yield from differences(old[key], new[key], f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{path}.{index}")
    elif json.dumps(old) != json.dumps(new):
        yield path, old, new


def read_lines(path: Path) -> dict[str, Row]:
    """Return the lines of a recording by name."""
    with path.open(encoding="utf-8") as file:
        return {line["name"]: line for line in map(json.loads, file)}


def before_components(value: Any) -> Any:
    """Return an answer in the form of version 0.1: `components.length` without the weight, no `why`."""
    if isinstance(value, list):
        return [before_components(one) for one in value]
    if not isinstance(value, dict):
        return value
    row = {name: before_components(one) for name, one in value.items() if name not in ("why", "length_term")}
    if "length_term" in value:
        row["components"] = {**row["components"], "length": value["length_term"]}
    return row


def compare(old_path: Path, new_path: Path, excepted: Sequence[str], openapi: bool) -> int:
    """Print how two recordings differ, and return the exit status: 1 if they do."""
    old, new = read_lines(old_path), read_lines(new_path)
    patterns = [*UNSTABLE, *excepted, *(() if openapi else ("openapi",))]
    names = [name for name in {**old, **new} if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    different = 0
    kinds: Counter[str] = Counter()
    for name in names:
        if name not in old or name not in new:
            different += 1
            kinds["(only in one)"] += 1
            print(f"{name}: only in {old_path if name in old else new_path}")
            continue
        changes = list(differences(*(before_components(normal(one[name])) for one in (old, new))))
        if not changes:
            continue
        different += 1
        print(f"{name} ({old[name]['method']} {old[name]['path']}): {len(changes)} differences")
        for path, one, other in changes[:4]:
            print(f"    {path[1:]}: {json.dumps(one)[:200]} -> {json.dumps(other)[:200]}")
        kinds.update(re.sub(r"\.\d+", ".*", path[1:]) for path, _, _ in changes)
    compared = [new[name] for name in names if name in new and name in old]
    left_out = len({**old, **new}) - len(names)
    print(f"compared {len(compared)} requests ({extent(compared)}); {left_out} left out; {different} differ")
    for kind, count in kinds.most_common(30):
        print(f"    {count} times {kind}")
    return 1 if different else 0


def extent(lines: Sequence[Row]) -> str:
    routes = {(line["method"], line["route"]) for line in lines}
    strategies = {line["strategy"] for line in lines if line["strategy"]}
    errors = {line["error"] for line in lines if line["error"]}
    verdicts = json.dumps([line["answer"] for line in lines]).count('"decided_by":')
    return f"{len(routes)} routes, {len(strategies)} strategies, {len(errors)} error types, {verdicts} verdicts"
