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
ROUNDS = 6


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


def random_bytes(seed: bytes, step: int, purpose: str, count: int) -> bytes:
    return hashlib.shake_128(b"dc-sample" + seed + f"{step}:{purpose}".encode()).digest(count)


def random_numbers(seed: bytes, step: int, purpose: str, count: int) -> list[int]:
    """Numbers of 64 bits."""
    data = random_bytes(seed, step, purpose, 8 * count)
    return [int.from_bytes(data[8 * i : 8 * i + 8], "little") for i in range(count)]


def random_number(data: Data, step: int, purpose: str, parts: int) -> Fraction:
    """From 0 to 1, in a number of equal parts."""
    number = int.from_bytes(random_bytes(data.seed, step, purpose, 16), "little")
    return Fraction(number * parts // 2**128, parts)


def systematic(shares: list[Fraction], start: Fraction) -> list[int]:
    """Whole numbers from a random start on fall into the shares of a line."""
    line, points = Fraction(0), []
    for share in shares:
        points.append(math.floor(line + share + start) - math.floor(line + start))
        line += share
    return points


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
        shares = {stratum: Fraction(rest * weights[stratum[1]] * n, total) for stratum, n in left.items()}
        thin = [stratum for stratum, share in shares.items() if share < 8 and left[stratum] >= 16]
        few = sum(shares[stratum] for stratum in thin)
        line = [(stratum, share) for stratum, share in shares.items() if stratum not in thin]
        points = systematic([*(share for _, share in line), few], random_number(data, request.step, "quota", total))
        quotas |= {stratum: points.pop(0) for stratum, _ in line}
        (drawn_few,) = points
        if drawn_few:
            units, mass = math.ceil(drawn_few / 8), int(few * total / rest)
            spaced = [shares[stratum] * units / few for stratum in thin]
            points = systematic(spaced, random_number(data, request.step, "units", mass))
            turn = int(random_number(data, request.step, "larger", units) * units)
            of_units = [stratum for stratum, number in zip(thin, points, strict=True) for _ in range(number)]
            for unit, stratum in enumerate(of_units):
                more = (unit + turn) % units < drawn_few % units
                quotas[stratum] = quotas.get(stratum, 0) + drawn_few // units + more
        break

    quotas = {stratum: quotas[stratum] for stratum in sorted(quotas) if quotas[stratum]}
    numbers = {
        stratum: windows_of(quota, sum(name not in retired for name in strata[stratum]))
        for stratum, quota in quotas.items()
    }
    firsts = random_numbers(data.seed, request.step, "places", ROUNDS * sum(number for number, _ in numbers.values()))
    found: list[tuple[tuple[str, int], str]] = []
    for stratum, quota in quotas.items():
        number, width = numbers[stratum]
        own, firsts = firsts[: ROUNDS * number], firsts[ROUNDS * number :]
        places = [first // 2 ** (64 - 38) for first in own]
        names = sorted((place_of(data.seed, name), name) for name in strata[stratum])
        found += [(stratum, name) for name in candidates(names, retired, quota, number, width, places)]
    keys = random_numbers(data.seed, request.step, "order", len(found))
    drawn: list[tuple[int, str]] = []
    for stratum, quota in quotas.items():
        own_keys = sorted((key, name) for key, (other, name) in zip(keys, found, strict=True) if other == stratum)
        drawn += own_keys[:quota]
    return [(name, data.problems[name].data_source) for _, name in sorted(drawn)]


def windows_of(quota: int, free: int) -> tuple[int, int]:
    """Windows of a round, and places of each; none for a stratum that is read whole."""
    wanted = quota + 1.5 * math.sqrt(quota) + 0.5
    share = wanted / free
    if share >= 0.5:
        return 0, 0
    number = math.ceil(wanted / 16)
    return number, int(share * (6 - share) / (6 - 4 * share) * PLACES / number)


def candidates(
    names: list[tuple[int, str]], retired: set[str], quota: int, number: int, width: int, places: list[int]
) -> list[str]:
    """The problems that may be drawn, in the order in which they are found."""
    found: dict[str, None] = {}
    for index, first in enumerate(places):
        if index % number == 0 and len(found) >= quota:
            return list(found)
        for lap in (0, PLACES):  # a window that passes the last place goes on at the first
            for place, name in names:
                if first <= place + lap < first + width and name not in retired:
                    found[name] = None
    if len(found) < quota:
        found |= {name: None for _, name in names if name not in retired}
    return list(found)


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
