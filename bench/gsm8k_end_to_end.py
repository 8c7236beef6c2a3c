"""The whole service on real rollouts: 1,319 GSM8K problems with four real model solutions each.

    python bench/gsm8k_end_to_end.py [--data PATH] [--quick]

Starts its own servers (the service on SQLite, and on a Redis with appendfsync always), sends all groups with the
client, and checks six claims about the answers:

1. verdicts agree with the file's labels on at least 99.5%; every disagreement is listed
2. the rewards of SQLite and Redis are equal to the last bit
3. the batch sent a second time gets the same bits, marked replayed, and the level does not change
4. in shards of 50 groups, shuffled, from four clients at once, the final level is the same to the last bit; under
   `reference: previous` so is every reward
5. if the service is killed (SIGKILL) during a training and started again, and everything is sent again, the final
   state is that of a training without the kill, on both stores
6. the same as 5 without sending again: the clients' own retries suffice

The file has no token counts. They are counted with TOKEN below, for this measurement only.
Exit status 1 if a claim fails.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepcompress_client import Client, Retry, Run
from deepcompress_client.wire import ScoreAnswer
from servers import Service, redis_server, service

SHARED = Path(os.environ.get("DEEPCOMPRESS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
DATA = SHARED / "data" / "gsm8k_model_solutions.jsonl"
TOKEN = re.compile(r"\w+|[^\w\s]")
"""A token, for this measurement: a run of letters and digits, or one other mark."""
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
PATIENT = Retry(max_elapsed_s=120.0, first_wait_s=0.02, max_wait_s=0.5)
SHARD = 50
STEP_GROUPS = 110
"""Groups a step in the training that is killed: twelve steps."""

Group = dict[str, Any]


@dataclass
class Claims:
    """The claims, each printed as it is checked, and the number of those that failed."""

    failed: int = 0

    def hold(self, claim: str, held: bool, figures: str = "") -> None:
        self.failed += not held
        print(f"  {'holds' if held else 'FAILS'}  {claim}{f': {figures}' if figures else ''}", flush=True)


def read_groups(path: Path) -> tuple[list[Group], list[list[bool]]]:
    """One group a problem, and the labels of its four rollouts."""
    groups, labels = [], []
    for number, line in enumerate(path.read_text().splitlines()):
        row = json.loads(line)
        solutions = [row[model] for model in MODELS]
        groups.append(
            {
                "problem_id": f"gsm8k-{number}",
                "gold": row["ground_truth"].rpartition("A: ")[2].strip(),
                "rollouts": [
                    {"response": one["solution"], "tokens": len(TOKEN.findall(one["solution"]))} for one in solutions
                ],
            }
        )
        labels.append([bool(one["is_correct"]) for one in solutions])
    return groups, labels


def open_run(client: Client, name: str, **strategy: Any) -> Run:
    settings = {"name": "deepcompress", **strategy}
    return client.run(name, next_step=0, strategy=settings, answer_format="final_answer")


def rewards(answers: Sequence[ScoreAnswer]) -> dict[str, list[str]]:
    """Return every reward by group, to the last bit."""
    return {group.group_id: [r.hex() for r in group.rewards] for answer in answers for group in answer.groups}


def agreement(claims: Claims, answer: ScoreAnswer, labels: list[list[bool]], groups: list[Group]) -> None:
    total = agreed = 0
    differing = []
    for scored, of_group, sent in zip(answer.groups, labels, groups, strict=True):
        for place, (verdict, label) in enumerate(zip(scored.verdicts, of_group, strict=True)):
            total += 1
            agreed += verdict.correct == label
            if verdict.correct != label:
                differing.append((scored.problem_id, MODELS[place], sent["gold"], label, verdict))
    figures = f"{agreed} of {total} = {agreed / total:.4%}"
    claims.hold("verdicts agree with the labels on at least 99.5%", agreed / total >= 0.995, figures)
    for problem, model, gold, label, verdict in differing:
        said = "correct" if label else "wrong"
        print(f"         {problem} {model}: gold {gold!r}, label {said}, ours {verdict.status}: {verdict.reason}")


def in_shards(url: str, name: str, groups: list[Group], seed: int) -> list[ScoreAnswer]:
    """Send the step in shards of 50 groups, shuffled, from four clients at once."""
    mixed = random.Random(seed).sample(groups, len(groups))
    shards = [mixed[start : start + SHARD] for start in range(0, len(mixed), SHARD)]
    clients = [Client(url, retry=PATIENT) for _ in range(4)]

    def send(numbered: tuple[int, list[Group]]) -> ScoreAnswer:
        number, shard = numbered
        return clients[number % 4].run(name, join=True).score(shard, step=0)

    with ThreadPoolExecutor(4) as senders:
        answers = list(senders.map(send, enumerate(shards)))
    for client in clients:
        client.close()
    return answers


def train(url: str, name: str, steps: list[list[Group]], done: threading.Event | None = None) -> None:
    """Run a training: each step in shards from four threads; a step starts when the one before is answered."""
    with Client(url, retry=PATIENT) as client, ThreadPoolExecutor(4) as senders:
        run = client.run(name, join=True)
        for step, groups in enumerate(steps):
            shards = [groups[start : start + 20] for start in range(0, len(groups), 20)]
            list(senders.map(lambda shard, step=step: run.score(shard, step=step), shards))
            if done is not None and step >= len(steps) // 3:
                done.set()


def state_of(client: Client, name: str) -> tuple[Any, ...]:
    """Return all state of a run that a caller can read."""
    run = client.run(name, join=True)
    level = run.info().level
    return level, level.hex(), run.history().steps, sorted(run.problems(page_size=1000), key=lambda p: p.problem_id)


def killed_training(claims: Claims, one: Service, store: str, steps: list[list[Group]]) -> None:
    with Client(one.url, retry=PATIENT) as client:
        open_run(client, "undisturbed")
        train(one.url, "undisturbed", steps)
        expected = state_of(client, "undisturbed")
        for name, resend in (("killed-resent", True), ("killed", False)):
            open_run(client, name)
            third = threading.Event()
            training = threading.Thread(target=train, args=(one.url, name, steps, third))
            training.start()
            third.wait(600)
            time.sleep(random.Random(name).uniform(0.0, 0.2))
            one.stop(signal.SIGKILL)
            one.start()
            training.join(600)
            if resend:
                train(one.url, name, steps)
            same = state_of(client, name) == expected
            how = "and everything sent again" if resend else "and the clients' retries alone"
            claims.hold(f"{store}: killed, started again, {how}: the state of a training without a kill", same)


def on_store(
    claims: Claims, store: str, state_url: str, groups: list[Group], labels: list[list[bool]], quick: bool
) -> dict[str, list[str]]:
    print(f"{store}", flush=True)
    with service(state_url) as one, Client(one.url, retry=PATIENT) as client:
        run = open_run(client, "whole")
        began = time.perf_counter()
        first = run.score(groups, step=0)
        seconds = time.perf_counter() - began
        count = sum(map(len, labels))
        print(f"  {count} rollouts in one call: {seconds:.2f} s, {count / seconds:.0f} a second")
        agreement(claims, first, labels, groups)
        found = rewards([first])

        second = run.score(groups, step=0)
        replayed = all(group.replayed for group in second.groups)
        held = rewards([second]) == found and replayed and run.info().level == first.level
        claims.hold("sent twice: the same bits, marked replayed, the level unmoved", held)

        assert first.level is not None
        for seed in range(1 if quick else 3):
            name = f"shards-{seed}"
            open_run(client, name)
            in_shards(one.url, name, groups, seed)
            level = client.run(name, join=True).info().level
            figures = f"{level.hex()} and {first.level.hex()}"
            claims.hold("in shuffled shards of 50 from four clients: the same level", level == first.level, figures)
        open_run(client, "previous-whole", reference="previous")
        open_run(client, "previous-shards", reference="previous")
        whole = client.run("previous-whole", join=True).score(groups, step=0)
        shards = in_shards(one.url, "previous-shards", groups, seed=9)
        claims.hold(
            "under reference: previous the shards' rewards are the whole's", rewards(shards) == rewards([whole])
        )

        steps = [groups[start : start + STEP_GROUPS] for start in range(0, len(groups), STEP_GROUPS)]
        killed_training(claims, one, store, steps[:4] if quick else steps)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="gsm8k_model_solutions.jsonl")
    parser.add_argument("--quick", action="store_true", help="fewer shuffles and fewer steps")
    options = parser.parse_args()
    if not options.data.exists():
        sys.exit(f"{options.data} is not there: give --data")
    if shutil.which("redis-server") is None:
        sys.exit("redis-server is not installed (Debian: apt-get install redis-server)")
    groups, labels = read_groups(options.data)
    print(f"{len(groups)} problems, {sum(map(len, labels))} rollouts, {sum(map(sum, labels))} labelled correct")
    logging.getLogger("deepcompress_client").setLevel(logging.ERROR)  # the retries are the point, not news
    claims = Claims()
    with tempfile.TemporaryDirectory(prefix="gsm8k-") as text:
        folder = Path(text)
        sqlite = on_store(claims, "SQLite", f"sqlite:///{folder}/state.sqlite3", groups, labels, options.quick)
        with redis_server(folder) as url:
            redis = on_store(claims, "Redis", url, groups, labels, options.quick)
        claims.hold("the rewards of SQLite and Redis are equal to the last bit", sqlite == redis)
    print("all claims hold" if not claims.failed else f"{claims.failed} claims do not hold")
    sys.exit(1 if claims.failed else 0)


if __name__ == "__main__":
    main()
