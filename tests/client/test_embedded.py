"""``url="embedded"``: one service per job, found by its other processes, ended with the job, its state kept."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deepcompress_client import Client, Retry, _embedded, errors

from ..waiting import eventually

JOB = """
import os, sys
from deepcompress_client import Client
client = Client(sys.argv[1])
how = sys.argv[2] if len(sys.argv) > 2 else ""
run = client.run("r", **({"join": True} if how in ("join", "again") else {"next_step": 0}))
run.rewards(0, ["2+2?"] * 2, [4, 4], ["\\\\boxed{4}", "\\\\boxed{5}"], [10, 20])
print(client._options.url, run.info().level, flush=True)
if how == "fork":
    fork = os.fork()
    if fork == 0:
        import time
        os.close(0), os.close(1), os.close(2)
        time.sleep(600)
        os._exit(0)
    print(fork, flush=True)
if how == "again" and sys.stdin.readline():
    client = Client(sys.argv[1])
    print(client._options.url, client.run("r", join=True).info().level, flush=True)
if sys.stdin.readline() == "child\\n":
    import subprocess
    print(subprocess.run([sys.executable, "-c", "from deepcompress_client import Client; "
        f"print(Client({sys.argv[1]!r})._options.url)"], capture_output=True, text=True, check=True).stdout, end="")
    sys.stdin.readline()
"""


class Job:
    """A process of a training that uses the embedded service until its input ends."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", JOB, f"embedded:{folder}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**_without_ranks(), **environment},
        )

    def line(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def end(self) -> None:
        self.process.communicate(timeout=240)


def _without_ranks() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK", _embedded.ADDRESSES)
    }


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    made: list[Job] = []

    def start(*arguments: str, **environment: str) -> Job:
        made.append(Job(tmp_path / "state", *arguments, **environment))
        return made[-1]

    yield start
    for one in made:
        one.process.kill()
        one.process.wait()


def _answers(url: str) -> bool:
    try:
        with Client(url, retry=Retry(max_elapsed_s=0.0)) as client:
            client.health()
    except errors.DeepCompressError:
        return False
    return True


def _await_end(url: str) -> None:
    eventually(lambda: not _answers(url), "the service goes on")


def test_ranks_share_one_service_and_a_child_inherits_it(job: Callable[..., Job], tmp_path: Path) -> None:
    second = job("join", RANK="1", LOCAL_RANK="0")  # it waits for rank 0
    first = job(RANK="0")
    url, level = first.line()
    assert second.line() == [url, level], second.process.stderr
    assert first.process.stdin is not None
    first.process.stdin.write("child\n")
    first.process.stdin.flush()
    assert first.line() == [url]
    assert json.loads((tmp_path / "state" / "service.json").read_text())["owner"] == first.process.pid
    second.end()
    assert _answers(url), "it ends with rank 0 only"
    first.end()
    _await_end(url)
    assert not (tmp_path / "state" / "service.json").exists()


def test_a_killed_job_ends_its_service_and_the_next_one_has_its_state(job: Callable[..., Job]) -> None:
    first = job()
    url, level = first.line()
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    again = job("join")  # at once: the service of the killed job may still be about to end
    other, same = again.line()
    assert (other != url, same) == (True, level)
    _await_end(url)


def test_a_rank_does_not_take_the_address_that_a_killed_job_left(job: Callable[..., Job]) -> None:
    first = job()
    url, _ = first.line()
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    waiting = job("join", RANK="3")
    _await_end(url)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.process.wait(1.5)
    other, _ = job("join", RANK="0").line()
    assert waiting.line()[0] == other != url


def test_a_process_that_outlives_the_owner_starts_a_service_itself(job: Callable[..., Job]) -> None:
    """It kept the address, so that every client that it made later waited for a service that was gone."""
    first = job()
    url, level = first.line()
    second = job("again")
    assert second.line() == [url, level]
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    assert second.process.stdin is not None
    second.process.stdin.write("again\n")
    second.process.stdin.flush()
    other, same = second.line()
    assert (other != url, same) == (True, level)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_of_a_killed_owner_does_not_keep_its_service(job: Callable[..., Job]) -> None:
    """Such as a worker that loads data: it holds the other end of the service's standard input."""
    first = job("fork")
    url, level = first.line()
    (fork,) = first.line()
    try:
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        _await_end(url)
        other, same = job("join").line()
        assert (other != url, same) == (True, level)
    finally:
        os.kill(int(fork), signal.SIGKILL)


