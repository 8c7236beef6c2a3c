"""What the adapters share: naming problems, reading texts, stating deadlines, opening the run, and GRPO's
normalisation for the frameworks whose hook replaces it. No framework is imported here.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._retry import Retry
from ..errors import NotFound, StepTooOld, TransportError, Unavailable

if TYPE_CHECKING:
    from .._async_client import AsyncClient, AsyncRun
    from .._client import Client, Run

log = logging.getLogger("deepcompress_client")

DEADLINE_S = 300.0
"""How long an adapter waits for the service, retries and all, where its framework sets no shorter limit."""

OUTAGES = (TransportError, Unavailable)
"""The errors that say "later": after the deadline each adapter turns them into its framework's own kind of
missing reward. Every other error is a mistake in the set-up, and is raised."""


def client_options(deadline_s: float) -> dict[str, Any]:
    """Client options under which a call ends within `deadline_s`: the last try may begin late, so the time that a
    try may take is set aside.
    """
    if not deadline_s > 0:
        raise ValueError(f"deadline_s must be positive, not {deadline_s}")
    one_try = min(120.0, deadline_s / 2)
    return {
        "timeout_s": one_try,
        "connect_timeout_s": min(5.0, one_try),
        "retry": Retry(max_elapsed_s=deadline_s - one_try),
    }


GROUPWISE_STRATEGY = {"name": "deepcompress", "reference": "previous"}
"""The strategy where a framework hands over its step group by group: against the level of the step before, a
group's reward does not depend on which groups of its step came earlier (the default `current` would)."""


# --- texts and names ------------------------------------------------------------------------------------


def text_of(content: Any) -> str:
    """The text of a completion: a string, a message, or a conversation, of which the last assistant message
    holds the answer. Parts that are not text are left out.
    """
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, Mapping):
        if "content" in content:
            return text_of(content["content"])
        return str(content.get("text") or "")
    if isinstance(content, Sequence):
        messages = [part for part in content if isinstance(part, Mapping) and "role" in part]
        if messages:
            spoken = [message for message in messages if message["role"] == "assistant"]
            return text_of((spoken or messages)[-1])
        return "".join(text_of(part) for part in content)
    return str(content)


def prompt_text(prompt: Any) -> str:
    """A prompt as text that is the same in every process and epoch: roles and texts, without images."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, Sequence):
        return json.dumps(
            [[str(m.get("role")), text_of(m.get("content"))] if isinstance(m, Mapping) else str(m) for m in prompt],
            ensure_ascii=False,
        )
    return str(prompt)


def gold_text(value: Any) -> str | list[str]:
    """A gold answer as the wire takes it: text, or a list of alternatives. Numbers become their digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return [str(one) for one in value]
    if hasattr(value, "tolist") and not isinstance(value, int | float):  # numpy, from data frames
        return gold_text(value.tolist())
    return str(value)


def problem_name(prompt: Any, gold: Any) -> str:
    """A name for a problem that has none: the same prompt and gold have the same name, over epochs, processes
    and restarts.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([prompt_text(prompt), gold_text(gold)], ensure_ascii=True).encode())
    return digest.hexdigest()


# --- verdicts in one number ------------------------------------------------------------------------------

STATUS_OFFSETS = {"undecided": 2.0**-10, "gold_unreadable": 2.0**-9}
"""How far below "wrong" the outcome of a rollout lies that must not be trained on, where a framework carries nothing
from its outcome hook to its batch hook but that one number. Exact in float32, and beside 0 and -1 in fp16."""


def encode_status(outcome: float, status: str) -> float:
    """The outcome with its mark, for `decode_status` to read. Only where that is done: to anything that normalises it, a
    hair below wrong would be a reward like any other.
    """
    return outcome - STATUS_OFFSETS.get(status, 0.0)


def decode_status(outcome: float) -> dict[str, Any]:
    """``correct`` and ``status`` of a rollout, from an outcome of 1 or 0, or of 1 or -1, marked or not."""
    wrong = -1.0 if outcome < -0.5 else 0.0
    for status, mark in STATUS_OFFSETS.items():
        if abs(wrong - outcome - mark) < 2.0**-12:
            return {"correct": False, "status": status}
    return {"correct": outcome > 0}


def fill_with_group_mean(rewards: Sequence[float], trainable: Sequence[bool]) -> list[float]:
    """A group's rewards, where what must not be trained on has the mean of the others: next to the group's own
    baseline that teaches nothing.
    """
    known = [reward for reward, ok in zip(rewards, trainable, strict=True) if ok]
    middle = sum(known) / len(known) if known else min(rewards)
    return [reward if ok else middle for reward, ok in zip(rewards, trainable, strict=True)]


# --- the run --------------------------------------------------------------------------------------------


def checkpoint_name(next_step: int) -> str:
    """The service's checkpoint for a framework checkpoint from which training goes on with `next_step`."""
    return f"step-{next_step}"


def open_run(client: Client, name: str, next_step: int, strategy: Any, config: Mapping[str, Any]) -> Run:
    """Start the run (step 0), or go back to where its framework resumes: by rewinding, or, where the steps
    between are too many to be kept, from the checkpoint saved with the framework's own.
    """
    try:
        run = client.run(name, next_step=next_step, strategy=strategy, **config)
    except StepTooOld as too_old:
        run = client.run(name, join=True)
        try:
            run.restore(checkpoint_name(next_step))
        except NotFound:
            raise too_old from None
    _say_where(run.name, next_step, run.info())
    return run


async def open_run_async(
    client: AsyncClient, name: str, next_step: int, strategy: Any, config: Mapping[str, Any]
) -> AsyncRun:
    """`open_run`, with ``await``."""
    try:
        run = await client.run(name, next_step=next_step, strategy=strategy, **config)
    except StepTooOld as too_old:
        run = await client.run(name, join=True)
        try:
            await run.restore(checkpoint_name(next_step))
        except NotFound:
            raise too_old from None
    _say_where(run.name, next_step, await run.info())
    return run


def _say_where(name: str, next_step: int, info: Any) -> None:
    if next_step > 0 and info.kind is None:
        log.warning(
            "run %r has no state, although training resumes at step %d: its level starts again at %s",
            name,
            next_step,
            info.level,
        )
    else:
        log.info("run %r: next step %d, level %s, epoch %d", name, next_step, info.level, info.epoch)


# --- GRPO's normalisation -------------------------------------------------------------------------------


def grpo_advantages(rewards: Sequence[float | None], *, divide_by_std: bool = True, eps: float = 1e-6) -> list[float]:
    """One group's advantages: (reward - mean) / (sample std + eps). A rollout without a reward (None) counts in
    neither, and its advantage is 0: it teaches nothing.
    """
    known = [reward for reward in rewards if reward is not None]
    if not known:
        return [0.0] * len(rewards)
    mean = math.fsum(known) / len(known)
    scale = 1.0
    if divide_by_std and len(known) > 1:
        scale = math.sqrt(math.fsum((reward - mean) ** 2 for reward in known) / (len(known) - 1)) + eps
    return [0.0 if reward is None else (reward - mean) / scale for reward in rewards]
