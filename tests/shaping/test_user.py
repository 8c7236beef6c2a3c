"""Strategies of users: one function, found through an entry point, held to the same checks."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deepcompress_service.shaping import (
    ConfigError,
    Group,
    InputError,
    StrategyError,
    reward_from_config,
    strategies,
    user,
)

HEAD = """
from typing import Literal
from deepcompress_service.shaping import Group, user_strategy
"""
GOOD = (
    HEAD
    + '''
@user_strategy(source="our lab", length_range=(0, 1), correctness_conditioned=True, bounds={"alpha": (0, 1)})
def first_home(group: Group, *, alpha: float = 0.1, who: Literal["first", "all"] = "first", k: int = 1):
    """alpha for the shortest correct rollouts of their group.

    More is said further down.
    """
    right = [t for t, c in zip(group.tokens, group.correct) if c]
    return [alpha * (c and (who == "all" or t == min(right))) for t, c in zip(group.tokens, group.correct)]
'''
)

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a module as a distribution that brings its `first_home` as a strategy."""

    def put(text: str, name: str = "first_home") -> None:
        (tmp_path / "their_rewards.py").write_text(text)
        info = tmp_path / "their_rewards-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-rewards\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[deepcompress.strategies]\n{name} = their_rewards:first_home\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    user.load.cache_clear()
    yield put
    sys.modules.pop("their_rewards", None)
    user.load.cache_clear()


def test_a_users_strategy_is_used_by_name(install: Install) -> None:
    install(GOOD)
    reward = reward_from_config({"name": "first_home", "alpha": 0.5}, None, 1.0, None, [{"name": "gr3"}])
    assert {key: reward.strategy[key] for key in ("alpha", "who", "k")} == {"alpha": 0.5, "who": "first", "k": 1}
    shaped = reward.shape([Group((True, True, False), (30, 20, 10), (False,) * 3)])[0]
    assert shaped.length_term == (0.0, 0.5, 0.0)
    assert shaped.rewards == (1.0, 1.5, 0.0)


def test_it_is_listed_with_its_own_description(install: Install) -> None:
    install(GOOD)
    (info,) = [info for info in strategies() if info.name == "first_home"]
    assert info.summary == "alpha for the shortest correct rollouts of their group."
    assert (info.source, info.certainty, info.length_range) == ("our lab", "user", (0, 1))
    assert info.parameters["properties"]["who"]["enum"] == ["first", "all"]


def test_its_parameters_are_bounded(install: Install) -> None:
    install(GOOD)
    with pytest.raises(ConfigError, match="from 0 to 1"):
        reward_from_config({"name": "first_home", "alpha": 2})
    with pytest.raises(ConfigError, match="takes alpha, k, who"):
        reward_from_config({"name": "first_home", "beta": 2})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise RuntimeError('no')", "RuntimeError: no"),
        ("return [0.0]", "gave 1 terms for 4 rollouts"),
        ("return [float('nan') for _ in group.correct]", "not finite"),
        ("return [float(i) for i, _ in enumerate(group.correct)]", "order of the rollouts"),
        ("return [9e9 for _ in group.correct]", "declared range"),
        ("return [1 / (1 + t) for t in group.tokens]", "length of a wrong rollout"),
    ],
)
def test_one_that_breaks_its_promises_is_refused_on_loading(install: Install, body: str, says: str) -> None:
    text = f'''{HEAD}
@user_strategy(length_range=(0, 100), correctness_conditioned=True)
def first_home(group: Group):
    """Something."""
    {body}
'''
    install(text)
    with pytest.raises(ConfigError) as caught:
        reward_from_config({"name": "first_home"})
    assert caught.value.field == "strategy.name"
    assert says in caught.value.message
    assert "first_home" not in {info.name for info in strategies()}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("first_home = 3", "must name a function"),
        ("def first_home(group): return []", "docstring"),
        ("def first_home(group, *, a):\n  'x'\n  return []", "needs a default"),
        ("def first_home(*groups):\n  'x'\n  return []", "takes a group"),
        ("import nonesuch_module", "cannot be loaded"),
        ("raise SystemExit('goodbye')", "cannot be loaded: goodbye"),
        ("first_home = dict", "no strategy: ValueError"),
        ("def first_home(group, *, a: 'Missing' = 1):\n  'x'\n  return []", "no strategy: NameError"),
        ("def first_home(group, *, a=float('nan')):\n  'x'\n  return []", "a number from"),
        ("def first_home(group, *, a=10**400):\n  'x'\n  return []", "a number from"),
        ("def first_home(group):\n  'x'\n  raise SystemExit", "failed: SystemExit"),
        (
            "from deepcompress_service.shaping import user_strategy\n"
            "@user_strategy(bounds={'a': 5})\ndef first_home(group, *, a=1):\n  'x'\n  return []",
            "no strategy: TypeError",
        ),
        (
            "from deepcompress_service.shaping import user_strategy\n"
            "@user_strategy(requires=['mood'])\ndef first_home(group):\n  'x'\n  return []",
            "mood",
        ),
    ],
)
def test_one_without_the_form_is_refused(install: Install, text: str, says: str) -> None:
    install(text)
    with pytest.raises(ConfigError) as caught:
        reward_from_config({"name": "first_home"})
    assert says in caught.value.message


