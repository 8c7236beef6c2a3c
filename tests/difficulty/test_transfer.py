"""Exports become the same state elsewhere; what is no whole and right export changes nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepcompress_service.difficulty import errors
from deepcompress_service.difficulty.model import Accumulator
from deepcompress_service.difficulty.transfer import BadExport

from .driving import Driver, Run, group, states_of

MakeRun = Callable[..., Run]


def test_export_imports_as_the_same_state(driver: Driver, new_run: MakeRun) -> None:
    run, copy = new_run(keep_steps=3, extra=(Accumulator("max", 0.1),)), new_run()
    for step in range(6):
        run.commit(step, group(f"p{step % 4}", step % 5), group("q", 1, 3, tokens=None))
    run.observe(5, "seen", "s0", True, tokens=3)
    run.observe(6, "later", "s0", True)
    lines = driver.export(run.name)
    assert json.loads(lines[0])["format"] == "deepcompress-run"
    driver.import_run(copy.name, lines)
    assert sorted(driver.export(copy.name)[1:]) == sorted(lines[1:])
    for one in (run, copy):
        assert one.commit(4, group("p0", 4)).groups[0].replayed
        one.commit(7, group("p1", 2))
    assert states_of(copy) == states_of(run)
    driver.rewind(run.name, 5)
    driver.rewind(copy.name, 5)
    assert states_of(copy) == states_of(run)
    assert copy.state.epoch == 2


def test_the_sums_of_a_guard_are_exported(driver: Driver, new_run: MakeRun) -> None:
    """A problem that is no longer solved at all: its squared change is 2**32, in units of 2**-32."""
    kinds = ("revisits", "squared_weight", "change", "squared_change")
    run, copy = new_run(extra=tuple(Accumulator(kind, 0.0) for kind in kinds)), new_run()
    for step, passes in enumerate((4, 4, 0, 4, 0)):
        run.commit(step, group("p", passes), group("q", passes))
    lines = driver.export(run.name)
    driver.import_run(copy.name, lines)
    assert sorted(driver.export(copy.name)[1:]) == sorted(lines[1:])
    assert max(json.loads(lines[0])["meta"]["values"]) > 1e9
    assert states_of(copy) == states_of(run)


def test_broken_import_changes_nothing(driver: Driver, new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 1), group("b", 1))
    lines = driver.export(run.name)
    header, *rows, end = lines
    bad_rows = [
        "{",
        "[]",
        '{"table": "else", "key": [1], "data": ""}',
        '{"table": "groups", "key": [1, "g"], "data": "AAAA"}',
        '{"table": "groups", "key": ["1", "g"], "data": "AAAA"}',
        '{"table": "problems", "key": ["p"], "before": {}, "tally": {"attempts": -1}}',
        '{"table": "steps", "key": [1], "step": {"before": [1], "after": [1], "groups": "many"}}',
        '{"table": "steps", "key": [1], "step": {"before": [1, 2], "after": [1, 2]}}',
        '{"table": "steps", "key": [1], "step": {"before": [NaN], "after": [1]}}',
        *(row.replace('"step":1,', f'"step":{2**70},') for row in rows if row.startswith('{"table":"problems"')),
        '{"table": "requests", "key": ["r", 1, 0], "data": "AAAA"}',
        '{"table": "rollouts", "key": [1, "g", "r"], "data": "AAAA"}',
        *(row.replace('"a"', '"\\ud800"') for row in rows if row.startswith('{"table":"problems","key":["a"]')),
        *(row.replace("[1,", f"[{2**70},") for row in rows if '"groups"' in row),
        "[" * 5000,
    ]
    meta = json.loads(header)["meta"]
    bad_metas = [
        {"kind": "weird"},
        {"open": "abc"},
        {"open": 2**60},
        {"open": meta["closed"]},
        {"closed": -2},
        {"values": [float("inf")]},
        {"cells": [[0, 2, 3, 1, 0, 0, 0, 0, 0]]},
        {"cells": [[0, 0, 0, 1, 0, 0, 0, 0, 0]]},
        {"config": {**meta["config"], "problem_weight": 2}},
        {"config": {**meta["config"], "more": 1}},
        {"config_text": None},
    ]
    bad_headers = [json.dumps({**json.loads(header), "meta": {**meta, **bad}}) for bad in bad_metas]
    broken_exports = [
        [],
        lines[:-1],
        ["{}"],
        ["[]"],
        [header, *rows[1:], end],
        [header.replace("values", "v"), *rows, end],
        *([bad, *rows, end] for bad in bad_headers),
    ]
    for broken in broken_exports + [[header, bad, *rows[1:], end] for bad in bad_rows]:
        with pytest.raises(errors.DifficultyError):
            driver.import_run(run.name, broken)
        assert driver.export(run.name) == lines


def test_an_import_with_records_of_steps_that_never_opened_is_refused(driver: Driver, new_run: MakeRun) -> None:
    """Redis would replay such a group, the other stores would count it once more."""
    run, stepless, copy = new_run(), new_run(groups_per_step=2), new_run()
    for step in (1, 2):
        run.commit(step, group("a", 1, data_source="s"), group("b", 1))
    run.observe(9, "later", "s0", True)
    stepless.commit(None, group("a", 1), request_id="r", request_digest=bytes(16))
    for one in (run, stepless):
        driver.import_run(copy.name, driver.export(one.name))
    header, *rows, end = driver.export(run.name)
    later = []
    for table in ("steps", "data_sources", "undo", "groups"):
        row = next(json.loads(row) for row in rows if f'"table":"{table}"' in row)
        row["key"][0] = 9
        later.append([header, json.dumps(row), *rows[1:], end])
    fields = json.loads(header)
    closed_later = [row.replace('"step":2,', '"step":9,') if '"tally"' in row else row for row in rows]
    assert closed_later != rows
    later.append([header, *closed_later, end])
    fields["meta"]["closed"] = 0  # step 1 is neither closed nor open
    later.append([json.dumps(fields), *rows, end])
    header, *rows, end = driver.export(stepless.name)
    fields = json.loads(header)
    fields["meta"].update(open=None, cells=[])
    later.append(
        [json.dumps(fields), *(row for row in rows if '"requests"' in row), json.dumps({"end": True, "rows": 1})]
    )
    before = driver.export(copy.name)
    for lines in later:
        with pytest.raises(BadExport, match=r"is after the newest step of the run|open right after closed"):
            driver.import_run(copy.name, lines)
        assert driver.export(copy.name) == before


def test_an_import_is_asked_about_its_configuration_first(driver: Driver, new_run: MakeRun) -> None:
    run = new_run()
    run.commit(1, group("a", 1))
    lines, asked = driver.export(run.name), []

    def refuse(config_text: str) -> None:
        asked.append(config_text)
        raise errors.RunConflict("not here")

    async def send() -> AsyncIterator[str]:
        for line in lines:
            yield line

    with pytest.raises(errors.RunConflict):
        driver.wait(driver.store.import_run(run.name, send(), refuse))
    assert asked == [run.state.config_text]
    assert driver.export(run.name) == lines


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([2**31, 2**32, 2**53, 2**70, 10**400, float("nan"), float("inf"), 1e308])
    | st.text(st.characters(), max_size=3)
    | st.sampled_from(["stepped", "stepless", "\ud800", "x" * 5000, "AAAA"])
)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.sampled_from(["step", "p", "kind"]), scalars)


def places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything inside."""
    inside = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    found = [(value, key) for key, _ in inside]
    for _, inner in inside:
        if isinstance(inner, dict | list):
            found += places(inner)
    return found


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_any_change_of_an_export_is_refused_or_works(driver: Driver, new_run: MakeRun, data: st.DataObject) -> None:
    """Rows are checked one by one. Where they contradict each other the run itself may fail, but hides no other, and
    can be deleted."""
    run = new_run(keep_steps=2, extra=(Accumulator("max", 0.1),))
    for step in range(4):
        run.commit(step, group(f"p{step % 3}", step % 5, data_source="a"), group("q", 1, 3, tokens=None))
    run.observe(3, "seen", "s0", True, tokens=3)
    lines = [json.loads(line) for line in driver.export(run.name)]
    line = data.draw(st.sampled_from(lines))
    container, key = data.draw(st.sampled_from(places(line)))
    if data.draw(st.integers(0, 9)) == 0:
        del container[key]
    else:
        container[key] = data.draw(values)
    changed = new_run()
    try:
        driver.import_run(changed.name, [json.dumps(line) for line in lines])
    except errors.DifficultyError:
        with pytest.raises(errors.UnknownRun):
            driver.get_run(changed.name)
        return
    assert {run.name, changed.name} <= {state.run for state in driver.list_runs()}
    driver.sweep(None)
    driver.history(changed.name)
    driver.source_history(changed.name)
    driver.problems(changed.name, sort="pass_ratio")
    driver.export(changed.name)
    driver.delete_run(changed.name)
