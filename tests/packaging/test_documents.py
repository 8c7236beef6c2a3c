"""The claims of the documents hold: commands, endpoints, examples, dependencies, the file tree."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from deepcompress_client import Client, Run, errors
from deepcompress_service.app import create_app
from deepcompress_service.cli.app import app as command_line
from deepcompress_service.cli.embedded import embedded_service
from deepcompress_service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


DOCS = ROOT / "docs"


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with embedded_service() as address:
        yield address


def test_the_python_example_runs_unchanged(url: str, tmp_path: Path) -> None:
    (code,) = blocks("python")
    script = tmp_path / "example.py"
    script.write_text(code.replace("http://127.0.0.1:8321", url))
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    assert "[True, False]" in result.stdout


@pytest.mark.parametrize("page", ["http.md", "tutorials/first-reward.md"])
def test_the_curl_examples_run_as_they_stand(page: str, url: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl (Debian: apt install curl)")
    (code,) = (block for block in blocks("sh", (DOCS / page).read_text()) if block.startswith("curl"))
    result = subprocess.run(
        ["sh", "-c", code.replace("http://127.0.0.1:8321", url)], capture_output=True, text=True, timeout=240
    )
    assert json.loads(result.stdout)["groups"][0]["correct"] == [True, False]


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", README, re.MULTILINE)) == {"demo", "test"} <= targets


def test_every_endpoint_of_the_table_exists() -> None:
    served = {*create_app(Settings(state_url="memory://")).openapi()["paths"], "/docs"}
    named = set(re.findall(r"`(?:[A-Z, ]+ )?(/[a-z0-9/{}]+)`", (DOCS / "http.md").read_text()))
    assert len(named) > 8
    shapes = {re.sub(r"\{[^}]*\}", "{}", path) for path in served}
    assert {re.sub(r"\{[^}]*\}", "{}", path) for path in named} <= shapes


def test_every_command_is_named() -> None:
    section = (DOCS / "command-line.md").read_text().partition("## Commands")[2].partition("\n## ")[0]
    commands = {c.name or "" for c in command_line.registered_commands}
    commands |= {group.name or "" for group in command_line.registered_groups}
    assert commands <= set(re.findall(r"`([a-z]+)", section)), "docs/command-line.md"


def test_the_file_tree_is_the_tree() -> None:
    tree = blocks("", (ROOT / "CONTRIBUTING.md").read_text())[0]
    folder = Path()
    for line in tree.splitlines():
        path = line.split()[0] if line.strip() else ""
        if not path.endswith("/"):
            continue
        if not line.startswith(" "):
            folder = Path(path)
            assert (ROOT / folder).is_dir(), path
        else:
            assert (ROOT / folder / path).is_dir(), path


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "docs" / "dependencies.md").read_text()
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {re.split(r"[<>=\[;! ]", one)[0] for one in asked} - {"deepcompress-reward"}
    assert {name for name in names if name not in text} == set()


def test_relative_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_example_leaves_a_run_that_can_be_read(url: str) -> None:
    with Client(url) as client:
        names = {run.run for run in client.runs()}
        assert all(client.run(name, join=True).history().run == name for name in names)


def test_the_clients_page_names_what_there_is() -> None:
    page = (ROOT / "docs" / "client.md").read_text()
    for name in ("RunInUse", "EpochMismatch", "TransportError", "Unavailable"):
        assert name in page
        assert hasattr(errors, name)
    for method in re.findall(r"`run\.(\w+)", page):
        assert hasattr(Run, method)
    for option in re.findall(r"^    (\w+)=", page, re.MULTILINE):
        assert option in inspect.signature(Client).parameters


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_pages_that_a_document_names_exist(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"\b(?:bench|tests|examples|deploy)/[\w./-]+\.(?:py|sh|ya?ml|json)\b", text))
    assert not {one for one in named if not (ROOT / one).exists()}
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    assert not {link for link in links if link and not (page.parent / link).exists()}


def test_every_citation_of_the_design_names_a_section() -> None:
    headings = re.findall(r"^#{2,3} (\d(?:\.\d+)?) ", (ROOT / "docs" / "design.md").read_text(), re.MULTILINE)
    assert headings == [*"12345", *(f"5.{n}" for n in range(1, 14)), *"67"]
    cited: dict[str, str] = {}
    for folder in ("service", "client", "tests", "docs", "bench"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix not in {".py", ".lua", ".md"}:
                continue
            for first, last in re.findall(r"docs/design\.md, (\d+(?:\.\d+)?)(?: to (\d+\.\d+))?", path.read_text()):
                cited |= {section: str(path) for section in (first, last) if section}
    assert len(cited) > 5
    assert {section: path for section, path in cited.items() if section not in headings} == {}


def test_the_glossary_has_every_term_once_in_order() -> None:
    rows = (ROOT / "docs" / "glossary.md").read_text().splitlines()
    terms = [row.split("|")[1].strip().lower() for row in rows if row.startswith("| ")][1:]
    assert terms == sorted(set(terms))


def test_the_table_of_settings_is_that_of_the_code() -> None:
    command = [sys.executable, ROOT / "scripts" / "settings_table.py", "--check"]
    assert subprocess.run(command, timeout=240).returncode == 0, "run scripts/settings_table.py"


def pages() -> set[str]:
    """The pages of the documentation, from the repository's root, without their ending."""
    files = [*DOCS.rglob("*.md"), *(ROOT / "experiments").glob("*.md")]
    named = {path.relative_to(ROOT).with_suffix("").as_posix() for path in files}
    return named | {"examples/README", "CONTRIBUTING", "CHANGELOG", "SECURITY"}


