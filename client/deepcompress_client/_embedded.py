"""A service beside a training, with its state in SQLite: ``url="embedded"``, and ``--embedded`` of the trainer.

It is a process of its own on a free port of 127.0.0.1. Its standard input is a pipe of the process that started it,
so it ends when that process ends, also after a crash or SIGKILL. While it runs it holds a lock on ``service.lock``.
Its address is in ``service.json``, for the other ranks of the job.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import DeepCompressError

DEFAULT_FOLDER = "deepcompress-state"
"""The folder of ``url="embedded"``, in the working directory."""
START_TIMEOUT_S = 180.0
"""Seconds. A service that ends is noticed at once; one that starts beside the loading of models is slow."""
STOP_TIMEOUT_S = 15.0
ADDRESSES = "DEEPCOMPRESS_EMBEDDED_ADDRESSES"
"""The environment variable through which child processes get the addresses: a JSON object, folder to URL."""
DEPLOYMENT = ("API_KEYS", "API_KEYS_FILE", "KEY_REQUESTS_PER_SECOND", "WORKERS", "EMBEDDED_ADDRESSES", "URL")
"""Settings of the environment that are not those of an embedded service."""


def embedded_url(url: str) -> str:
    """Return the address of the job's service for ``embedded`` or ``embedded:FOLDER``; rank 0 starts it if needed.

    A process without RANK and LOCAL_RANK is rank 0. Child processes inherit the address, and the other ranks read it
    from the folder.

    Raises:
        RuntimeError: the service did not start, or rank 0 started none on this machine.
    """
    folder = Path(url.partition(":")[2] or DEFAULT_FOLDER).absolute()
    with _starting:
        own = _started.get(folder)
        if own is not None and own.owner == os.getpid() and own.process.poll() is not None:
            del _started[folder]  # it ended, for example by a signal to the whole process group
        elif (known := _addresses().get(str(folder))) is not None and not _has_ended(folder, known):
            return known
        if _rank() > 0:
            address = _wait_for_address(folder)
        else:
            lock = _lock(folder, share=True)
            if isinstance(lock, str):
                address = lock
            else:
                _started[folder] = service = EmbeddedService(folder, lock)
                address = service.url
        os.environ[ADDRESSES] = json.dumps({**_addresses(), str(folder): address})
        return address


@contextmanager
def embedded_service(folder: Path) -> Iterator[str]:
    """Run a service with its state in `folder` until the block ends; yield its URL.

    Raises:
        RuntimeError: the service did not start, or one runs in that folder.
    """
    lock = _lock(folder, share=False)
    assert not isinstance(lock, str)
    service = EmbeddedService(folder, lock)
    try:
        yield service.url
    finally:
        service.stop()


class EmbeddedService:
    """A service process that this process started. `lock` is the locked file descriptor, which it takes over.

    Raises:
        RuntimeError: the service did not start.
    """

    def __init__(self, folder: Path, lock: int) -> None:
        self.owner = os.getpid()
        self._address = folder / "service.json"
        log = folder / "service.log"
        try:
            if importlib.util.find_spec("fastapi") is None:
                raise RuntimeError(
                    "an embedded service needs the service's packages: install deepcompress-reward[service]"
                )
            with _writing(folder):
                self._address.unlink(missing_ok=True)
                output = log.open("ab")
            port, held = _held_port()
            command = [sys.executable, "-m", "deepcompress_service", "serve", "--host", "127.0.0.1"]
            command += ["--port", str(port), "--state-url", f"sqlite:///{folder.absolute()}/service.sqlite3"]
            command += ["--verifier-workers", "1", "--end-with-stdin"]
            left_out = {f"DEEPCOMPRESS_{name}" for name in DEPLOYMENT}
            with output:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    pass_fds=[lock],
                    env={name: value for name, value in os.environ.items() if name not in left_out},
                )
        finally:
            os.close(lock)  # the service has it
        self.url = f"http://127.0.0.1:{port}"
        atexit.register(self.stop)
        row = {"url": self.url, "owner": self.owner, "host": socket.gethostname()}
        partial = self._address.with_suffix(".part")
        try:
            self._wait_until_ready(log)
            with _writing(folder):
                partial.write_text(json.dumps(row), "utf-8")
                partial.replace(self._address)
        except BaseException:
            self.stop()
            raise
        finally:
            held.close()

    def stop(self) -> None:
        """End the service. In a fork of the process that started it, do nothing."""
        if os.getpid() != self.owner:
            return
        atexit.unregister(self.stop)
        if self.process.poll() is None:
            row = _read_address(self._address.parent)
            if row is not None and row["url"] == self.url:  # the folder may have been replaced
                with suppress(OSError):
                    self._address.unlink()
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def _wait_until_ready(self, log: Path) -> None:
        end = time.monotonic() + START_TIMEOUT_S
        why: str | None = "no answer"
        while time.monotonic() < end:
            if self.process.poll() is not None:
                last = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the embedded service ended at once; the end of its log {log}:\n{last}")
            if (why := _why_not_ready(self.url)) is None:
                return
            time.sleep(0.1)
        raise RuntimeError(f"the embedded service was not ready within {START_TIMEOUT_S:.0f} s ({why}); see {log}")


def _held_port() -> tuple[int, socket.socket]:
    """Bind a free port of 127.0.0.1 without listening, so that no other program gets it before the service listens.

    Otherwise the service of another job could get the port, and be taken for this one. Linux allows a service to
    listen on a port that is held; elsewhere the port is only looked up.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port: int = held.getsockname()[1]
    if sys.platform != "linux":
        held.close()
    return port, held


