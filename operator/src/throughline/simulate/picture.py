"""A simulation as a picture: demand and capacity, replicas, batch settings, p99 against the SLO, cost; one time axis.

Colours are Okabe & Ito's, which the colour-blind can tell apart; widths and dashes differ too, for print in grey.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from throughline.domain.formatting import duration, plain
from throughline.simulate.loadtest import capacity
from throughline.simulate.types import COST_KINDS, truth_after
from throughline.simulate.world import BUCKET_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from throughline.api.batching import BatchSettings
    from throughline.simulate.comparison import Comparison
    from throughline.simulate.run import Case, Result
    from throughline.simulate.world import Moment

    Floats = NDArray[np.float64]

BLUE, ORANGE, VERMILLION, GREY, BLACK = "#0072B2", "#E69F00", "#D55E00", "#8C8C8C", "#000000"
SIZE_INCHES = (9.0, 11.0)
HEIGHTS = (1.25, 1.0, 0.85, 1.15, 1.25)
DPI = 150
COLUMNS = 480  # of a time axis; more than that the eye does not tell apart
LABEL_SHARE = 0.13  # of the axis, from one label of settings to the next
WARMUP_LABEL_SHARE = 0.07
CUT = 2.5  # times the dearest line that has a name: what costs more leaves the panel
LOG_FROM = 8.0  # a range of this many times its least reads better on a logarithmic axis
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "throughline", "svg.fonttype": "none", "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"], "font.size": 9.5, "axes.spines.top": False,
    "axes.spines.right": False, "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": "#E4E4E4", "grid.linewidth": 0.7, "axes.axisbelow": True,
    "legend.frameon": False, "legend.fontsize": 8.5,
}  # fmt: skip


def save(comparison: Comparison, case: Case, path: str | Path, *, title: str) -> None:
    """Write the picture as the path's suffix says; the same comparison gives the same file."""
    path = Path(path)
    with rc_context(STYLE):
        figure = draw(comparison, case, title)
        metadata: dict[str, Any] = {"Title": title}
        if path.suffix == ".svg":
            metadata["Date"] = None
        figure.savefig(path, dpi=DPI, metadata=metadata)


def draw(comparison: Comparison, case: Case, title: str) -> Figure:
    """The figure. Panels share the time axis."""
    axis = _Time(case.traffic.duration_seconds, case.traffic.warmup_seconds)
    figure = Figure(figsize=SIZE_INCHES, layout=ConstrainedLayoutEngine(h_pad=0.06, hspace=0.02))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11.5)
    panels: Sequence[Axes] = figure.subplots(len(HEIGHTS), 1, sharex=True, height_ratios=HEIGHTS)
    ours = comparison.ours
    _demand(panels[0], axis, ours, case)
    _replicas(panels[1], axis, ours)
    _settings(panels[2], axis, ours)
    _latency(panels[3], axis, ours, case.slo_us)
    _cost(panels[4], axis, comparison, case)
    for panel in panels:
        panel.axvspan(0.0, axis.warmup, color="#F3F3F3", zorder=0, linewidth=0)
    if axis.warmup >= WARMUP_LABEL_SHARE * axis.end:
        panels[0].text(
            axis.warmup / 2.0, 0.97, "warm-up", transform=panels[0].get_xaxis_transform(), ha="center", va="top",
            fontsize=8, color="#5A5A5A",
        )  # fmt: skip
    panels[-1].set_xlim(0.0, axis.end)
    panels[-1].xaxis.set_major_locator(MaxNLocator(nbins=9, steps=[1, 2, 3, 6, 10]))
    panels[-1].set_xlabel(f"Time since the start ({axis.unit})")
    figure.align_ylabels(panels)
    return figure


