"""What a report is made of, and how its numbers and names are written everywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from throughline.api.evaluationresult import Check
from throughline.evaluator.visible import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.api.evaluationresult import Comparison, Estimate, EvaluationResult

UNKNOWN = "unknown"
NAME_CHARACTERS = 60  # of what comes from data; more than that no table is wide enough for
_BOUNDS = {Check.FLOOR: "at least", Check.CEILING: "at most"}


@dataclass(frozen=True, slots=True)
class Report:
    """The judged model's result, and those of its variants on the same rows."""

    result: EvaluationResult
    variants: Mapping[str, EvaluationResult] = field(default_factory=dict)
    comparison: Comparison | None = None


def number(value: float | None) -> str:
    """Four digits after the point, fewer for large numbers: what intervals can tell apart."""
    if value is None:
        return UNKNOWN
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def signed(value: float | None) -> str:
    """A difference."""
    return UNKNOWN if value is None else f"{'+' if value >= 0 else '−'}{number(abs(value))}"


def interval(low: float | None, high: float | None) -> str:
    """Such as: 0.8231 – 0.8263."""
    return "" if low is None or high is None else f"{number(low)} – {number(high)}"


def signed_interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{signed(low)} – {signed(high)}"


def named(text: str) -> str:
    """A name out of data: control characters, which a terminal would obey, are shown; the length is bounded."""
    shown = visible(text)
    return shown if len(shown) <= NAME_CHARACTERS else f"{shown[: NAME_CHARACTERS - 1]}…"


def bound_of(result: EvaluationResult, estimate: Estimate) -> str:
    """The bounds of an overall metric, and whether they hold."""
    reasons = result.verdict.reasons if result.verdict is not None else []
    own = [r for r in reasons if r.metric == estimate.metric and r.check in _BOUNDS]
    return "; ".join(f"{_BOUNDS[r.check]} {r.bound:g}: {r.outcome.lower()}" for r in own)


def outcome(result: EvaluationResult) -> str:
    return UNKNOWN.capitalize() if result.verdict is None else str(result.verdict.outcome)
