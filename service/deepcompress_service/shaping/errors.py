"""Errors of shaping, each with the field at fault and a message that names what to send instead."""

from __future__ import annotations


class ShapingError(ValueError):
    """Base of everything shaping raises. `field` is a path in what the caller sent, as in ``strategy.alpha``."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message

    def counted_from(self, first: int) -> ShapingError:
        """Return the error of a part of a request whose first group has the position `first` in it."""
        head, dot, rest = self.field.partition(".")
        index, more, name = rest.partition(".")
        if head != "groups" or not index.isdigit():
            return self
        return type(self)(f"{head}{dot}{int(index) + first}{more}{name}", self.message)


class ConfigError(ShapingError):
    """A run's configuration that no reward can be built from."""


class InputError(ShapingError):
    """Groups that lack what the run's strategy needs. `field` is relative to the group or rollout."""


class StrategyError(ShapingError):
    """A user's strategy broke its promise: a wrong number of rewards, or one that is not finite."""
