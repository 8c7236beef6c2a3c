"""`Run.rewards`: flat lists in, rewards in the same order out, on a real service; and errors of wrong shapes."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

from deepcompress_client import Client, errors, wire
from deepcompress_client._rows import group_rows
from deepcompress_service.cli.embedded import embedded_service

from .stub import Stub

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with embedded_service() as address:
        yield address


PROMPTS = ["2+2?", "3+4?", "2+2?", "3+4?", "2+2?", "odd?", "no gold"]
GOLDS: list[Any] = [4, "7", 4, "7", 4, "\\frac{1}{", None]
RESPONSES = [
    "\\boxed{4}",
    "\\boxed{7}",
    "\\boxed{5}",
    "\\boxed{8}",
    "so \\boxed{4}",
    "\\boxed{1}",
    "\\boxed{1}",
]
TOKENS = [100, 50, 70, 60, 900, 10, 10]


def test_rewards_come_back_in_the_order_of_the_rows(client: Callable[..., Any], url: str) -> None:
    one = client(url)
    name = f"rows-{random.random()}"
    flat = one.run(name).rewards(0, PROMPTS, GOLDS, RESPONSES, TOKENS)
    groups = [
        {
            "problem_id": f"p{gold}",
            "gold": gold,
            "rollouts": [{"response": RESPONSES[row], "tokens": TOKENS[row]} for row in rows],
        }
        for gold, rows in ((4, [0, 2, 4]), ("7", [1, 3]))
    ]
    expected = one.run(f"{name}-groups").score(groups, step=0)
    four, seven = (group.rewards for group in expected.groups)
    assert flat[:5] == [four[0], seven[0], four[1], seven[1], four[2]]
    assert flat[5:] == [None, None], "a gold that cannot be read, and none"
    assert len(set(four)) == 3, "lengths count"


def test_a_repeat_counts_once_and_an_evaluation_not_at_all(client: Callable[..., Any], url: str) -> None:
    run = client(url).run(f"repeat-{random.random()}")
    first = run.rewards(0, PROMPTS, GOLDS, RESPONSES, TOKENS)
    assert run.rewards(0, PROMPTS, GOLDS, RESPONSES, TOKENS) == first
    outcome = run.rewards(None, PROMPTS[:2], GOLDS[:2], RESPONSES[1:3], TOKENS[:2], phase="eval")
    assert outcome == [-1.0, -1.0]
    assert [(step.groups, step.rollouts) for step in run.history().steps] == [(2, 5)]


def test_arrays_messages_and_truncation_are_read(client: Callable[..., Any], url: str) -> None:
    prompts = [[{"role": "user", "content": "2+2?"}]] * 3
    responses = [[{"role": "assistant", "content": text}] for text in RESPONSES[:2]] + ["<think> so \\boxed{4}"]
    run = client(url).run(f"arrays-{random.random()}")
    found = run.rewards(
        0, prompts, numpy.array([4, 4, 4]), responses, numpy.array([100, 50, 70]), truncated=[False, False, True]
    )
    assert [reward > 0 for reward in found] == [True, False, False], "an unfinished thought has no answer"


def test_rows_without_any_gold_send_no_request(client: Callable[..., Any]) -> None:
    stub = Stub()
    run = client(handler=stub).run("r")
    assert run.rewards(0, ["a", "b"], [None, None], ["x", "y"], [1, 2]) == [None, None]
    assert run.rewards(0, [], [], [], []) == []
    assert stub.paths() == ["PUT /v1/runs/r"]


def test_late_groups_and_warnings_are_logged(
    client: Callable[..., Any], url: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = client(url).run(f"late-{random.random()}")
    run.rewards(0, PROMPTS[:2], GOLDS[:2], RESPONSES[:2], TOKENS[:2])
    run.rewards(1, PROMPTS[:2], GOLDS[:2], RESPONSES[:2], TOKENS[:2])
    with caplog.at_level(logging.WARNING, "deepcompress_client"):
        run.rewards(0, ["9?"] * 2, [9, 9], ["\\boxed{9}"] * 2, [5, 6])
    assert "1 groups came for the closed step 0" in caplog.text


def test_one_prompt_with_two_golds_is_refused(client: Callable[..., Any]) -> None:
    stub = Stub()
    run = client(handler=stub).run("r")
    with pytest.raises(
        errors.InvalidRequest, match="rows 0 and 2 have equal prompts and different golds; pass probl"
    ):
        run.rewards(0, ["a", "b", "a"], ["1", "2", "3"], ["x"] * 3, [1] * 3)
    with pytest.raises(errors.InvalidRequest, match="rows 0 and 1 have equal problem_ids"):
        run.rewards(0, ["a", "b"], ["1", "2"], ["x"] * 2, [1] * 2, problem_ids=["p", "p"])
    assert stub.paths() == ["PUT /v1/runs/r"]
    grouped = group_rows(["a", "b", "a"], ["1", "2", "3"], ["x"] * 3, [1] * 3, problem_ids=["p", "q", "s"])
    assert grouped.rows == [[0], [1], [2]]


@pytest.mark.parametrize("gold", [True, float("nan"), {"answer": 1}, [1, None]])
def test_a_gold_that_is_no_answer_is_refused_with_its_row(client: Callable[..., Any], gold: Any) -> None:
    stub = Stub()
    run = client(handler=stub).run("r")
    with pytest.raises(errors.InvalidRequest, match=r"golds\[1\]: pass text, a finite number"):
        run.rewards(0, ["a", "b"], ["1", gold], ["x"] * 2, [1] * 2)
    assert stub.paths() == ["PUT /v1/runs/r"]


def test_equal_golds_of_other_spelling_are_one_gold() -> None:
    grouped = group_rows(["a"] * 3, [7, "7", numpy.int64(7)], ["x"] * 3, [1] * 3)
    assert grouped.rows == [[0, 1, 2]]


def test_lists_of_unequal_length_are_named(client: Callable[..., Any]) -> None:
    run = client(handler=Stub()).run("r")
    with pytest.raises(errors.InvalidRequest, match=r"prompts 2, golds 2, responses 1, tokens 2"):
        run.rewards(0, ["a", "a"], ["1", "1"], ["x"], [1, 2])
    with pytest.raises(errors.InvalidRequest, match="prompts: pass a list with one entry per rollout, not one str"):
        run.rewards(0, "a", ["1"], ["x"], [1])


# --- the loop of docs/client.md -------------------------------------------------------------------------


class Policy:
    """A policy whose answers depend on the step only, and that stops once in the middle."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.step, self.saved, self.stop_at = 0, 0, stop_at
        self.advantages: list[list[float]] = []

    def load(self) -> int:
        self.step = self.saved
        del self.advantages[self.saved :]
        return self.saved

    def save(self, next_step: int) -> None:
        self.saved = next_step

    def sample(self) -> tuple[list[Any], ...]:
        if self.step == self.stop_at:
            self.stop_at = None
            raise KeyboardInterrupt
        draw = random.Random(self.step)
        prompts = [f"{row % 3} + 1 = ?" for row in range(12)]
        golds = [None if row % 3 == 2 else row % 3 + 1 for row in range(12)]
        responses = [f"\\boxed{{{draw.choice([1, 2])}}}" for _ in range(12)]
        return prompts, golds, responses, [draw.randrange(10, 900) for _ in range(12)]

    sample_held_out = sample

    def update(self, advantages: list[float]) -> None:
        self.advantages.append(advantages)
        self.step += 1


