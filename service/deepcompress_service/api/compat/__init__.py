"""Endpoints for protocols that RL frameworks already have, so that nothing needs to be installed beside them.

Each module implements one protocol. If a protocol has no tokens, groups or steps, its endpoint does not guess them:
it answers with outcomes only.
"""

from __future__ import annotations

from fastapi import APIRouter

from . import nemo_gym, openrlhf, roll, slime
from .at_root import NemoGymAtRoot

router = APIRouter(prefix="/compat", tags=["frameworks"])
router.include_router(openrlhf.router)
router.include_router(slime.router)
router.include_router(nemo_gym.router)
router.include_router(roll.router)

__all__ = ["NemoGymAtRoot", "router"]
