"""Reasons of MetricsAvailable: what Prometheus has of the serving pods."""

from __future__ import annotations

from throughline.domain.condition_types import METRICS_AVAILABLE, Meaning, Nature

_G, _P, _F, _U = Nature.GOOD, Nature.PROGRESS, Nature.FAULT, Nature.USER
METRICS_REASONS = (
    Meaning(METRICS_AVAILABLE, "Fresh", _G, "Prometheus has fresh metrics of the serving pods."),
    Meaning(
        METRICS_AVAILABLE,
        "NoServingPod",
        _P,
        "No pod serves, so there is nothing to measure.",
        "See WorkloadReady and ModelReady.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "AwaitingFirstScrape",
        _P,
        "The pods are new; a rate needs two scrapes.",
        "Wait; after three minutes the condition says what is missing.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "NoSeries",
        _F,
        "Prometheus does not scrape the pods; everything is held as it is.",
        "Have Prometheus select the PodMonitor (settings.podMonitorLabels of the chart; for kube-prometheus-stack its "
        "label release), or discover pods by their annotations: port 8002.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "ScrapeFailed",
        _F,
        "Prometheus finds a pod and cannot scrape it.",
        "See Status > Target health in Prometheus; allow it port 8002 (settings.prometheusNamespaces).",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "TooFewSamples",
        _U,
        "Prometheus scrapes so seldom that the operator's window holds fewer than two samples.",
        "Raise settings.metricsWindowSeconds to four scrape intervals, or scrape more often.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "StaleSeries",
        _F,
        "The newest samples in Prometheus are older than the operator's window.",
        "See whether the targets are still scraped, and whether remote write lags.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "MetricMissing",
        _U,
        "A metric that the operator needs is not in Prometheus.",
        "Remove the relabeling that drops it, or serve with a newer Triton (2.46.0, container 24.05, or later).",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "LabelsMissing",
        _U,
        "The series of the model do not have the labels namespace and pod.",
        "Add them by relabel_configs, or use the PodMonitor.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "ModelLabelDiffers",
        _U,
        "The series of the pods name another model.",
        "Remove the relabeling that changes the label model.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "PartialAnswer",
        _F,
        "Prometheus warns that its answer lacks a part, and pods of the service are not in it; everything is held.",
        "Bring back the store or replica that the warning names (Thanos, Mimir, remote read).",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "TritonTooOld",
        _U,
        "The server is older than the oldest Triton that works: 2.46.0, container 24.05.",
        "Set a newer image in spec.runtime.image, or in the pool's spec.image.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "PrometheusUnreachable",
        _F,
        "Prometheus does not answer; everything is held as it is.",
        "Check the operator's --prometheus-url, the network policies, and that Prometheus runs.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "PrometheusUnauthorized",
        _F,
        "Prometheus refuses the operator's credentials, or wants some; everything is held as it is.",
        "Set or renew them by the chart's values under `prometheus` (docs/prometheus.md).",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "PrometheusCredentialsUnreadable",
        _F,
        "The operator cannot read a file with its credentials for Prometheus.",
        "Create or complete the Secret that the chart's values under `prometheus` name.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "PrometheusTLSFailed",
        _F,
        "The operator does not accept the certificate of Prometheus, or Prometheus not the operator's.",
        "Set prometheus.ca of the chart, and prometheus.clientCertificate where one is asked for.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "PrometheusQueryFailed",
        _F,
        "Prometheus answers, but not to the operator's queries; everything is held as it is.",
        "Check that --prometheus-url is the base of the Prometheus API, with its path.",
    ),
)