def test_a_folder_that_is_replaced_while_open_is_noticed(job: Callable[..., Job], tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = job()
    url, level = first.line()
    shutil.rmtree(state)
    with Client(url, retry=Retry(max_elapsed_s=0)) as client:
        with pytest.raises(errors.Unavailable, match=r"store: .*removed"):
            client.ready()
        with pytest.raises(errors.Unavailable, match="removed"):
            client.run("r", join=True)
        second = job()  # another job, which gets the folder for itself
        other, _ = second.line()
        assert other != url
        with pytest.raises(errors.Unavailable, match="replaced"):
            client.run("r", join=True)
    first.end()
    assert json.loads((state / "service.json").read_text())["url"] == other, "it has not removed another's address"
    assert job("join").line() == [other, level]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a file system")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a file system")
    for name in ("RANK", "LOCAL_RANK", _embedded.ADDRESSES):
        monkeypatch.delenv(name, raising=False)
    try:
        with pytest.raises(RuntimeError, match=r"cannot write to its folder .*/state \(Read-only file system\)"):
            Client(f"embedded:{tmp_path}/state")
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_processes_without_ranks_share_it_too(job: Callable[..., Job]) -> None:
    url, level = job().line()
    assert job("join").line() == [url, level]


def test_keys_of_a_deployment_do_not_apply(job: Callable[..., Job]) -> None:
    one = job(DEEPCOMPRESS_API_KEYS="secret", DEEPCOMPRESS_WORKERS="2", DEEPCOMPRESS_STATE_URL="redis://nowhere:1/0")
    assert len(one.line()) == 2


def test_the_variable_starts_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPCOMPRESS_URL", "embedded")
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv(_embedded.ADDRESSES, "{}")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / _embedded.DEFAULT_FOLDER
    try:
        with Client() as client, Client("embedded") as second:
            assert client.verify_one(4, "\\boxed{4}").correct
            assert client._options.url == second._options.url
        # One that ended is started again.
        _embedded._started[folder].process.kill()
        _embedded._started[folder].process.wait()
        with Client() as client:
            assert client.ready()["ready"] is True
    finally:
        _embedded._started.pop(folder).stop()


def test_a_folder_is_of_one_service(tmp_path: Path) -> None:
    with (
        _embedded.embedded_service(tmp_path) as url,
        pytest.raises(RuntimeError, match=f"process {os.getpid()} runs the embedded service of the folder"),
        _embedded.embedded_service(tmp_path),
    ):
        raise AssertionError(url)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, where a service listens on a port that is held")
def test_no_other_program_gets_the_port_of_a_service_that_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service of another job that started at the same time was taken for this one."""
    refused: list[OSError] = []

    def take(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        with socket.socket() as other, pytest.raises(OSError) as error:
            other.bind(("127.0.0.1", int(command[command.index("--port") + 1])))
        refused.append(error.value)
        return subprocess.Popen(command, **options)

    monkeypatch.setattr(_embedded, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": take}))
    with _embedded.embedded_service(tmp_path) as url:
        assert _answers(url)
    assert [error.errno for error in refused] == [errno.EADDRINUSE]


def test_errors_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_embedded, "START_TIMEOUT_S", 0.2)
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(RuntimeError, match=r"rank 1 waited .* found none there; .* run `deepcompress serve`"):
        Client(f"embedded:{tmp_path}")
    row = {"url": "http://127.0.0.1:1", "owner": os.getpid(), "host": "elsewhere"}
    (tmp_path / "service.json").write_text(json.dumps(row))
    with pytest.raises(RuntimeError, match="found that of the machine elsewhere"):
        Client(f"embedded:{tmp_path}")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(_embedded.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RuntimeError, match=r"install deepcompress-reward\[service\]"):
        Client(f"embedded:{tmp_path}")
    monkeypatch.undo()
    monkeypatch.setenv("RANK", "0")
    (tmp_path / "service.sqlite3").write_text("this is no database" * 100)
    with pytest.raises(RuntimeError, match=r"ended at once; the end of its log|not ready within"):
        monkeypatch.setattr(_embedded, "START_TIMEOUT_S", 8)
        Client(f"embedded:{tmp_path}")
