"""The picture shows what the result says, the same each time, with units."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from throughline.api.batching import BatchSettings
from throughline.simulate import picture
from throughline.simulate.autoscalers.fixed import Fixed
from throughline.simulate.comparison import Comparison
from throughline.simulate.loadtest import capacity
from throughline.simulate.run import Case, run_autoscaler
from throughline.simulate.traffic import poisson
from throughline.simulate.types import Environment, Event, Truth
from throughline.simulate.world import Moment

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

ONE, EIGHT = BatchSettings(max_batch_size=1), BatchSettings(max_batch_size=8, max_queue_delay_microseconds=2000)
TITLE = "default/a on poisson"


@pytest.fixture(scope="module")
def case() -> Case:
    events = (Event(300.0, "cost", 2.0),)
    load = replace(poisson(30.0, 480.0, seed=1), warmup_seconds=120.0, events=events)
    return Case(Truth(20_000, 4_000), Environment(price_per_hour=3.0), load, 200_000.0)


@pytest.fixture(scope="module")
def comparison(case: Case) -> Comparison:
    def run(name: str, replicas: int) -> Any:
        return run_autoscaler(case, Fixed(EIGHT, replicas, name=name), replicas=replicas)

    ours = run("Throughline", 2)
    moments = (Moment(0.0, 2, 2, ONE), Moment(200.0, 4, 2, EIGHT), Moment(240.0, 4, 4, EIGHT))
    return Comparison(replace(ours, moments=moments), (run("KEDA", 3), run("KPA", 30)), run("constant", 2))


def panels(comparison: Comparison, case: Case) -> list[Axes]:
    return picture.draw(comparison, case, TITLE).axes


def lines(panel: Axes) -> dict[str, Any]:
    return {line.get_label(): line for line in panel.get_lines()}


def value_at(line: Any, minutes: float) -> float:
    """Of a line of steps."""
    x, y = line.get_data()
    return float(y[np.searchsorted(x, minutes, side="right") - 1])


def test_each_panel_is_labelled_with_units(comparison: Comparison, case: Case, tmp_path: Path) -> None:
    file = tmp_path / "a.svg"
    picture.save(comparison, case, file, title=TITLE)
    words = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]+)</text>", file.read_text())]
    for word in (
        TITLE, "Demand and capacity", "requests/s", "Replicas", "replicas", "max batch", "p99 (ms)", "SLO 200 ms",
        "Time since the start (minutes)", "cost", "Throughline", "KEDA", "constant", "warm-up", "ready", "ordered",
        "2ms × 1",
    ):  # fmt: skip
        assert word in words


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_same_each_time(comparison: Comparison, case: Case, tmp_path: Path, suffix: str) -> None:
    files = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for file in files:
        picture.save(comparison, case, file, title=TITLE)
    first, second = (file.read_bytes() for file in files)
    assert first == second
    assert first.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")


def test_capacity_is_that_of_the_ready_replicas_at_the_cost_of_the_time(comparison: Comparison, case: Case) -> None:
    line = lines(panels(comparison, case)[0])["capacity of the ready replicas"]
    slow = replace(case.truth, factor=2.0)
    assert value_at(line, 1.0) == pytest.approx(2 * capacity(case.truth, ONE, case.slo_us))
    assert value_at(line, 3.5) == pytest.approx(2 * capacity(case.truth, EIGHT, case.slo_us)), "ordered is not ready"
    assert value_at(line, 4.5) == pytest.approx(4 * capacity(case.truth, EIGHT, case.slo_us))
    assert value_at(line, 7.0) == pytest.approx(4 * capacity(slow, EIGHT, case.slo_us)), "since then it costs twice"


def test_capacity_knows_what_an_item_costs(comparison: Comparison, case: Case) -> None:
    deploy = replace(case.traffic, events=(Event(300.0, "item cost", 2.0),))
    line = lines(panels(comparison, replace(case, traffic=deploy))[0])["capacity of the ready replicas"]
    slow = replace(case.truth, beta_us=2 * case.truth.beta_us)
    assert value_at(line, 4.5) == pytest.approx(4 * capacity(case.truth, EIGHT, case.slo_us))
    assert value_at(line, 7.0) == pytest.approx(4 * capacity(slow, EIGHT, case.slo_us))


def test_replicas_ordered_and_ready(comparison: Comparison, case: Case) -> None:
    found = lines(panels(comparison, case)[1])
    assert (value_at(found["ordered"], 3.5), value_at(found["ready"], 3.5)) == (4.0, 2.0)


def test_demand_is_per_second(comparison: Comparison, case: Case) -> None:
    line = next(line for label, line in lines(panels(comparison, case)[0]).items() if label.startswith("_"))
    assert float(np.mean(line.get_ydata())) == pytest.approx(30.0, rel=0.05)


def test_cost_ends_at_what_the_table_says(comparison: Comparison, case: Case) -> None:
    panel = panels(comparison, case)[4]
    found = lines(panel)
    for result in (comparison.ours, comparison.autoscalers[0], comparison.fixed):
        assert result is not None
        x, y = found[result.contender].get_data()
        assert y[-1] == pytest.approx(result.cost)
        assert (x[0], y[0]) == (2.0, 0.0), "from the end of the warm-up"
    assert "other autoscalers, some beyond the top" in found, "30 replicas would press all others to the floor"
    assert panel.get_ylim()[1] < comparison.autoscalers[1].cost


def test_latency_is_in_milliseconds_beside_the_slo(comparison: Comparison, case: Case) -> None:
    found = lines(panels(comparison, case)[3])
    assert found["SLO 200 ms"].get_ydata()[0] == 200.0
    known = [us for us in comparison.ours.p99_by_bucket_us if us is not None]
    assert max(found["p99 of 15 s"].get_ydata()) == pytest.approx(max(known[:32]) / 1e3)


def test_a_long_trace_shows_the_range_of_what_it_draws_together(comparison: Comparison, case: Case) -> None:
    hours = replace(case, traffic=replace(case.traffic, duration_seconds=6 * 3600.0))
    buckets = int(hours.traffic.duration_seconds / 15)
    p99 = tuple(None if i < 42 else 50_000.0 + 1000.0 * (i % 3) for i in range(buckets))
    ours = replace(
        comparison.ours, p99_by_bucket_us=p99, demand_by_bucket=np.full(buckets, 450),
        paid_by_bucket=np.full(buckets, 30.0),
    )  # fmt: skip
    long = panels(Comparison(ours), hours)
    assert long[4].get_xlabel() == "Time since the start (hours)"
    line = lines(long[3])["p99 of 15 s, median"]
    assert set(line.get_ydata()) == {51.0}, "of each three; where nothing was answered there is no point"
    assert line.get_xdata()[0] > 600 / 3600
    assert any("least and most in 45 s" in str(c.get_label()) for c in long[3].collections)


def test_short_stretches_of_settings_are_told_as_a_range(comparison: Comparison, case: Case) -> None:
    other = EIGHT.model_copy(update={"max_queue_delay_microseconds": 500, "instances": 2})
    moments = [Moment(0.0, 2, 2, ONE)]
    moments += [Moment(240.0 + 20.0 * i, 2, 2, (EIGHT, other)[i % 2]) for i in range(12)]
    panel = panels(replace(comparison, ours=replace(comparison.ours, moments=tuple(moments))), case)[2]
    texts = [text.get_text() for text in panel.texts]
    assert texts[0] == "0 × 1"
    assert len(texts) >= 3
    assert set(texts[1:]) == {"500µs–2ms × 1–2"}


def test_nobody_answered(comparison: Comparison, case: Case, tmp_path: Path) -> None:
    nothing = replace(comparison.ours, p99_by_bucket_us=(None,) * len(comparison.ours.p99_by_bucket_us))
    picture.save(Comparison(nothing), case, tmp_path / "a.svg", title=TITLE)
    assert "SLO 200 ms" in (tmp_path / "a.svg").read_text()
