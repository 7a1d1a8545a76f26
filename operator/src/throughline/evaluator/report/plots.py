"""Pictures of a result, as SVG to stand in a page. The same result gives the same bytes.

Colours are Okabe & Ito's, which the colour-blind can tell apart.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from throughline.api.evaluationresult import Check
from throughline.evaluator.report.content import named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from throughline.api.evaluationresult import CalibrationBin, Comparison, ConfusionMatrix, EvaluationResult
    from throughline.api.robustness import PerturbationFinding, StrengthPoint

BLUE, ORANGE, VERMILLION, GREY = "#0072B2", "#E69F00", "#D55E00", "#8C8C8C"
CLASSES_AT_MOST = 30  # a confusion matrix of more is a carpet
SLICES_AT_MOST = 40
STYLE: dict[Any, Any] = {
    # Names come from data: a $ in them is no formula.
    "text.parse_math": False, "svg.fonttype": "none", "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"], "font.size": 9.0, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#E4E4E4", "grid.linewidth": 0.7,
    "axes.axisbelow": True, "legend.frameon": False,
}  # fmt: skip


def svg(name: str, draw: Callable[[Axes], None], size_inches: tuple[float, float]) -> str:
    """The <svg> element. `name` keeps its ids apart from those of other pictures of the page."""
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size_inches, layout="constrained")
        draw(figure.add_subplot())
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    # What comes before is for a file of its own.
    return text[text.index("<svg") :]


def calibration(bins: Sequence[CalibrationBin]) -> str:
    """Accuracy against confidence; the area of a point is its share of the rows."""
    used = [
        (b.confidence, b.accuracy, b.rows)
        for b in bins
        if b.rows and b.confidence is not None and b.accuracy is not None
    ]

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="calibrated")
        confidence, accuracy = [c for c, _, _ in used], [a for _, a, _ in used]
        most = max((rows for _, _, rows in used), default=1)
        axes.plot(confidence, accuracy, color=BLUE, linewidth=1)
        axes.scatter(confidence, accuracy, s=[12 + 140 * rows / most for _, _, rows in used], color=BLUE, alpha=0.8)
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
        axes.set_aspect("equal")
        axes.legend(loc="upper left")

    return svg("calibration", draw, (4.2, 4.2))


def confusion(matrix: ConfusionMatrix) -> str:
    """Rows are the truth, columns what the model took it for; shaded by the share of the true class."""
    counts = np.array(matrix.counts, dtype=np.float64)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    names = [named(c) for c in matrix.classes]

    def draw(axes: Axes) -> None:
        axes.grid(visible=False)
        # Not imshow: that puts an image into the picture, which a page without anything from elsewhere may not show.
        places = np.arange(len(names) + 1) - 0.5
        axes.pcolormesh(places, places, share, cmap="Blues", vmin=0.0, vmax=1.0)
        axes.set_aspect("equal")
        axes.invert_yaxis()
        axes.set_xticks(range(len(names)), names, rotation=45 if max(map(len, names)) > 3 else 0, ha="center")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="predicted", ylabel="true")
        if len(names) <= 12:
            for i, j in np.ndindex(*counts.shape):
                axes.text(
                    j, i, f"{int(counts[i, j]):,}", ha="center", va="center", fontsize=8,
                    color="white" if share[i, j] > 0.6 else "black",
                )  # fmt: skip

    side = min(9.0, 2.2 + 0.45 * len(names))
    return svg("confusion", draw, (side + 0.6, side))


def slices(result: EvaluationResult, metric: str) -> str:
    """One metric over all slices, with intervals; slices that are too small to be judged are hollow."""
    found = [
        (f"{named(s.slice)} = {named(s.value)}", s.too_small, e.value, e)
        for s in result.slices
        for e in s.metrics
        if e.metric == metric and e.value is not None
    ][:SLICES_AT_MOST]
    overall = next((e.value for e in result.metrics if e.metric == metric), None)
    bounds = [
        r.bound
        for r in (result.verdict.reasons if result.verdict is not None else [])
        if r.metric == metric and r.check in {Check.FLOOR, Check.CEILING} and r.bound is not None
    ]

    def draw(axes: Axes) -> None:
        for place, (_, small, value, e) in enumerate(found):
            if e.low is not None and e.high is not None:
                axes.plot([e.low, e.high], [place, place], color=BLUE, linewidth=1.6, alpha=0.4 if small else 1.0)
            axes.plot(value, place, "o", color=BLUE, markersize=5, markerfacecolor="white" if small else BLUE)
        if overall is not None:
            axes.axvline(overall, color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="all rows")
        for bound in bounds:
            axes.axvline(bound, color=VERMILLION, linewidth=1.4, label="bound for all rows")
        axes.set_yticks(range(len(found)), [label for label, _, _, _ in found])
        axes.invert_yaxis()
        axes.set(xlabel=named(metric))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)

    return svg(f"slices-{metric}", draw, (7.0, 1.2 + 0.26 * len(found)))


def differences(comparison: Comparison, metric: str) -> str:
    """One metric of each variant against the baseline."""
    found = [
        (named(v.variant), d.value, d)
        for v in comparison.variants
        for d in v.metrics
        if d.metric == metric and d.value is not None
    ]

    def draw(axes: Axes) -> None:
        axes.axvline(0.0, color=GREY, linewidth=1)
        for place, (_, value, d) in enumerate(found):
            if d.low is not None and d.high is not None:
                axes.plot([d.low, d.high], [place, place], color=ORANGE, linewidth=1.8)
            axes.plot(value, place, "o", color=ORANGE, markersize=5)
        axes.set_yticks(range(len(found)), [label for label, _, _ in found])
        axes.invert_yaxis()
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.set(xlabel=f"{named(metric)}, difference from {named(comparison.baseline)}")

    return svg(f"differences-{metric}", draw, (7.0, 1.1 + 0.3 * len(found)))


def curve(finding: PerturbationFinding, clean: StrengthPoint) -> str:
    """Robustness: accuracy against strength, with intervals."""
    points = sorted(finding.points, key=lambda point: point.strength)

    def draw(axes: Axes) -> None:
        strength = [p.strength for p in points]
        low, high = [p.low for p in points], [p.high for p in points]
        axes.fill_between(strength, low, high, color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(strength, [p.accuracy for p in points], "o-", color=BLUE, markersize=4, linewidth=1.4)
        axes.axhline(clean.accuracy, color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="unperturbed")
        axes.axhline(finding.floor, color=VERMILLION, linewidth=1.4, label="floor")
        axes.set(xlabel="strength", ylabel="accuracy", ylim=(0, 1.02), title=f"{named(finding.name)} ({finding.type})")
        axes.legend(loc="lower left")

    return svg(f"curve-{finding.name}", draw, (4.6, 3.2))
