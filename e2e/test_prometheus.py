"""The real Prometheus: however often it scrapes a pod its rate is one, and what it says where there is none; and one
that asks for credentials.
"""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import threading
import time
import urllib.request
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from throughline.adapters.prometheus import Prometheus
from throughline.adapters.prometheus_access import Access
from throughline.domain.control.observe.series import missing
from throughline.domain.observed import MetricsFrame

from e2e import helm
from e2e.cluster import binary
from e2e.cluster.cache import Cache
from e2e.cluster.pki import Authority
from e2e.stack import models, prometheus, up
from e2e.stack.objects import apply, get, until
from e2e.stack.watching import scratch
from tests.domain import pods

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

# --- what is scraped twice --------------------------------------------------------------------------------------------

PER_SECOND, WINDOW_SECONDS = 100.0, 12
COUNTERS = (
    *("request_success", "count", "exec_count", "request_duration_us", "queue_duration_us"),
    *(f"compute_{part}_duration_us" for part in ("input", "infer", "output")),
)
# Labels of a model's series → its share of the requests, by what serves it.
SERVERS = {
    "cpu": {'version="1"': 1.0},
    "gpu": {'version="1"': 0.1, 'version="1",gpu_uuid="GPU-1"': 0.9},
    "reload": {'version="1"': 0.3, 'version="2"': 0.7},
}
# Labels that each scrape of the same pod adds, by how it is found.
ONE = {"namespace": "default", "pod": "POD"}
SCRAPES = {
    "once": [ONE],
    "two-jobs": [{**ONE, "endpoint": "metrics", "container": "triton"}, {**ONE, "service": "m"}],
    "ha-pair": [{**ONE, "prometheus_replica": "a"}, {**ONE, "prometheus_replica": "b"}],
    "two-namings": [ONE, {"kubernetes_namespace": "default", "kubernetes_pod_name": "POD"}],
}


def page(server: str, seconds: float) -> str:
    """What a Triton shows after so long at a steady rate."""
    lines = []
    for labels, share in SERVERS[server].items():
        total, named = seconds * PER_SECOND * share, f'model="m",{labels}'
        lines += [f"nv_inference_{counter}{{{named}}} {total}" for counter in COUNTERS]
        lines += [f'nv_inference_request_failure{{{named},reason="{r}"}} {total}' for r in ("REJECTED", "CANCELED")]
        lines.append(f"nv_inference_pending_request_count{{{named}}} {10 * share}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def url(local: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a Prometheus on this machine that has scraped every server in every way."""
    assert local.images["prometheus"], "built with the cluster"
    began = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(page(self.path.strip("/"), time.monotonic() - began).encode())

        def log_message(self, *_: Any) -> None: ...

    exporter = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{exporter.server_port}"

    def job(name: str, server: str, pod: str, labels: dict[str, str], *, interval: int = 1) -> dict[str, Any]:
        named = {label: value.replace("POD", pod) for label, value in labels.items()}
        return {
            "job_name": name, "metrics_path": f"/{server}", "scrape_interval": f"{interval}s", "scrape_timeout": "1s",
            "static_configs": [{"targets": [address], "labels": named}],
        }  # fmt: skip

    jobs = [
        job(f"{server}-{how}-{i}", server, f"{server}-{how}", labels)
        for server in SERVERS
        for how, scrapes in SCRAPES.items()
        for i, labels in enumerate(scrapes)
    ]
    jobs.append(job("seldom", "cpu", "seldom", ONE, interval=WINDOW_SECONDS))
    jobs.append(job("bare", "cpu", "", {"team": "a"}))
    dead = job("dead", "cpu", "dead", ONE)
    dead["static_configs"][0]["targets"] = ["127.0.0.1:9"]
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "prometheus.json").write_text(json.dumps({"scrape_configs": [*jobs, dead]}))
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [
        binary.path(Cache.of_environment(), "prometheus", "prometheus"),
        f"--config.file={folder}/prometheus.json", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={url.removeprefix('http://')}",
    ]  # fmt: skip
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            until("two scrapes of the job that scrapes least", lambda: samples_of_seldom(url) >= 2, seconds=90)
            yield url
        finally:
            process.terminate()
            exporter.shutdown()


@pytest.fixture
def scraped(url: str) -> Prometheus:
    """The operator's reader of it."""
    return Prometheus(Access(url), window_seconds=WINDOW_SECONDS)


def samples_of_seldom(url: str) -> int:
    query = "count_over_time(nv_inference_count%7Bpod=%22seldom%22%7D[5m])"
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?query={query}", timeout=5) as answer:  # noqa: S310 - http
            found = json.load(answer)["data"]["result"]
    except OSError:
        return 0
    return int(found[0]["value"][1]) if found else 0


