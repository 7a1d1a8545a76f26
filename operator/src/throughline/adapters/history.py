"""Prometheus' memory: one rate of requests over the past, for a simulation of it."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from throughline.adapters.prometheus_access import CredentialsError, connect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from throughline.adapters.prometheus_access import Access

MIN_WINDOW_SECONDS = 60
MIN_STEP_SECONDS = 15
# Prometheus answers at most 11,000 points for a series.
MAX_POINTS = 10_000
TIMEOUT_SECONDS = 30.0


class HistoryError(Exception):
    """There is no history to simulate; the message says why and what to do."""


class RangeQuery(Protocol):
    """PrometheusConnect.custom_query_range."""

    def custom_query_range(
        self, query: str, start_time: datetime, end_time: datetime, step: str, params: dict[str, str]
    ) -> list[dict[str, Any]]: ...


def step_seconds(since_seconds: float) -> int:
    """Distance of the points: as near as scrapes usually are, further where that would be too many points."""
    return max(MIN_STEP_SECONDS, math.ceil(since_seconds / MAX_POINTS))


def request_rate_query(model: str, namespace: str, step: int) -> str:
    """PromQL for requests per second at all pods of a model, answered or failed, each point over the time before it.

    The namespace's label is `namespace` by a PodMonitor, `kubernetes_namespace` by annotation discovery. A series that
    was scraped twice, by two jobs, two replicas of Prometheus or under both namings, counts once.
    """
    window = max(MIN_WINDOW_SECONDS, step)

    def total(metric: str) -> str:
        by_monitor, by_annotation = (
            f"rate({metric}{{model={json.dumps(model)},{label}={json.dumps(namespace)}}}[{window}s])"
            for label in ("namespace", "kubernetes_namespace")
        )
        named = f'label_replace({by_annotation}, "pod", "$1", "kubernetes_pod_name", "(.+)")'
        return f"sum(max by (pod,version,gpu_uuid,reason)({by_monitor} or {named}))"

    return f"{total('nv_inference_request_success')} + ({total('nv_inference_request_failure')} or vector(0))"


def rate_series(
    access: Access, query: str, *, start_seconds: float, end_seconds: float, step: int, client: RangeQuery | None = None
) -> list[tuple[float, float]]:
    """(Unix time, requests per second), `step` seconds apart, times without a value left out; HistoryError else."""
    answer = _ask(client or connect(access, TIMEOUT_SECONDS), access, query, start_seconds, end_seconds, step)
    if len(answer) > 1:
        raise HistoryError(f"the query has {len(answer)} series, where one is needed; write it as sum(…): {query}")
    points = _points(answer[0]) if answer else []
    if len(points) < 2:
        raise HistoryError(
            f"Prometheus at {access.base} has {'one value only' if points else 'nothing'} for {query} in this time; "
            "check the query there: had the service requests, and do its series carry these labels? --query takes "
            "another, --since a longer time"
        )
    negative = next((value for _, value in points if value < 0), None)
    if negative is not None:
        raise HistoryError(f"the query gives {negative:g} requests per second; a rate is 0 or more: {query}")
    return points


def _ask(
    client: RangeQuery, access: Access, query: str, start_seconds: float, end_seconds: float, step: int
) -> Sequence[Mapping[str, Any]]:
    import requests  # noqa: PLC0415
    from prometheus_api_client.exceptions import PrometheusApiClientException  # noqa: PLC0415

    start, end = (datetime.fromtimestamp(seconds, UTC) for seconds in (start_seconds, end_seconds))
    where = f"Prometheus at {access.base}"
    try:
        return client.custom_query_range(query, start, end, str(step), dict(access.parameters))
    except CredentialsError as error:
        raise HistoryError(f"the credentials for {where} cannot be read: {error}") from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise HistoryError(
            f"{where} does not answer ({type(error).__name__}): check --prometheus; "
            "from outside the cluster, `kubectl port-forward -n NAMESPACE service/NAME 9090` makes it reachable"
        ) from error
    # No JSON, or JSON of something else: some other server answers there.
    except (PrometheusApiClientException, requests.RequestException, KeyError, TypeError, ValueError) as error:
        raise HistoryError(
            f"{where} refused the query {query}: {access.redact(str(error))[:300]}; check that --prometheus is the "
            "base of the Prometheus API, as http://HOST:9090"
        ) from error


def _points(series: Mapping[str, Any]) -> list[tuple[float, float]]:
    """What is NaN was not known."""
    pairs = ((float(time), float(value)) for time, value in series.get("values", ()))
    return [(time, value) for time, value in pairs if math.isfinite(value)]
