"""A second stage: a run that starts at step 0 with the difficulty state of another run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deepcompress_client import Client, errors
from deepcompress_client._runs import run_config
from deepcompress_client.wire import RunConfig
from tests.integrations import live

RIGHT, WRONG = {"correct": True, "tokens": 5}, {"correct": False, "tokens": 9}


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        with live.serving(folder) as service:
            yield service.url
    else:
        with live.redis(folder / "redis") as state, live.serving(folder / "service", state) as service:
            yield service.url


def stage(url: str, name: str, steps: int = 3) -> None:
    run = Client(url).run(name, next_step=0, overlong={"max_tokens": 100, "buffer_tokens": 10})
    for step in range(steps):
        groups = [
            {"problem_id": "a", "rollouts": [RIGHT, WRONG, WRONG, WRONG]},
            {"problem_id": f"b{step}", "rollouts": [WRONG] * 4},
        ]
        run.shape(groups, step=step)


def test_a_second_stage_starts_with_the_level_and_the_problems(url: str) -> None:
    client = Client(url)
    stage(url, "stage-1")
    before = client.run("stage-1", join=True)
    second = client.run("stage-2", continue_from="stage-1", overlong={"max_tokens": 200, "buffer_tokens": 10})
    found = second.info()
    assert (found.level, found.problems, found.kind) == (before.info().level, 4, None)
    assert found.level < 1.0
    assert found.incarnation != before.info().incarnation
    assert found.config.overlong is not None
    assert found.config.overlong.max_tokens == 200  # the rest is the source's
    old, new = before.problem("a"), second.problem("a")
    assert (new.attempts, new.passes, new.pass_ratio) == (old.attempts, old.passes, old.pass_ratio)
    assert new.last_beta == pytest.approx(old.last_beta)
    assert second.history().steps == []

    answer = second.shape([{"problem_id": "a", "rollouts": [RIGHT] * 4}], step=0)
    expected = before.shape([{"problem_id": "a", "rollouts": [RIGHT] * 4}], step=3)
    assert answer.level == expected.level
    assert second.problem("a").attempts == before.problem("a").attempts
    assert before.info().step == 3  # the first stage is untouched


def test_a_second_stage_from_an_export_file_and_again_after_a_crash(url: str, tmp_path: Path) -> None:
    client = Client(url)
    stage(url, "first")
    file = tmp_path / "first.jsonl"
    client.run("first", join=True).export_to(file)
    level = client.run("second", continue_from=file).info().level
    assert level < 1.0
    client.run("second", join=True).shape([{"problem_id": "a", "rollouts": [WRONG] * 2}], step=0)
    with pytest.raises(errors.RunInUse):
        client.run("second", continue_from=file)
    again = client.run("second", next_step=0, continue_from=file).info()
    assert (again.level, again.kind) == (level, None)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "x",
        "[]",
        "{}",
        '{"meta": {}}',
        '{"meta": {"config_text": "["}}',
        '{"meta": {"config_text": "[1]"}}',
        "[" * 9999,
    ],
    ids=lambda text: text[:20],
)
def test_a_file_that_is_no_export_changes_nothing(url: str, tmp_path: Path, content: str) -> None:
    client = Client(url)
    stage(url, "keeps-its-own")
    file = tmp_path / "notes.jsonl"
    file.write_text(content + "\n")
    with pytest.raises(errors.InvalidRequest, match=r"notes\.jsonl: its first line is not that of an export"):
        client.run("keeps-its-own", next_step=0, continue_from=file)
    assert client.run("keeps-its-own", join=True).info().step == 2


def test_a_rewind_keeps_what_a_second_stage_began_with(url: str) -> None:
    client = Client(url)
    stage(url, "kept")
    second = client.run("keeps", continue_from="kept")
    second.shape([{"problem_id": "b0", "rollouts": [RIGHT] * 4}], step=0)
    level, before = second.info().level, second.problem("a")
    second.shape([{"problem_id": name, "rollouts": [WRONG] * 4} for name in ("a", "new")], step=1)
    assert second.problem("a").attempts == before.attempts + 4
    rewound = client.run("keeps", next_step=1)
    assert (rewound.info().level, rewound.info().problems) == (level, 4)
    assert rewound.problem("a") == before
    rewound.shape([{"problem_id": "a", "rollouts": [RIGHT] * 4}], step=1)
    assert rewound.problem("a").attempts == before.attempts + 4


def test_a_restart_at_the_first_step_keeps_what_it_began_with(url: str, tmp_path: Path) -> None:
    client = Client(url)
    stage(url, "restarted")
    begun = client.run("restarts", continue_from="restarted").info()
    for _ in range(2):  # before its first step, and after one
        again = client.run("restarts", next_step=0)
        assert (again.info().level, again.info().problems, again.info().kind) == (begun.level, begun.problems, None)
        again.shape([{"problem_id": "a", "rollouts": [WRONG] * 2}], step=0)
    saved = again.state_dict()
    opened = client.open_training("restarts", 0, RunConfig(), state=saved)
    assert opened.info().level == begun.level
    with pytest.raises(errors.Conflict, match="another configuration"):
        client.run("restarts", next_step=0, keep_steps=9)
    fresh = client.open_training("restarts", 0, RunConfig(), fresh=True)
    assert (fresh.info().level, fresh.info().problems) == (1.0, 0)


def test_only_a_new_run_continues_another(url: str) -> None:
    client = Client(url)
    stage(url, "source", steps=1)
    with pytest.raises(errors.NotFound):
        client.run("target", continue_from="no-such-run")
    with pytest.raises(errors.InvalidRequest, match="step 0"):
        client.run("target", next_step=4, continue_from="source")
    with pytest.raises(errors.InvalidRequest, match="itself"):
        client.run("source", continue_from="source")


def test_names_are_refused_with_the_rule_and_a_valid_name(url: str) -> None:
    client = Client(url)
    for name, mapped in (("team/exp", "'team-exp'"), ("exp 1", "'exp-1'"), ("a:b@c", "'a-b-c'")):
        with pytest.raises(errors.InvalidRequest, match="letters, digits, dots") as refused:
            client.run(name)
        assert mapped in str(refused.value)
    with pytest.raises(errors.InvalidRequest, match="128"):
        client.run("")


def test_the_loser_of_a_race_gets_an_error_that_names_the_cause(url: str) -> None:
    client = Client(url)
    one, _other = client.run("race", next_step=0), client.run("race", next_step=0)
    with pytest.raises(errors.EpochMismatch, match="another training opened run 'race'"):
        one.shape([{"problem_id": "a", "rollouts": [WRONG] * 2}], step=0)


def test_a_preset_of_the_second_stage_replaces_the_settings_of_the_first(url: str) -> None:
    client = Client(url)
    first = client.run("preset-1", next_step=0, strategy="kimi_k1.5", length_weight=0.3, keep_steps=70)
    first.shape([{"problem_id": "a", "rollouts": [RIGHT, WRONG]}], step=0)
    config = client.run("preset-2", continue_from="preset-1", preset="authors").info().config
    assert (config.preset, config.strategy.name, config.length_weight) == ("authors@1", "deepcompress", 1.0)
    assert config.keep_steps == 70
    same = client.run("preset-3", continue_from="preset-1").info().config
    assert (same.preset, same.strategy.name, same.length_weight) == (None, "kimi_k1.5", 0.3)


def test_none_beside_a_preset_turns_an_option_off() -> None:
    assert run_config(None, {"preset": "authors", "gate": None}).model_fields_set == {"preset", "gate"}
    assert run_config(None, {"preset": None, "gate": None}).model_fields_set == set()
