"""A fixed corpus of requests to every route, and a comparison of the answers of two versions.

    PYTHON bench/answer_corpus.py record --store sqlite --out old.jsonl     PYTHON: the interpreter of the version
    PYTHON bench/answer_corpus.py record --store redis --out old.jsonl      needs redis-server
    python bench/answer_corpus.py compare old.jsonl new.jsonl [--except NAME ...] [--openapi]

Use it before and after a change that must not alter any answer. `record` starts the service of the interpreter that
runs this file, with default settings, and writes one line of JSON for each request: name, method, path, request body,
status, answer, error type. `compare` exits 1 if two recordings differ in anything but CPU times and human text
(titles and details of errors, descriptions, the text of a warning after its slug). Only HTTP, `DEEPCOMPRESS_*`
variables and `create_app` are used, so one copy of this file and of ``bench/corpus`` serves all versions. Rows of
``shared/data`` are used if they exist; set DEEPCOMPRESS_SHARED if they lie elsewhere.

Errors that are not in the corpus, because they need minutes, a full queue, a changed setting or a broken part:
abandoned, body-timeout, config-not-supported on a stored run, group-incomplete, internal-error, newer-configuration,
overloaded, rate-limited, rollout-gone, run-queue-full, stopping, store-too-new, strategy-failed, too-many-viewers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from pathlib import Path

from corpus.audit import audit
from corpus.comparison import compare, extent
from corpus.compat import send_compat
from corpus.recorder import Row, recorder, service_process
from corpus.refusals import KEYS, send_errors, send_keys, send_no_store
from corpus.runs import send_observing, send_rollouts, send_runs
from corpus.scoring import send_answers, send_gsm8k, send_service_pages, send_strategies, send_summaries
from servers import free_port, redis_server


async def record_all(store: str, folder: Path) -> list[Row]:
    """Return the lines of the whole corpus, recorded from services of this interpreter."""
    lines: list[Row] = []
    with contextlib.ExitStack() as stack:
        state_url = f"sqlite:///{folder}/state.sqlite3"
        if store == "redis":
            state_url = stack.enter_context(redis_server(folder))
        url = stack.enter_context(service_process(folder, state_url))
        async with recorder(url, lines) as rec:
            for part in (
                send_service_pages,
                send_errors,
                send_runs,
                send_observing,
                send_rollouts,
                send_compat,
                send_gsm8k,
                send_strategies,
                send_answers,
                send_summaries,
            ):
                await part(rec)
                print(f"{part.__name__}: {len(lines)} requests so far", file=sys.stderr)
            for line in audit(folder):
                rec.add(line)
    keys = folder / "keys.toml"
    keys.write_text(KEYS)
    settings = {"api_keys": "key-full", "api_keys_file": str(keys)}
    with service_process(folder, f"sqlite:///{folder}/keys.sqlite3", **settings) as url:
        async with recorder(url, lines) as rec:
            await send_keys(rec)
    with service_process(folder, f"redis://127.0.0.1:{free_port()}/0") as url:
        async with recorder(url, lines, wait_for="/healthz") as rec:
            await send_no_store(rec)
    return lines


def record(store: str, out: Path) -> None:
    """Record the corpus into `out`, and print what it covers."""
    with tempfile.TemporaryDirectory() as name:
        lines = asyncio.run(record_all(store, Path(name)))
    with out.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    documented = next(line["answer"]["paths"] for line in lines if line["name"] == "openapi")
    asked = {(line["method"], line["route"]) for line in lines}
    missed = [
        f"{method.upper()} {path}"
        for path, methods in documented.items()
        for method in methods
        if (method.upper(), path) not in asked
    ]
    slugs = sorted({line["error"].rpartition("/")[2].rpartition(":")[2] for line in lines if line["error"]})
    print(f"{out}: {len(lines)} requests; {extent(lines)}")
    print(f"errors: {', '.join(slugs)}")
    if missed:
        print(f"routes without a request: {', '.join(missed)}")


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="send the corpus and write the answers")
    recording.add_argument("--store", choices=("sqlite", "redis"), default="sqlite")
    recording.add_argument("--out", type=Path, required=True)
    comparing = commands.add_parser("compare", help="compare two recordings; exits 1 if they differ")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    comparing.add_argument(
        "--except", dest="excepted", nargs="+", action="extend", default=[], help="names left out, as patterns"
    )
    comparing.add_argument("--openapi", action="store_true", help="compare /openapi.json too, without its texts")
    options = parser.parse_args()
    if options.command == "record":
        record(options.store, options.out)
    else:
        sys.exit(compare(options.old, options.new, options.excepted, options.openapi))


if __name__ == "__main__":
    main()
