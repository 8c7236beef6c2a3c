"""The trainer's commands, for ``deepcompress train``, ``deepcompress eval`` and ``torchrun``.

python -m deepcompress_trainer [CONFIG.yaml] [--SETTING VALUE ...] [--service-url URL | --embedded] [--resume]
python -m deepcompress_trainer plot RUNS... [--out PICTURE.png]
python -m deepcompress_trainer eval MODEL [--data ...] [--service-url URL | --embedded]
python -m deepcompress_trainer sft ...

Exit status: 0 done, 2 the arguments, the settings or a file are wrong, 3 an error of the service, or no answer.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from deepcompress_client import Client
from deepcompress_client.errors import DeepCompressError, InvalidRequest, RunLost, RunRolledBack, TooLarge

from .config import Parser, SettingsError, TrainConfig, load, parse_flags, shipped

_TRAIN = """\
Train a policy with GRPO, every batch scored by the service over HTTP.

  deepcompress train tiny --embedded                         the synthetic task from the shipped start, on a CPU
  deepcompress train my.yaml --service-url http://HOST:8321  your model and data, your service
  deepcompress train my.yaml --embedded --resume             continue after a crash, with the same numbers
  deepcompress train --name mine --model PATH --data train.jsonl --eval_data test.jsonl --embedded     flags alone
  deepcompress train plot runs/a runs/b                      pictures: seeds of the same settings become bands
  deepcompress train sft chain OUT                           make a start checkpoint (also: sft gsm8k, sft jsonl)
  deepcompress eval runs/tiny/checkpoints/step-000119/model  avg@k and greedy, by bin

CONFIG is a YAML file of the settings below, or a shipped one: {shipped}. Without one, every
setting is a flag or its default.
A flag --SETTING VALUE takes precedence over the file; --strategy.alpha 0.5 sets one key of a mapping.
"""
_EVAL = """\
Evaluate a model: pass@1 by sampling (avg@k) and greedy, tokens and truncation, by difficulty bin, with 95 %
intervals. Every setting of `deepcompress train --help` that an evaluation reads can be given as a flag.

  deepcompress eval start --embedded
  deepcompress eval runs/tiny/checkpoints/step-000119/model --embedded
  deepcompress eval PATH/model --data gsm8k:gsm8k_test.jsonl --eval_problems 200 --eval_samples 4 --embedded

A model of a run's checkpoint is evaluated with the settings of that run; flags take precedence.
The problems are those of --eval_data, else of --data.
"""


_OWN = frozenset({"help", "service-url", "embedded", "resume", "fresh", "no-plot", "json"})
"""The commands' own flags; every other one is a setting."""

EVALUATED = (
    *("chat", "data", "eval_data", "chain_operations", "eval_problems", "eval_samples", "seed"),
    *("max_new_tokens", "temperature", "generation", "compact_at", "answer_format"),
)
"""The settings that an evaluation takes from the run of its checkpoint. Those of the machine are not among them."""
USAGE_ERROR, SERVICE_ERROR = 2, 3
"""Exit statuses, as those of the service's own commands."""


class _TerminatedError(BaseException):
    """The process got SIGTERM."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Raise `_TerminatedError` on SIGTERM, in the main thread.

    The first process of a container ignores it otherwise, and is killed after the time that it has to stop.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        raise _TerminatedError

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status.

    Errors of files, of the terminal and of the service are one line. Other exceptions keep their traceback.
    """
    try:
        with _terminable():
            return _run(list(sys.argv[1:] if arguments is None else arguments))
    except (KeyboardInterrupt, _TerminatedError) as error:
        status = 130 if isinstance(error, KeyboardInterrupt) else 128 + signal.SIGTERM
        return _report("interrupted; `deepcompress train ... --resume` continues from the newest checkpoint", status)
    except BrokenPipeError:
        raise  # the reader of a pipe has ended
    except OSError as error:
        return _report(f"{error.filename}: {error.strerror}" if error.filename else str(error), USAGE_ERROR)


