"""Prometheus: one query per metric for all services, and one frame from the answers."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from throughline.adapters import prometheus_series
from throughline.adapters.prometheus_access import REPLY, Reply, connect
from throughline.adapters.prometheus_errors import unavailable
from throughline.adapters.prometheus_series import series_key
from throughline.api.monitoring import version_parts
from throughline.domain.control.observe.series import OLDEST_PROMETHEUS
from throughline.domain.observed import MetricsFrame, PodMetrics, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from throughline.adapters.prometheus_access import Access
    from throughline.domain.observed import PodKey, SeriesKey

log = structlog.get_logger("prometheus")

Sample = dict[str, Any]

# Annotation discovery in the style of Prometheus' own example names the pod's labels differently from a PodMonitor.
BY_POD = "namespace,pod,kubernetes_namespace,kubernetes_pod_name"
BY = f"{BY_POD},model"
# The labels of a series that come from the server. Series that differ only in others (job, endpoint, container, replica
# of an HA pair, cluster) were scraped twice, and are one.
OWN = f"{BY},version,gpu_uuid"
CONCURRENT_QUERIES = 4
WARNINGS_KEPT, ANNOTATION_LENGTH = 5, 200
# Of annotations that speak of the query, and not of its data. Before 2.54 Prometheus has them all among the warnings.
HINTS = "PromQL "


def queries(window: int) -> dict[str, str]:
    """PromQL by name. First, what was scraped twice becomes one series: the largest rate, since a Prometheus that has
    just started knows a part of the window only, and the mean of gauges. Then a model's series are added: those of its
    versions, and on a GPU the two with and without gpu_uuid.
    """

    def rate(metric: str, labels: str = OWN) -> str:
        return f"sum by ({BY})(max by ({labels})(rate({metric}[{window}s])))"

    def gpu(metric: str) -> str:
        return f"max by ({BY_POD},gpu_uuid)({metric})"

    return {
        "success": rate("nv_inference_request_success"),
        # What a caller gives up is no failure of the model; a Triton that does not tell the reasons counts none.
        "failure": rate('nv_inference_request_failure{reason!="CANCELED"}', f"{OWN},reason"),
        "cancelled": rate('nv_inference_request_failure{reason="CANCELED"}'),
        "items": rate("nv_inference_count"),
        "executions": rate("nv_inference_exec_count"),
        "request_us": rate("nv_inference_request_duration_us"),
        "queue_us": rate("nv_inference_queue_duration_us"),
        "compute_us": " + ".join(
            rate(f"nv_inference_compute_{part}_duration_us") for part in ("input", "infer", "output")
        ),
        "pending": f"sum by ({BY})(avg by ({OWN})(nv_inference_pending_request_count))",
        "pending_growth": f"sum by ({BY})(avg by ({OWN})(deriv(nv_inference_pending_request_count[{window}s])))",
        "age": f"time() - max by ({BY})(timestamp(nv_inference_request_success))",
        "p99": f'max by ({BY})(nv_inference_request_summary_us{{quantile="0.99"}})',
        # Of the fullest of a pod's GPUs.
        "gpu_memory": f"max by ({BY_POD})({gpu('nv_gpu_memory_used_bytes')} / {gpu('nv_gpu_memory_total_bytes')})",
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
# The metric that a query needs, for who has to find it missing.
METRIC_OF = {
    "failure": "nv_inference_request_failure",
    "items": "nv_inference_count",
    "executions": "nv_inference_exec_count",
    "request_us": "nv_inference_request_duration_us",
    "queue_us": "nv_inference_queue_duration_us",
    "compute_us": "nv_inference_compute_{input,infer,output}_duration_us",
    "pending": "nv_inference_pending_request_count",
    "p99": "nv_inference_request_summary_us",
}


class Client(Protocol):
    """A PrometheusConnect that also knows the server's version."""

    def custom_query(self, query: str, params: dict[str, str] | None = None) -> list[Sample]: ...

    def version(self) -> str | None: ...


