"""The cost of an item doubles beyond a batch of eight: the bend is seen, and what meets the SLO is kept (K15)."""

import dataclasses

import pytest
from closed_loop_world import ClosedLoopWorld, Server
from throughline.api.batching import BatchSettings
from throughline.api.status import Trial
from throughline.domain.control.act import scaling
from throughline.domain.control.act.batch_step import BatchStep
from throughline.domain.control.act.watch import Outcome, judge
from throughline.domain.control.estimate.service_time import ServiceTimeEstimator
from throughline.domain.control.estimate.service_time_fit import estimate, with_segments
from throughline.domain.control.model.queueing import capacity_per_second
from throughline.domain.control.model.service_time_model import ServiceTimeModel
from throughline.domain.control.observe.demand import measure
from throughline.domain.times import rfc3339
from views import BATCHED, NOW, UNBATCHED, batch_pod, context_of, metrics, observe, pod, view
from world import World

SLO_MS = 50


def cost_us(b, _instances=1):
    return 1000.0 * (1.5 + 1.1 * min(b, 8) + 2.2 * max(0, b - 8))


def learned(counts, instances=1):
    rows = {b: (n, n * cost_us(b)) for b, n in counts.items()}
    estimator = observe(ServiceTimeEstimator(), [batch_pod(rows, instances)], 1.0)
    return estimator, with_segments(estimator.totals, ServiceTimeModel.of(estimate(estimator.totals, None), 1))


MANY = dict.fromkeys(range(1, 9), 400)


def test_few_large_batches_of_many_sizes_show_the_bend():
    _, curve = learned({**MANY, **dict.fromkeys(range(9, 33), 3)})
    for batch in (1, 4, 8, 16, 32):
        assert curve.segment_for(batch).service_us(batch, 1) == pytest.approx(cost_us(batch), rel=0.08)


def test_sizes_never_seen_go_on_with_the_slope_of_the_largest_seen():
    _, curve = learned({**MANY, **dict.fromkeys(range(9, 17), 5)})
    assert curve.segment_for(32).service_us(32, 1) == pytest.approx(cost_us(32), rel=0.08)
    assert curve.segment_for(64).service_us(64, 1) == pytest.approx(cost_us(64), rel=0.08)


def test_between_sizes_that_were_seen_lies_what_is_between_their_times():
    _, curve = learned({**MANY, 32: 40})
    assert curve.segment_for(16).service_us(16, 1) == pytest.approx(cost_us(16), rel=0.08)


def test_without_a_bend_it_is_one_line():
    rows = {b: (100, 100 * (4000.0 + 200.0 * b)) for b in (1, 3, 8, 20)}
    estimator = observe(ServiceTimeEstimator(), [batch_pod(rows)], 1.0)
    assert not with_segments(estimator.totals, ServiceTimeModel.of(estimate(estimator.totals, None), 1)).segments


def test_a_bend_is_not_taken_for_contention():
    estimator, _ = learned({**MANY, **dict.fromkeys(range(9, 33), 3)})
    rows = {b: (40, 40 * cost_us(b)) for b in (8, 20, 24)}
    estimator = observe(estimator, [batch_pod(rows, 2, uid="b")], 2.0)
    assert estimate(estimator.totals, None).contention_permille <= 60


def test_the_bend_is_where_more_batching_stops_to_pay():
    _, curve = learned({**MANY, **dict.fromkeys(range(9, 33), 3)})
    sizes = {b: BatchSettings(max_batch_size=b, max_queue_delay_microseconds=0, instances=1) for b in (4, 8, 16, 32)}
    carried = {b: capacity_per_second(curve, s, 0.94e3 * SLO_MS) for b, s in sizes.items()}
    assert max(carried, key=carried.__getitem__) == 8


# ---------------------------------------------------------------- what met the SLO


def change(*, p99, rate=100, age=200.0):
    return Trial(
        settings=BATCHED,
        previous=UNBATCHED,
        started=rfc3339(NOW - age),
        baseline_p99_microseconds=p99,
        baseline_mean_microseconds=30_000,
        baseline_rate_per_second=rate,
    )


@pytest.mark.parametrize(
    ("p99_before", "rate_before", "age", "expected"),
    [
        (40_000, 100, 200.0, Outcome.ROLLBACK),
        (40_000, 100, 40.0, Outcome.WATCHING),  # the summary still holds what was before
        (60_000, 100, 200.0, Outcome.PASSED),  # it was missed before, too
        (40_000, 50, 200.0, Outcome.PASSED),  # twice the load
    ],
)
def test_settings_that_miss_the_slo_where_those_before_met_it_are_taken_back(p99_before, rate_before, age, expected):
    seen = view(pod("a", metrics(100, latency_us=30_000), BATCHED), settings=BATCHED)
    before = change(p99=p99_before, rate=rate_before, age=age)
    verdict = judge(seen, before, measure(seen, 50_000.0), 50_000.0)
    assert verdict.outcome is expected


def test_between_adding_and_removing_replicas_lies_a_dead_band():
    """Without one, noise of the demand changed replicas two to three times as often."""
    assert scaling.needs(100.0, 199.0, 1.0) == 2, "two carry it, so that none is added"
    assert scaling.enough(100.0, 199.0, 1) == 3, "and of three none is removed"
    assert scaling.enough(100.0, 196.0, 1) == 2


def test_replicas_are_not_removed_for_a_forecast_of_less_than_what_comes():
    """Two serve 490/s, one carries 460/s: whatever is forecast, one is not enough."""
    seen = view(*(pod(n, metrics(245), BATCHED) for n in "ab"), settings=BATCHED, replicas=2)
    ctx = context_of(seen)
    ctx = dataclasses.replace(ctx, estimates=ctx.estimates._replace(target_demand=440.0))
    _, enough = scaling._needed(ctx, BatchStep(BATCHED), 2, 460.0)
    assert enough == 2
    _, enough = scaling._needed(ctx, BatchStep(BATCHED), 2, 500.0)
    assert enough == 1


# ---------------------------------------------------------------- both halves, in virtual time


@pytest.mark.parametrize("seed", [1, 2])
def test_open_loop_arrivals_that_one_replica_carries_are_served_by_one(seed):
    world = World(cost_us, 466, slo_ms=SLO_MS, seed=seed, maxReplicas=4)
    world.run(600)
    assert world.replicas == 1
    assert world.p99_ms(60) <= SLO_MS


class Bent(ClosedLoopWorld):
    def device_us(self, batch):
        return cost_us(len(batch))


def test_clients_get_and_keep_settings_that_meet_the_slo():
    spec = {
        "model": {"storage": {"uri": "pvc://models/m"}, "backend": "python"},
        "slo": {"latencyP99Milliseconds": SLO_MS},
        "placement": {"pools": [{"name": "gpu"}]},
        "scaling": {"minReplicas": 1, "maxReplicas": 4, "scaleDownStabilizationSeconds": 60},
        "batching": {"instances": {"min": 1, "max": 2}},
    }
    world = Bent(Server(1500, 1100, parallel=2, gap=200, back=500), 466, spec=spec, start_seconds=15.0)
    world.run(300)
    world.rate = 0
    world.set_clients(64)
    world.run(420)
    within = 0
    for _ in range(18):
        world.run(10)
        within += world.p99_ms(10) <= SLO_MS
    assert within >= 16
