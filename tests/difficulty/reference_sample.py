"""Samples as docs/design.md, 5.12, has them, over a plain dictionary of all problems: nothing is indexed or counted.

Quotas are fractions, strata are found by looking at every problem, and windows by comparing every place.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from fractions import Fraction

from deepcompress_service.difficulty import errors
from deepcompress_service.difficulty.dataset import DatasetProblem, DatasetSummary
from deepcompress_service.difficulty.samples import SampleOutcome, SampleRequest

PLACES = 2**38


@dataclass
class Data:
    """A run's data set and samples: they belong to the run, and no step changes them."""

    seed: bytes
    problems: dict[str, DatasetProblem] = field(default_factory=dict)
    samples: dict[int, SampleOutcome] = field(default_factory=dict)
    contents: dict[int, list[object]] = field(default_factory=dict)

    def copy(self) -> Data:
        return Data(self.seed, dict(self.problems), dict(self.samples), dict(self.contents))

    def forget_from(self, step: int | None) -> None:
        for sampled in list(self.samples):
            if step is None or sampled >= step:
                del self.samples[sampled]

    def summary(self, run: str, epoch: int, incarnation: str, version: int) -> DatasetSummary:
        sources = sorted({p.data_source for p in self.problems.values() if p.data_source is not None})
        counts = {name: sum(p.data_source == name for p in self.problems.values()) for name in sources}
        return DatasetSummary(run, epoch, len(self.problems), counts, "", incarnation, version)


def bin_of(ratio: float | None) -> int:
    """0: unseen; 1 and 62: exactly 0 and 1; 2 to 61: sixty bins of equal width."""
    if ratio is None:
        return 0
    if ratio in (0.0, 1.0):
        return 62 if ratio else 1
    return 2 + min(59, math.floor(ratio * 60))


def bin_of_unseen(problem: DatasetProblem) -> int:
    ratio, rollouts = problem.pass_ratio, problem.rollouts
    if ratio is not None and rollouts is not None:
        ratio = (ratio * rollouts + 1) / (rollouts + 2)
    return bin_of(ratio)


def ratio_of_bin(index: int) -> float | None:
    return None if index == 0 else {1: 0.0, 62: 1.0}.get(index, (index - 1.5) / 60)


def random_number(seed: bytes, step: int, text: str) -> int:
    data = f"{step}:{text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=16, key=seed, person=b"dc-sample").digest(), "big")


def place_of(seed: bytes, problem_id: str) -> int:
    name = problem_id.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(name, digest_size=8, key=seed, person=b"dc-place").digest()
    return int.from_bytes(digest, "big") // 2 ** (64 - 38)


def draw(data: Data, request: SampleRequest, bins: dict[str, int], retired: set[str]) -> list[tuple[str, str | None]]:
    strata: dict[tuple[str, int], list[str]] = {}
    for name, problem in data.problems.items():
        if request.data_source in (None, problem.data_source):
            strata.setdefault((problem.data_source or "", bins[name]), []).append(name)
    greatest = max(request.weights)
    weights = [max(1, round(w / greatest * 2**32)) if w else 0 for w in request.weights]
    left = {
        stratum: n
        for stratum, names in sorted(strata.items())
        if weights[stratum[1]] and (n := sum(name not in retired for name in names))
    }
    quotas: dict[tuple[str, int], int] = {}
    if sum(left.values()) <= request.n:
        quotas, left = left, {}
    while left:
        rest = request.n - sum(quotas.values())
        total = sum(weights[stratum[1]] * n for stratum, n in left.items())
        full = [stratum for stratum in left if Fraction(rest * weights[stratum[1]], total) >= 1]
        quotas |= {stratum: left.pop(stratum) for stratum in full}
        if full:
            continue
        # Systematic sampling: whole numbers from a random start on fall into the strata' shares of the line.
        start = Fraction(random_number(data.seed, request.step, "#quota") * total // 2**128, total)
        line = Fraction(0)
        for stratum, n in left.items():
            end = line + Fraction(rest * weights[stratum[1]] * n, total)
            quotas[stratum] = math.floor(end + start) - math.floor(line + start)
            line = end
        break

    def order(name: str) -> tuple[int, str]:
        return random_number(data.seed, request.step, f"@{name}"), name

    drawn: list[str] = []
    for stratum, quota in quotas.items():
        if quota:
            found = candidates(data, request.step, stratum, quota, strata[stratum], retired)
            drawn += sorted(found, key=order)[:quota]
    return [(name, data.problems[name].data_source) for name in sorted(drawn, key=order)]


def candidates(
    data: Data, step: int, stratum: tuple[str, int], quota: int, names: list[str], retired: set[str]
) -> set[str]:
    free = {name for name in names if name not in retired}
    wanted = quota + 1.5 * math.sqrt(quota) + 0.5
    share = wanted / len(free)
    if share >= 0.5:
        return free
    number = math.ceil(wanted / 8)
    width = int(-math.log1p(-share) * PLACES / number)
    found: set[str] = set()
    for index in range(4 * number):
        if index % number == 0 and len(found) >= quota:
            return found
        text = f"#place {index} {stratum[1]}:{stratum[0]}"
        first = random_number(data.seed, step, text) * PLACES // 2**128
        found |= {name for name in free if (place_of(data.seed, name) - first) % PLACES < width}
    return found if len(found) >= quota else free


def check(request: SampleRequest, closed: int, keep_steps: int, data: Data) -> None:
    """Refuse a step that has no sample and may not get one."""
    if request.step <= closed:
        raise errors.StepClosed("")
    if sum(step > closed for step in data.samples) >= keep_steps:
        raise errors.TooManySamples("")
    sources = {p.data_source for p in data.problems.values()}
    if request.data_source is not None and request.data_source not in sources:
        raise errors.UnknownDataSource("")
    if request.retirement is not None and request.retirement.steps > keep_steps - 1:
        raise errors.InvalidPolicy("")
