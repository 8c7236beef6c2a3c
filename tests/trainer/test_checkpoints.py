"""A resume refuses a checkpoint whose files are cut, replaced, missing or malicious; it changes nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from deepcompress_client import Client
from deepcompress_trainer import checkpoint, run_logger
from deepcompress_trainer.config import TrainConfig, parse_flags
from deepcompress_trainer.evaluate import Evaluation
from deepcompress_trainer.model import load_policy, new_tiny_policy, save_policy
from deepcompress_trainer.plot import read_rows
from deepcompress_trainer.run_logger import RunLogger
from deepcompress_trainer.train import Trainer

from .test_mistakes import refused
from .test_training import SMALL, settings

NEWEST = "checkpoints/step-000001"
FILES = (
    *("optimiser.pt", "random.pt", "service.jsonl", "service-run.json", "state.json"),
    *("model/model.safetensors", "model/config.json", "model/generation_config.json", "model/tokenizer.json"),
    "model/tokenizer_config.json",
)


class Executes:
    """Pickled, it makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, service_url: str) -> Path:
    """A run with the checkpoints of two steps."""
    folder = tmp_path_factory.mktemp("trained")
    config = settings(folder, "damaged", steps=2, save_every=1, keep_checkpoints=2, eval_every=2)
    Trainer(config, Client(service_url), resume=False).run()
    (folder / "small.json").write_text(json.dumps({**SMALL, "save_every": 1, "eval_every": 2}))
    return folder


@pytest.fixture
def resume(trained: Path, tmp_path: Path, service_url: str, capfd: pytest.CaptureFixture[str]) -> Any:
    """A copy of the run's folder, and a call that must fail to resume it, which returns the error."""
    folder = shutil.copytree(trained / "damaged", tmp_path / "damaged")

    def call() -> str:
        state = Client(service_url).run("damaged", join=True).info()
        command = [
            str(trained / "small.json"),
            "--out",
            str(tmp_path),
            "--name",
            "damaged",
            "--resume",
            "--steps",
            "3",
        ]
        error = refused([*command, "--no-plot", "--service-url", service_url], capfd)
        assert Client(service_url).run("damaged", join=True).info() == state, "the run at the service was changed"
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2, "and its numbers"
        return error

    return folder, call


def without_digests(folder: Path) -> None:
    """As an older trainer wrote the checkpoint."""
    state = json.loads((folder / NEWEST / "state.json").read_text())
    del state["files"]
    (folder / NEWEST / "state.json").write_text(json.dumps(state))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "empty": lambda file: file.write_bytes(b""),
    "other": lambda file: file.write_bytes(bytes(range(256))),
    "missing": lambda file: file.unlink(),
    "folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_not_as_it_was_written(trained: Path, tmp_path: Path, file: str, damage: str) -> None:
    folder = shutil.copytree(trained / "damaged", tmp_path / "damaged")
    checkpoint.check_files(checkpoint.find(folder)[-1])
    DAMAGE[damage](folder / NEWEST / file)
    with pytest.raises(ValueError, match=rf"{NEWEST}/{file} .*remove its folder to resume from an older checkpoint"):
        checkpoint.check_files(checkpoint.find(folder)[-1])


@pytest.mark.parametrize("file", ["state.json", "service.jsonl"])
def test_a_resume_with_such_a_file_changes_nothing(resume: Any, file: str) -> None:
    folder, call = resume
    DAMAGE["cut"](folder / NEWEST / file)
    assert f"{NEWEST}/{file}" in call()


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
@pytest.mark.parametrize("file", ["optimiser.pt", "random.pt", "model/model.safetensors"])
def test_the_same_of_an_older_trainer(resume: Any, file: str, damage: str) -> None:
    folder, call = resume
    without_digests(folder)
    DAMAGE[damage](folder / NEWEST / file)
    assert f"{NEWEST}/{file.partition('/')[0]}" in call()


@pytest.mark.parametrize("file", ["optimiser.pt", "random.pt"])
@pytest.mark.parametrize("content", [[1, 2], {}], ids=repr)
def test_a_state_of_something_else(resume: Any, file: str, content: object) -> None:
    folder, call = resume
    without_digests(folder)
    torch.save(content, folder / NEWEST / file)
    assert f"{NEWEST}/{file} cannot be read" in call()


