"""When the client tries again, and how long it waits."""

from __future__ import annotations

import pytest

from deepcompress_client._retry import Retry, parse_retry_after

HOUR = Retry(max_elapsed_s=3600.0, first_wait_s=0.5, max_wait_s=8.0)


def test_waits_double_up_to_the_longest() -> None:
    waits = [HOUR.wait(attempt, 0.0, None, jitter=1.0) for attempt in range(1, 8)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


@pytest.mark.parametrize("jitter", [0.0, 0.3, 0.999])
def test_jitter_stays_in_the_upper_half_of_the_interval(jitter: float) -> None:
    wait = HOUR.wait(3, 0.0, None, jitter)
    assert wait is not None
    assert 1.0 <= wait <= 2.0


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_a_retry_after_is_never_cut_short(jitter: float) -> None:
    wait = HOUR.wait(1, 0.0, 30.0, jitter)
    assert wait is not None
    assert 30.0 <= wait <= 31.0


def test_it_gives_up_when_the_next_try_would_start_too_late() -> None:
    assert HOUR.wait(4, 3590.0, None, 1.0) is not None
    assert HOUR.wait(4, 3597.0, None, 1.0) is None
    assert HOUR.wait(1, 0.0, 4000.0, 0.0) is None


def test_it_gives_up_after_the_attempts_asked_for() -> None:
    twice = Retry(max_attempts=2)
    assert twice.wait(1, 0.0, None, 0.0) is not None
    assert twice.wait(2, 0.0, None, 0.0) is None


def test_no_time_means_one_try() -> None:
    assert Retry(max_elapsed_s=0.0).wait(1, 0.0, None, 0.0) is None


def test_a_deadline_is_kept_from_both_sides() -> None:
    """The call retries until just before it, and the last attempt ends with it."""
    retry = Retry(deadline_s=300.0)
    assert retry.wait(30, 280.0, None, 0.5) is not None
    assert retry.wait(30, 296.0, None, 0.5) is None
    assert retry.wait(1, 0.0, 301.0, 0.0) is None
    assert retry.attempt_timeout(120.0, 10.0) == 120.0
    assert retry.attempt_timeout(120.0, 290.0) == 10.0
    assert retry.attempt_timeout(120.0, 301.0) > 0
    assert Retry().attempt_timeout(120.0, 1e9) == 120.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("nan", None),
        ("inf", 86_400.0),
        ("soon", None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
    ],
)
def test_a_retry_after_is_read_as_seconds_or_as_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=60.0) == seconds
