"""The parts that the abstract of BACC names: ACI around a forecast, and a PI controller on the pace of the budget."""

from dataclasses import replace

import numpy as np
import pytest
from looks import SETTINGS, ScriptedLook, step
from throughline.simulate import traffic
from throughline.simulate.arena import contenders, error_budget, first_replicas
from throughline.simulate.autoscalers.bacc import RISKIEST, SAFEST, Bacc, BudgetPace
from throughline.simulate.autoscalers.hpa import SCALE_DOWN, Rules
from throughline.simulate.loadtest import hand_tuned
from throughline.simulate.run import Case, run_autoscaler
from throughline.simulate.types import Environment, Truth

ALLOWED = 0.01
HOUR = 3600.0
AT_ONCE = Rules(SCALE_DOWN.policies, stabilization_seconds=0.0)


def bacc(capacity=100.0, *, low=1, high=100_000, allowed=ALLOWED, **kw):
    return Bacc(SETTINGS, capacity, low, high, 55.0, BudgetPace(allowed, HOUR), **kw)


def pace(late_share, seconds, *, budget=None, since=0.0, per_second=100.0):
    """A budget after so long with a share of late requests."""
    budget = budget or BudgetPace(ALLOWED, HOUR)
    for now in np.arange(since + 15.0, since + seconds + 1.0, 15.0):
        budget.observe(float(now), 15.0 * per_second, 15.0 * per_second * late_share)
    return budget


def noisy(scaler, steps=3000, late=None, seed=1):
    """Replicas ordered at each step, and the rates, of a steady demand with noise."""
    rates = np.random.default_rng(seed).normal(1000.0, 50.0, steps)
    look = ScriptedLook(replicas=1000, ready=1000, late=late)
    return np.array([step(scaler, look, requested=float(rate)) for rate in rates]), rates


# ---------------------------------------------------------------------- the controller


def test_a_budget_spent_at_the_pace_of_time_changes_nothing():
    assert pace(ALLOWED, 1800.0).alpha == pytest.approx(ALLOWED)


def test_an_unspent_budget_is_spent_and_an_overspent_one_is_saved():
    quarter = pace(0.0, 900.0).alpha
    half = pace(0.0, 1800.0).alpha
    assert ALLOWED * 2.7 < quarter < half <= RISKIEST, "e-fold at a quarter, by the proportional part alone"
    slightly = pace(1.2 * ALLOWED, 1800.0).alpha
    badly = pace(2.0 * ALLOWED, 1800.0).alpha
    assert ALLOWED > slightly > badly >= SAFEST


def test_the_integral_part_acts_on_an_error_that_stays():
    budget = pace(0.0, 900.0)
    alphas = [budget.alpha]
    for now in np.arange(915.0, 1801.0, 15.0):
        # What keeps the error at a quarter of the budget: from now on as much is spent as time passes.
        budget.observe(float(now), 1500.0, 15.0)
        alphas.append(budget.alpha)
    assert alphas[-1] > alphas[0] * 1.05
    assert alphas == sorted(alphas)


def test_alpha_stays_in_its_bounds_and_leaves_them_at_the_next_period():
    overspent, unspent = pace(0.5, 10 * HOUR), pace(0.0, 10 * HOUR)
    assert overspent.alpha == pytest.approx(SAFEST)
    assert unspent.alpha == pytest.approx(RISKIEST)
    # Ten periods have not wound up the integral: the proportional part of a quarter of one outweighs it.
    assert pace(0.0, 900.0, budget=overspent, since=10 * HOUR).alpha > ALLOWED
    assert pace(5.0 * ALLOWED, 900.0, budget=unspent, since=10 * HOUR).alpha < ALLOWED


def test_each_period_has_its_own_budget():
    spent = pace(0.02, HOUR)
    fresh = pace(0.0, 300.0, budget=spent, since=HOUR)
    assert fresh.alpha > pace(0.02, 300.0, budget=pace(0.02, HOUR), since=HOUR).alpha
    skipped = BudgetPace(ALLOWED, HOUR)
    skipped.observe(15.0, 1000.0, 1000.0)
    skipped.observe(5 * HOUR + 15.0, 1000.0, 10.0)
    assert skipped.alpha == pytest.approx(ALLOWED, rel=0.1), "what was late hours ago is of another period"


def test_what_comes_before_the_first_period_does_not_count():
    budget = BudgetPace(ALLOWED, HOUR, start_seconds=600.0)
    assert pace(0.9, 600.0, budget=budget).alpha == ALLOWED
    assert pace(0.0, 900.0, budget=budget, since=600.0).alpha == pytest.approx(pace(0.0, 900.0).alpha)


def test_without_requests_nothing_is_spent():
    assert pace(0.0, 1800.0, per_second=0.0).alpha == ALLOWED


def test_a_budget_has_a_length_and_a_share():
    for allowed in (0.0, 0.6):
        with pytest.raises(ValueError, match=f"allowed is {allowed}"):
            BudgetPace(allowed, HOUR)
    with pytest.raises(ValueError, match="period_seconds is 0"):
        BudgetPace(ALLOWED, 0.0)


# ---------------------------------------------------------------------- replicas


@pytest.mark.parametrize("rate", [0.1 + 0.2, 250.0, 700.0, 1234.567])
def test_a_constant_demand_is_served_by_what_it_needs_and_nothing_is_ordered(rate):
    needed = max(1, int(np.ceil(rate / 100.0)))
    look = ScriptedLook(replicas=needed, ready=needed, requested=rate, late=0.0)
    scaler = bacc()
    for _ in range(400):
        assert scaler.decide(look).replicas is None
        look.now_seconds += scaler.interval_seconds


