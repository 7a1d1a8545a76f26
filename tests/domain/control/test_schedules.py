"""Replicas at times that the user has named."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from throughline.api.schedules import Schedule
from throughline.domain.control.estimate.schedules import scheduled

MORNING = Schedule(name="morning", schedule="0 8 * * 1-5", duration_minutes=120, min_replicas=5)
LEAD = 90.0


def at(text, zone="UTC"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("moment", "active"),
    [
        ("2026-11-25T07:57:00", False),
        ("2026-11-25T07:58:30", True),  # a replica takes the lead to be ready
        ("2026-11-25T08:00:00", True),
        ("2026-11-25T09:59:59", True),
        ("2026-11-25T10:00:00", False),  # and it does not end earlier for that
        ("2026-11-28T08:30:00", False),  # a Saturday
    ],
)
def test_from_the_lead_before_its_beginning_to_its_end(moment, active):
    found = scheduled([MORNING], at(moment), LEAD)
    assert found == (MORNING if active else None)


def test_the_time_zone_counts_in_summer_and_winter():
    berlin = MORNING.model_copy(update={"time_zone": "Europe/Berlin"})
    assert scheduled([berlin], at("2026-07-01T06:30:00"), 0.0)
    assert not scheduled([berlin], at("2026-12-01T06:30:00"), 0.0)
    assert scheduled([berlin], at("2026-12-01T07:30:00"), 0.0)


def test_the_one_that_asks_for_most_counts():
    noon = Schedule(name="noon", schedule="0 9 * * *", duration_minutes=30, min_replicas=9)
    assert scheduled([MORNING, noon], at("2026-11-25T09:10:00"), 0.0) == noon
    assert scheduled([noon, MORNING], at("2026-11-25T09:40:00"), 0.0) == MORNING


def test_one_that_begins_again_before_it_ends_never_ends():
    always = Schedule(name="always", schedule="*/20 * * * *", duration_minutes=30, min_replicas=2)
    start = at("2026-11-25T00:00:00")
    assert all(scheduled([always], start + s, LEAD) for s in range(0, 7200, 30))


@given(
    minute=st.integers(0, 59),
    every=st.integers(1, 30),
    duration=st.integers(1, 240),
    now=st.integers(int(at("2024-01-01T00:00:00")), int(at("2030-01-01T00:00:00"))),
)
def test_as_counted_minute_by_minute(minute, every, duration, now):
    """Against the plainest way: look at every minute of the past `duration` and ask whether it is a start."""
    one = Schedule(name="s", schedule=f"{minute}/{every} * * * *", duration_minutes=duration, min_replicas=1)
    starts = set(range(minute, 60, every))

    def begins(second):
        return datetime.fromtimestamp(second, UTC).minute in starts

    begun = (m for m in range(now // 60 * 60, now - duration * 60, -60) if begins(m))
    assert (scheduled([one], now, 0.0) is not None) == any(True for _ in begun)