def _report(message: str, status: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return status


def _run(given: list[str]) -> int:
    if given[:1] == ["plot"]:
        return _plot(given[1:])
    if given[:1] == ["sft"]:
        from .sft import main as sft

        sft(given[1:])
        return 0
    if given[:1] == ["eval"]:
        return _eval(given[1:])
    return _train(given)


def _train(given: list[str]) -> int:
    parser = _parser("deepcompress train", _TRAIN.format(shipped=", ".join(shipped())))
    parser.add_argument("config", nargs="?", help="a YAML file, or the name of a shipped configuration")
    parser.add_argument("--resume", action="store_true", help="continue from the run's newest checkpoint")
    parser.add_argument(
        "--fresh", action="store_true", help="start the run again; its checkpoints and metrics are deleted"
    )
    parser.add_argument("--no-plot", action="store_true", help="no picture at the end")
    asked, flags = _parse(parser, given)
    if asked.config is None and not flags:
        parser.error("name a configuration, or give settings as flags")
    try:
        config = parse_flags({}, flags) if asked.config is None else load(asked.config, flags)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    if (config.folder / "metrics.jsonl").exists() and not (asked.resume or asked.fresh):
        parser.error(f"{config.folder} holds a run: --resume continues it, --fresh starts it again")
    from . import checkpoint
    from .train import Trainer

    with _exit_on_error(parser), _locked(parser, config.folder), _service(asked, config.folder) as url:
        if asked.fresh:
            checkpoint.clear(config.folder)
        try:
            trainer = Trainer(config, Client(url), resume=asked.resume)
        except (ValueError, OSError) as error:  # settings that do not fit the run, the data or the machine
            parser.error(str(error))
        trainer.run()
        trainer.leave()
        main_process = trainer.main
    if main_process and not asked.no_plot:
        from .plot import plot_runs

        print(f"picture: {plot_runs([config.folder], config.folder / 'curves.png')}")
    return 0


def _eval(given: list[str]) -> int:
    parser = _parser("deepcompress eval", _EVAL)
    parser.add_argument("model", help="a folder, a .gguf file, or 'start' (the shipped start checkpoint)")
    parser.add_argument("--json", action="store_true", help="the results as one JSON object")
    asked, flags = _parse(parser, given)
    import json

    import torch

    from .checkpoint import settings_beside
    from .config import start_checkpoint
    from .evaluate import evaluate
    from .model import load_policy, on_cpu
    from .run_logger import print_results
    from .train import read_held_out

    try:
        run = settings_beside(Path(asked.model))
        if run:
            print(f"settings of the run {run['name']}; flags take precedence", file=sys.stderr)
        values = {name: value for name, value in run.items() if name in EVALUATED}
        if "data" in flags:  # the problems to evaluate on, instead of the run's held-out ones
            values["eval_data"] = flags["data"]
        config = parse_flags({**values, "model": asked.model, "chain_problems": 1}, flags)
        torch.set_num_threads(config.threads)
        model = start_checkpoint() if config.model == "start" else config.model
        policy = load_policy(model, device="cpu" if on_cpu(config.device) else "cuda")
        if config.chat:
            policy.check_chat()
        held_out = read_held_out(config)
    except (ValueError, OSError, RecursionError) as error:
        parser.error(str(error))
    with _exit_on_error(parser), TemporaryDirectory() as folder, _service(asked, Path(folder)) as url:
        evaluation = evaluate(policy, held_out, Client(url), config, seed=_evaluation_seed(asked.model, config.seed))
    if asked.json:
        print(json.dumps(evaluation.as_dict()))
    else:
        print_results(evaluation)
    return 0


def _evaluation_seed(model: str, seed: int) -> str:
    """Return the seed of the samples. A checkpoint has that of the run's own evaluation after the same step."""
    from .checkpoint import step_of

    step = step_of(Path(model))
    name = f"eval/{seed}" if step is None else f"eval/{seed}/{step}"
    same = "" if step is None else f", as the run's own evaluation after {step + 1} steps"
    print(f"samples drawn with seed {name}{same}", file=sys.stderr)
    return name


def _plot(given: list[str]) -> int:
    parser = Parser("deepcompress train plot", description="Pictures of runs, seeds as bands.")
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--out", type=Path, default=Path("curves.png"))
    asked = parser.parse_args(given)
    for folder in asked.runs:
        if not (folder / "config.json").exists():
            parser.error(f"{folder} holds no run")
    from .plot import plot_runs

    try:
        print(plot_runs(asked.runs, asked.out))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return 0


@contextmanager
def _exit_on_error(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Exit with one line and a status for errors that the user can fix. Other exceptions keep their traceback."""
    try:
        yield
    except (SettingsError, InvalidRequest, TooLarge) as error:
        parser.exit(USAGE_ERROR, f"{parser.prog}: error: {error}\n")
    except (RunLost, RunRolledBack) as error:
        parser.exit(
            SERVICE_ERROR,
            f"{parser.prog}: error: {error}\nThe run's newest checkpoint has an export of its state: the same "
            "command with --resume imports it where it is needed, and goes on from there.\n",
        )
    except DeepCompressError as error:
        parser.exit(SERVICE_ERROR, f"{parser.prog}: error: {error}\n")


def _parser(name: str, text: str) -> argparse.ArgumentParser:
    settings = "\n".join(
        f"  --{entry.name:24s} {entry.metadata['help']} (default: {_default(entry)})"
        for entry in dataclasses.fields(TrainConfig)
    )
    parser = Parser(
        name,
        description=text,
        epilog=f"settings:\n{settings}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--service-url", help="the service; else DEEPCOMPRESS_URL, else http://127.0.0.1:8321")
    where.add_argument("--embedded", action="store_true", help="start a service for this command")
    return parser


def _default(entry: dataclasses.Field[object]) -> object:
    if entry.default_factory is not dataclasses.MISSING:
        return entry.default_factory()
    return entry.default


def _parse(parser: argparse.ArgumentParser, given: list[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    """Return the command's own arguments, and the settings as {name: text}.

    Settings are taken out first: argparse would read the value of an unknown flag as the command's own argument.
    """
    own: list[str] = []
    flags: dict[str, str] = {}
    words = iter(given)
    for word in words:
        name, given_here, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name in _OWN:
            own.append(word)
            if word == "--service-url":
                own += [url for url in [next(words, None)] if url is not None]
            continue
        if not given_here:
            try:
                value = next(words)
            except StopIteration:
                parser.error(f"--{name} needs a value")
        flags[name.replace("-", "_")] = value
    return parser.parse_args(own), flags


@contextmanager
def _locked(parser: argparse.ArgumentParser, folder: Path) -> Iterator[None]:
    """Hold the lock of the run's folder. Only the main process writes to it, so only it takes the lock."""
    from . import checkpoint

    with ExitStack() as stack:
        if _is_main_process():
            try:
                stack.enter_context(checkpoint.locked(folder))
            except ValueError as error:
                parser.error(str(error))
        yield


def _is_main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def _service(asked: argparse.Namespace, folder: Path) -> Iterator[str | None]:
    """Yield the URL of the given service or of an embedded one.

    Only the main process calls the service, so only it starts one.
    """
    main_process = _is_main_process()
    if asked.embedded and main_process:
        from deepcompress_client._embedded import embedded_service

        with ExitStack() as stack:
            try:
                url = stack.enter_context(embedded_service(folder))
            except RuntimeError as error:  # it did not start: the last line of its log has the reason
                what, _, lines = str(error).strip().partition(":\n")
                raise SettingsError(f"{what}: {lines.rpartition(chr(10))[2]}" if lines else what) from None
            print(f"dashboard: {url}/ (until this command ends)", file=sys.stderr)
            yield url
    else:
        if main_process and not asked.embedded:
            _warn_if_unreachable(asked.service_url)
        yield asked.service_url


def _warn_if_unreachable(url: str | None) -> None:
    """Print a hint if no service answers. The client then waits for it, as in a run.

    Raises:
        SettingsError: the URL is invalid.
    """
    try:
        url_client = Client(url)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    with url_client as client:
        try:
            client.health()
        except DeepCompressError as error:
            print(
                f"{error}\nNo service answers; waiting for it. Start one with `deepcompress serve`, name another "
                "with --service-url, or let --embedded start one.",
                file=sys.stderr,
            )


if __name__ == "__main__":
    raise SystemExit(main())
