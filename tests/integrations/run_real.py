"""Build an environment for each framework that pip can install without a GPU, and run the adapters inside it.

    python tests/integrations/run_real.py                  # all of them: gigabytes, and an hour
    python tests/integrations/run_real.py trl              # one
    python tests/integrations/run_real.py trl --envs DIR   # keep the environments there (default: .frameworks)
    python tests/integrations/run_real.py --quick          # those of continuous integration: minutes

The service runs from the environment that runs this command (it needs the [dev] extra); the frameworks' environments
have only the client. Each test's first lines name its stand-ins.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TORCH = "torch==2.13.0"


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
        ("test_verl.py",),
        (TORCH, "verl==0.9.1", "cachetools", "uvicorn", "fastapi", "pyzmq", "psutil", "msgspec", "sortedcontainers"),
        ("TransferQueue==0.1.11",),
    ),
    "openrlhf": Framework(
        ("test_openrlhf.py",),
        (
            TORCH,
            *("ray==2.55.0", "transformers==5.15.0", "accelerate", "datasets", "peft"),
            *("aiohttp", "tqdm", "packaging", "pylatexenc", "sympy"),
        ),
        ("openrlhf==0.11.2",),
    ),
    "ms_swift": Framework(("test_ms_swift.py",), (TORCH, "ms-swift==4.6.0")),
    "verifiers": Framework(("test_verifiers.py",), ("verifiers==0.4.0",), quick="test"),
    "verifiers_0.3": Framework(("test_verifiers.py",), ("verifiers==0.3.0",)),
    "nemo_gym": Framework(("test_nemo_gym.py",), ("nemo-gym==0.4.0",), python="3.12", quick="test"),
}


def interpreter(least: str | None) -> str:
    """This one, or one that is new enough: python3.12 or later, of the path or of pyenv."""
    if least is None or sys.version_info >= tuple(map(int, least.split("."))):
        return sys.executable
    names = [f"python3.{minor}" for minor in range(int(least.partition(".")[2]), 20)]
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob("*/bin/python3.*"))
    for candidate in [*map(shutil.which, names), *(str(path) for path in pyenv if path.name in names)]:
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    raise SystemExit(f"this framework needs Python {least} or later, and none was found")


def has_interpreter(least: str | None) -> bool:
    """True if there is an interpreter that is new enough."""
    try:
        interpreter(least)
    except SystemExit:
        return False
    return True


def install(framework: Framework, folder: Path) -> Path:
    """The environment's interpreter; nothing is done where the environment is complete."""
    python = folder / "bin" / "python"
    done = folder / "complete"
    if done.exists():
        return python
    subprocess.run([interpreter(framework.python), "-m", "venv", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # torch first, by itself: a CPU build that is installed is then kept.
    for package in (framework.packages[:1], framework.packages[1:]):
        if package:
            subprocess.run([*pip, *package], check=True)
    if framework.without_dependencies:
        subprocess.run([*pip, "--no-deps", *framework.without_dependencies], check=True)
    subprocess.run([*pip, "-e", str(ROOT), "pytest", "pytest-timeout"], check=True)
    done.touch()
    return python


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="framework", help=", ".join(FRAMEWORKS))
    parser.add_argument("--envs", type=Path, default=ROOT / ".frameworks")
    parser.add_argument("--quick", action="store_true", help="a few minutes' worth of frameworks and tests")
    asked, to_pytest = parser.parse_known_args()
    unknown = set(asked.names) - set(FRAMEWORKS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(FRAMEWORKS)}")
    failed = []
    for name in asked.names or FRAMEWORKS:
        quick = FRAMEWORKS[name].quick
        if asked.quick and quick is None:
            continue
        selected = ["-k", quick] if asked.quick and quick is not None else []
        began = time.monotonic()
        if asked.quick and not has_interpreter(FRAMEWORKS[name].python):
            print(f"{name}: left out, it needs Python {FRAMEWORKS[name].python} or later", flush=True)
            continue
        python = install(FRAMEWORKS[name], asked.envs / name)
        print(f"{name}: installed in {time.monotonic() - began:.0f} s", flush=True)
        began = time.monotonic()
        service = os.environ.get("DEEPCOMPRESS_SERVICE_PYTHON", sys.executable)
        result = subprocess.run(
            [
                str(python),
                "-m",
                "pytest",
                "-q",
                *(f"tests/integrations/{file}" for file in FRAMEWORKS[name].tests),
                *selected,
                *to_pytest,
            ],
            cwd=ROOT,
            env={**os.environ, "DEEPCOMPRESS_SERVICE_PYTHON": service, "OMP_NUM_THREADS": "1"},
            check=False,
        )
        print(f"{name}: tested in {time.monotonic() - began:.0f} s, exit {result.returncode}", flush=True)
        if result.returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
