"""The cluster in virtual time: what it holds, what it shows, and what it bills."""

import numpy as np
import pytest
from throughline.api.batching import BatchSettings
from throughline.simulate.look import WorldLook, pod_metrics
from throughline.simulate.types import Environment, Event, Traffic, Truth
from throughline.simulate.world import World

TRUTH = Truth(10_000, 1_000, noise=0.0)
ONE = BatchSettings(max_batch_size=1)
EIGHT = BatchSettings(max_batch_size=8)


def world(rate=20.0, seconds=600.0, *, replicas=1, settings=ONE, events=(), truth=TRUTH, slo_us=100_000, **environment):
    arrivals = np.arange(0.0, seconds, 1.0 / rate) if rate else np.empty(0)
    traffic = Traffic("even", seconds, arrivals, warmup_seconds=0.0, events=events)
    more = {"pod_start_seconds": 20.0, "model_load_seconds": 10.0, "reload_seconds": 2.0, **environment}
    return World(truth, Environment(**more), traffic, slo_us=slo_us, settings=settings, replicas=replicas)


def test_every_request_is_answered_late_or_lost_and_none_twice():
    w = world(rate=150.0, replicas=1, timeout_seconds=5.0)  # 91 a second are served
    w.advance(300)
    w.scale(4)
    w.advance(600)
    good, over, lost = w.requests()
    assert good + over + lost == w.traffic.arrivals.size
    assert lost > 0
    assert over > 0
    assert good > 0


def test_a_replica_is_paid_from_its_order_and_serves_when_it_is_ready():
    w = world(replicas=1)
    w.advance(100)
    w.scale(3)
    w.advance(129)
    assert len(w.ready) == 1
    w.advance(131)
    assert len(w.ready) == 3
    w.advance(160)
    assert w.paid_seconds.sum() == pytest.approx(160 + 2 * 60)


def test_a_replica_that_leaves_works_off_what_it_has():
    w = world(rate=80.0, replicas=2)
    w.advance(100.0)
    w.scale(1)
    w.advance(200.0)
    assert len(w.pods) == 1
    assert w.requests()[2] == 0


def test_what_has_no_replica_is_lost():
    w = world(rate=10.0, replicas=1, events=[Event(100.0, "node", 1.0)])
    w.advance(200.0)
    lost = w.tally.lost.sum()
    assert lost == pytest.approx(10 * 30, abs=5)  # until the new one is up


def test_the_pool_bounds_what_runs_and_not_what_is_ordered():
    w = world(replicas=2, pool_replicas=3)
    w.scale(9)
    w.advance(100.0)
    assert (w.ordered, len(w.ready)) == (9, 3)


def test_a_pool_that_shrinks_kills_what_it_cannot_hold():
    w = world(replicas=5, events=[Event(50.0, "pool", 2)])
    w.advance(60.0)
    assert len(w.ready) == 2


def test_a_reload_serves_with_the_old_settings_until_it_is_done():
    w = world(replicas=1)
    w.advance(100.0)
    w.configure(EIGHT)
    w.advance(101.0)
    assert w.ready[0].in_force == ONE
    w.advance(103.0)
    assert w.ready[0].in_force == EIGHT


def test_instances_change_in_place():
    w = world(replicas=1)
    w.configure(BatchSettings(max_batch_size=1, instances=3))
    assert w.ready[0].in_force.instances == 3


def test_one_pod_may_have_other_settings():
    w = world(replicas=2)
    w.configure(ONE, {"pod-2": EIGHT})
    w.advance(5.0)
    assert [p.in_force for p in w.ready] == [ONE, EIGHT]


def test_metrics_are_rates_between_scrapes():
    w = world(rate=20.0, replicas=1)
    w.advance(300.0)
    m = pod_metrics(w.ready[0], w.now, 60.0)
    assert m.success_rate == pytest.approx(20.0, rel=0.02)
    assert m.executions_rate == pytest.approx(20.0, rel=0.02)
    assert m.request_us_rate / m.success_rate == pytest.approx(11_000, rel=0.01)
    assert m.p99_us == pytest.approx(11_000, rel=0.01)
    assert m.pending == 0


