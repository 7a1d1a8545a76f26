"""Replicas are judged by what they do, as settings are (K7)."""

import dataclasses

import pytest
from closed_loop_world import ClosedLoopWorld, HostWorld, Server
from throughline.api.batching import BatchingMode, BatchSettings
from throughline.api.status import Trial
from throughline.domain.control.act import scaling
from throughline.domain.control.act.batch_step import BatchStep
from throughline.domain.control.act.growth import blocked_by, futile, judged, ordered
from throughline.domain.control.act.state import Growth
from throughline.domain.control.estimate.forecast import Forecast
from throughline.domain.control.tuning import AGAIN_SECONDS
from throughline.domain.times import rfc3339
from views import NOW, PROBLEM, UNBATCHED, context_of, metrics, pod, view
from world import World, linear

# A network that computes on the cores of a host, forty times slower: the same behaviour at a fraction of the events.
NETWORK = Server(2200, 320, parallel=2, gap=300, back=1500).slower(40)
CLIENTS = 64
# The times of the chart.
INTERVAL, WINDOW = 15.0, 60.0


def spec(slo_ms, most=5, least=1, **batching):
    return {
        "model": {"storage": {"uri": "pvc://models/m"}, "backend": "python"},
        "slo": {"latencyP99Milliseconds": slo_ms},
        "placement": {"pools": [{"name": "gpu"}]},
        "scaling": {"minReplicas": least, "maxReplicas": most},
        "batching": {"instances": {"min": 1, "max": 2}, **batching},
    }


def counts(world):
    """The replicas from the first to the last, each as often as it was ordered."""
    found = []
    for _, text in world.changes:
        replicas = int(text.split(" ")[0])
        if not found or found[-1] != replicas:
            found.append(replicas)
    return found


def on_one_host(slo_ms, seed, **more):
    return HostWorld(NETWORK, clients=CLIENTS, spec=spec(slo_ms, **more), seed=seed, start_seconds=8.0, window=WINDOW)


@pytest.mark.parametrize("seed", [1, 2])
def test_replicas_that_share_a_host_are_not_followed_by_another(seed):
    """K7: no setting meets the SLO, and each further replica takes its cores from the others."""
    world = on_one_host(600, seed)
    world.run(900, INTERVAL)
    assert max(counts(world)) <= 2


def test_a_replica_that_does_not_help_is_given_back_and_tried_again_after_a_growing_pause():
    """K7: as the SLO is never met, it is the verdict that lets go of it."""
    world = on_one_host(600, 1)
    world.run(3600, INTERVAL)
    orders = [at for at, text in world.changes if text.startswith("2 ")]
    assert world.replicas == 1 or world.state.acted.growth is not None
    assert "served" in next(d.message for d in world.status.decisions if d.reason == "ExcessCapacity")
    grown = [d for d in world.status.decisions if d.reason == "DemandAboveCapacity"]
    assert len(grown) <= 3
    assert orders[-1] - orders[0] >= AGAIN_SECONDS or len(grown) == 1


def test_batches_come_first_and_are_judged_before_a_replica_is_added():
    """K7: one replica with batches meets the SLO that one without misses by far."""
    world = on_one_host(4000, 1)
    world.run(900, INTERVAL)
    assert counts(world) == [1]
    assert world.durable.max_batch_size >= 16
    assert world.condition("SLOMet").status == "True"


@pytest.mark.parametrize(
    ("deferred", "mode", "growing", "first"),
    [
        (True, "Auto", False, True),
        (False, "Auto", False, False),  # nothing better was found
        (True, "Recommend", False, False),  # none will be tried
        (True, "Auto", True, False),  # open-loop arrivals
    ],
)
def test_the_first_batches_come_first_while_a_measurement_for_them_is_coming(deferred, mode, growing, first):
    """K7: a replica was added three seconds before the canary, while the clients were still being counted."""
    seen = view(pod("a", metrics(200)))
    batching = seen.spec.batching.model_copy(update={"mode": BatchingMode(mode)})
    seen = dataclasses.replace(seen, spec=seen.spec.model_copy(update={"batching": batching}))
    ctx = context_of(seen)
    if growing:
        more = ctx.demand._replace(arrivals_per_second=1.2 * ctx.demand.served_per_second)
        ctx = dataclasses.replace(ctx, observation=ctx.observation._replace(demand=more))
    ctx = dataclasses.replace(ctx, estimates=ctx.estimates._replace(slo_violated=True))
    blocked = scaling._scale_up_blocked_by(ctx, BatchStep(UNBATCHED, deferred=deferred), 1)
    assert bool(blocked and "batches" in blocked) is first


@pytest.mark.parametrize(
    ("closed", "saturated", "stationary", "most"),
    [
        (True, True, True, 3),  # one after the other
        (False, True, True, 5),  # what arrives needs so many
        (False, True, False, 10),  # a queue that grows
        (False, False, True, 10),
    ],
)
def test_replicas_for_what_is_only_held_back_come_one_by_one(closed, saturated, stationary, most):
    """K7: 1 → 5 replicas for 9,700/s that nobody sent, nine seconds after better settings."""
    ctx = context_of(view(*(pod(n, metrics(200)) for n in "ab"), replicas=2))
    demand = ctx.demand._replace(saturated=saturated, queue_stationary=stationary)
    ctx = dataclasses.replace(
        ctx,
        observation=ctx.observation._replace(demand=demand),
        estimates=ctx.estimates._replace(forecast=Forecast(400.0, 400.0)),
        problem=PROBLEM._replace(closed_loop=closed),
    )
    assert scaling._most(ctx, 2, 100.0) == most