def test_a_state_of_another_model(resume: Any) -> None:
    folder, call = resume
    without_digests(folder)
    policy = new_tiny_policy(width=64, layers=2)
    optimiser = torch.optim.AdamW(policy.model.parameters())
    sum(parameter.sum() for parameter in policy.model.parameters()).backward()  # type: ignore[union-attr]
    optimiser.step()
    torch.save(optimiser.state_dict(), folder / NEWEST / "optimiser.pt")
    assert "it is of another model" in call()


@pytest.mark.parametrize("file", ["optimiser.pt", "random.pt", "model/pytorch_model.bin"])
@pytest.mark.parametrize("container", ["pickle", "torch"])
def test_no_pickle_is_executed(resume: Any, tmp_path: Path, file: str, container: str) -> None:
    folder, call = resume
    without_digests(folder)
    (folder / NEWEST / "model" / "model.safetensors").unlink(missing_ok="model" in file)
    evil = {"a": Executes(tmp_path / "executed")}
    if container == "pickle":
        (folder / NEWEST / file).write_bytes(pickle.dumps(evil))
    else:
        torch.save(evil, folder / NEWEST / file)
    call()
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("of", ["config.json", "tokenizer_config.json"])
def test_no_code_of_a_model_is_run(tmp_path: Path, of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers would ask a person at a terminal, and run it after a yes."""
    save_policy(new_tiny_policy(width=32, layers=1), tmp_path)
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'executed')!r})\nclass E: ...\n")
    written = json.loads((tmp_path / of).read_text())
    written["auto_map"] = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM"), "evil.E")
    written["auto_map"]["AutoTokenizer"] = ["evil.E", "evil.E"]
    (tmp_path / of).write_text(json.dumps({**written, "model_type": "evil", "tokenizer_class": "E"}))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(ValueError, match=str(tmp_path)):
        load_policy(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_weights_that_a_file_lacks_are_not_drawn_at_random(tmp_path: Path) -> None:
    save_policy(new_tiny_policy(width=32, layers=2), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in weights if "layers.1" in name)
    del weights[gone]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"1 weights are missing, {gone}"):
        load_policy(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        *({"step": -5}, {"step": 0}, {"step": 10**6}, {"step": True}, {"step": "1"}, {"cursor": -1}),
        *({"cursor": 10**30}, {"cursor": 1.0}, {"processes": "2"}, {"files": []}, {"config": []}),
    ],
    ids=repr,
)
def test_a_state_that_no_trainer_wrote(trained: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    folder = shutil.copytree(trained / "damaged", tmp_path / "damaged")
    file = folder / NEWEST / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ValueError, match=f"{NEWEST}/state.json .*remove its folder"):
        checkpoint.find(folder)


def test_other_folders_beside_the_checkpoints_are_left_alone(trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained / "damaged", tmp_path / "damaged")
    for name in ("step-abc", "step-000007.part", "step-000008.gone", "step-000009.bak"):
        (folder / "checkpoints" / name).mkdir()
    assert [one.step for one in checkpoint.find(folder)] == [0, 1]


def test_a_setting_that_an_older_checkpoint_does_not_have_is_the_default(trained: Path) -> None:
    last = checkpoint.find(trained / "damaged")[-1]
    config = TrainConfig(**last.config)
    old = dataclasses.replace(last, config={name: value for name, value in last.config.items() if name != "kl"})
    checkpoint.check_same(old, config, processes=1)
    with pytest.raises(ValueError, match=r"kl: was 0\.0, is 0\.1"):
        checkpoint.check_same(old, dataclasses.replace(config, kl=0.1), processes=1)


def test_a_second_training_in_the_folder_is_refused(resume: Any) -> None:
    folder, call = resume
    with checkpoint.locked(folder):
        assert "another training writes to" in call()


def test_a_full_disk_leaves_the_last_checkpoint(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(trained / "damaged", tmp_path / "damaged")
    config = TrainConfig(**checkpoint.find(folder)[-1].config)

    class Saved:
        def save(self, name: str, step: int, exported: Path) -> None:
            exported.write_text("{}")

    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc] PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", full)
    policy = new_tiny_policy(width=32, layers=1)
    optimiser = torch.optim.AdamW(policy.model.parameters())
    with pytest.raises(OSError, match=r"step-000002\.part cannot be written"):
        checkpoint.write(
            folder,
            policy=policy,
            optimiser=optimiser,
            step=2,
            cursor=3,
            config=config,
            processes=1,
            rewards=Saved(),  # type: ignore[arg-type]
        )
    assert [one.step for one in checkpoint.find(folder)] == [0, 1]


class SavedState:
    """A service that exports two kilobytes of state."""

    def save(self, name: str, step: int, exported: Path) -> None:
        exported.write_text("x" * 2000)


def write_checkpoint(folder: Path, step: int) -> Path:
    policy = new_tiny_policy(width=32, layers=1, seed=1)
    optimiser = torch.optim.AdamW(policy.model.parameters())
    sum(parameter.sum() for parameter in policy.model.parameters()).backward()  # type: ignore[union-attr]
    optimiser.step()
    return checkpoint.write(
        folder,
        policy=policy,
        optimiser=optimiser,
        step=step,
        cursor=0,
        config=TrainConfig(),
        processes=1,
        rewards=SavedState(),  # type: ignore[arg-type]
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB with the checkpoint of step 0."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    try:
        write_checkpoint(tmp_path, 0)
        yield tmp_path
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_disk_that_fills_at_any_byte_leaves_whole_checkpoints_alone(small_disk: Path) -> None:
    failures: list[str] = []
    for room in range(0, 300_000, 16 * 1024):
        (small_disk / "other").unlink(missing_ok=True)
        status = os.statvfs(small_disk)
        (small_disk / "other").write_bytes(bytes(status.f_bavail * status.f_frsize - room))
        try:
            write_checkpoint(small_disk, 1)
        except OSError as error:
            failures.append(str(error))
            assert os.listdir(small_disk / "checkpoints") == ["step-000000"], "its room is free again"
        for whole in checkpoint.find(small_disk):
            checkpoint.check_files(whole)
        if len(checkpoint.find(small_disk)) == 2:
            break
    assert len(failures) > 5
    assert all(re.search(r"step-000001\.part cannot be written: .* MB free\).*--resume", one) for one in failures)
    assert [one.step for one in checkpoint.find(small_disk)] == [0, 1]


def test_a_disk_that_becomes_read_only_leaves_the_last_checkpoint(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match=r"step-000001\.part cannot be written: Read-only file system"):
        write_checkpoint(small_disk, 1)
    (whole,) = checkpoint.find(small_disk)
    checkpoint.check_files(whole)
    with pytest.raises(OSError, match=r"config\.json cannot be written: Read-only"):
        checkpoint.write_settings(TrainConfig(out=str(small_disk.parent), name=small_disk.name))


def test_a_metric_that_cannot_be_written_names_its_file(small_disk: Path) -> None:
    status = os.statvfs(small_disk)
    (small_disk / "other").write_bytes(bytes(status.f_bavail * status.f_frsize))
    with pytest.raises(OSError, match=r"metrics\.jsonl cannot be written: No space left on device \(0\.0 MB free\)"):
        run_logger._append(small_disk / "metrics.jsonl", {"step": 1})


@pytest.mark.parametrize(
    "row", [{}, {"bins": 3}, {"bins": {}, "samples": []}, {"bins": {"all": 3}, "samples": []}], ids=repr
)
def test_an_evaluation_that_is_none(trained: Path, tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="it is no evaluation"):
        Evaluation.from_row(row)
    config = dataclasses.replace(TrainConfig(**checkpoint.find(trained / "damaged")[-1].config), out=str(tmp_path))
    config.folder.mkdir()
    (config.folder / "evals.jsonl").write_text(json.dumps({"step": -1, **row}) + "\n")
    with pytest.raises(ValueError, match=r"evals\.jsonl has a row that was not written here"):
        RunLogger(config, next_step=2, processes=1, active=True)


def test_bytes_of_a_crash_in_the_metrics_are_left_out(trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes((trained / "damaged" / "metrics.jsonl").read_bytes() + b"\xff\xfe\0\0{\n")
    assert [row["step"] for row in read_rows(file)] == [0, 1]


FLOATS = [entry.name for entry in dataclasses.fields(TrainConfig) if str(entry.type).startswith("float")]
INTEGERS = [entry.name for entry in dataclasses.fields(TrainConfig) if entry.type == "int"]


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1e400", "9" * 400])
def test_a_number_that_is_not_finite_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        parse_flags({}, {name: value})


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", ["9" * 400, str(2**31)])
def test_an_integer_without_end_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        parse_flags({}, {name: value})


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "max_grad_norm", "clip_low", "clip_high", "kl"])
def test_a_number_of_the_update_is_not_negative(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 0"):
        parse_flags({}, {name: "-0.1"})
