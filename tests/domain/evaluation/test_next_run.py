"""Which evaluation is due, and when to look again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from throughline.api.base import DNS_SUBDOMAIN
from throughline.api.evaluationrun import RunReason
from throughline.domain.evaluation.next_run import MAX_WAIT_SECONDS, MISSED_COUNTED, NAME_LENGTH, next_run, wait_seconds
from throughline.domain.evaluation.views import newest, newest_ended

from tests.domain.evaluation.cases import (
    BEGUN,
    CHANGED_SUITE,
    NEW,
    OLD,
    REGION,
    SUITE,
    F,
    T,
    U,
    absent,
    at,
    candidate,
    evaluation,
    evidence,
    model,
    run,
    suite,
)

if TYPE_CHECKING:
    from throughline.api.evaluation import Evaluation
    from throughline.domain.evaluation.next_run import Begin
    from throughline.domain.evaluation.views import Candidate, Evidence

NOW = at("2026-01-05T12:30:00")
HOURLY = "0 * * * *"
TWO = evaluation("census", "drift")
BOTH = (suite("census"), suite("drift"))


def due(
    told: Evaluation,
    found: Evidence,
    *,
    wanted: Candidate | None = None,
    serving: Candidate | None = None,
    now: float = NOW,
    service: str = "fraud",
) -> Begin | None:
    return next_run(told, service, wanted or candidate(), serving, found, now)


@pytest.mark.parametrize(
    ("told", "found", "what"),
    [
        (evaluation(), evidence(), ("census", RunReason.REVISION)),
        (evaluation(), evidence([run(OLD)]), ("census", RunReason.REVISION)),
        (evaluation(), evidence([run(NEW)]), None),
        # A verdict that is bad, or none, is no ground to ask again: a person deletes the run.
        (evaluation(), evidence([run(NEW, ended=F)]), None),
        # A run of the suite as it is now decides, whatever came after it: a suite may be set back.
        (evaluation(), evidence([run(NEW)], suites=[suite(digest=CHANGED_SUITE)]), ("census", RunReason.SUITE)),
        (
            evaluation(),
            evidence([run(NEW), run(NEW, created=BEGUN + 60, suite_digest=CHANGED_SUITE)]),
            None,
        ),
        (evaluation(), evidence([run(NEW, suite_digest=CHANGED_SUITE), run(NEW, created=BEGUN + 60)]), None),
        # One at a time, whichever it is of.
        (evaluation(), evidence([run(OLD, ended=None)]), None),
        (evaluation(), evidence([run(OLD, ended=U)]), None),
        (TWO, evidence([run(NEW, "census", ended=U)], suites=BOTH), None),
        # In the order of the list.
        (TWO, evidence(suites=BOTH), ("census", RunReason.REVISION)),
        (TWO, evidence([run(NEW, "census")], suites=BOTH), ("drift", RunReason.REVISION)),
        (TWO, evidence([run(NEW, "census"), run(NEW, "drift")], suites=BOTH), None),
        # What cannot be run does not hold up what can.
        (evaluation(), evidence(suites=[absent()]), None),
        (TWO, evidence(suites=[absent(), suite("drift")]), ("drift", RunReason.REVISION)),
        (TWO, evidence(suites=[suite(regions=["us-east-1"]), suite("drift")]), ("drift", RunReason.REVISION)),
        # The training data is read as well, so both must allow it.
        (evaluation(), evidence(suites=[suite(training=["us-east-1"])]), None),
        (evaluation(), evidence(suites=[suite(training=["us-east-1", REGION])]), ("census", RunReason.REVISION)),
    ],
)
def test_what_is_due_for_the_wanted_model(
    told: Evaluation, found: Evidence, what: tuple[str, RunReason] | None
) -> None:
    begin = due(told, found)
    assert (begin and (begin.spec.suite, begin.spec.reason)) == what
    if begin is not None:
        assert (begin.spec.spec_hash, begin.spec.model) == (NEW, model(NEW))
        assert (begin.spec.scheduled, begin.spec.missed) == (None, 0)


def test_a_pool_without_a_region_reads_no_data() -> None:
    assert due(evaluation(), evidence(), wanted=candidate(region=None)) is None


def test_the_run_says_what_it_is_of() -> None:
    begin = due(evaluation(), evidence())
    assert begin is not None
    spec = begin.spec
    assert (spec.service, spec.suite_digest, spec.served_name, spec.pool) == ("fraud", SUITE, "fraud", "gpu")


@pytest.mark.parametrize(
    ("last", "now", "scheduled", "missed"),
    [
        ("2026-01-05T12:00:00", "2026-01-05T12:59:59", None, 0),
        ("2026-01-05T12:00:00", "2026-01-05T13:00:00", "2026-01-05T13:00:00Z", 0),
        # Its own start: it was begun then, or a moment later.
        ("2026-01-05T13:00:00", "2026-01-05T13:30:00", None, 0),
        ("2026-01-05T13:00:07", "2026-01-05T13:30:00", None, 0),
        ("2026-01-05T12:59:59", "2026-01-05T13:30:00", "2026-01-05T13:00:00Z", 0),
        # The operator was away: one run for all, which counts the others.
        ("2026-01-05T12:10:00", "2026-01-05T14:30:00", "2026-01-05T14:00:00Z", 1),
        ("2026-01-05T12:10:00", "2026-01-05T18:30:00", "2026-01-05T18:00:00Z", 5),
        ("2026-01-05T12:00:00", "2026-01-05T18:30:00", "2026-01-05T18:00:00Z", 5),
        ("2025-01-05T12:00:00", "2026-01-05T18:30:00", "2026-01-05T18:00:00Z", MISSED_COUNTED),
    ],
)
def test_what_is_due_on_schedule(last: str, now: str, scheduled: str | None, missed: int) -> None:
    found = evidence([run(OLD, created=at(last)), run(NEW)])
    begin = due(evaluation(schedule=HOURLY), found, serving=candidate(OLD), now=at(now))
    if scheduled is None:
        assert begin is None
        return
    assert begin is not None
    assert begin.spec.spec_hash == OLD  # of the model that serves
    assert (begin.spec.reason, begin.spec.scheduled, begin.spec.missed) == (RunReason.SCHEDULE, scheduled, missed)


@pytest.mark.parametrize(
    ("told", "found", "serving"),
    [
        (evaluation(), evidence([run(OLD), run(NEW)]), candidate(OLD)),
        (evaluation(schedule=HOURLY), evidence([run(NEW)]), None),
        # Nothing was found of it yet, so there is nothing to repeat.
        (evaluation(schedule=HOURLY), evidence([run(NEW)]), candidate(OLD)),
        (evaluation(schedule=HOURLY), evidence([run(OLD), run(NEW)]), candidate(OLD, region="us-east-1")),
        (evaluation(schedule=HOURLY), evidence([run(OLD), run(NEW)], suites=[absent()]), candidate(OLD)),
        (evaluation(schedule=HOURLY), evidence([run(OLD), run(NEW, ended=U)]), candidate(OLD)),
    ],
    ids=["no schedule", "nothing serves", "never judged", "elsewhere", "suite gone", "one under way"],
)
def test_what_is_not_due_on_schedule(told: Evaluation, found: Evidence, serving: Candidate | None) -> None:
    assert due(told, found, serving=serving, now=BEGUN + 5 * 3600) is None


def test_a_new_model_comes_before_the_schedule() -> None:
    found = evidence([run(OLD)])
    begin = due(evaluation(schedule=HOURLY), found, serving=candidate(OLD), now=BEGUN + 5 * 3600)
    assert begin is not None
    assert (begin.spec.spec_hash, begin.spec.reason) == (NEW, RunReason.REVISION)


def test_the_time_zone_of_the_schedule_counts() -> None:
    told = evaluation(suites=[{"name": "census", "schedule": "0 9 * * *", "timeZone": "Asia/Tokyo"}])
    found = evidence([run(created=at("2026-01-05T12:00:00"))])
    assert due(told, found, serving=candidate(), now=at("2026-01-05T23:59:00")) is None
    begin = due(told, found, serving=candidate(), now=at("2026-01-06T00:00:00"))
    assert begin is not None
    assert begin.spec.scheduled == "2026-01-06T00:00:00Z"


def test_the_name_follows_from_what_the_run_is_for() -> None:
    def name(**changes: Any) -> str:
        begin = due(evaluation(), evidence(suites=changes.pop("suites", None)), **changes)
        assert begin is not None
        return begin.name

    first = name()
    assert re.fullmatch(r"fraud-census-[0-9a-f]{10}", first)
    # The same a moment later: it is the same run, not another.
    assert name(now=NOW + 60) == first
    others = [
        name(wanted=candidate(OLD)),
        name(suites=[suite(digest=CHANGED_SUITE)]),
        name(service="fraud-2"),
    ]
    assert len({first, *others}) == 4


def test_a_name_that_is_cut_is_still_of_one_service() -> None:
    begun = [due(evaluation(), evidence(), service=name) for name in ("a" * 40, "a" * 50 + "b", "a" * 50 + "c")]
    names = [begin.name for begin in begun if begin]
    assert len(set(names)) == 3
    assert all("--" not in name for name in names)


def test_each_start_of_a_schedule_has_a_run_of_its_own() -> None:
    starts = [BEGUN + hours * 3600 for hours in (1, 2)]
    begun = [
        due(evaluation(schedule=HOURLY), evidence([run()]), serving=candidate(), now=start + 60) for start in starts
    ]
    assert len({begin.name for begin in begun if begin}) == 2


LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"


@given(
    service=st.from_regex(rf"\A{LABEL}\Z"),
    name=st.from_regex(DNS_SUBDOMAIN, fullmatch=True).filter(lambda name: len(name) <= 253),
)
def test_any_name_of_service_and_suite_gives_a_good_one(service: str, name: str) -> None:
    begin = due(evaluation(name), evidence(suites=[suite(name)]), service=service)
    assert begin is not None
    # With -NN for the attempt it is a label still.
    assert re.fullmatch(LABEL, begin.name)
    assert len(begin.name) <= NAME_LENGTH


@pytest.mark.parametrize(
    ("schedules", "now", "wait"),
    [
        ([None], "2026-01-05T12:00:00", MAX_WAIT_SECONDS),
        (["0 0 1 1 *"], "2026-01-05T12:00:00", MAX_WAIT_SECONDS),
        (["30 12 * * *"], "2026-01-05T12:00:00", 1800),
        ([None, "30 12 * * *", "10 12 * * *"], "2026-01-05T12:00:00", 600),
        # Not sooner than in a second, and not at once again at the start itself.
        (["30 12 * * *"], "2026-01-05T12:29:59.900000", 1),
        (["30 12 * * *"], "2026-01-05T12:30:00", MAX_WAIT_SECONDS),
    ],
)
def test_when_to_look_again(schedules: list[str | None], now: str, wait: float) -> None:
    suites = [{"name": f"s{i}", **({"schedule": s} if s else {})} for i, s in enumerate(schedules)]
    assert wait_seconds(evaluation(suites=suites).suites, at(now)) == pytest.approx(wait)


def test_a_run_under_way_is_no_verdict_and_does_not_hide_one() -> None:
    """What the newest run is depends on whether it must have ended."""
    ended, under_way = run(created=BEGUN), run(created=BEGUN + 60, ended=U)
    others = [run(OLD, created=BEGUN + 90), run(NEW, "drift", created=BEGUN + 90)]
    runs = [under_way, ended, *others]
    assert newest(runs, suite("census"), NEW) is under_way
    assert newest_ended(runs, suite("census"), NEW) is ended
    assert newest(others, suite("census"), NEW) is None
    # Of the same second the name decides, so that every look comes to the same.
    twins = [run(name="b", ended=T), run(name="a", ended=T)]
    assert newest(twins, suite("census"), NEW) is twins[0]
    assert newest(twins[::-1], suite("census"), NEW) is twins[0]
