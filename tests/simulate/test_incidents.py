"""Traffic under which something happens to the model or to its pool, and what the world makes of it."""

from itertools import pairwise

import numpy as np
import pytest
from cases import case, pilot
from throughline.api.batching import BatchSettings
from throughline.simulate import traffic
from throughline.simulate.types import Environment, Event, Traffic, Truth, truth_after
from throughline.simulate.world import World

ALPHA_US, BETA_US = 10_000, 1_000
ONE, EIGHT = BatchSettings(max_batch_size=1), BatchSettings(max_batch_size=8)
HOUR = 3600.0


def world(*events, rate=5.0, seconds=2 * HOUR, replicas=1, pool_replicas=10):
    even = Traffic("even", seconds, np.arange(0.0, seconds, 1.0 / rate), warmup_seconds=0.0, events=events)
    place = Environment(
        pod_start_seconds=20.0, model_load_seconds=10.0, reload_seconds=2.0, pool_replicas=pool_replicas
    )
    truth = Truth(ALPHA_US, BETA_US, noise=0.0)
    return World(truth, place, even, slo_us=100_000, settings=ONE, replicas=replicas)


def milliseconds(pod):
    """Of an execution of one item, by the server's statistics since its load."""
    executions, seconds = pod.models[-1].statistics[1]
    return 1000 * seconds / executions


# ---------------------------------------------------------------------------- what an item costs


def test_a_deploy_doubles_what_an_item_costs_and_not_what_an_execution_does():
    (event,) = traffic.deploy(5, 2 * HOUR, seed=1).events
    assert event == Event(HOUR, "item cost", 2.0)
    w = world(event)
    w.advance(HOUR)
    w.ready[0].settle(w.now)
    assert milliseconds(w.ready[0]) == pytest.approx(11)
    w.ready[0].models[-1].statistics.clear()
    w.advance(2 * HOUR)
    assert milliseconds(w.ready[0]) == pytest.approx(12, rel=0.001)


def test_the_last_event_of_each_kind_of_cost_counts_and_each_is_of_the_first_cost():
    truth = Truth(ALPHA_US, BETA_US, knee_items=8, knee_factor=3.0, factor=1.5)
    events = [Event(0, "item cost", 4.0), Event(1, "cost", 3.0), Event(2, "item cost", 2.0), Event(3, "room", 7)]
    changed = truth_after(truth, events)
    assert changed.service_us(10, 1) == pytest.approx(1.5 * 3 * (ALPHA_US + 2 * BETA_US * (10 + 2 * 2)))
    assert truth_after(truth, []) == truth


# ---------------------------------------------------------------------------- a leak


def test_a_leak_grows_with_the_age_of_the_loaded_model():
    (event,) = traffic.leak(5, 2 * HOUR, seed=1, per_hour=0.5).events
    w = world(event)
    w.advance(2 * HOUR)
    assert milliseconds(w.ready[0]) == pytest.approx(11 * 1.5, rel=0.01), "the mean of 1 to 2 times the cost"


def test_a_reload_and_a_new_replica_begin_again_and_instances_in_place_do_not():
    w = world(Event(0.0, "leak", 0.5), replicas=1)
    w.advance(HOUR)
    w.scale(2)
    w.advance(HOUR + 30)
    assert [p.models[-1].loaded_seconds for p in w.ready] == [0, HOUR + 30]
    for pod in w.ready:
        pod.settle(w.now)
        pod.models[-1].statistics.clear()
    w.advance(HOUR + 90)
    old, new = (milliseconds(p) for p in w.ready)
    assert (old, new) == pytest.approx((11 * 1.5, 11), rel=0.02)
    w.configure(BatchSettings(max_batch_size=1, instances=2))
    w.advance(HOUR + 100)
    assert [p.models[-1].loaded_seconds for p in w.ready] == [0, HOUR + 30]
    w.configure(EIGHT)
    w.advance(HOUR + 200)
    assert [p.models[-1].loaded_seconds for p in w.ready] == [HOUR + 102] * 2
    assert milliseconds(w.ready[0]) == pytest.approx(11, rel=0.02)


def test_a_leak_that_begins_later_counts_from_then():
    w = world(Event(HOUR, "leak", 0.5))
    w.advance(HOUR)
    w.ready[0].settle(w.now)
    assert milliseconds(w.ready[0]) == pytest.approx(11)
    w.ready[0].models[-1].statistics.clear()
    w.advance(2 * HOUR)
    assert milliseconds(w.ready[0]) == pytest.approx(11 * 1.25, rel=0.01)


