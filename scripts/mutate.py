"""Change the code in one token at a time, and list the changes that no test notices.

    python scripts/mutate.py --results FILE             run the sample; prints killed and survived by target
    python scripts/mutate.py --results FILE --resume    the same, without the mutants that FILE has a result for
    python scripts/mutate.py --results FILE --survivors run the survivors of FILE once more (after adding tests)
    python scripts/mutate.py --list                     print the sample, run nothing

A mutant is one change of the source text: another comparison, a moved boundary, another arithmetic operator or
constant, ``and`` for ``or``, a condition without its ``not``, ``return None``, a statement or a ``raise`` removed.
Each runs the tests of its target in a copy of the tree. It is killed if a test fails or the tests take too long.

The sample depends on ``--seed`` and on the text of the lines, not on their positions or on file names: an unrelated
change of the code replaces few mutants of the sample. Docstrings, annotations, f-strings, log calls and text of error
messages are left alone.
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import contextlib
import difflib
import hashlib
import json
import multiprocessing
import os
import queue
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from mutation_targets import TARGETS, Target

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("service", "client", "tests", "docs", "scripts", "examples", "bench", "deploy", "pyproject.toml")
PYTEST = (
    "-x",
    "-q",
    "-rfE",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:randomly",
    "-p",
    "no:xdist",
    "-W",
    "ignore:Module already imported",
    "--hypothesis-seed=0",
)
FORKS = multiprocessing.get_context("forkserver")
PRELOADED = ("numpy", "pytest", "hypothesis.strategies", "fastapi.testclient", "httpx", "redis.asyncio", "flint")
"""Imported once, in the process from which that of each mutant is forked: nothing of this project."""
LEAST = 25
"""Mutants of a small target in a sample."""
EXAMPLES = 20
"""Examples of a property test that sets no number of its own."""
MEMORY = 6 << 30
"""Bytes of address space that the tests of one mutant may take."""


@dataclass(frozen=True)
class Limits:
    """The time that one run of pytest may take: an endless loop meets that of the CPU, an endless wait the other."""

    seconds: float
    cpu_seconds: int


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    key: str
    target: str
    path: str
    line: int
    kind: str
    start: int
    """Byte offset of the replaced text in the file."""
    end: int
    text: str
    """The text that replaces it."""

    def apply(self, source: bytes) -> bytes:
        """Return the source of the file with the change."""
        return source[: self.start] + self.text.encode() + source[self.end :]


COMPARISONS = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
    "in": ("not in",),
    "not in": ("in",),
    "is": ("is not",),
    "is not": ("is",),
}
ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*", "//": "*", "%": "*", "**": "*", "&": "|", "|": "&"}
_COMPARISON = re.compile(rb"not\s+in|is\s+not|<=|>=|==|!=|<|>|\bin\b|\bis\b")
_ARITHMETIC = re.compile(rb"\*\*|//|[-+*/%&|]")


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


class _Finder(ast.NodeVisitor):
    """Collects the changes that are possible in one file."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.changes: list[tuple[str, int, int, str]] = []
        self.constants = 0
        """Constants so far: they take turns at one more, one less and twice."""
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return (
            self._starts[node.lineno - 1] + node.col_offset,
            self._starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def _between(self, start: int, end: int, pattern: re.Pattern[bytes]) -> tuple[int, int, str] | None:
        """Find an operator between its operands, where there are also brackets and comments."""
        text = re.sub(rb"#[^\n]*", lambda comment: b" " * len(comment[0]), self.source[start:end])
        match = pattern.search(text)
        return match and (start + match.start(), start + match.end(), " ".join(match[0].decode().split()))

    def visit_Compare(self, node: ast.Compare) -> None:
        left = node.left
        for right in node.comparators:
            if operator := self._between(self._span(left)[1], self._span(right)[0], _COMPARISON):
                start, end, text = operator
                self.changes += [("comparison", start, end, other) for other in COMPARISONS[text]]
            left = right
        self.generic_visit(node)

    def _operator(self, left: ast.expr, right: ast.expr) -> None:
        if operator := self._between(self._span(left)[1], self._span(right)[0], _ARITHMETIC):
            start, end, text = operator
            self.changes.append(("arithmetic", start, end, ARITHMETIC[text]))

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if not any(_is_text(part) for part in (node.left, node.right)):
            self._operator(node.left, node.right)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        word = "and" if isinstance(node.op, ast.And) else "or"
        pattern = re.compile(rb"\b" + word.encode() + rb"\b")
        for left, right in zip(node.values, node.values[1:], strict=False):
            if operator := self._between(self._span(left)[1], self._span(right)[0], pattern):
                self.changes.append(("boolean", operator[0], operator[1], "or" if word == "and" else "and"))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            start, end = self._span(node)[0], self._span(node.operand)[0]
            self.changes.append(("not", start, start + 3, ""))
            assert end > start
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        start, end = self._span(node)
        if isinstance(node.value, bool):
            self.changes.append(("constant", start, end, str(not node.value)))
        elif isinstance(node.value, int | float):
            others = [other for other in (node.value + 1, node.value - 1, node.value * 2) if other != node.value]
            self.constants += 1
            self.changes.append(("constant", start, end, f"({others[self.constants % len(others)]!r})"))

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self.changes.append(("return", *self._span(node), "return None"))
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.changes.append(("raise", *self._span(node), "pass"))
        # The text of the message is left alone.

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.changes.append(("statement", *self._span(node), "pass"))
        self._operator(node.target, node.value)
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        if isinstance(node.value, ast.Call) and ast.unparse(node.value.func).startswith(
            ("log.", "logger.", "logging.")
        ):
            return
        if not isinstance(node.value, ast.Yield):
            self.changes.append(("statement", *self._span(node), "pass"))
        self.generic_visit(node)

    def visit_Continue(self, node: ast.Continue) -> None:
        self.changes.append(("statement", *self._span(node), "pass"))

    def visit_Break(self, node: ast.Break) -> None:
        self.changes.append(("statement", *self._span(node), "pass"))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave f-strings alone: Python 3.11 gives no positions inside them."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        """Leave annotations alone."""

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in (*node.decorator_list, node.args, *node.body):
            self.visit(part)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)


def mutants_of(target: str, path: str, source: bytes, seed: int) -> Iterator[Mutant]:
    """Yield each possible mutant of a file."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    seen: Counter[str] = Counter()
    for kind, start, end, text in finder.changes:
        line_start = source.rfind(b"\n", 0, start) + 1
        line_end = source.find(b"\n", end)
        lines = source[line_start:line_end].decode().strip()
        change = f"{seed}|{target}|{Path(path).name}|{lines}|{start - line_start}|{kind}|{text}"
        seen[change] += 1
        key = hashlib.sha256(f"{change}|{seen[change]}".encode()).hexdigest()[:16]
        yield Mutant(key, target, path, source.count(b"\n", 0, start) + 1, kind, start, end, text)


def sample(size: int, seed: int, only: set[str] | None = None) -> list[Mutant]:
    """Return `size` mutants of all targets, in the order of the source.

    Each target has at least `LEAST` of them, or all that are possible.
    """
    everything: list[Mutant] = []
    for name, target in TARGETS.items():
        missing = [test for test in target.tests if test.endswith(".py") and not (ROOT / test).exists()]
        if missing:
            sys.exit(f"target {name}: no file {', '.join(missing)}")
        files = sorted({file for pattern in target.sources for file in ROOT.glob(pattern)})
        if not files:
            sys.exit(f"target {name}: no file matches {', '.join(target.sources)}")
        for file in files:
            path = file.relative_to(ROOT).as_posix()
            everything += mutants_of(name, path, file.read_bytes(), seed)
    shuffled = sorted(everything, key=lambda mutant: mutant.key)
    first = [m for name in TARGETS for m in [other for other in shuffled if other.target == name][:LEAST]]
    chosen = {mutant.key for mutant in (first + [m for m in shuffled if m not in first])[:size]}
    return [mutant for mutant in everything if mutant.key in chosen and (only is None or mutant.target in only)]


class Copy:
    """A copy of the tree, in which one mutant at a time runs.

    The baseline writes bytecode of the files without a mutant, which saves a third of the time of the mutants. A run
    of a mutant writes none, and does not read that of the file it changed: its time of change differs.
    """

    def __init__(self, folder: Path, source: Copy | None = None) -> None:
        self.root = folder / "tree"
        if source is not None:
            shutil.copytree(source.root, self.root)
        else:
            self._copy_checkout()

    def _copy_checkout(self) -> None:
        ignore = shutil.ignore_patterns("__pycache__", "*.sqlite3*", ".hypothesis")
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.root / name, ignore=ignore)
            elif source.exists():
                self.root.mkdir(exist_ok=True)
                shutil.copy2(source, self.root / name)

    def run(self, target: Target, limits: Limits, path: str = "", bytecode: bool = False) -> tuple[str, str]:
        """Run the tests of a target, those closest to the changed file first.

        Return ``passed``, ``failed`` or ``timeout``, and the first failure.
        """
        for arguments in target.stages(path):
            outcome, failure = self._run_stage(arguments, limits, bytecode)
            if outcome != "passed":
                return outcome, failure
        return "passed", ""

    def _run_stage(self, arguments: tuple[str, ...], limits: Limits, bytecode: bool) -> tuple[str, str]:
        shutil.rmtree(self.root / ".hypothesis", ignore_errors=True)
        output_file = self.root.parent / "output"
        process = FORKS.Process(
            target=_run_pytest, args=(self.root, arguments, output_file, limits.cpu_seconds, bytecode)
        )
        process.start()
        process.join(limits.seconds)
        if process.exitcode in (None, -signal.SIGXCPU):
            assert process.pid is not None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.join()
            return "timeout", ""
        if process.exitcode == 5:
            sys.exit(f"no tests among {arguments}")
        output = output_file.read_text(errors="replace").splitlines()
        failures = [line for line in output if line.startswith(("FAILED", "ERROR"))]
        return ("passed" if process.exitcode == 0 else "failed"), (failures or output[-1:] or [""])[0]