def test_the_loop_of_the_page_trains_and_resumes(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "client.md").read_text(), re.DOTALL)[0]
    assert 'Client("embedded")' in code
    results = []
    for name, stop_at in (("whole", None), ("broken", 5)):
        names: dict[str, Any] = {}
        exec(code.replace('"embedded"', repr(url)).replace("my-run", name), names)
        policy = Policy(stop_at)
        if stop_at is not None:
            with pytest.raises(KeyboardInterrupt):
                names["train"](policy, steps=8, every=3)
            assert policy.saved == 3
        names["train"](policy, steps=8, every=3)
        with Client(url) as one:
            results.append((policy.advantages, one.run(name, join=True).history().steps))
    assert results[0] == results[1]
    assert len(results[0][0]) == 8
    assert all(row[2] == 0.0 and any(row) for row in results[0][0]), "no gold, no advantage"
    assert "step 2: accuracy" in capsys.readouterr().out


# --- errors of wrong shapes -----------------------------------------------------------------------------

ROLLOUT = {"response": "\\boxed{7}", "tokens": 3}
GROUP = {"problem_id": "p", "gold": "7", "rollouts": [ROLLOUT]}


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (GROUP, r"groups: this is one group or a dict of them; pass a list: groups=\[\{\.\.\.\}\]"),
        ("GROUP", "groups: this is one str"),
        (None, "groups: this is one NoneType"),
        ([[GROUP]], r"groups\[0\]: this is a list; pass a dict with gold, rollouts"),
        ([{**GROUP, "rollouts": ROLLOUT}], r"groups\[0\]\.rollouts: this is one rollout"),
        (
            [{**GROUP, "rollouts": ["\\boxed{7}"]}],
            r"groups\[0\]\.rollouts\[0\]: this is a str; pass a dict with resp",
        ),
        ([{**GROUP, "gold": True}], r"groups\[0\]\.gold: pass text, a finite number, or a list .* not True"),
        ([{**GROUP, "gold": None}], r"groups\[0\]\.gold: .* not None"),
        ([{**GROUP, "gold": float("nan")}], r"groups\[0\]\.gold: .* not nan"),
        ([{**GROUP, "gold": {"answer": 1}}], r"groups\[0\]\.gold: .* not a dict"),
        ([{**GROUP, "rollouts": [{**ROLLOUT, "tokens": [1, 2]}]}], r"rollouts\[0\]\.tokens: .* len\(ids\)"),
        ([{**GROUP, "rollouts": [{**ROLLOUT, "tokens": numpy.ones(3)}]}], r"rollouts\[0\]\.tokens: .* len\(ids\)"),
        ([{**GROUP, "rollouts": [{**ROLLOUT, "tokens": 3.0}]}], r"rollouts\[0\]\.tokens: .* int\(tokens\)"),
        ([{**GROUP, "rollouts": [{**ROLLOUT, "tokens": numpy.float32(3)}]}], r"rollouts\[0\]\.tokens: .* int\(tok"),
    ],
)
def test_a_wrong_shape_is_an_error_that_names_the_fix(client: Callable[..., Any], groups: Any, message: str) -> None:
    stub = Stub()
    with pytest.raises(errors.InvalidRequest, match=message):
        client(handler=stub).score(groups, run="r", step=0)
    assert stub.requests == []