def test_where_nobody_is_in_a_hurry_one_pod_gets_the_settings_first():
    """K7: the SLO is met on two pods, and the prediction asks for other settings."""
    world = ClosedLoopWorld(NETWORK, 3, spec=spec(8000, least=2, most=2), seed=1, start_seconds=3.0, window=20.0)
    tried = {}
    for step in range(40):
        world.rate = 3 if step < 12 else 19
        world.run(5)
        trial = world.status.control.trial
        if trial is not None:
            tried.setdefault(trial.settings, trial.pod)
    assert len(tried) >= 2
    assert None not in tried.values()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_flash_crowd_gets_its_replicas_while_the_last_ones_are_not_judged(seed):
    """K7's other side: arrivals that nobody has answered yet are demand by themselves."""
    world = World(linear(10, 20, contention=1.0), 30, seed=seed, start_seconds=15.0)
    world.run(240)
    world.rate = 300
    began = world.now
    world.run(90)
    assert world.replicas >= 8, world.changes
    assert next(at for at, text in world.changes if at > began and int(text.split(" ")[0]) >= 8) - began <= 60


# ---------------------------------------------------------------- the verdict, step by step

# 64 closed-loop clients on one replica that is always busy: 100 a second, 640 ms each.
BEFORE = Growth(
    replicas=1, served_per_second=100.0, in_flight=64.0, mean_us=640_000.0, serving=(2, NOW - 600.0)
)  # fmt: skip


def on_two(per_second, in_flight=64.0, queue_growth=0.0, growth=BEFORE, replicas=2):
    """What two busy replicas serve together, some time after the second has come; 64 were in flight before."""
    each = metrics(
        per_second / 2, latency_us=1e6 * in_flight / per_second, compute_us=2e6 / per_second, growth=queue_growth / 2
    )
    ctx = context_of(view(pod("a", each), pod("b", each), replicas=replicas))
    assert ctx.demand.saturated
    return judged(dataclasses.replace(ctx, state=ctx.state._replace(growth=growth, changed_in_flight=64.0)))


@pytest.mark.parametrize(
    ("per_second", "helped"),
    [
        (190.0, True),
        (112.0, True),
        (104.0, False),  # noise
        (60.0, False),  # each takes from the other
    ],
)
def test_replicas_help_where_they_raise_what_is_served(per_second, helped):
    """K7: of closed-loop clients latency says the same as what is served, by Little's law."""
    last = on_two(per_second).state.growth
    assert (last is None) is helped
    assert helped or last.futile


def test_until_the_window_is_of_the_present_nothing_is_held_against_them():
    """K7: and no further replica is added meanwhile."""
    ctx = on_two(60.0, growth=BEFORE._replace(serving=(2, NOW - 10.0)))
    assert not ctx.state.growth.futile
    assert "being judged" in blocked_by(ctx, None)


def test_what_did_not_help_is_given_back_until_the_pause_is_over():
    """K7: the pause is twice as long the next time."""
    ctx = on_two(60.0)
    last = ctx.state.growth
    assert futile(ctx, 2) == last
    assert futile(ctx, 1) is None  # it is gone already
    assert "2 replicas served 60/s, and 1 100/s before" in blocked_by(ctx, None)
    assert ordered(ctx, last, 1).pause_seconds == 2 * AGAIN_SECONDS
    over = last._replace(retry_seconds=NOW - 1.0)
    later = on_two(60.0, growth=over)
    assert futile(later, 2) is None
    assert blocked_by(later, None) is None


def test_a_queue_that_grows_waits_for_no_verdict():
    """K7's other side: closed-loop clients cannot make it, as many are in flight as before."""
    ctx = on_two(60.0, 200.0, queue_growth=30.0, growth=BEFORE._replace(serving=(2, NOW - 10.0)))
    assert blocked_by(ctx, None) is None


def test_arrivals_above_what_was_served_wait_for_no_verdict():
    """K7's other side: what more arrives while the replicas start, they have not made."""
    starting = BEFORE._replace(replicas=2, serving=(2, NOW))
    for growth, more in ((0.0, False), (20.0, True)):
        assert (on_two(98.0, queue_growth=growth, growth=starting, replicas=3).state.growth is None) is more


def test_settings_on_trial_come_first():
    """K7: they are free, and are judged within a window."""
    trial = Trial(
        settings=BatchSettings(max_batch_size=8), previous=BatchSettings(max_batch_size=1), started=rfc3339(NOW - 5)
    )
    ctx = on_two(60.0, growth=None)
    assert "comes first" in blocked_by(ctx, trial)
    assert blocked_by(ctx, None) is None
    crowd = on_two(60.0, 200.0, queue_growth=30.0, growth=None)
    assert blocked_by(crowd, trial) is None
