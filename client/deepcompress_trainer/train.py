"""The trainer. One training step, from prompt to optimiser, is `Trainer.training_step`.

    1  draw problems, and G responses of the policy to each                     (generate)
    2  the service verifies and shapes them; draw more until enough groups have a signal   (collect)
    3  advantages: rewards less their group's mean, scaled                        (grpo.advantages)
    4  clipped token-level update, in minibatches                               (update)

It departs from plain GRPO as DAPO and the authors' scripts do: asymmetric clip (0.2/0.28), the loss is a mean
over the tokens of the whole minibatch, no KL, groups without a signal are dropped and drawn again. Lengths are
counted in tokens, the end token included; a response without one is truncated.

Under `torchrun` every process generates whole groups and then holds the whole batch. Only the main process calls the
service, once per generation batch, so a step changes the level once. Each process computes the gradient of its share
of every minibatch, and the shares are summed.

    deepcompress train tiny --embedded
    torchrun --nproc_per_node 2 -m deepcompress_trainer CONFIG.yaml --service-url http://127.0.0.1:8321
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from pydantic import TypeAdapter

from deepcompress_client import Client
from deepcompress_client.wire import GroupRewards

from . import checkpoint, data
from .config import SHUFFLED, TrainConfig, learning_rate_at, start_checkpoint
from .distributed import all_to_all, from_main
from .evaluate import Evaluation, evaluate
from .generate import GENERATORS, Rollout, seeded
from .grpo import (
    Advantages,
    Group,
    advantages,
    check_length_term,
    clipped_loss,
    correct_pushed_down,
    keep_group,
    kl_to_reference,
    length_shares,
    token_logprobs,
)
from .model import load_policy, on_cpu, without_dropout
from .rewards import Rewards, Sampled
from .rollout_metrics import rollout_metrics
from .run_logger import RunLogger

_GROUP = TypeAdapter(GroupRewards)


@dataclass(slots=True)
class Example:
    """One rollout that is trained on."""

    prompt_ids: list[int]
    rollout: Rollout
    advantage: float
    old_logprobs: list[float]


class Trainer:
    """A run: the policy, its optimiser, the problem sampler, and the run at the service."""

    def __init__(self, config: TrainConfig, client: Client, *, resume: bool) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config = config
        self.client = client
        self.accelerator = Accelerator(cpu=on_cpu(config.device))
        self.main: bool = self.accelerator.is_main_process
        device = self.accelerator.device

        saved = checkpoint.find(config.folder)
        last = saved[-1] if resume and saved else None
        if last:
            checkpoint.check_same(last, config, processes=self.accelerator.num_processes)
            checkpoint.check_files(last)
        start = start_checkpoint() if config.model == "start" else config.model
        self.policy = load_policy(last.folder / "model" if last else start, device=device)
        if config.chat:
            self.policy.check_chat()
        if config.gradient_checkpointing:
            self.policy.model.gradient_checkpointing_enable()
            without_dropout(self.policy.model).train()  # transformers checkpoints in training mode only
        self.optimiser = torch.optim.AdamW(
            self.policy.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.reference = load_policy(start, device=device) if config.kl else None
        training, self.held_out = read_data(config)
        self.problem_sampler = data.ProblemSampler(training, seed=config.seed, cursor=last.cursor if last else 0)
        self.next_step = last.step + 1 if last else 0
        if last:
            checkpoint.read_into(last, self.optimiser, device)
        self.rewards: Rewards | None = None
        if self.main:
            self.rewards = (
                Rewards.resume(client, config, last.name, last.exported) if last else Rewards.open(client, config)
            )
            if config.sampling != SHUFFLED:
                self.rewards.register(training)
        self.run_logger = RunLogger(
            config, next_step=self.next_step, processes=self.accelerator.num_processes, active=self.main
        )

    # --- the loop ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the last step, with evaluations and checkpoints."""
        config = self.config
        try:
            if self.next_step == 0:
                self.evaluate(-1)
            for step in range(self.next_step, config.steps):
                self.run_logger.step(self.training_step(step))
                last = step == config.steps - 1
                if last or (step + 1) % config.eval_every == 0:
                    self.evaluate(step)
                if last or (step + 1) % config.save_every == 0:
                    self.save(step)
            self.run_logger.compare()
        finally:
            self.run_logger.close()
            if self.rewards:
                self.rewards.close()

    def leave(self) -> None:
        """Close the process group. A process that ends while others still communicate may abort them."""
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()

    def training_step(self, step: int) -> dict[str, Any]:
        """Run one step of the algorithm; return its metrics."""
        config, began = self.config, time.perf_counter()
        waited = self.rewards.waited_s if self.rewards else 0.0
        kept_groups, drawn, service = self.collect(step)
        collected = time.perf_counter()
        group_advantages = advantages(
            kept_groups,
            scale_rewards=config.scale_rewards,
            length_term=config.length_term,
            length_weight=config.own_length_weight,
        )
        updated = self.update(step, kept_groups, group_advantages)
        ended = time.perf_counter()
        rollouts = [rollout for group in drawn for rollout in group.rollouts]
        rewards_s = self.rewards.waited_s - waited if self.rewards else 0.0
        return {
            "step": step,
            **service,
            **rollout_metrics(drawn),
            "groups_kept": len(kept_groups),
            **length_shares(kept_groups, group_advantages),
            "correct_pushed_down": correct_pushed_down(kept_groups, group_advantages),
            **updated,
            "time": {
                "step_s": ended - began,
                "generate_s": (generate_s := collected - began - rewards_s),
                "rewards_s": rewards_s,
                "update_s": ended - collected,
                "rewards_share": rewards_s / (ended - began),
                "rollouts_per_s": len(rollouts) / (ended - began),
                "generated_tokens_per_s": sum(rollout.tokens for rollout in rollouts) / generate_s,
                "gpu_memory_gib": torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None,
            },
        }

    # --- 1 and 2: sample, score, filter -------------------------------------------------------------------

    def collect(self, step: int) -> tuple[list[Group], list[Group], dict[str, Any]]:
        """Generate batches until enough groups have a signal (dynamic sampling).

        Returns the groups that are trained on, all groups that were drawn, and the service's values for the step.
        """
        config = self.config
        kept_groups: list[Group] = []
        drawn: list[Group] = []
        service: dict[str, Any] = {}
        batches = 0
        for generation in range(config.max_generation_batches):
            batch, answered = self.generate(step, generation)
            if not batch:
                break  # the service's policy admits no more problems
            drawn, service, batches = drawn + batch, answered, generation + 1
            kept_groups += [
                group
                for group in batch
                if keep_group(
                    group,
                    config.filter_metric,
                    length_term=config.length_term,
                    length_weight=config.own_length_weight,
                )
            ]
            if len(kept_groups) >= config.problems_per_step:
                break
        return kept_groups[: config.problems_per_step], drawn, {**service, "generation_batches": batches}

    def generate(self, step: int, generation: int) -> tuple[list[Group], dict[str, Any]]:
        """Generate one batch of whole groups, sampled by the processes and scored by the service."""
        config, rank, processes = self.config, self.accelerator.process_index, self.accelerator.num_processes
        draws = self.draw(step, generation)
        if not draws:
            return [], {}
        chunk = config.generation_chunk or len(draws)
        sampled: list[Sampled] = []
        for begin in range(0, len(draws), chunk):
            part = draws[begin : begin + chunk]
            prompts = [self.policy.encode_prompt(draw.problem.prompt, chat=config.chat) for draw in part]
            mine = self.sample(prompts[rank::processes], step, generation, begin, rank)
            rollouts = all_to_all(self.accelerator, mine, len(part))
            new = [
                Sampled(draw, prompt, group, [self.policy.decode(rollout.ids) for rollout in group])
                for draw, prompt, group in zip(part, prompts, rollouts, strict=True)
            ]
            sampled += new
            if self.rewards and chunk < len(draws):
                self.rewards.begin(new)  # verified while the next chunk is generated
        answer = from_main(self.accelerator, self.rewards.finish(step, generation, sampled) if self.rewards else None)
        service_rewards = [_GROUP.validate_python(group) for group in answer.pop("groups")]
        groups = [
            Group(s.draw, s.prompt_ids, s.rollouts, g, mask_truncated=config.mask_truncated)
            for s, g in zip(sampled, service_rewards, strict=True)
        ]
        check_length_term(groups, length_term=config.length_term, strategy=str(config.strategy.get("name")))
        return groups, answer

    def draw(self, step: int, generation: int) -> list[data.Draw]:
        """Return the problems of a generation batch; fewer, or none, if the service's policy admits no more.

        Raises:
            ValueError: the policy admits no problem at all.
        """
        count = self.config.problems_per_step
        if self.config.sampling == SHUFFLED:
            return self.problem_sampler.draw(count)
        drawn = {"names": self.rewards.sample(step, generation, count)} if self.rewards else None
        names = from_main(self.accelerator, drawn)["names"]
        if not names and generation == 0:
            raise ValueError(f"step {step}: the policy of `sampling` admits no problem")
        return self.problem_sampler.take(names)

    def sample(self, prompts: list[list[int]], *seed: int) -> list[list[Rollout]]:
        """Return G responses to each prompt. The seed is the position in the run, so a resumed run draws the same."""
        config = self.config
        if not prompts:
            return []
        return GENERATORS[config.generation](
            self.policy,
            prompts,
            copies=config.group_size,
            max_new_tokens=config.max_new_tokens,
            generator=seeded(self.policy.model.device, config.seed, *seed),
            temperature=config.temperature,
            compact_at=config.compact_at,
            slip_rates=config.slip_rates,
        )

    # --- 4: the update ------------------------------------------------------------------------------------

    def update(self, step: int, groups: Sequence[Group], group_advantages: Sequence[Advantages]) -> dict[str, Any]:
        """Do a clipped token-level policy gradient update, one optimiser step per minibatch of whole groups."""
        config, model = self.config, self.policy.model
        rate = learning_rate_at(config, step)
        for parameters in self.optimiser.param_groups:
            parameters["lr"] = rate
        batch = [
            training_examples(group, advantage) for group, advantage in zip(groups, group_advantages, strict=True)
        ]
        minibatches = list(split_groups(batch, config.minibatches))
        shares = [list(self.micro_batches(minibatch)) for minibatch in minibatches]  # this process's, as passes
        if config.old_logprobs == "recompute":
            for micro in (micro for share in shares for micro in share):
                self.recompute_old_logprobs(micro)

        totals: Counter[str] = Counter()  # of this process's share
        norms: list[float] = []
        for minibatch, share in zip(minibatches, shares, strict=True):
            if not any(map(self.has_gradient, minibatch)):
                continue
            # the whole minibatch's, everywhere
            tokens = sum(example.rollout.tokens - len(example.rollout.replaced) for example in minibatch)
            for micro in share:
                loss, counts = self.loss(micro)
                (loss / tokens).backward()
                totals.update(counts)
            self.sum_gradients()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            norms.append(float(norm))
        counted = self.sum_counts(totals)
        trained = counted["tokens"] or math.nan
        means = {
            "entropy": counted["entropy"] / trained,
            "clip_share": counted["clipped"] / trained,
            "ratio_error": counted["log_ratio"] / trained,
            "kl": counted["kl"] / trained if config.kl else math.nan,
            "grad_norm": sum(norms) / (len(norms) or math.nan),
        }
        known = {name: None if math.isnan(value) else value for name, value in means.items()}
        return {**known, "learning_rate": rate, "tokens_trained": int(counted["tokens"])}

    def loss(self, examples: Sequence[Example]) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the summed loss of some rollouts, and the counts for the metrics."""
        config, device = self.config, self.policy.model.device
        prompts = [example.prompt_ids for example in examples]
        responses = [example.rollout.ids for example in examples]
        logprobs, entropy, response_mask = token_logprobs(self.policy, prompts, responses, config.temperature)
        old = torch.zeros(logprobs.shape)
        for row, example in enumerate(examples):
            old[row, : len(example.old_logprobs)] = torch.tensor(example.old_logprobs)
            response_mask[row, list(example.rollout.replaced)] = 0
        old = old.to(device)
        advantage = torch.tensor([[example.advantage] for example in examples], device=device)
        loss, clipped = clipped_loss(
            logprobs * response_mask,
            old,
            advantage,
            response_mask,
            clip_low=config.clip_low,
            clip_high=config.clip_high,
        )
        counts = {
            "tokens": float(response_mask.sum()),
            "clipped": float(clipped),
            "entropy": float((entropy * response_mask).sum()),
            "log_ratio": float(((logprobs.detach() - old).abs() * response_mask).sum()),
        }
        if self.reference:
            with torch.no_grad():
                reference, _, _ = token_logprobs(self.reference, prompts, responses, config.temperature)
            kl = kl_to_reference(logprobs, reference, response_mask)
            loss, counts["kl"] = loss + config.kl * kl, float(kl.detach())
        return loss, counts

    def has_gradient(self, example: Example) -> bool:
        """Return whether a rollout has a gradient. Without one (advantage 0) it only counts in the denominator."""
        return bool(example.advantage or self.config.kl)

    def micro_batches(self, examples: Sequence[Example]) -> Iterator[list[Example]]:
        """Yield this process's share, in forward passes of at most `micro_tokens`."""
        # Dealt out by length, so that every process gets as much work.
        working = sorted(filter(self.has_gradient, examples), key=lambda e: len(e.prompt_ids) + e.rollout.tokens)
        mine = working[self.accelerator.process_index :: self.accelerator.num_processes]
        return split_by_tokens(mine, self.config.micro_tokens)

    def sum_gradients(self) -> None:
        """Add up the gradients of all processes.

        This is done explicitly and after the last micro-batch: shares may differ in size, and the denominator is
        already that of the whole minibatch.
        """
        if self.accelerator.num_processes == 1:
            return
        for parameter in self.policy.model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad = self.accelerator.reduce(parameter.grad, "sum")

    def sum_counts(self, totals: Mapping[str, float]) -> dict[str, float]:
        """Return the counts of `loss` summed over all processes."""
        names = ("tokens", "clipped", "entropy", "log_ratio", "kl")
        mine = [float(totals.get(name, 0.0)) for name in names]
        if self.accelerator.num_processes > 1:
            device = self.accelerator.device
            mine = self.accelerator.reduce(torch.tensor(mine, dtype=torch.float64, device=device), "sum").tolist()
        return dict(zip(names, mine, strict=True))

    @torch.no_grad()
    def recompute_old_logprobs(self, examples: Sequence[Example]) -> None:
        """Set log-probabilities by the training graph, under the policy that sampled.

        The first ratio is then 1: differences between the numerics of generation and training have no effect.
        """
        prompts = [example.prompt_ids for example in examples]
        responses = [example.rollout.ids for example in examples]
        logprobs, _, _ = token_logprobs(self.policy, prompts, responses, self.config.temperature)
        for example, row in zip(examples, logprobs.tolist(), strict=True):
            example.old_logprobs = row[: example.rollout.tokens]

    # --- beside the algorithm -----------------------------------------------------------------------------

    def evaluate(self, step: int) -> Evaluation | None:
        """Evaluate the held-out problems on the main process. `step` is the last one trained, -1 before the first."""
        evaluation = None
        if self.main:
            seed = f"eval/{self.config.seed}/{step}"
            evaluation = evaluate(self.policy, self.held_out, self.client, self.config, seed=seed)
            self.run_logger.evaluation(step, evaluation)
        self.accelerator.wait_for_everyone()
        return evaluation

    def save(self, step: int) -> None:
        """Write a checkpoint and remove old ones."""
        if self.rewards is not None:  # the main process
            folder = self.config.folder
            checkpoint.write(
                folder,
                policy=self.policy,
                optimiser=self.optimiser,
                step=step,
                cursor=self.problem_sampler.cursor,
                config=self.config,
                processes=self.accelerator.num_processes,
                rewards=self.rewards,
            )
            checkpoint.prune(folder, self.config.keep_checkpoints, self.rewards)
        self.accelerator.wait_for_everyone()


