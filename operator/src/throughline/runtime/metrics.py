"""The operator's own metrics: controller-runtime's names under our prefix, so that known dashboards and alerts fit."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """All of them, in a registry of their own, so that tests can have as many as they like."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        own = {"registry": self.registry, "namespace": "throughline"}
        ProcessCollector(registry=self.registry)
        self.reconcile_total = Counter("reconcile", "Reconciles by result", ["controller", "result"], **own)
        self.reconcile_errors = Counter("reconcile_errors", "Reconciles that failed", ["controller"], **own)
        self.reconcile_time = Histogram(
            "reconcile_time_seconds", "Duration of a reconcile", ["controller"], buckets=SECONDS, **own
        )
        self.active_workers = Gauge("active_workers", "Reconciles under way", ["controller"], **own)
        self.max_concurrent = Gauge("max_concurrent_reconciles", "Workers", ["controller"], **own)
        self.queue_depth = Gauge("workqueue_depth", "Keys that wait for a worker", ["name"], **own)
        self.longest_running = Gauge(
            "workqueue_longest_running_processor_seconds", "Age of the longest reconcile under way", ["name"], **own
        )
        self.requests = Counter("rest_client_requests", "Requests to the API server", ["code", "method"], **own)
        self.leader = Gauge("leader_election_master_status", "1 where this process leads", ["name"], **own)
        self.watch_restarts = Counter("watch_restarts", "Watches that had to list again", ["kind"], **own)
        self.metrics_available = Gauge("metrics_source_available", "1 when Prometheus answered last time", **own)
        self.decisions = Counter("decisions", "Entries of the ledger", ["action"], **own)
        self.conditions = Counter("condition_transitions", "Conditions that changed", ["type", "status"], **own)

    def observe_request(self, method: str, status: int) -> None:
        self.requests.labels(code=str(status) if status else "<error>", method=method).inc()
