"""What followed when demand was as it is now is provided for; what never came, or came once, is not."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from throughline.domain.control.estimate.analogues import exceeded, highest
from throughline.domain.control.estimate.forecast import forecast
from throughline.domain.control.tuning import BIN_SECONDS, MOST_GROWTH, SAME

from .test_arrivals import samples

AHEAD = 2.0 * BIN_SECONDS
QUIET, BURST = [100.0] * 20, [400.0] * 4


def asked(bins, per_second=100.0, *, chance=0.03, discounted=0.0):
    return exceeded(bins, per_second, AHEAD, chance=chance, discounted=discounted)


def test_bursts_that_follow_quiet_times_are_provided_for_in_quiet_times():
    bins = (QUIET + BURST) * 4 + QUIET
    assert asked(bins) == pytest.approx(400.0, rel=0.02)
    assert asked(bins, chance=0.5) == 100.0, "that much risk needs none of it"


def test_in_a_burst_no_burst_on_top_of_it_is_expected():
    bins = (QUIET + BURST) * 4 + QUIET + BURST[:2]
    assert asked(bins, 400.0) == 400.0


def test_one_event_is_no_pattern_while_the_budget_is_unspent():
    once = QUIET + BURST + QUIET
    assert asked(once, discounted=1.0) == 100.0
    assert asked(once, discounted=0.0) == pytest.approx(400.0, rel=0.02), "it has cost what the budget allows"
    twice = QUIET + BURST + QUIET + BURST + QUIET
    assert asked(twice, chance=0.05, discounted=1.0) == 100.0
    assert asked((QUIET[:8] + BURST) * 8 + QUIET[:8], discounted=1.0) == pytest.approx(400.0, rel=0.02)


def test_a_level_that_nothing_was_like_has_no_analogue():
    assert asked((QUIET + BURST) * 4, 30.0) == 30.0


def test_steady_demand_costs_nothing_more():
    bins = [100.0 + 3.0 * math.sin(i) for i in range(200)]
    assert asked(bins) == 100.0


@given(
    st.lists(st.floats(0.0, 1e6), max_size=60), st.floats(0.01, 1e6), st.floats(0.0, 900.0), st.floats(0.03, 0.5),
    st.floats(0.0, 1.0),
)  # fmt: skip
def test_it_is_never_less_than_now_and_never_more_than_the_past_makes_believable(bins, now, ahead, chance, discounted):
    found = exceeded(bins, now, ahead, chance=chance, discounted=discounted)
    assert now <= found <= max(now, highest(bins))


@given(st.floats(0.03, 0.5), st.floats(0.03, 0.5), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_less_risk_never_provides_for_less(one, other, believed, doubted):
    bins = (QUIET + BURST) * 3 + QUIET[:9] + [250.0] * 3 + QUIET[:9]
    careful, bold = min(one, other), max(one, other)
    assert asked(bins, chance=careful) >= asked(bins, chance=bold)
    few, many = min(believed, doubted), max(believed, doubted)
    assert asked(bins, discounted=few) >= asked(bins, discounted=many)


def test_a_jump_goes_on_above_the_highest_past_only_where_it_is_above_it():
    jump = samples(*[200.0] * 4, 300.0)
    assert forecast(jump, 50.0).ahead == pytest.approx(MOST_GROWTH * 300.0)
    assert forecast(jump, 50.0, (1.0 + SAME) * 300.0).ahead == pytest.approx((1.0 + SAME) * 300.0)
    assert forecast(jump, 50.0, 250.0).ahead == pytest.approx(MOST_GROWTH * 300.0), "it is of a new level"


def test_a_past_of_a_few_bins_says_nothing():
    assert highest([]) == math.inf
    assert highest([5.0, 7.0]) == math.inf
    assert highest([5.0, 7.0, 6.0]) == pytest.approx(7.0 * (1.0 + SAME))
    assert asked([400.0] * 4) == 100.0