def test_a_growing_queue_is_seen_to_grow_and_what_is_given_up_is_counted():
    w = world(rate=150.0, replicas=1, timeout_seconds=1e9)
    w.advance(300.0)
    m = pod_metrics(w.ready[0], w.now, 60.0)
    assert m.pending_growth_rate == pytest.approx(150 - 1000 / 11, rel=0.03)
    impatient = world(rate=150.0, replicas=1, timeout_seconds=2.0)
    impatient.advance(300.0)
    m = pod_metrics(impatient.ready[0], impatient.now, 60.0)
    assert m.cancelled_rate == pytest.approx(150 - 1000 / 11, rel=0.05)


def test_an_idle_server_has_no_p99_and_a_new_one_no_rate():
    w = world(rate=0.0, replicas=1)
    w.advance(20.0)
    assert pod_metrics(w.ready[0], w.now, 60.0) is None
    w.advance(120.0)
    m = pod_metrics(w.ready[0], w.now, 60.0)
    assert m.success_rate == 0
    assert m.p99_us is None


def test_where_scrapes_fail_the_metrics_get_old_and_then_unknown():
    w = world(replicas=1, events=[Event(100.0, "metrics", 300.0)])
    look = WorldLook(w)
    w.advance(99.0)
    assert look.utilization() is not None
    w.advance(200.0)
    assert look.utilization() is None
    assert look.in_flight() is None
    w.advance(450.0)
    assert look.utilization() == pytest.approx(20 * 0.011, rel=0.05)


def test_a_model_may_become_dearer():
    w = world(replicas=1, events=[Event(100.0, "cost", 2.0)])
    w.advance(300.0)
    assert w.ready[0].p99_us == pytest.approx(22_000, rel=0.01)


def test_the_gateway_counts_what_comes_whether_it_is_served_or_not():
    w = world(rate=150.0, replicas=1)
    w.advance(300.0)
    look = WorldLook(w)
    assert look.requests_per_second(60.0) == pytest.approx(150.0, rel=0.02)
    assert look.served_per_second(60.0) == pytest.approx(1000 / 11, rel=0.03)


def test_the_gateway_counts_what_is_answered_late_given_up_or_refused():
    w = world(rate=50.0, replicas=1, events=[Event(300.0, "node", 1.0)])
    look = WorldLook(w)
    w.advance(14.0)
    assert look.late_per_second(60.0) is None
    w.advance(295.0)
    assert look.late_per_second(60.0) == 0.0
    w.advance(330.0)
    assert look.late_per_second(30.0) == pytest.approx(50.0, rel=0.1), "no replica is up"
    w.advance(600.0)
    assert look.late_per_second(60.0) == 0.0

    crowded = world(rate=150.0, replicas=1, timeout_seconds=5.0)
    crowded.advance(300.0)
    # 91 a second are served, each after 5 s or more, and the others are given up.
    assert WorldLook(crowded).late_per_second(60.0) == pytest.approx(150.0, rel=0.03)


def test_while_scrapes_fail_lateness_is_unknown():
    w = world(rate=150.0, replicas=1, events=[Event(100.0, "metrics", 300.0)])
    look = WorldLook(w)
    w.advance(99.0)
    assert look.late_per_second(30.0) > 0.0
    w.advance(200.0)
    assert look.late_per_second(30.0) is None


def test_an_unknown_event_is_named():
    w = world(events=[Event(1.0, "flood", 1.0)])
    with pytest.raises(ValueError, match="flood"):
        w.advance(10.0)


def test_the_same_seed_makes_the_same_world():
    def run(seed):
        arrivals = np.sort(np.random.default_rng(1).uniform(0, 300, 9000))
        traffic = Traffic("t", 300.0, arrivals, warmup_seconds=0.0)
        w = World(
            Truth(10_000, 1_000, noise=0.2),
            Environment(),
            traffic,
            slo_us=30_000,
            settings=EIGHT,
            replicas=2,
            seed=seed,
        )
        w.advance(300.0)
        return w.requests()

    assert run(1) == run(1)
    assert run(1) != run(2)
