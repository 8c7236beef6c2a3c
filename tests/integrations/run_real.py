"""Build an environment for each framework that pip can install without a GPU, and run the adapters inside it.

    python tests/integrations/run_real.py                  # all of them: gigabytes, and an hour or two
    python tests/integrations/run_real.py trl              # one
    python tests/integrations/run_real.py trl --envs DIR   # keep the environments there (default: .frameworks)
    python tests/integrations/run_real.py --resume         # only those that have not passed on this commit
    python tests/integrations/run_real.py --jobs 2         # two at a time
    python tests/integrations/run_real.py --table          # run nothing: print the results as the table of the docs
    python tests/integrations/run_real.py --quick          # those of continuous integration: minutes

The service runs from the environment that runs this command (it needs the [dev] extra); the frameworks' environments
have only the client. Each test's first lines name its stand-ins. Results are written to results.json beside the
environments after each framework. An environment of another checkout is reused: only the client is installed again.

The output of each framework's tests is shown, and written to NAME.log beside its environment. Tests that run longer
than `--limit`, or do not end after their report, are stopped with everything that they started; the log then has the
stack of each of their threads, and the next framework is run.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
TORCH = "torch==2.13.0"
LIMIT_S = 3600.0
"""Longest time for the tests of one framework, and for one call of pip."""
END_S = 120.0
"""Longest time from the tests' report to the end of their process."""
Result = dict[str, Any]
"""The record of one framework: versions, counts, seconds, exit, or the error of its installation."""


@dataclass(frozen=True)
class Framework:
    """The packages of one environment, in the order of installation, and the tests that run in it."""

    tests: tuple[str, ...]
    packages: tuple[str, ...]
    without_dependencies: tuple[str, ...] = ()
    """Packages whose own dependencies need a GPU or a compiler: the ones needed are in `packages`."""
    python: str | None = None
    """The least Python that it takes, where that is above ours."""
    quick: str | None = None
    """The tests of `--quick`, as pytest's -k selects them; None: too long to install or to run."""


OF_VERL = ("cachetools", "uvicorn", "fastapi", "pyzmq", "psutil", "msgspec", "sortedcontainers")
OF_OPENRLHF = (
    *("ray==2.55.0", "transformers==5.15.0", "accelerate", "datasets", "peft"),
    *("aiohttp", "tqdm", "packaging", "pylatexenc", "sympy"),
)
SHOWN = ("torch", "transformers", "datasets", "ray", "TransferQueue", "requests")
"""Packages whose installed versions the table shows, beside the framework's own."""

FRAMEWORKS = {
    "trl": Framework(
        ("test_trl.py", "test_trl_async.py"),
        (TORCH, "trl==1.16.*", "aiohttp", "requests"),
        quick="undecided or group_reward or attach or scores_a_group or over_http or missing_facts",
    ),
    # The last TRL that trains None as 0. It imports requests, which the newest datasets does not bring.
    "trl_1.5": Framework(("test_trl.py",), (TORCH, "trl==1.5.*", "requests")),
    "trl_0.24": Framework(
        ("test_trl.py",), (TORCH, "trl==0.24.0", "transformers==4.57.*", "datasets==4.*", "requests")
    ),
    "verl": Framework(
        ("test_verl.py", "test_verl_training.py"), (TORCH, "verl==0.9.1", *OF_VERL), ("TransferQueue==0.1.11",)
    ),
    "verl_0.9.0": Framework(("test_verl.py",), (TORCH, "verl==0.9.0", *OF_VERL), ("TransferQueue==0.1.11",)),
    "openrlhf": Framework(("test_openrlhf.py",), (TORCH, *OF_OPENRLHF), ("openrlhf==0.11.2",)),
    "openrlhf_0.11.0": Framework(("test_openrlhf.py",), (TORCH, *OF_OPENRLHF), ("openrlhf==0.11.0",)),
    "ms_swift": Framework(("test_ms_swift.py",), (TORCH, "ms-swift==4.6.0")),
    # Its own requirements bring CUDA's libraries.
    "skyrl": Framework(
        ("test_skyrl.py",),
        (
            TORCH,
            *("transformers==5.16.1", "loguru", "omegaconf", "aiohttp", "pandas", "requests", "func_timeout"),
            *("pyyaml", "tqdm", "numpy", "jaxtyping", "cloudpathlib", "orjson", "pybase64"),
        ),
        ("skyrl==0.4.0", "skyrl-gym==0.4.0"),
        python="3.12",
    ),
    # Its own requirements bring CUDA's libraries, and pip does not resolve them.
    "areal": Framework(
        ("test_areal.py",),
        (
            TORCH,
            *("transformers==5.3.0", "hydra-core==1.4.0.dev1", "omegaconf==2.4.0.dev2", "ray==2.60.0", "torchdata"),
            *("aiohttp", "aiofiles", "colorlog", "einops", "fastapi", "flask", "httpx", "lark", "msgspec", "numba"),
            *("openai", "orjson", "pandas", "pillow", "psutil", "pybase64", "pyzmq", "requests", "setproctitle"),
            *("tabulate", "tenacity", "tensorboardX", "uvicorn", "uvloop"),
        ),
        ("areal==1.0.4",),
    ),
    "verifiers": Framework(("test_verifiers.py",), ("verifiers==0.4.0",), quick="test"),
    "verifiers_0.3": Framework(("test_verifiers.py",), ("verifiers==0.3.0",)),
    "nemo_gym": Framework(("test_nemo_gym.py",), ("nemo-gym==0.4.0",), python="3.12", quick="test"),
}


