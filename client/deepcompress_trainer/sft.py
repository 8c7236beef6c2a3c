"""Supervised warm-up on worked solutions: how start checkpoints are made.

    python -m deepcompress_trainer.sft chain OUT                     the shipped start of the synthetic task
    python -m deepcompress_trainer.sft overthinking OUT              the same, fine-tuned to check nearly every step
    python -m deepcompress_trainer.sft jsonl MODEL PAIRS.jsonl OUT   any model, on rows {prompt, response}
    python -m deepcompress_trainer.sft gsm8k MODEL gsm8k_train.jsonl OUT

The chain curriculum grows the number of operations, since a small model that begins with long chains stalls,
and ends on demonstrations of every length, so that what the policy writes varies continuously. It never sees
more than 12 operations: the study's 13 to 16 are left to reinforcement learning.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from . import task
from .config import Parser, start_checkpoint
from .data import gsm8k_problem, read_jsonl, text_of
from .files import writing
from .model import Policy, autocast, load_policy, new_tiny_policy, save_policy

Pair = tuple[str, str]
"""A prompt and the response to learn."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of the chain curriculum."""

    steps: int
    operations: tuple[int, int]
    styles: tuple[tuple[float, task.Style], ...]
    """Weights and styles; a demonstration draws one."""
    slip: float = 0.0
    batch: int = 96


_SHORT = task.Style(short=1)
_WRITTEN = task.Style(written=1)
_CHECKED = task.Style(checked=1)
_MIXED = task.Style(skip=0.3, short=1, written=1, checked=1)
_TERSE = task.Style(skip=0.5, short=2)
_CAREFUL = task.Style(short=1, written=1, checked=2)

CHAIN_CURRICULUM = (
    Phase(400, (1, 3), ((1, _SHORT), (1, _WRITTEN))),
    Phase(400, (1, 6), ((1, _SHORT), (1, _WRITTEN), (1, _CHECKED)), slip=0.02),
    Phase(400, (1, 9), ((1, _SHORT), (1, _WRITTEN), (1, _CHECKED), (1, _TERSE)), slip=0.02),
    Phase(
        600,
        (1, 12),
        ((3, _MIXED), (1, _SHORT), (2, _WRITTEN), (1, _TERSE), (1, _CAREFUL)),
        slip=0.02,
        batch=64,
    ),
    Phase(
        300,
        (1, 12),
        ((3, _MIXED), (2, _SHORT), (3, _WRITTEN), (1, _CAREFUL)),
        slip=0.02,
        batch=64,
    ),
)

OVERTHINKING = Phase(
    900,
    (1, 12),
    ((0.70, _CHECKED), (0.10, _WRITTEN), (0.13, _SHORT), (0.07, task.Style(short=1, written=1, checked=1))),
    slip=0.02,
    batch=64,
)
"""Demonstrations that mostly check every step, on chains of every length: the start of the study's second edition."""


def chain_pairs(phase: Phase, count: int, rng: random.Random) -> list[Pair]:
    """Return new demonstrations of one phase."""
    pairs = []
    weights, styles = zip(*phase.styles, strict=True)
    for _ in range(count):
        chain = task.draw_chain(rng, rng.randint(*phase.operations))
        style = rng.choices(styles, weights)[0]
        pairs.append((chain.prompt, task.demonstrate(chain, style, phase.slip, rng)))
    return pairs


def batches_of(pairs: Sequence[Pair], size: int, epochs: int, rng: random.Random) -> Iterator[list[Pair]]:
    """Yield batches with every pair once per epoch, in a new order each time."""
    for _ in range(epochs):
        order = rng.sample(range(len(pairs)), len(pairs))
        for begin in range(0, len(order), size):
            yield [pairs[index] for index in order[begin : begin + size]]


