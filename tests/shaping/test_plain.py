"""The vectorised strategies pay what plain loops, written apart from them, pay."""

from __future__ import annotations

from random import Random

import pytest

from deepcompress_service.shaping import Group, ProblemHistory, reward_from_config
from deepcompress_service.shaping.registry import BUILT_IN

from .plain import PLAIN


def realistic(count: int, size: int, seed: int = 0) -> list[Group]:
    source = Random(seed)
    groups = []
    for _ in range(count):
        share, scale = source.random(), source.choice([300, 3000, 9000])
        tokens = tuple(min(int(source.lognormvariate(0, 0.5) * scale) + 1, 24_000) for _ in range(size))
        groups.append(
            Group(
                correct=tuple(source.random() < share for _ in range(size)),
                tokens=tokens,
                truncated=tuple(t > 20_000 for t in tokens),
                level=source.random(),
                history=ProblemHistory(shortest_correct_tokens=source.choice([None, 200, 5000])),
                step=source.randrange(150),
                reference_accuracy=source.random(),
                reference_tokens=source.uniform(100, 10_000),
                target_tokens=source.uniform(100, 8000),
                thinking=tuple(source.random() < 0.5 for _ in range(size)),
                repetitive=tuple(source.random() < 0.1 for _ in range(size)),
            )
        )
    return groups


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_equal_to_the_plain_loop(name: str) -> None:
    reward = reward_from_config({"name": name})
    sent = [*realistic(60, 16), *realistic(60, 5, seed=1), *realistic(20, 1, seed=2)]
    for group, shaped in zip(sent, reward.shape(sent), strict=True):
        assert group.tokens is not None
        expected = PLAIN[name](group.tokens, group.correct, group)
        assert list(shaped.rewards) == pytest.approx(expected, abs=1e-9, rel=1e-9), group


def test_every_stateless_strategy_has_a_plain_loop() -> None:
    stateless = {
        name
        for name, s in BUILT_IN.items()
        if "batch" not in s.requires and not reward_from_config({"name": name}).accumulators
    }
    assert stateless == set(PLAIN)
