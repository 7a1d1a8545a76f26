"""One verdict out of all that was looked at: the numbers of the model, its data, and what it makes of worse data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.api.base import Outcome
from throughline.api.evaluationresult import Check, Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from throughline.api.dataquality import QualityReport
    from throughline.api.evaluationresult import EvaluationResult
    from throughline.api.robustness import RobustnessReport


def together(
    result: EvaluationResult, quality: QualityReport | None, robustness: RobustnessReport | None
) -> EvaluationResult:
    """The result with both reports in it, and in its verdict. It passes when everything does."""
    verdict = result.verdict or Verdict(outcome=Outcome.UNKNOWN, reasons=[])
    more = [*_of_quality(quality), *_of_robustness(robustness)]
    # Where only the data or the robustness has bounds, the model's numbers alone would be Unknown for want of any.
    outcomes = [verdict.outcome] if verdict.reasons or not more else []
    outcomes += [reason.outcome for reason in more]
    worst = next((one for one in (Outcome.FAILED, Outcome.UNKNOWN) if one in outcomes), Outcome.PASSED)
    return result.model_copy(
        update={
            "quality": quality,
            "robustness": robustness,
            "verdict": Verdict(outcome=worst, reasons=[*verdict.reasons, *more]),
        }
    )


def _of_quality(report: QualityReport | None) -> Iterator[Reason]:
    for finding in report.findings if report is not None else []:
        yield Reason(
            check=Check.QUALITY,
            metric=str(finding.check),
            outcome=finding.outcome,
            bound=finding.limit,
            value=finding.value,
            low=finding.low,
            high=finding.high,
            message=f"{finding.message}; {finding.fix}" if finding.fix else finding.message,
        )


def _of_robustness(report: RobustnessReport | None) -> Iterator[Reason]:
    for finding in report.perturbations if report is not None else []:
        worst = min(finding.points, key=lambda point: point.accuracy)
        yield Reason(
            check=Check.PERTURBATION,
            metric="accuracy",
            outcome=finding.outcome,
            bound=finding.floor,
            value=worst.accuracy,
            low=worst.low,
            high=worst.high,
            message=f"{finding.name}: {finding.message}",
        )
