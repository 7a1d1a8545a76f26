"""From the numbers of an evaluation to a verdict. A bound is judged on the interval, not on the point: it is kept
when the whole interval keeps it, missed when the whole interval misses it, and Unknown in between, which does not
pass a gate.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from throughline.api import quantities
from throughline.api.base import Outcome
from throughline.api.evaluationresult import Check, Reason, Verdict
from throughline.domain.formatting import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from throughline.api.evaluationresult import Estimate, EvaluationResult, GapResult
    from throughline.api.evaluationsuite import EvaluationSuiteSpec, Gap

MOST_ROWS = 1_000_000_000  # beyond this, more rows are no advice


def judge(suite: EvaluationSuiteSpec, result: EvaluationResult) -> Verdict:
    """The verdict on every floor, ceiling and gap of the suite.

    Without a bound the suite asks nothing, so that nothing is known: Unknown.
    """
    reasons = [*_bounds(suite, result), *_gaps(suite, result)]
    outcomes = [reason.outcome for reason in reasons]
    if Outcome.FAILED in outcomes:
        return Verdict(outcome=Outcome.FAILED, reasons=reasons)
    if not reasons or Outcome.UNKNOWN in outcomes:
        return Verdict(outcome=Outcome.UNKNOWN, reasons=reasons)
    return Verdict(outcome=Outcome.PASSED, reasons=reasons)


def _bounds(suite: EvaluationSuiteSpec, result: EvaluationResult) -> Iterator[Reason]:
    estimates = {estimate.metric: estimate for estimate in result.metrics}
    unit = "rows" if result.groups is None else "groups"
    for metric in suite.metrics:
        estimate = estimates.get(metric.name)
        if metric.floor is not None:
            yield _floor_or_ceiling(Check.FLOOR, metric.name, float(quantities.parse(metric.floor)), estimate, unit)
        if metric.ceiling is not None:
            yield _floor_or_ceiling(Check.CEILING, metric.name, float(quantities.parse(metric.ceiling)), estimate, unit)


def _floor_or_ceiling(check: Check, metric: str, bound: float, estimate: Estimate | None, unit: str) -> Reason:
    known = Reason(
        check=check,
        metric=metric,
        outcome=Outcome.UNKNOWN,
        bound=bound,
        value=estimate.value if estimate else None,
        low=estimate.low if estimate else None,
        high=estimate.high if estimate else None,
        message="",
    )
    word = check.lower()
    if estimate is None or estimate.value is None:
        why = (estimate.reason if estimate else None) or "it was not measured"
        return _said(known, Outcome.UNKNOWN, f"{metric} is unknown: {why}")
    if estimate.low is None or estimate.high is None:
        why = estimate.reason or "it was not made"
        return _said(
            known,
            Outcome.UNKNOWN,
            f"{metric} {_number(estimate.value)} has no interval to judge the {word} {_number(bound)} on: {why}",
        )
    shown = f"{metric} {_number(estimate.value)} [{_number(estimate.low)}, {_number(estimate.high)}]"
    floor = check is Check.FLOOR
    if estimate.low >= bound if floor else estimate.high <= bound:
        return _said(known, Outcome.PASSED, f"{shown} keeps the {word} {_number(bound)}")
    if estimate.high < bound if floor else estimate.low > bound:
        side = "below" if floor else "above"
        return _said(known, Outcome.FAILED, f"{shown} is {side} the {word} {_number(bound)}; improve the model")
    return _said(
        known,
        Outcome.UNKNOWN,
        f"{shown} spans the {word} {_number(bound)}, so neither side is certain; "
        + _more(estimate.rows, estimate.value, estimate.low, estimate.high, bound, unit),
    )


def _gaps(suite: EvaluationSuiteSpec, result: EvaluationResult) -> Iterator[Reason]:
    found = {(gap.metric, gap.slice): gap for gap in result.gaps}
    unit = "rows" if result.groups is None else "groups"
    for gap in suite.gaps:
        yield _gap(gap, found.get((gap.metric, gap.slice)), unit)


def _gap(gap: Gap, found: GapResult | None, unit: str) -> Reason:
    bound = float(quantities.parse(gap.ceiling))
    known = Reason(
        check=Check.GAP,
        metric=gap.metric,
        slice=gap.slice,
        outcome=Outcome.UNKNOWN,
        bound=bound,
        value=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        message="",
    )
    if found is None or found.value is None or found.low is None or found.high is None:
        why = (found.reason if found else None) or "it was not measured"
        return _said(
            known,
            Outcome.UNKNOWN,
            f"the gap in {gap.metric} between slices of {gap.slice} is unknown: {why}",
        )
    left_out = f" (not judged: {'; '.join(found.left_out_reasons or found.left_out)})" if found.left_out else ""
    shown = (
        f"the gap in {gap.metric} between {gap.slice} {found.best} and {found.worst} is {_number(found.value)} "
        f"[{_number(found.low)}, {_number(found.high)}]{left_out}"
    )
    if found.high <= bound:
        return _said(known, Outcome.PASSED, f"{shown}, within {_number(bound)}")
    if found.low > bound:
        advice = f"improve the model for {gap.slice} {found.worst}"
        return _said(known, Outcome.FAILED, f"{shown}, above {_number(bound)}; {advice}")
    more = _more(found.smallest_rows or 0, found.value, found.low, found.high, bound, f"{unit} in the smallest slice")
    return _said(known, Outcome.UNKNOWN, f"{shown}, so it may or may not be above {_number(bound)}; {more}")


def _said(reason: Reason, outcome: Outcome, message: str) -> Reason:
    return reason.model_copy(update={"outcome": outcome, "message": message})


def rows_needed(rows: int, value: float, low: float, high: float, bound: float) -> int | None:
    """How many rows, in all, would set the interval clear of the bound if the value stayed: its half-width shrinks
    with the square root of the rows. None where no number of rows would (the value lies on the bound), or too many.
    """
    distance = abs(value - bound)
    reach = value - low if bound < value else high - value
    if distance == 0 or not rows:
        return None
    times = reach / distance
    needed = rows * times * times  # a square by ** raises where this is infinite
    return math.ceil(needed) if needed <= MOST_ROWS else None


def _more(rows: int, value: float, low: float, high: float, bound: float, unit: str) -> str:
    needed = rows_needed(rows, value, low, high, bound)
    if needed is None:
        return (
            "the value is so close to the bound that more data will hardly decide; improve the model or move the bound"
        )
    return f"about {max(needed - rows, 1):,} more {unit} would tell if the value stays, or improve the model"


def _number(value: float) -> str:
    return plain(value, 4)