def read_data(config: TrainConfig) -> tuple[list[data.Problem], list[data.Problem]]:
    """Return training problems and held-out ones.

    Raises:
        ValueError: there are none, or a file is invalid.
        OSError: a file cannot be read.
    """
    if config.data != "chain":
        return data.read_problems(config.data), read_held_out(config)
    low, high = config.chain_operations
    training = data.chain_problems(
        config.chain_problems, operations=(low, high), seed=config.seed, held_out=config.eval_problems
    )
    return training, read_held_out(config)


def read_held_out(config: TrainConfig) -> list[data.Problem]:
    """Return the held-out problems: those of `eval_data`, or the synthetic task's own.

    Raises:
        ValueError: `eval_data` is not set and the data has no held-out problems of its own.
    """
    source = config.eval_data or ("chain" if config.data == "chain" else None)
    if source is None:
        raise ValueError("eval_data: say where the held-out problems are")
    if source == "chain":
        low, high = config.chain_operations
        return data.held_out_chains(config.eval_problems, operations=(low, high))
    return data.read_problems(source)[: config.eval_problems]


def training_examples(group: Group, advantage: Advantages) -> list[Example]:
    """Return the rollouts of a group that are trained on."""
    return [
        Example(group.prompt_ids, rollout, float(value), rollout.logprobs)
        for rollout, value, is_trained in zip(group.rollouts, advantage.total, group.trained, strict=True)
        if is_trained
    ]


def split_groups(batch: Sequence[list[Example]], parts: int) -> Iterator[list[Example]]:
    """Yield `parts` minibatches of whole groups, as even as possible; fewer if there are fewer groups."""
    parts = min(parts, len(batch))
    for part in range(parts):
        chosen = batch[part * len(batch) // parts : (part + 1) * len(batch) // parts]
        yield [example for group in chosen for example in group]


def split_by_tokens(examples: Sequence[Example], most_tokens: int) -> Iterator[list[Example]]:
    """Yield batches of rollouts of similar length (less padding), each within `most_tokens`, padding counted."""
    micro: list[Example] = []
    prompt = response = 0
    for example in sorted(examples, key=lambda e: len(e.prompt_ids) + e.rollout.tokens):
        wider = max(prompt, len(example.prompt_ids)), max(response, example.rollout.tokens)
        if micro and sum(wider) * (len(micro) + 1) > most_tokens:
            yield micro
            micro, wider = [], (len(example.prompt_ids), example.rollout.tokens)
        micro.append(example)
        prompt, response = wider
    if micro:
        yield micro