class NotInstalledError(Exception):
    """The environment cannot be built; the text is pip's reason."""


def interpreter(least: str | None) -> str:
    """This one, or one that is new enough: python3.12 or later, of the path or of pyenv."""
    if least is None or sys.version_info >= tuple(map(int, least.split("."))):
        return sys.executable
    names = [f"python3.{minor}" for minor in range(int(least.partition(".")[2]), 20)]
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob("*/bin/python3.*"))
    for candidate in [*map(shutil.which, names), *(str(path) for path in pyenv if path.name in names)]:
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    raise NotInstalledError(f"it needs Python {least} or later, and there is none here")


def has_interpreter(least: str | None) -> bool:
    """True if there is an interpreter that is new enough."""
    try:
        interpreter(least)
    except NotInstalledError:
        return False
    return True


def install(framework: Framework, folder: Path) -> Path:
    """The environment's interpreter; nothing is done where the environment is complete."""
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]

    def once(name: str, wanted: str, *commands: list[str]) -> None:
        """Run the commands, unless they have been run for what is wanted."""
        done = folder / name
        if done.exists() and done.read_text() == wanted:
            return
        for command in commands:
            call(command)
        done.write_text(wanted)

    if not python.exists():
        call([interpreter(framework.python), "-m", "venv", str(folder)])
    # torch first, by itself: a CPU build that is installed is then kept.
    parts = [framework.packages[:1], framework.packages[1:], framework.without_dependencies]
    commands = [[*pip, *part] for part in parts[:2] if part]
    if framework.without_dependencies:
        commands.append([*pip, "--no-deps", *framework.without_dependencies])
    once("packages", "\n".join([*framework.packages, *framework.without_dependencies]), *commands)
    once("checkout", str(ROOT), [*pip, "-e", str(ROOT), "pytest", "pytest-timeout"])
    return python


def call(command: list[str]) -> str:
    """Run a command and return its output; its last line of errors is the reason of an `NotInstalledError`."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"`{' '.join(command)[:200]}` took over {LIMIT_S:.0f} s") from None
    if result.returncode:
        said = result.stderr.strip().splitlines() or [f"exit {result.returncode}"]
        raise NotInstalledError(next((line for line in said if line.startswith("ERROR")), said[-1]))
    return result.stdout


def versions(python: Path) -> dict[str, str]:
    """The versions of Python, of the frameworks and of what the table shows beside them, by name."""
    listed = json.loads(call([str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]))
    found = {one["name"].replace("_", "-").lower(): one["version"] for one in listed}
    return {"python": call([str(python), "-V"]).split()[1], **found}


def counts(report: Path) -> dict[str, int]:
    """Tests by their outcome, of pytest's JUnit report."""
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    total, failed, skipped = (int(suite.get(name, "0")) for name in ("tests", "failures", "skipped"))
    failed += int(suite.get("errors", "0"))
    return {"passed": total - failed - skipped, "failed": failed, "skipped": skipped}


