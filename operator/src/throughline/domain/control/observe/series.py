"""Why metrics of serving pods are missing: what Prometheus has of them, in words, and what to type."""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from throughline.api.monitoring import version_parts
from throughline.domain.observed import SeriesFacts, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.domain.observed import MetricsFrame, PodView, ServiceView

# The release that brought --model-config-name, the newest flag without which no server starts.
OLDEST_TRITON, OLDEST_TRITON_IMAGE = "2.46.0", "24.05"
# The first that tells its version; what the queries need is older.
OLDEST_PROMETHEUS = "2.14.0"
# So long it may take until a new pod is found, scraped twice, and asked for.
FIRST_SCRAPES_SECONDS = 180.0
SUMMARY = "nv_inference_request_summary_us"
METRIC = "nv_inference_request_success"
# Scrapes for each window, so that one may fail: as the documentation of Prometheus advises.
SCRAPES_A_WINDOW = 4
NAMED = 3


def partial(frame: MetricsFrame, pods: Sequence[PodView]) -> Unavailable | None:
    """Nothing may be concluded of a service whose pods are not all in an answer that lacks a part."""
    if not frame.warnings:
        return None
    lacking = [p.name for p in pods if p.ready and not p.terminating and _due(p, frame.window_seconds)]
    if not lacking:
        return None
    return Unavailable(
        "PartialAnswer",
        f"the answer of Prometheus lacks a part, and metrics of {_names(lacking)} are not in it; it warns: "
        f"{'; '.join(frame.warnings)}. Bring back the store or replica that it names",
    )


def missing(view: ServiceView, serving: Sequence[PodView]) -> Unavailable | None:
    """Why pods that have served for long have no metrics, or have not all; None: they have, or are too new."""
    old = next((p for p in serving if _too_old(p)), None)
    if old is not None:
        return Unavailable(
            "TritonTooOld",
            f"pod {old.name} runs Triton {old.server_version}; the oldest that works is {OLDEST_TRITON} (container "
            f"{OLDEST_TRITON_IMAGE}): set spec.runtime.image, or the pool's spec.image",
        )
    lacking = [p for p in serving if _due(p, view.metrics_window_seconds)]
    if lacking:
        found = _why(view, lacking[0])
        if len(lacking) == len(serving):
            return found
        return Unavailable(found.reason, f"{len(lacking)} of {len(serving)} pods: {found.message}")
    return _without_latency(view, serving)


def _due(pod: PodView, window_seconds: float) -> bool:
    """Whether the pod has no metrics although it is old enough for them."""
    return pod.metrics is None and pod.ready_seconds > max(FIRST_SCRAPES_SECONDS, 2 * window_seconds)


def _too_old(pod: PodView) -> bool:
    return bool(pod.server_version) and version_parts(pod.server_version or "") < version_parts(OLDEST_TRITON)


def _names(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _why(view: ServiceView, pod: PodView) -> Unavailable:
    """The reason for one pod."""
    facts = view.series or SeriesFacts()
    key = (view.namespace, pod.name)
    models = facts.models.get(key)
    up, asked = facts.up.get(key), key in facts.up
    if lacking := facts.missing.get((*key, view.model)):
        return _metric_missing(pod, lacking)
    if asked and up is False:
        return Unavailable(
            "ScrapeFailed",
            f"Prometheus finds pod {pod.name} and cannot scrape its port 8002; its page Status > Target health shows "
            "the error. A NetworkPolicy: name the namespace of Prometheus in settings.prometheusNamespaces of the "
            "chart; a mesh with strict mTLS: exclude port 8002; sample_limit: raise it",
        )
    if models is not None and view.model not in models:
        return Unavailable(
            "ModelLabelDiffers",
            f"the series of pod {pod.name} have model={_names(sorted(models))} where model={view.model} is expected: "
            "remove the metric_relabel_configs (metricRelabelings) that change the label model",
        )
    if models is not None:
        return _no_rate(view, pod, facts.samples.get(key, ()))
    if view.model in facts.unlabelled:
        return Unavailable(
            "LabelsMissing",
            f"Prometheus has {METRIC} of model {view.model} without the labels namespace and pod: add them by "
            "relabel_configs from __meta_kubernetes_namespace and __meta_kubernetes_pod_name (a PodMonitor does)",
        )
    if asked and up:
        return Unavailable(
            "MetricMissing",
            f"Prometheus scrapes pod {pod.name} and has none of its nv_inference_* metrics: remove the "
            "metric_relabel_configs (metricRelabelings) that drop them, or scrape port 8002",
        )
    return Unavailable(
        "NoSeries",
        f"Prometheus does not scrape pod {pod.name}: let it select the PodMonitor {view.name} by namespace and labels "
        "(set settings.podMonitorLabels of the chart to what it selects; for kube-prometheus-stack that is the label "
        "release with the name of its Helm release), or discover pods by the annotation prometheus.io/scrape; their "
        "metrics are on port 8002",
    )


def _metric_missing(pod: PodView, metrics: Sequence[str]) -> Unavailable:
    server = f"Triton {pod.server_version}" if pod.server_version else "Triton"
    return Unavailable(
        "MetricMissing",
        f"pod {pod.name} ({server}) has no {', '.join(metrics)}: remove what drops it in Prometheus "
        f"(metricRelabelings), or serve with Triton {OLDEST_TRITON} (container {OLDEST_TRITON_IMAGE}) or later",
    )


def _no_rate(view: ServiceView, pod: PodView, times: Sequence[float]) -> Unavailable:
    """Series are there, and no rate can be made of them."""
    window = view.metrics_window_seconds
    interval = _interval(times)
    if len(times) < 2 or (interval is not None and 2 * interval > window):
        pace = "seldom" if interval is None else f"every {interval} s"
        enough = "" if interval is None else f" to {SCRAPES_A_WINDOW * interval}"
        return Unavailable(
            "TooFewSamples",
            f"Prometheus scrapes pod {pod.name} {pace}, so that the operator's window of {window:g} s holds fewer than "
            f"two samples and no rate is known: raise settings.metricsWindowSeconds of the chart{enough}, or scrape "
            f"at least every {window / SCRAPES_A_WINDOW:g} s (scrape_interval; of the PodMonitor: interval)",
        )
    return Unavailable(
        "StaleSeries",
        f"the newest sample of pod {pod.name} in Prometheus is older than the window of {window:g} s: see whether its "
        "target is still scraped, and whether remote write or the store behind it lags",
    )


def _interval(times: Sequence[float]) -> int | None:
    """Whole seconds between scrapes, rounded so that the text does not change with each."""
    gaps = [later - earlier for earlier, later in pairwise(times)]
    if not gaps:
        return None
    seconds = median(gaps)
    return max(1, round(seconds) if seconds < 10 else 5 * round(seconds / 5))


def _without_latency(view: ServiceView, serving: Sequence[PodView]) -> Unavailable | None:
    """Without the summary no p99 is ever known. A model with response_cache has none."""
    if view.series is None:
        return None
    pod = next(
        (p for p in serving if SUMMARY in view.series.missing.get((view.namespace, p.name, view.model), ())), None
    )
    if pod is None or pod.ready_seconds <= FIRST_SCRAPES_SECONDS:
        return None
    return Unavailable(
        "MetricMissing",
        f"pod {pod.name} has no {SUMMARY}, so its p99 is not known: Triton makes none for a model with response_cache; "
        "else remove what drops it in Prometheus (metricRelabelings)",
    )