def test_the_group_may_be_annotated_with_a_name_for_type_checkers_only(install: Install) -> None:
    text = """
from __future__ import annotations
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from deepcompress_service.shaping import Group

def first_home(group: Group, *, k: int = 2) -> list[Missing]:
    'k for each.'
    assert type(k) is int
    return [float(k) for _ in group.correct]
"""
    install(text)
    assert reward_from_config({"name": "first_home"}).shape([Group((True,), (7,), (False,))])[0].length_term == (2.0,)


def test_what_it_gives_later_is_checked_too(install: Install) -> None:
    text = f'''{HEAD}
def first_home(group: Group):
    """Fails on one length only."""
    return [float("inf") if t == 424242 else 0.0 for t in group.tokens]
'''
    install(text)
    reward = reward_from_config({"name": "first_home"})
    with pytest.raises(StrategyError, match="not finite"):
        reward.shape([Group((True,), (424242,), (False,))])


def test_published_names_cannot_be_taken(install: Install) -> None:
    install(GOOD, name="deepcompress")
    assert reward_from_config({"name": "deepcompress"}).main.strategy.certainty == "C+"
    assert [info.name for info in strategies()].count("deepcompress") == 1


@pytest.mark.parametrize("decorator", ["@user_strategy()", ""])
def test_what_a_user_does_not_declare_is_the_least(install: Install, decorator: str) -> None:
    install(re.sub(r"@user_strategy\(.*\)", decorator, GOOD))
    info = next(one for one in strategies() if one.name == "first_home")
    assert info.outcome == {"correct": 1.0, "wrong": 0.0}
    assert (info.requires_reward_ge_0, info.correctness_conditioned) == (False, False)
    assert info.length_range == (None, None)
    alpha = info.parameters["properties"]["alpha"]
    assert (alpha["minimum"], alpha["maximum"]) == (-1e6, 1e6)


def test_it_may_require_the_three_lengths(install: Install) -> None:
    install(
        HEAD
        + '''
@user_strategy(requires=("tokens", "context_tokens", "turns"))
def first_home(group: Group, *, k: float = 0.5):
    """Cost of everything read, written and asked."""
    return [-k * (t + c) * n for t, c, n in zip(group.tokens, group.context_tokens, group.turns)]
'''
    )
    (info,) = [info for info in strategies() if info.name == "first_home"]
    assert info.request_fields == ("tokens", "context_tokens", "turns")
    reward = reward_from_config({"name": "first_home"})
    sent = Group((True, False), (3, 4), (False, False), level=0.5, context_tokens=(1, 2), turns=(1, 2))
    assert reward.shape([sent])[0].length_term == (-2.0, -6.0)
    for name in ("context_tokens", "turns"):
        with pytest.raises(InputError, match="with every rollout") as caught:
            reward.shape([replace(sent, **{name: None})])
        assert caught.value.field == f"groups.0.{name}"