@pytest.mark.parametrize("step", ["4", 4.0, True, [4], numpy.float32(4), numpy.ones(2)])
def test_a_step_that_is_no_integer_names_the_fix(client: Callable[..., Any], step: Any) -> None:
    stub = Stub()
    for call in ("score", "shape"):
        with pytest.raises(errors.InvalidRequest, match=r"step: pass the trainer's step as an integer, not a \w+"):
            getattr(client(handler=stub), call)([GROUP], run="r", step=step)
    assert stub.requests == []


def test_a_url_with_the_path_of_the_routes_names_the_fix() -> None:
    for url in ("http://127.0.0.1:8321/v1", "http://127.0.0.1:8321/v1/"):
        with pytest.raises(ValueError, match="without /v1"):
            Client(url)


@pytest.mark.parametrize("items", ["7", {"gold": "7", "response": "7"}, wire.VerifyItem(gold="7", response="7")])
def test_one_item_in_place_of_a_list_names_verify_one(client: Callable[..., Any], items: Any) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"items: .* verify_one\(gold, response\)"):
        client(handler=Stub()).verify(items)


@pytest.mark.parametrize(
    ("gold", "sent"),
    [
        (7, "7"),
        (0.5, "0.5"),
        (-3, "-3"),
        (10**20, "1" + "0" * 20),
        (numpy.float64(2.5), "2.5"),
        ([7, "7.0"], ["7", "7.0"]),
        ((1, 2), ["1", "2"]),
        ([numpy.float32(0.5), 1e22], ["0.5", "1e+22"]),
        (numpy.array([1, 2]), ["1", "2"]),
        (numpy.int64(4), "4"),
    ],
)
def test_golds_may_be_numbers(client: Callable[..., Any], gold: Any, sent: Any) -> None:
    stub = Stub()
    one = client(handler=stub)
    one.score([{**GROUP, "gold": gold}], run="r", step=0)
    one.verify_one(gold, "\\boxed{7}")
    assert stub.requests[0][2]["groups"][0]["gold"] == sent
    assert stub.requests[1][2]["items"][0]["gold"] == sent