class _Time:
    """Seconds to the axis' unit, and buckets to as many columns as can be seen."""

    def __init__(self, seconds: float, warmup_seconds: float) -> None:
        self.unit, self.scale = next(
            (unit, scale)
            for unit, scale, least in (("days", 86_400.0, 4.0), ("hours", 3600.0, 3.0), ("minutes", 60.0, 0.0))
            if seconds >= least * scale
        )  # fmt: skip
        self.seconds = seconds
        self.end, self.warmup = seconds / self.scale, warmup_seconds / self.scale
        self.buckets = max(1, int(seconds / BUCKET_SECONDS))  # whole ones; the rest of the last would look like a fall
        self.group = -(-self.buckets // COLUMNS)

    def columns(self, by_bucket: Sequence[float] | Floats) -> Floats:
        """One row per column, its buckets side by side; NaN where the last has fewer."""
        values = np.asarray(by_bucket[: self.buckets], dtype=np.float64)
        padded = np.full(-(-values.size // self.group) * self.group, np.nan)
        padded[: values.size] = values
        return padded.reshape(-1, self.group)

    def middles(self, columns: int) -> Floats:
        width = self.group * BUCKET_SECONDS
        middles: Floats = np.minimum((np.arange(columns) + 0.5) * width, self.seconds) / self.scale
        return middles

    def steps(self, points: Sequence[tuple[float, float]]) -> tuple[Floats, Floats]:
        """(time in seconds, value from then on) to the end, for a line of steps."""
        times = np.array([*(at for at, _ in points), self.seconds]) / self.scale
        return times, np.array([*(value for _, value in points), points[-1][1]])

    @property
    def column_text(self) -> str:
        seconds = self.group * BUCKET_SECONDS
        return f"{seconds:.0f} s" if seconds < 120 else f"{plain(seconds / 60, 3)} min"


def _thousands(value: float, _: int = 0) -> str:
    return f"{value:,.10g}"


def _limits(panel: Axes, least: float, most: float) -> None:
    """Logarithmic where the range is wide and there is no zero; else from zero."""
    if least > 0.0 and most >= LOG_FROM * least:
        panel.set_yscale("log")
        panel.set_ylim(least / 1.3, most * 1.5)
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
        panel.yaxis.set_minor_formatter(NullFormatter())
    else:
        panel.set_ylim(0.0, most * 1.12)
    panel.yaxis.set_major_formatter(FuncFormatter(_thousands))


def _legend(panel: Axes, columns: int = 4) -> None:
    """Above the panel, at the right of its title."""
    panel.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=columns, borderaxespad=0.0, handlelength=2.4)


def _demand(panel: Axes, axis: _Time, ours: Result, case: Case) -> None:
    per_second = np.nanmean(axis.columns(ours.demand_by_bucket / BUCKET_SECONDS), axis=1)
    panel.fill_between(axis.middles(per_second.size), per_second, color="#C9C9C9", linewidth=0, label="demand")
    panel.plot(axis.middles(per_second.size), per_second, color="#6E6E6E", linewidth=0.8)
    points = _capacity(ours.moments, case)
    panel.step(*axis.steps(points), where="post", color=BLUE, linewidth=1.6, label="capacity of the ready replicas")
    panel.set_ylim(0.0, 1.12 * max(float(per_second.max()), *(value for _, value in points)))
    panel.yaxis.set_major_formatter(FuncFormatter(_thousands))
    panel.set(title="Demand and capacity", ylabel="requests/s")
    _legend(panel)


def _capacity(moments: Sequence[Moment], case: Case) -> list[tuple[float, float]]:
    """Requests per second that the ready replicas carry within the SLO, at the model's cost of the time. A leak, which
    each replica has its own of, is not in it.
    """
    costs = sorted((e for e in case.traffic.events if e.kind in COST_KINDS), key=lambda e: e.at_seconds)
    times = sorted({0.0, *(moment.at_seconds for moment in moments), *(e.at_seconds for e in costs)})
    points = []
    for time in times:
        moment = next(m for m in reversed(moments) if m.at_seconds <= time)
        truth = truth_after(case.truth, (e for e in costs if e.at_seconds <= time))
        one = capacity(truth, moment.settings, case.slo_us)
        points.append((time, moment.ready * one))
    return points


def _replicas(panel: Axes, axis: _Time, ours: Result) -> None:
    ordered = [(moment.at_seconds, float(moment.replicas)) for moment in ours.moments]
    ready = [(moment.at_seconds, float(moment.ready)) for moment in ours.moments]
    panel.step(*axis.steps(ready), where="post", color=BLUE, linewidth=1.8, label="ready")
    panel.step(*axis.steps(ordered), where="post", color=BLACK, linewidth=1.0, linestyle=(0, (3, 2)), label="ordered")
    panel.set_ylim(0.0, 1.15 * max(value for _, value in ordered + ready))
    panel.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    panel.set(title="Replicas", ylabel="replicas")
    _legend(panel)


def _settings(panel: Axes, axis: _Time, ours: Result) -> None:
    """The line is max batch; queue delay × instances stand above, as far as there is room."""
    moments = ours.moments
    changed = [moments[0], *(b for a, b in pairwise(moments) if a.settings != b.settings)]
    points = [(m.at_seconds, float(max(1, m.settings.max_batch_size))) for m in changed]
    panel.step(*axis.steps(points), where="post", color=BLUE, linewidth=1.8)
    sizes = {value for _, value in points}
    panel.set_yscale("log", base=2)
    panel.set_ylim(min(sizes) / 1.5, max(sizes) * 5.0)
    most = int(max(sizes))
    panel.set_yticks([2**n for n in range(most.bit_length()) if most < 8 or n % 2 == (most.bit_length() - 1) % 2])
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.yaxis.set_major_formatter(FuncFormatter(_thousands))
    for start, end, text in _stretches(changed, axis.seconds):
        panel.plot(
            [start / axis.scale, end / axis.scale], [max(sizes) * 1.7] * 2, color=GREY, linewidth=0.8, marker="|"
        )
        middle = (start + end) / 2.0 / axis.scale
        panel.annotate(
            text, (middle, max(sizes) * 1.7), (0, 3), textcoords="offset points", fontsize=8, ha="center", va="bottom"
        )
    panel.set(title="Batch settings (above: queue delay × instances)", ylabel="max batch")


def _stretches(changed: Sequence[Moment], end_seconds: float) -> list[tuple[float, float, str]]:
    """(start, end, text) of stretches wide enough for their text; short ones in a row are told as a range."""
    wide = LABEL_SHARE * end_seconds
    found: list[tuple[float, float, list[BatchSettings]]] = []
    for moment, end in zip(changed, [*(m.at_seconds for m in changed[1:]), end_seconds], strict=True):
        start, settings = moment.at_seconds, moment.settings
        if found:
            before, until, seen = found[-1]
            same = {_apart(other) for other in seen} == {_apart(settings)}
            if same or (until - before < wide and end - start < wide):
                found[-1] = (before, end, [*seen, settings])
                continue
        found.append((start, end, [settings]))
    return [(start, end, _range_text(seen)) for start, end, seen in found if end - start >= wide]


def _apart(settings: BatchSettings) -> tuple[int, int]:
    """What the line of max batch does not tell."""
    return settings.max_queue_delay_microseconds, settings.instances


def _range_text(seen: Sequence[BatchSettings]) -> str:
    delays = sorted({settings.max_queue_delay_microseconds for settings in seen})
    counts = sorted({settings.instances for settings in seen})
    texts = [duration(delay) if delay else "0" for delay in (delays[0], delays[-1])]
    return f"{'–'.join(dict.fromkeys(texts))} × {'–'.join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))}"


def _latency(panel: Axes, axis: _Time, ours: Result, slo_us: float) -> None:
    milliseconds = axis.columns([np.nan if us is None else us / 1e3 for us in ours.p99_by_bucket_us])
    known = milliseconds[~np.isnan(milliseconds).all(axis=1)]
    middles = axis.middles(milliseconds.shape[0])[~np.isnan(milliseconds).all(axis=1)]
    slo = slo_us / 1e3
    label = f"p99 of {BUCKET_SECONDS:.0f} s"
    if axis.group > 1:
        low, high = np.nanmin(known, axis=1), np.nanmax(known, axis=1)
        panel.fill_between(
            middles, low, high, color="#A9CCE3", linewidth=0, label=f"least and most in {axis.column_text}"
        )
        label += ", median"
    panel.plot(middles, np.nanmedian(known, axis=1), color=BLUE, linewidth=1.2, label=label)
    panel.axhline(slo, color=VERMILLION, linewidth=1.6, linestyle=(0, (6, 2)), label=f"SLO {slo:,g} ms")
    # The first minutes of a new service would set the scale for all others.
    counted = known[middles > axis.warmup]
    values = np.append(counted[~np.isnan(counted)], slo)
    _limits(panel, float(values.min()), float(values.max()))
    panel.set(title="Latency", ylabel="p99 (ms)")
    _legend(panel)


def _cost(panel: Axes, axis: _Time, comparison: Comparison, case: Case) -> None:
    """Summed from the end of the warm-up, so that the line ends at what the table says."""
    first = int(case.traffic.warmup_seconds / BUCKET_SECONDS)
    price = case.environment.price_per_hour / 3600.0

    def line(result: Result, **style: Any) -> float:
        total = np.append(0.0, np.cumsum(result.paid_by_bucket[first:])) * price
        times = np.minimum((first + np.arange(total.size)) * BUCKET_SECONDS, axis.seconds) / axis.scale
        panel.plot(times, total, **style)
        return float(total[-1])

    best, fixed = comparison.cheapest, comparison.fixed
    named = [line(comparison.ours, color=BLUE, linewidth=2.4, zorder=4, label="Throughline")]
    if best is not None:
        style = {"color": ORANGE, "linewidth": 2.0, "linestyle": (0, (5, 1.5)), "zorder": 5}
        named.append(line(best, **style, label=best.contender))
    if fixed is not None:
        named.append(line(fixed, color=BLACK, linewidth=1.3, linestyle=(0, (1, 1.5)), label=fixed.contender))
    rest = [
        line(result, color="#BDBDBD", linewidth=0.8, zorder=1)
        for result in comparison.autoscalers
        if result is not best
    ]
    top = min(max(named + rest), CUT * max(named))
    if rest:
        beyond = ", some beyond the top" if max(rest) > top else ""
        panel.plot([], [], color="#BDBDBD", linewidth=0.8, label=f"other autoscalers{beyond}")
    panel.set_ylim(0.0, 1.05 * top or 1.0)
    panel.yaxis.set_major_formatter(FuncFormatter(_thousands))
    panel.set(title="Cost since the warm-up", ylabel="cost")
    panel.legend(loc="upper left", frameon=True, framealpha=0.9, edgecolor="none")
