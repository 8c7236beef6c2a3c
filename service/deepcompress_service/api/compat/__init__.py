"""Endpoints that speak what RL frameworks already send, so that nothing need be installed beside them. Each module
is one protocol; what a protocol cannot carry (tokens, groups, steps) its endpoint does not guess: it then gives
outcomes only."""

from __future__ import annotations

from fastapi import APIRouter

from . import nemo_gym, openrlhf, roll, slime

router = APIRouter(prefix="/compat", tags=["compat"])
router.include_router(openrlhf.router)
router.include_router(slime.router)
router.include_router(nemo_gym.router)
router.include_router(roll.router)

MODELS = (
    openrlhf.GetReward,
    slime.RemoteReward,
    nemo_gym.VerifyBody,
    nemo_gym.AggregateBody,
    roll.SubmitTask,
    roll.TaskResult,
)
"""The bodies these routes read themselves, for the API's description."""
