"""The operator's own metrics: controller-runtime's names under our prefix, so that known dashboards and alerts fit."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from throughline.api.base import ConditionStatus
from throughline.domain.conditions import ACCURACY_PASSING, DRIFT_WITHIN_BOUNDS, READY, SLO_MET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.base import Condition

PREFIX = "throughline"
SHOWN = (READY, SLO_MET, ACCURACY_PASSING, DRIFT_WITHIN_BOUNDS)  # of each service, for alerts
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """All of them, in a registry of their own, so that tests can have as many as they like."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.reconcile_total = self._counter("reconcile", "Reconciles by result", "controller", "result")
        self.reconcile_errors = self._counter("reconcile_errors", "Reconciles that failed", "controller")
        self.reconcile_time = Histogram(
            "reconcile_time_seconds",
            "Duration of a reconcile",
            ["controller"],
            namespace=PREFIX,
            registry=self.registry,
            buckets=SECONDS,
        )
        self.active_workers = self._gauge("active_workers", "Reconciles under way", "controller")
        self.max_concurrent = self._gauge("max_concurrent_reconciles", "Workers", "controller")
        self.queue_depth = self._gauge("workqueue_depth", "Keys that wait for a worker", "name")
        self.longest_running = self._gauge(
            "workqueue_longest_running_processor_seconds", "Age of the longest reconcile under way", "name"
        )
        self.requests = self._counter("rest_client_requests", "Requests to the API server", "code", "method")
        self.leader = self._gauge("leader_election_master_status", "1 where this process leads", "name")
        self.watch_restarts = self._counter("watch_restarts", "Watches that listed again", "kind")
        self.metrics_available = self._gauge("metrics_source_available", "1 when Prometheus answered last time")
        self.metrics_warnings = self._gauge("metrics_source_warnings", "Warnings that the last answers lack a part")
        self.decisions = self._counter("decisions", "Lines of the ledger", "action")
        self.conditions = self._counter("condition_transitions", "Conditions that changed", "type", "status")
        self.condition = self._gauge(
            "inferenceservice_condition", "1 True, 0 False; absent while it is Unknown", "namespace", "name", "type"
        )
        self.evaluation_runs = self._counter("evaluation_runs", "Evaluations that ended, by verdict", "outcome")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace=PREFIX, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, namespace=PREFIX, registry=self.registry)

    def observe_request(self, method: str, status: int) -> None:
        self.requests.labels(code=str(status) if status else "<error>", method=method).inc()

    def decided(self, action: str) -> None:
        self.decisions.labels(action=str(action)).inc()

    def observed(self, key: tuple[str, str], conditions: Sequence[Condition]) -> None:
        """Unknown is no number: the series is not there then."""
        for condition in conditions:
            if condition.type not in SHOWN:
                continue
            labels = (*key, condition.type)
            if condition.status == ConditionStatus.UNKNOWN:
                with contextlib.suppress(KeyError):
                    self.condition.remove(*labels)
            else:
                self.condition.labels(*labels).set(condition.status == ConditionStatus.TRUE)

    def forgotten(self, key: tuple[str, str]) -> None:
        for type_ in SHOWN:
            with contextlib.suppress(KeyError):
                self.condition.remove(*key, type_)

    def evaluated(self, outcome: str) -> None:
        self.evaluation_runs.labels(outcome=str(outcome)).inc()

    def transitioned(self, type_: str, status: str) -> None:
        self.conditions.labels(type=type_, status=str(status)).inc()