class Prometheus:
    """MetricsPort."""

    def __init__(
        self, access: Access, *, window_seconds: int, timeout_seconds: float = 10, client: Client | None = None
    ) -> None:
        self._access = access
        self._window = window_seconds
        self._timeout = timeout_seconds
        self._client = client
        self._slots = asyncio.Semaphore(CONCURRENT_QUERIES)
        self._annotations: frozenset[str] = frozenset()
        self._version_known = False

    def _connect(self) -> Client:
        if self._client is None:
            self._client = connect(self._access, self._timeout)
        return self._client

    async def _ask(self, query: str, reply: Reply) -> list[Sample]:
        async with self._slots:
            token = REPLY.set(reply)  # the thread runs in a copy of this context
            try:
                return await asyncio.to_thread(self._connect().custom_query, query, dict(self._access.parameters))
            finally:
                REPLY.reset(token)

    async def frame(self) -> MetricsFrame | Unavailable:
        named, reply = queries(self._window), Reply()
        # One query first: a server that does not answer then costs one timeout and not a dozen.
        try:
            found: dict[str, list[Sample]] = {FIRST: await self._ask(named[FIRST], reply)}
        except Exception as error:  # noqa: BLE001 - whatever the client raises means that there are no metrics
            return unavailable(error, self._access, reply)
        await self._report_version()
        if found[FIRST]:  # else no server is scraped, or none has been yet: each service's condition says so
            names = [name for name in (*REQUIRED, *OPTIONAL) if name != FIRST]
            answers = await asyncio.gather(*(self._ask(named[name], reply) for name in names), return_exceptions=True)
            for name, answer in zip(names, answers, strict=True):
                if not isinstance(answer, BaseException):
                    found[name] = answer
                elif not isinstance(answer, Exception):
                    raise answer
                elif name in REQUIRED:
                    return unavailable(answer, self._access, reply)
                else:
                    log.warning("optional query failed", query=name, error=self._access.redact(str(answer)))
        frame = build_frame(found, time_seconds=time.time(), window_seconds=self._window)
        return replace(frame, warnings=self._report_annotations(reply))

    async def diagnose(self, frame: MetricsFrame, pods: Sequence[PodKey]) -> MetricsFrame:
        reply = Reply()
        try:
            facts = await prometheus_series.diagnose(lambda q: self._ask(q, reply), frame.series, pods, self._window)
        except Exception as error:  # noqa: BLE001 - as in `frame`, which is as good without
            log.warning("cannot find out why metrics are missing", error=self._access.redact(str(error)))
            return frame
        return replace(frame, series=facts)

    def _report_annotations(self, reply: Reply) -> tuple[str, ...]:
        """Log the warnings and infos of the answers, each when it is new. Returns the warnings that mean that an answer
        lacks a part, such as those of Thanos of a store that it cannot reach. Hints are not for the user: Prometheus
        has one for each of Triton's counters, since their names do not end in _total.
        """
        texts = {self._access.redact(text)[:ANNOTATION_LENGTH] for text in (*reply.warnings, *reply.infos)}
        hints = {text for text in texts if text.startswith(HINTS)}
        for text in sorted(texts - self._annotations):
            (log.debug if text in hints else log.warning)("annotation of an answer", annotation=text)
        self._annotations = frozenset(texts)
        return tuple(sorted(texts - hints))[:WARNINGS_KEPT]

    async def _report_version(self) -> None:
        """Log the server's version once."""
        if self._version_known:
            return
        self._version_known = True
        try:
            version = await asyncio.to_thread(self._connect().version)
        except Exception as error:  # noqa: BLE001 - the queries say what is wrong
            log.info("version of Prometheus not read", error=self._access.redact(str(error)))
            return
        url = self._access.base
        if version is None:
            log.info("the server does not tell a version of Prometheus, as Thanos and Mimir do not", url=url)
        elif version_parts(version) < version_parts(OLDEST_PROMETHEUS):
            log.warning("Prometheus is older than what works", url=url, version=version, oldest=OLDEST_PROMETHEUS)
        else:
            log.info("Prometheus answers", url=url, version=version)


def build_frame(found: Mapping[str, Sequence[Sample]], *, time_seconds: float, window_seconds: float) -> MetricsFrame:
    """The frame from the answers by query name; what is NaN or missing is not there."""
    values = {name: _by_key(samples, min if name == "age" else max) for name, samples in found.items()}
    p99, gpu, cancelled = (values.get(name, {}) for name in ("p99", "gpu_memory", "cancelled"))
    pods: dict[SeriesKey, PodMetrics] = {}
    for key in values.get("success", {}):
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
    return MetricsFrame(
        time_seconds=time_seconds,
        window_seconds=window_seconds,
        pods=pods,
        memory_used_ratio=memory,
        series=prometheus_series.facts(found, METRIC_OF),
    )


def _by_key(samples: Sequence[Sample], better: Callable[[float, float], float]) -> dict[SeriesKey, float]:
    """Values by namespace, pod and model. Where a pod is found under both namings of its labels, the better counts."""
    out: dict[SeriesKey, float] = {}
    for sample in samples:
        key, value = series_key(sample), float(sample["value"][1])
        if key is not None and math.isfinite(value):
            out[key] = better(out[key], value) if key in out else value
    return out
