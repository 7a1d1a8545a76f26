"""Two pools, one cheap and slow, one dear and fast: the strategy Cheapest against the order and hindsight."""

from dataclasses import replace

import pytest
from cases import case, pilot
from throughline.api.batching import BatchSettings
from throughline.simulate import traffic
from throughline.simulate.run import run_autopilot
from throughline.simulate.types import Environment, Place, Truth

FAST, SLOW = Truth(40_000, 8_000), Truth(70_000, 14_000)
UNBATCHED = BatchSettings(max_batch_size=1, instances=1)
DEAR = 4.0
SECONDS = 9000.0


def run(truth, price, *, seed, rate, strategy, places):
    made = replace(case(traffic.poisson(rate, SECONDS, seed=seed), truth), places=places)
    made = replace(made, environment=Environment(pool_replicas=20, price_per_hour=price))
    ours = pilot(made)
    listed = [{"name": "pool"}, *({"name": name} for name in places)]
    placement = type(ours.spec.placement).model_validate({"strategy": strategy, "pools": listed})
    ours.spec = ours.spec.model_copy(update={"placement": placement})
    ours.pool = ours.pool.model_copy(update={"cost_per_hour": f"{price:g}"})
    return run_autopilot(made, ours, UNBATCHED, replicas=4), ours


@pytest.mark.parametrize("cheap", [1.0, 3.6], ids=["worth being slow", "not worth it"])
def test_cheapest_is_near_to_the_better_pool_by_hindsight(cheap):
    places = {"other": Place(SLOW, cheap, 20)}
    moving, _ = run(FAST, DEAR, seed=1, rate=150.0, strategy="Cheapest", places=places)
    stays, _ = run(FAST, DEAR, seed=1, rate=150.0, strategy="Ordered", places=places)
    there, _ = run(SLOW, cheap, seed=1, rate=150.0, strategy="Ordered", places={})
    best = min(stays.cost, there.cost)
    assert moving.cost <= 1.1 * best
    # Nothing was known of its speed: until it was measured, the first minute there was slow, and a few callers gave up.
    assert moving.violations < 0.015
    assert moving.lost < 0.0005 * moving.requests
    if there.cost < 0.8 * stays.cost:
        assert moving.cost < stays.cost
