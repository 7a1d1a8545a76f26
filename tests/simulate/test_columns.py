"""Exports and logs as people have them: what is taken for arrivals, for rates, and what is refused with what to do."""

import gzip
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from throughline.simulate import names
from throughline.simulate.names import Kind
from throughline.simulate.traces import read

START = datetime(2025, 11, 1, 12, tzinfo=UTC)
EPOCH = START.timestamp()


@pytest.fixture
def csv_file(tmp_path):
    def write(header, *columns):
        path = tmp_path / "trace.csv"
        rows = "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in zip(*columns, strict=True))
        path.write_text(",".join(f'"{name}"' for name in header) + "\n" + rows)
        return path

    return write


def stamps(count, step_seconds=15.0):
    return [(START + timedelta(seconds=step_seconds * n)).isoformat(sep=" ") for n in range(count)]


def arrivals(count=300, seconds=600.0):
    return np.sort(np.random.default_rng(3).uniform(0.0, seconds, count))


def per_second(recording):
    return recording.traffic.arrivals.size / recording.traffic.duration_seconds


RISING = [50 + n for n in range(120)]  # 109.5/s on average


@pytest.mark.parametrize("name", ["rps", "sum(rate(nv_inference_request_success[1m]))", "request rate", "Requests/s"])
def test_a_name_that_says_rate_is_one_also_when_it_rises(csv_file, name):
    found = read(csv_file(["Time", name], stamps(120), RISING))
    assert f"{name} is requests per second" in found.taken
    assert per_second(found) == pytest.approx(109.5, rel=0.02)


@pytest.mark.parametrize(
    ("name", "value", "expected", "word"),
    [
        ("requests per minute", 3000, 50, "minute"),
        ("rpm", 3000, 50, "minute"),
        ("req/h", 36_000, 10, "hour"),
        ("requests per 5m", 3000, 10, "300 seconds"),
        ("sum(increase(http_requests_total[1m]))", 600, 10, "minute"),
    ],
)
def test_the_unit_in_the_name_of_a_rate_is_obeyed(csv_file, name, value, expected, word):
    path = csv_file(["Time", name], stamps(120), [value + n % 5 for n in range(120)])
    for options in ({}, {"rates": name}):
        found = read(path, **options)
        assert f"{name} is requests per {word}" in found.taken
        assert per_second(found) == pytest.approx(expected, rel=0.02)


def test_counts_of_requests_need_their_time_said(csv_file):
    path = csv_file(["Time", "count"], stamps(120), [750 + n % 5 for n in range(120)])
    with pytest.raises(ValueError, match=r"column count counts requests, .* --rate-unit=row .* --rate-column=-"):
        read(path)
    with pytest.raises(ValueError, match="--rate-unit=row"):
        read(path, rates="count")
    found = read(path, rate_unit="row")
    assert "count is requests per row" in found.taken
    assert per_second(found) == pytest.approx(50, rel=0.02)
    assert per_second(read(path, rate_unit="min")) == pytest.approx(12.5, rel=0.05)


def test_counts_of_days_newest_first(csv_file):
    days = [(START + timedelta(days=n)).date().isoformat() for n in range(30)]
    path = csv_file(["date", "requests"], days[::-1], [86_400 * (2 if n == 0 else 1) for n in range(30)][::-1])
    with pytest.raises(ValueError, match="column requests counts requests"):
        read(path)
    found = read(path, rate_unit="row")
    assert found.traffic.duration_seconds == 30 * 86_400
    first_day = int(np.searchsorted(found.traffic.arrivals, 86_400))
    assert first_day == pytest.approx(172_800, rel=0.01)
    assert found.traffic.arrivals.size == pytest.approx(31 * 86_400, rel=0.01)


def test_a_counter_is_no_rate(csv_file):
    total = np.cumsum([750 + n % 5 for n in range(120)])
    restarted = np.concatenate([total[:60], total[:60]])
    for values in (total, restarted):
        with pytest.raises(ValueError, match=r"nv_inference_request_success is a counter by its name: export rate"):
            read(csv_file(["Time", "nv_inference_request_success"], stamps(120), values))
        with pytest.raises(ValueError, match=r"column Value only grows, as a counter .* --rate-column=Value"):
            read(csv_file(["Time", "Value"], stamps(120), values))
    found = read(csv_file(["Time", "Value"], stamps(120), RISING), rates="Value")
    assert per_second(found) == pytest.approx(109.5, rel=0.02), "said so, it is one"