def test_excess_replicas_go_after_the_stabilization_and_no_further_than_needed():
    scaler, look = bacc(), ScriptedLook(replicas=9, ready=9, requested=430.0, late=0.0)
    counts = [step(scaler, look) for _ in range(60)]
    assert counts[:20] == [9] * 20
    assert counts[-1] == 5
    assert set(counts) == {9, 5}


def test_before_the_first_score_replicas_do_not_become_fewer():
    scaler, look = bacc(scale_down=AT_ONCE), ScriptedLook(replicas=9, ready=9, requested=430.0)
    assert [step(scaler, look) for _ in range(4)] == [9] * 4
    assert step(scaler, look) == 5, "the first forecast, of a minute ahead, has come true"


def test_a_ramp_is_provided_for_at_the_time_when_replicas_serve():
    scaler, look = bacc(), ScriptedLook(replicas=2, ready=2)
    rates = [100.0 + 10.0 * i for i in range(120)]
    counts = [step(scaler, look, requested=rate) for rate in rates]
    for at in range(40, 116):
        assert counts[at] >= rates[at + 4] / 100.0
        assert counts[at] <= rates[at + 4] / 100.0 + 2.0


def test_replicas_stay_in_their_bounds():
    assert step(bacc(low=3), ScriptedLook(replicas=1, ready=1, requested=10.0)) == 3
    assert step(bacc(high=6), ScriptedLook(replicas=2, ready=2, requested=4000.0)) == 6
    assert step(bacc(), ScriptedLook(replicas=2, ready=2, requested=4000.0)) == 40, "at once"


def test_without_metrics_nothing_is_ordered():
    scaler, look = bacc(), ScriptedLook(replicas=7, ready=7)
    assert [step(scaler, look) for _ in range(10)] == [7] * 10
    for _ in range(60):
        step(scaler, look, requested=690.0, late=0.0)
    alpha = scaler.budget.alpha
    assert [step(scaler, look, requested=None, late=None) for _ in range(60)] == [7] * 60
    assert scaler.budget.alpha == alpha
    assert step(scaler, look, requested=2000.0, late=0.0) > 7


def test_what_was_forecast_for_a_gap_is_not_scored():
    scaler, look = bacc(), ScriptedLook(replicas=7, ready=7)
    for _ in range(60):
        step(scaler, look, requested=690.0)
    for _ in range(8):
        step(scaler, look, requested=None)
    scores = list(scaler._conformal._scores)
    for _ in range(4):
        step(scaler, look, requested=100.0)
    assert list(scaler._conformal._scores) == scores
    step(scaler, look, requested=100.0)
    assert len(scaler._conformal._scores) == len(scores) + 1


def test_where_lateness_is_unknown_the_bound_is_exceeded_as_often_as_is_allowed():
    counts, rates = noisy(bacc(1.0, allowed=0.1, scale_down=AT_ONCE))
    missed = rates[504:] > counts[500:-4]
    assert missed.mean() == pytest.approx(0.1, abs=0.02)


def test_an_unspent_budget_makes_it_cheaper_and_an_overspent_one_safer():
    def after_a_quarter(late):
        counts, _ = noisy(bacc(1.0, allowed=0.1, scale_down=AT_ONCE), steps=220, late=late)
        return counts[60:].mean()

    assert after_a_quarter(0.0) + 20 < after_a_quarter(100.0) < after_a_quarter(300.0) - 20


# ---------------------------------------------------------------------- in virtual time

ENCODER = Truth(40_000, 8_000, contention=0.8)


def case(made):
    return Case(ENCODER, Environment(pool_replicas=60), made, 500_000.0)


def results(c, *names):
    tuned = hand_tuned(c.truth, c.slo_us, 2)
    start = first_replicas(c, tuned)
    return [
        run_autoscaler(c, next(one for one in contenders(c, tuned, "") if one.name == name), replicas=start)
        for name in names
    ]


def test_on_steady_and_growing_traffic_it_keeps_the_slo_for_less_than_keda():
    for made in (traffic.poisson(500.0, 1500.0, seed=1), traffic.slow_ramp(100.0, 600.0, 1500.0, seed=1)):
        ours, keda = results(case(made), "BACC", "KEDA")
        assert ours.violations <= ALLOWED
        assert ours.cost < keda.cost


def test_the_budget_is_that_of_the_time_that_counts():
    made = traffic.poisson(100.0, 1500.0, seed=1)
    budget = error_budget(made)
    assert pace(1.0, 600.0, budget=budget).alpha == ALLOWED
    assert pace(0.0, 450.0, budget=budget, since=600.0).alpha > 5 * ALLOWED, "half of the 900 s that count"
    short = error_budget(replace(made, warmup_seconds=1500.0))
    assert pace(0.0, 750.0, budget=short).alpha > 5 * ALLOWED


def test_a_replica_is_ordered_for_when_it_serves():
    slow = replace(case(traffic.poisson(100.0, 1500.0, seed=1)), environment=Environment(pod_start_seconds=180.0))
    tuned = hand_tuned(slow.truth, slow.slo_us, 2)
    (found,) = (one for one in contenders(slow, tuned, "") if isinstance(one, Bacc))
    assert found.horizon_seconds == 180.0 + 10.0 + 15.0
    assert found._forecaster.horizon == 14
