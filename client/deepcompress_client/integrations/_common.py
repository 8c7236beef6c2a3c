"""Functions that the adapters share: problem names, texts, deadlines, opening the run, and GRPO's normalisation.

The normalisation is for frameworks whose hook replaces it. No framework is imported here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from .. import _warnings
from .._profiles import Profile
from .._retry import Retry
from .._rows import checked_gold, problem_name, prompt_text, text_of
from .._runs import StrategyLike, TrainingOptions, check_run_name, run_config
from .._saved import RunIdentity, identity_in
from ..errors import NotFound, RunLost, RunRolledBack, StepTooOld, TransportError, Unavailable
from ..wire import REWARD_COMPONENTS, GroupRewards, RunConfig, RunInfo, ScoreAnswer, ShapeAnswer, Status

if TYPE_CHECKING:
    from .._async_client import AsyncClient, AsyncRun
    from .._client import Client, Run

__all__ = ["problem_name", "prompt_text", "text_of"]  # of a loop's rows, and of the adapters'

log = logging.getLogger("deepcompress_client")

DEADLINE_S = 300.0
"""Seconds that an adapter waits for the service, retries included, if its framework has no shorter limit."""

FrameworkObject = Any
"""An object or argument of an RL framework. The frameworks are not installed where this package is type-checked."""

DataColumn = Any
"""A column of the training data, as a framework passes it to a reward function: one value per completion."""

Option = Any
"""A keyword argument that is passed on unchanged."""

OUTAGES = (TransportError, Unavailable)
"""Temporary errors. After the deadline, each adapter converts them to a missing reward of its framework. Every other
error is a mistake in the configuration, and is raised."""


def client_options(deadline_s: float) -> dict[str, Any]:
    """Return client options under which a call ends within `deadline_s` seconds.

    It also retries for nearly that long: the last attempts get the time that is left.

    Raises:
        ValueError: `deadline_s` is not positive.
    """
    if not deadline_s > 0:
        raise ValueError(f"deadline_s must be positive, not {deadline_s}")
    attempt_s = min(120.0, deadline_s / 2)
    return {
        "timeout_s": attempt_s,
        "connect_timeout_s": min(5.0, attempt_s),
        "retry": Retry(deadline_s=deadline_s),
    }


GROUPWISE_STRATEGY = {"name": "deepcompress", "reference": "previous"}
"""The strategy for frameworks that pass a step group by group. With the level of the step before as reference, a
group's reward does not depend on the groups of its step that came earlier; with the default, `current`, it would."""


def groupwise(strategy: StrategyLike, config: Mapping[str, Any]) -> StrategyLike:
    """Return the strategy of a training that passes its steps group by group: as given, else that of the preset."""
    if strategy:
        return strategy
    return {"reference": "previous"} if config.get("preset") else GROUPWISE_STRATEGY


# --- golds -------------------------------------------------------------------------------------------


def gold_text(value: object) -> str | list[str]:
    """Return a row's gold answer in the wire format: text, or a list of alternatives. Numbers become their digits.

    Raises:
        InvalidRequest: it is of another type, such as the None or NaN of a missing value. As text it would make every
            answer wrong.
    """
    return checked_gold(value, "the gold answer of a row")


# --- groups ------------------------------------------------------------------------------------------


def one_problem(name: str, problems: Iterable[tuple[object, object]]) -> str:
    """Return the `problem_name` of the rollouts of one group, given the prompt and gold of each.

    Raises:
        ValueError: they differ.
    """
    found = {problem_name(prompt, gold) for prompt, gold in problems}
    if len(found) != 1:
        raise ValueError(
            f"the rollouts of {name} have {len(found)} different pairs of prompt and gold: a group holds the "
            "rollouts of one problem"
        )
    return found.pop()


# --- verdicts in one number ------------------------------------------------------------------------------

STATUS_OFFSETS: Mapping[Status, float] = {
    "undecided": 2.0**-10,
    "gold_unreadable": 2.0**-9,
    "unchecked": 2.0**-8,
}
"""Statuses of rollouts that must not be trained on, with the offset that is subtracted from the outcome of "wrong".

It is for frameworks that pass only that number from their outcome hook to their batch hook. The offsets are exact in
float32, and in fp16 beside 0 and -1."""


def encode_status(outcome: float, status: Status) -> float:
    """Return the outcome reward with the offset of its status, for `decode_status` to read.

    Use it only if `decode_status` reads it. Other code that normalises rewards would treat the offset as reward.
    """
    return outcome - STATUS_OFFSETS.get(status, 0.0)


