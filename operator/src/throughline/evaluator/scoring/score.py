"""`score`: one model's output against a suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from throughline.api.evaluationmetrics import LOWER_IS_BETTER
from throughline.api.evaluationresult import Estimate, EvaluationResult, GapResult, SliceResult
from throughline.domain.evaluation.verdict import judge
from throughline.evaluator.scoring.classification import Classified
from throughline.evaluator.scoring.gaps import largest_gap
from throughline.evaluator.scoring.predictions import read
from throughline.evaluator.scoring.resampling import NO_ROW_SCORES, resample, scopes_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import pyarrow as pa

    from throughline.api.evaluationsuite import EvaluationSuiteSpec, Gap
    from throughline.evaluator.scoring.bootstrap import Scopes
    from throughline.evaluator.scoring.predictions import Predictions
    from throughline.evaluator.scoring.resampling import Resampled
    from throughline.evaluator.scoring.slices import Partition

SHOWN = 5  # slices in a message


def score(suite: EvaluationSuiteSpec, table: pa.Table, output: np.ndarray[Any, Any]) -> EvaluationResult:
    """What the output is worth: metrics, slices and gaps with their intervals, and the verdict.

    Args:
        suite: Task, metrics, slices and bounds.
        table: The rows of the data set, with the columns that the suite names.
        output: What the model returned for them, [rows, …], in their order.

    Raises:
        ScoringError: Suite, rows and output do not fit together; names the field.
    """
    return score_predictions(suite, table, read(suite, table, output))


def score_predictions(suite: EvaluationSuiteSpec, table: pa.Table, predictions: Predictions) -> EvaluationResult:
    """What predictions are worth that were matched with the rows already.

    Raises:
        ScoringError: A slice cannot be made.
    """
    scopes = scopes_of(suite, table, predictions.unit_of_row)
    results, notes = resample(suite, {"": predictions}, scopes)
    found = results[""]
    scored = predictions.scored
    result = EvaluationResult(
        rows=table.num_rows,
        groups=scopes.units if predictions.unit_of_row is not None else None,
        confidence_percent=suite.intervals.confidence_percent,
        resamples=suite.intervals.resamples,
        seed=suite.intervals.seed,
        metrics=_estimates(suite, found, 0),
        slices=_slices(suite, scopes, found, predictions.unit_of_row),
        gaps=[gap_of(suite, gap, scopes, found) for gap in suite.gaps],
        confusion_matrix=scored.confusion_matrix() if isinstance(scored, Classified) else None,
        calibration=scored.calibration() if isinstance(scored, Classified) else None,
        notes=[*predictions.notes, *notes],
    )
    return result.model_copy(update={"verdict": judge(suite, result)})


def _estimates(suite: EvaluationSuiteSpec, found: Resampled, scope: int) -> list[Estimate]:
    estimates = []
    for metric in suite.metric_names():
        point = found.points[metric][scope]
        low, high = found.ends(metric, scope)
        estimates.append(
            Estimate(
                metric=metric,
                value=point.value,
                low=low,
                high=high,
                rows=point.units,
                reason=found.reason(metric, scope),
            )
        )
    return estimates


def _slices(
    suite: EvaluationSuiteSpec, scopes: Scopes, found: Resampled, unit_of_row: np.ndarray[Any, Any] | None
) -> list[SliceResult]:
    slices = []
    for scope, (name, units) in enumerate(zip(scopes.names, scopes.places(), strict=True)):
        if name is None or (name[0].is_expression and name[1] != 0):
            continue  # everything; and the rows outside an expression, which are there for gaps only
        rows = len(units) if unit_of_row is None else int(np.isin(unit_of_row, units).sum())
        slices.append(
            SliceResult(
                slice=name[0].name,
                value=name[0].values[name[1]],
                rows=rows,
                groups=None if unit_of_row is None else len(units),
                too_small=len(units) < suite.minimum_slice_size,
                metrics=_estimates(suite, found, scope),
            )
        )
    return slices


def scopes_of_gap(
    suite: EvaluationSuiteSpec, gap: Gap, scopes: Scopes, found: Sequence[Resampled]
) -> tuple[Partition, list[int], list[int]]:
    """Partition of the gap, and the places of the scopes that can be compared in all of `found`, and of the others."""
    names, places = scopes.names, scopes.places()
    own = [scope for scope, name in enumerate(names) if name is not None and name[0].name == gap.slice]
    part = next(p for p in scopes.partitions if p.name == gap.slice)
    usable = [
        scope
        for scope in own
        if len(places[scope]) >= suite.minimum_slice_size and all(one.usable(gap.metric, scope) for one in found)
    ]
    return part, usable, [scope for scope in own if scope not in usable and len(places[scope])]


def gap_of(suite: EvaluationSuiteSpec, gap: Gap, scopes: Scopes, found: Resampled) -> GapResult:
    """The largest gap between slices that are large enough and have a value."""
    part, usable, left_out = scopes_of_gap(suite, gap, scopes, [found])
    first = next(scope for scope, name in enumerate(scopes.names) if name is not None and name[0] is part)

    places = scopes.places()

    def names(of: list[int]) -> list[str]:
        return [part.values[scope - first] for scope in of]

    known = GapResult(
        metric=gap.metric,
        slice=gap.slice,
        compared=names(usable),
        left_out=names(left_out),
        left_out_reasons=[
            f"{name}: {_left_out(suite, gap.metric, found, scope, len(places[scope]))}"
            for name, scope in zip(names(left_out), left_out, strict=True)
        ],
    )
    if gap.metric not in found.resamples:
        return known.model_copy(update={"reason": found.reason(gap.metric, 0) or NO_ROW_SCORES})
    if len(usable) < 2:
        have = f"{names(usable)[0]} alone" if usable else "no slice"
        why = "; ".join([f"{have} can be judged, and two are needed", *known.left_out_reasons[:SHOWN]])
        return known.model_copy(update={"reason": why})
    values = np.array([found.points[gap.metric][scope].value for scope in usable], dtype=np.float64)
    resampled = found.resamples[gap.metric][usable]
    resampled = resampled[:, ~np.isnan(resampled).any(axis=0)]
    hidden = np.array([found.hidden(gap.metric, scope) for scope in usable])
    largest = largest_gap(values, resampled, hidden, found.alpha)
    ends = names(usable)[largest.above], names(usable)[largest.below]
    best, worst = reversed(ends) if gap.metric in LOWER_IS_BETTER else ends
    return known.model_copy(
        update={
            "value": largest.value,
            "low": largest.low,
            "high": largest.high,
            "best": best,
            "worst": worst,
            "smallest_rows": min(len(places[scope]) for scope in usable),
        }
    )


def _left_out(suite: EvaluationSuiteSpec, metric: str, found: Resampled, scope: int, units: int) -> str:
    """Why the slice is not compared, and what to do."""
    if units < suite.minimum_slice_size:
        return f"{units} rows are fewer than spec.minimumSliceSize {suite.minimum_slice_size}; add rows, or lower it"
    return found.reason(metric, scope) or "the metric is not defined in enough resamples; add rows"
