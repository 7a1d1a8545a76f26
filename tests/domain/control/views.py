"""Small hand-made views for the tests of single steps."""

from throughline.api.batching import BatchSettings
from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.status import InferenceServiceStatus
from throughline.domain.control.estimate import service_time
from throughline.domain.control.estimate.service_time import Tracked
from throughline.domain.control.loop import build_context
from throughline.domain.control.model.service_time_model import ServiceTimeModel
from throughline.domain.control.observe.counters import Seen
from throughline.domain.control.predict.outcome import Problem
from throughline.domain.control.state import ControllerState
from throughline.domain.observed import BatchStatistic, PodMetrics, PodView, ServiceView

UNBATCHED = BatchSettings(max_batch_size=1)
BATCHED = BatchSettings(max_batch_size=16)
NOW = 1_700_000_100.0
PROBLEM = Problem(
    curve=ServiceTimeModel(4_000.0, 200.0), slo_us=1e5, demand_per_second=400.0, in_flight_per_replica=1.0, biases=(),
    spreads=(), default_bias=1.0, dispersion=1.0, price_per_hour=1.0, max_replicas=20, min_replicas=1,
)  # fmt: skip


def metrics(
    rate=100.0, *, latency_us=5000.0, failures=0.0, pending=0.0, growth=0.0, compute_us=4000.0, batch=1.0, **kw
):
    return PodMetrics(
        success_rate=rate,
        failure_rate=failures,
        items_rate=rate,
        executions_rate=rate / batch,
        request_us_rate=rate * latency_us,
        queue_us_rate=0.0,
        compute_us_rate=rate * compute_us,
        pending=pending,
        pending_growth_rate=growth,
        p99_us=latency_us * 2,
        age_seconds=2.0,
        **kw,
    )


def pod(name, m=None, settings=UNBATCHED, *, ready_seconds=600.0, batch_statistics=()):
    return PodView(
        name=name,
        uid=name,
        ip="10.0.0.1",
        ready=True,
        ready_seconds=ready_seconds,
        terminating=False,
        template_hash="t",
        revision="r",
        settings=settings,
        metrics=m,
        batch_statistics=batch_statistics,
    )


def batch_pod(rows, instances=1, uid="a"):
    """A pod with the counters {batch size: (executions, compute µs)}."""
    statistics = tuple(BatchStatistic(b, n, round(1000 * us)) for b, (n, us) in sorted(rows.items()))
    return pod(uid, settings=BatchSettings(max_batch_size=64, instances=instances), batch_statistics=statistics)


def warm(estimator, pods, at_seconds):
    """The estimator that has seen the pods before they executed anything, warm: all that they execute counts."""
    none = {p.uid: tuple(BatchStatistic(r.batch_size, 0, 0) for r in p.batch_statistics) for p in pods}
    new = {p.uid: Tracked(Seen(p.settings, none[p.uid], at_seconds)) for p in pods if p.uid not in estimator.pods}
    return estimator._replace(pods={**new, **estimator.pods})


def context_of(view, state=None):
    """What is seen, estimated and predicted of a view."""
    return build_context(view, (state or ControllerState()).of(view.model_hash, view.pool.name if view.pool else ""))


def observe(estimator, pods, now_seconds):
    """As `service_time.observe`, of pods that are warm."""
    return service_time.observe(warm(estimator, pods, now_seconds), pods, now_seconds)


def view(*pods, settings=UNBATCHED, slo_ms=100, **kw):
    spec = InferenceServiceSpec.model_validate(
        {
            "model": {"storage": {"uri": "pvc://models/m"}, "backend": "python"},
            "slo": {"latencyP99Milliseconds": slo_ms},
            "placement": {"pools": [{"name": "gpu"}]},
        }
    )
    values = {
        "now_seconds": NOW,
        "name": "m",
        "namespace": "ns",
        "generation": 1,
        "spec": spec,
        "status": InferenceServiceStatus(),
        "pool": None,
        "pods": tuple(pods),
        "replicas": len(pods),
        "settings": settings,
        "model_hash": "r",
        "metrics_unavailable": None,
        "metrics_window_seconds": 20.0,
    }
    return ServiceView(**{**values, **kw})
