"""Verify, shape and score: the stages of a request, in the order in which they run. Free of HTTP.

    validate  request                                    limits and identity (`request_checks`)
    resolve   request -> plan and epoch of the run       one read of the store, or none if the caller sends the epoch
    check     request, plan -> Batch                     the inputs that the run's strategies need (`request_checks`)
    verify    Batch -> Batch with verdicts               bounded workers
    commit    Batch, plan -> CommitOutcome               one atomic store call: new, replayed or stale
    shape     Batch, CommitOutcome, plan -> Rewards      a function of its inputs (`rewards`)
    answer    -> typed answer                            pure (`rewards`)
    record    metrics and activity                       after the answer is sent (`recording`)

Rewards are computed from the state that the commit returned, never from the state before it. They are a function of
the record and of the request: a repeated request gets the same bits (docs/design.md, 3).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeVar

from cachetools import LRUCache

from deepcompress_client.wire import RunConfig, ScoreAnswer, ScoreRequest, ShapeAnswer, ShapeRequest
from deepcompress_verify import Check, Verdict

from ..activity.recorder import ActivityRecorder
from ..difficulty.errors import UNUSABLE, DifficultyError, UnknownRun
from ..difficulty.model import Commit, CommitOutcome, RunState
from ..difficulty.refusals import too_many_runs
from ..difficulty.store import DifficultyStore
from ..observability import metrics, tracing
from ..remote import RemoteCheckers
from ..settings import Settings
from ..shaping import Group
from ..shaping.advantages import step_whitening
from .ages import check_asynchronous, group_age
from .batch import TURN, AddTask, Batch, BatchGroup, BatchRequest, beside, in_turns, release
from .errors import InvalidRequestError
from .plan import RunPlan, make_new_plan, plan_bytes, plan_from_text
from .protocols import Verifier
from .recording import count_verdicts, record
from .records import group_commit, score_digest, shape_digest, unpack_age, unpack_verdicts
from .remote_checks import Recorded, check_all, nothing_recorded
from .request_checks import check_inputs, make_checks, validate
from .rewards import Answer, answer, shape, shaping_input
from .unchecked import NOT_TRAINABLE, checked_parts
from .warnings import (
    UNTRAINABLE,
    Declines,
    FirstRollouts,
    replayed_verdicts_differ,
    run_created,
    stale_groups,
    too_old_groups,
    untrainable_warnings,
)

log = logging.getLogger("deepcompress.scoring")

CACHED_PLANS_BYTES = 48 << 20
"""Most bytes of the cached plans of runs: those of 1,700 runs of the default configuration."""
HASHED_AT_ONCE = 1 << 19
"""Most characters that are hashed on the event loop, about half a millisecond of work."""

GROUP_WORK = 8
"""Rollouts whose work that of a group equals, beside that of its own rollouts."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CachedPlan:
    """A run's plan, as this process last read it."""

    epoch: int | None
    """None for a run that does not exist yet, and in evaluation."""
    final: bool
    """True after the run's first training request: its configuration then never changes within the epoch."""
    plan: RunPlan


