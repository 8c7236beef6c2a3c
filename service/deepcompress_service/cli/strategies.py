"""Strategies as they are named on the command line: a name, or a JSON object with a name and parameters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..shaping import Reward, reward_from_config


def parse_strategy(text: str) -> dict[str, Any]:
    """The configuration that the text stands for. Raises ValueError where it is no JSON object."""
    if not text.lstrip().startswith("{"):
        return {"name": text}
    try:
        return dict(json.loads(text))
    except ValueError as error:
        raise ValueError(f"--strategy is not JSON: {error}") from None


def rewards_of(texts: Sequence[str]) -> dict[str, Reward]:
    """The reward of each named strategy as published, by `label`, else by name and parameters; once where repeated.

    An object may carry `label`, `outcome`, `length_weight` and `overlong` beside the strategy's parameters. Raises
    ConfigError, and ValueError where the text is no JSON or two share a label.
    """
    rewards: dict[str, Reward] = {}
    for text in texts:
        config = parse_strategy(text)
        around = {key: config.pop(key) for key in ("outcome", "length_weight", "overlong") if key in config}
        label = str(config.pop("label", _label(config)))
        reward = reward_from_config(config, **around)
        if rewards.setdefault(label, reward) != reward:
            raise ValueError(f"two strategies are called {label!r}; give one a label")
    return rewards


def _label(config: dict[str, Any]) -> str:
    """The name, and the parameters that were given."""
    given = ", ".join(f"{key}={value}" for key, value in config.items() if key != "name")
    name = config.get("name", "deepcompress")
    return f"{name} ({given})" if given else str(name)