_starting = threading.Lock()
_started: dict[Path, EmbeddedService] = {}


def _rank() -> int:
    text = os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or "0"
    return int(text) if text.isdecimal() else 0


def _addresses() -> dict[str, str]:
    with suppress(ValueError):
        found = json.loads(os.environ.get(ADDRESSES, "{}"))
        return dict(found) if isinstance(found, dict) else {}
    return {}


def _lock(folder: Path, *, share: bool) -> int | str:
    """Lock the folder and return the descriptor; with `share`, return the address of the service that runs there.

    A service whose owner has ended is about to end as well; its lock is waited for.

    Raises:
        RuntimeError: a service runs there and `share` is false, or the folder cannot be locked.
    """
    import fcntl

    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "service.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + START_TIMEOUT_S
    owner: int | None = None
    try:
        while time.monotonic() < end:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                row = _read_address(folder)
                if row is not None and _is_alive(owner := int(row["owner"])):
                    if not share:
                        break
                    os.close(lock)
                    return str(row["url"])
                time.sleep(0.1)
                continue
            return lock
    except OSError as error:
        os.close(lock)
        raise RuntimeError(
            f"the folder {folder} of the embedded service cannot be locked ({error}): use one on a local disk"
        ) from None
    os.close(lock)
    who = "another process" if owner is None else f"process {owner}"
    ended = "" if owner is None or _is_alive(owner) else f", though process {owner} has ended"
    raise RuntimeError(f"{who} runs the embedded service of the folder {folder}{ended}: use another folder")


def _wait_for_address(folder: Path) -> str:
    """Return the address that rank 0 writes when its service is ready.

    Raises:
        RuntimeError: rank 0 is on another machine, or writes none.
    """
    end = time.monotonic() + 2 * START_TIMEOUT_S
    other: str | None = None
    while time.monotonic() < end:
        row = _read_address(folder)
        other = None if row is None else str(row["host"])
        if (
            row is not None
            and other == socket.gethostname()
            and _is_alive(int(row["owner"]))
            and _why_not_ready(row["url"]) is None
        ):
            return str(row["url"])
        time.sleep(0.1)
    found = "none there" if other is None or other == socket.gethostname() else f"that of the machine {other}"
    raise RuntimeError(
        f"rank {_rank()} waited for the address of rank 0's embedded service in {folder / 'service.json'} and found "
        f"{found}; an embedded service is for the processes of one machine: for several, run `deepcompress serve`"
    )


def _read_address(folder: Path) -> dict[str, str] | None:
    try:
        row = json.loads((folder / "service.json").read_text("utf-8"))
        return {"url": str(row["url"]), "owner": str(int(row["owner"])), "host": str(row["host"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _why_not_ready(url: str) -> str | None:
    """Return why the service is not ready, or None if it is."""
    from ._client import Client
    from ._retry import Retry

    with Client(url, retry=Retry(max_elapsed_s=0.0), timeout_s=5.0) as client:
        try:
            client.ready()
        except DeepCompressError as error:
            return str(error)
    return None


def _has_ended(folder: Path, url: str) -> bool:
    """Return True if the service at a known address has ended, or is about to end since its owner has."""
    row = _read_address(folder)
    known = row is not None and row["url"] == url and row["host"] == socket.gethostname()
    if row is not None and known and not _is_alive(int(row["owner"])):
        return True
    host, _, port = url.rpartition("/")[2].partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5.0).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Raise a RuntimeError that names the folder and the remedy for an error of writing there."""
    try:
        yield
    except OSError as error:
        raise RuntimeError(
            f"the embedded service cannot write to its folder {folder} ({error.strerror or error}): make room or "
            'give the right to write there, or name another folder, as in url="embedded:FOLDER"'
        ) from None
