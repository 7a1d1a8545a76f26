"""The cheapest of the listed pools: chosen by what was measured, moved to when it pays, and left when it is full."""

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st
from throughline.api.batching import BatchSettings
from throughline.api.servingpool import ServingPoolSpec
from throughline.api.status import Action, ControlStatus, PoolKnowledge, ServiceTime
from throughline.domain.control.act.move import PoolCandidate, cheapest
from throughline.domain.control.estimate.learned import on_pool
from throughline.domain.control.predict.outcome import Candidate
from throughline.domain.control.tuning import AGAIN_SECONDS, CLEAR
from throughline.domain.observed import PoolView, Unavailable
from world import Pod, World, linear

FAST, SLOW = linear(40, 2), linear(80, 4)


def pool(name, price, capacity=50):
    spec = ServingPoolSpec.model_validate({"nodeSelector": {"pool": name}, "costPerHour": str(price)})
    return PoolView(name, spec, capacity, 1)


class Pools(World):
    """Several pools, each with a speed. A move replaces one pod at each sample, whose successor is ready before it goes
    (the surge of a rolling update).
    """

    def __init__(self, pools, rate, *, speeds, on=None, strategy="Cheapest", **more):
        self.pools, self.speeds, self.on, self.cost = {p.name: p for p in pools}, speeds, on or pools[0].name, 0.0
        document = {
            "model": {"storage": {"uri": "pvc://models/m"}, "backend": "python"},
            "slo": {"latencyP99Milliseconds": 400},
            "placement": {"strategy": strategy, "pools": [{"name": p.name} for p in pools]},
            "scaling": {"maxReplicas": 20, "scaleDownStabilizationSeconds": 60},
            "batching": {"instances": {"min": 1, "max": 1}, "maxBatchSize": {"max": 8}},
        }
        super().__init__(speeds[self.on], rate, spec=document, **more)
        self.moves = []

    def _start(self, pod, now):
        self.service_us = self.speeds[self.pool_of(pod)]
        super()._start(pod, now)

    def pool_of(self, pod):
        if not hasattr(pod, "pool"):
            pod.pool = self.on
        return pod.pool

    def view(self):
        seen = super().view()
        old = {p.name for p in self.pods if self.pool_of(p) != self.on}
        pods = tuple(dataclasses.replace(p, elsewhere=p.name in old) for p in seen.pods)
        weighed = self.spec.placement.strategy == "Cheapest"
        return dataclasses.replace(
            seen, pods=pods, pool=self.pools[self.on], pools=tuple(self.pools.values()) if weighed else ()
        )

    def decide(self):
        super().decide()
        for pod in self.pods:
            self.cost += float(self.pools[self.pool_of(pod)].spec.cost_per_hour) * 5.0 / 3600
        if self.decision.pool is not None:
            assert self.decision.pool != self.on
            self.moves.append((self.now, self.decision.pool))
            self.on = self.decision.pool
        old = next((i for i, p in enumerate(self.pods) if self.pool_of(p) != self.on), None)
        if old is not None:
            self.count += 1
            gone, new = self.pods[old], Pod(f"p{self.count}", self.now, self.now, self.durable)
            new.pool, new.queue = self.on, gone.queue
            self.pods[old] = new

    def placed(self):
        return [(d.reason, d.message) for d in self.status.decisions if d.action is Action.PLACE]


def test_a_cheaper_pool_that_was_never_tried_is_taken_to_be_as_fast():
    world = Pools([pool("dear", 3), pool("cheap", 1)], 40.0, speeds={"dear": FAST, "cheap": FAST})
    world.run(1500)
    assert [name for _, name in world.moves] == ["cheap"]
    reason, message = world.placed()[0]
    assert reason == "CheaperPool"
    assert "never tried: taken to be as fast as here" in message
    assert [k.name for k in world.status.control.pools] == ["dear"], "what was learned there is kept"


def test_a_little_cheaper_is_not_worth_a_move():
    world = Pools([pool("dear", 3), pool("cheap", 2.6)], 40.0, speeds={"dear": FAST, "cheap": FAST})
    world.run(2400)
    assert world.moves == []


def test_a_cheap_pool_that_turns_out_slow_is_left_again_and_not_returned_to():
    """Half the price, and a fifth of the speed."""
    speeds = {"dear": FAST, "cheap": linear(200, 10)}
    world = Pools([pool("dear", 3), pool("cheap", 1.5)], 40.0, speeds=speeds)
    world.run(3 * AGAIN_SECONDS)
    assert [name for _, name in world.moves][:2] == ["cheap", "dear"]
    assert len(world.moves) == 2
    assert {"as measured there" in message for _, message in world.placed()} == {True, False}


def test_it_does_not_come_and_go_at_constant_demand():
    world = Pools([pool("dear", 3), pool("cheap", 1.4)], 60.0, speeds={"dear": FAST, "cheap": SLOW})
    world.run(3 * AGAIN_SECONDS)
    assert len(world.moves) <= 2
    assert all(b - a >= 300 for (a, _), (b, _) in zip(world.moves, world.moves[1:], strict=False))


