"""Shaping: verdicts and lengths -> rewards. Pure functions, one module per published family.

No clock, no I/O, no global state: a strategy's arguments include what it needs of the past. Independent of HTTP,
of answers or of stores.
"""

from .errors import ConfigError, InputError, ShapingError, StrategyError
from .level import next_history, next_level, next_value
from .parameters import Param
from .reading import reward_from_config
from .registry import LEVEL_PARAMS, strategies
from .reward import Reward
from .signal import Signal
from .strategy import AccumulatorSpec, StrategyInfo
from .types import COMPONENTS, Group, ProblemHistory, ShapedGroup
from .user import user_strategy

__all__ = [
    "COMPONENTS",
    "LEVEL_PARAMS",
    "AccumulatorSpec",
    "ConfigError",
    "Group",
    "InputError",
    "Param",
    "ProblemHistory",
    "Reward",
    "ShapedGroup",
    "ShapingError",
    "Signal",
    "StrategyError",
    "StrategyInfo",
    "next_history",
    "next_level",
    "next_value",
    "reward_from_config",
    "strategies",
    "user_strategy",
]
