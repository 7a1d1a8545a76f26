from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from throughline.simulate import traffic
from throughline.simulate.traces import from_csv, read

GENERATORS = {
    "poisson": lambda seed: traffic.poisson(50, 3600, seed=seed),
    "diurnal": lambda seed: traffic.diurnal(50, 3600, seed=seed, day_seconds=600),
    "flash crowd": lambda seed: traffic.flash_crowd(20, 3600, seed=seed),
    "bursty": lambda seed: traffic.bursty(50, 3600, seed=seed),
    "slow ramp": lambda seed: traffic.slow_ramp(20, 80, 3600, seed=seed),
    "on-off": lambda seed: traffic.on_off(50, 3600, seed=seed),
    "cost drift": lambda seed: traffic.cost_drift(50, 3600, seed=seed),
    "node loss": lambda seed: traffic.node_loss(50, 3600, seed=seed, pool_replicas=8, left_replicas=4),
    "metrics gap": lambda seed: traffic.metrics_gap(50, 3600, seed=seed),
    "level jumps": lambda seed: traffic.level_jumps(50, 3600, seed=seed),
    "holiday": lambda seed: traffic.holiday(50, 3600, seed=seed, day_seconds=240),
    "deploy": lambda seed: traffic.deploy(50, 3600, seed=seed),
    "correlated bursts": lambda seed: traffic.correlated_bursts(50, 3600, seed=seed, pool_replicas=8, left_replicas=2),
    "leak": lambda seed: traffic.leak(50, 3600, seed=seed),
}


def rate(made, start, end):
    a = made.arrivals
    return (np.searchsorted(a, end) - np.searchsorted(a, start)) / (end - start)


def counts(made, width):
    return np.histogram(made.arrivals, np.arange(0, made.duration_seconds + width / 2, width))[0]


@pytest.mark.parametrize("name", GENERATORS)
def test_the_same_seed_gives_the_same_sorted_arrivals(name):
    first, again, other = (GENERATORS[name](seed) for seed in (1, 1, 2))
    assert first.name == name
    assert np.array_equal(first.arrivals, again.arrivals)
    assert not np.array_equal(first.arrivals[:100], other.arrivals[:100])
    assert np.all(np.diff(first.arrivals) >= 0)
    assert first.arrivals[0] >= 0
    assert first.arrivals[-1] <= first.duration_seconds == 3600


@pytest.mark.parametrize(
    "name", ["poisson", "diurnal", "slow ramp", "cost drift", "node loss", "level jumps", "holiday", "deploy", "leak"]
)
def test_the_mean_rate_is_what_was_asked_for(name):
    assert rate(GENERATORS[name](1), 0, 3600) == pytest.approx(50, rel=0.02)


def test_a_duration_that_is_no_whole_number_of_seconds():
    made = traffic.slow_ramp(100, 100, 10.25, seed=1)
    assert made.arrivals[-1] == pytest.approx(10.25, abs=0.1)
    assert rate(made, 0, 10.25) == pytest.approx(100, rel=0.1)


def test_poisson_counts_have_a_dispersion_of_one():
    n = counts(traffic.poisson(50, 20_000, seed=1), 10)
    assert n.var() / n.mean() == pytest.approx(1, abs=0.1)


def test_bursts_disperse_as_theory_says():
    made = traffic.bursty(50, 400_000, seed=3)
    assert rate(made, 0, 400_000) == pytest.approx(50, rel=0.03)
    # Limit of the index of dispersion of an MMPP-2 (Fischer & Meier-Hellstern 1993).
    quiet, burst, leave_quiet, leave_burst = 31.25, 125.0, 1 / 60, 1 / 15
    leaving = leave_quiet + leave_burst
    limit = 1 + 2 * (burst - quiet) ** 2 * leave_quiet * leave_burst / (
        leaving**2 * (quiet * leave_burst + burst * leave_quiet)
    )
    n = counts(made, 1000)
    assert n.var() / n.mean() == pytest.approx(limit, rel=0.25)


