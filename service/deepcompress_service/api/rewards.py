"""The three verbs, free of HTTP: verify, shape, and score, which is both.

Order of things in a training request: learn the run's configuration and epoch, check what can be checked
without changing anything, verify the text (score only), commit the groups in one atomic call to the store,
and only then compute rewards, from the state the commit answered with. A reward is therefore a function of
the record and the request, and a repeat gives the same bits.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, TypeVar

from deepcompress_client.wire import (
    AnswerFormat,
    RunConfig,
    ScoreGroup,
    ScoreRequest,
    ShapeGroup,
    ShapeRequest,
    VerifyItem,
    VerifyRequest,
)
from deepcompress_verify import Check, Verdict

from ..activity.recent import Activity
from ..activity.recorder import record_batch, record_scored, record_verify
from ..difficulty.errors import UNUSABLE, DifficultyError, UnknownRun
from ..difficulty.model import Commit, CommitOutcome, GroupCommit, GroupOutcome, Observation
from ..difficulty.store import DifficultyStore
from ..observability import metrics, tracing
from ..settings import Settings
from ..shaping import InputError
from .body import too_large
from .errors import invalid
from .plan import Plan, make_plan, plan_from_text
from .translate import (
    correct_flags,
    golds,
    group_commit,
    group_row,
    pack_verdicts,
    score_digest,
    shadow_row,
    shape_digest,
    shaping_group,
    status_names,
    unpack_verdicts,
    verdict_row,
)

log = logging.getLogger("deepcompress.api")
T = TypeVar("T")


class Verifier(Protocol):
    """What this module needs of the verifier pool."""

    async def verify_many(
        self, checks: Sequence[Check], *, budget_s: float | None = None, party: str = ""
    ) -> list[Verdict]: ...


class RewardService:
    """The verbs over one store and one verifier pool."""

    def __init__(self, settings: Settings, store: DifficultyStore, verifier: Verifier) -> None:
        self.settings = settings
        self.store = store
        self.verifier = verifier
        self.default_plan = make_plan(RunConfig.model_validate_json(settings.default_run), settings.problem_weight)
        self._known_plans: OrderedDict[str, Plan] = OrderedDict()
        self._warned: OrderedDict[tuple[str, int, str], None] = OrderedDict()
        self.activity = Activity()

    # --- verify -----------------------------------------------------------------------------------------

    async def verify(self, request: VerifyRequest) -> dict[str, Any]:
        """Check each item; record those that carry identity."""
        self._limit("items", len(request.items), self.settings.max_items)
        for index, item in enumerate(request.items):
            self._check_gold(f"items.{index}.gold", item.gold)
            check_identity(index, item)
        formats = await self._formats(request)
        checks = [Check(golds(item.gold), item.response, formats[item.run], item.truncated) for item in request.items]
        verdicts = await self._verdicts(checks, next((item.run for item in request.items if item.run), None))
        record_verify(self.activity, request, verdicts)
        observed = [
            index for index, item in enumerate(request.items) if item.rollout_id is not None and item.phase == "train"
        ]
        recorded = await self._observe(request.items, verdicts, observed)
        answer = []
        for index, (item, verdict) in enumerate(zip(request.items, verdicts, strict=True)):
            row = verdict_row(item.id if item.id is not None else str(index), verdict)
            if item.rollout_id is not None:
                row["recorded"] = recorded.get(index, False)
            answer.append(row)
        return {"verdicts": answer}

    async def _formats(self, request: VerifyRequest) -> dict[str | None, AnswerFormat]:
        """The answer format of each run named: the request's, else the run's, else boxed."""
        runs = {item.run for item in request.items}
        if request.answer_format is not None:
            return dict.fromkeys(runs, request.answer_format)
        found: dict[str | None, AnswerFormat] = {}
        for run in runs:
            plan = self.default_plan if run is None else await self.readable_plan(run)
            found[run] = plan.config.answer_format
        return found

    async def _observe(
        self, items: Sequence[VerifyItem], verdicts: Sequence[Verdict], indices: Sequence[int]
    ) -> dict[int, bool]:
        if not indices:
            return {}
        observations = []
        for index in indices:
            item, verdict = items[index], verdicts[index]
            assert item.run and item.problem_id and item.rollout_id and item.step is not None
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
                )
            )
        try:
            recorded = await self._store("observe", self.store.observe(observations))
        except UNUSABLE:
            # The verdict is worth more than its record: given all the same, and the loss is counted.
            metrics.OBSERVATIONS_LOST.inc(len(indices))
            return {}
        return dict(zip(indices, recorded, strict=True))

    # --- shape ------------------------------------------------------------------------------------------

    async def shape(self, request: ShapeRequest) -> dict[str, Any]:
        """Rewards for verdicts that the caller already has."""
        self._check_batch(request)
        correct = [tuple(rollout.correct for rollout in group.rollouts) for group in request.groups]
        statuses = [tuple(rollout.status for rollout in group.rollouts) for group in request.groups]
        if request.phase == "eval":
            return await self._evaluate(request, correct, statuses, None)
        plan, expected_epoch = await self._arrive(request)
        self._check_needs(request, plan)
        commits = tuple(
            group_commit(group, shape_digest(group), b"", right, status)
            for group, right, status in zip(request.groups, correct, statuses, strict=True)
        )
        outcome, plan = await self._commit(request, plan, expected_epoch, commits)
        return self._answer(request, plan, outcome, correct, statuses, None)

    # --- score ------------------------------------------------------------------------------------------

    async def score(self, request: ScoreRequest) -> dict[str, Any]:
        """Verify, then shape."""
        self._check_batch(request)
        for index, group in enumerate(request.groups):
            self._check_gold(f"groups.{index}.gold", group.gold)
        plan, expected_epoch = self.default_plan, None
        if request.phase == "train":
            plan, expected_epoch = await self._arrive(request)
            self._check_needs(request, plan)
        elif request.run is not None:
            plan = await self.readable_plan(request.run)
        answer_format = request.answer_format or plan.config.answer_format
        checks = [
            Check(alternatives, rollout.response, answer_format, rollout.truncated)
            for group in request.groups
            for alternatives in (golds(group.gold),)
            for rollout in group.rollouts
        ]
        # Hashing releases the interpreter lock, so it runs beside the workers.
        hashing = asyncio.create_task(asyncio.to_thread(lambda: [score_digest(g) for g in request.groups]))
        flat = await self._verdicts(checks, request.run)
        digests = await hashing
        verdicts: list[tuple[Verdict, ...]] = []
        start = 0
        for group in request.groups:
            verdicts.append(tuple(flat[start : start + len(group.rollouts)]))
            start += len(group.rollouts)
        if request.phase == "eval":
            return await self._evaluate(request, correct_flags(verdicts), status_names(verdicts), verdicts)
        commits = tuple(
            group_commit(group, digest, pack_verdicts(of_group), right, status)
            for group, digest, of_group, right, status in zip(
                request.groups,
                digests,
                verdicts,
                correct_flags(verdicts),
                status_names(verdicts),
                strict=True,
            )
        )
        outcome, plan = await self._commit(request, plan, expected_epoch, commits)
        for index, recorded in enumerate(outcome.groups):
            if recorded.replayed:
                verdicts[index] = unpack_verdicts(recorded.payload)
        return self._answer(request, plan, outcome, correct_flags(verdicts), status_names(verdicts), verdicts)

    # --- what both share --------------------------------------------------------------------------------

    async def prepare(self, request: ShapeRequest | ScoreRequest) -> tuple[Plan, int | None]:
        """Everything that can be refused about a training request before it changes anything; the run's plan, and
        its epoch (None for a run yet unknown)."""
        self._check_batch(request)
        plan, epoch = await self._arrive(request)
        self._check_needs(request, plan)
        return plan, epoch

    async def verify_one(self, check: Check, run: str) -> Verdict:
        """One verdict."""
        return (await self._verdicts([check], run))[0]

    def check_gold(self, field: str, gold: str | list[str]) -> None:
        """Raises a 413 ApiError where the gold is over its limit."""
        self._check_gold(field, gold)

    async def _arrive(self, request: ShapeRequest | ScoreRequest) -> tuple[Plan, int | None]:
        """The run's plan and epoch as met on arrival; the server's default plan for a run yet unknown."""
        assert request.run is not None
        try:
            state = await self._store("get_run", self.store.get_run(request.run))
        except UnknownRun:
            return self.default_plan, None
        plan = self._remember(request.run, state.config_text)
        return plan, state.epoch

    async def _commit(
        self,
        request: ShapeRequest | ScoreRequest,
        plan: Plan,
        expected_epoch: int | None,
        groups: tuple[GroupCommit, ...],
    ) -> tuple[CommitOutcome, Plan]:
        assert request.run is not None
        whole = hashlib.blake2b(digest_size=16)
        for group in groups:
            whole.update(group.group_id.encode() + b"\0" + group.digest)
        commit = Commit(
            run=request.run,
            groups=groups,
            step=request.step,
            epoch=request.epoch,
            expected_epoch=expected_epoch,
            generation=request.generation,
            request_id=request.request_id,
            request_digest=whole.digest(),
            config=plan.difficulty,
            config_text=plan.text,
        )
        outcome = await self._store("commit", self.store.commit(commit))
        if outcome.config_text and outcome.config_text != plan.text:
            # Another request gave the run its configuration between our look and our commit.
            plan = self._remember(request.run, outcome.config_text)
        return outcome, plan

    def _answer(
        self,
        request: ShapeRequest | ScoreRequest,
        plan: Plan,
        outcome: CommitOutcome,
        correct: Sequence[tuple[bool, ...]],
        statuses: Sequence[tuple[str | None, ...]],
        verdicts: Sequence[tuple[Verdict, ...]] | None,
    ) -> dict[str, Any]:
        began = time.perf_counter()
        groups = [
            shaping_group(group, right, status, state, outcome.step)
            for group, right, status, state in zip(_sent(request), correct, statuses, outcome.groups, strict=True)
        ]
        shaped = plan.reward.shape(groups)
        shadows = plan.reward.shape_shadows(groups) if plan.config.shadow else None
        rows = []
        for index, (group, result, state) in enumerate(zip(groups, shaped, outcome.groups, strict=True)):
            row = group_row(state.problem_id, state.group_id, group, result)
            row["replayed"], row["stale"] = state.replayed, state.stale
            if shadows is not None:
                row["shadow"] = {name: shadow_row(one) for name, one in shadows[index].items()}
            if verdicts is not None:
                row["verdicts"] = [verdict_row(str(i), verdict) for i, verdict in enumerate(verdicts[index])]
            rows.append(row)
        metrics.note_groups("train", [_kind(state) for state in outcome.groups])
        found = plan.reward.warnings(groups, shaped)
        for slug, _ in found:
            metrics.TRAPS.labels(slug).inc()
        record_batch(self.activity, outcome, groups, shaped, found)
        if verdicts is not None and isinstance(request, ScoreRequest):
            record_scored(self.activity, request, outcome.step, shaped, verdicts)
        metrics.SHAPE_SECONDS.observe(time.perf_counter() - began)
        return {
            "run": request.run,
            "epoch": outcome.epoch,
            "step": outcome.step,
            "phase": "train",
            "level": outcome.level,
            "batch_pass_ratio": outcome.batch_pass_ratio,
            "warnings": self._new_warnings(outcome, found),
            "groups": rows,
        }

    async def _evaluate(
        self,
        request: ShapeRequest | ScoreRequest,
        correct: Sequence[tuple[bool, ...]],
        statuses: Sequence[tuple[str | None, ...]],
        verdicts: Sequence[tuple[Verdict, ...]] | None,
    ) -> dict[str, Any]:
        """Outcome only: no level, no state, no store."""
        plan = self.default_plan if request.run is None else await self.readable_plan(request.run)
        groups = [
            shaping_group(group, right, status, None, None)
            for group, right, status in zip(_sent(request), correct, statuses, strict=True)
        ]
        shaped = plan.reward.shape(groups, evaluate=True)
        if verdicts is not None and isinstance(request, ScoreRequest):
            record_scored(self.activity, request, None, shaped, verdicts)
        rows = []
        for index, (group, result) in enumerate(zip(groups, shaped, strict=True)):
            sent = request.groups[index]
            problem_id = sent.problem_id or sent.group_id or str(index)
            row = group_row(problem_id, sent.group_id or problem_id, group, result)
            row["replayed"] = row["stale"] = False
            if verdicts is not None:
                row["verdicts"] = [verdict_row(str(i), verdict) for i, verdict in enumerate(verdicts[index])]
            rows.append(row)
        metrics.note_groups("eval", ["new"] * len(groups))
        return {
            "run": request.run,
            "epoch": None,
            "step": request.step if isinstance(request.step, int) else None,
            "phase": "eval",
            "level": None,
            "batch_pass_ratio": sum(group.pass_ratio for group in groups) / len(groups),
            "warnings": [],
            "groups": rows,
        }

    async def _verdicts(self, checks: Sequence[Check], run: str | None) -> list[Verdict]:
        began = time.perf_counter()
        with tracing.span("verify", rollouts=len(checks)):
            verdicts = await self.verifier.verify_many(
                checks, budget_s=self.settings.batch_cpu_seconds, party=run or ""
            )
        metrics.VERIFY_SECONDS.observe(time.perf_counter() - began)
        metrics.note_verdicts(verdicts)
        return verdicts

    async def _store(self, operation: str, call: Awaitable[T]) -> T:
        began = time.perf_counter()
        try:
            with tracing.span("store", operation=operation):
                return await call
        except DifficultyError as error:
            metrics.STORE_ERRORS.labels(operation, error.slug).inc()
            raise
        finally:
            metrics.STORE_SECONDS.labels(operation).observe(time.perf_counter() - began)

    # --- plans ------------------------------------------------------------------------------------------

    def _remember(self, run: str, text: str) -> Plan:
        plan = plan_from_text(text, self.settings.problem_weight)
        self._known_plans[run] = plan
        self._known_plans.move_to_end(run)
        while len(self._known_plans) > 4096:
            self._known_plans.popitem(last=False)
        return plan

    async def readable_plan(self, run: str) -> Plan:
        """For callers that need no store: the run's plan, else as last seen here, else the server's default."""
        try:
            state = await self._store("get_run", self.store.get_run(run))
        except UnknownRun:
            return self.default_plan
        except UNUSABLE:
            return self._known_plans.get(run, self.default_plan)
        return self._remember(run, state.config_text)

    def _new_warnings(self, outcome: CommitOutcome, found: Sequence[tuple[str, str]]) -> list[str]:
        """Each kind of warning once per run and process."""
        fresh = []
        for slug, text in found:
            key = (outcome.run, outcome.epoch, slug)
            if key not in self._warned:
                self._warned[key] = None
                fresh.append(f"{slug}: {text}")
        while len(self._warned) > 65_536:
            self._warned.popitem(last=False)
        return fresh

    # --- checks that change nothing ---------------------------------------------------------------------

    def _limit(self, what: str, count: int, limit: int) -> None:
        if count > limit:
            raise too_large(f"the number of {what}", limit)

    def _check_gold(self, field: str, gold: str | list[str]) -> None:
        if sum(len(one) for one in golds(gold)) > self.settings.max_gold_chars:
            raise too_large(field, self.settings.max_gold_chars)

    def _check_batch(self, request: ShapeRequest | ScoreRequest) -> None:
        self._limit("groups", len(request.groups), self.settings.max_groups)
        self._limit("rollouts", sum(len(group.rollouts) for group in _sent(request)), self.settings.max_items)
        training = request.phase == "train"
        if training and request.run is None:
            raise invalid("run", "a training request must name its run")
        if training and request.step is None and request.request_id is None:
            raise invalid(
                "request_id",
                "send the trainer's step; a run without steps needs a request_id instead, by which repeats are known",
                "request-id-required",
            )
        seen: set[str] = set()
        for index, group in enumerate(_sent(request)):
            if group.group_size is not None and group.group_size != len(group.rollouts):
                raise invalid(
                    f"groups.{index}.group_size",
                    f"says {group.group_size}, but {len(group.rollouts)} rollouts were sent: "
                    "gather the group's rollouts from all ranks first",
                    "group-size-mismatch",
                )
            name = group.group_id or group.problem_id
            if name is None:
                if not training:
                    continue
                raise invalid(f"groups.{index}.problem_id", "a training group needs a problem_id")
            if name in seen:
                raise invalid(
                    f"groups.{index}.group_id",
                    "two groups of one request have this group_id: send a group_id of its own with each group",
                    "duplicate-group",
                )
            seen.add(name)

    def _check_needs(self, request: ShapeRequest | ScoreRequest, plan: Plan) -> None:
        needs = plan.reward.needs
        name = plan.config.strategy.name
        if "step" in needs and request.step is None:
            raise invalid("step", f"the strategy {name} needs the trainer's step", "missing-step")
        for index, group in enumerate(_sent(request)):
            if "tokens" in needs:
                for place, tokens in enumerate([rollout.tokens for rollout in group.rollouts]):
                    if tokens is None:
                        raise invalid(
                            f"groups.{index}.rollouts.{place}.tokens",
                            f"the strategy {name} needs the length in tokens of every rollout; "
                            "it is never guessed from characters",
                            "missing-tokens",
                        )
        unknown = [
            shaping_group(group, (False,) * len(group.rollouts), (None,) * len(group.rollouts), None, None)
            for group in _sent(request)
        ]
        try:
            plan.reward.check_sent(unknown)
        except InputError as error:
            raise invalid(error.field, error.message, "missing-input") from None


def check_identity(index: int, item: VerifyItem) -> None:
    """An item with a rollout_id is to be observed, and then needs the rest of its identity."""
    if item.rollout_id is None or item.phase == "eval":
        return
    for field in ("run", "step", "problem_id"):
        if getattr(item, field) is None:
            raise invalid(
                f"items.{index}.{field}", "an item with a rollout_id also needs its run, step and problem_id"
            )


def _kind(state: GroupOutcome) -> str:
    return "replayed" if state.replayed else "stale" if state.stale else "new"


def _sent(request: ShapeRequest | ScoreRequest) -> Sequence[ShapeGroup | ScoreGroup]:
    return request.groups
