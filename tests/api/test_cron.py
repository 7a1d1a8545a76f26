"""One grammar for every schedule: the CronJob's. e2e/test_validated.py asks the real API server the same."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from throughline.api import cron
from throughline.api.schedules import last_start_seconds, next_start_seconds

from tests.api import crons, resources
from tests.api.test_validation import broken

# A Monday.
NOW = datetime(2026, 1, 5, 12, 34, 56, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("text", crons.ACCEPTED)
def test_a_cron_jobs_schedule_is_accepted(text: str) -> None:
    assert cron.problem(text) is None
    assert re.search(cron.PATTERN, text)


@pytest.mark.parametrize(("text", "message"), crons.REFUSED.items(), ids=list(crons.REFUSED))
def test_what_a_cron_job_refuses_is_refused_with_the_fix(text: str, message: str) -> None:
    found = cron.problem(text)
    assert found is not None
    assert message in found
    assert "as in" in found


@pytest.mark.parametrize(
    ("field", "rest"),
    [
        ("spec/scaling/schedules", {"name": "day", "durationMinutes": 60, "minReplicas": 1}),
        ("spec/evaluation/suites", {"name": "census"}),
    ],
)
@pytest.mark.parametrize("text", ["0 3 * * 7", "0 0 L * *", "0 0 * * MON#1", "0 0 * * 1-7"])
def test_every_schedule_of_a_service_has_the_same_grammar(field: str, rest: dict[str, object], text: str) -> None:
    good = resources.changed(resources.INFERENCE_SERVICE, (field, [{**rest, "schedule": "@daily"}]))
    assert broken(good) == {}
    (message,) = broken(resources.changed(good, (f"{field}/0/schedule", text))).values()
    assert "day" in message


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        # Both days restricted: either may match. A step restricts, a plain * or ? does not.
        ("0 0 13 * fri", ["2026-01-09T00:00", "2026-01-13T00:00", "2026-01-16T00:00"]),
        ("0 0 */10 * mon", ["2026-01-11T00:00", "2026-01-12T00:00", "2026-01-19T00:00"]),
        ("0 0 ? * mon", ["2026-01-12T00:00", "2026-01-19T00:00", "2026-01-26T00:00"]),
        ("0 0 15 * ?", ["2026-01-15T00:00", "2026-02-15T00:00", "2026-03-15T00:00"]),
        ("0 0 1-31 * sun", ["2026-01-06T00:00", "2026-01-07T00:00", "2026-01-08T00:00"]),
        ("0 0 30 2 mon", ["2026-02-02T00:00", "2026-02-09T00:00", "2026-02-16T00:00"]),
        # A single number with a step goes on to the greatest; a range does not.
        ("50/5 * * * *", ["2026-01-05T12:50", "2026-01-05T12:55", "2026-01-05T13:50"]),
        ("50-50/5 * * * *", ["2026-01-05T12:50", "2026-01-05T13:50", "2026-01-05T14:50"]),
        ("@weekly", ["2026-01-11T00:00", "2026-01-18T00:00", "2026-01-25T00:00"]),
        ("@yearly", ["2027-01-01T00:00", "2028-01-01T00:00", "2029-01-01T00:00"]),
        ("@every 36h", ["2026-01-07T00:00", "2026-01-08T12:00", "2026-01-10T00:00"]),
    ],
)
def test_starts(text: str, starts: list[str]) -> None:
    at, found = NOW, []
    for _ in starts:
        at = next_start_seconds(text, "Etc/UTC", at)
        assert last_start_seconds(text, "Etc/UTC", int(at) // 60) == at
        found.append(datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M"))
    assert found == starts


@given(crons.expressions())
def test_the_crd_takes_what_validate_takes_and_little_more(text: str) -> None:
    problem = cron.problem(text)
    if problem is None:
        assert re.search(cron.PATTERN, text)
        assert next_start_seconds(text, "Etc/UTC", NOW) > NOW
    elif re.search(cron.PATTERN, text):
        assert any(why in problem for why in crons.ONLY_OFFLINE)
