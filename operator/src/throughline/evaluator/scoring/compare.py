"""`compare`: variants of a model on the same rows, as paired differences, and which of their components mattered."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from throughline.api.evaluationresult import (
    Comparison,
    Difference,
    Effect,
    GapDifference,
    SliceDifference,
    VariantComparison,
)
from throughline.evaluator.scoring.errors import ScoringError
from throughline.evaluator.scoring.intervals import UNDEFINED
from throughline.evaluator.scoring.predictions import read
from throughline.evaluator.scoring.resampling import NO_ROW_SCORES, resample, scopes_of
from throughline.evaluator.scoring.score import scopes_of_gap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from throughline.api.evaluationsuite import EvaluationSuiteSpec, Gap
    from throughline.evaluator.scoring.bootstrap import Scopes
    from throughline.evaluator.scoring.resampling import Resampled
    from throughline.evaluator.scoring.values import Floats

    Components = Mapping[str, Mapping[str, str]]

GAP_NOTE = "Intervals of differences of gaps are approximate, the more so the more slices are nearly alike."
NOTES = (
    "Each interval stands on its own; of many, some exclude zero by chance.",
    "Intervals are of the sampling of rows only: another training run of the same variant would differ by more.",
)


def compare(
    suite: EvaluationSuiteSpec,
    table: pa.Table,
    outputs: Mapping[str, np.ndarray[Any, Any]],
    baseline: str,
    components: Components | None = None,
) -> Comparison:
    """Differences of variants to the baseline, overall, per slice and of the largest gaps, by paired bootstrap.

    Args:
        suite: Task, metrics, slices and gaps.
        table: The rows.
        outputs: Variant → what it returned for the rows, [rows, …].
        baseline: The variant that the others are compared with.
        components: Variant → component → its value, such as {"int8": {"precision": "int8"}}; with it the effect of
            each component alone is told where two variants differ in nothing else.

    Raises:
        ScoringError: Outputs, rows and suite do not fit, or a name is not one of the outputs.
    """
    if baseline not in outputs:
        raise ScoringError("baseline", f"{baseline!r} is no variant; there are {', '.join(outputs)}")
    missing = [] if components is None else [name for name in outputs if name not in components]
    if missing:
        raise ScoringError("components", f"{', '.join(missing)}: no components are named; name them for every variant")
    predictions = {name: read(suite, table, output) for name, output in outputs.items()}
    scopes = scopes_of(suite, table, predictions[baseline].unit_of_row)
    found, notes = resample(suite, predictions, scopes)
    variants = [
        VariantComparison(
            variant=name,
            metrics=_differences(suite, found[baseline], found[name], 0),
            slices=list(_slices(suite, scopes, found[baseline], found[name])),
            gaps=[_gap(suite, gap, scopes, found[baseline], found[name]) for gap in suite.gaps],
        )
        for name in outputs
        if name != baseline
    ]
    return Comparison(
        baseline=baseline,
        rows=table.num_rows,
        confidence_percent=suite.intervals.confidence_percent,
        resamples=suite.intervals.resamples,
        seed=suite.intervals.seed,
        variants=variants,
        effects=list(_effects(suite, components, found, baseline)) if components else [],
        notes=[*NOTES, *([GAP_NOTE] if suite.gaps else []), *predictions[baseline].notes, *notes],
    )


def _ends(resampled: Floats, alpha: float) -> tuple[float, float] | None:
    """The percentile interval; None where too many resamples have no value."""
    known = resampled[~np.isnan(resampled)]
    if len(known) < (1 - UNDEFINED) * len(resampled):
        return None
    low, high = np.quantile(known, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def _differences(suite: EvaluationSuiteSpec, before: Resampled, after: Resampled, scope: int) -> list[Difference]:
    return [_difference(metric, before, after, scope) for metric in suite.metric_names()]


def _difference(metric: str, before: Resampled, after: Resampled, scope: int) -> Difference:
    one, other = before.points[metric][scope], after.points[metric][scope]
    known = Difference(metric=metric, baseline=one.value, variant=other.value, rows=other.units)
    if one.value is None or other.value is None:
        return known.model_copy(update={"reason": one.reason or other.reason})
    known = known.model_copy(update={"value": other.value - one.value})
    if metric not in before.resamples or metric not in after.resamples:
        return known.model_copy(update={"reason": NO_ROW_SCORES})
    ends = _ends(after.resamples[metric][scope] - before.resamples[metric][scope], before.alpha)
    if ends is None:
        return known.model_copy(update={"reason": "undefined in too many resamples: some class has too few rows"})
    return known.model_copy(update={"low": ends[0], "high": ends[1]})


def _slices(
    suite: EvaluationSuiteSpec, scopes: Scopes, before: Resampled, after: Resampled
) -> Iterator[SliceDifference]:
    for scope, (name, units) in enumerate(zip(scopes.names, scopes.places(), strict=True)):
        if name is None or (name[0].is_expression and name[1] != 0):
            continue
        yield SliceDifference(
            slice=name[0].name,
            value=name[0].values[name[1]],
            rows=len(units),
            too_small=len(units) < suite.minimum_slice_size,
            metrics=_differences(suite, before, after, scope),
        )


def _gap(suite: EvaluationSuiteSpec, gap: Gap, scopes: Scopes, before: Resampled, after: Resampled) -> GapDifference:
    """The largest of many differences is biased upwards, in each resample once more, and how much depends on how alike
    the slices are: more so for a variant without a gap than for one with a clear one. The percentile interval holds
    when both are biased alike, the basic one (2 × value − percentiles; Efron and Tibshirani 1993, chapter 13) when one
    is not, so the wider of the ends of both is given.
    """
    known = GapDifference(metric=gap.metric, slice=gap.slice)
    _, usable, _ = scopes_of_gap(suite, gap, scopes, [before, after])
    if len(usable) < 2:
        return known.model_copy(
            update={
                "reason": f"{len(usable)} of the slices have at least {suite.minimum_slice_size} rows and a value "
                "with an interval in both variants; two are needed"
            }
        )

    def spread(one: Resampled) -> tuple[float, Floats]:
        values = [one.points[gap.metric][scope].value for scope in usable]
        return float(np.ptp(np.array(values, dtype=np.float64))), np.ptp(one.resamples[gap.metric][usable], axis=0)

    (first, first_resampled), (second, second_resampled) = spread(before), spread(after)
    value = second - first
    resampled = second_resampled - first_resampled
    ends = _ends(resampled[~np.isnan(resampled)], before.alpha) or (0.0, 0.0)
    return known.model_copy(
        update={"baseline": first, "variant": second, "value": value}
        | {"low": min(ends[0], 2 * value - ends[1]), "high": max(ends[1], 2 * value - ends[0])}
    )


def _effects(
    suite: EvaluationSuiteSpec, components: Components, found: Mapping[str, Resampled], baseline: str
) -> Iterator[Effect]:
    """For every two values of a component: the mean difference over pairs of variants that differ in it alone."""
    names = list(dict.fromkeys(name for variant in found for name in components[variant]))
    for component in names:
        levels = list(dict.fromkeys(components[variant].get(component, "") for variant in [baseline, *found]))
        for before, after in combinations(levels, 2):
            pairs = list(_pairs(components, list(found), component, before, after))
            for metric in suite.metric_names():
                yield _effect(component, before, after, metric, pairs, found)


def _pairs(
    components: Components, variants: Sequence[str], component: str, before: str, after: str
) -> Iterator[tuple[str, str]]:
    def others(variant: str) -> dict[str, str]:
        return {name: value for name, value in components[variant].items() if name != component and value}

    for one in variants:
        for other in variants:
            ends = (components[one].get(component, ""), components[other].get(component, ""))
            if ends == (before, after) and others(one) == others(other):
                yield one, other


def _effect(
    component: str,
    before: str,
    after: str,
    metric: str,
    pairs: Sequence[tuple[str, str]],
    found: Mapping[str, Resampled],
) -> Effect:
    known = Effect(component=component, before=before, after=after, metric=metric, pairs=[list(pair) for pair in pairs])
    if not pairs:
        return known.model_copy(
            update={"reason": f"no two variants differ in {component} alone, so its effect cannot be told from others'"}
        )
    points = [(found[one].points[metric][0].value, found[other].points[metric][0].value) for one, other in pairs]
    values = [after - before for before, after in points if before is not None and after is not None]
    if len(values) < len(pairs):
        return known.model_copy(update={"reason": f"{metric} is not defined for all of the variants"})
    known = known.model_copy(update={"value": float(np.mean(values))})
    if any(metric not in found[name].resamples for pair in pairs for name in pair):
        return known.model_copy(update={"reason": NO_ROW_SCORES})
    resampled = np.mean([found[b].resamples[metric][0] - found[a].resamples[metric][0] for a, b in pairs], axis=0)
    ends = _ends(resampled, found[pairs[0][0]].alpha)
    if ends is None:
        return known.model_copy(update={"reason": "undefined in too many resamples: some class has too few rows"})
    return known.model_copy(update={"low": ends[0], "high": ends[1]})