@pytest.mark.parametrize(
    "name",
    ["p99", "cpu usage", "cache hit rate", "error rate", "failed requests", "tokens/s", "GPU utilization", "success %"],
)
def test_what_the_name_says_is_no_rate_of_requests_is_never_taken(csv_file, name):
    values = [0.5 + n % 7 / 100 for n in range(120)]
    with pytest.raises(ValueError, match=r"no column holds rates .* the rows are 15 s apart: .*--rate-column"):
        read(csv_file(["Time", name], stamps(120), values))
    found = read(csv_file(["Time", name, "Value"], stamps(120), values, [50 + n % 7 for n in range(120)]))
    assert "Value is requests per second" in found.taken
    found = read(csv_file(["Time", name, "requests per minute"], stamps(120), values, [3000] * 120))
    assert per_second(found) == pytest.approx(50, rel=0.02)


def test_durations_by_date_in_even_steps_are_a_panel_and_no_arrivals(csv_file):
    values = [0.05 + n % 7 / 100 for n in range(120)]
    with pytest.raises(ValueError, match=r"no column holds rates of requests \(latency: by the name none\)"):
        read(csv_file(["Time", "latency"], stamps(120), values))
    probes = csv_file(["Time", "latency", "status"], stamps(120), values, [200] * 120)
    assert "each line is an arrival" in read(probes).taken, "a panel has no status"


def test_numbers_of_a_request_leave_a_log_arrivals(csv_file):
    numbers = [n % 5 + 1 for n in range(300)]
    for name in ("image_count", "http_version", "num_inputs", "priority"):
        found = read(csv_file(["offset", name], arrivals(), numbers))
        assert "each line is an arrival" in found.taken
    assert "svc rate is requests per second" in read(csv_file(["offset", "svc rate"], arrivals(), numbers)).taken
    with pytest.raises(ValueError, match="column requests counts requests"):
        read(csv_file(["offset", "requests"], arrivals(), numbers))


def test_two_rates_are_both_named(csv_file):
    path = csv_file(["Time", "rps", "req/min"], stamps(120), [50] * 120, [3000] * 120)
    with pytest.raises(ValueError, match=r"rps, req/min may all be rates: name one with --rate-column"):
        read(path)
    path = csv_file(["Time", "requests", "Value"], stamps(120), [50] * 120, [3000] * 120)
    with pytest.raises(ValueError, match=r"requests, Value may all be rates"):
        read(path)


@pytest.mark.parametrize("shown", ["50 req/s", "1.2 K", "1,053", "1.2K requests / second"])
def test_numbers_as_a_dashboard_shows_them_are_refused(csv_file, shown):
    for name in ("rps", "Value"):
        with pytest.raises(ValueError, match=rf"line 2: '{shown}' is no rate; export column {name} unformatted"):
            read(csv_file(["Time", name], stamps(120), [shown] * 120))


def test_rates_of_several_series_below_one_another_are_refused(csv_file):
    times = [stamp for stamp in stamps(60) for _ in "ab"]
    path = csv_file(["Time", "pod", "rps"], times, ["a", "b"] * 60, [50, 40] * 60)
    with pytest.raises(ValueError, match="column rps holds rates by its name, but several rows have the same time"):
        read(path)
    assert read(path, rates="-").traffic.arrivals.size == 120


