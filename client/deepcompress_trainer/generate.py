"""Sampling of responses, with their log-probabilities as sampled.

There are two implementations of one distribution (temperature only, no top-k, no top-p): a loop over the key-value
cache that drops rows once enough of them have finished, and transformers' own ``generate``. A test compares their
log-probabilities with a training pass's. A response ends with its first end token, which counts in its length and in
the loss; one without an end token is truncated.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel

from .model import Policy, autocast
from .slips import Slips
from .task import SlipRates


@dataclass(frozen=True, slots=True)
class Rollout:
    """One response: its tokens (with the end token, if there is one) and their log-probabilities."""

    ids: list[int]
    logprobs: list[float]
    truncated: bool
    replaced: tuple[int, ...] = ()
    """Positions whose token is not the policy's but a slip of the world (`slips`). Their log-probability is 0."""

    @property
    def tokens(self) -> int:
        """Length in tokens."""
        return len(self.ids)


@torch.inference_mode()
def sample(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    *,
    copies: int,
    max_new_tokens: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    greedy: bool = False,
    compact_at: float = 0.2,
    slip_rates: SlipRates | None = None,
) -> list[list[Rollout]]:
    """Return `copies` responses to every prompt.

    A prompt is processed once and its cache is repeated for its copies. Models whose cache cannot be repeated are
    sampled by transformers' own loop. With `slip_rates` some values are replaced after they were drawn.
    """
    if not has_plain_cache(policy.model):
        _warn_no_loop(type(policy.model).__name__)
        return sample_with_transformers(
            policy,
            prompts,
            copies=copies,
            max_new_tokens=max_new_tokens,
            generator=generator,
            temperature=temperature,
            greedy=greedy,
            slip_rates=slip_rates,
        )
    model, device = policy.model, policy.model.device
    was_training = model.training
    model.eval()
    ids, mask = left_pad(prompts, policy.pad_id)
    width = ids.shape[1]
    mask = torch.cat([mask, torch.ones(len(prompts), max_new_tokens, dtype=mask.dtype)], 1).to(device)
    cache, cache_word = DynamicCache(config=model.config), cache_word_of(model)
    with autocast(device):
        logits = model(
            input_ids=ids.to(device),
            attention_mask=mask[:, :width],
            position_ids=positions(mask[:, :width]),
            **{cache_word: cache},
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
    cache.batch_repeat_interleave(copies)
    logits, mask = logits.repeat_interleave(copies, 0), mask.repeat_interleave(copies, 0)

    rows = len(prompts) * copies
    tokens = torch.full((rows, max_new_tokens), policy.pad_id, device=device)
    logprobs = torch.zeros((rows, max_new_tokens), device=device)
    lengths = torch.full((rows,), max_new_tokens, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    replaced = torch.zeros((rows, max_new_tokens), dtype=torch.bool, device=device)
    slips = Slips(slip_rates, policy, rows) if slip_rates else None
    ends = torch.tensor(policy.end_ids, device=device)
    live = torch.arange(rows, device=device)  # the response of each row of the cache
    next_position = mask[:, :width].sum(1)  # the position of the next token in each row
    for step in range(max_new_tokens):
        row_logprobs = torch.log_softmax(logits.float() / temperature, -1)
        token = row_logprobs.argmax(-1) if greedy else _draw(row_logprobs, generator)
        logprobs[live, step] = row_logprobs.gather(1, token[:, None])[:, 0]
        if slips:
            drawn, token = token, slips.replace(live, token, generator)
            replaced[live, step] = token != drawn
        tokens[live, step] = token
        # A row that has ended stays until it is dropped; `lengths` cuts off the tokens that it draws after its end.
        now = torch.isin(token, ends) & ~ended[live]
        lengths[live[now]] = step + 1
        ended[live[now]] = True
        going = ~ended[live]
        left = int(going.sum())
        if left == 0 or step == max_new_tokens - 1:
            break
        if 0 < compact_at <= 1 - left / len(live):
            unfinished = going.nonzero()[:, 0]
            cache.batch_select_indices(unfinished)
            live, token = live[unfinished], token[unfinished]
            next_position, mask = next_position[unfinished], mask[unfinished]
        with autocast(device):
            logits = model(
                input_ids=token[:, None],
                attention_mask=mask[:, : width + step + 1],
                position_ids=next_position[:, None],
                **{cache_word: cache},
                use_cache=True,
            ).logits[:, -1]
        next_position = next_position + 1
    model.train(was_training)
    return _collect(tokens, logprobs.masked_fill(replaced, 0.0), lengths, ended, copies, replaced)


@torch.no_grad()
def sample_with_transformers(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    *,
    copies: int,
    max_new_tokens: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    greedy: bool = False,
    compact_at: float = 0.0,
    slip_rates: SlipRates | None = None,
) -> list[list[Rollout]]:
    """Do the same as `sample` through ``model.generate`` (`compact_at` has no effect).

    Log-probabilities are computed by a pass afterwards: the logits of every step would be too large to hold.

    Raises:
        ValueError: `slip_rates` is set; only the loop of this module replaces tokens.
    """
    from .grpo import token_logprobs

    if slip_rates:
        raise ValueError("slips need generation: loop, and a model whose cache is keys and values")

    del compact_at

    model, device = policy.model, policy.model.device
    was_training = model.training
    model.eval()
    ids, mask = left_pad(prompts, policy.pad_id)
    settings = GenerationConfig(
        do_sample=not greedy,
        num_return_sequences=copies,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(policy.end_ids),
        pad_token_id=policy.pad_id,
        # transformers' own defaults would cut the distribution (top_k is 50)
        **({} if greedy else {"temperature": temperature, "top_k": 0, "top_p": 1.0}),
    )
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), autocast(device):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator, device=generator.device)))
        written = model.generate(ids.to(device), attention_mask=mask.to(device), generation_config=settings)
    tokens = written[:, ids.shape[1] :].cpu()
    is_end = torch.isin(tokens, torch.tensor(policy.end_ids))
    ended = is_end.any(1)
    lengths = torch.where(ended, is_end.int().argmax(1) + 1, tokens.shape[1])
    responses = [row[:length].tolist() for row, length in zip(tokens, lengths, strict=True)]
    repeated = [prompt for prompt in prompts for _ in range(copies)]
    logprobs = torch.zeros(tokens.shape)
    for begin in range(0, len(responses), 128):
        part = slice(begin, begin + 128)
        response_logprobs, _, response_mask = token_logprobs(policy, repeated[part], responses[part], temperature)
        logprobs[part, : response_logprobs.shape[1]] = (response_logprobs * response_mask).float().cpu()
    model.train(was_training)
    return _collect(tokens, logprobs, lengths, ended, copies)


