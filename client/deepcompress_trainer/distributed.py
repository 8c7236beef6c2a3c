"""Messages between the processes of one training: rollouts to all, the service's answer from the main process.

They are JSON in byte tensors, not pickles: text of a policy is never executed. Floats keep every bit.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from accelerate import Accelerator

from .generate import Rollout


def all_to_all(accelerator: Accelerator, mine: list[list[Rollout]], groups: int) -> list[list[Rollout]]:
    """Return every process's groups, in the order of the batch, on every process.

    Process r of n generated the groups r, r + n, r + 2n, ...
    """
    if accelerator.num_processes == 1:
        return mine
    rows = [[[r.ids, r.logprobs, r.truncated] for r in group] for group in mine]
    everyone = [json.loads(part) for part in _gather_bytes(accelerator, json.dumps(rows).encode())]
    ranks = len(everyone)
    return [
        [Rollout(ids, logprobs, truncated) for ids, logprobs, truncated in everyone[index % ranks][index // ranks]]
        for index in range(groups)
    ]


def from_main(accelerator: Accelerator, answer: dict[str, Any] | None) -> dict[str, Any]:
    """Return the main process's answer on every process."""
    if accelerator.num_processes == 1:
        assert answer is not None
        return answer
    raw = json.dumps(answer).encode() if answer is not None else b""
    received: dict[str, Any] = json.loads(_gather_bytes(accelerator, raw)[0])
    return received


def _gather_bytes(accelerator: Accelerator, raw: bytes) -> list[bytes]:
    """Return every process's bytes, by rank."""
    device = accelerator.device
    sizes = accelerator.gather(torch.tensor([len(raw)], device=device)).tolist()
    padded = torch.zeros((1, max(sizes)), dtype=torch.uint8, device=device)
    if raw:
        padded[0, : len(raw)] = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
    gathered = accelerator.gather(padded).cpu()
    return [row[:size].numpy().tobytes() for row, size in zip(gathered, sizes, strict=True)]