async def test_however_a_pod_is_scraped_its_rate_is_one(scraped: Prometheus) -> None:
    frame = await scraped.frame()
    assert isinstance(frame, MetricsFrame)
    assert frame.warnings == ()
    for server in SERVERS:
        for how in SCRAPES:
            pod = frame.pods[("default", f"{server}-{how}", "m")]
            measured = (pod.success_rate, pod.failure_rate, pod.cancelled_rate, pod.items_rate, pod.compute_us_rate)
            expected = [PER_SECOND * n for n in (1, 1, 1, 1, 3)]
            assert measured == pytest.approx(expected, rel=0.1), (server, how)
            assert pod.pending == pytest.approx(10), (server, how)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("seldom", "TooFewSamples"), ("dead", "ScrapeFailed"), ("elsewhere", "LabelsMissing")],
)
async def test_an_empty_answer_is_explained(scraped: Prometheus, name: str, reason: str) -> None:
    frame = await scraped.frame()
    assert isinstance(frame, MetricsFrame)
    assert ("default", name, "m") not in frame.pods
    frame = await scraped.diagnose(frame, [("default", name)])
    view = replace(
        pods.view(pods.pod(name, ready_seconds=600.0)),
        namespace="default", model="m", metrics_window_seconds=WINDOW_SECONDS, series=frame.series,
    )  # fmt: skip
    found = missing(view, view.serving)
    assert found is not None
    assert found.reason == reason, found


# --- credentials ------------------------------------------------------------------------------------------------------

USER, PASSWORD, GUESSED = "reader", "right-word", "guessed-word"
BCRYPT = "$2b$06$uIkcbJD8sD4aR7G8z08VqOi7jtB2AGcXfrSTZ1ALrLu6vMC/n9a.."  # of PASSWORD
LOGIN, CA = "prometheus-login", "prometheus-ca"
# A mounted Secret follows within the kubelet's period of a minute.
SECRET_SECONDS = 180


def secret(name: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": helm.NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


@pytest.fixture
def secured(product: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """The operator reads a Prometheus behind TLS and basic auth, which finds each pod twice, with a wrong password."""
    authority = Authority.create(tmp_path / "pki")
    pair = authority.issue("server", "/CN=prometheus", "serverAuth", (f"DNS:{prometheus.SECURED_HOST}",))
    made = prometheus.secured(
        product.images["prometheus"], pair.certificate.read_text(), pair.key.read_text(),
        USER, BCRYPT, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(),
    )  # fmt: skip
    secrets = [
        secret(LOGIN, username=USER, password=GUESSED),
        secret(CA, **{"ca.crt": authority.pair.certificate.read_text()}),
    ]
    try:
        apply(product, [*made, *secrets])
        until("Prometheus", lambda: prometheus.ready(product, prometheus.SECURED), seconds=90)
        values = {
            **up.values(product, prometheusUrl=f"https://{prometheus.SECURED_HOST}:9090"),
            "prometheus": {"basicAuth": {"secretName": LOGIN}, "ca": {"secretName": CA}},
        }
        helm.install_chart(product.kubeconfig, values)
        yield product
    finally:
        up.install(product)
        for found in (*made, *secrets):
            where = ("-n", found["metadata"]["namespace"], "--wait=false", "--ignore-not-found")
            product.kubectl("delete", found["kind"], found["metadata"]["name"], *where, check=False)


def test_credentials_come_from_secrets_and_are_used_when_they_change(secured: Cluster) -> None:
    with scratch(secured, "secured") as api:
        model = models.waiting_model(4000, 200)
        apply(secured, [models.service("m", model, pool="cpu", namespace=api.namespace)])
        said = api.until_condition("m", "MetricsAvailable", "False", "PrometheusUnauthorized")["message"]
        assert f"https://{prometheus.SECURED_HOST}:9090" in said
        assert "user name and password (401): correct the Secret that prometheus.basicAuth" in said
        operator = up.operator_pod(secured)
        apply(secured, [secret(LOGIN, username=USER, password=PASSWORD)])
        api.until_condition("m", "MetricsAvailable", "True", "Fresh", seconds=SECRET_SECONDS)
        assert up.operator_pod(secured) == operator
        (status,) = (get(secured, "pod", operator, helm.NAMESPACE) or {})["status"]["containerStatuses"]
        assert status["restartCount"] == 0
        logged = secured.kubectl("logs", operator, "-n", helm.NAMESPACE).stdout
        told = json.dumps([api.service("m"), api.events("m")]) + logged
        for word in (PASSWORD, GUESSED, base64.b64encode(f"{USER}:{GUESSED}".encode()).decode()):
            assert word not in told
