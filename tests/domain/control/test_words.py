"""What records and conditions say: the same quantity by the same name, and what is, not what is to be."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import pytest
from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.status import ControlStatus, InferenceServiceStatus, ServiceTime
from throughline.domain.control.act import scaling
from throughline.domain.control.act.batch_step import BatchStep
from throughline.domain.control.act.batching import _gain_text
from throughline.domain.control.act.state import ActState
from throughline.domain.control.loop import decide
from throughline.domain.control.optimise.exploration import ProposedChange
from throughline.domain.control.predict.outcome import Candidate
from throughline.domain.control.state import ControllerState
from throughline.domain.observed import Unavailable
from views import BATCHED, NOW, PROBLEM, UNBATCHED, context_of, metrics, pod, view

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings

GONE = Unavailable("PrometheusUnreachable", "Prometheus does not answer")


def candidate(settings: BatchSettings, needed: int | None, replicas: int) -> Candidate:
    return Candidate(settings, 100.0, needed, replicas, 5000.0, 1.0, 1.0, 90.0)


def condition(decision, type_):
    return next(c for c in decision.conditions if c.type == type_)


def fixed(settings: BatchSettings) -> InferenceServiceSpec:
    spec = view().spec.to_wire()
    return InferenceServiceSpec.model_validate(
        {**spec, "batching": {"mode": "Fixed", "fixed": settings.to_wire()}},
    )


def test_a_hold_records_the_replicas_and_settings_that_are_held():
    pods = [pod(f"p{i}", metrics()) for i in range(5)]
    decision, _ = decide(view(*pods, metrics_unavailable=GONE), ControllerState())
    (held,) = decision.records
    assert (held.action, held.replicas, held.settings) == ("Hold", 5, UNBATCHED)


def test_settings_that_no_number_of_replicas_could_serve_are_said_to_be_so():
    best, current = candidate(BATCHED, 4, 4), candidate(UNBATCHED, None, 10)
    said = _gain_text(ProposedChange(best, current, (best, current)))
    assert said == "4 replicas suffice; with the settings in force no number of replicas meets the SLO"
    assert (
        _gain_text(ProposedChange(candidate(BATCHED, 1, 1), candidate(UNBATCHED, 3, 3), ()))
        == "1 replica suffices instead of 3"
    )


def test_settings_are_in_force_only_once_every_pod_has_them():
    both = [pod("new", metrics(), BATCHED), pod("old", metrics(), UNBATCHED)]
    seen = dataclasses.replace(view(*both, settings=BATCHED), spec=fixed(BATCHED))
    loading = condition(decide(seen, ControllerState())[0], "BatchTuned")
    assert (loading.status, loading.reason) == ("False", "Loading")
    assert "not in force yet on pod old" in loading.message
    done = dataclasses.replace(seen, pods=tuple(dataclasses.replace(p, settings=BATCHED) for p in both))
    assert condition(decide(done, ControllerState())[0], "BatchTuned").reason == "Fixed"


def missing_the_slo(service_time: ServiceTime, *, pods: int, rate: float, ready_seconds: float = 600.0):
    """Settings that cannot be changed, and a p99 above the SLO."""
    spec = InferenceServiceSpec.model_validate({**fixed(UNBATCHED).to_wire(), "scaling": {"maxReplicas": pods}})
    status = InferenceServiceStatus(control=ControlStatus(model_hash="r", service_time=service_time))
    rates = metrics(rate, latency_us=60_000.0)
    seen = view(*(pod(f"p{i}", rates, ready_seconds=ready_seconds) for i in range(pods)), spec=spec, status=status)
    return decide(seen, ControllerState())[0]


def test_nobody_is_told_to_raise_the_slo_while_the_model_warms_up():
    slow = ServiceTime(alpha_microseconds=200_000, beta_microseconds=10, largest_batch=1, executions=1000)
    assert condition(missing_the_slo(slow, pods=1, rate=1.0), "SLOMet").reason == "SLOInfeasible"
    for new in (
        missing_the_slo(slow, pods=1, rate=1.0, ready_seconds=30.0),
        missing_the_slo(slow.model_copy(update={"executions": 20}), pods=1, rate=1.0),
    ):
        assert condition(new, "SLOMet").reason == "Converging"


@pytest.mark.parametrize(
    ("rate", "words"), [(80.0, "raise it to "), (4000.0, "more than twice as many would be needed")]
)
def test_no_number_of_replicas_far_beyond_the_bounds_is_advised(rate, words):
    known = ServiceTime(alpha_microseconds=10_000, beta_microseconds=10, largest_batch=1, executions=1000)
    told = condition(missing_the_slo(known, pods=4, rate=rate), "SLOMet")
    assert told.reason == "AtMaxReplicas"
    assert words in told.message
    assert not [n for n in re.findall(r"[0-9]+", told.message) if int(n) > 8], told.message


@pytest.mark.parametrize(("before", "told"), [(8, 8), (2, 5)])
def test_how_many_replicas_would_be_needed_does_not_change_with_each_sample(monkeypatch, before, told):
    """On the cluster AtMaxReplicas named 5, 7, 5, 6, 8 replicas within a minute, and each was written."""
    ctx = context_of(view(*(pod(n, metrics(200)) for n in "ab"), replicas=2))
    scaled = ctx.view.spec.scaling.model_copy(update={"max_replicas": 2})
    ctx = dataclasses.replace(
        ctx,
        observation=ctx.observation._replace(
            max_replicas=2,
            view=dataclasses.replace(ctx.view, spec=ctx.view.spec.model_copy(update={"scaling": scaled})),
        ),
        estimates=ctx.estimates._replace(target_demand=500.0),
        problem=PROBLEM._replace(max_replicas=2),
        state=ActState(needed=((NOW - 10.0, before),)),
    )
    monkeypatch.setattr(scaling, "_needed", lambda *_: (5, 5))
    assert scaling._auto(ctx, BatchStep(UNBATCHED), 2).needed == told
