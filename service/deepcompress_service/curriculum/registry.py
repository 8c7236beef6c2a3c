"""All policies by name, and the reading of a policy out of a request."""

from __future__ import annotations

from collections.abc import Mapping

from . import band, mastered, signal, uniform, user
from .policy import Policy, PolicyError, Resolved

BUILT_IN: dict[str, Policy] = {module.POLICY.name: module.POLICY for module in (uniform, band, signal, mastered)}


def find(name: str) -> Policy:
    """Return the policy of that name.

    Raises:
        PolicyError: There is none, or it cannot be loaded.
    """
    policy = BUILT_IN.get(name) or user.load(name)
    if policy is None:
        names = ", ".join([*BUILT_IN, *user.names()])
        raise PolicyError("policy.name", f"no such policy; there are: {names}")
    return policy


def resolve(sent: str | Mapping[str, object]) -> Resolved:
    """Return the policy of a request, a name or ``{"name": ..., parameters}``, with defaults filled in.

    Raises:
        PolicyError: The name, a parameter or a value is not one that can be used.
    """
    fields = {"name": sent} if isinstance(sent, str) else dict(sent)
    name = fields.pop("name", None)
    if not isinstance(name, str):
        raise PolicyError("policy.name", "send the name of a policy")
    policy = find(name)
    known = {parameter.name: parameter for parameter in policy.parameters}
    for parameter in fields:
        if parameter not in known:
            names = ", ".join(known) or "none"
            raise PolicyError("policy", f"{name} has no such parameter; it takes: {names}")
    values = {
        key: parameter.read(fields[key]) if key in fields else parameter.default for key, parameter in known.items()
    }
    if policy.check is not None:
        policy.check(values)
    return Resolved(policy, values)
