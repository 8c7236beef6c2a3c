"""The study: its declaration is runnable, the same settings run once, and its statistics are right."""

from __future__ import annotations

import copy
import fcntl
import importlib.util
import json
import math
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from deepcompress_client import Client
from deepcompress_trainer import task
from deepcompress_trainer.config import as_dict, load, parse
from deepcompress_trainer.grpo import keep_group
from deepcompress_trainer.rewards import run_settings

from .groups import group

BENCH = Path(__file__).resolve().parents[2] / "bench" / "study"
KEPT = Path(__file__).resolve().parents[2] / "bench" / "study" / "results"


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """cells, run, report and ways, loaded as their commands load each other."""
    sys.path.insert(0, str(BENCH))
    found = {}
    for name in ("cells", "run", "report", "ways", "confirm", "reach"):
        spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
        assert spec and spec.loader
        found[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[name])
    yield found
    sys.path.remove(str(BENCH))
    for name in found:
        del sys.modules[name]


def test_every_cell_is_a_valid_training_and_every_pair_names_cells(modules: dict[str, ModuleType]) -> None:
    cells = modules["cells"]
    for size in cells.SIZES:
        for table in cells.tables(size).values():
            assert {table.baseline, *(cell for pair in table.also for cell in pair)} <= set(table.cells)
            keys = [cells.key_of(cells.settings_of(table, cell, size)) for cell in table.cells]
            # The pilot's groups are of 8 already, so there the table of group sizes compares nothing.
            assert len(set(keys)) == len(keys) or size == "pilot", "two cells of a table are the same training"
            for cell in table.cells:
                parse({**cells.settings_of(table, cell, size), "name": f"{size}-run"})


def test_the_service_takes_the_rewards_of_every_cell(modules: dict[str, ModuleType], service_url: str) -> None:
    cells = modules["cells"]
    plan = modules["run"].plan
    with Client(service_url) as client:
        for _, _, settings in [
            *plan(cells.tables("main"), "main", 1),
            *plan(cells.tables("overthinking"), "overthinking", 1),
        ]:
            client.run(f"cell-{cells.key_of(settings)}", next_step=0, **run_settings(parse(settings)))


def test_the_same_settings_run_once_and_seed_by_seed(modules: dict[str, ModuleType]) -> None:
    cells, run = modules["cells"], modules["run"]
    chosen = {name: cells.tables("main")[name] for name in ("official", "reward-filter")}
    jobs = run.plan(chosen, "main", 3)
    assert len(jobs) == 3 * 7  # outcome-only is in both tables
    assert [seed for _, seed, _ in jobs] == [0] * 7 + [1] * 7 + [2] * 7
    assert len({(cells.key_of(settings), seed) for _, seed, settings in jobs}) == len(jobs)
    some = run.plan(chosen, "main", 1, {"outcome", "reward-filter/bonus"})
    assert [label for label, _, _ in some] == ["official / outcome", "reward-filter / bonus"]


def test_each_table_has_the_seeds_that_it_declares(modules: dict[str, ModuleType]) -> None:
    cells, run = modules["cells"], modules["run"]
    jobs = run.plan(cells.tables("overthinking"), "overthinking")
    confirmatory = [seed for label, seed, _ in jobs if label.startswith("confirmatory")]
    exploratory = [seed for label, seed, _ in jobs if label.startswith("exploratory")]
    assert confirmatory == [seed for seed in range(1000, 1020) for _ in range(2)]
    assert exploratory == [seed for seed in range(5) for _ in cells.tables("overthinking")["exploratory"].cells]
    for table in cells.tables("overthinking").values():
        assert all(cell in table.cells for line in table.curves for cell in line)


