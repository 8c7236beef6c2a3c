"""Verify, shape and score, in stages that are defined in the order in which they run. Free of HTTP.

    validate  request                                    limits and identity
    resolve   request -> plan and epoch of the run       one read of the store, or none if the caller sends the epoch
    check     request, plan -> Batch                     the inputs that the run's strategies need
    verify    Batch -> Batch with verdicts               bounded workers
    commit    Batch, plan -> CommitOutcome               one atomic store call: new, replayed or stale
    shape     Batch, CommitOutcome, plan -> Rewards      pure
    answer    -> typed answer
    record    metrics and activity                       after the answer is sent

Rewards are computed from the state that the commit returned, never from the state before it. They are a function of
the record and of the request: a repeated request gets the same bits (docs/design.md, 3).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from deepcompress_client.wire import (
    GROUP_FIELDS,
    ROLLOUT_FIELDS,
    GroupRewards,
    ObserveAnswer,
    ObserveRequest,
    RewardComponents,
    RolloutRequest,
    RowFields,
    RunConfig,
    ScoreAnswer,
    ScoredGroup,
    ScoreGroup,
    ScoreRequest,
    ScoreRollout,
    ShapeAnswer,
    ShapeGroup,
    ShapeRequest,
    Signal,
    VerifyAnswer,
    VerifyItem,
    VerifyRequest,
)
from deepcompress_client.wire import Verdict as VerdictAnswer
from deepcompress_verify import Check, Verdict

from ..difficulty.errors import UNUSABLE, DifficultyError, UnknownRun
from ..difficulty.model import Commit, CommitOutcome, GroupOutcome, Observation, ProblemState, RunState
from ..difficulty.store import DifficultyStore
from ..observability import metrics, tracing
from ..remote import RemoteCheckers
from ..settings import Settings
from ..shaping import Group, ProblemHistory, Reward, ShapedGroup
from ..shaping.lengths import LengthRecord, bin_of
from .errors import InvalidRequestError, TooLargeError
from .observing import observations_of, observe_answer
from .plan import RunPlan, checker_name, make_new_plan, plan_from_text, validate_checker
from .records import group_commit, pack_whitening, score_digest, shape_digest, unpack_verdicts, unpack_whitening
from .remote_checks import Recorded, RowCheck, check_all, nothing_recorded
from .training_warnings import FirstRollouts, stale_warning, untrainable_warnings
from .unchecked import NOT_TRAINABLE, checked_parts, unchecked_warning, whole_group, whole_shadows

log = logging.getLogger("deepcompress.scoring")

MAX_CACHED_PLANS = 4096

T = TypeVar("T")
Answer = TypeVar("Answer", ShapeAnswer, ScoreAnswer)
AddTask = Callable[..., None]
"""Schedules a coroutine function, given with its arguments, for after the answer was sent (FastAPI's `add_task`)."""
BatchRequest = ShapeRequest | ScoreRequest


class Verifier(Protocol):
    """Checks answers: the verifier pool, or a stand-in of a test."""

    async def verify_many(
        self, checks: Sequence[Check], *, budget_s: float | None = None, tenant: str = ""
    ) -> list[Verdict]:
        """Return one verdict for each check, in order."""


class Recorder(Protocol):
    """Keeps a bounded sample of batches and verdicts for the dashboard and the per-run metrics."""

    def record_verify(self, request: VerifyRequest, verdicts: Sequence[Verdict]) -> None:
        """Record the verdicts of a verify request."""

    def record_batch(
        self,
        outcome: CommitOutcome,
        groups: Sequence[Group],
        shaped: Sequence[ShapedGroup],
        warnings: Sequence[tuple[str, str]],
        statuses: Sequence[Sequence[str | None]],
    ) -> None:
        """Record the rewards of a training request. `statuses` is [groups, rollouts]."""

    def record_scored(
        self,
        request: ScoreRequest,
        step: int | None,
        shaped: Sequence[ShapedGroup],
        verdicts: Sequence[Sequence[Verdict]],
    ) -> None:
        """Record the verdicts of a score request, with the reward of each rollout."""


@dataclass(slots=True)
class BatchGroup:
    """One group of a request and the results of the stages. Sequences have one entry for each rollout."""

    sent: ShapeGroup | ScoreGroup
    correct: tuple[bool, ...] = ()
    statuses: tuple[str | None, ...] = ()
    verdicts: Sequence[Verdict] | None = None
    """None if the caller sent verdicts (shape)."""
    digest: bytes = b""

    def set_verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """Set the group's verdicts."""
        self.verdicts = verdicts
        self.correct = tuple(verdict.correct for verdict in verdicts)
        self.statuses = tuple(verdict.status for verdict in verdicts)


@dataclass(frozen=True, slots=True)
class CachedPlan:
    """A run's plan, as this process last read it."""

    epoch: int
    final: bool
    """True after the run's first training request: its configuration then never changes within the epoch."""
    plan: RunPlan


@dataclass(slots=True)
class Batch:
    """One shape or score request, with the results of the stages."""

    request: BatchRequest
    plan: RunPlan
    epoch: int | None
    """The run's epoch on arrival; None for a run that does not exist yet, and in evaluation."""
    groups: list[BatchGroup]
    warnings: list[tuple[str, str]]
    """(slug, text) of each warning of the stages before the rewards."""


@dataclass(slots=True)
class Rewards:
    """The result of the stage shape. One entry for each group, in the order sent."""

    groups: list[Group]
    shaped: list[ShapedGroup]
    shadows: list[dict[str, ShapedGroup]] | None
    warnings: list[tuple[str, str]]
    """Known problems that the groups show, as (slug, text)."""
    signal: Signal | None = None


class Pipeline:
    """Verify, shape and score over one store and one verifier."""

    def __init__(
        self,
        settings: Settings,
        store: DifficultyStore,
        verifier: Verifier,
        recorder: Recorder,
        remote: RemoteCheckers | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.verifier = verifier
        self.recorder = recorder
        self._span = tracing.span if settings.tracing else lambda *_, **__: nullcontext()
        self.remote = remote
        self.remote_names: frozenset[str] = frozenset() if remote is None else remote.names
        """Names of the remote checkers."""
        self.default_plan = make_new_plan(
            RunConfig.model_validate_json(settings.default_run), settings.problem_weight, self.remote_names
        )
        self._plans: OrderedDict[str, CachedPlan] = OrderedDict()
        self._first_rollouts = FirstRollouts()

    # --- the three requests ------------------------------------------------------------------------------

    async def score(self, request: ScoreRequest, add_task: AddTask) -> ScoreAnswer:
        """Verify the groups' responses, then shape."""
        batch = await self.prepare(request)
        await self.verify(batch, add_task)
        return await self._rewards(batch, ScoreAnswer, add_task)

    async def shape(self, request: ShapeRequest, add_task: AddTask) -> ShapeAnswer:
        """Return rewards for verdicts that the caller has."""
        return await self._rewards(await self.prepare(request), ShapeAnswer, add_task)

    async def prepare(self, request: BatchRequest) -> Batch:
        """Run the stages that change nothing. They make every check of a request that needs no commit.

        Raises:
            RequestError: The request, or the run's configuration, is refused.
            DifficultyError: The store could not be used.
        """
        self.validate(request)
        plan, epoch = await self.resolve(request)
        return self.check(request, plan, epoch)

    async def _rewards(self, batch: Batch, kind: type[Answer], add_task: AddTask) -> Answer:
        """Run the stages after the verdicts are known; return an answer of type `kind`."""
        outcome = None if batch.request.phase == "eval" else await self.commit(batch)
        began = time.perf_counter()
        rewards = shape(batch, outcome)
        await asyncio.sleep(0)  # other requests take their turn between the parts of a large one
        answer = self.answer(batch, outcome, rewards, kind)
        await asyncio.sleep(0)
        metrics.SHAPE_SECONDS.observe(time.perf_counter() - began)
        add_task(self.record, batch, outcome, rewards)
        return answer

    # --- stage: validate ---------------------------------------------------------------------------------

    def validate(self, request: BatchRequest) -> None:
        """Check the limits and the identity of a request.

        Raises:
            TooLargeError: More groups, rollouts or gold text than the settings allow.
            InvalidRequestError: A field is missing, or two groups have one name.
        """
        settings = self.settings
        groups: Sequence[ShapeGroup | ScoreGroup] = request.groups
        limit("the number of groups", len(groups), settings.max_groups)
        limit("the number of rollouts", sum(len(group.rollouts) for group in groups), settings.max_items)
        training = request.phase == "train"
        if training and request.run is None:
            raise InvalidRequestError("run", "a training request must name its run")
        if training and request.step is None and request.request_id is None:
            raise InvalidRequestError(
                "request_id",
                "send the trainer's step; a run without steps needs a request_id instead, by which repeats are known",
                "request-id-required",
            )
        if request.version is not None and (request.incarnation is None or request.epoch is None):
            raise InvalidRequestError("version", "a version belongs to an incarnation and an epoch: send both")
        names: set[str] = set()
        for index, group in enumerate(groups):
            if group.group_size is not None and group.group_size != len(group.rollouts):
                raise InvalidRequestError(
                    f"groups.{index}.group_size",
                    f"is {group.group_size}, but {len(group.rollouts)} rollouts were sent: "
                    "gather the group's rollouts from all ranks first",
                    "group-size-mismatch",
                )
            name = group.group_id or group.problem_id
            if name is None:
                if not training:
                    continue
                raise InvalidRequestError(f"groups.{index}.problem_id", "a training group needs a problem_id")
            if name in names:
                raise InvalidRequestError(
                    f"groups.{index}.group_id",
                    "two groups of one request have this group_id: send a group_id of its own with each group",
                    "duplicate-group",
                )
            names.add(name)
        if isinstance(request, ScoreRequest):
            if request.checker is not None:
                validate_checker("checker", request.checker, remote=self.remote_names)
            for index, row in enumerate(request.groups):
                self.check_row(f"groups.{index}.", row)

    def check_row(self, field: str, row: VerifyItem | ScoreGroup | RolloutRequest) -> None:
        """Check a row's gold, options, question and checker; `field` is the row's place, with a dot at its end.

        Raises:
            TooLargeError: More characters than the settings allow.
            InvalidRequestError: The checker or a parameter is unknown.
        """
        self.check_gold(f"{field}gold", row.gold)
        if row.options is not None:
            limit(f"{field}options", sum(map(len, row.options)), self.settings.max_gold_chars)
        if row.question is not None:
            limit(f"{field}question", len(row.question), self.settings.max_gold_chars)
        if row.checker is not None:
            validate_checker(f"{field}checker", row.checker, remote=self.remote_names)

    def check_gold(self, field: str, gold: str | list[str]) -> None:
        """Check a gold answer's length in characters, alternatives together.

        Raises:
            TooLargeError: The gold is over the limit.
        """
        limit(field, sum(map(len, gold_alternatives(gold))), self.settings.max_gold_chars)

    # --- stage: resolve ----------------------------------------------------------------------------------

    async def resolve(self, request: BatchRequest) -> tuple[RunPlan, int | None]:
        """Return the run's plan and its epoch on arrival; the server's default plan and None for an unknown run.

        Needs no read of the store if the caller sends the epoch and this process has cached the run's plan in it.
        """
        if request.run is None:
            return self.default_plan, None
        if request.phase == "eval":
            return await self.readable_plan(request.run), None
        cached = self._plans.get(request.run)
        if cached is not None and cached.final and cached.epoch == request.epoch:
            return cached.plan, cached.epoch
        try:
            state = await self._timed("get_run", self.store.get_run(request.run))
        except UnknownRun:
            return self.default_plan, None
        return self._cache_plan(state), state.epoch

    async def readable_plan(self, run: str) -> RunPlan:
        """Return the run's plan; if the store cannot be used, the cached one, else the server's default."""
        try:
            state = await self._timed("get_run", self.store.get_run(run))
        except UnknownRun:
            return self.default_plan
        except UNUSABLE:
            cached = self._plans.get(run)
            return self.default_plan if cached is None else cached.plan
        return self._cache_plan(state)

    def _cache_plan(self, state: RunState) -> RunPlan:
        plan = plan_from_text(state.config_text, self.settings.problem_weight, self.remote_names)
        # A run that was never trained may be given another configuration without a new epoch.
        self._remember(state.run, CachedPlan(state.epoch, state.kind is not None, plan))
        return plan

    def _remember(self, run: str, cached: CachedPlan) -> None:
        self._plans[run] = cached
        self._plans.move_to_end(run)
        while len(self._plans) > MAX_CACHED_PLANS:
            self._plans.popitem(last=False)

    # --- stage: check ------------------------------------------------------------------------------------

    def check(self, request: BatchRequest, plan: RunPlan, epoch: int | None) -> Batch:
        """Return the batch, after checking that the request has the inputs that the run's strategies need.

        Raises:
            InvalidRequestError: An input is missing.
        """
        groups: Sequence[ShapeGroup | ScoreGroup] = request.groups
        batch = Batch(request, plan, epoch, [BatchGroup(group) for group in groups], warnings=[])
        for group in batch.groups:
            if isinstance(group.sent, ShapeGroup):
                group.correct = tuple(
                    rollout.correct and rollout.status != "unchecked" for rollout in group.sent.rollouts
                )
                group.statuses = tuple(rollout.status for rollout in group.sent.rollouts)
        if request.phase == "eval":
            return batch
        name, needs = plan.config.strategy.name, plan.reward.needs
        if "step" in needs and request.step is None:
            raise InvalidRequestError("step", f"the strategy {name} needs the trainer's step", "missing-step")
        if "tokens" in needs:
            for index, sent in enumerate(groups):
                for rollout_index, rollout in enumerate(sent.rollouts):
                    if rollout.tokens is None:
                        raise InvalidRequestError(
                            f"groups.{index}.rollouts.{rollout_index}.tokens",
                            f"the strategy {name} needs the length in tokens of every rollout; "
                            "it is never guessed from characters",
                            "missing-tokens",
                        )
        check_scores(groups, plan)
        for field, detail in plan.reward.required_inputs:
            for index, sent in enumerate(groups):
                values = [getattr(one, field) for one in (sent.rollouts if field in ROLLOUT_FIELDS else [sent])]
                if None in values:
                    raise InvalidRequestError(f"groups.{index}.{field}", detail, "missing-input")
        return batch

    # --- stage: verify -----------------------------------------------------------------------------------

    async def verify(self, batch: Batch, add_task: AddTask) -> None:
        """Verify every response of the batch, and set the groups' verdicts and digests."""
        request = batch.request
        assert isinstance(request, ScoreRequest)
        config = batch.plan.config
        remote = self.remote_names
        checks = [
            check for group in request.groups for check in make_checks(group, group.rollouts, request, config, remote)
        ]
        # Hashing releases the interpreter lock, so it runs beside the workers.
        hashing = asyncio.create_task(asyncio.to_thread(list, map(score_digest, request.groups)))

        async def recorded() -> dict[int, Verdict]:
            return await self._recorded_verdicts(request, await hashing)

        verdicts = await self.verdicts(checks, request.run, add_task, recorded)
        digests = await hashing
        await asyncio.sleep(0)
        start = 0
        for group, digest in zip(batch.groups, digests, strict=True):
            end = start + len(group.sent.rollouts)
            group.set_verdicts(verdicts[start:end])
            group.digest = digest
            start = end

    async def verdicts(
        self, checks: Sequence[Check], run: str | None, add_task: AddTask, recorded: Recorded = nothing_recorded
    ) -> list[Verdict]:
        """Return one verdict for each check, in order. Runs take turns in the verifier.

        `recorded` returns the stored verdicts of repeated groups: they take the place of remote checks.
        """
        began = time.perf_counter()
        tenant = run or ""
        by_rules = partial(self.verifier.verify_many, budget_s=self.settings.batch_cpu_seconds, tenant=tenant)
        with self._span("verify", rollouts=len(checks)):
            if self.remote is None or not self.remote_names:
                verdicts = await by_rules(checks)
            else:
                longest = self.settings.max_text_chars
                verdicts = await check_all(checks, by_rules, self.remote, tenant, longest, recorded)
        metrics.VERIFY_SECONDS.observe(time.perf_counter() - began)
        add_task(self.count_verdicts, verdicts)
        return verdicts

    async def _recorded_verdicts(self, request: ScoreRequest, digests: Sequence[bytes]) -> dict[int, Verdict]:
        """Return the stored verdicts of the request's repeated groups, by the index of the rollout in the request.

        A request for the step at which its groups were observed gets none: the step is found by the commit.
        """
        if request.phase == "eval" or request.run is None or request.step == "observed":
            return {}
        names = [group.group_id or group.problem_id or "" for group in request.groups]
        wanted = dict(zip(names, digests, strict=True))
        call = self.store.recorded(request.run, wanted, step=request.step, request_id=request.request_id)
        payloads = await self._timed("recorded", call)
        verdicts: dict[int, Verdict] = {}
        start = 0
        for name, group in zip(names, request.groups, strict=True):
            if name in payloads:
                verdicts |= enumerate(unpack_verdicts(payloads[name]), start)
            start += len(group.rollouts)
        return verdicts

    # --- stage: commit -----------------------------------------------------------------------------------

    async def commit(self, batch: Batch) -> CommitOutcome:
        """Count the groups in the run's state, once, in one atomic call to the store.

        A group that was counted before is answered with its record: its verdicts replace the batch's. The plan of a
        run that another request created in between replaces the batch's too.

        Raises:
            DifficultyError: The store refused the commit, or could not be used; nothing was changed.
        """
        request = batch.request
        assert request.run is not None
        for group in batch.groups:
            if isinstance(group.sent, ShapeGroup):
                group.digest = shape_digest(group.sent)
        step_whitening = await self._step_whitening(batch) if batch.plan.reward.whitens else None
        digest = hashlib.blake2b(digest_size=16)
        commits = []
        for group in batch.groups:
            commit = group_commit(group.sent, group.digest, group.verdicts, group.correct, group.statuses)
            if step_whitening is not None:
                commit = replace(commit, payload=pack_whitening(group.verdicts, step_whitening))
            digest.update(commit.group_id.encode() + b"\0" + commit.digest)
            commits.append(commit)
        outcome = await self._timed(
            "commit",
            self.store.commit(
                Commit(
                    run=request.run,
                    groups=tuple(commits),
                    step=request.step,
                    epoch=request.epoch,
                    expected_epoch=batch.epoch,
                    incarnation=request.incarnation,
                    version=request.version,
                    generation=request.generation,
                    request_id=request.request_id,
                    request_digest=digest.digest(),
                    config=batch.plan.difficulty,
                    config_text=batch.plan.text,
                )
            ),
        )
        if outcome.created:
            log.warning("run %s: %s", outcome.run, run_created(outcome.step))
        if outcome.config_text and outcome.config_text != batch.plan.text:
            batch.plan = plan_from_text(outcome.config_text, self.settings.problem_weight, self.remote_names)
        self._remember(request.run, CachedPlan(outcome.epoch, True, batch.plan))
        changed, stale = 0, sum(record.stale and not record.replayed for record in outcome.groups)
        batch.warnings += stale_warning(stale, len(batch.groups), outcome.step)
        for group, record in zip(batch.groups, outcome.groups, strict=True):
            if record.replayed and group.verdicts is not None:
                fresh, recorded = group.verdicts, unpack_verdicts(record.payload)
                changed += sum(map(_contradict, fresh, recorded))
                group.set_verdicts(recorded)
        if changed:
            batch.warnings.append(replayed_verdicts_differ(changed))
        batch.warnings += untrainable_warnings([group.statuses for group in batch.groups])
        rows = zip(batch.groups, outcome.groups, strict=True)
        new = [group.correct for group, record in rows if not record.replayed]
        batch.warnings += self._first_rollouts.warning(outcome.run, outcome.epoch, new)
        return outcome

    async def _step_whitening(self, batch: Batch) -> tuple[float, float]:
        """Return the mean and std over tokens of the advantages of the step, which is the request.

        Those of a repeat are not used: the recorded ones hold.

        Raises:
            InvalidRequestError: The request has no step, or adds groups to a step that has some.
        """
        request = batch.request
        step, run = request.step, request.run
        if not isinstance(step, int) or run is None:
            raise InvalidRequestError("step", "advantage.whiten: batch needs the trainer's step", "missing-step")
        named = {one.sent.group_id or one.sent.problem_id or "": one.digest for one in batch.groups}
        try:
            rows = await self._timed("history", self.store.history(run, since=step))
        except UnknownRun:
            rows = []
        if any(row.step == step and row.groups > row.observed_groups for row in rows):
            recorded = await self._timed("recorded", self.store.recorded(run, named, step=step))
            if len(recorded) < len(named):
                raise InvalidRequestError(
                    "groups",
                    "advantage.whiten: batch needs the whole step in one request, and this step has groups of an "
                    "earlier one",
                    "whole-step-needed",
                )
        groups = [shaping_input(one, None, step, batch.plan.reward) for one in batch.groups]
        return batch.plan.reward.step_whitening(checked_parts(groups, [one.statuses for one in batch.groups]))

    # --- stage: answer -----------------------------------------------------------------------------------

    def answer(self, batch: Batch, outcome: CommitOutcome | None, rewards: Rewards, kind: type[Answer]) -> Answer:
        """Return the answer of a training request, or of an evaluation (`outcome` None): no level and no state."""
        request = batch.request
        warnings = [] if outcome is None else answered_warnings(outcome, rewards.warnings)
        rows: list[Any] = []  # ScoredGroup where the service verified, else GroupRewards
        for index, (group, shaping_group, shaped) in enumerate(
            zip(batch.groups, rewards.groups, rewards.shaped, strict=True)
        ):
            record = None if outcome is None else outcome.groups[index]
            row = group_answer(index, group, shaping_group, shaped, record)
            if rewards.shadows is not None:
                row.shadow = {label: shadow_answer(one) for label, one in rewards.shadows[index].items()}
            rows.append(row)
        if outcome is None:
            return kind(
                run=request.run,
                epoch=None,
                step=request.step if isinstance(request.step, int) else None,
                phase="eval",
                level=None,
                batch_pass_ratio=mean_pass_ratio(batch, rewards),
                warnings=warnings,
                groups=rows,
            )
        return kind(
            run=outcome.run,
            epoch=outcome.epoch,
            step=outcome.step,
            phase="train",
            level=outcome.level,
            batch_pass_ratio=outcome.batch_pass_ratio,
            warnings=warnings,
            signal=rewards.signal,
            incarnation=outcome.incarnation or None,
            version=outcome.version,
            groups=rows,
        )

    # --- stage: record -----------------------------------------------------------------------------------

    async def record(self, batch: Batch, outcome: CommitOutcome | None, rewards: Rewards) -> None:
        """Count the groups in the metrics, and give the recorder its sample."""
        request = batch.request
        if outcome is None:
            metrics.count_groups("eval", ["new"] * len(batch.groups))
        else:
            metrics.count_groups("train", [_kind(record) for record in outcome.groups])
            for slug, _ in rewards.warnings:
                metrics.WARNINGS.labels(slug).inc()
            statuses = [group.statuses for group in batch.groups]
            self.recorder.record_batch(outcome, rewards.groups, rewards.shaped, rewards.warnings, statuses)
        if isinstance(request, ScoreRequest):
            verdicts = [group.verdicts or () for group in batch.groups]
            self.recorder.record_scored(request, outcome.step if outcome else None, rewards.shaped, verdicts)

    async def count_verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """Count the verdicts in the metrics."""
        metrics.count_verdicts(verdicts)

    async def record_verify(self, request: VerifyRequest, verdicts: Sequence[Verdict]) -> None:
        """Give the recorder its sample of a verify request."""
        self.recorder.record_verify(request, verdicts)

    # --- verify alone ------------------------------------------------------------------------------------

    async def verify_items(self, request: VerifyRequest, add_task: AddTask) -> VerifyAnswer:
        """Check each item. Record the observation of those that carry identity.

        Raises:
            TooLargeError: More items or gold text than the settings allow.
            InvalidRequestError: An item with a rollout_id lacks its run, step or problem_id, or a checker is unknown.
        """
        limit("the number of items", len(request.items), self.settings.max_items)
        if request.checker is not None:
            validate_checker("checker", request.checker, remote=self.remote_names)
        for index, item in enumerate(request.items):
            self.check_row(f"items.{index}.", item)
            check_identity(index, item)
        configs = await self._configs(request)
        remote = self.remote_names
        checks = [
            check for item in request.items for check in make_checks(item, [item], request, configs[item.run], remote)
        ]
        first_run = next((item.run for item in request.items if item.run), None)
        verdicts = await self.verdicts(checks, first_run, add_task)
        recorded = await self._observe(request.items, verdicts)
        await asyncio.sleep(0)
        rows = []
        for index, (item, verdict) in enumerate(zip(request.items, verdicts, strict=True)):
            row = verdict_answer(item.id if item.id is not None else str(index), verdict)
            if item.rollout_id is not None:
                row.recorded = recorded.get(index, False)
            rows.append(row)
        add_task(self.record_verify, request, verdicts)
        return VerifyAnswer(verdicts=rows)

    async def _configs(self, request: VerifyRequest) -> dict[str | None, RunConfig]:
        """Return the configuration of each run that an item names; runs are read only if a check depends on them."""
        default = self.default_plan.config
        configs: dict[str | None, RunConfig] = dict.fromkeys((item.run for item in request.items), default)
        remote = self.remote_names
        for run in {item.run for item in request.items if item.run and reads_config(item, request, remote)}:
            configs[run] = (await self.readable_plan(run)).config
        return configs

    async def observe(self, request: ObserveRequest) -> ObserveAnswer:
        """Record verdicts that the caller made as observations.

        Raises:
            TooLargeError, InvalidRequestError: The request is too large, or has one name twice.
            DifficultyError: The store cannot be used; nothing was recorded, or the answer was lost.
        """
        limit("the number of groups", len(request.groups), self.settings.max_groups)
        limit("the number of rollouts", sum(len(group.rollouts) for group in request.groups), self.settings.max_items)
        observations = observations_of(request)
        recorded = await self._timed("observe", self.store.observe(observations)) if observations else []
        return observe_answer(request, recorded)

    async def _observe(self, items: Sequence[VerifyItem], verdicts: Sequence[Verdict]) -> dict[int, bool]:
        """Send the training items that have a rollout_id to the store; return by index if each was recorded."""
        indices, observations = [], []
        for index, (item, verdict) in enumerate(zip(items, verdicts, strict=True)):
            if item.rollout_id is None or item.phase == "eval" or verdict.status == "unchecked":
                continue
            assert item.run and item.problem_id and item.step is not None
            indices.append(index)
            observations.append(
                Observation(
                    run=item.run,
                    step=item.step,
                    problem_id=item.problem_id,
                    group_id=item.group_id or item.problem_id,
                    rollout_id=item.rollout_id,
                    correct=verdict.correct,
                    counts=verdict.status != "gold_unreadable",
                    tokens=item.tokens,
                    truncated=item.truncated,
                    epoch=item.epoch,
                    generation=item.generation,
                    length_bin=None if item.tokens is None else bin_of(item.tokens),
                )
            )
        if not observations:
            return {}
        try:
            recorded = await self._timed("observe", self.store.observe(observations))
        except UNUSABLE:
            # The verdicts are answered without their observations, and the loss is counted.
            metrics.OBSERVATIONS_LOST.inc(len(indices))
            return {}
        return dict(zip(indices, recorded, strict=True))

    async def _timed(self, operation: str, call: Awaitable[T]) -> T:
        """Await a call to the store; record its span, its duration and its error."""
        began = time.perf_counter()
        try:
            with self._span("store", operation=operation):
                return await call
        except DifficultyError as error:
            metrics.STORE_ERRORS.labels(operation, error.slug).inc()
            raise
        finally:
            metrics.STORE_SECONDS.labels(operation).observe(time.perf_counter() - began)


# --- stage: verify ------------------------------------------------------------------------------------------


def make_checks(
    row: VerifyItem | ScoreGroup | RolloutRequest,
    rollouts: Sequence[VerifyItem | ScoreRollout | RolloutRequest],
    request: VerifyRequest | ScoreRequest | RolloutRequest,
    config: RunConfig,
    remote: frozenset[str],
) -> list[Check]:
    """Return the check of each response to one row; an item of a verify request is a row and its one rollout.

    Precedence of the checker: the row, the request, the run's `checkers[data_source]`, the default (`math`); of the
    answer format: the row, the request, the run. `remote` has the names of the remote checkers.
    """
    gold, options = gold_alternatives(row.gold), tuple(row.options or ())
    answer_format = row.answer_format or request.answer_format or config.answer_format
    checker = row.checker or request.checker
    if checker is None and row.data_source is not None and config.checkers:
        checker = config.checkers.get(row.data_source)
    if not remote:
        return [Check(gold, one.response, answer_format, one.truncated, checker, options) for one in rollouts]
    named = name if (name := checker_name(checker)) in remote else None
    own, fallback = (None, None) if named else (checker, config.fallback_checker)
    fields = (named, fallback, row.question, row.row, row.data_source)
    return [RowCheck(gold, one.response, answer_format, one.truncated, own, options, *fields) for one in rollouts]


def gold_alternatives(gold: str | list[str]) -> tuple[str, ...]:
    """Return the gold answers of which any one suffices."""
    return (gold,) if isinstance(gold, str) else tuple(gold)


def reads_config(row: RowFields, request: VerifyRequest | RolloutRequest, remote: frozenset[str]) -> bool:
    """Return True if the check of a row depends on its run's configuration: a remote checker may be its fallback."""
    if remote or (row.answer_format or request.answer_format) is None:
        return True
    return row.data_source is not None and (row.checker or request.checker) is None


# --- stage: shape -------------------------------------------------------------------------------------------


def shape(batch: Batch, outcome: CommitOutcome | None) -> Rewards:
    """Return the rewards of every group, from the recorded state (None: evaluation, the outcome alone)."""
    reward = batch.plan.reward
    records: Sequence[GroupOutcome | None] = [None] * len(batch.groups) if outcome is None else outcome.groups
    step = None if outcome is None else outcome.step
    groups = [shaping_input(group, record, step, reward) for group, record in zip(batch.groups, records, strict=True)]
    statuses = [group.statuses for group in batch.groups]
    unchecked = any("unchecked" in row for row in statuses)
    parts = checked_parts(groups, statuses) if unchecked else groups
    if outcome is None:
        rewards = Rewards(groups, reward.shape(parts, evaluate=True), None, [])
    else:
        shaped = reward.shape(parts)
        shadows = reward.shape_shadows(parts) if batch.plan.config.shadow else None
        rewards = Rewards(groups, shaped, shadows, [*batch.warnings, *reward.warnings(parts, shaped)])
        if batch.request.signal:
            rewards.signal = Signal(**asdict(reward.signal(parts, shaped)))
    if unchecked:
        rewards.shaped = list(map(whole_group, rewards.shaped, statuses))
        rewards.shadows = None if rewards.shadows is None else list(map(whole_shadows, rewards.shadows, statuses))
        rewards.warnings = [*rewards.warnings, *unchecked_warning(statuses)]
    return rewards


def mean_pass_ratio(batch: Batch, rewards: Rewards) -> float:
    """Return the mean group pass ratio over the groups with a checked rollout; 0.0 without one."""
    ratios = [
        shaped.pass_ratio
        for group, shaped in zip(batch.groups, rewards.shaped, strict=True)
        if set(group.statuses) != {"unchecked"}
    ]
    return sum(ratios) / len(ratios) if ratios else 0.0


def shaping_input(group: BatchGroup, record: GroupOutcome | None, step: int | None, reward: Reward) -> Group:
    """Return a group as the strategies see it: the fields sent, the verdicts, and the recorded state."""
    sent, statuses = group.sent, group.statuses
    readable = "gold_unreadable" not in statuses
    columns = {name: tuple(getattr(rollout, name) for rollout in sent.rollouts) for name in ROLLOUT_FIELDS}
    return Group(
        correct=group.correct,
        trainable=tuple(readable and status not in NOT_TRAINABLE for status in statuses),
        level=None if record is None else record.level,
        accumulators=() if record is None else record.accumulators,
        history=ProblemHistory() if record is None else problem_history(record.problem),
        step=step,
        formatted=tuple(status != "no_answer" for status in statuses),
        lengths=None if record is None else LengthRecord(record.problem.lengths),
        guard=None if record is None else reward.guard_sums(record.accumulators),
        whitening=None if record is None or not reward.whitens else unpack_whitening(record.payload),
        # A field that a rollout lacks is missing for the group.
        **{name: None if None in column else column for name, column in columns.items()},  # type: ignore[arg-type]
        **{name: getattr(sent, name) for name in GROUP_FIELDS},
    )


def problem_history(problem: ProblemState) -> ProblemHistory:
    """Return a problem's state before the step, as strategies read it."""
    count = problem.correct_tokens_count
    return ProblemHistory(
        attempts=problem.attempts,
        passes=problem.passes,
        pass_ratio=problem.pass_ratio,
        shortest_correct_tokens=problem.shortest_correct_tokens,
        mean_correct_tokens=problem.correct_tokens_sum / count if count else None,
    )


# --- rows of the answer -------------------------------------------------------------------------------------


def verdict_answer(name: str, verdict: Verdict) -> VerdictAnswer:
    """Return a verdict as it is answered, under the item's id."""
    return VerdictAnswer(
        id=name,
        correct=verdict.correct,
        status=verdict.status,
        answer=verdict.answer,
        decided_by=verdict.decided_by,
        reason=verdict.reason,
        cpu_ms=verdict.cpu_ms,
    )


def group_answer(
    index: int, group: BatchGroup, shaping_group: Group, shaped: ShapedGroup, record: GroupOutcome | None
) -> GroupRewards:
    """Return the rewards of the request's group `index` as they are answered, with the verdicts that were made."""
    sent, verdicts = group.sent, group.verdicts
    problem_id = record.problem_id if record else sent.problem_id or sent.group_id or str(index)
    row: Callable[..., GroupRewards] = GroupRewards
    if verdicts is not None:
        row = partial(ScoredGroup, verdicts=[verdict_answer(str(i), verdict) for i, verdict in enumerate(verdicts)])
    return row(
        problem_id=problem_id,
        group_id=record.group_id if record else sent.group_id or problem_id,
        pass_ratio=shaped.pass_ratio,
        level=shaping_group.level if shaped.beta is not None else None,
        beta=shaped.beta,
        difficulty=shaped.difficulty,
        rewards=shaped.rewards,
        components=RewardComponents(**shaped.components),
        correct=shaping_group.correct,
        trainable=shaping_group.trainable,
        length_term=shaped.length_term,
        why=shaped.why,
        scores=None if shaped.scores is None else dict(shaped.scores),
        mask=shaped.mask,
        weights=shaped.weights,
        advantages=shaped.advantages,
        replayed=record is not None and record.replayed,
        stale=record is not None and record.stale,
    )


def shadow_answer(shaped: ShapedGroup) -> dict[str, object]:
    """Return a shadow strategy's rewards of a group; mask, weights and advantages only if the strategy has them."""
    row = {"rewards": shaped.rewards, "length": shaped.length_term, "beta": shaped.beta}
    extras = {name: getattr(shaped, name) for name in ("mask", "weights", "advantages")}
    return row | {name: value for name, value in extras.items() if value is not None}


# --- warnings -----------------------------------------------------------------------------------------------


def answered_warnings(outcome: CommitOutcome, warnings: Sequence[tuple[str, str]]) -> list[str]:
    """Return the warnings of an answer, each as "slug: text"; a request that created the run has one more.

    They are a function of the request and of the run's state, so a repeated request has them again.
    """
    created = [run_created(outcome.step)] if outcome.created_step == outcome.step else []
    return [*created, *(f"{slug}: {text}" for slug, text in warnings)]


def run_created(step: int | None) -> str:
    """Return the warning that a training request created the run, as it is answered."""
    return (
        f"run-created: the run did not exist and was created by a training request, since step {step}, with "
        "the server's default configuration and its initial level. If it was trained before, the store lost it"
    )


def replayed_verdicts_differ(count: int) -> tuple[str, str]:
    """Return the warning that `count` rollouts of replayed groups would be judged differently now."""
    return (
        "replayed-verdicts-differ",
        f"the recorded verdicts of repeated groups hold, but {count} of their rollouts would be judged differently "
        "now (another answer_format or version of the service): use another run or group_id for new verdicts",
    )


def _contradict(one: Verdict, other: Verdict) -> bool:
    """Return True if two verdicts differ in `correct`; an undecided or unchecked one contradicts none."""
    return NOT_TRAINABLE.isdisjoint((one.status, other.status)) and one.correct != other.correct


# --- small checks -------------------------------------------------------------------------------------------


def limit(subject: str, size: int, most: int) -> None:
    """Check a size against its limit.

    Raises:
        TooLargeError: There are more than `most`.
    """
    if size > most:
        raise TooLargeError(subject, most)


def check_identity(index: int, item: VerifyItem) -> None:
    """Check that an item with a rollout_id has the rest of its identity.

    Raises:
        InvalidRequestError: A field of its identity is missing.
    """
    if item.rollout_id is None or item.phase == "eval":
        return
    for field in ("run", "step", "problem_id"):
        if getattr(item, field) is None:
            raise InvalidRequestError(
                f"items.{index}.{field}", "an item with a rollout_id also needs its run, step and problem_id"
            )


def check_scores(groups: Sequence[ShapeGroup | ScoreGroup], plan: RunPlan) -> None:
    """Check that each rollout has the scores that the run's configuration weights, and no others.

    Raises:
        InvalidRequestError: A score is missing, or has no weight.
    """
    wanted = set(plan.config.scores or ())
    for index, group in enumerate(groups):
        for rollout_index, rollout in enumerate(group.rollouts):
            sent = rollout.scores
            if not sent and not wanted:
                continue
            field = f"groups.{index}.rollouts.{rollout_index}.scores"
            for name in sorted(wanted - set(sent or ())):
                raise InvalidRequestError(f"{field}.{name}", "the run weights this score: send it", "missing-input")
            for name in sorted(set(sent or ()) - wanted):
                raise InvalidRequestError(
                    f"{field}.{name}",
                    "the run's configuration has no weight for this score: add it to scores, or leave it out",
                    "unknown-score",
                )


def _kind(record: GroupOutcome) -> str:
    return "replayed" if record.replayed else "stale" if record.stale else "new"
