"""Build a release of `deepcompress-reward` and check it: ``make release``, or ``python scripts/release.py``.

The version is that of pyproject.toml. The steps, each of which ends the script with a message if it fails:

1. With ``--tag vVERSION``: the tag is the version, the changelog has an entry for it, and no file is uncommitted.
2. `build` makes the sdist, and the wheel from the sdist, in dist/.
3. `twine check --strict` reads their metadata and the README as a package index would.
4. The wheel is installed in a fresh environment: first alone (the client), then with the extra [service].
5. The installed command checks an answer and scores rollouts through a service that it starts.

The changelog's entry is written to dist/notes/, for the page of the release. Nothing is published.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
TOOLS = ("build>=1.2,<2", "twine>=6,<7")
ROWS = [
    {"problem_id": "p", "gold": "\\frac{1}{2}", "response": "so \\boxed{0.5}", "tokens": 4},
    {"problem_id": "p", "gold": "\\frac{1}{2}", "response": "so \\boxed{2}", "tokens": 9},
]


class ReleaseError(Exception):
    """The release is not right; the message has the reason."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build and check the release. Return the exit status: 0 if it is right, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tag", help="the tag of the release; without it this is a rehearsal")
    options = parser.parse_args(arguments)
    try:
        version = project_version(ROOT)
        if options.tag is not None:
            check_tag(options.tag, version)
            check_committed(ROOT)
        entry = changelog_entry((ROOT / "CHANGELOG.md").read_text("utf-8"), version, required=options.tag is not None)
        with tempfile.TemporaryDirectory(prefix="deepcompress-release-") as folder:
            wheel = build(Path(folder), version)
            check_installed(Path(folder), wheel, version)
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    notes = DIST / "notes" / f"{version}.md"
    notes.parent.mkdir(exist_ok=True)
    notes.write_text(entry, "utf-8")
    print(f"{version} is built and checked: {', '.join(sorted(file.name for file in DIST.glob('*.*')))}")
    return 0


def project_version(root: Path) -> str:
    """Return the version of pyproject.toml, the only place that has it."""
    return str(tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def check_tag(tag: str, version: str) -> None:
    """Check that the tag is ``v`` and the version.

    Raises:
        ReleaseError: it is another one.
    """
    if tag != f"v{version}":
        raise ReleaseError(f"the tag is {tag}, and pyproject.toml has version {version}: the tag is v{version}")


def changelog_entry(changelog: str, version: str, *, required: bool) -> str:
    """Return the text under the version's heading; in a rehearsal without one, the text under Unreleased.

    Raises:
        ReleaseError: there is no such heading, or nothing is under it.
    """
    sections = re.split(r"^## \[", changelog, flags=re.MULTILINE)[1:]
    entries = {section.partition("]")[0]: section.partition("\n")[2].strip() for section in sections}
    entry = entries.get(version, None if required else entries.get("Unreleased"))
    if not entry:
        raise ReleaseError(
            f"CHANGELOG.md has no entry for {version}: rename [Unreleased] to [{version}] - YYYY-MM-DD"
        )
    return f"{entry}\n"


def check_committed(root: Path) -> None:
    """Check that the checkout has no change that a tag would not have.

    Raises:
        ReleaseError: it has one.
    """
    changed = run(["git", "status", "--porcelain"], root).strip()
    if changed:
        raise ReleaseError(f"there are uncommitted changes: {', '.join(changed.splitlines()[:5])}")


def build(folder: Path, version: str) -> Path:
    """Build sdist and wheel in dist/, check their metadata, and return the wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    python = environment(folder / "tools")
    run([python, "-m", "pip", "install", "--quiet", *TOOLS])
    run([python, "-m", "build", "--outdir", str(DIST), str(ROOT)])
    name = f"deepcompress_reward-{version}"
    found = sorted(file.name for file in DIST.iterdir())
    if found != [f"{name}-py3-none-any.whl", f"{name}.tar.gz"]:
        raise ReleaseError(f"dist/ has {', '.join(found)}")
    run([python, "-m", "twine", "check", "--strict", *map(str, sorted(DIST.iterdir()))])
    return DIST / f"{name}-py3-none-any.whl"


def check_installed(folder: Path, wheel: Path, version: str) -> None:
    """Install the wheel in a fresh environment and use it.

    Raises:
        ReleaseError: a command fails, or has another result.
    """
    python = environment(folder / "fresh")
    constraints = str(ROOT / "constraints.txt")
    run([python, "-m", "pip", "install", "--quiet", "-c", constraints, str(wheel)])
    client = run([python, "-c", "import deepcompress_client as c; print(c.__version__, c.Client.__name__)"], folder)
    expect("the client", client, f"{version} Client\n")
    run([python, "-m", "pip", "install", "--quiet", "-c", constraints, f"{wheel}[service]"])
    command = str(Path(python).parent / "deepcompress")
    expect("deepcompress --version", run([command, "--version"], folder), f"deepcompress {version}\n")
    verdict = json.loads(run([command, "verify", "\\frac{1}{2}", "0.5", "--json"], folder))
    expect("deepcompress verify", str(verdict["status"]), "correct")
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS), "utf-8")
    scored = [json.loads(line) for line in run([command, "score", str(rows), "--out", "-"], folder).splitlines()]
    expect("deepcompress score", str([row["correct"] for row in scored]), "[True, False]")


def expect(name: str, found: str, right: str) -> None:
    """Check one result.

    Raises:
        ReleaseError: it is another one.
    """
    if found != right:
        raise ReleaseError(f"{name} printed {found!r} and not {right!r}")


def environment(folder: Path) -> str:
    """Make a fresh virtual environment and return its Python."""
    venv.create(folder, with_pip=True)
    return str(folder / "bin" / "python")


def run(command: list[str], folder: Path = ROOT) -> str:
    """Run a command without the caller's settings, and return its output.

    Raises:
        ReleaseError: it fails; the message has its last lines.
    """
    print("+", " ".join(command), file=sys.stderr)
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("DEEPCOMPRESS_", "PYTHON"))
    }
    ended = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    if ended.returncode:
        raise ReleaseError(f"{' '.join(command[:4])} failed: {(ended.stderr or ended.stdout)[-2000:]}")
    return ended.stdout


if __name__ == "__main__":
    raise SystemExit(main())