def learn(
    policy: Policy,
    batches: Iterator[list[Pair]],
    *,
    steps: int,
    learning_rate: float,
    chat: bool,
    max_tokens: int = 1024,
    report_every: int = 50,
) -> None:
    """Train on the responses (their end token included) with cross-entropy, AdamW and a cosine schedule to a tenth.

    Pairs are cut at `max_tokens`; a pair whose prompt alone has this length is left out.
    """
    model = policy.model.train()
    device = next(model.parameters()).device
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    began = time.perf_counter()
    for step, pairs in zip(range(steps), batches, strict=False):
        warm = min(1.0, (step + 1) / min(50, steps))
        rate = learning_rate * warm * (0.55 + 0.45 * math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        packed = _pack(policy, pairs, chat=chat, max_tokens=max_tokens)
        if packed is None:
            continue
        ids, labels = packed
        with autocast(device):
            logits = model(input_ids=ids.to(device)).logits
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten().to(device), ignore_index=-100
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % report_every == 0 or step == steps - 1:
            print(f"step {step:5d}  loss {loss.item():.4f}  {time.perf_counter() - began:.0f} s", flush=True)


def _pack(
    policy: Policy, pairs: list[Pair], *, chat: bool, max_tokens: int
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return right-padded ids and labels, or None if no pair has a response left.

    Labels are -100 for prompts and padding. Padding on the right needs no attention mask: no earlier position attends
    to it.
    """
    rows = []
    for prompt, response in pairs:
        prompt_ids = policy.encode_prompt(prompt, chat=chat)
        response_ids = [*policy.tokenizer(response, add_special_tokens=False)["input_ids"], policy.end_ids[0]]
        if len(prompt_ids) < max_tokens:
            rows.append((prompt_ids, response_ids[: max_tokens - len(prompt_ids)]))
    if not rows:
        return None
    width = max(len(prompt_ids) + len(response_ids) for prompt_ids, response_ids in rows)
    ids = torch.full((len(rows), width), policy.pad_id)
    labels = torch.full((len(rows), width), -100)
    for row, (prompt_ids, response_ids) in enumerate(rows):
        end = len(prompt_ids) + len(response_ids)
        ids[row, :end] = torch.tensor(prompt_ids + response_ids)
        labels[row, len(prompt_ids) : end] = torch.tensor(response_ids)
    return ids, labels


def make_chain_start(
    out: Path, *, seed: int = 0, width: int = 128, layers: int = 2, scale: float = 1.0, device: str = "cpu"
) -> Policy:
    """Train the start checkpoint of the synthetic task; `scale` multiplies the length of every phase."""
    policy = new_tiny_policy(width=width, layers=layers, seed=seed)
    policy.model.to(device)
    rng = random.Random(f"sft/{seed}")
    for number, phase in enumerate(CHAIN_CURRICULUM):
        steps = max(1, round(phase.steps * scale))
        batches = (chain_pairs(phase, phase.batch, rng) for _ in range(steps))
        rate = 3e-3 if number == 0 else 2e-3
        print(f"phase {number + 1}: {phase.operations[0]} to {phase.operations[1]} operations")
        learn(policy, iter(batches), steps=steps, learning_rate=rate, chat=False)
        with writing(out):
            save_policy(policy, out)
    return policy


def make_overthinking_start(out: Path, *, seed: int = 0, scale: float = 1.0, device: str = "cpu") -> Policy:
    """Fine-tune the shipped start checkpoint on `OVERTHINKING`; `scale` multiplies its steps."""
    policy = load_policy(start_checkpoint(), device=device)
    rng = random.Random(f"sft/overthinking/{seed}")
    steps = max(1, round(OVERTHINKING.steps * scale))
    batches = (chain_pairs(OVERTHINKING, OVERTHINKING.batch, rng) for _ in range(steps))
    learn(policy, iter(batches), steps=steps, learning_rate=1e-3, chat=False)
    with writing(out):
        save_policy(policy, out)
    return policy


def read_pairs(path: Path, *, gsm8k: bool) -> list[Pair]:
    """Return the prompt and response of every row.

    Raises:
        OSError: the file cannot be read.
        ValueError: a row is invalid; the message names file and row.
    """

    def pair(row: dict[str, Any], index: int) -> Pair:
        if gsm8k:
            problem, worked = gsm8k_problem(row, index)
            return problem.prompt, worked
        shape = "a pair is {prompt, response}"
        return text_of(row, "prompt", shape), text_of(row, "response", shape)

    pairs = read_jsonl(path, pair)
    if not pairs:
        raise ValueError(f"{path} holds no row")
    return pairs


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command."""
    parser = Parser(
        "deepcompress train sft", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    kinds = parser.add_subparsers(dest="kind", required=True)
    chain = kinds.add_parser("chain")
    chain.add_argument("out", type=Path)
    chain.add_argument("--width", type=int, default=128)
    chain.add_argument("--layers", type=int, default=2)
    chain.add_argument("--scale", type=float, default=1.0)
    overthinking = kinds.add_parser("overthinking")
    overthinking.add_argument("out", type=Path)
    overthinking.add_argument("--scale", type=float, default=1.0)
    for name in ("jsonl", "gsm8k"):
        pairs = kinds.add_parser(name)
        pairs.add_argument("model", type=Path)
        pairs.add_argument("data", type=Path)
        pairs.add_argument("out", type=Path)
        pairs.add_argument("--epochs", type=int, default=2)
        pairs.add_argument("--batch", type=int, default=32)
        pairs.add_argument("--learning-rate", type=float, default=2e-5)
        pairs.add_argument("--plain", action="store_true", help="a plain prompt instead of the chat template")
        pairs.add_argument("--limit", type=int, default=None, help="most rows to read")
    options = parser.parse_args(arguments)
    try:
        options.out.mkdir(parents=True, exist_ok=True)  # before the work
    except OSError as error:
        parser.error(f"{options.out}: {error.strerror}")
    if options.device == "cpu":
        torch.set_num_threads(1)
    if options.kind == "chain":
        make_chain_start(
            options.out,
            seed=options.seed,
            width=options.width,
            layers=options.layers,
            scale=options.scale,
            device=options.device,
        )
        return
    if options.kind == "overthinking":
        make_overthinking_start(options.out, seed=options.seed, scale=options.scale, device=options.device)
        return
    try:
        rows = read_pairs(options.data, gsm8k=options.kind == "gsm8k")[: options.limit]
        policy = load_policy(options.model, device=options.device)
        if not options.plain:
            policy.check_chat()
    except (ValueError, OSError) as error:
        parser.error(str(error))
    steps = options.epochs * math.ceil(len(rows) / options.batch)
    batches = batches_of(rows, options.batch, options.epochs, random.Random(options.seed))
    learn(policy, batches, steps=steps, learning_rate=options.learning_rate, chat=not options.plain)
    with writing(options.out):
        save_policy(policy, options.out)


if __name__ == "__main__":
    main()