def test_seeds_begin_where_asked_and_none_after_the_time(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    cells, run = modules["cells"], modules["run"]
    table = {"confirmatory": cells.tables("overthinking")["confirmatory"]}
    jobs = run.plan(table, "overthinking", 2, first_seed=1000)
    assert [(label.split(" / ")[1], seed) for label, seed, _ in jobs] == [
        ("outcome", 1000),
        ("compress", 1000),
        ("outcome", 1001),
        ("compress", 1001),
    ]
    past = datetime.now() - timedelta(seconds=1)
    assert run.run_in_time(tmp_path, "overthinking", jobs[0], {}, "http://127.0.0.1:9", past) is None


def test_both_cells_of_the_confirmatory_part_keep_every_group(modules: dict[str, ModuleType]) -> None:
    cells = modules["cells"]
    table = cells.tables("overthinking")["confirmatory"]
    one, two = (parse(cells.settings_of(table, cell, "overthinking")) for cell in ("outcome", "compress"))
    assert one.filter_metric == two.filter_metric == "none"
    differing = {name for name, value in as_dict(one).items() if value != as_dict(two)[name]}
    assert differing <= {"preset", "gate", "guard", "target", "advantage", "length_weight", "outcome", "strategy"} | {
        "length_fade"
    }


def test_the_table_tiny_is_the_shipped_configuration(modules: dict[str, ModuleType]) -> None:
    cells, shipped = modules["cells"], as_dict(load("tiny", {}))
    table = cells.tables("main")["tiny"]
    settings = cells.settings_of(table, "deepcompress", "main")
    said = ("strategy", *(name for name in table.common if name not in ("eval_every", "save_every")))
    assert {name: settings[name] for name in said} == {name: shipped[name] for name in said}


def test_two_studies_in_one_folder_are_refused(
    modules: dict[str, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They would train the same runs, in the same folders."""
    folder = tmp_path / "pilot"
    folder.mkdir()
    monkeypatch.setattr(sys, "argv", ["run.py", "official", "--size", "pilot", "--out", str(tmp_path)])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SystemExit, match="2"):
            modules["run"].main()
    assert "another study is running" in capsys.readouterr().err


@pytest.mark.parametrize("correct", [[False] * 4, [True] * 4, [True, True, False, False]])
def test_outcome_only_keeps_the_same_groups_by_either_filter(correct: list[bool]) -> None:
    some = group(correct, [1, 2, 3, 4], alpha=0.0)
    kept = [keep_group(some, metric, length_term="reward", length_weight=1.0) for metric in ("acc", "reward")]
    assert kept[0] == kept[1]


def rows_of(modules: dict[str, ModuleType], table: str, seeds: int) -> list[dict[str, Any]]:
    """Made-up results: the cell number n has accuracy 0.5 + n / 100 and 20 - n tokens, moved by the seed."""
    cells = modules["cells"]
    found = []
    for number, cell in enumerate(cells.tables("main")[table].cells):
        settings = cells.settings_of(cells.tables("main")[table], cell, "main")
        for seed in range(seeds):
            ends = {
                "sampled": 0.5 + number / 100 + seed / 10,
                "greedy": 0.6 + number * (seed % 2) / 100,
                "tokens": 20.0 - number + seed,
            }
            found.append(
                {
                    "size": "main",
                    "key": cells.key_of(settings),
                    "seed": seed,
                    "settings": settings,
                    "evals": [{"step": 79, "bins": {"all": ends, "easy": ends, "hard": ends}}],
                    "mechanism": {name: [0.1, None, 0.3] for name in modules["run"].MECHANISM},
                    "curves": {name: [0.1, 0.2] for name in modules["run"].CURVES},
                }
            )
    return found


def test_the_report_pairs_the_same_seeds(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    rows = rows_of(modules, "official", 5)
    text = modules["report"].report(rows, "official", "main", tmp_path)
    line = next(line for line in text.splitlines() if line.startswith("| penalty |"))
    # Seeds differ by 10 points, the paired difference is 1 point in every one of them.
    assert "| 71.0 % |" in line and "**+1.0 [+1.0, +1.0]**" in line and "**-1.0 [-1.0, -1.0]**" in line
    assert "+0.4 [-0.3, +1.1]" in line and line.endswith("| 0.062 |")
    assert any(line.startswith("| deepcompress minus penalty | 5 |") for line in text.splitlines())
    assert "0.10 – 0.30" in text
    assert (tmp_path / "study-main-official.png").stat().st_size > 5_000


def test_the_report_names_missing_parts(modules: dict[str, ModuleType]) -> None:
    rows = rows_of(modules, "official", 2)
    some = copy.deepcopy(rows[:4])
    text = modules["report"].report(some, "official", "main", None)
    assert "some cells have 0 of the 5 seeds" in text and "| deepcompress | not run |" in text
    assert "**Not run.**" in modules["report"].report([], "official", "main", None)
    elsewhere = rows_of(modules, "reward-filter", 2)
    assert "**Not run.**" in modules["report"].report(elsewhere, "level", "main", None), "two of its cells are there"


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("c +8 1 d *3 3", "written out"),
        ("c +8 1 ? c +8 1 d *3 3 ? d *3 4 ! d *3 3", "written out"),
        ("+8 1 *3 3", "short"),
        ("c +8 1 *3 3", "both"),
        ("d *3 3", "some left out"),
        ("", "some left out"),
        ("c 1 d 3", None),
        ("c +8 1 ?", None),
    ],
)
def test_ways_of_writing_are_distinguished(modules: dict[str, ModuleType], written: str, kind: str | None) -> None:
    chain = task.Chain(3, ("+8", "*3"), 2)
    assert modules["ways"].kind_of(chain, f"{written} \\boxed{{ 3 }}") == kind
    assert modules["ways"].kind_of(chain, written) is None, "no answer"


def test_the_studys_statistics(modules: dict[str, ModuleType]) -> None:
    report = modules["report"]
    assert report.sign_flip([1.0, 2.0, 3.0]) == 2 / 8
    assert report.sign_flip([1.0, -1.0]) == 1.0
    assert report.interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5), rel=1e-3)
    assert report.interval([1.0]) is None


def test_results_of_several_files_are_merged_and_put_between_the_marks(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    report = modules["report"]
    rows = rows_of(modules, "official", 2)
    for name, part in (("a", rows[:5]), ("b", rows[3:])):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in part))
    found = report.merged([tmp_path / "a", tmp_path / "b"])
    assert sorted((r["seed"], r["key"]) for r in rows) == [(r["seed"], r["key"]) for r in found]
    begin, end = report.marks("main")
    once = report.put_into(f"before\n{begin}\nold\n{end}\nafter\n", "main", "new")
    assert once == report.put_into(once, "main", "new") == f"before\n{begin}\n\nnew\n{end}\nafter\n"


def test_the_pages_figures_are_those_of_the_kept_results(
    modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = modules["report"]
    for name in ("picture", "frontier"):
        monkeypatch.setattr(report, name, lambda *_: None)
    page = (BENCH.parents[1] / "docs" / "study-tables.md").read_text()
    kept: dict[str, list[Path]] = {}
    for file in sorted(KEPT.glob("*.jsonl")):
        kept.setdefault(json.loads(file.read_text().split("\n", 1)[0])["size"], []).append(file)
    assert kept
    for size, files in kept.items():
        rows = report.merged(files)
        text = "\n".join(report.report(rows, name, size, Path("pictures")) for name in modules["cells"].tables(size))
        names = " ".join(file.name for file in files)
        assert report.put_into(page, size, text) == page, f"run report.py {names} --into docs/study-tables.md"


@pytest.mark.parametrize(("size", "first_seed"), [("overthinking", 1000), ("overthinking-long", 2000)])
def test_the_confirmatory_table_of_the_page_is_that_of_the_kept_results(
    modules: dict[str, ModuleType], size: str, first_seed: int
) -> None:
    confirm = modules["confirm"]
    page = (BENCH.parents[1] / "docs" / "study-details.md").read_text()
    rows = [json.loads(line) for line in (KEPT / f"{size}.jsonl").read_text().splitlines()]
    pairs = confirm.pairs_of(rows)
    assert all(one.seed >= first_seed for one in pairs)
    assert confirm.put_into(page, size, confirm.report(pairs)) == page, "confirm.py --into docs/study-details.md"


def test_the_bound_and_the_pairs(modules: dict[str, ModuleType]) -> None:
    confirm, cells = modules["confirm"], modules["cells"]
    assert confirm.lower_bound([-1.0, 0.0, 1.0]) == pytest.approx(-2.920 / 3**0.5)
    assert confirm.lower_bound([0.5] * 20) == 0.5
    assert confirm.lower_bound([1.0]) == -math.inf
    table = cells.tables("overthinking")["confirmatory"]

    def row(cell: str, seed: int, sampled: float, tokens: float) -> dict[str, Any]:
        ends = {"sampled": sampled, "greedy": 1.0, "tokens": tokens}
        key = cells.key_of(cells.settings_of(table, cell, "overthinking"))
        return {"size": "overthinking", "key": key, "seed": seed, "evals": [{"bins": {"all": ends, "easy": ends}}]}

    rows = [row("outcome", seed, 0.97, 50) for seed in (1000, 1001, 1002)]
    rows += [row("compress", 1000, 0.96, 40), row("compress", 1001, 0.93, 30)]
    pairs = confirm.pairs_of(rows)  # the third seed lacks a run
    assert [(one.seed, round(one.points(), 6), round(one.tokens(), 6)) for one in pairs] == [
        (1000, -1, -20),
        (1001, -4, -40),
    ]
    text = confirm.report(pairs)
    assert "pairs: 2 (seeds 1000, 1001)" in text
    assert "-3 points or worse: 1 of 2" in text and "is not kept" in text


def test_the_kept_results_belong_to_declared_cells(modules: dict[str, ModuleType]) -> None:
    """The runs of the study had the settings that the declaration has now."""
    cells = modules["cells"]
    for file in KEPT.glob("*.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        size = rows[0]["size"]
        declared = {cells.key_of(settings) for _, _, settings in modules["run"].plan(cells.tables(size), size, 1)}
        assert {row["key"] for row in rows} <= declared
        assert all(cells.key_of(row["settings"]) == row["key"] for row in rows)
        assert len({(row["key"], row["seed"]) for row in rows}) == len(rows)
        assert file.stat().st_size < 1_000_000


def test_the_rollouts_until_a_target_need_two_evaluations_at_it(modules: dict[str, ModuleType]) -> None:
    reach = modules["reach"]

    def row(accuracies: list[float], seed: int = 0, **settings: Any) -> dict[str, Any]:
        evals = [{"step": 10 * n - 1, "bins": {"all": {"sampled": one}}} for n, one in enumerate(accuracies)]
        common = {"problems_per_step": 8, "group_size": 16}
        size = settings.pop("size", "curriculum")
        return {"size": size, "seed": seed, "settings": {**common, **settings}, "evals": evals}

    assert reach.rollouts_to(row([0.1, 0.5, 0.4, 0.6, 0.7]), 0.5) == 30 * 128
    assert reach.rollouts_to(row([0.1, 0.5, 0.4, 0.6]), 0.5) == 30 * 128, "the last one counts alone"
    assert reach.rollouts_to(row([0.6, 0.6, 0.1]), 0.5) == 0
    assert math.isinf(reach.rollouts_to(row([0.1, 0.2]), 0.5))
    runs = [
        row([0.1, 0.3, 0.5]),
        row([0.1, 0.2, 0.5], sampling="uniform"),
        row([0.1, 0.5, 0.6], sampling="signal"),
        row([0.1, 0.2, 0.3], sampling="mastered"),
        row([0.1, 0.9], seed=1, sampling="signal"),
        row([0.1, 0.9], size="main"),
    ]
    found = reach.by_seed(runs)
    assert list(found) == [0], "a seed without an outcome-only run has no target"
    assert found[0] == {"shuffled": 20 * 128, "uniform": 20 * 128, "signal": 10 * 128, "mastered": math.inf}
    assert reach.mean_log_ratio(found, "signal") == (0.5, 1, 1)
    assert reach.mean_log_ratio(found, "mastered") is None
