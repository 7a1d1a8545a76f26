"""Why metrics are missing, as the condition MetricsAvailable says it: whose it is and what to type."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from throughline.domain.condition_reasons import known
from throughline.domain.control.observe.series import missing, partial
from throughline.domain.observed import MetricsFrame, PodMetrics, PodView, SeriesFacts, ServiceView

from tests.domain.pods import pod, view

KEY = ("vision", "p")
HERE = {KEY: frozenset({"m"})}
METRICS = PodMetrics(1, 0, 1, 1, 1, 1, 1, 0, 0, None, 1)


def seen(*pods: PodView, window: float = 60.0, **facts: Any) -> ServiceView:
    made = view(*(pods or (pod(ready_seconds=600.0),)))
    return dataclasses.replace(made, model="m", metrics_window_seconds=window, series=SeriesFacts(**facts))


def said(found: ServiceView) -> tuple[str, str]:
    why = missing(found, found.serving)
    assert why is not None
    assert known("MetricsAvailable", why.reason)
    return why.reason, why.message


def every(seconds: float, count: int = 5) -> dict[tuple[str, str], tuple[float, ...]]:
    return {KEY: tuple(1000.0 + seconds * i for i in range(count))}


def test_a_new_pod_is_no_fault() -> None:
    assert missing(seen(pod(ready_seconds=100.0)), [pod(ready_seconds=100.0)]) is None


@pytest.mark.parametrize(
    ("facts", "reason", "words"),
    [
        ({"up": {KEY: None}}, "NoSeries", "does not scrape pod p"),
        ({"up": {KEY: False}}, "ScrapeFailed", "settings.prometheusNamespaces"),
        ({"up": {KEY: True}}, "MetricMissing", "metricRelabelings"),
        ({"up": {KEY: None}, "unlabelled": ("m",)}, "LabelsMissing", "__meta_kubernetes_pod_name"),
        ({"models": {KEY: frozenset({"renamed"})}}, "ModelLabelDiffers", "model=renamed where model=m"),
        ({"models": HERE, "samples": every(60)}, "TooFewSamples", "every 60 s"),
        ({"models": HERE, "samples": every(15)}, "StaleSeries", "older than the window"),
        ({"models": HERE, "missing": {(*KEY, "m"): ("nv_x",)}}, "MetricMissing", "has no nv_x"),
        ({}, "NoSeries", "8002"),
        ({}, "NoSeries", "settings.podMonitorLabels"),
    ],
    ids=str,
)
def test_each_gap_has_its_reason(facts: dict[str, Any], reason: str, words: str) -> None:
    got = said(seen(**facts))
    assert (got[0], words in got[1]) == (reason, True), got


@pytest.mark.parametrize("jitter", [-0.02, 0.0, 0.3, 1.4])
def test_too_few_samples_names_both_settings_and_does_not_change_with_each_scrape(jitter: float) -> None:
    _, message = said(seen(models=HERE, samples=every(60 + jitter)))
    assert "every 60 s" in message
    assert "window of 60 s" in message
    assert "settings.metricsWindowSeconds of the chart to 240" in message
    assert "scrape at least every 15 s" in message


def test_two_scrapes_fit_into_a_window_that_is_twice_as_long() -> None:
    assert said(seen(models=HERE, samples=every(60), window=120.0))[0] == "StaleSeries"


def test_one_sample_in_all_that_time_is_too_few() -> None:
    assert said(seen(models=HERE, samples=every(60, count=1)))[0] == "TooFewSamples"


def test_the_oldest_triton_that_works_is_named() -> None:
    reason, message = said(seen(pod(server_version="2.45.0", metrics=METRICS)))
    assert (reason, "2.46.0 (container 24.05)" in message) == ("TritonTooOld", True)
    newest = seen(pod(server_version="2.46.0", metrics=METRICS))
    assert missing(newest, newest.serving) is None
    lacking = said(seen(pod(server_version="2.50.0", ready_seconds=600), missing={(*KEY, "m"): ("nv_x",)}))
    assert "Triton 2.50.0" in lacking[1]


def test_without_the_latency_summary_no_p99_is_ever_known() -> None:
    facts = {"missing": {(*KEY, "m"): ("nv_inference_request_summary_us",)}}
    reason, message = said(seen(pod(ready_seconds=600, metrics=METRICS), **facts))
    assert (reason, "response_cache" in message) == ("MetricMissing", True)


def test_some_of_the_pods() -> None:
    pods = (pod("p", ready_seconds=600.0), pod("q", ready_seconds=600.0, metrics=METRICS))
    assert said(seen(*pods, up={KEY: False}))[1].startswith("1 of 2 pods: Prometheus finds pod p")


def test_a_partial_answer_is_not_taken_for_all() -> None:
    whole, lacking = pod("q", ready_seconds=600.0, metrics=METRICS), pod("p", ready_seconds=600.0)
    frame = MetricsFrame(0, 60, warnings=("store a: no answer",))
    found = partial(frame, [whole, lacking])
    assert found is not None
    assert found.reason == "PartialAnswer"
    assert "metrics of p are not in it; it warns: store a: no answer" in found.message
    assert partial(frame, [whole]) is None, "a service that is there in whole goes on"
    assert partial(frame, [whole, pod("n", ready_seconds=10.0)]) is None
    assert partial(MetricsFrame(0, 60), [whole, lacking]) is None