def commit() -> str:
    """The checkout's commit, marked where files are changed."""
    git = ["git", "-C", str(ROOT)]
    changed = call([*git, "status", "--porcelain", "--untracked-files=no"]).strip()
    return call([*git, "rev-parse", "--short=10", "HEAD"]).strip() + ("+" if changed else "")


def own_version(name: str, found: dict[str, str]) -> str:
    """The name and version of a framework: "trl 0.24.0" of the environment "trl_0.24"."""
    spec = next(
        one
        for one in (*FRAMEWORKS[name].packages, *FRAMEWORKS[name].without_dependencies)
        if one.partition("==")[0].replace("-", "_") == re.sub(r"_\d.*", "", name)
    )
    package = spec.partition("==")[0]
    return f"{package} {found.get(package.lower(), '?')}"


def table(results: Result) -> str:
    """The results as a Markdown table."""
    lines = ["| framework | with | tests | seconds | on | commit |", "|---|---|---|---|---|---|"]
    for name in (one for one in FRAMEWORKS if one in results):
        result = results[name]
        if "error" in result:
            lines.append(f"| {name} | | not installed: {result['error']} | | {result['date']} | {result['commit']} |")
            continue
        found = result["versions"]
        beside = [
            f"Python {found['python']}",
            *(f"{one} {found[one.lower()]}" for one in SHOWN if one.lower() in found),
        ]
        tests = ", ".join(f"{number} {outcome}" for outcome, number in result["counts"].items() if number)
        if "stopped" in result:
            tests = ", ".join(filter(None, [tests, result["stopped"]]))
        lines.append(
            f"| {own_version(name, found)} | {', '.join(beside)} | {tests} | {result['seconds']} | {result['date']} "
            f"| {result['commit']} |"
        )
    return "\n".join(lines)


def adopt() -> None:
    """Make processes whose parent ends children of this one (Linux only), so that `descendants` finds them."""
    if sys.platform == "linux":
        set_child_subreaper = 36
        ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def descendants() -> list[int]:
    """The processes that this one started, directly or not, and that run; none where there is no /proc."""
    parents = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = file.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it has ended
        if state != "Z":
            parents[int(file.parent.name)] = int(parent)
    found = [os.getpid()]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def end_descendants() -> None:
    """Kill what the tests left: Ray's processes, workers of a killed trainer."""
    until = time.monotonic() + 20
    while (left := descendants()) and time.monotonic() < until:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def tested(command: list[str], environment: dict[str, str], log: Path, report: Path, limit_s: float) -> Result:
    """Run the tests and everything that they start until they end or must be stopped; return what they came to.

    Their output is printed, and written to `log`.
    """
    result: Result = {}
    began = time.monotonic()
    report.unlink(missing_ok=True)
    with log.open("w") as output, log.open() as shown:
        # Their own session: a signal for them is not one for this process.
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        reported: float | None = None
        while process.poll() is None and "stopped" not in result:
            time.sleep(0.5)
            print(shown.read(), end="", flush=True)
            if reported is None and report.exists():
                reported = time.monotonic()
            if time.monotonic() - began > limit_s:
                result["stopped"] = f"stopped after {limit_s:.0f} s"
            elif reported is not None and time.monotonic() - reported > END_S:
                result["stopped"] = f"did not end within {END_S:.0f} s of its report"
        if "stopped" in result:
            process.send_signal(signal.SIGABRT)  # pytest writes the stack of each thread
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        result["exit"] = process.wait()
        print(shown.read(), end="", flush=True)
    end_descendants()
    result["seconds"] = round(time.monotonic() - began)
    return result


