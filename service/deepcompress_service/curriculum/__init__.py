"""Sampling policies: pure functions of the problems' pass ratios.

A policy gives a weight to each pass ratio; a problem is drawn with a chance in proportion to its weight
(docs/curriculum.md). Each of the package's own policies has a file of its own.
"""

from .policy import Policy, PolicyError, Resolved
from .registry import BUILT_IN, resolve
from .user import ENTRY_POINTS

__all__ = ["BUILT_IN", "ENTRY_POINTS", "Policy", "PolicyError", "Resolved", "resolve"]
