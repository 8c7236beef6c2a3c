"""Settings, intervals, pictures and models: the smaller pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from deepcompress_client import Client, presets
from deepcompress_client.presets import fading
from deepcompress_trainer import checkpoint
from deepcompress_trainer.__main__ import main
from deepcompress_trainer.config import TrainConfig, learning_rate_at, load, parse, shipped, start_checkpoint
from deepcompress_trainer.evaluate import BinResult, Evaluation, wilson
from deepcompress_trainer.model import Policy, as_policy, load_policy, on_cpu
from deepcompress_trainer.plot import families, read_run
from deepcompress_trainer.rewards import length_weight, run_settings
from deepcompress_trainer.run_logger import RunLogger
from deepcompress_trainer.sft import CHAIN_CURRICULUM, _pack, chain_pairs, learn
from deepcompress_trainer.train import Example, split_by_tokens, split_groups


@pytest.mark.parametrize("name", shipped())
def test_shipped_configurations_load(name: str) -> None:
    assert load(name, {}).name == name


def test_the_service_takes_the_rewards_of_every_shipped_configuration(service_url: str) -> None:
    with Client(service_url) as client:
        for name in shipped():
            client.run(f"accepted-{name}", next_step=0, **run_settings(load(name, {})))


def test_flags_win_over_the_file_and_reach_into_mappings(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("learning_rate: 1e-4\nsteps: 5\nstrategy: {name: deepcompress, alpha: 0.1}\n")
    config = load(str(file), {"steps": "7", "strategy.alpha": "0.5", "overlong.max_tokens": "90"})
    assert (config.name, config.steps, config.learning_rate) == ("mine", 7, 1e-4)
    assert config.strategy == {"name": "deepcompress", "alpha": 0.5}
    assert config.overlong == {"max_tokens": 90}


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_as_a_flag_replaces_the_reward_of_the_file(name: str, service_url: str) -> None:
    preset = presets.find_preset(name)
    config = load("tiny", {"preset": name, "length_weight": "0.125", "length_fade": "null"})
    assert config.preset == preset.id
    assert config.strategy == preset.run["strategy"]  # and not the file's
    faded = {"length_fade": None} if "length_fade" in preset.trainer else {}
    assert config.steps == load("tiny", {}).steps
    assert {key: getattr(config, key) for key in preset.trainer} == {**preset.trainer, **faded}
    with Client(service_url) as client:
        stored = client.run(f"preset-{name}", next_step=0, **run_settings(config)).info().config
    assert (stored.preset, stored.length_weight) == (preset.id, 0.125)
    for option in ("gate", "guard", "target", "advantage"):
        assert (getattr(stored, option) is not None) == (option in preset.run)


def test_the_weight_falls_to_0_between_two_shares_of_the_steps() -> None:
    config = parse({"steps": 200, "length_weight": 3.0, "length_fade": [0.7, 0.9]})
    assert length_weight(config) == {"schedule": [[140, 3.0], [180, 0.0]]}
    assert length_weight(parse({"length_weight": 2})) == 2.0
    assert fading(1.0, 1) == {"schedule": [[1, 1.0], [2, 0.0]]}
    for wrong in ([0.7], [0.9, 0.7], [0.5, 1.5], ["a", "b"]):
        with pytest.raises(ValueError, match="length_fade"):
            parse({"length_fade": wrong})
    with pytest.raises(ValueError, match="length_fade"):
        parse({"length_fade": [0.5, 0.6], "length_weight": {"schedule": [[0, 1]]}})


def test_a_file_takes_precedence_over_the_preset_that_it_names(tmp_path: Path, service_url: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("preset: authors\nstrategy: {alpha: 0.5}\nkl: 0.1\n")
    config = load(str(file), {"kl": "0.2"})
    assert config.strategy == {"name": "deepcompress", "mode": "release", "alpha": 0.5}
    assert (config.filter_metric, config.kl) == ("acc", 0.2)
    with pytest.raises(ValueError, match="no preset 'other'"):
        load(str(file), {"preset": "other"})


def test_flags_alone_are_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[TrainConfig, bool]] = []
    asked: list[str | None] = []

    class Stand:
        """In the trainer's place: keeps what it was made with."""

        main = False

        def __init__(self, config: TrainConfig, client: Client, *, resume: bool) -> None:
            seen.append((config, resume))

        def run(self) -> None: ...

        def leave(self) -> None: ...

    monkeypatch.setattr("deepcompress_trainer.__main__.Client", asked.append)
    monkeypatch.setattr("deepcompress_trainer.__main__._warn_if_unreachable", lambda url: None)
    monkeypatch.setattr("deepcompress_trainer.train.Trainer", Stand)
    words = ["--out", str(tmp_path), "--data", "chain", "--service-url", "http://there:1", "--resume"]
    words += ["--strategy.alpha=0.5", "--chat", "true"]
    assert main(words) == 0
    ((config, resume),) = seen
    assert (config.data, config.chat, config.strategy["alpha"]) == ("chain", True, 0.5)
    assert asked == ["http://there:1"] and resume
    for wrong in ([], ["--steps"], ["tiny", "another", "--out", str(tmp_path)]):
        with pytest.raises(SystemExit):
            main(wrong)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, "no such setting: stepz"),
        ({"steps": "many"}, "steps"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"filter_metric": "accuracy"}, "acc, reward, none"),
        ({"filter_metric": "none", "max_generation_batches": 2}, "max_generation_batches"),
        ({"learning_rate": "abc"}, "learning_rate: 'abc' is no number"),
        ({"learning_rate": [1]}, "learning_rate: .* is not of type float"),
        ({"strategy": "deepcompress"}, "strategy: 'deepcompress' is not of type dict"),
        ({"answer_format": "foo"}, "answer_format is one of boxed, one_boxed, final_answer, bare, not 'foo'"),
        ({"generation_chunk": -1}, "generation_chunk must be at least 0"),
        ({"eval_problems": 0}, "eval_problems must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"group_size": 1}, "group_size must be at least 2"),
        ({"name": "a b/x"}, "name: 'a b/x' is no run's name"),
        ({"name": ".."}, "is no run's name"),
        ({"chain_operations": [0, 3]}, r"chain_operations: \[0, 3\] is not"),
        ({"chain_operations": [5, 2]}, r"chain_operations: \[5, 2\] is not"),
        ({"chain_operations": [1, 2.5]}, "two whole numbers from 1 to 26"),
        ({"chain_operations": [3]}, "two whole numbers"),
        ({"chain_operations": 5}, "chain_operations: 5 is not of type list"),
        ({"chain_operations": [1, 1], "chain_problems": 6000}, "chain_problems and eval_problems: .* only 5,460"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(values)


def test_the_synthetic_tasks_settings_matter_only_where_it_is_used() -> None:
    assert parse({"chain_operations": [0, 0], "data": "a.jsonl", "eval_data": "b.jsonl"})
    with pytest.raises(ValueError, match="chain_operations"):
        parse({"chain_operations": [0, 0], "data": "a.jsonl", "eval_data": "chain"})


def test_a_folder_of_a_configurations_name_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny").mkdir()
    assert load("tiny", {}).name == "tiny"
    with pytest.raises(ValueError, match="no such file"):
        load(".", {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--learning_rate", "abc"], "learning_rate: 'abc' is no number"),
        (["--strategy", "{a"], "--strategy cannot be read as YAML"),
        (["--strategy", "deepcompress", "--strategy.alpha", "1"], "--strategy.alpha: strategy is 'deepcompress'"),
        (["--chat", "true", "--service-url", "http://127.0.0.1:9"], "chat: the tokenizer has no chat template"),
        (["--service-url", "nonsense"], "nonsense"),
        (["sft", "jsonl", "/nope", "nope.jsonl", "out"], "nope.jsonl"),
    ],
)
def test_mistakes_are_an_error_of_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--chat" in words:
        monkeypatch.setattr("deepcompress_trainer.__main__._warn_if_unreachable", lambda url: None)
    with pytest.raises(SystemExit) as ended:
        main(words if words[0] == "sft" else [*words, "--out", str(tmp_path), "--device", "cpu"])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_strategy_unknown_to_the_service_is_an_error_of_one_line(
    tmp_path: Path, service_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", str(tmp_path), "--device", "cpu", "--service-url", service_url]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--strategy.name", "nonsense", "--name", "no-such-strategy"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "nonsense" in said and "Traceback" not in said


def test_the_shipped_start_is_small_and_can_do_the_task() -> None:
    size = sum(file.stat().st_size for file in start_checkpoint().iterdir())
    assert size < 2_000_000
    policy = load_policy(start_checkpoint())
    assert policy.decode(policy.encode_prompt("3 c +8 =", chat=False)) == "3 c +8 ="


def test_a_gpu_that_was_asked_for_by_name_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert on_cpu("auto") and on_cpu("cpu")
    with pytest.raises(ValueError, match="cuda"):
        on_cpu("cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert (on_cpu("auto"), on_cpu("cuda"), on_cpu("cpu")) == (False, False, True)


def test_prompts_go_through_the_chat_template_where_asked() -> None:
    policy = load_policy(start_checkpoint())
    policy.tokenizer.chat_template = (
        "{% for m in messages %}a {{ m.content }} {% endfor %}{% if add_generation_prompt %}b{% endif %}"
    )
    chat, plain = (policy.encode_prompt("3 c +8 =", chat=chat) for chat in (True, False))
    assert policy.decode(chat) == "a 3 c +8 = b"
    assert policy.decode(plain) == "3 c +8 ="


def test_the_tokenizers_own_end_token_is_the_one_that_is_taught(untrained: Policy) -> None:
    from types import SimpleNamespace

    class Tokenizer:
        eos_token_id, pad_token_id = 9, 0

        def __call__(self, text: str, **how: Any) -> dict[str, list[int]]:
            return {"input_ids": [5] * len(text.split())}

    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=[9, 3, 4]))
    policy = as_policy(model, Tokenizer())
    assert policy.end_ids == (9, 3, 4)
    packed = _pack(policy, [("a b", "c d")], chat=False, max_tokens=16)
    assert packed is not None and packed[1].tolist() == [[-100, -100, 5, 5, 9]]


def test_a_prompt_that_leaves_no_room_for_its_response_teaches_nothing(untrained: Policy) -> None:
    long = ("3 c +8 d *3 e -2 =", "c +8 1")
    assert _pack(untrained, [long], chat=False, max_tokens=8) is None
    packed = _pack(untrained, [long, ("3 =", "1")], chat=False, max_tokens=8)
    assert packed is not None and packed[0].shape == (1, 5)
    learn(untrained, iter([[long]]), steps=1, learning_rate=0.0, chat=False, max_tokens=8)


def test_checkpointing_gradients_brings_no_dropout() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, OPTConfig, OPTForCausalLM

    from deepcompress_trainer.model import without_dropout

    opt = OPTConfig(
        vocab_size=20, hidden_size=16, ffn_dim=16, num_hidden_layers=1, num_attention_heads=2, dropout=0.9
    )
    opt.word_embed_proj_dim = 16
    gpt = GPT2Config(vocab_size=20, n_embd=16, n_layer=1, n_head=2, resid_pdrop=0.9, attn_pdrop=0.9, embd_pdrop=0.9)
    for model in (OPTForCausalLM(opt), GPT2LMHeadModel(gpt)):
        ids = torch.tensor([[1, 2, 3, 4]])
        with torch.no_grad():
            calm = model.eval()(ids).logits
            assert not torch.allclose(model.train()(ids).logits, calm)
            assert torch.allclose(without_dropout(model).train()(ids).logits, calm)


def test_warm_up_lowers_the_loss(untrained: Policy, capsys: pytest.CaptureFixture[str]) -> None:
    import copy
    import random

    policy = Policy(copy.deepcopy(untrained.model), untrained.tokenizer, untrained.end_ids, untrained.pad_id)
    rng = random.Random(0)
    batches = (chain_pairs(CHAIN_CURRICULUM[0], 16, rng) for _ in range(30))
    learn(policy, iter(batches), steps=30, learning_rate=3e-3, chat=False, report_every=29)
    losses = [float(line.split()[3]) for line in capsys.readouterr().out.splitlines()]
    assert losses[-1] < losses[0] - 0.5


def test_a_folder_without_a_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileNotFoundError):
        load_policy(tmp_path / "nothing")
    with pytest.raises(SystemExit):
        main(["--model", str(tmp_path / "nothing"), "--out", str(tmp_path)])
    assert "no model at" in capsys.readouterr().err


def test_intervals() -> None:
    low, high = wilson(10, 10)
    assert high == 1.0 and 0.7 < low < 0.73


def test_minibatches_hold_whole_groups() -> None:
    from deepcompress_trainer.generate import Rollout

    def example(tokens: int, of: int) -> Example:
        return Example([of], Rollout([9] * tokens, [0.0] * tokens, truncated=False), 1.0, [0.0] * tokens)

    batch = [[example(5, of) for _ in range(4)] for of in range(7)]
    parts = list(split_groups(batch, 3))
    assert sorted(len(part) for part in parts) == [8, 8, 12]
    groups = [{e.prompt_ids[0] for e in part} for part in parts]
    assert sum(len(group) for group in groups) == 7
    assert list(split_groups(batch[:2], 3)) == batch[:2]
    micros = split_by_tokens([example(n, 0) for n in (30, 3, 8, 30)], 40)
    assert [[e.rollout.tokens for e in micro] for micro in micros] == [[3, 8], [30], [30]]


def test_the_learning_rate_warms_up_stays_and_falls_as_configured() -> None:
    steady = TrainConfig(learning_rate=1.0, warmup_steps=4)
    assert [learning_rate_at(steady, step) for step in (0, 1, 3, 4, 500)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    falling = TrainConfig(learning_rate=1.0, warmup_steps=0, decay_steps=10, steps=10)
    assert [learning_rate_at(falling, step) for step in (0, 5, 9, 10, 12)] == pytest.approx([1.0, 0.5, 0.1, 0.0, 0.0])
    with pytest.raises(ValueError, match="decay_steps"):
        TrainConfig(steps=20, decay_steps=10)


def run_folder(tmp_path: Path, name: str, seed: int, **changes: Any) -> Path:
    config = TrainConfig(**{"name": name, "seed": seed, "out": str(tmp_path), **changes})
    config.folder.mkdir()
    checkpoint.write_settings(config)
    row = {"level": 0.9, "length_share": None, "entropy": 0.5, "groups_kept": 3, "groups_drawn": 4}
    (config.folder / "metrics.jsonl").write_text("".join(json.dumps({"step": s, **row}) + "\n" for s in range(4)))
    bins = {bin_name: {"sampled": 0.1 * seed + 0.2, "tokens": 20.0} for bin_name in ("all", "easy", "hard")}
    (config.folder / "evals.jsonl").write_text(
        "".join(json.dumps({"step": s, "bins": bins, "samples": []}) + "\n" for s in (-1, 3))
    )
    return config.folder


def test_seeds_of_the_same_settings_are_one_line_of_the_picture(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path, f"a{seed}", seed) for seed in range(3)]
    folders.append(run_folder(tmp_path, "b", 0, filter_metric="reward"))
    grouped = families(read_run(folder) for folder in folders)
    assert {label: len(runs) for label, runs in grouped.items()} == {
        "filter_metric=acc": 3,
        "filter_metric=reward": 1,
    }
    assert main(["plot", *map(str, folders), "--out", str(tmp_path / "p.png")]) == 0
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_a_run_that_cannot_be_drawn_yet_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_folder(tmp_path, "fresh", 0)
    (folder / "evals.jsonl").write_text("")
    with pytest.raises(SystemExit) as ended:
        main(["plot", str(folder), "--out", str(tmp_path / "p.png")])
    assert ended.value.code == 2 and "fresh has no evaluation yet" in capsys.readouterr().err


def test_a_line_that_a_kill_cut_short_does_not_hinder_the_picture(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "torn", 0)
    for name in ("metrics.jsonl", "evals.jsonl"):
        whole = (folder / name).read_text()
        (folder / name).write_text(whole + whole[:20])
    assert main(["plot", str(folder), "--out", str(tmp_path / "p.png")]) == 0


@pytest.mark.parametrize("bins", [("all",), ("all", "easy", "medium", "hard", "harder")])
def test_the_picture_has_every_panel_however_many_bins_there_are(
    bins: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_folder(tmp_path, "bins", 0)
    row = {"step": 3, "bins": {name: {"sampled": 0.5, "tokens": 9.0} for name in bins}, "samples": []}
    (folder / "evals.jsonl").write_text(json.dumps(row) + "\n")
    seen: list[str] = []

    def look(figure: Figure, *where: Any, **how: Any) -> None:
        seen.extend(axis.get_title() for axis in figure.axes if axis.get_visible())

    monkeypatch.setattr(Figure, "savefig", look)
    assert main(["plot", str(folder), "--out", str(tmp_path / "p.png")]) == 0
    assert len(seen) == 2 * len(bins) + 4
    assert any("level" in title for title in seen) and "groups kept" in seen


def evaluation(sampled: float, text: str = "[1,2]") -> Evaluation:
    result = BinResult(4, sampled, (0.1, 0.9), sampled, (0.1, 0.9), 20.0, 20.0, 0.0)
    greedy = {"text": text, "correct": True, "tokens": 3}
    sample = {"bin": "all", "prompt": "f[x] [red]?", "greedy": greedy, "sampled": greedy}
    return Evaluation({"all": result}, [sample])


METRICS = {"level": 0.9, "accuracy": 0.5, "tokens": 9.0, "groups_kept": 1, "groups_drawn": 2, "time": {"step_s": 1.0}}
METRICS |= {"entropy": 0.1, "entropy_sampled": 0.2}


def test_a_resumed_run_compares_with_its_start_and_keeps_its_evaluations_on_the_board(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    config = TrainConfig(name="seen", out=str(tmp_path), steps=3)
    first = RunLogger(config, next_step=0, processes=2, active=True)
    first.evaluation(-1, evaluation(0.25))
    for step in range(2):
        first.step({**METRICS, "step": step})
        first.evaluation(step, evaluation(0.5))
    first.step({**METRICS, "step": 2, "level": 0.1})  # after the checkpoint of step 1; lost with the kill
    first.close()
    assert "seen: to 3 steps, 2 processes" in capsys.readouterr().out
    with (config.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lev')

    again = RunLogger(config, next_step=2, processes=1, active=True)
    assert not list(config.folder.glob("*.part"))
    again.step({**METRICS, "step": 2})
    again.evaluation(2, evaluation(0.75))
    again.compare()
    again.close()
    again.close()
    said = capsys.readouterr().out
    assert "seen: from step 2 to 3 steps, 1 process\n" in said
    assert "25.0% → 75.0% (10 to 90)" in said
    assert "f[x] [red]?" in said and "[1,2]" in said and "\\" not in said
    rows = [json.loads(line) for line in (config.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2]
    board = EventAccumulator(str(config.folder / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("eval_sampled/all")] == [0, 1, 2, 3]
    assert [event.value for event in board.Scalars("level/all")] == pytest.approx([0.9] * 3)
    assert [len(board.Scalars(f"entropy/{of}")) for of in ("trained", "sampled")] == [3, 3]


def test_a_kill_while_the_files_are_cut_back_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(name="cut", out=str(tmp_path), steps=3)
    watch = RunLogger(config, next_step=0, processes=1, active=True)
    for step in range(3):
        watch.step({**METRICS, "step": step})
    watch.close()
    before = (config.folder / "metrics.jsonl").read_text()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deepcompress_trainer.run_logger.os.fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        RunLogger(config, next_step=2, processes=1, active=True)
    assert (config.folder / "metrics.jsonl").read_text() == before
