"""Policies: weights of pass ratios, their parameters, and those of users."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcompress_service.curriculum import BUILT_IN, PolicyError, resolve, user
from deepcompress_service.curriculum.signal import mixed_probability

RATIOS = (None, 0.0, 0.25, 0.5, 0.75, 1.0)


def weights(sent: Any) -> tuple[float, ...]:
    return resolve(sent).weights(RATIOS)


def test_uniform_and_mastered_weigh_all_alike() -> None:
    assert weights("uniform") == weights("mastered") == (1.0,) * 6
    assert resolve("uniform").retirement is None
    assert resolve({"name": "mastered", "threshold": 0.8, "retired_steps": 3}).retirement == (0.8, 3)


def test_band_has_both_bounds_in_it() -> None:
    assert weights({"name": "band", "low": 0.25, "high": 0.5}) == (1.0, 0.0, 1.0, 1.0, 0.0, 0.0)


def test_signal_is_the_probability_of_a_mixed_group() -> None:
    """Groups of 2 at 1/2: mixed with 1/2. At 1/4: 1 - 1/16 - 9/16 = 3/8."""
    assert weights({"name": "signal", "group_size": 2, "floor": 0.0}) == (0.5, 0.0, 0.375, 0.5, 0.375, 0.0)
    assert weights({"name": "signal", "group_size": 2, "floor": 0.4}) == (0.5, 0.4, 0.4, 0.5, 0.4, 0.4)


@given(ratio=st.floats(0, 1), size=st.integers(2, 64))
def test_signal_counts_every_outcome(ratio: float, size: int) -> None:
    from math import comb

    mixed = sum(comb(size, k) * ratio**k * (1 - ratio) ** (size - k) for k in range(1, size))
    assert mixed_probability(ratio, size) == pytest.approx(mixed, abs=1e-9)
    assert 0 <= mixed_probability(ratio, size) <= 1


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_an_unseen_problem_weighs_as_much_as_the_best(name: str) -> None:
    found = weights(name)
    assert found[0] == max(found)
    assert resolve(name).description == {"name": name, **{p.name: p.default for p in BUILT_IN[name].parameters}}


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ("unknown", "policy.name"),
        ({}, "policy.name"),
        ({"name": 3}, "policy.name"),
        ({"name": "signal", "size": 3}, "policy"),
        ({"name": "signal", "group_size": 1}, "policy.group_size"),
        ({"name": "signal", "group_size": 2.5}, "policy.group_size"),
        ({"name": "signal", "group_size": True}, "policy.group_size"),
        ({"name": "signal", "group_size": "8"}, "policy.group_size"),
        ({"name": "band", "low": float("nan")}, "policy.low"),
        ({"name": "band", "low": 10**400}, "policy.low"),
        ({"name": "band", "low": 0.9, "high": 0.1}, "policy.low"),
        ({"name": "mastered", "retired_steps": -1}, "policy.retired_steps"),
    ],
)
def test_what_cannot_be_used_is_named_with_the_remedy(sent: Any, field: str) -> None:
    with pytest.raises(PolicyError) as refused:
        resolve(sent)
    assert refused.value.field == field
    assert any(word in refused.value.message for word in ("send", "there are", "it takes"))


def test_a_band_without_any_ratio_is_refused() -> None:
    with pytest.raises(PolicyError, match="weight 0"):
        weights({"name": "band", "low": 0.1, "high": 0.12})


Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a module as a distribution that brings its `halfway` as a policy."""

    def put(text: str) -> None:
        (tmp_path / "their_policies.py").write_text(text)
        info = tmp_path / "their_policies-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-policies\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[deepcompress.policies]\nhalfway = their_policies:halfway\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    user.load.cache_clear()
    yield put
    sys.modules.pop("their_policies", None)
    user.load.cache_clear()


def test_a_users_policy_is_used_by_name(install: Install) -> None:
    install(
        "def halfway(ratios, *, width=0.25):\n"
        "    'Near 1/2.'\n"
        "    return [1.0 if r is None else max(0.0, 1 - abs(r - 0.5) / width) for r in ratios]\n"
    )
    assert weights({"name": "halfway", "width": 0.5}) == (1.0, 0.0, 0.5, 1.0, 0.5, 0.0)
    assert resolve("halfway").description == {"name": "halfway", "width": 0.25}
    with pytest.raises(PolicyError, match="it takes: width"):
        resolve({"name": "halfway", "depth": 1})
    with pytest.raises(PolicyError, match="halfway"):
        resolve("unknown")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise RuntimeError('secret')", "cannot be loaded: RuntimeError"),
        ("raise SystemExit(3)", "cannot be loaded: SystemExit"),
        ("def halfway(ratios): raise SystemExit(3)", "failed: SystemExit"),
        ("def halfway(ratios, width): return ratios", "number as its default"),
        ("def halfway(ratios, *, width): return ratios", "no number as its default"),
        ("def halfway(ratios, *, width='x'): return ratios", "no number as its default"),
        ("halfway = 5", "no function"),
        ("halfway = dict", "no function"),
        ("def halfway(ratios, *, width=float('nan')): return ratios", "default of width"),
        ("def halfway(ratios, *, width=10**400): return ratios", "default of width"),
        ("def halfway(ratios, *, name=1): return ratios", "the name"),
        ("def halfway(ratios): return [1.0]", "1 weights for 6"),
        ("def halfway(ratios): return [-1.0] * len(ratios)", "negative"),
        ("def halfway(ratios): return [float('inf')] * len(ratios)", "not finite"),
        ("def halfway(ratios): return [0] * len(ratios)", "weight 0"),
        ("def halfway(ratios): return 1 / 0", "failed: ZeroDivisionError"),
        ("def halfway(ratios): return None", "failed: TypeError"),
    ],
)
def test_a_users_policy_that_is_none_is_refused(install: Install, text: str, said: str) -> None:
    install(text)
    with pytest.raises(PolicyError, match=said):
        weights("halfway")
