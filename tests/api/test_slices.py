"""Decoding in slices gives what decoding at once gives, for every body, valid or not."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import numpy as np
import orjson
import pytest

from deepcompress_service.api import slices
from deepcompress_service.api.slices import decode_in_slices, large_lists
from deepcompress_service.scoring.errors import TooLargeError


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_BYTES", 48)
    monkeypatch.setattr(slices, "WHOLE_BYTES", 24)


TEXTS = ("", "a", "\\", '"', '\\"', "],[", "{}", ",", "\\\\\\", "é\n", "x" * 40, '["a","b"],')


def value(choice: random.Random, depth: int) -> Any:
    kind = choice.random()
    if depth and kind < 0.3:
        return {choice.choice(TEXTS): value(choice, depth - 1) for _ in range(choice.randrange(4))}
    if depth and kind < 0.6:
        return [value(choice, depth - 1) for _ in range(choice.randrange(6))]
    return choice.choice((None, 1, 2.5, True, *TEXTS))


def outcome(decode: Any, raw: bytes) -> Any:
    try:
        return decode(raw)
    except ValueError:
        return "refused"


@pytest.mark.parametrize("seed", range(3))
def test_the_same_value_or_the_same_refusal(seed: int) -> None:
    choice = random.Random(seed)
    cut = 0
    for _ in range(120):
        body = {choice.choice(TEXTS): value(choice, 3) for _ in range(choice.randrange(4))}
        body["items"] = [value(choice, 2) for _ in range(choice.randrange(30))]
        text = json.dumps(body, indent=choice.choice((None, 1)), ensure_ascii=choice.random() < 0.5)
        cut += any(found.commas for found in large_lists(text.encode()))
        raw = bytearray(text.encode())
        assert decode_in_slices(raw, orjson.loads) == orjson.loads(raw)
        # And with a fault.
        for _ in range(3):
            place = choice.randrange(len(raw))
            broken = bytearray(raw)
            broken[place : place + choice.randrange(3)] = choice.choice((b"", b",", b"]", b"}", b"[", b'"', b"\\"))
            assert outcome(lambda r: decode_in_slices(r, orjson.loads), broken) == outcome(orjson.loads, broken)
    assert cut > 40


def test_of_two_fields_with_one_name_the_last_counts() -> None:
    long, short = "[" + ",".join(["12345678"] * 20) + "]", "[1]"
    for first, second in ((long, short), (short, long)):
        raw = f'{{"items":{first},"items":{second}}}'.encode()
        assert decode_in_slices(raw, orjson.loads) == orjson.loads(raw)


def test_a_parser_gets_no_more_than_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    sizes = []

    def loads(raw: bytes | bytearray) -> Any:
        sizes.append(len(raw))
        return orjson.loads(raw)

    items = [{"gold": "1", "response": "{x},[" * 400} for _ in range(4000)]
    raw = json.dumps({"items": items}).encode()
    assert decode_in_slices(raw, loads) == {"items": items}
    assert max(sizes) < 2 * slices.SLICE_BYTES + 4000


def test_the_rollouts_of_one_group_are_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    sizes = []

    def loads(raw: bytes | bytearray) -> Any:
        sizes.append(len(raw))
        return orjson.loads(raw)

    rollouts = [{"response": "so, [1] {2} \\boxed{3} " * 2_000, "tokens": n} for n in range(200)]
    small = {"gold": "1", "rollouts": [{"response": "1", "tokens": 1}]}
    groups = [small, small, {"gold": "3", "rollouts": rollouts}, small]
    assert decode_in_slices(json.dumps({"run": "r", "groups": groups}).encode(), loads) == {
        "run": "r",
        "groups": groups,
    }
    assert max(sizes) < 2 * slices.SLICE_BYTES + 100_000


def test_all_large_lists_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    sizes = []

    def loads(raw: bytes | bytearray) -> Any:
        sizes.append(len(raw))
        return orjson.loads(raw)

    body = {name: [name * 1_000] * 3_000 for name in ("query", "prompts", "labels")}
    assert decode_in_slices(json.dumps(body).encode(), loads) == body
    assert max(sizes) < 2 * slices.SLICE_BYTES + 20_000


@pytest.mark.parametrize(
    "body",
    [
        {"items": [{"response": "x" * 4_000}]},
        {"items": [1] * 400, "text": "x" * 4_000},
        {"items": [1] * 400, "more": {"a": ["x" * 90] * 40}},
        ["x" * 4_000],
    ],
)
def test_a_text_that_no_slice_can_cut_is_refused_before_it_is_decoded(
    body: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "MAX_TEXT_BYTES", 2_000)
    with pytest.raises(TooLargeError):
        decode_in_slices(json.dumps(body).encode(), orjson.loads)


@pytest.mark.parametrize("seed", range(4))
def test_quotes_after_an_odd_number_of_backslashes_are_escaped(seed: int) -> None:
    choice = random.Random(seed)
    for _ in range(200):
        runs = (
            b"\\" * choice.choice((0, 1, 2, 3, 15, 16, 17, 47, 48, 96, 97)) for _ in range(choice.randrange(1, 12))
        )
        raw = b"a" + b"".join(run + choice.choice((b'"', b'"', b"a", b'""')) for run in runs)
        expected = []
        run = 0
        for place, byte in enumerate(raw):
            if byte == ord('"') and run % 2 == 0:
                expected.append(place)
            run = run + 1 if byte == ord("\\") else 0
        text = np.frombuffer(raw, np.uint8)
        found = [slices._quotes(text, begin, min(begin + 48, len(raw))) for begin in range(0, len(raw), 48)]
        assert np.concatenate(found).tolist() == expected


def test_the_search_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for part in (b"[", b"{", b'"', b"\\", b'\\"', b"\\" * 17 + b'"', b",", b"[]", b'{"":[', b'[1],"', b"],"):
        raw = b'{"a":[' + part * ((1 << 20) // len(part))
        began = time.process_time()
        large_lists(raw)
        assert time.process_time() - began < 5, part