def test_every_page_is_in_the_navigation_once() -> None:
    navigation = yaml.safe_load((DOCS / "site" / "toc.yml").read_text())
    found = [navigation["root"]]
    todo = list(navigation["subtrees"])
    while todo:
        for entry in todo.pop()["entries"]:
            found += [entry["file"]] if "file" in entry else []
            matches = ROOT.glob(f"{entry['glob']}.md") if "glob" in entry else ()
            found += [path.relative_to(ROOT).with_suffix("").as_posix() for path in matches]
            todo += [entry] if "entries" in entry else []
    found.remove("docs/integrations/README")  # the parent of the folder's pages
    assert sorted(found) == sorted(pages())


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_every_page_is_linked_from_the_first_ones(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = {
        (ROOT / page).parent.joinpath(link.partition("#")[0]).resolve().relative_to(ROOT).with_suffix("").as_posix()
        for link in re.findall(r"\]\(([^)\s]+\.md[^)\s]*)\)", text)
        if "://" not in link
    }
    missing = {one for one in pages() - targets if not one.startswith(("docs/integrations/", "experiments/2"))}
    assert missing - {page.removesuffix(".md")} == set()


def test_the_readme_is_short_and_names_the_frameworks() -> None:
    assert len(README.splitlines()) < 200
    for name in (
        "TRL",
        "verl",
        "OpenRLHF",
        "slime",
        "ms-swift",
        "NeMo",
        "SkyRL",
        "prime-rl",
        "AReaL",
        "ROLL",
        "rLLM",
    ):
        assert name in README
    assert {path.stem for path in (DOCS / "integrations").glob("*.md")} <= set(
        re.findall(r"integrations/(\w+)\.md", README)
    )


def test_the_counts_of_complaints_are_those_of_their_page() -> None:
    page = (DOCS / "verdicts.md").read_text()
    rows = re.findall(r"^\| (?:this checker|math-verify [0-9.]+) \| (\d+) of (\d+) \| (\d+) \|", page, re.MULTILINE)
    (ours, total, _), (theirs, _, paid) = rows
    found = re.search(r"(\d+) of (\d+) public grading complaints .*?: (\d+), and (\d+) paid", README, re.DOTALL)
    assert found is not None
    assert found.groups() == (ours, total, theirs, paid)


MAINTAINERS = {"design", "difficulty-state", "dependencies", "checking", "capacity", "end-to-end"}


def test_pages_for_users_have_no_command_of_the_tests() -> None:
    found = [
        path.name for path in DOCS.rglob("*.md") if path.stem not in MAINTAINERS and "pytest" in path.read_text()
    ]
    assert found == []


@pytest.mark.parametrize("kind", ["paper", "defaults"])
def test_the_tutorial_of_an_own_loop_shows_what_one_sees(kind: str, url: str) -> None:
    page = (DOCS / "tutorials" / "own-loop.md").read_text()
    script = ROOT / "examples" / "own_loop.py"
    result = subprocess.run(
        [sys.executable, script, kind],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "DEEPCOMPRESS_URL": url},
    )
    assert result.returncode == 0, result.stderr
    assert ("warning: slow-level" in result.stdout) == (kind == "defaults")
    if kind == "paper":
        assert result.stdout in page


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs/site", ".", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "index.html").exists()
    assert 'src="http' not in (tmp_path / "docs" / "index.html").read_text()
