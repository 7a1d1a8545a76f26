"""The report as one HTML file: no script, nothing from elsewhere, pictures inside. What comes from data is escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from throughline.evaluator.report import content, plots

if TYPE_CHECKING:
    from throughline.evaluator.report.content import Report

_PAGE = "page.html.j2"


def render(report: Report) -> str:
    """The page. The same report gives the same bytes."""
    environment = Environment(
        loader=PackageLoader("throughline.evaluator", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": content.number,
        "signed": content.signed,
        "named": content.named,
    }
    environment.globals |= {
        "interval": content.interval,
        "signed_interval": content.signed_interval,
        "bound_of": content.bound_of,
        "outcome": content.outcome,
    }
    page = environment.get_template(_PAGE)
    return page.render(report=report, result=report.result, comparison=report.comparison, pictures=_pictures(report))


def _pictures(report: Report) -> dict[str, list[Markup]]:
    """Where there is something to show. Markup: the SVG is ours, and its texts were escaped when it was written."""
    result, comparison = report.result, report.comparison
    found: dict[str, list[Markup]] = {"calibration": [], "confusion": [], "slices": [], "differences": [], "curves": []}
    if result.calibration and any(b.rows for b in result.calibration):
        found["calibration"].append(_trusted(plots.calibration(result.calibration)))
    matrix = result.confusion_matrix
    if matrix is not None and len(matrix.classes) <= plots.CLASSES_AT_MOST:
        found["confusion"].append(_trusted(plots.confusion(matrix)))
    if result.slices:
        known = {e.metric for s in result.slices for e in s.metrics if e.value is not None}
        found["slices"] += [_trusted(plots.slices(result, e.metric)) for e in result.metrics if e.metric in known]
    if result.robustness is not None:
        clean = result.robustness.clean
        found["curves"] += [_trusted(plots.curve(one, clean)) for one in result.robustness.perturbations]
    if comparison is not None:
        known = {d.metric for v in comparison.variants for d in v.metrics if d.value is not None}
        found["differences"] += [_trusted(plots.differences(comparison, name)) for name in sorted(known)]
    return found


def _trusted(svg: str) -> Markup:
    return Markup(svg)  # noqa: S704 - made by plots.svg, which escapes every text
