"""Groups and configurations as hypothesis draws them, for the property tests of shaping."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import strategies as st

from deepcompress_service.shaping import Group, ProblemHistory, Reward, reward_from_config
from deepcompress_service.shaping.parameters import Param
from deepcompress_service.shaping.registry import BUILT_IN

lengths = st.one_of(
    st.integers(0, 20_000),
    st.integers(0, 3),
    st.integers(0, 2**31 - 1),
    st.sampled_from([1000, 1001]),
)
ratios = st.floats(0, 1)
histories = st.builds(
    ProblemHistory,
    attempts=st.integers(1, 100),
    passes=st.integers(0, 100),
    pass_ratio=st.none() | ratios,
    shortest_correct_tokens=st.none() | lengths,
    mean_correct_tokens=st.none() | st.floats(0, 1e6),
)


@st.composite
def groups(draw: st.DrawFn, size: int | None = None) -> Group:
    """A group with everything that any strategy may ask for, but accumulators."""
    n = size or draw(st.integers(1, 9))
    flags = st.lists(st.booleans(), min_size=n, max_size=n).map(tuple)
    same = st.lists(st.just(draw(lengths)), min_size=n, max_size=n)
    any_lengths = st.lists(lengths, min_size=n, max_size=n)
    correct = draw(st.one_of(flags, st.just((True,) * n), st.just((False,) * n)))
    return Group(
        correct=correct,
        tokens=tuple(draw(st.one_of(any_lengths, any_lengths, same))),
        truncated=draw(flags),
        level=draw(ratios),
        history=draw(st.one_of(st.just(ProblemHistory()), histories)),
        step=draw(st.integers(0, 1000)),
        reference_accuracy=draw(ratios),
        reference_tokens=draw(st.floats(1, 1e6)),
        target_tokens=draw(st.floats(1, 1e6)),
        thinking=draw(flags),
        repetitive=draw(flags),
        context_tokens=draw(st.lists(lengths, min_size=n, max_size=n).map(tuple)),
        turns=draw(st.lists(st.integers(1, 50), min_size=n, max_size=n).map(tuple)),
        formatted=draw(st.one_of(st.just(()), flags)),
    )


def batches(max_size: int = 5) -> st.SearchStrategy[list[Group]]:
    return st.lists(groups(), min_size=1, max_size=max_size)


def _value(param: Param, source: Random) -> Any:
    if source.random() < 0.3:
        return param.default
    if param.kind == "choice":
        return source.choice(param.choices)
    if param.kind == "boolean":
        return source.random() < 0.5
    ends = [param.minimum, param.maximum, 1.0, source.uniform(0, 1), source.uniform(param.minimum, param.maximum)]
    value = min(max(source.choice(ends), param.minimum), param.maximum)
    return int(value) if param.kind == "integer" else value


def rewards_of(name: str, seed: int) -> Reward:
    """The reward of a strategy with the published outcome pair: default parameters for even seeds, else any."""
    source = Random(f"{name} {seed}")
    declared = BUILT_IN[name].params if seed % 2 else ()
    return reward_from_config({"name": name, **{param.name: _value(param, source) for param in declared}})


def ready(reward: Reward, sent: list[Group], value: float = 0.5) -> list[Group]:
    """The groups with the accumulators that the reward carries."""
    return [replace(g, accumulators=(value,) * len(reward.accumulators)) for g in sent]


def permuted(group: Group, order: list[int]) -> Group:
    """The group with its rollouts in another order."""

    def pick(values: Any) -> Any:
        return tuple(values[i] for i in order) if values else values

    names = (
        "correct",
        "tokens",
        "truncated",
        "trainable",
        "thinking",
        "repetitive",
        "context_tokens",
        "turns",
        "formatted",
    )
    return replace(group, **{name: pick(getattr(group, name)) for name in names})