def _run_pytest(root: Path, arguments: tuple[str, ...], output_file: Path, cpu_seconds: int, bytecode: bool) -> None:
    """Run tests in this process, which is a new one, and exit with the status of pytest."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
    os.chdir(root)
    with output_file.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    folders = [str(root), *(str(root / part) for part in ("service", "client"))]
    sys.path[:0] = folders
    sys.dont_write_bytecode = not bytecode
    os.environ["PYTHONPATH"] = os.pathsep.join(folders[1:])
    if not bytecode:
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    import hypothesis
    import pytest

    # The first failing example is enough: a smaller one is not needed. A mutant that few examples miss survives.
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutation", phases=phases, max_examples=EXAMPLES)
    hypothesis.settings.load_profile("mutation")
    status = int(pytest.main([*PYTEST, *arguments]))
    sys.stdout.flush()
    sys.stderr.flush()
    (output_file.parent / "cpu").write_text(str(time.process_time()))
    os._exit(status)


def diff(mutant: Mutant, source: bytes) -> str:
    """Return the changed lines as a unified diff without context."""
    before, after = (text.decode().splitlines() for text in (source, mutant.apply(source)))
    lines = list(difflib.unified_diff(before, after, lineterm="", n=0))[2:]
    return "\n".join(line for line in lines if not line.startswith("@@"))


def baseline(copy: Copy, names: set[str]) -> dict[str, Limits]:
    """Run the tests of each target without a mutant. Return the time a mutant may take.

    A mutant may take ten times as long as no mutant, and a minute more: a busy machine is no reason for a timeout. It
    may take three times the CPU time of no mutant, and 20 seconds more.
    """
    limits = {}
    for name in sorted(names):
        started = time.monotonic()
        outcome, failure = copy.run(TARGETS[name], Limits(600, 600), bytecode=True)
        taken = time.monotonic() - started
        if outcome != "passed":
            sys.exit(f"target {name}: its tests fail without a mutant: {failure}")
        cpu = float((copy.root.parent / "cpu").read_text())
        limits[name] = Limits(60 + 10 * taken, round(20 + 3 * cpu))
        print(f"{name}: {taken:.1f} s without a mutant, the last tests {cpu:.1f} s of CPU time", flush=True)
    return limits


def run_all(mutants: list[Mutant], workers: int, results: dict[str, dict[str, object]], file: Path) -> None:
    """Run the mutants, `workers` at a time, and write each result to `file` at once."""
    lock = threading.Lock()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    FORKS.set_forkserver_preload(["__main__", *PRELOADED])
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        first = Copy(Path(folder) / "0")
        limits = baseline(first, {mutant.target for mutant in mutants})
        copies = [first, *(Copy(Path(folder) / str(number), first) for number in range(1, workers))]
        free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for copy in copies:
            free.put(copy)

        def run_one(mutant: Mutant) -> None:
            copy = free.get()
            path = copy.root / mutant.path
            source = path.read_bytes()
            started = time.monotonic()
            try:
                path.write_bytes(mutant.apply(source))
                outcome, failure = copy.run(TARGETS[mutant.target], limits[mutant.target], mutant.path)
            finally:
                path.write_bytes(source)
                free.put(copy)
            status = "survived" if outcome == "passed" else "killed"
            taken = round(time.monotonic() - started, 1)
            with lock:
                results[mutant.key] = {
                    **{name: value for name, value in asdict(mutant).items() if name not in ("start", "end", "text")},
                    "status": status,
                    "by": "timeout" if outcome == "timeout" else failure[:160],
                    "seconds": taken,
                    "diff": diff(mutant, source),
                }
                file.write_text(json.dumps(list(results.values()), indent=1) + "\n")
                done = sum(other.key in results for other in mutants)
                print(f"{done}/{len(mutants)} {status} {mutant.path}:{mutant.line} {mutant.kind}", flush=True)

        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            list(pool.map(run_one, mutants))


def report(mutants: list[Mutant], results: dict[str, dict[str, object]]) -> None:
    """Print killed and survived by target."""
    counts: dict[str, Counter[str]] = {}
    for mutant in mutants:
        if mutant.key in results:
            counts.setdefault(mutant.target, Counter())[str(results[mutant.key]["status"])] += 1
    total = sum(counts.values(), Counter())
    for name, count in [*counts.items(), ("all", total)]:
        share = count["killed"] / max(count.total(), 1)
        print(f"{name:12} {count['killed']:4} killed {count['survived']:4} survived {share:6.1%}")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / ".work" / "mutation.json", help="results, as JSON")
    parser.add_argument("--size", type=int, default=400, help="mutants in the sample (default 400)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="mutants at a time (default 2)")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only these targets of the sample")
    parser.add_argument("--resume", action="store_true", help="keep the results of an earlier run")
    parser.add_argument("--survivors", action="store_true", help="run only the survivors of an earlier run")
    parser.add_argument("--list", action="store_true", help="print the sample, run nothing")
    options = parser.parse_args()
    mutants = sample(options.size, options.seed, set(options.target) if options.target else None)
    if options.list:
        for mutant in mutants:
            print(f"{mutant.path}:{mutant.line} {mutant.kind}\n{diff(mutant, (ROOT / mutant.path).read_bytes())}")
        return 0
    results: dict[str, dict[str, object]] = {}
    if (options.resume or options.survivors) and options.results.exists():
        results = {row["key"]: row for row in json.loads(options.results.read_text())}
    todo = [mutant for mutant in mutants if mutant.key not in results]
    if options.survivors:
        todo = [mutant for mutant in mutants if results.get(mutant.key, {}).get("status") == "survived"]
    options.results.parent.mkdir(parents=True, exist_ok=True)
    if todo:
        run_all(todo, options.workers, results, options.results)
    report(mutants, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