def decode_status(outcome: float) -> dict[str, Any]:
    """Return ``correct`` and ``status`` from an outcome of 1 or 0, or of 1 or -1, with or without an offset.

    Raises:
        ValueError: the outcome is not finite: nothing is known of the rollout.
    """
    if not math.isfinite(outcome):
        raise ValueError(f"the outcome reward of a rollout is {outcome}: the hook that judges it returned no reward")
    wrong = -1.0 if outcome < -0.5 else 0.0
    for status, offset in STATUS_OFFSETS.items():
        if abs(wrong - outcome - offset) < 2.0**-12:
            return {"correct": False, "status": status}
    return {"correct": outcome > 0}


def fill_with_group_mean(rewards: Sequence[float], trainable: Sequence[bool]) -> list[float]:
    """Return a group's rewards, with the mean of the others for each rollout that must not be trained on.

    Such a reward equals the group's baseline, so its advantage is 0. Shapes: [rollouts].
    """
    known = [reward for reward, ok in zip(rewards, trainable, strict=True) if ok]
    mean = sum(known) / len(known) if known else min(rewards)
    return [reward if ok else mean for reward, ok in zip(rewards, trainable, strict=True)]


LOGGED_COMPONENTS = tuple(name for name in REWARD_COMPONENTS if name != "outcome")
"""The reward's components that adapters log. The outcome is left out: frameworks log the accuracy."""


# --- the run --------------------------------------------------------------------------------------------


def checkpoint_name(next_step: int) -> str:
    """Return the name of the service's checkpoint that belongs to a framework checkpoint resumed at `next_step`."""
    return f"step-{next_step}"


def open_run(
    client: Client,
    name: str,
    next_step: int,
    strategy: StrategyLike,
    config: Mapping[str, Any],
    **start: Unpack[Start],
) -> Run:
    """Open the run of a training that starts (step 0), or go back to the step at which the framework resumes.

    Going back is a rewind, or, if the records of the steps between are gone, a restore of the checkpoint that was
    saved with the framework's. A training that starts on a run with history is refused, unless it is `fresh` or has
    saved the run's identity in its `folder`. The setting `profile` is not the run's: it names the file from which
    groups get their reference fields.

    Raises:
        RunInUse: the training starts, and the run has the history of another one.
        RunLost, RunRolledBack: the training resumes, and the service does not have its run.
        StepTooOld: the records are gone and there is no checkpoint.
    """
    profile, given, options = _profile(config), _run_config(strategy, config), _training_options(name, start)
    try:
        run = client.open_training(name, next_step, given, **options)
    except (RunLost, RunRolledBack) as error:
        raise _with_file(error, name, start) from None
    except StepTooOld as too_old:
        run = client.run(name, join=True)
        try:
            run.restore(checkpoint_name(next_step))
        except NotFound:
            raise too_old from None
    run.profile = profile
    save_identity(run, start)
    _log_start(run.name, next_step, run.info())
    return run


async def open_run_async(
    client: AsyncClient,
    name: str,
    next_step: int,
    strategy: StrategyLike,
    config: Mapping[str, Any],
    **start: Unpack[Start],
) -> AsyncRun:
    """Do the same as `open_run`, with ``await``."""
    profile, given, options = _profile(config), _run_config(strategy, config), _training_options(name, start)
    try:
        run = await client.open_training(name, next_step, given, **options)
    except (RunLost, RunRolledBack) as error:
        raise _with_file(error, name, start) from None
    except StepTooOld as too_old:
        run = await client.run(name, join=True)
        try:
            await run.restore(checkpoint_name(next_step))
        except NotFound:
            raise too_old from None
    run.profile = profile
    save_identity(run, start)
    _log_start(run.name, next_step, await run.info())
    return run


def _profile(config: Mapping[str, Any]) -> Profile | None:
    """Return the profile that the setting `profile` names, a file of `deepcompress profile`."""
    file = config.get("profile")
    return None if file is None else Profile.read(file)


def _run_config(strategy: StrategyLike, config: Mapping[str, Any]) -> RunConfig:
    return run_config(strategy, {name: value for name, value in config.items() if name != "profile"})


class Start(TypedDict, total=False):
    """Options with which an adapter opens its run."""

    fresh: bool
    """Delete the history of the run's name; without it a training that starts on a run with history is refused."""
    continue_from: str | Path | None
    """The run, or the file of its export, whose level and problems a training starts with."""
    folder: str | Path | None
    """The folder of the trainer's checkpoints, for the file with the run's identity; None without one."""


