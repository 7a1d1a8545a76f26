"""Who is compared with whom, within the bounds of the spec, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from throughline.api.batching import Batching, BatchSettings
from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.servingpool import ServingPoolSpec
from throughline.simulate import traffic
from throughline.simulate.comparison import Comparison, NoSettingError, compare, kept, tuned
from throughline.simulate.run import Case, Result
from throughline.simulate.types import Environment, Truth

SPEC: dict[str, Any] = {
    "model": {"storage": {"uri": "pvc://m/a"}, "backend": "python"},
    "slo": {"latencyP99Milliseconds": 200},
    "placement": {"pools": [{"name": "p"}]},
    "scaling": {"maxReplicas": 6},
    "batching": {"maxBatchSize": {"max": 8}, "instances": {"max": 1}},
}
POOL = ServingPoolSpec.model_validate({"nodeSelector": {"a": "b"}, "costPerHour": "3"})


def spec(**more: Any) -> InferenceServiceSpec:
    return InferenceServiceSpec.model_validate(SPEC | more)


@pytest.fixture(scope="module")
def case() -> Case:
    load = replace(traffic.poisson(60.0, 480.0, seed=1), warmup_seconds=120.0)
    return Case(Truth(20_000, 4_000), Environment(pool_replicas=6, price_per_hour=3.0), load, 200_000.0)


@pytest.fixture(scope="module")
def found(case: Case) -> Comparison:
    return compare(case, spec(), POOL)


def test_all_have_had_the_same_requests_to_answer(found: Comparison) -> None:
    names = [result.contender for result in found.alternatives]
    assert len(set(names)) == len(names) == 13, "six autoscalers, unbatched and tuned, and a constant"
    assert {result.requests for result in (found.ours, *found.alternatives)} == {found.ours.requests}


def test_tuned_is_the_best_within_the_bounds(case: Case) -> None:
    assert tuned(case, Batching.model_validate({"maxBatchSize": {"max": 8}})).max_batch_size == 8
    assert tuned(case, Batching.model_validate({"maxBatchSize": {"min": 0, "max": 0}})).max_batch_size == 0
    low = {"maxQueueDelayMicroseconds": {"min": 3000, "max": 4000}, "instances": {"min": 2, "max": 2}}
    best = tuned(case, Batching.model_validate(low))
    assert best.instances == 2
    assert 3000 <= best.max_queue_delay_microseconds <= 4000


def test_the_constant_count_is_the_fewest(found: Comparison, case: Case) -> None:
    fixed = found.fixed
    assert fixed is not None
    assert kept(fixed)
    assert fixed.replica_hours == pytest.approx(360 / 3600), "one replica on batches of 8 carries 60/s"
    crowded = replace(case, traffic=replace(traffic.poisson(400.0, 120.0, seed=1), warmup_seconds=30.0))
    more = compare(crowded, spec(), POOL).fixed
    assert more is not None
    assert kept(more)
    assert more.moments[0].replicas == 3, "400/s over about 150/s each"


def test_fixed_batching_is_simulated_as_fixed(case: Case) -> None:
    batching = {"mode": "Fixed", "fixed": {"maxBatchSize": 4}, "instances": {"max": 1}}
    ours = compare(case, spec(batching=batching), POOL, alternatives=False).ours
    assert {moment.settings for moment in ours.moments} == {BatchSettings(max_batch_size=4)}


def test_our_least_count_is_kept(case: Case) -> None:
    ours = compare(case, spec(scaling={"minReplicas": 3, "maxReplicas": 6}), POOL, alternatives=False).ours
    assert min(moment.replicas for moment in ours.moments) == 3


def test_no_setting_can_meet_the_slo(case: Case) -> None:
    with pytest.raises(NoSettingError, match="p99 of 10 ms: one item alone takes 24 ms"):
        compare(replace(case, slo_us=10_000.0), spec(), POOL)


def changed(result: Result, name: str, hours: float, over: int = 0) -> Result:
    return replace(result, contender=name, replica_hours=hours, over=over, lost=0)


def test_the_verdict(found: Comparison) -> None:
    ours = changed(found.ours, "Throughline", 2.0)
    many = found.ours.requests // 20
    better, dearer = changed(ours, "A", 1.0, over=many), changed(ours, "B", 3.0)
    said = Comparison(ours, (better, dearer, changed(ours, "C", 5.0)), changed(ours, "constant", 2.5)).verdict()
    assert "Throughline kept the SLO (0.00%" in said
    assert "the cheapest autoscaler that kept it too, B, costs 1.50 times as much" in said, "A missed it"
    assert "cost 1.25 times as much." in said

    assert "no autoscaler kept it;" in Comparison(ours, (better,), dearer).verdict()
    bad = changed(ours, "Throughline", 2.0, over=many)
    said = Comparison(bad, (better,), changed(ours, "constant", 2.5, over=many)).verdict()
    assert "Throughline did not keep the SLO (5.0" in said
    assert "no autoscaler kept it either" in said
    assert "would not have kept it" in said
    assert "kept it, B, costs 1.50" in Comparison(bad, (dearer,)).verdict()
    assert Comparison(ours).verdict() == "Throughline kept the SLO (0.00% of the requests too late or lost)."
