"""A range query over the wire, and traffic from it: gaps are told, nothing is taken for zero."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
from throughline.adapters.history import HistoryError, rate_series, request_rate_query, step_seconds
from throughline.adapters.prometheus_access import Access
from throughline.simulate.history import from_prometheus, from_rates

if TYPE_CHECKING:
    from collections.abc import Iterator

QUERY = "sum(rate(x[1m]))"
START = 1_700_000_000


class Server:
    """A Prometheus that answers range queries with `series`, or with a status and text of its own."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.series: list[list[tuple[float, str]]] = []
        self.other: tuple[int, str] | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlparse(self.path)
                outer.asked.append({"path": url.path, **{k: v[0] for k, v in parse_qs(url.query).items()}})
                result = [{"metric": {}, "values": values} for values in outer.series]
                found = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})
                status, text = outer.other or (200, found)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def prometheus() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def ask(server: Server, url: str | None = None) -> list[tuple[float, float]]:
    return rate_series(Access(url or server.url), QUERY, start_seconds=START, end_seconds=START + 60, step=15)


def test_the_range_is_asked_for_and_what_is_not_known_is_left_out(prometheus: Server) -> None:
    prometheus.series = [[(START, "1.5"), (START + 15, "NaN"), (START + 30, "0")]]
    assert ask(prometheus, prometheus.url + "/") == [(START, 1.5), (START + 30, 0.0)]
    (asked,) = prometheus.asked
    assert asked == {
        "path": "/api/v1/query_range", "query": QUERY, "start": str(START), "end": str(START + 60), "step": "15",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ([], "has nothing for"),
        ([[(START, "1"), (START + 15, "NaN")]], "one value only"),
        ([[(START, "1")], [(START, "2")]], "2 series, where one is needed; write it as sum"),
        ([[(START, "1"), (START + 15, "-2")]], "-2 requests per second"),
    ],
)
def test_an_answer_that_is_no_rate(prometheus: Server, series: list[list[tuple[float, str]]], message: str) -> None:
    prometheus.series = series
    with pytest.raises(HistoryError, match=message):
        ask(prometheus)


@pytest.mark.parametrize(
    "other",
    [(400, '{"status":"error","error":"parse error"}'), (200, "<html>Grafana</html>"), (200, "{}"), (200, "[]")],
)
def test_an_answer_of_something_else(prometheus: Server, other: tuple[int, str]) -> None:
    prometheus.other = other
    with pytest.raises(HistoryError, match="refused the query") as error:
        ask(prometheus)
    assert other[0] == 200 or "parse error" in str(error.value)


def test_nobody_there(prometheus: Server) -> None:
    prometheus.close()
    with pytest.raises(HistoryError, match="does not answer"):
        ask(prometheus)


def test_no_address_at_all(prometheus: Server) -> None:
    with pytest.raises(HistoryError, match="http://HOST:9090"):
        ask(prometheus, "localhost:9090")


def test_the_default_query_counts_failures_and_knows_both_spellings_of_the_namespace() -> None:
    query = request_rate_query("m", 'a"b', 15)
    for metric in ("nv_inference_request_success", "nv_inference_request_failure"):
        for label in ("namespace", "kubernetes_namespace"):
            assert f'rate({metric}{{model="m",{label}="a\\"b"}}[60s])' in query
    assert query.endswith("or vector(0))"), (
        "without a failure there is no such series, and a sum with it would be empty"
    )
    assert "[200s]" in request_rate_query("m", "n", 200), "a window shorter than the step would leave time out"


def test_as_many_points_as_prometheus_gives() -> None:
    assert step_seconds(86_400) == 15
    month = 30 * 86_400
    assert month / step_seconds(month) <= 11_000


def test_the_rate_becomes_arrivals() -> None:
    history = from_rates([(START, 10.0), (START + 100, 50.0)], 100, name="h", seed=3)
    traffic = history.traffic
    assert (traffic.name, traffic.duration_seconds, traffic.warmup_seconds) == ("h", 200.0, 50.0)
    first = int(traffic.arrivals.searchsorted(100.0))
    assert first == pytest.approx(1000, abs=130)
    assert traffic.arrivals.size - first == pytest.approx(5000, abs=300)
    assert history.gap_seconds == 0.0
    again = from_rates([(START, 10.0), (START + 100, 50.0)], 100, name="h", seed=3)
    assert np.array_equal(again.traffic.arrivals, traffic.arrivals)


def test_a_gap_holds_the_rate_and_is_told() -> None:
    history = from_rates([(0, 20.0), (15, 20.0), (615, 0.0)], 15, name="h")
    assert history.gap_seconds == 585.0
    inside = np.diff(history.traffic.arrivals.searchsorted([15.0, 615.0]))
    assert inside[0] == pytest.approx(12_000, rel=0.05)


def test_scaled_to_a_mean() -> None:
    traffic = from_rates([(0, 1.0), (60, 3.0)], 60, name="h", rate_per_second=20.0).traffic
    assert traffic.arrivals.size == pytest.approx(2400, abs=250)
    assert traffic.name == "h ×10"


def test_no_requests_at_all() -> None:
    with pytest.raises(HistoryError, match="no requests in this time"):
        from_rates([(0, 0.0), (60, 0.0)], 60, name="h", rate_per_second=20.0)


def test_a_query_of_the_users_own(prometheus: Server) -> None:
    prometheus.series = [[(START, "5"), (START + 15, "5")]]
    more = {"model": "m", "namespace": "n", "since_seconds": 60.0, "now_seconds": START + 60.0}
    assert from_prometheus(Access(prometheus.url), query=QUERY, **more).traffic.arrivals.size > 0
    assert from_prometheus(Access(prometheus.url), **more).traffic.name == "history of m"
    assert [asked["query"] for asked in prometheus.asked] == [QUERY, request_rate_query("m", "n", 15)]
    assert prometheus.asked[0]["start"] == str(START)