# ---------------------------------------------------------------------------- room in the pool


def test_what_runs_keeps_its_place_and_what_is_new_waits_for_room():
    w = world(Event(100.0, "room", 2), Event(400.0, "room", 6), replicas=4)
    w.advance(101.0)
    assert len(w.ready) == 4
    w.scale(8)
    w.advance(399.0)
    assert (w.ordered, len(w.ready), len(w.pods)) == (8, 4, 4)
    w.advance(431.0)
    assert len(w.ready) == 6
    assert w.requests()[2] == 0


def test_what_was_given_back_or_lost_while_there_is_no_room_does_not_return():
    w = world(Event(100.0, "room", 3), Event(300.0, "node", 0.25), replicas=6)
    w.advance(150.0)
    w.scale(4)
    w.advance(200.0)
    w.scale(6)
    w.advance(299.0)
    assert (w.ordered, len(w.ready)) == (6, 4)
    w.advance(400.0)
    assert (w.ordered, len(w.ready)) == (6, 3)


def test_the_operator_is_woken_by_replicas_and_not_by_room():
    w = world(Event(100.0, "room", 2), Event(200.0, "room", 3), replicas=2)
    woken = []
    w.on_change = lambda: woken.append(w.now)
    w.advance(150.0)
    w.scale(5)
    w.advance(300.0)
    assert woken == [200.0, 230.0], "a pod was made, and was ready"


@pytest.mark.parametrize(("running", "holds"), [(1, 3), (3, 3), (5, 5)])
def test_the_operator_sees_that_the_pool_holds_what_runs(running, holds):
    w = world(Event(10.0, "room", 3), replicas=running)
    w.advance(20.0)
    view = pilot(case(w.traffic)).view(w)
    assert view.pool.capacity_replicas == holds


# ---------------------------------------------------------------------------- bursts that services have in common


def bursts(seed=1, **changes):
    options = {"pool_replicas": 150, "left_replicas": 15, **changes}
    return traffic.correlated_bursts(30, 24 * HOUR, seed=seed, **options)


def room_at(made, times):
    at, value = (np.array([getattr(e, name) for e in made.events]) for name in ("at_seconds", "value"))
    return value[np.searchsorted(at, times, side="right") - 1]


def test_neighbours_take_the_pool_while_it_bursts_and_give_it_back_after():
    made = bursts()
    assert {e.kind for e in made.events} == {"room"}
    # Three neighbours, which hold 11.25 replicas each in quiet times, and 45 in a burst.
    assert {e.value for e in made.events} == {116, 82, 49, 15}
    assert made.events[0].at_seconds == 0
    rates = np.histogram(made.arrivals, np.arange(0, made.duration_seconds + 15, 15))[0] / 15
    in_burst = rates > 40  # 17 a second in quiet times, 69 in bursts
    assert made.arrivals.size / made.duration_seconds == pytest.approx(30, rel=0.1)
    middles = np.arange(in_burst.size) * 15 + 7.5
    rooms = room_at(made, middles)
    inside = slice(1, -40)  # what happens ten minutes later is in the trace, too
    begins = np.flatnonzero((in_burst[1:] & ~in_burst[:-1])[inside]) + 2
    ends = np.flatnonzero((~in_burst[1:] & in_burst[:-1])[inside]) + 2
    assert begins.size > 30
    # From 45 s after its beginning to 300 s after its end.
    assert np.all(rooms[begins + 4] == 15)
    assert np.all(rooms[ends + 18] == 15)
    long_quiet = [(e, b) for e, b in zip(ends, begins[1:], strict=False) if b - e > 30]
    assert long_quiet
    assert all(set(rooms[e + 22 : b - 1]) == {116} for e, b in long_quiet)


def test_each_neighbour_reacts_after_a_time_of_its_own():
    made = bursts(neighbours=6, react_seconds=(10.0, 100.0))
    falls = [b.at_seconds - a.at_seconds for a, b in pairwise(made.events) if 15 < b.value < a.value < 116]
    assert len(falls) > 100
    assert max(falls) < 90
    assert np.mean(falls) == pytest.approx(90 / 7, rel=0.3)  # the spacing of six uniform times


def test_a_run_without_a_burst_has_the_room_of_quiet_times():
    made = bursts(quiet_seconds=1e12)
    assert made.events == (Event(0.0, "room", 116.0),)
