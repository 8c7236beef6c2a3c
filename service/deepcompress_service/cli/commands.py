"""The behaviour that all commands share: an error is one or two lines and an exit status, never a traceback.

Errors of a program (a bug) keep their traceback. Errors of the arguments, of files, of the network and of the
terminal do not have one: `Commands` catches them in one place, so that a new command has them too.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from .output import USAGE_ERROR, clean, print_error, reason

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells expect it: 128 and the number of SIGINT."""
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
_CLICK_ERROR: type[Exception] = typer.BadParameter.__mro__[2]
"""The bases of the parser's errors. Newer releases of typer contain a copy of click, so they are not click's own."""


class _Interrupted(Exception):  # noqa: N818 - not an error
    """Ctrl-C, on its way through click, which has different ways to end in different releases."""


class Commands(TyperGroup):
    """The group of all commands."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as in the base class
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupted from None

    def main(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as in the base class
        """Run the command line.

        Raises:
            SystemExit: always, with the exit status.
        """
        _print_every_character()
        raise SystemExit(self._status(args, {"prog_name": "deepcompress", **options, "standalone_mode": False}))

    def _status(self, args: tuple[Any, ...], options: dict[str, Any]) -> int:
        from deepcompress_client.errors import DeepCompressError

        from .output import SERVICE_ERROR

        try:
            status = super().main(*args, **options)
            sys.stdout.flush()
        except _Interrupted:
            print_error("interrupted")
            return INTERRUPTED
        except typer.Abort:
            print_error("Aborted: not confirmed, nothing was changed (--yes confirms)")
            return 1
        except _CLICK_ERROR as error:
            return _report_usage(error)
        except OSError as error:
            return _report_io(error)
        except ValueError as error:
            if "surrogates not allowed" not in str(error):  # the text of bytes that are not UTF-8
                raise
            print_error("an argument is not text in UTF-8: check the encoding of the terminal or of the script")
            return USAGE_ERROR
        except MemoryError:
            print_error("not enough memory for this input")
            return USAGE_ERROR
        except DeepCompressError as error:
            print_error(str(error))
            return SERVICE_ERROR
        return status if isinstance(status, int) else 0


class NegativeArguments(TyperCommand):
    """A command whose arguments may begin with a minus sign: only its own options are options.

    ``verify 42 -4`` and ``verify '-\\frac12' -x`` need no ``--``. A word that begins with the letter of a short
    option, such as ``-c``, is that option.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - as in the base class
        """Parse the words, with the arguments moved behind ``--``."""
        takes_value = {
            name: not (option.is_flag or option.count)  # type: ignore[attr-defined]
            for option in self.get_params(ctx)
            if option.param_type_name == "option"
            for name in (*option.opts, *option.secondary_opts)
        }
        options: list[str] = []
        arguments: list[str] = []
        words = iter(args)
        for word in words:
            if word == "--":
                arguments += words
            elif word.startswith("--"):
                options.append(word)
                if takes_value.get(word) and (value := next(words, None)) is not None:
                    options.append(value)
            elif word[:2] in takes_value:
                options.append(word)
                if takes_value[word[:2]] and len(word) == 2 and (value := next(words, None)) is not None:
                    options.append(value)
            else:
                arguments.append(word)
        return super().parse_args(ctx, [*options, "--", *arguments])


def _print_every_character() -> None:
    """Print escapes of characters that the terminal's encoding lacks, and of bytes of arguments that are no text."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _report_usage(error: BaseException) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # type: ignore[attr-defined]
        return USAGE_ERROR
    message = str(error.format_message())  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    if isinstance(error, _USAGE_ERROR) and context is not None:
        message = f"{message.rstrip('.')} (see: {context.command_path} --help)"
    print_error(message)
    return int(getattr(error, "exit_code", USAGE_ERROR))


def _report_io(error: OSError) -> int:
    if error.errno == errno.EPIPE:  # the reader of a pipe has ended: `... | head`
        _discard_stdout()
        return 1
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
        _discard_stdout()
        print_error(f"the output cannot be written: {error.strerror}. Free space, or write to another place")
        return USAGE_ERROR
    print_error(clean(reason(error), 2000))
    return USAGE_ERROR


def _discard_stdout() -> None:
    """Send to nowhere the rest of standard output, which the interpreter would try to write at its end."""
    try:
        target = os.open(os.devnull, os.O_WRONLY)
        os.dup2(target, sys.stdout.fileno())
        os.close(target)
    except (OSError, ValueError):
        return