def _identity_file(name: str, folder: str | Path) -> Path:
    return Path(folder) / f"deepcompress-{name}.json"


def _training_options(name: str, start: Start) -> TrainingOptions:
    state: RunIdentity | None = None
    folder = start.get("folder")
    if folder is not None:
        with contextlib.suppress(FileNotFoundError):
            state = identity_in(_identity_file(check_run_name(name), folder))
    return {"state": state, "fresh": start.get("fresh", False), "continue_from": start.get("continue_from")}


def _with_file(error: RunLost | RunRolledBack, name: str, start: Start) -> RunLost | RunRolledBack:
    """Return the error with the file that has to go before a training continues on a restored store."""
    file = _identity_file(name, start.get("folder") or "")
    detail = f"{error.detail}. After a restore or an import, delete {file} to continue with the run as it is"
    return type(error)(error.status, error.slug, detail, error.problem)


CHECKPOINT = re.compile(r"(?:.*_)?(?:global_?)?step_?\d+|checkpoint-\d+|.*globalstep\d+")
"""Names of checkpoints, as trainers whose step is not passed to a reward write them."""


def check_first_step(next_step: int | None, start: Start) -> None:
    """Check the first step that the user gives, for frameworks that do not pass theirs.

    Raises:
        ValueError: it is 0, and the folder has a checkpoint: a training that resumes would delete its own state.
    """
    folder = start.get("folder")
    if next_step != 0 or folder is None or start.get("fresh"):
        return
    found = [*Path(folder).glob("*"), *Path(folder).glob("*/*")]
    saved = next((one for one in found if CHECKPOINT.fullmatch(one.name)), None)
    if saved is not None:
        raise ValueError(
            f"next_step is 0, and {folder} has a checkpoint, {saved.relative_to(folder)}: give the step at which the "
            "training resumes, or fresh=True to delete the state of the run"
        )


def save_identity(run: Run | AsyncRun, start: Start) -> None:
    """Write the run's identity beside the trainer's checkpoints, to recognise the run after a restart."""
    folder = start.get("folder")
    if folder is None:
        return
    file = _identity_file(run.name, folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(run.state_dict()))
    part.replace(file)


def _log_start(name: str, next_step: int, info: RunInfo) -> None:
    if next_step > 0 and info.kind is None:
        log.warning(
            "run %r has no state, although training resumes at step %d: its level starts again at %s. If the service "
            "had the run before, its store lost it: stop, restore the store from a backup or import an export of the "
            "run (`deepcompress runs import %s FILE`), and resume from the checkpoint of that step",
            name,
            next_step,
            info.level,
            name,
        )
    else:
        log.info("run %r: next step %d, level %s, epoch %d", name, next_step, info.level, info.epoch)


# --- answers --------------------------------------------------------------------------------------------


def log_warnings(run: str, answer: ShapeAnswer | ScoreAnswer) -> None:
    """Log the warnings of an answer, each kind once per run and process."""
    _warnings.log_warnings(run, answer.step, answer.warnings)


# --- GRPO's normalisation -------------------------------------------------------------------------------


def grpo_advantages(rewards: Sequence[float | None], *, divide_by_std: bool = True, eps: float = 1e-6) -> list[float]:
    """Return one group's advantages: (reward - mean) / (sample std + eps), [rollouts].

    A rollout without a reward (None) counts neither in the mean nor in the std, and its advantage is 0.
    """
    known = [reward for reward in rewards if reward is not None]
    if not known:
        return [0.0] * len(rewards)
    mean = math.fsum(known) / len(known)
    scale = 1.0
    if divide_by_std and len(known) > 1:
        scale = math.sqrt(math.fsum((reward - mean) ** 2 for reward in known) / (len(known) - 1)) + eps
    return [0.0 if reward is None else (reward - mean) / scale for reward in rewards]


def group_advantages(group: GroupRewards, *, divide_by_std: bool = True) -> list[float]:
    """Return the advantages of the answer where the run's configuration asks for them, else GRPO's, [rollouts]."""
    if group.advantages is not None:
        return [a if ok else 0.0 for a, ok in zip(group.advantages, group.trainable, strict=True)]
    rewards = [reward if ok else None for reward, ok in zip(group.rewards, group.trainable, strict=True)]
    return grpo_advantages(rewards, divide_by_std=divide_by_std)
