"""The command that runs the frameworks' tests, with tests that hang, that do not end, and that leave processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .pages import ROOT

DRIVER = """
import json, os, sys
from pathlib import Path
from tests.integrations import run_real
run_real.END_S = 15.0
run_real.adopt()
folder = Path(sys.argv[1])
command = [sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider", "--junitxml", str(folder / "report.xml"),
    "-c", os.devnull, str(folder / "test_it.py")]
result = run_real.tested(command, dict(os.environ), folder / "log", folder / "report.xml", float(sys.argv[2]))
print("\\nresult " + json.dumps({**result, "left": run_real.descendants()}))
"""


def outcome(folder: Path, test: str, limit_s: float = 100.0) -> dict[str, Any]:
    """Run a test file as `run_real` does, in a process of its own."""
    (folder / "test_it.py").write_text(test)
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(folder), str(limit_s)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        timeout=120,
    )
    assert "test_it.py::test_one" in done.stdout  # the progress is shown
    result: dict[str, Any] = json.loads(done.stdout.rpartition("result ")[2])
    return result


def test_tests_that_end_are_not_stopped(tmp_path: Path) -> None:
    result = outcome(tmp_path, "def test_one(): assert True")
    assert (result["exit"], "stopped" in result) == (0, False)


def test_tests_over_their_limit_are_stopped_and_leave_their_stacks(tmp_path: Path) -> None:
    result = outcome(tmp_path, "import time\ndef test_one(): time.sleep(600)", limit_s=20.0)
    assert result["exit"] != 0
    assert result["stopped"] == "stopped after 20 s"
    assert "in test_one" in (tmp_path / "log").read_text()


def test_tests_that_have_reported_and_do_not_end_are_stopped(tmp_path: Path) -> None:
    test = "import threading, time\ndef test_one(): threading.Thread(target=time.sleep, args=[600]).start()"
    result = outcome(tmp_path, test)
    assert result["exit"] != 0
    assert result["stopped"] == "did not end within 15 s of its report"


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: processes are found in /proc")
def test_processes_that_the_tests_left_are_killed(tmp_path: Path) -> None:
    """A process in a session of its own, whose parent has ended, as Ray's are."""
    test = (
        "import subprocess, sys\n"
        "START = 'import subprocess; subprocess.Popen(\"sleep 600\", shell=True, start_new_session=True)'\n"
        "def test_one(): subprocess.run([sys.executable, '-c', START], check=True)\n"
    )
    result = outcome(tmp_path, test)
    assert (result["exit"], result["left"]) == (0, [])


def test_frameworks_side_by_side(tmp_path: Path) -> None:
    """Each has a process of its own; those that have passed on this commit are left out."""
    from . import run_real

    for name in ("trl", "verl"):
        run_real.write(tmp_path / "results.json", name, {"exit": 0, "commit": run_real.commit()})
    command = [sys.executable, run_real.__file__, "--envs", str(tmp_path), "--jobs", "2"]
    done = subprocess.run([*command, "--resume", "trl", "verl"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("trl", "verl"):
        assert f"{name}: passed on this commit before" in done.stdout
    assert "all passed" in done.stdout
    failed = subprocess.run([*command, "trl", "nothing"], capture_output=True, text=True, check=False)
    assert failed.returncode != 0
