"""Accuracy without labels: confidence-based performance estimation (CBPE; NannyML's documentation of the method, and
Guillory et al. 2021, "Predicting with confidence on unseen distributions").

A confidence, calibrated on labelled rows of the baseline, is the probability of being right; its mean over a window is
the accuracy to be expected there, as long as that calibration still holds.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats
from sklearn.isotonic import IsotonicRegression

from throughline.api.base import Outcome, Resource
from throughline.api.drift import AccuracyEstimate
from throughline.evaluator.errors import EvaluationInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ASSUMPTION = (
    "Rows of equal confidence are right as often as in the baseline. Concept drift breaks this without a trace in the "
    "estimate, so an unchanged estimate is no evidence against concept drift; only labels are."
)


class Curve(Resource):
    """Points of a rising line from confidence to the share of right answers."""

    confidences: list[float]
    shares_right: list[float]


class Calibration(Resource):
    """What was learnt from the baseline: one curve for each predicted class. Saved as JSON."""

    curves: list[Curve | None]  # by place of the class; None: the baseline has no row predicted so
    accuracy: float
    rows: int


def calibrate(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> Calibration:
    """Fits the curves by isotonic regression, one for each predicted class.

    Args:
        probabilities: [rows, classes], of rows the model was not trained on.
        truth: [rows], place of the true class.

    Raises:
        EvaluationInputError: No rows, or shapes that do not match.
    """
    if probabilities.ndim != 2 or len(probabilities) != len(truth) or not len(truth):
        raise EvaluationInputError(
            f"the calibration needs probabilities of [rows, classes] and as many labels; got {probabilities.shape} "
            f"and {truth.shape}"
        )
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    right = predicted == truth
    curves = [
        _curve(confidence[predicted == place], right[predicted == place]) for place in range(probabilities.shape[1])
    ]
    return Calibration(curves=curves, accuracy=float(right.mean()), rows=len(truth))


def _curve(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Curve | None:
    if not len(confidence):
        return None
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(confidence, right)
    return Curve(confidences=model.X_thresholds_.tolist(), shares_right=model.y_thresholds_.tolist())


def estimate_accuracy(
    calibration: Calibration,
    probabilities: NDArray[np.float64],
    *,
    minimum_rows: int,
    confidence_percent: int = 95,
    floor: float | None = None,
) -> AccuracyEstimate:
    """The accuracy to be expected on rows without labels.

    Args:
        calibration: Of the same model.
        probabilities: [rows, classes].
        minimum_rows: Fewer give Unknown.
        confidence_percent: Of the interval.
        floor: Judged on the interval: Passed when all of it is at or above, Failed when all of it is below, and
            Unknown between and without a floor.
    """
    rows = len(probabilities)
    known: dict[str, float | int | None] = {
        "floor": floor,
        "rows": rows,
        "reference_accuracy": calibration.accuracy,
        "reference_rows": calibration.rows,
    }
    if rows < minimum_rows:
        message = f"SampleTooSmall: {rows} rows, {minimum_rows} are needed"
        return AccuracyEstimate(outcome=Outcome.UNKNOWN, assumption=ASSUMPTION, message=message, **known)
    predicted = probabilities.argmax(axis=1)
    unseen = [place for place in np.unique(predicted) if calibration.curves[place] is None]
    if unseen:
        message = f"NotCalibrated: the baseline has no row predicted as class {unseen[0]}, the window has"
        return AccuracyEstimate(outcome=Outcome.UNKNOWN, assumption=ASSUMPTION, message=message, **known)
    chance = _chance_of_right(calibration.curves, probabilities.max(axis=1), predicted)
    value = float(chance.mean())
    # The window's rows are each right or wrong by chance, and the curves were learnt from so many rows only.
    spread = sqrt(float((chance * (1 - chance)).sum()) / rows**2 + value * (1 - value) / calibration.rows)
    reach = float(stats.norm.ppf(0.5 + confidence_percent / 200)) * spread
    low, high = max(0.0, value - reach), min(1.0, value + reach)
    outcome = Outcome.UNKNOWN
    if floor is not None and low >= floor:
        outcome = Outcome.PASSED
    elif floor is not None and high < floor:
        outcome = Outcome.FAILED
    message = f"estimated accuracy {value:.4f} [{low:.4f}, {high:.4f}], baseline {calibration.accuracy:.4f}"
    return AccuracyEstimate(
        outcome=outcome, value=value, low=low, high=high, assumption=ASSUMPTION, message=message, **known
    )


def _chance_of_right(
    curves: Sequence[Curve | None], confidence: NDArray[np.float64], predicted: NDArray[np.int64]
) -> NDArray[np.float64]:
    chance = np.empty(len(confidence))
    for place, curve in enumerate(curves):
        if curve is not None:
            rows = predicted == place
            chance[rows] = np.interp(confidence[rows], curve.confidences, curve.shares_right)
    return chance