def test_the_day_peaks_at_its_hour_and_the_weekend_is_quieter():
    day = 240.0  # ten seconds an hour
    made = traffic.diurnal(200, 7 * day, seed=1, day_seconds=day, peak_hour=14, swing=0.7, weekend=0.6)
    hours = counts(made, day / 24).reshape(7, 24)
    by_hour = hours[:5].sum(axis=0)
    # The peak is at the boundary of hours 13 and 14, the bottom twelve hours away.
    assert by_hour.argmax() in {12, 13, 14, 15}
    assert by_hour.argmin() in {0, 1, 2, 3}
    assert by_hour.max() / by_hour.min() == pytest.approx(1.7 / 0.3, rel=0.15)
    assert hours[5:].mean() / hours[:5].mean() == pytest.approx(0.6, rel=0.03)
    assert rate(made, 0, 7 * day) == pytest.approx(200, rel=0.01)


def test_a_holiday_is_a_weekday_of_the_second_week_with_less_than_a_weekend_has():
    day = 240.0
    made = traffic.holiday(200, 14 * day, seed=1, day_seconds=day)
    days = counts(made, day).reshape(2, 7)
    weekday = np.append(days[0, :5], days[1, [0, 1, 3, 4]]).mean()
    assert days[1, 2] / weekday == pytest.approx(0.4, rel=0.03)
    assert days[:, 5:].mean() / weekday == pytest.approx(0.6, rel=0.03)
    assert days[:, [0, 1, 3, 4]] == pytest.approx(np.full((2, 4), weekday), rel=0.03)
    hours = counts(made, day / 24).reshape(14, 24)
    assert hours[9].argmax() in {12, 13, 14, 15}, "it has the shape of a day"


def test_levels_jump_every_30_s_and_are_heavy_tailed():
    seconds, low, span, index = 36_000, 100, 10, 1.5
    # Mean of the bounded Pareto distribution over its lowest value.
    mean = low * index / (index - 1) * (1 - span ** (1 - index)) / (1 - span**-index)
    levels = counts(traffic.level_jumps(mean, seconds, seed=1), 30) / 30
    assert levels.min() == pytest.approx(low, rel=0.1)
    assert levels.max() == pytest.approx(low * span, rel=0.05)
    for times in (1.5, 2, 4, 8):
        above = (times**-index - span**-index) / (1 - span**-index)
        assert np.mean(levels > times * low) == pytest.approx(above, abs=0.02)
    # A level says nothing of the next one, and holds to its end.
    assert np.corrcoef(levels[:-1], levels[1:])[0, 1] == pytest.approx(0, abs=3 / np.sqrt(levels.size))
    halves = counts(traffic.level_jumps(mean, seconds, seed=1), 15).reshape(-1, 2)
    assert np.corrcoef(halves.T)[0, 1] > 0.98


def test_all_seeds_have_the_same_levels_in_another_order():
    first, second = (counts(traffic.level_jumps(2000, 3600, seed=seed), 30) for seed in (1, 2))
    assert np.sort(first) == pytest.approx(np.sort(second), rel=0.03)
    assert np.corrcoef(first, second)[0, 1] < 0.5


def test_a_flash_crowd_is_tenfold_within_30_s_holds_and_decays():
    made = traffic.flash_crowd(100, 3600, seed=1)
    assert rate(made, 0, 1800) == pytest.approx(100, rel=0.02)
    assert rate(made, 1800, 1830) == pytest.approx(550, rel=0.05)
    assert rate(made, 1830, 2130) == pytest.approx(1000, rel=0.02)
    assert rate(made, 2425, 2435) == pytest.approx(100 + 900 / np.e, rel=0.1)
    assert rate(made, 3500, 3600) == pytest.approx(110, rel=0.1)


def test_a_ramp_goes_from_one_rate_to_the_other():
    made = traffic.slow_ramp(20, 80, 36_000, seed=1)
    assert rate(made, 0, 3600) == pytest.approx(23, rel=0.05)
    assert rate(made, 32_400, 36_000) == pytest.approx(77, rel=0.05)


def test_on_and_off_take_turns():
    made = traffic.on_off(50, 3000, seed=1)
    assert [rate(made, s, s + 600) for s in (0, 1200, 2400)] == pytest.approx([50] * 3, rel=0.05)
    assert [rate(made, s, s + 600) for s in (600, 1800)] == pytest.approx([1] * 2, rel=0.2)