def test_a_line_of_each_metric_is_no_arrival(csv_file):
    """As k6 writes them: a request has a line of each of its metrics."""
    seconds = [int(EPOCH) + n // 3 for n in range(90)]
    metrics = ["http_reqs", "http_req_duration", "data_sent"] * 30
    path = csv_file(["metric_name", "timestamp", "metric_value"], metrics, seconds, [1.0, 23.4, 512.0] * 30)
    with pytest.raises(ValueError, match=r"names 3 metrics .* the lines of one, such as http_req"):
        read(path)
    one = csv_file(["metric_name", "timestamp", "metric_value"], ["http_reqs"] * 30, seconds[::3], [1.0] * 30)
    assert read(one, rates="-").traffic.arrivals.size == 30


def test_the_name_of_a_duration_is_asked_before_its_order(csv_file):
    durations = [f"{value:.3f}" for value in np.sort(np.random.default_rng(4).exponential(0.05, 200))]
    path = csv_file(["id", "request_time"], range(200), durations)
    with pytest.raises(ValueError, match=r"request_time holds durations by its name, though they rise"):
        read(path)
    assert read(path, column="request_time").traffic.arrivals.size == 200, "said so, it is"


def test_a_date_and_a_time_of_day_beside_it_are_one_time(csv_file):
    times = [START + timedelta(seconds=11.5 * 60 * n) for n in range(200)]
    path = csv_file(["date", "time", "status"], [t.date() for t in times], [t.time() for t in times], [200] * 200)
    for options in ({}, {"column": "date"}, {"column": "time"}):
        found = read(path, rates="-", **options)
        assert "at date and time (timestamps); not used: status" in found.taken
        assert found.traffic.duration_seconds == pytest.approx(199 * 11.5 * 60)


def test_of_two_timestamps_the_one_whose_name_says_arrival(csv_file):
    came = arrivals()
    expires = came + np.random.default_rng(5).uniform(100, 9000, came.size)
    written = [[(START + timedelta(seconds=t)).isoformat() for t in times] for times in (expires, came)]
    for header in (["token_expires_at", "received_at"], ["completed_at", "created_at"], ["end_time", "start_time"]):
        found = read(csv_file(header, *written))
        assert f"at {header[1]} (timestamps); not used: {header[0]}" in found.taken
    for header in (["token_expires_at", "completed_at"], ["created_at", "received_at"]):
        path = csv_file(header, *written)
        with pytest.raises(ValueError, match=rf"{header[0]}, {header[1]} may all be the time of arrival"):
            read(path)
        assert f"at {header[1]}" in read(path, column=header[1]).taken


def test_two_spellings_of_one_time_need_no_choice(csv_file):
    came = arrivals()
    written = [(START + timedelta(seconds=int(t))).isoformat() for t in came]
    found = read(csv_file(["time_iso8601", "msec"], written, [f"{EPOCH + t:.3f}" for t in came]))
    assert "at time_iso8601 (timestamps); not used: msec" in found.taken


def test_days_as_excel_counts_them(csv_file):
    days = [f"{45_962.5 + t / 86_400:.9f}" for t in arrivals()]
    found = read(csv_file(["time"], days))
    assert "at time (days as Excel counts them)" in found.taken
    assert found.traffic.duration_seconds == pytest.approx(600, rel=0.02)
    assert read(csv_file(["time"], days), unit="s").traffic.duration_seconds < 1, "a unit is stronger"


@pytest.mark.parametrize(("name", "first"), [("ts", EPOCH), ("when", EPOCH), ("offset", 0.0)])
def test_times_newest_first_are_sorted(csv_file, name, first):
    times = [f"{first + t:.3f}" for t in arrivals()]
    found, reverse = (read(csv_file([name, "status"], each, [200] * 300)) for each in (times, times[::-1]))
    assert np.array_equal(found.traffic.arrivals, reverse.traffic.arrivals)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(b"ts\n1\n2\n"), "is compressed with gzip: gunzip it"),
        ("ts\n1\n2\n".encode("utf-16"), "is UTF-16 text: iconv -f UTF-16 -t UTF-8"),
        (b"PK\x03\x04....", "a workbook"),
    ],
    ids=["gzip", "UTF-16", "xlsx"],  # the bytes of gzip differ by the second, and the cores must agree
)
def test_what_is_no_text_is_named(tmp_path, content, says):
    path = tmp_path / "trace.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=says):
        read(path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("rate(istio_requests_total{response_code='200'}[5m])", Kind.RATE),
        ("sum by (status) (rate(http_request_duration_seconds_count[1m]))", Kind.RATE),
        ("rate(http_request_duration_seconds_sum[1m])", Kind.SAMPLE),
        ("histogram_quantile(0.99, sum(rate(x_bucket[5m])) by (le))", Kind.SAMPLE),
        ("sum(rate(node_cpu_seconds_total[1m]))", Kind.SAMPLE),
        ("sum(rate(a[1m])) * 60", Kind.COUNT),
        ("http_requests_total", Kind.COUNTER),
        ("krps", Kind.RATE),
        ("throughput (MiB/s)", Kind.SAMPLE),
        ("status", Kind.REQUEST),
        ("latency_ms", Kind.REQUEST),
        ("promptTokens", Kind.REQUEST),
        ('{pod="error-0"}', Kind.UNKNOWN),
        ("census", Kind.UNKNOWN),
        ("Value #A", Kind.UNKNOWN),
    ],
)
def test_what_names_say(name, kind):
    assert names.meaning(name).kind is kind


def test_thousands_are_in_the_unit():
    assert 2 / names.meaning("krps").seconds == 2000
