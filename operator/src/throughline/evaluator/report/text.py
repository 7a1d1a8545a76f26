"""The report for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.evaluator.report.content import (
    Report,
    bound_of,
    interval,
    named,
    number,
    outcome,
    signed,
    signed_interval,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from throughline.api.evaluationresult import Comparison, Estimate, EvaluationResult


def render(report: Report) -> str:
    """Verdict and reasons first; then what they are made of."""
    parts = [*_result(report.result)]
    if report.comparison is not None:
        parts += _comparison(report)
    return "\n\n".join(parts) + "\n"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    cells = [headers, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)
    return "\n".join(f"  {line}" for line in lines)


def _result(result: EvaluationResult) -> Iterator[str]:
    groups = f" in {result.groups:,} groups" if result.groups is not None else ""
    head = [
        f"{named(result.suite or 'suite')} on {named(result.model or 'model')}: {outcome(result).upper()}",
        (
            f"{result.rows:,} rows{groups}; intervals of {result.confidence_percent} % "
            f"from {result.resamples:,} resamples, seed {result.seed}"
        ),
    ]
    yield "\n".join(head)
    reasons = result.verdict.reasons if result.verdict is not None else []
    if reasons:
        order = ("Failed", "Unknown", "Passed")
        lines = sorted(reasons, key=lambda r: order.index(r.outcome))
        yield "Verdict\n" + "\n".join(f"  {r.outcome.upper():<8} {named_line(r.message)}" for r in lines)
    rows = [
        [e.metric, number(e.value), interval(e.low, e.high), f"{e.rows:,}", bound_of(result, e) or (e.reason or "")]
        for e in result.metrics
    ]
    yield "Metrics\n" + table(["METRIC", "VALUE", "INTERVAL", "ROWS", "BOUND"], rows)
    yield from _slices(result)
    if result.gaps:
        gaps = [
            [
                g.metric, g.slice, number(g.value), interval(g.low, g.high), named(g.best or "-"),
                named(g.worst or "-"), g.reason or "",
            ]
            for g in result.gaps
        ]  # fmt: skip
        yield "Largest gaps\n" + table(["METRIC", "SLICE", "GAP", "INTERVAL", "BEST", "WORST", ""], gaps)
    if result.robustness is not None:
        points = [
            [named(f.name), f"{p.strength:g}", number(p.accuracy), interval(p.low, p.high), f"at least {f.floor:g}"]
            for f in result.robustness.perturbations
            for p in f.points
        ]
        head = ["PERTURBATION", "STRENGTH", "ACCURACY", "INTERVAL", "FLOOR"]
        yield f"Robustness (unperturbed {number(result.robustness.clean.accuracy)})\n" + table(head, points)
    digests = (("suite", result.suite_digest), ("data set", result.dataset_digest), ("model", result.model_digest))
    yield "Digests\n" + "\n".join(f"  {name:<9} {digest or 'not known'}" for name, digest in digests)
    if result.notes:
        yield "Notes\n" + "\n".join(f"  {named_line(note)}" for note in result.notes)


def _slices(result: EvaluationResult) -> Iterator[str]:
    for name in dict.fromkeys(s.slice for s in result.slices):
        slices = [s for s in result.slices if s.slice == name]
        metrics = [e.metric for e in slices[0].metrics]
        rows = [
            [named(s.value), f"{s.rows:,}{' (too few)' if s.too_small else ''}", *(_cell(e) for e in s.metrics)]
            for s in slices
        ]
        yield f"Slice {name}\n" + table(["VALUE", "ROWS", *metrics], rows)


def _cell(estimate: Estimate) -> str:
    around = interval(estimate.low, estimate.high)
    return number(estimate.value) + (f" [{around}]" if around else "")


def _comparison(report: Report) -> Iterator[str]:
    comparison: Comparison | None = report.comparison
    assert comparison is not None  # noqa: S101 - the caller looked
    rows = []
    for variant in comparison.variants:
        found = report.variants.get(variant.variant)
        verdict = outcome(found).lower() if found is not None else ""
        rows += [
            [
                named(variant.variant), verdict, d.metric, number(d.baseline), number(d.variant), signed(d.value),
                signed_interval(d.low, d.high),
            ]
            for d in variant.metrics
        ]  # fmt: skip
    head = ["VARIANT", "VERDICT", "METRIC", named(comparison.baseline), "VARIANT'S", "DIFFERENCE", "INTERVAL"]
    yield f"Against {named(comparison.baseline)}, on the same rows\n" + table(head, rows)
    gaps = [
        [named(v.variant), g.metric, g.slice, signed(g.value), signed_interval(g.low, g.high), g.reason or ""]
        for v in comparison.variants
        for g in v.gaps
    ]
    if gaps:
        head = ["VARIANT", "METRIC", "SLICE", "GAP GREW BY", "INTERVAL", ""]
        yield "Change of the largest gaps\n" + table(head, gaps)
    effects = [
        [
            named(e.component), f"{named(e.before)} → {named(e.after)}", e.metric, signed(e.value),
            signed_interval(e.low, e.high), e.reason or "",
        ]
        for e in comparison.effects
    ]  # fmt: skip
    if effects:
        yield "What each component does\n" + table(["COMPONENT", "CHANGE", "METRIC", "EFFECT", "INTERVAL", ""], effects)


def named_line(text: str) -> str:
    """A message, on one line and without control characters, at its length."""
    return "".join(c if c.isprintable() else " " for c in text)