def test_the_cost_rises_in_steps_to_its_last_factor():
    events = traffic.cost_drift(5, 7200, seed=1).events
    assert {e.kind for e in events} == {"cost"}
    assert [e.value for e in events] == pytest.approx(np.linspace(1.05, 1.6, 12))
    assert 1800 == events[0].at_seconds < events[-1].at_seconds < 5400


def test_a_pool_shrinks_and_comes_back():
    made = traffic.node_loss(5, 7200, seed=1, pool_replicas=8, left_replicas=3)
    assert [(e.at_seconds, e.kind, e.value) for e in made.events] == [
        (1800, "pool", 3),
        (1800, "node", 0.625),
        (3600, "pool", 8),
    ]


def test_metrics_fail_for_ten_minutes_while_traffic_rises():
    made = traffic.metrics_gap(50, 7200, seed=1)
    assert [(e.at_seconds, e.kind, e.value) for e in made.events] == [(1800, "metrics", 600)]
    assert rate(made, 5400, 7200) / rate(made, 0, 1800) == pytest.approx(1.2625 / 1.0375, rel=0.03)


@pytest.fixture
def csv_file(tmp_path):
    def write(text):
        path = tmp_path / "trace.csv"
        path.write_text(text)
        return path

    return write


AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:05.0000000,110,27
2023-11-16 18:17:04.0319600,3180,8
"""


def test_a_trace_of_timestamps_is_sorted_and_counted_from_its_first_arrival(csv_file):
    made = from_csv(csv_file(AZURE))
    assert made.name == "trace"
    assert made.arrivals == pytest.approx([0, 0.052, 1.02004], abs=2e-6)
    assert made.duration_seconds == pytest.approx(1.02004, abs=2e-6)
    assert made.warmup_seconds == pytest.approx(made.duration_seconds / 4)


@pytest.mark.parametrize(
    "text",
    [
        "at,model\n10,a\n12.5,b\n11,a\n",
        "at\n2024-01-01T00:00:10Z\n2024-01-01T01:00:12.5+01:00\n2024-01-01T00:00:11Z\n",
        "at\n\n2024-01-01T00:00:10\n2024-01-01 00:00:12.5\n2024-01-01 00:00:11.000\n\n",
    ],
)
def test_seconds_and_iso_timestamps(csv_file, text):
    assert from_csv(csv_file(text), column="at").arrivals == pytest.approx([0, 1, 2.5])


def bursts(csv_file):
    """30 arrivals in each tenth second, one in each other."""
    rows = [second + i / 31 for second in range(2000) for i in range(30 if second % 10 == 0 else 1)]
    return csv_file("time\n" + "\n".join(f"{r:.4f}" for r in rows) + "\n")


@pytest.mark.parametrize("wanted", [1.5, 50.0])
def test_scaled_arrivals_keep_their_bursts_and_say_the_factor(csv_file, wanted):
    path = bursts(csv_file)
    plain, scaled = from_csv(path), from_csv(path, rate_per_second=wanted, name="bursts")
    assert rate(scaled, 0, 2000) == pytest.approx(wanted, rel=0.03)
    assert scaled.name == f"bursts ×{wanted * plain.duration_seconds / plain.arrivals.size:.3g}"
    assert scaled.duration_seconds == plain.duration_seconds
    assert scaled.arrivals[0] >= 0
    assert scaled.arrivals[-1] <= scaled.duration_seconds
    assert np.all(np.diff(scaled.arrivals) >= 0)
    # Five seconds around each burst hold the same share of all requests as before.
    share = [np.mean((m.arrivals + 2) % 10 < 5) for m in (plain, scaled)]
    assert share[1] == pytest.approx(share[0], abs=0.02)
    assert np.array_equal(scaled.arrivals, from_csv(path, rate_per_second=wanted, name="bursts").arrivals)


def test_copies_of_an_arrival_stay_within_half_a_second(csv_file):
    made = from_csv(csv_file("time\n0\n100\n200\n"), rate_per_second=15)
    near = np.abs(made.arrivals[:, None] - [0, 100, 200]).min(axis=1)
    assert near.max() <= 0.5
    assert near.max() > 0.45
    assert np.unique(made.arrivals).size == 3000  # none are piled up at the ends


def test_a_series_of_rates_is_poisson_at_them(csv_file):
    path = csv_file("seconds,requests_per_second\n200,300\n100,10\n300,50\n")
    made = from_csv(path)
    assert made.duration_seconds == 300
    assert [rate(made, s, s + 100) for s in (0, 100, 200)] == pytest.approx([10, 300, 50], rel=0.15)
    scaled = from_csv(path, rate_per_second=240)
    assert scaled.name == "trace ×2"
    assert rate(scaled, 100, 200) == pytest.approx(600, rel=0.05)


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("", {}, "trace.csv: empty; it needs a header"),
        ("time\n1\n", {}, "trace.csv: 1 rows of data; at least two"),
        ("1.5\n2.5\n3.5\n", {}, "line 1: no header but data"),
        ("time\n1\nsoon\n3\n", {}, "line 3: 'soon' in column time is no time; write seconds"),
        ("time\n1\nnan\n3\n", {}, "line 3: 'nan' in column time"),
        ("a,time\n1,1\n2\n", {}, "line 3: no column time; the line ends after 1"),
        ("time\n5\n5\n", {}, "all times in column time are the same"),
        ("a,b\n1,2\n3,4\n", {}, r"line 1: no column holds times; there are \['a', 'b'\]: name one with --time-column"),
        ("a,b\n1,2\n3,4\n", {"column": "c"}, r"line 1: no column 'c'; there are \['a', 'b'\]"),
        ("time\n1\n2\n", {"rate_per_second": 0}, "rate_per_second is 0; give a number above 0"),
        ("seconds,requests_per_second\n0,1\n60,many\n", {}, "line 3: 'many' is no rate"),
        ("seconds,requests_per_second\n0,1\n60,-1\n", {}, "line 3: '-1' is no rate"),
        ("seconds,requests_per_second\n0,0\n60,0\n", {"rate_per_second": 5}, "all rates are 0"),
    ],
)
def test_errors_name_the_file_the_line_and_the_fix(csv_file, text, options, says):
    with pytest.raises(ValueError, match=says):
        from_csv(csv_file(text), **options)


START = 1_762_000_000  # of a recording, as Unix time


def access_log():
    """As nginx writes it: one line a request, with its duration and the second in which it ended."""
    rng = np.random.default_rng(4)
    stamps = [datetime.fromtimestamp(START + second, UTC).isoformat() for second in range(40) for _ in range(5)]
    return "status,request_time,time_iso8601\n" + "".join(
        f"200,{duration:.3f},{stamp}\n" for duration, stamp in zip(rng.exponential(0.05, 200), stamps, strict=True)
    )


def test_an_access_log_arrives_at_its_timestamps_and_not_at_its_durations(csv_file):
    found = read(csv_file(access_log()))
    assert found.taken == (
        "trace.csv: each line is an arrival, at time_iso8601 (timestamps); not used: status, request_time"
    )
    assert (found.traffic.duration_seconds, found.traffic.arrivals.size) == (39, 200)


def test_durations_are_refused_as_times(csv_file):
    durations = "id,request_time\n" + "".join(
        f"{i},{v:.3f}\n" for i, v in enumerate(np.random.default_rng(4).exponential(0.05, 200))
    )
    with pytest.raises(ValueError, match=r"no column holds times of arrival: column request_time holds .* in no order"):
        read(csv_file(durations))
    with pytest.raises(ValueError, match=r"column request_time holds .* in no order, as durations are"):
        read(csv_file(access_log()), column="request_time")
    assert read(csv_file(access_log()), column="time_iso8601").traffic.duration_seconds == 39


@pytest.mark.parametrize(
    ("name", "each", "words"),
    [
        ("timestamp", 1, "Unix time in seconds"), ("timeStamp", 1e3, "Unix time in milliseconds"),
        ("$msec", 1e3, "Unix time in milliseconds"), ("ts", 1e6, "Unix time in microseconds"),
        ("time_ms", 1e9, "Unix time in nanoseconds"),
    ],
)  # fmt: skip
def test_unix_times_are_told_by_their_size(csv_file, name, each, words):
    """Beside the other columns that a log has."""
    rng = np.random.default_rng(2)
    times = np.sort(rng.uniform(0, 60, 300))
    lines = "".join(f"{(START + t) * each:.0f},{n},x\n" for t, n in zip(times, rng.integers(0, 9, 300), strict=True))
    found = read(csv_file(f"{name},tokens,model\n{lines}"))
    assert f"at {name} ({words})" in found.taken
    assert found.traffic.duration_seconds == pytest.approx(60, abs=2)
    assert found.traffic.arrivals.size == 300


def test_the_unit_of_a_count_is_in_its_name_or_said(csv_file):
    lines = "".join(f"{place * 250}\n" for place in range(100))
    assert read(csv_file(f"offset_ms\n{lines}")).traffic.duration_seconds == pytest.approx(24.75)
    assert read(csv_file(f"offset\n{lines}")).traffic.duration_seconds == 24_750
    found = read(csv_file(f"offset\n{lines}"), unit="ms")
    assert found.traffic.duration_seconds == pytest.approx(24.75)
    assert "offset (milliseconds)" in found.taken
    with pytest.raises(ValueError, match="holds timestamps, which have no unit"):
        read(csv_file(access_log()), unit="ms")


def test_what_nobody_waits_for_is_not_simulated(csv_file):
    lines = "".join(f"{place * 50_000}\n" for place in range(100))
    with pytest.raises(ValueError, match=r"column time \(seconds\) spans 57.3 days, and 31 are the most .* --unit"):
        read(csv_file(f"time\n{lines}"))
    with pytest.raises(ValueError, match="no Unix time in any unit; write ISO 8601"):
        read(csv_file("time\n20251101122640\n20251101122641\n20251101122642\n"))
    with pytest.raises(ValueError, match="million requests are too many"):
        read(csv_file("time,rps\n0,1000000\n1000,1\n2000,1\n"))


def export(rates, name="sum(rate(nv_inference_request_success[1m]))", start=datetime(2025, 11, 1, 12, tzinfo=UTC)):
    times = [(start + timedelta(seconds=15 * place)).strftime("%Y-%m-%d %H:%M:%S") for place in range(len(rates))]
    return f'"Time","{name}"\n' + "".join(f'"{t}",{r}\n' for t, r in zip(times, rates, strict=True))


@pytest.mark.parametrize("name", ["sum(rate(nv_inference_request_success[1m]))", "census", "req/s", "Value"])
def test_an_export_of_a_dashboard_is_rates(csv_file, name):
    found = read(csv_file(export([50] * 120 + [100] * 120, name)))
    assert found.taken == f"trace.csv: {name} is requests per second, from Time (timestamps) on"
    assert found.traffic.duration_seconds == 3600
    assert rate(found.traffic, 0, 1800) == pytest.approx(50, rel=0.03)
    assert rate(found.traffic, 1800, 3600) == pytest.approx(100, rel=0.03)


def test_a_gap_of_an_export_is_held_and_told(csv_file):
    found = read(csv_file(export([50] * 100 + ["", "null", "NaN", "undefined"] * 10 + [50] * 100)))
    assert found.gap_seconds == 600
    assert rate(found.traffic, 1500, 2100) == pytest.approx(50, rel=0.05), "missing is not zero"


def test_several_series_need_a_name(csv_file):
    text = "Time,a,b\n" + "".join(f"2025-11-01 12:00:{s:02d},{s % 7 + 5},{s % 5 + 9}\n" for s in range(60))
    with pytest.raises(ValueError, match="a, b may all be rates: name one with --rate-column"):
        read(csv_file(text))
    assert "b is requests per second" in read(csv_file(text), rates="b").taken
    assert read(csv_file(text), rates="-").traffic.arrivals.size == 60


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("time,status", "{0},200"),
        ("time,latency_ms", "{0},{1}"),
        ("time,promptTokens", "{0},{1}"),
        ("id,time", "{2},{0}"),
    ],
)
def test_a_load_test_in_even_steps_is_arrivals_for_all_its_columns(csv_file, header, row):
    lines = "".join(row.format(2 * n, n % 7 + 30, n) + "\n" for n in range(100))
    found = read(csv_file(f"{header}\n{lines}"))
    assert "each line is an arrival, at time" in found.taken
    assert found.traffic.arrivals.size == 100


def test_semicolons_and_tabs_separate_too(csv_file):
    for mark in ";\t":
        text = export([50] * 20, "req/s").replace('",', f'"{mark}')
        assert read(csv_file(text)).traffic.duration_seconds == 300