def tried(name: str, envs: Path, selected: list[str], limit_s: float) -> Result:
    """Install one framework and run its tests; return the result."""
    began = time.monotonic()
    result: Result = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}", "commit": commit()}
    try:
        python = install(FRAMEWORKS[name], envs / name)
        result["versions"] = versions(python)
    except NotInstalledError as error:
        print(f"{name}: not installed: {error}", flush=True)
        return {**result, "error": str(error)}
    print(f"{name}: installed in {time.monotonic() - began:.0f} s", flush=True)
    report = envs / f"{name}.xml"
    service = os.environ.get("DEEPCOMPRESS_SERVICE_PYTHON", sys.executable)
    files = [f"tests/integrations/{file}" for file in FRAMEWORKS[name].tests]
    environment = {**os.environ, "DEEPCOMPRESS_SERVICE_PYTHON": service}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [str(python), "-m", "pytest", "-vv", "--junitxml", str(report), *files, *selected]
    result |= tested(command, environment, envs / f"{name}.log", report, limit_s)
    result["counts"] = counts(report) if report.exists() else {}
    said = f", {result['stopped']}" if "stopped" in result else ""
    print(f"{name}: tested in {result['seconds']} s, exit {result['exit']}{said}", flush=True)
    return result


def read(file: Path) -> Result:
    """The results that a file has, by framework."""
    found: Result = json.loads(file.read_text()) if file.exists() else {}
    return found


def write(file: Path, name: str, result: Result) -> None:
    """Add a framework's result to those that this run, or another one, has written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file.write_text(json.dumps(read(file) | {name: result}, indent=1))


def side_by_side(names: list[str], jobs: int, given: list[str]) -> int:
    """Run each framework in a process of its own, which ends what it started and nothing else."""

    def run(name: str) -> int:
        return subprocess.run([sys.executable, "-u", __file__, name, *given], check=False).returncode

    with ThreadPoolExecutor(jobs) as pool:
        failed = [name for name, code in zip(names, pool.map(run, names), strict=True) if code]
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="framework", help=", ".join(FRAMEWORKS))
    parser.add_argument("--envs", type=Path, default=ROOT / ".frameworks")
    parser.add_argument("--quick", action="store_true", help="a few minutes' worth of frameworks and tests")
    parser.add_argument("--resume", action="store_true", help="leave out what passed on this commit")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds for the tests of one framework")
    parser.add_argument("--jobs", type=int, default=1, help="frameworks at a time")
    parser.add_argument("--table", action="store_true", help="print the results as a table, and run nothing")
    asked, to_pytest = parser.parse_known_args()
    unknown = set(asked.names) - set(FRAMEWORKS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(FRAMEWORKS)}")
    file = asked.envs / "results.json"
    results = read(file)
    if asked.table:
        print(table(results))
        return 0
    wanted = asked.names or list(FRAMEWORKS)
    if asked.jobs > 1:
        switches = [f"--{one}" for one in ("quick", "resume") if getattr(asked, one)]
        options = ["--envs", str(asked.envs), "--limit", str(asked.limit), *switches, *to_pytest]
        return side_by_side(wanted, asked.jobs, options)
    adopt()
    failed = []
    for place, name in enumerate(wanted, 1):
        print(f"[{place}/{len(wanted)}] {name}, {datetime.now(UTC):%H:%M:%S} UTC", flush=True)
        quick = FRAMEWORKS[name].quick
        if asked.quick and quick is None:
            continue
        if asked.quick and not has_interpreter(FRAMEWORKS[name].python):
            print(f"{name}: left out, it needs Python {FRAMEWORKS[name].python} or later", flush=True)
            continue
        known = results.get(name, {})
        if asked.resume and known.get("exit") == 0 and known["commit"] == commit():
            print(f"{name}: passed on this commit before", flush=True)
            continue
        selected = ["-k", quick] if asked.quick and quick is not None else []
        result = tried(name, asked.envs, [*selected, *to_pytest], asked.limit)
        if result.get("exit") != 0:
            failed.append(name)
        if not selected and not to_pytest:  # a part of the tests is no result
            write(file, name, result)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
