"""Strategies on the command line: a name, or a JSON object with a name and parameters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..shaping import Reward, reward_from_config

_OPTIONS = ("outcome", "length_weight", "overlong", "gate", "guard", "target", "advantage", "scores")


def parse_strategy(text: str) -> dict[str, Any]:
    """Return the configuration of a strategy.

    Raises:
        ValueError: the text is neither a name nor a JSON object.
    """
    if not text.lstrip().startswith("{"):
        return {"name": text}
    try:
        return dict(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--strategy is not JSON: {error}") from None


def rewards_of(texts: Sequence[str]) -> dict[str, Reward]:
    """Return the published reward of each strategy, by its `label`, else by name and parameters.

    An object may have `label`, `outcome`, `length_weight`, `overlong`, `gate`, `guard`, `target`, `advantage` and
    `scores` in addition to the strategy's parameters.

    Raises:
        ConfigError: a parameter is invalid.
        ValueError: a text is not JSON, or two different strategies have the same label.
    """
    rewards: dict[str, Reward] = {}
    for text in texts:
        config = parse_strategy(text)
        options = {key: config.pop(key) for key in _OPTIONS if key in config}
        label = str(config.pop("label", _label(config)))
        reward = reward_from_config(config, **options)
        if rewards.setdefault(label, reward) != reward:
            raise ValueError(f"two strategies are called {label!r}; give one a label")
    return rewards


def _label(config: dict[str, Any]) -> str:
    """Return the name and the given parameters."""
    given = ", ".join(f"{key}={value}" for key, value in config.items() if key != "name")
    name = config.get("name", "deepcompress")
    return f"{name} ({given})" if given else str(name)
