"""The blocking client is the image of the asyncio one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path("client/deepcompress_client")


def unasync(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "scripts/unasync.py"), *arguments], capture_output=True, text=True, timeout=60
    )


def test_the_blocking_client_is_current() -> None:
    found = unasync(ROOT, "--check")
    assert found.returncode == 0, found.stderr


def test_the_check_names_the_command_that_makes_it_pass(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / PACKAGE).mkdir(parents=True)
    modules = [f"{kind}_{name}.py" for kind in ("", "_async") for name in ("client", "curriculum")]
    for name in ("scripts/unasync.py", *(PACKAGE / module for module in modules)):
        shutil.copy(ROOT / name, tmp_path / name)
    source, target = tmp_path / PACKAGE / "_async_client.py", tmp_path / PACKAGE / "_client.py"
    source.write_text(
        source.read_text("utf-8") + "\n\nasync def more(one: AsyncClient) -> None:\n    await one.close()\n"
    )
    before = target.read_text("utf-8")

    found = unasync(tmp_path, "--check")
    assert found.returncode == 1
    assert "`python scripts/unasync.py`" in found.stderr
    assert target.read_text("utf-8") == before

    assert unasync(tmp_path).returncode == 0
    assert target.read_text("utf-8") == before + "\n\ndef more(one: Client) -> None:\n    one.close()\n"
    assert unasync(tmp_path, "--check").returncode == 0