def test_a_full_pool_is_left_for_a_costlier_one_and_returned_to_when_there_is_room():
    rate = [40.0]
    pools = [pool("cheap", 1, 2), pool("dear", 3, 20)]
    world = Pools(pools, lambda _: rate[0], speeds={"cheap": FAST, "dear": FAST})
    world.run(600)
    assert world.moves == []
    rate[0] = 250.0
    world.run(900)
    assert [name for _, name in world.moves] == ["dear"]
    assert world.placed()[0][0] == "PoolFull"
    rate[0] = 40.0
    world.run(600)
    assert len(world.moves) == 1, "not so soon after the last move"
    world.run(AGAIN_SECONDS)
    assert [name for _, name in world.moves] == ["dear", "cheap"]


def test_strategy_ordered_never_moves():
    world = Pools([pool("dear", 3), pool("cheap", 1)], 40.0, speeds={"dear": FAST, "cheap": FAST}, strategy="Ordered")
    world.run(900)
    assert world.moves == []


def test_what_a_service_costs_is_near_to_the_better_pool_by_hindsight():
    pools, speeds = [pool("dear", 3), pool("cheap", 1.2)], {"dear": FAST, "cheap": SLOW}
    hours = 3 * 3600

    def cost(pools, strategy):
        world = Pools(pools, 50.0, speeds=speeds, strategy=strategy)
        world.run(hours)
        return world.cost, world.p99_ms(600)

    ordered, _ = cost(pools, "Ordered")
    moving, p99_ms = cost(pools, "Cheapest")
    best = min(ordered, cost(pools[::-1], "Ordered")[0])
    assert moving < ordered
    assert moving < 1.1 * best
    assert p99_ms < 400


# ---------------------------------------------------------------------------- the choice alone

prices = st.floats(0.1, 100.0)


def pool_candidate(name, cost, *, needed=1, most=10, measured=True):
    candidate = Candidate(BatchSettings(max_batch_size=1), 10.0, needed, needed or most, 1e5, cost, 10.0, 10.0)
    return PoolCandidate(pool(name, 1), candidate, most, measured)


@settings(max_examples=500)
@given(prices, st.lists(st.tuples(prices, st.sampled_from([1, 10, 11, None])), max_size=7), st.booleans())
def test_never_a_costlier_pool_than_another_that_is_feasible(here_cost, others, infeasible_here):
    here = pool_candidate("here", here_cost, needed=11 if infeasible_here else 1)
    pool_candidates = [pool_candidate(str(i), cost, needed=needed) for i, (cost, needed) in enumerate(others)]
    feasible = [p.best.cost_per_hour for p in pool_candidates if p.feasible]
    target = cheapest(here, pool_candidates, infeasible_here=infeasible_here)
    if target is not None:
        assert target.feasible
        assert target.best.cost_per_hour == min(feasible)
        assert infeasible_here or target.best.cost_per_hour < here_cost
    elif infeasible_here:
        assert not feasible
    else:
        assert all(cost >= (1.0 - CLEAR) * here_cost for cost in feasible)


@given(prices, prices)
def test_what_is_moved_to_is_never_left_again_for_where_it_came_from(one, other):
    a, b = pool_candidate("a", one), pool_candidate("b", other)
    assert not (cheapest(a, [b], infeasible_here=False) and cheapest(b, [a], infeasible_here=False))


# ---------------------------------------------------------------------------- what is kept

LEARNED = ServiceTime(alpha_microseconds=4000, beta_microseconds=200, executions=50, largest_batch=8)


def test_what_was_learned_on_a_pool_is_known_again_when_it_is_returned_to():
    first = ControlStatus(pool="a", model_hash="r", service_time=LEARNED, last_move="2026-01-01T00:00:00Z")
    there = on_pool(first, "b", assume=True)
    assert (there.pool, there.last_move) == ("b", first.last_move)
    assert there.service_time == LEARNED.model_copy(update={"executions": 0}), "as fast as before, of no execution"
    back = on_pool(there, "a", assume=True)
    assert back.service_time == LEARNED
    assert back.pools == [], "an assumption is no experience"


def test_without_the_strategy_nothing_is_assumed_of_another_pool():
    first = ControlStatus(pool="a", model_hash="r", service_time=LEARNED)
    assert on_pool(first, "b", assume=False).service_time is None


def test_eight_pools_are_remembered_the_last_left():
    control = ControlStatus(pool="p0", model_hash="r", service_time=LEARNED)
    for i in range(1, 12):
        control = on_pool(control, f"p{i}", assume=True).model_copy(update={"service_time": LEARNED})
    assert [k.name for k in control.pools] == [f"p{i}" for i in range(3, 11)]
    assert all(isinstance(k, PoolKnowledge) for k in control.pools)


def test_without_metrics_it_stays():
    world = Pools([pool("dear", 3), pool("cheap", 1)], 40.0, speeds={"dear": FAST, "cheap": FAST})
    world.run(240)
    world.unavailable = Unavailable("PrometheusUnreachable", "gone")
    world.run(1200)
    assert world.moves == []