def has_plain_cache(model: PreTrainedModel) -> bool:
    """Return whether the model's cache is keys and values alone, whose rows `sample` repeats and drops.

    State-space and hybrid models also have a state, which transformers' cache does not repeat.
    """
    if getattr(model, "_is_stateful", False):
        return False
    layers = DynamicCache(config=model.config).layers
    return not any("LinearAttention" in kind.__name__ for layer in layers for kind in type(layer).__mro__)


@functools.cache
def _warn_no_loop(model: str) -> None:
    print(
        f"generation: {model} keeps a state beside keys and values; transformers' own loop samples it",
        file=sys.stderr,
    )


GENERATORS = {"loop": sample, "transformers": sample_with_transformers}


def seeded(device: torch.device, *parts: object) -> torch.Generator:
    """Return a random generator that is a function of `parts`, the same in every process and after every resume."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))


def cache_word_of(model: PreTrainedModel) -> str:
    """Return the model's name for its key-value cache: transformers renamed `past_key_values` during version 5."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def left_pad(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and attention mask, [prompts, longest prompt], padded on the left."""
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad_id)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids, mask


def positions(mask: torch.Tensor) -> torch.Tensor:
    """Return position ids under left padding: the first token of the prompt is 0."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def _draw(logprobs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.multinomial(logprobs.exp(), 1, generator=generator)[:, 0]


def _collect(
    tokens: torch.Tensor,
    logprobs: torch.Tensor,
    lengths: torch.Tensor,
    ended: torch.Tensor,
    copies: int,
    replaced: torch.Tensor | None = None,
) -> list[list[Rollout]]:
    marks = (torch.zeros_like(tokens) if replaced is None else replaced).tolist()
    rollouts = [
        Rollout(ids[:length], values[:length], not done, tuple(i for i, mark in enumerate(row[:length]) if mark))
        for ids, values, length, done, row in zip(
            tokens.tolist(), logprobs.tolist(), lengths.tolist(), ended.tolist(), marks, strict=True
        )
    ]
    return [rollouts[begin : begin + copies] for begin in range(0, len(rollouts), copies)]
