"""Rendezvous: single rollouts wait for their group, for callers that can send nothing else.

Opt-in (`POST /v1/rollouts`). A *cohort* collects the rollouts of one group in numbered slots, and is released
when it is full or when its deadline has passed. Where it is kept follows the state store, so that the rollouts
of one group may arrive at different replicas.
"""

from .model import Arrival, Cohort, Collecting, Refused, Released, Rendezvous
from .store import open_rendezvous
from .waiting import WaitingRoom

__all__ = [
    "Arrival",
    "Cohort",
    "Collecting",
    "Refused",
    "Released",
    "Rendezvous",
    "WaitingRoom",
    "open_rendezvous",
]
