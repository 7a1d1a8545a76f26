"""The share of requests that may be late, what of it is spent, and the risk that is left."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from throughline.api.status import SLOStatus
from throughline.domain.control.estimate.budget import Budget, late_share
from throughline.domain.control.estimate.budget import spend as spent
from throughline.domain.control.explain.slo import slo_status
from throughline.domain.control.observe.demand import measure
from throughline.domain.control.tuning import CHANCE, LEAST_CHANCE

from .views import metrics, pod, view

SLO_US = 100_000.0
WINDOW_SECONDS = 3600.0


def test_one_request_in_a_hundred_is_beyond_the_p99():
    assert late_share(20_000.0, SLO_US, SLO_US) == pytest.approx(0.01)
    assert late_share(20_000.0, 60_000.0, SLO_US) == pytest.approx(0.01**2)
    assert late_share(20_000.0, 180_000.0, SLO_US) == pytest.approx(0.1)
    assert late_share(120_000.0, 180_000.0, SLO_US) == 1.0
    assert late_share(90_000.0, 80_000.0, SLO_US) == 0.0
    assert late_share(None, 80_000.0, SLO_US) is None
    assert late_share(10_000.0, None, SLO_US) is None


@given(st.floats(1.0, 1e7), st.floats(1.0, 1e7), st.floats(1.0, 1e7))
def test_a_higher_p99_is_never_a_smaller_share(mean, one, other):
    low, high = min(one, other), max(one, other)
    found = late_share(mean, low, SLO_US), late_share(mean, high, SLO_US)
    assert 0.0 <= found[0] <= found[1] <= 1.0


def served(*, mean_us=20_000.0, p99_us=60_000.0, rate=100.0):
    one = dataclasses.replace(metrics(rate, latency_us=mean_us), p99_us=p99_us)
    return measure(view(pod("a", one)), SLO_US)


def spend(budget, demand, now, *, window=WINDOW_SECONDS, slo_us=SLO_US):
    return spent(budget, demand, slo_us, now, window)


def after(*demands, seconds=60.0, window=WINDOW_SECONDS):
    budget, now = Budget(), 0.0
    for demand in demands:
        budget = spend(budget, demand, now, window=window)
        now += seconds
    return budget


def test_what_is_always_just_allowed_spends_the_budget_just_as_it_may():
    just = served(p99_us=SLO_US)
    assert after(*[just] * 600).spent == pytest.approx(1.0, abs=0.01)
    assert after(*[just] * 600).chance == pytest.approx(CHANCE, rel=0.02)


def test_what_is_never_late_spends_nothing_and_leaves_the_most_risk():
    budget = after(*[served()] * 60)
    assert budget.spent < 0.02
    assert budget.chance == pytest.approx(0.5, rel=0.05)
    assert budget.discounted > 0.98


def test_a_minute_of_an_hour_that_is_late_spends_more_than_the_budget_and_is_forgotten_later():
    good, bad = served(), served(mean_us=2 * SLO_US, p99_us=3 * SLO_US)
    budget = after(*[good] * 60, bad)
    assert budget.spent == pytest.approx(100 * 60 / (0.5 * WINDOW_SECONDS / math.log(2)), rel=0.2)
    assert budget.chance == LEAST_CHANCE
    assert budget.discounted == 0.0
    assert after(*[good] * 60, bad, *[good] * 180).spent < 0.2


def test_without_a_measurement_nothing_is_spent_and_nothing_earned():
    before = after(*[served(p99_us=2 * SLO_US)] * 10)
    held = spend(before, None, 10_000.0)
    assert (held.requests, held.late) == (before.requests, before.late)
    assert spend(held, served(), 10_060.0).spent == pytest.approx(before.spent, rel=0.1), "the gap is no time"
    idle = spend(before, served(p99_us=None), 10_000.0)
    assert (idle.requests, idle.late) == (before.requests, before.late)


def test_a_longer_window_remembers_longer():
    good, bad = served(), served(mean_us=2 * SLO_US, p99_us=3 * SLO_US)
    day, hour = (after(*[good] * 60, bad, *[good] * 180, window=w).spent for w in (24 * WINDOW_SECONDS, WINDOW_SECONDS))
    assert hour < 0.2
    assert day == pytest.approx(100 * 60 / (0.5 * 24 * WINDOW_SECONDS / math.log(2)), rel=0.3)


def test_a_window_that_is_edited_counts_from_then_on():
    good, bad = served(), served(mean_us=2 * SLO_US, p99_us=3 * SLO_US)
    before = after(*[good] * 60, bad, window=24 * WINDOW_SECONDS)
    edited = spend(before, good, before.updated_seconds + 1.0)
    assert edited.spent == pytest.approx(before.spent, rel=0.02), "the edit itself is no verdict"
    again = [spend(b, bad, b.updated_seconds + 60.0, window=w) for b, w in ((edited, 3600.0), (before, 24 * 3600.0))]
    assert again[0].spent - before.spent > 10 * (again[1].spent - before.spent), "a minute of an hour weighs more"


def test_what_was_late_for_another_slo_says_nothing():
    bad = served(mean_us=2 * SLO_US, p99_us=3 * SLO_US)
    before = after(*[bad] * 10)
    assert before.spent > 10
    easier = spend(before, bad, before.updated_seconds + 60.0, slo_us=10 * SLO_US)
    assert easier.spent < 0.1
    assert easier.chance > LEAST_CHANCE


@pytest.mark.parametrize(
    ("late", "before", "shown"),
    [
        (0.0, "-", "0%"),
        (4.2, "-", "50%"),
        (3.7, "50%", "50%"),  # noise writes nothing
        (3.0, "50%", "25%"),
        (6.0, "50%", "50%"),
        (7.5, "50%", "75%"),
        (26.0, "75%", "300%"),
        (90.0, "300%", "1000%"),
    ],
)
def test_the_status_says_what_of_the_budget_is_spent(late, before, shown):
    demand = measure(view(pod("a", metrics())), SLO_US)
    found = slo_status(SLOStatus(error_budget_spent=before), demand, 1.0, Budget(1000.0, late, 0.0))
    assert found.error_budget_spent == shown


def test_without_a_request_nothing_is_said_of_the_budget():
    demand = measure(view(pod("a", metrics())), SLO_US)
    assert slo_status(SLOStatus(), demand, 1.0, Budget()).error_budget_spent == "-"
