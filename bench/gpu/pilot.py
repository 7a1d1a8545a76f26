"""What the operator does for one service, without Kubernetes: its own code looks, decides, loads and verifies."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from throughline.adapters.prometheus import Prometheus
from throughline.adapters.prometheus_access import Access
from throughline.api.status import BatchStatus, InferenceServiceStatus, ReplicaStatus
from throughline.domain.control.loop import decide
from throughline.domain.manifests import model_hash
from throughline.domain.observed import MetricsFrame, PodView, PoolView, ServiceView, Unavailable
from throughline.domain.records import settings_text, with_records
from throughline.reconcile import batch, servers
from throughline.reconcile.context import Deps, ServiceState, Tuning
from throughline.reconcile.settings_text import recognised

from bench.gpu.server import ADDRESS, KEY, NAME, NAMESPACE, Query, port

if TYPE_CHECKING:
    from collections.abc import Callable

    from throughline.api.batching import BatchSettings

    from bench.gpu.server import Place

METRICS_WINDOW_SECONDS, POLL_SECONDS = 20, 5  # as on the local cluster


class Operator:
    """One service under the operator's own code; what is not there is Kubernetes, so this is what keeps the status."""

    def __init__(self, place: Place, settings: BatchSettings, say: Callable[[str], None]) -> None:
        self.place, self.settings, self.say, self.began = place, settings, say, time.time()
        self.pool = PoolView("gpu", place.pool, 1, 1)
        self.revision = model_hash(place.spec, NAME)
        self.status = InferenceServiceStatus()
        self.state = ServiceState(uid=NAME, key=KEY)
        self.prometheus = Prometheus(Access(""), window_seconds=METRICS_WINDOW_SECONDS, client=Query())
        self.frame: MetricsFrame | Unavailable = Unavailable("PrometheusUnreachable", "not asked yet")
        tuning = Tuning(decision_interval=POLL_SECONDS, metrics_window=METRICS_WINDOW_SECONDS)
        none: Any = None  # Kubernetes
        self.deps = Deps(
            kube=none, triton=port(), objects=none, cluster=none, guard=none, hooks=none, options=none,
            frame=lambda: self.frame, tuning=tuning,
        )  # fmt: skip
        self.conditions = ""
        self.changed = time.monotonic()

    async def view(self) -> ServiceView:
        """As reconcile.gather puts it together."""
        spec, now = self.place.spec, time.time()
        self.frame = frame = await self.prometheus.frame()
        seen = isinstance(frame, MetricsFrame)
        pod = PodView(
            name=NAME, uid=NAME, ip=ADDRESS, ready=True, ready_seconds=now - self.began, terminating=False,
            template_hash="", revision=self.revision, container_id=NAME,
            metrics=frame.pods.get((NAMESPACE, NAME, NAME)) if isinstance(frame, MetricsFrame) else None,
        )  # fmt: skip
        (pod,) = await servers.ask(self.deps, self.state, spec, NAME, [pod], frozenset({NAME}))
        pod = replace(pod, settings=recognised(spec.model, pod.settings, (self.state.last_settings, self.settings)))
        return ServiceView(
            now_seconds=now, name=NAME, namespace=NAMESPACE, generation=1, spec=spec, status=self.status,
            pool=self.pool, pods=(pod,), replicas=1, settings=self.settings, model_hash=self.revision,
            metrics_unavailable=None if seen else frame,  # type: ignore[arg-type]
            metrics_window_seconds=METRICS_WINDOW_SECONDS,
            metrics_time_seconds=frame.time_seconds if isinstance(frame, MetricsFrame) else None,
            refused_settings=tuple(self.state.newly_refused.items()),
        )  # fmt: skip

    async def look(self) -> float:
        """One pass, as reconcile.service makes it; seconds until the next."""
        state, spec, view = self.state, self.place.spec, await self.view()
        decision, state.memory = decide(view, state.memory)
        state.newly_refused.clear()
        state.last_settings = decision.settings
        todo = batch.differing(spec, decision, view.pods, self.revision)
        until = time.time() + self.deps.tuning.batch_apply_seconds
        tried = await batch.load(self.deps, state, spec, NAME, self.pool, todo, until=until)
        if not (tried.refused or tried.unfinished):
            self.settings = decision.settings
        self.status = InferenceServiceStatus(
            control=decision.control,
            decisions=with_records(self.status.decisions, decision.records),
            replicas=ReplicaStatus(desired=1, ready=1),
            batch=BatchStatus(settings=self.settings),
            slo=decision.slo,
        )
        self.conditions = ", ".join(f"{c.type} {c.status} {c.reason}" for c in decision.conditions)
        if decision.settings != view.settings:
            self.changed = time.monotonic()
        for record in decision.records:
            where = f" [{settings_text(record.settings)}]" if record.settings else ""
            self.say(f"{record.action} {record.reason}{where}: {record.message}\n{'':10}{record.inputs}\n{'':10}"
                f"predicted {record.predicted or '-'}")  # fmt: skip
            for other in record.alternatives:
                self.say(f"{'':10}{settings_text(other.settings)}: {other.capacity}, p99 {other.latency_p99}, "
                    f"{other.verdict}")  # fmt: skip
        metrics = view.pods[0].metrics
        if metrics is not None:
            size = metrics.items_rate / max(metrics.executions_rate, 1e-9)
            self.say(f"seen {settings_text(self.settings)}: {metrics.success_rate:.0f}/s, batches of {size:.1f}, "
                f"p99 {(metrics.p99_us or 0) / 1000:.1f} ms")  # fmt: skip
        return min(POLL_SECONDS, decision.requeue_seconds)

    async def tune(self, longest_seconds: float, quiet_seconds: float) -> None:
        """Until nothing has changed for so long."""
        end = time.monotonic() + longest_seconds
        while (now := time.monotonic()) < end and now - self.changed < quiet_seconds:
            pause = await self.look()
            await asyncio.sleep(pause)
