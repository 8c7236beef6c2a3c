"""Search for costly answers: a fuzz that maximises the CPU time and the memory of one comparison.

    python bench/costly_answers.py [--seconds 120] [--seed 1] [--top 12]

Answers are grown from a grammar of everything that the reader accepts (signs, tuples, sets, unions, intervals,
matrices, sums, powers, roots, integer functions, units, cases, dots, words). A population evolves: the pairs of gold
and answer that cost most are mutated, crossed and made larger. The gold is a short one, the answer itself, or the
answer with one part changed. Each pair runs in a child process with the limits of a worker, so a pair that exceeds
one ends its child only. Exit status 1 if a pair took more than `--most` seconds of CPU (default: 0.5) or more memory
than a worker has.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import time
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection

from deepcompress_verify.tiers import decide_pair

MAX_CHARS = 4_000
"""Longest answer of the search."""
SHORT = ("1", "x", "(1,2)", r"\{1,2\}", r"\frac{1}{2}", "x=1", "[0,1]", r"\sqrt{2}", "5 \\text{ cm}", "x^2+1")
LEAVES = (
    "1", "2", "7", "0", "12", "999", "x", "y", "n", "k", "a_1", r"\pi", "i", "e", "0.5", "3.14159", r"\infty", "A",
    "C", r"\alpha", "10^{9}", "1000000007", r"\text{cat}", r"\ldots", r"\emptyset", r"\mathbb{R}", "5\\%",
    r"30^\circ",
)  # fmt: skip
UNARY = (
    r"\pm {0}", r"\mp {0}", "-{0}", r"\sqrt{{{0}}}", r"\sqrt[3]{{{0}}}", r"\lfloor {0} \rfloor", r"\lceil {0} \rceil",
    "|{0}|", "({0})!", r"\sin({0})", r"\cos({0})", r"\tan({0})", r"\arctan({0})", r"\ln({0})", r"\log_2({0})",
    r"e^{{{0}}}", "({0})^2", "({0})^3", "({0})^9", "({0})^{{40}}", "({0})", "[{0}]", r"\{{{0}\}}",
    r"\overline{{{0}}}",
    r"{0}\text{{ cm}}", r"\sum_{{k=1}}^{{9}} {0}", r"\prod_{{k=1}}^{{50}} {0}", r"\int_0^1 {0} dx", "f({0})",
    r"\gcd({0},12)", r"\text{{ for all }} {0}", r"x \ne {0}", r"\lim_{{x\to 0}} {0}", "{0}'",
)  # fmt: skip
BINARY = (
    "{0}+{1}", "{0}-{1}", "{0} {1}", r"{0}\cdot {1}", r"\frac{{{0}}}{{{1}}}", "({0})^{{{1}}}", "{0}={1}", "{0}<{1}",
    r"{0}\le {1}", "({0},{1})", "[{0},{1})", r"({0},{1}]\cup [{1},\infty)", r"\{{{0},{1}\}}", r"\{{{0}:{1}\}}",
    r"{0}\cup {1}", r"{0}\cap {1}", r"{0}\setminus {1}", "{0},{1}", r"{0}\text{{ or }}{1}", r"{0}\text{{ and }}{1}",
    r"{0} \bmod {1}", r"\binom{{{0}}}{{{1}}}", "{0}:{1}", r"{0}\pm {1}",
    r"\begin{{pmatrix}}{0}&{1}\\{1}&{0}\end{{pmatrix}}",
    r"\max({0},{1})", r"\min({0},{1})", r"\begin{{cases}}{0}&x<{1}\\{1}&x\ge 0\end{{cases}}", r"{0}\equiv {1}\pmod 7",
    r"{0}\approx {1}", r"{0}\text{{ if }}{1}", r"\log_{{{0}}}({1})",
)  # fmt: skip
REPEATED = (
    ",", "+", "-", r"\cdot ", " ", r"\cup ", r"\cap ", "=", "<", r"\le ", r"\pm ", r"\text{ or }", r"\text{ and }",
    ":", "/", "^", "&", r"\\", "!", ";", r"\times ", r"\setminus ",
)  # fmt: skip
WRAPPED = ("{0}", "({0})", r"\{{{0}\}}", "[{0}]", r"\begin{{pmatrix}}{0}\end{{pmatrix}}", r"\sqrt{{{0}}}", "({0})^2")


@dataclass(slots=True)
class Plant:
    """An expression as a template with parts; with `separator`, its parts repeated `count` times."""

    template: str
    parts: list[Plant] = field(default_factory=list)
    separator: str = ""
    count: int = 1

    def text(self) -> str:
        """Return the expression, cut off once it is far too long."""
        if not self.parts:
            return self.template
        texts = [part.text()[: 2 * MAX_CHARS] for part in self.parts]
        if self.separator:
            inner, size = [], 0
            for number in range(self.count):
                one = texts[number % len(texts)].replace("7", str(number + 2))
                size += len(one)
                if size > 2 * MAX_CHARS:
                    break
                inner.append(one)
            return self.template.format(self.separator.join(inner))
        return self.template.format(*texts)


def grow(choice: random.Random, depth: int) -> Plant:
    kind = choice.random()
    if depth <= 0 or kind < 0.15:
        return Plant(choice.choice(LEAVES).replace("{", "{").replace("}", "}"))
    if kind < 0.45:
        return Plant(choice.choice(UNARY), [grow(choice, depth - 1)])
    if kind < 0.75:
        return Plant(choice.choice(BINARY), [grow(choice, depth - 1), grow(choice, depth - 1)])
    parts = [grow(choice, depth - 2) for _ in range(choice.choice((1, 1, 2, 3)))]
    return Plant(choice.choice(WRAPPED), parts, choice.choice(REPEATED), choice.choice((3, 6, 9, 14, 20, 40, 64)))


def copied(plant: Plant) -> Plant:
    return Plant(plant.template, [copied(part) for part in plant.parts], plant.separator, plant.count)


def places(plant: Plant) -> list[Plant]:
    return [plant, *(inner for part in plant.parts for inner in places(part))]


def mutated(plant: Plant, other: Plant, choice: random.Random) -> Plant:
    new = copied(plant)
    spot = choice.choice(places(new))
    what = choice.random()
    if what < 0.3 and spot.separator:
        spot.count = max(1, int(spot.count * choice.choice((0.5, 1.3, 2, 3))) + choice.choice((-1, 0, 1)))
        return new
    donor = copied(choice.choice(places(other))) if what < 0.5 else grow(choice, choice.choice((0, 1, 2, 3)))
    if what > 0.85:
        donor = Plant(choice.choice(UNARY), [copied(spot)])
    elif what > 0.75:
        parts = [copied(spot)]
        donor = Plant(choice.choice(WRAPPED), parts, choice.choice(REPEATED), choice.choice((3, 9, 20, 64)))
    spot.template, spot.parts, spot.separator, spot.count = donor.template, donor.parts, donor.separator, donor.count
    return new


@dataclass(slots=True)
class Pair:
    """A gold and an answer, with the cost of their comparison."""

    gold: str
    plant: Plant
    cpu_s: float = 0.0
    memory: int = 0
    status: str = ""

    @property
    def answer(self) -> str:
        return self.plant.text()[:MAX_CHARS]


def gold_for(plant: Plant, choice: random.Random) -> str:
    kind = choice.random()
    if kind < 0.4:
        return choice.choice(SHORT)
    if kind < 0.55:
        return plant.text()[:MAX_CHARS]
    changed = copied(plant)
    spot = choice.choice(places(changed))
    if kind < 0.8 or not spot.separator:
        spot.template, spot.parts, spot.separator = choice.choice(LEAVES), [], ""
    else:
        spot.count = max(1, spot.count - 1)
    return changed.text()[:MAX_CHARS]


# --- the child -----------------------------------------------------------------------------------------------


class _EndedError(BaseException):
    pass


def _peak() -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def serve(pipe: Connection, limit_s: float, memory: int) -> None:
    def end(_number: int, _frame: object) -> None:
        raise _EndedError

    signal.signal(signal.SIGPROF, end)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    while True:
        gold, answer = pipe.recv()
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + limit_s + 3), resource.RLIM_INFINITY))
        before, began = _peak(), time.thread_time()
        signal.setitimer(signal.ITIMER_PROF, limit_s)
        try:
            status = decide_pair((gold,), answer, None)[0]
        except _EndedError:
            status = "limit"
        except MemoryError:
            status = "memory"
        except Exception as error:  # a finding as well
            status = f"error {type(error).__name__}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send((time.thread_time() - began, _peak() - before, status))


class Child:
    def __init__(self, limit_s: float, memory: int) -> None:
        self._arguments = (limit_s, memory)
        self._start()

    def _start(self) -> None:
        context = get_context("fork")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=serve, args=(far, *self._arguments), daemon=True)
        self._process.start()
        far.close()

    def measure(self, pair: Pair) -> None:
        self._pipe.send((pair.gold, pair.answer))
        try:
            pair.cpu_s, pair.memory, pair.status = self._pipe.recv()
        except EOFError:
            self._process.join()
            pair.cpu_s, pair.status = self._arguments[0], f"its process ended with {self._process.exitcode}"
            self._start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="CPU seconds of the search")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--top", type=int, default=12)
    parser.add_argument("--most", type=float, default=0.5, help="largest CPU seconds of a pair")
    parser.add_argument("--limit", type=float, default=2.0, help="CPU seconds at which a pair is ended")
    options = parser.parse_args()
    sys.setrecursionlimit(1000)
    choice = random.Random(options.seed)
    child = Child(options.limit, 256 << 20)
    best: list[Pair] = []
    spent, count, errors = 0.0, 0, {}
    while time.process_time() + spent < options.seconds:
        if len(best) < 30 or choice.random() < 0.4:
            plant = grow(choice, choice.choice((2, 3, 4)))
        else:
            plant = mutated(choice.choice(best).plant, choice.choice(best).plant, choice)
        if len(plant.text()) > 2 * MAX_CHARS:
            continue
        pair = Pair(gold_for(plant, choice), plant)
        child.measure(pair)
        spent += pair.cpu_s
        count += 1
        if pair.status.startswith(("error", "memory", "its")):
            errors.setdefault(pair.status, pair)
        best.append(pair)
        # The costliest ones, one for each shape, so that one family does not fill the population.
        shapes: dict[str, Pair] = {}
        for one in sorted(best, key=lambda one: -one.cpu_s - one.memory / (256 << 20)):
            shapes.setdefault("".join(sorted(set(one.answer) - set("0123456789")))[:24] + one.gold[:6], one)
        best = list(shapes.values())[:60]
    print(f"{count:,} pairs in {options.seconds:g} s of CPU, seed {options.seed}, process {os.getpid()}")
    for pair in best[: options.top]:
        size = f"{pair.memory / 2**20:6.0f} MiB  {len(pair.answer):5d} chars"
        print(f"{1e3 * pair.cpu_s:8.0f} ms {size}  {pair.status}")
        print(f"      gold   {pair.gold[:150]!r}\n      answer {pair.answer[:230]!r}")
    for status, pair in errors.items():
        print(f"{status}: gold {pair.gold[:300]!r} answer {pair.answer[:300]!r}")
    worst = max(pair.cpu_s for pair in best)
    sys.exit(worst > options.most or bool(errors))


if __name__ == "__main__":
    main()
