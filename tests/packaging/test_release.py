"""The release script refuses a release whose tag, changelog or files do not fit."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

import deepcompress_client

ROOT = Path(__file__).parents[2]
CHANGELOG = "## [Unreleased]\n\n- new\n\n## [1.2.0] - 2026-01-01\n\n### Added\n\n- a thing\n\n## [1.1.0]\n"


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", ROOT / "scripts" / "release.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_place_has_the_version(release: ModuleType) -> None:
    version = release.project_version(ROOT)
    assert deepcompress_client.__version__ == metadata.version("deepcompress-reward") == version


def test_a_tag_is_the_version(release: ModuleType) -> None:
    release.check_tag("v1.2.0", "1.2.0")
    for tag in ("1.2.0", "v1.2", "v1.2.1", "v1.2.0rc1"):
        with pytest.raises(release.ReleaseError, match="the tag is"):
            release.check_tag(tag, "1.2.0")


def test_a_release_has_an_entry_in_the_changelog(release: ModuleType) -> None:
    assert release.changelog_entry(CHANGELOG, "1.2.0", required=True) == "### Added\n\n- a thing\n"
    assert release.changelog_entry(CHANGELOG, "1.3.0", required=False) == "- new\n"
    for version in ("1.3.0", "1.1.0"):
        with pytest.raises(release.ReleaseError, match="no entry"):
            release.changelog_entry(CHANGELOG, version, required=True)


def test_a_tag_has_no_uncommitted_changes(release: ModuleType, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    release.check_committed(tmp_path)
    (tmp_path / "new").write_text("")
    with pytest.raises(release.ReleaseError, match="uncommitted changes"):
        release.check_committed(tmp_path)


def test_a_step_that_fails_ends_the_script_with_its_message(release: ModuleType) -> None:
    with pytest.raises(release.ReleaseError, match="the reason"):
        release.run([sys.executable, "-c", "raise SystemExit('the reason')"])
    with pytest.raises(release.ReleaseError, match="printed 'a' and not 'b'"):
        release.expect("it", "a", "b")


def test_the_script_ends_with_a_line_for_a_wrong_tag() -> None:
    ended = subprocess.run(
        [sys.executable, ROOT / "scripts" / "release.py", "--tag", "v999"], capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: the tag is v999")
