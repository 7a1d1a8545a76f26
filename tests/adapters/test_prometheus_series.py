"""What Prometheus has of pods without metrics: asked for a bounded number of them, and only then."""

from __future__ import annotations

from typing import Any

from throughline.adapters.prometheus import METRIC_OF, OWN, Prometheus, build_frame, queries
from throughline.adapters.prometheus_access import Access
from throughline.adapters.prometheus_series import MAX_PODS, facts
from throughline.domain.observed import MetricsFrame, SeriesFacts

Sample = dict[str, Any]


def sample(value: float | str = 1.0, **labels: str) -> Sample:
    return {"metric": labels, "value": [0, str(value)]}


def of(pod: str, **labels: str) -> Sample:
    return sample(namespace="default", pod=pod, model="m", **labels)


class Client:
    def __init__(self, up: list[Sample], raw: list[Sample]) -> None:
        self.up, self.raw, self.asked = up, raw, list[str]()

    def version(self) -> str | None:
        return None

    def custom_query(self, query: str, params: dict[str, str] | None = None) -> list[Sample]:
        self.asked.append(query)
        return self.up if "(up{" in query else self.raw


async def diagnosed(client: Client, frame: MetricsFrame, *pods: tuple[str, str]) -> SeriesFacts:
    prometheus = Prometheus(Access("http://p:9090"), window_seconds=60, client=client)
    return (await prometheus.diagnose(frame, pods)).series


def test_series_without_the_labels_of_a_pod_and_of_other_models_are_seen() -> None:
    found = {"age": [sample(model="bare"), of("a"), sample(namespace="default", pod="a", model="other")]}
    seen = facts(found, METRIC_OF)
    assert seen.unlabelled == ("bare",)
    assert seen.models == {("default", "a"): {"m", "other"}}


def test_a_metric_that_this_server_lacks_is_named() -> None:
    found = {name: [of("a"), of("b")] for name in queries(60)}
    found["pending"] = [of("b")]
    found["p99"] = [sample("NaN", namespace="default", pod="a", model="m")]
    frame = build_frame(found, time_seconds=0, window_seconds=60)
    assert frame.series.missing == {
        ("default", "a", "m"): ("nv_inference_pending_request_count",),
        ("default", "b", "m"): ("nv_inference_request_summary_us",),
    }


async def test_targets_and_samples_of_the_pods() -> None:
    frame = MetricsFrame(0, 60, series=SeriesFacts(models={("default", "a"): frozenset({"m"})}))
    target: Sample = {"metric": {"namespace": "default", "pod": "a"}, "value": [0, "1"]}
    fewer: Sample = {"metric": {"namespace": "default", "pod": "a", "job": "y"}, "values": [[30, "5"]]}
    raw: Sample = {"metric": {"namespace": "default", "pod": "a", "job": "x"}, "values": [[0, "5"], [60, "6"]]}
    client = Client([target, {**target, "value": [0, "0"]}], [raw, fewer])
    seen = await diagnosed(client, frame, ("default", "a"), ("default", "b"))
    assert seen.up == {("default", "a"): True, ("default", "b"): None}, "one of two scrapes works"
    assert seen.samples == {("default", "a"): (0.0, 60.0)}
    assert any('nv_inference_request_success{pod=~"a|b"}[300s]' in query for query in client.asked)


async def test_however_many_pods_lack_metrics_few_are_asked_for() -> None:
    pods = [("default", f"p{i:04d}") for i in range(1000)]
    client = Client([], [])
    seen = await diagnosed(client, MetricsFrame(0, 60), *pods)
    assert len(seen.up) == MAX_PODS
    assert len(client.asked) == 1
    assert len(client.asked[0]) < 2000


async def test_a_pod_found_under_both_namings_of_its_labels_is_one() -> None:
    def both(value: float) -> list[Sample]:
        return [of("a"), sample(value, kubernetes_namespace="default", kubernetes_pod_name="a", model="m")]

    found = {name: both(3.0) for name in queries(60)}
    found["age"] = both(0.5)
    (pod,) = build_frame(found, time_seconds=0, window_seconds=60).pods.values()
    assert (pod.success_rate, pod.age_seconds) == (3.0, 0.5)


def test_every_sum_is_over_series_that_are_one_for_each_of_the_servers_own() -> None:
    for name in ("success", "failure", "items", "executions", "request_us", "queue_us", "pending", "pending_growth"):
        assert f"by ({OWN}" in queries(60)[name], name
