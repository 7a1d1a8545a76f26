"""When a schedule begins, in its time zone, and where clocks are put forward and back."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from throughline.api.schedules import is_time_zone, last_start_seconds, next_start_seconds

BERLIN = "Europe/Berlin"
DAYS = 86_400


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def last(schedule: str, time_zone: str, now: str) -> str:
    return text(last_start_seconds(schedule, time_zone, int(seconds(now)) // 60))


def following(schedule: str, time_zone: str, now: str) -> str:
    return text(next_start_seconds(schedule, time_zone, seconds(now)))


@pytest.mark.parametrize(
    ("schedule", "time_zone", "now", "before", "after"),
    [
        ("0 9 * * *", "Etc/UTC", "2026-01-05T08:59:59", "2026-01-04T09:00:00", "2026-01-05T09:00:00"),
        # Its own minute has begun; the next is another day's.
        ("0 9 * * *", "Etc/UTC", "2026-01-05T09:00:00", "2026-01-05T09:00:00", "2026-01-06T09:00:00"),
        ("0 9 * * *", "Etc/UTC", "2026-01-05T09:00:30", "2026-01-05T09:00:00", "2026-01-06T09:00:00"),
        ("0 9 * * *", "Asia/Tokyo", "2026-01-05T00:00:00", "2026-01-05T00:00:00", "2026-01-06T00:00:00"),
        ("0 9 * * *", BERLIN, "2026-01-05T12:00:00", "2026-01-05T08:00:00", "2026-01-06T08:00:00"),
        ("0 9 * * *", BERLIN, "2026-07-06T12:00:00", "2026-07-06T07:00:00", "2026-07-07T07:00:00"),
        # Monday in Tokyo is Sunday still in UTC.
        ("0 3 * * MON", "Asia/Tokyo", "2026-01-05T00:00:00", "2026-01-04T18:00:00", "2026-01-11T18:00:00"),
        ("0 0 29 2 *", "Etc/UTC", "2026-01-05T00:00:00", "2024-02-29T00:00:00", "2028-02-29T00:00:00"),
    ],
)
def test_the_last_start_and_the_next(schedule: str, time_zone: str, now: str, before: str, after: str) -> None:
    assert (last(schedule, time_zone, now), following(schedule, time_zone, now)) == (before, after)


@pytest.mark.parametrize(
    ("now", "before", "after"),
    [
        # 2026-03-29: after 01:59 comes 03:00, which is 01:00 in UTC. 02:30 comes right then.
        ("2026-03-29T00:59:00", "2026-03-28T01:30:00", "2026-03-29T01:00:00"),
        ("2026-03-29T01:00:00", "2026-03-29T01:00:00", "2026-03-30T00:30:00"),
        # 2026-10-25: after 02:59 comes 02:00 again, which is 01:00 in UTC. 02:30 comes the first time only.
        ("2026-10-25T00:29:00", "2026-10-24T00:30:00", "2026-10-25T00:30:00"),
        ("2026-10-25T00:30:00", "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
        ("2026-10-25T01:10:00", "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
        ("2026-10-25T01:30:00", "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
    ],
)
def test_a_start_in_the_hour_that_is_skipped_or_comes_twice(now: str, before: str, after: str) -> None:
    assert (last("30 2 * * *", BERLIN, now), following("30 2 * * *", BERLIN, now)) == (before, after)


@pytest.mark.parametrize(
    ("time_zone", "month"),
    [
        *((BERLIN, 3), (BERLIN, 10), ("America/New_York", 3), ("America/New_York", 11)),
        *(("Australia/Adelaide", 4), ("Australia/Adelaide", 10), ("Asia/Tokyo", 3)),
    ],
)
@pytest.mark.parametrize("schedule", ["30 2 * * *", "*/20 * * * *", "0 1,2,3 * * *", "30 1 * * *", "15 1 * * SUN"])
def test_both_ways_find_the_same_starts(schedule: str, time_zone: str, month: int) -> None:
    """One after the other, they are all there are; looked at from any time between, both neighbours are found."""
    first = datetime(2026, month, 1, tzinfo=ZoneInfo(time_zone)).timestamp()
    starts = [next_start_seconds(schedule, time_zone, first - 8 * DAYS)]
    while starts[-1] < first + 32 * DAYS:
        starts.append(next_start_seconds(schedule, time_zone, starts[-1]))
    assert starts == sorted(set(starts))
    for now in range(int(first), int(first) + 31 * DAYS, 1201):
        place = bisect_right(starts, now)
        assert next_start_seconds(schedule, time_zone, now) == starts[place], text(now)
        assert last_start_seconds(schedule, time_zone, now // 60) == starts[place - 1], text(now)


@pytest.mark.parametrize(("name", "known"), [(BERLIN, True), ("Mars/Olympus", False), ("Europe", False), ("..", False)])
def test_time_zones(name: str, known: bool) -> None:
    assert is_time_zone(name) is known