class Pipeline:
    """Verify, shape and score over one store and one verifier."""

    def __init__(
        self,
        settings: Settings,
        store: DifficultyStore,
        verifier: Verifier,
        recorder: ActivityRecorder,
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
        self._plans: LRUCache[str, CachedPlan] = LRUCache(
            CACHED_PLANS_BYTES, getsizeof=lambda cached: plan_bytes(cached.plan)
        )
        self._first_rollouts = FirstRollouts()
        self._declines = Declines(store)

    # --- the requests, stage by stage ------------------------------------------------------------------------------

    async def score(self, request: ScoreRequest, add_task: AddTask) -> ScoreAnswer:
        """Verify the groups' responses, then shape."""
        batch = await self.prepare(request)
        await self.verify(batch, add_task)
        return await self._rewards(batch, ScoreAnswer, add_task)

    async def shape(self, request: ShapeRequest, add_task: AddTask) -> ShapeAnswer:
        """Return rewards for verdicts that the caller has."""
        batch = await self.prepare(request)
        for turn in batch.turns:
            if turn.start:
                await asyncio.sleep(0)
            for group, sent in zip(batch.groups[turn], request.groups[turn], strict=True):
                group.statuses = tuple([one.status for one in sent.rollouts])
                group.correct = tuple([one.correct and one.status != "unchecked" for one in sent.rollouts])
                group.digest = shape_digest(sent)
        return await self._rewards(batch, ShapeAnswer, add_task)

    async def prepare(self, request: BatchRequest) -> Batch:
        """Run the stages that change nothing. They make every check of a request that needs no commit.

        Raises:
            RequestError: The request, or the run's configuration, is refused.
            DifficultyError: The store could not be used.
        """
        turns = turns_of([len(group.rollouts) for group in request.groups])
        large = len(turns) > 1
        if large:
            await asyncio.to_thread(validate, request, self.settings, self.remote_names)
        else:
            validate(request, self.settings, self.remote_names)
        known = await self.resolve(request)
        if request.phase == "train":
            if large:
                await asyncio.to_thread(check_inputs, request, known.plan)
            else:
                check_inputs(request, known.plan)
            if known.plan.config.asynchronous:
                await beside(large, partial(check_asynchronous, request, known.plan))
        groups = [BatchGroup(group) for group in request.groups]
        return Batch(request, known.plan, known.epoch, groups, [], known.final, turns, large)

    async def _rewards(self, batch: Batch, kind: type[Answer], add_task: AddTask) -> Answer:
        """Run the stages after the verdicts are known; return an answer of type `kind`."""
        outcome = None if batch.request.phase == "eval" else await self.commit(batch)
        began = time.perf_counter()
        rewards = await shape(batch, outcome)
        answered = await answer(batch, outcome, rewards, kind)
        metrics.SHAPE_SECONDS.observe(time.perf_counter() - began)
        add_task(record, self.recorder, self._declines, batch, outcome, rewards)
        return answered

    # --- stage: resolve ----------------------------------------------------------------------------------

    async def resolve(self, request: BatchRequest) -> CachedPlan:
        """Return the run's plan and its epoch on arrival; the server's default plan for an unknown run.

        Needs no read of the store if the caller sends the epoch and this process has cached the run's plan in it.
        """
        if request.run is None:
            return CachedPlan(None, False, self.default_plan)
        if request.phase == "eval":
            return CachedPlan(None, False, await self.readable_plan(request.run))
        cached = self._plans.get(request.run)
        if cached is not None and cached.final and cached.epoch == request.epoch:
            return cached
        try:
            state = await self.timed("get_run", self.store.get_run(request.run))
        except UnknownRun:
            if request.epoch is None and request.incarnation is None:  # else it is refused: the run was lost
                await self.check_new_run()
            return CachedPlan(None, False, self.default_plan)
        return self._cache_plan(state)

    async def check_new_run(self) -> None:
        """Check that the store may have one more run.

        Raises:
            TooManyRuns: It has `max_runs` already. Requests that create runs at once may exceed it by their number.
        """
        if await self.timed("count_runs", self.store.count_runs()) >= self.settings.max_runs:
            raise too_many_runs(self.settings.max_runs)

    async def readable_plan(self, run: str) -> RunPlan:
        """Return the run's plan; if the store cannot be used, the cached one, else the server's default."""
        try:
            state = await self.timed("get_run", self.store.get_run(run))
        except UnknownRun:
            return self.default_plan
        except UNUSABLE:
            cached = self._plans.get(run)
            return self.default_plan if cached is None else cached.plan
        return self._cache_plan(state).plan

    def _cache_plan(self, state: RunState) -> CachedPlan:
        plan = plan_from_text(state.config_text, self.settings.problem_weight, self.remote_names)
        # A run that was never trained may be given another configuration without a new epoch.
        cached = CachedPlan(state.epoch, state.kind is not None, plan)
        self._keep_plan(state.run, cached)
        return cached

    def _keep_plan(self, run: str, cached: CachedPlan) -> None:
        with suppress(ValueError):  # it is larger than the whole cache
            self._plans[run] = cached

    # --- stage: verify -----------------------------------------------------------------------------------

    async def verify(self, batch: Batch, add_task: AddTask) -> None:
        """Verify every response of the batch, and set the groups' verdicts and digests."""
        request = batch.request
        assert isinstance(request, ScoreRequest)
        config = batch.plan.config
        remote = self.remote_names
        checks: list[Check] = []
        for turn in batch.turns:
            if turn.start:
                await asyncio.sleep(0)
            for row in request.groups[turn]:
                checks += make_checks(row, row.rollouts, request, config, remote)
        hashing: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        if batch.large or sum([len(check.response) for check in checks]) > HASHED_AT_ONCE:
            # Hashing releases the interpreter lock, so it runs beside the workers.
            hashing = asyncio.create_task(asyncio.to_thread(list, map(score_digest, request.groups)))
        else:
            hashing.set_result(list(map(score_digest, request.groups)))

        async def recorded() -> dict[int, Verdict]:
            return await self._recorded_verdicts(request, await hashing)

        verdicts = await self.verdicts(checks, request.run, add_task, recorded)
        if batch.large:
            await release(checks)
        digests = await hashing
        start = 0
        for turn in batch.turns:
            if turn.start:
                await asyncio.sleep(0)
            for group, digest in zip(batch.groups[turn], digests[turn], strict=True):
                end = start + len(group.sent.rollouts)
                _set_verdicts(group, verdicts[start:end])
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
        add_task(count_verdicts, verdicts)
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
        payloads = await self.timed("recorded", call)
        verdicts: dict[int, Verdict] = {}
        start = 0
        for name, group in zip(names, request.groups, strict=True):
            if name in payloads:
                verdicts |= enumerate(unpack_verdicts(payloads[name], len(group.rollouts)), start)
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
        whitening = await self._step_whitening(batch) if batch.plan.reward.whitens else None
        max_age = batch.plan.config.max_age
        digest = hashlib.blake2b(digest_size=16)
        commits = []
        for turn in batch.turns:
            if turn.start:
                await asyncio.sleep(0)
            for group in batch.groups[turn]:
                if request.policy_version is not None:
                    group.age = group_age(request.policy_version, group.sent)
                    group.too_old = group.age is not None and max_age is not None and group.age > max_age
                commit = group.tallies = group_commit(group, whitening)
                digest.update(commit.group_id.encode() + b"\0" + commit.digest)
                commits.append(commit)
        outcome = await self.timed(
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
        if not batch.final:
            self._keep_plan(request.run, CachedPlan(outcome.epoch, True, batch.plan))
        changed = stale = too_old = 0
        new = []
        for turn in batch.turns:
            if turn.start:
                await asyncio.sleep(0)
            for group, counted in zip(batch.groups[turn], outcome.groups[turn], strict=True):
                if not counted.replayed:
                    too_old += group.too_old
                    stale += counted.stale
                    new.append(group.correct)
                    continue
                group.age, group.too_old = unpack_age(counted.payload)
                if group.verdicts is not None:
                    fresh, recorded = group.verdicts, unpack_verdicts(counted.payload, len(group.verdicts))
                    changed += sum(map(_contradict, fresh, recorded))
                    _set_verdicts(group, recorded)
        if stale:
            batch.warnings.append(stale_groups(stale, len(batch.groups), outcome.step))
        if too_old:
            batch.warnings.append(too_old_groups(too_old, len(batch.groups), batch.plan.config.max_age))
        if changed:
            batch.warnings.append(replayed_verdicts_differ(changed))
        if any(not UNTRAINABLE.isdisjoint(group.statuses) for group in batch.groups):
            batch.warnings += untrainable_warnings([group.statuses for group in batch.groups])
        batch.warnings += self._first_rollouts.warning(outcome.run, outcome.epoch, new)
        batch.warnings += self._declines.warnings(outcome.run, outcome.epoch)
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
            rows = await self.timed("history", self.store.history(run, since=step))
        except UnknownRun:
            rows = []
        if any(row.step == step and row.groups > row.observed_groups for row in rows):
            recorded = await self.timed("recorded", self.store.recorded(run, named, step=step))
            if len(recorded) < len(named):
                raise InvalidRequestError(
                    "groups",
                    "advantage.whiten: batch needs the whole step in one request, and this step has groups of an "
                    "earlier one",
                    "whole-step-needed",
                )
        reward = batch.plan.reward.unwhitened
        groups: list[Group] = []
        async for turn in in_turns(batch.turns):
            sent = batch.groups[turn]
            inputs = [shaping_input(one, None, step, batch.plan.reward) for one in sent]
            groups += checked_parts(inputs, [one.statuses for one in sent])
        shaped = await beside(batch.large, partial(reward.shape, groups))
        return await beside(batch.large, partial(step_whitening, groups, shaped))

    # --- calls of the store -----------------------------------------------------------------------------

    async def timed(self, operation: str, call: Awaitable[T]) -> T:
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


def turns_of(sizes: Sequence[int], work: int = GROUP_WORK) -> list[slice]:
    """Return the slices of a request's groups that are worked on in one turn: of TURN rollouts, or of one group.

    `sizes` has the number of rollouts of each group; a group counts as `work` more.
    """
    if sum(sizes) + work * len(sizes) <= TURN:
        return [slice(0, len(sizes))]
    ends, done = [0], 0
    for index, size in enumerate(sizes, 1):
        done += size + work
        if done >= TURN or index == len(sizes):
            ends.append(index)
            done = 0
    return [slice(begin, end) for begin, end in pairwise(ends)]


def _set_verdicts(group: BatchGroup, verdicts: Sequence[Verdict]) -> None:
    group.verdicts = verdicts
    group.correct = tuple([verdict.correct for verdict in verdicts])
    group.statuses = tuple([verdict.status for verdict in verdicts])


def _contradict(one: Verdict, other: Verdict) -> bool:
    """Return True if two verdicts differ in `correct`; an undecided or unchecked one contradicts none."""
    return NOT_TRAINABLE.isdisjoint((one.status, other.status)) and one.correct != other.correct
