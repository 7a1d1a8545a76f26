"""Frames from answers as Prometheus gives them: what is missing or NaN is unknown, never zero."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_api_client.exceptions import PrometheusApiClientException
from throughline.adapters.prometheus import OPTIONAL, REQUIRED, Prometheus, build_frame, queries
from throughline.adapters.prometheus_access import Access
from throughline.domain.observed import MetricsFrame, Unavailable

RECORDED: dict[str, list[dict[str, Any]]] = json.loads((Path(__file__).parent / "prometheus.json").read_text())
KEY = ("default", "m-0", "m")


class Answers:
    """PrometheusConnect.custom_query from recorded answers by query name."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.by_query = {text: answers.get(name, []) for name, text in queries(60).items()}
        self.asked: list[str] = []

    def version(self) -> str | None:
        return "3.7.0"

    def custom_query(self, query: str, params: dict[str, str] | None = None) -> list[dict[str, Any]]:
        assert not params
        self.asked.append(query)
        answer = self.by_query[query]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]


async def frame(answers: dict[str, Any]) -> MetricsFrame | Unavailable:
    return await Prometheus(Access("http://p:9090"), window_seconds=60, client=Answers(answers)).frame()


async def test_a_recorded_look() -> None:
    got = await frame(RECORDED)
    assert isinstance(got, MetricsFrame)
    pod = got.pods[KEY]
    assert pod.success_rate == pytest.approx(207.3)
    assert pod.compute_us_rate == pytest.approx(871000)
    assert pod.p99_us == pytest.approx(153211)
    assert pod.gpu_memory_used_ratio == pytest.approx(0.25)
    assert got.memory_used_ratio[("default", "m-0")] == pytest.approx(0.5)


async def test_an_idle_model_has_no_p99() -> None:
    got = await frame(RECORDED)
    assert isinstance(got, MetricsFrame)
    idle = got.pods[("default", "idle-0", "idle")]
    assert idle.p99_us is None, "the summary is NaN then"
    assert idle.success_rate == 0.0, "a measured zero is one"
    assert idle.gpu_memory_used_ratio is None, "no nv_gpu_* on that node"


async def test_a_pod_with_one_sample_only_is_absent() -> None:
    """Its series exists (age does), its rate does not yet."""
    got = await frame(RECORDED)
    assert isinstance(got, MetricsFrame)
    assert any(s["metric"].get("pod") == "young-0" for s in RECORDED["age"])
    assert not any(pod == "young-0" for _, pod, _ in got.pods)


@pytest.mark.parametrize("name", REQUIRED)
def test_without_any_one_required_value_a_pod_is_absent(name: str) -> None:
    less = {**RECORDED, name: [s for s in RECORDED[name] if s["metric"].get("pod") != "m-0"]}
    assert KEY not in build_frame(less, time_seconds=0, window_seconds=60).pods


@pytest.mark.parametrize("name", OPTIONAL)
async def test_an_optional_query_that_fails_costs_only_itself(name: str) -> None:
    got = await frame({**RECORDED, name: PrometheusApiClientException("HTTP Status Code 422")})
    assert isinstance(got, MetricsFrame)
    assert KEY in got.pods


async def test_other_label_names() -> None:
    renamed = {
        name: [
            {**s, "metric": {**s["metric"], "kubernetes_namespace": "default", "kubernetes_pod_name": "m-0"}}
            for s in samples
            if s["metric"].get("pod") == "m-0"
        ]
        for name, samples in RECORDED.items()
    }
    for samples in renamed.values():
        for sample in samples:
            del sample["metric"]["namespace"], sample["metric"]["pod"]
    got = await frame(renamed)
    assert isinstance(got, MetricsFrame)
    assert KEY in got.pods


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (requests.ConnectionError("refused"), "PrometheusUnreachable"),
        (requests.Timeout("slow"), "PrometheusUnreachable"),
        (PrometheusApiClientException("HTTP Status Code 503"), "PrometheusQueryFailed"),
        (KeyError("data"), "PrometheusQueryFailed"),
        (ValueError("no JSON"), "PrometheusQueryFailed"),
    ],
)
async def test_a_required_query_that_fails_is_unavailable_with_the_fix(error: Exception, reason: str) -> None:
    got = await frame({**RECORDED, "success": error})
    assert isinstance(got, Unavailable)
    assert got.reason == reason
    assert "check" in got.message


async def test_a_prometheus_without_triton_answers_and_has_nothing() -> None:
    client = Answers({})
    got = await Prometheus(Access("http://p:9090"), window_seconds=60, client=client).frame()
    assert isinstance(got, MetricsFrame), "each service's own condition then says what to scrape"
    assert not got.pods
    assert len(client.asked) == 1


async def test_one_query_per_metric_however_many_services() -> None:
    client = Answers(RECORDED)
    await Prometheus(Access("http://p:9090"), window_seconds=60, client=client).frame()
    assert len(client.asked) == len(set(client.asked)) == len(REQUIRED) + len(OPTIONAL)


async def test_a_dead_server_costs_one_query() -> None:
    client = Answers(dict.fromkeys(REQUIRED + OPTIONAL, requests.Timeout("slow")))
    got = await Prometheus(Access("http://p:9090"), window_seconds=60, client=client).frame()
    assert isinstance(got, Unavailable)
    assert len(client.asked) == 1


async def test_the_client_has_a_timeout_and_no_retries() -> None:
    prometheus = Prometheus(Access("http://127.0.0.1:9"), window_seconds=60, timeout_seconds=0.2)
    got = await prometheus.frame()
    assert isinstance(got, Unavailable)
    assert got.reason == "PrometheusUnreachable"
    client: Any = prometheus._connect()
    assert client._timeout == 0.2
