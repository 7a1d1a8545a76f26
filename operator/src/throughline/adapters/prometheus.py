"""Prometheus: one query per metric for all services, and one frame from the answers."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from throughline.domain.observed import MetricsFrame, PodMetrics, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = structlog.get_logger("prometheus")

Sample = dict[str, Any]
Key = tuple[str, str, str]

# Annotation discovery in the style of Prometheus' own example names the pod's labels differently from a PodMonitor.
BY = "namespace,pod,kubernetes_namespace,kubernetes_pod_name,model"
BY_POD = "namespace,pod,kubernetes_namespace,kubernetes_pod_name"
CONCURRENT_QUERIES = 4


def queries(window: int) -> dict[str, str]:
    """PromQL by name. GPU models expose two series, so every counter is summed."""

    def rate(metric: str) -> str:
        return f"sum by ({BY})(rate({metric}[{window}s]))"

    return {
        "success": rate("nv_inference_request_success"),
        # What a caller gives up is no failure of the model; a Triton that does not tell the reasons counts none.
        "failure": rate('nv_inference_request_failure{reason!="CANCELED"}'),
        "cancelled": rate('nv_inference_request_failure{reason="CANCELED"}'),
        "items": rate("nv_inference_count"),
        "executions": rate("nv_inference_exec_count"),
        "request_us": rate("nv_inference_request_duration_us"),
        "queue_us": rate("nv_inference_queue_duration_us"),
        "compute_us": " + ".join(
            rate(f"nv_inference_compute_{part}_duration_us") for part in ("input", "infer", "output")
        ),
        "pending": f"sum by ({BY})(nv_inference_pending_request_count)",
        "pending_growth": f"sum by ({BY})(deriv(nv_inference_pending_request_count[{window}s]))",
        "age": f"time() - max by ({BY})(timestamp(nv_inference_request_success))",
        "p99": f'max by ({BY})(nv_inference_request_summary_us{{quantile="0.99"}})',
        "gpu_memory": f"sum by ({BY_POD})(nv_gpu_memory_used_bytes) / sum by ({BY_POD})(nv_gpu_memory_total_bytes)",
        "memory": (
            'max by (namespace,pod)(container_memory_working_set_bytes{container="triton"}) / '
            'max by (namespace,pod)(container_spec_memory_limit_bytes{container="triton"} > 0)'
        ),
    }


# A pod without any one of these is left out of the frame: unknown, not zero.
REQUIRED = (
    "success",
    "failure",
    "items",
    "executions",
    "request_us",
    "queue_us",
    "compute_us",
    "pending",
    "pending_growth",
    "age",
)
FIRST = "age"
OPTIONAL = ("p99", "cancelled", "gpu_memory", "memory")


class Query(Protocol):
    """PrometheusConnect.custom_query."""

    def custom_query(self, query: str) -> list[Sample]: ...


def connect(url: str, timeout_seconds: float) -> Any:
    """A PrometheusConnect that gives up after one timeout."""
    from prometheus_api_client import PrometheusConnect  # noqa: PLC0415 - requests; only where it is used
    from urllib3.util.retry import Retry  # noqa: PLC0415

    # Without a timeout requests waits for ever; without this Retry a dead server costs four of them.
    return PrometheusConnect(url=url, timeout=timeout_seconds, retry=Retry(total=0))


class Prometheus:
    """MetricsPort."""

    def __init__(
        self, url: str, *, window_seconds: int, timeout_seconds: float = 10, client: Query | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._window = window_seconds
        self._timeout = timeout_seconds
        self._client = client
        self._slots = asyncio.Semaphore(CONCURRENT_QUERIES)

    def _connect(self) -> Query:
        if self._client is None:
            self._client = connect(self._url, self._timeout)
        return self._client

    async def _ask(self, query: str) -> list[Sample]:
        async with self._slots:
            return await asyncio.to_thread(self._connect().custom_query, query)

    async def frame(self) -> MetricsFrame | Unavailable:
        named = queries(self._window)
        # One query first: a server that does not answer then costs one timeout and not a dozen.
        try:
            found: dict[str, list[Sample]] = {FIRST: await self._ask(named[FIRST])}
        except Exception as error:  # noqa: BLE001 - whatever the client raises means that there are no metrics
            return self._unavailable(error)
        if not found[FIRST]:  # no server is scraped, or none has been yet: each service's condition says so
            return MetricsFrame(time_seconds=time.time(), window_seconds=self._window)
        names = [name for name in (*REQUIRED, *OPTIONAL) if name != FIRST]
        answers = await asyncio.gather(*(self._ask(named[name]) for name in names), return_exceptions=True)
        for name, answer in zip(names, answers, strict=True):
            if not isinstance(answer, BaseException):
                found[name] = answer
            elif not isinstance(answer, Exception):
                raise answer
            elif name in REQUIRED:
                return self._unavailable(answer)
            else:
                log.warning("optional query failed", query=name, error=str(answer))
        return build_frame(found, time_seconds=time.time(), window_seconds=self._window)

    def _unavailable(self, error: Exception) -> Unavailable:
        import requests  # noqa: PLC0415

        if isinstance(error, (requests.ConnectionError, requests.Timeout)):
            return Unavailable(
                "PrometheusUnreachable",
                f"Prometheus at {self._url} does not answer ({type(error).__name__}): "
                "check --prometheus-url, the network policy and that Prometheus runs",
            )
        return Unavailable(
            "PrometheusQueryFailed",
            f"Prometheus at {self._url} refused a query: {str(error)[:300]}; "
            "check that --prometheus-url is the base of the Prometheus API",
        )


def build_frame(found: Mapping[str, Sequence[Sample]], *, time_seconds: float, window_seconds: float) -> MetricsFrame:
    """The frame from the answers by query name; what is NaN or missing is not there."""
    values = {name: _by_key(samples) for name, samples in found.items()}
    p99, gpu, cancelled = (values.get(name, {}) for name in ("p99", "gpu_memory", "cancelled"))
    pods: dict[Key, PodMetrics] = {}
    for key in values["success"]:
        row = {name: values[name].get(key) for name in REQUIRED}
        if any(value is None for value in row.values()):
            continue
        known = {name: value for name, value in row.items() if value is not None}
        pods[key] = PodMetrics(
            success_rate=known["success"],
            failure_rate=known["failure"],
            items_rate=known["items"],
            executions_rate=known["executions"],
            request_us_rate=known["request_us"],
            queue_us_rate=known["queue_us"],
            compute_us_rate=known["compute_us"],
            pending=known["pending"],
            pending_growth_rate=known["pending_growth"],
            p99_us=p99.get(key),
            age_seconds=max(0.0, known["age"]),
            gpu_memory_used_ratio=gpu.get((key[0], key[1], "")),
            cancelled_rate=cancelled.get(key, 0.0),
        )
    memory = {(namespace, pod): ratio for (namespace, pod, _), ratio in values.get("memory", {}).items()}
    return MetricsFrame(time_seconds=time_seconds, window_seconds=window_seconds, pods=pods, memory_used_ratio=memory)


def _by_key(samples: Sequence[Sample]) -> dict[Key, float]:
    out: dict[Key, float] = {}
    for sample in samples:
        labels = sample["metric"]
        namespace = labels.get("namespace") or labels.get("kubernetes_namespace")
        pod = labels.get("pod") or labels.get("kubernetes_pod_name")
        value = float(sample["value"][1])
        if namespace and pod and math.isfinite(value):
            out[(namespace, pod, labels.get("model", ""))] = value
    return out
