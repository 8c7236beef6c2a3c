"""The remote checkers of the settings, for commands that check in their own process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepcompress_service.remote import Endpoint
    from deepcompress_verify import Verdict
    from deepcompress_verify.verdict import AnswerFormat


def configured_endpoints() -> dict[str, Endpoint]:
    """Return the endpoints of DEEPCOMPRESS_REMOTE_CHECKERS_FILE by name.

    Raises:
        ValueError: The file, or a setting, is not valid.
    """
    from pydantic import ValidationError

    from deepcompress_service.remote import read_endpoints
    from deepcompress_service.settings import Settings, explain
    from deepcompress_verify.checkers import checker_names

    try:
        file = Settings().remote_checkers_file
    except ValidationError as error:
        raise ValueError(explain(error)) from None
    return read_endpoints(file, checker_names())


def check_remotely(
    name: str,
    golds: list[str],
    response: str,
    *,
    answer_format: AnswerFormat,
    truncated: bool,
    question: str | None,
    row: Mapping[str, Any] | None,
) -> Verdict | None:
    """Return the verdict of a remote checker on one response; None if the settings have none of this name.

    The command ends if the settings are not valid.
    """
    from .output import fail

    try:
        endpoint = configured_endpoints().get(name)
    except ValueError as error:
        fail(str(error))
    if endpoint is None:
        return None
    from deepcompress_service.observability.metrics import RemoteMeter
    from deepcompress_service.remote import RemoteCheckers
    from deepcompress_service.scoring.remote_checks import RowCheck, check_all, nothing_recorded
    from deepcompress_verify import Check
    from deepcompress_verify.extract import MAX_RESPONSE_CHARS

    check = RowCheck(tuple(golds), response, answer_format, truncated, remote=name, question=question, row=row)

    async def by_rules(_checks: object) -> list[Verdict]:
        return []

    async def main() -> Verdict:
        remote = RemoteCheckers({name: endpoint}, RemoteMeter())
        checks: list[Check] = [check]
        try:
            (verdict,) = await check_all(checks, by_rules, remote, "", MAX_RESPONSE_CHARS, nothing_recorded)
        finally:
            await remote.close()
        return verdict

    return asyncio.run(main())
