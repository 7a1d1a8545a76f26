"""Metrics of a classifier. Points are scikit-learn's; the calibration error is Guo et al., "On Calibration of Modern
Neural Networks", ICML 2017: equal-width bins of the confidence, which is the largest probability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn import metrics as sk

from throughline.api.evaluationresult import CalibrationBin, ConfusionMatrix
from throughline.evaluator.scoring.values import Block, Curve, Value, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from throughline.evaluator.scoring.values import Floats, Places

# FP32's epsilon, 1.2e-7, for outputs of every datatype: a library that takes the output's own makes a wrong certainty
# cost 6.9 in FP16 and 36.0 in FP64, and half precision look better than it is.
SMALLEST_PROBABILITY = 2.0**-23
NO_ROW = "no row is of class {0}; add rows of it"
NEVER_PREDICTED = "the model predicts no row as class {0}; improve the model, or bound recall, which is then 0"
ROUNDING = 2.0**-12  # of a number between 0.5 and 1 to half precision


@dataclass(frozen=True, slots=True)
class Classified:
    """True and predicted classes, as places in `classes`, and the probabilities where the output has them."""

    classes: tuple[str, ...]
    true: Places  # [rows]
    predicted: Places  # [rows]
    probabilities: Floats | None  # [rows, classes]
    positive: int | None  # place of the positive class
    bins: int

    @property
    def units(self) -> int:
        return len(self.true)

    # Points

    def point(self, metric: str, units: Places) -> Value:
        true, predicted = self.true[units], self.predicted[units]
        if not len(units):
            return Value(None, 0, 0, "there are no rows")
        trials, reason = self._denominator(metric, true, predicted)
        if reason:
            return Value(None, len(units), trials, reason)
        value = self._by_sklearn(metric, true, predicted, units)
        return Value(value, len(units), trials, certain=self._certain(metric, units), worst=self._worst(metric))

    def _certain(self, metric: str, units: Places) -> bool:
        """Whether the metric is the same whatever the true classes are: the model tells no two rows apart."""
        if metric not in {"auroc", "logLoss", "brier"}:
            return False
        probabilities = self._known(metric)[units]
        return not np.ptp(probabilities, axis=0).any() if metric == "auroc" else not np.ptp(probabilities)

    def _worst(self, metric: str) -> float | None:
        match metric:
            case "logLoss":
                return -math.log(SMALLEST_PROBABILITY)
            case "brier":
                return 1.0 if len(self.classes) == 2 else 2.0
            case "expectedCalibrationError":
                return 1.0
        return None

    def _denominator(self, metric: str, true: Places, predicted: Places) -> tuple[int, str | None]:
        """Rows that the metric divides by, the fewest over classes, and why there is no value when there are none."""
        count_true = np.bincount(true, minlength=len(self.classes))
        count_predicted = np.bincount(predicted, minlength=len(self.classes))
        judged = [self.positive] if self.positive is not None else list(range(len(self.classes)))

        def fewest(counts: npt.NDArray[np.intp], of: Sequence[int], why: str) -> tuple[int, str | None]:
            empty = [self.classes[place] for place in of if counts[place] == 0]
            shown = ", ".join(empty[:5])
            return int(min(counts[place] for place in of)), why.format(shown) if empty else None

        match metric:
            case "recall" | "truePositiveRate":
                return fewest(count_true, judged, NO_ROW)
            case "precision":
                return fewest(count_predicted, judged, NEVER_PREDICTED)
            case "f1":
                return fewest(
                    count_true + count_predicted,
                    judged,
                    "no row is of class {0}, and the model predicts none as it; add rows of it",
                )
            case "falsePositiveRate":
                negatives = len(true) - int(count_true[self.positive or 0])
                own = self.classes[self.positive or 0]
                return negatives, None if negatives else f"all rows are of class {own}; add rows of another"
            case "auroc":
                return fewest(count_true, range(len(self.classes)), f"there is nothing to tell apart: {NO_ROW}")
            case _:
                return len(true), None

    def _by_sklearn(self, metric: str, true: Places, predicted: Places, units: Places) -> float:
        labels = np.arange(len(self.classes))
        options = (
            {"labels": [self.positive], "average": "macro"}
            if self.positive is not None
            else {"labels": labels, "average": "macro"}
        )
        match metric:
            case "accuracy":
                return float(sk.accuracy_score(true, predicted))
            case "precision":
                return float(sk.precision_score(true, predicted, **options))
            case "recall" | "truePositiveRate":
                return float(sk.recall_score(true, predicted, **options))
            case "f1":
                return float(sk.f1_score(true, predicted, **options))
            case "falsePositiveRate":
                # The share of the others that is taken for the class: one minus the others' own recall would round.
                others = true != self.positive
                return float(np.count_nonzero(predicted[others] == self.positive) / np.count_nonzero(others))
        return self._of_probabilities(metric, true, self._known(metric)[units], true == predicted)

    def _of_probabilities(
        self, metric: str, true: Places, probabilities: Floats, correct: npt.NDArray[np.bool_]
    ) -> float:
        labels = np.arange(len(self.classes))
        match metric:
            case "auroc" if len(self.classes) == 2:
                place = self._of_two()
                return float(sk.roc_auc_score(true == place, probabilities[:, place]))
            case "auroc":
                return float(sk.roc_auc_score(true, probabilities, multi_class="ovr", labels=labels))
            case "logLoss":
                return float(log_losses(probabilities, true).mean())
            case "brier" if len(self.classes) == 2:
                place = self._of_two()
                return float(sk.brier_score_loss(true == place, probabilities[:, place], pos_label=True))
            case "brier":
                # It warns of a sum that single precision has rounded.
                summed = probabilities / probabilities.sum(axis=1, keepdims=True)
                return float(sk.brier_score_loss(true, summed, labels=labels))
            case "expectedCalibrationError":
                return expected_calibration_error(probabilities.max(axis=1), correct, self.bins)
        raise ValueError(f"{metric} is no metric of a classification")

    def _known(self, metric: str) -> Floats:
        if self.probabilities is None:
            raise ValueError(f"{metric} needs probabilities, and the output has none")
        return self.probabilities

    def _of_two(self) -> int:
        """The class whose score is looked at when there are two."""
        return 1 if self.positive is None else self.positive

    # Sums

    def blocks(self, metrics: Sequence[str]) -> Mapping[str, Block]:
        size = len(self.classes)
        hit = (self.true == self.predicted).astype(np.float64)
        blocks = {
            "true": Block(size, self.true),
            "predicted": Block(size, self.predicted),
            "hit": Block(size, self.true, hit),
        }
        one = np.zeros(self.units, dtype=np.intp)
        if "expectedCalibrationError" in metrics:
            confidence = self._known("expectedCalibrationError").max(axis=1)
            # |hits − confidence| of a bin is the absolute value of one sum.
            blocks["miscalibration"] = Block(self.bins, bin_of(confidence, self.bins), hit - confidence)
        if "logLoss" in metrics:
            blocks["logLoss"] = Block(1, one, log_losses(self._known("logLoss"), self.true))
        if "brier" in metrics:
            probabilities = self._known("brier")
            truth = np.eye(size)[self.true]
            squares = ((probabilities - truth) ** 2).sum(axis=1)
            blocks["brier"] = Block(1, one, squares / 2 if size == 2 else squares)
        return blocks

    def from_sums(self, metric: str, sums: Mapping[str, Floats]) -> Floats:
        true, predicted, hit = sums["true"], sums["predicted"], sums["hit"]
        rows: Floats = true.sum(axis=1)

        def over_classes(numerator: Floats, denominator: Floats) -> Floats:
            if self.positive is not None:
                return ratio(numerator[:, self.positive], denominator[:, self.positive])
            mean: Floats = ratio(numerator, denominator).mean(axis=1)
            return mean

        match metric:
            case "accuracy":
                return ratio(hit.sum(axis=1), rows)
            case "precision":
                return over_classes(hit, predicted)
            case "recall" | "truePositiveRate":
                return over_classes(hit, true)
            case "f1":
                return over_classes(2 * hit, true + predicted)
            case "falsePositiveRate":
                place = self.positive or 0
                return ratio(predicted[:, place] - hit[:, place], rows - true[:, place])
            case "expectedCalibrationError":
                return ratio(np.abs(sums["miscalibration"]).sum(axis=1), rows)
            case "logLoss" | "brier":
                return ratio(sums[metric][:, 0], rows)
        raise ValueError(f"{metric} is not made of sums")

    def curves(self) -> Sequence[Curve]:
        probabilities = self._known("auroc")
        places = [self._of_two()] if len(self.classes) == 2 else range(len(self.classes))
        return [Curve(self.true == place, probabilities[:, place]) for place in places]

    # For plots

    def confusion_matrix(self) -> ConfusionMatrix:
        counts = sk.confusion_matrix(self.true, self.predicted, labels=np.arange(len(self.classes)))
        return ConfusionMatrix(classes=list(self.classes), counts=counts.tolist())

    def calibration(self) -> list[CalibrationBin] | None:
        """The curve behind the calibration error."""
        if self.probabilities is None:
            return None
        confidence = self.probabilities.max(axis=1)
        bins = bin_of(confidence, self.bins)
        rows = np.bincount(bins, minlength=self.bins)
        sums = np.bincount(bins, weights=confidence, minlength=self.bins)
        hits = np.bincount(bins, weights=self.true == self.predicted, minlength=self.bins)
        edges = np.linspace(0, 1, self.bins + 1)
        return [
            CalibrationBin(
                low=float(edges[i]),
                high=float(edges[i + 1]),
                rows=int(rows[i]),
                confidence=float(sums[i] / rows[i]) if rows[i] else None,
                accuracy=float(hits[i] / rows[i]) if rows[i] else None,
            )
            for i in range(self.bins)
        ]


def log_losses(probabilities: Floats, true: Places) -> Floats:
    """Of each row: −log of the probability of its class, kept `SMALLEST_PROBABILITY` away from 0 and 1."""
    own = np.take_along_axis(probabilities, true[:, None], axis=1)[:, 0]
    losses: Floats = -np.log(np.clip(own, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY))
    return losses


def bin_of(confidence: Floats, bins: int) -> Places:
    """The bin (low, high] of equal width that each confidence lies in; 0 lies in the first. What rounding to half
    precision moves past an edge stays where the exact number lies.
    """
    edges = np.linspace(0, 1, bins + 1)[1:-1] + ROUNDING
    return np.searchsorted(edges, confidence, side="left").astype(np.intp)


def expected_calibration_error(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int) -> float:
    """Mean over rows of |accuracy − mean confidence| of the row's bin; in [0, 1]."""
    place = bin_of(confidence, bins)
    gaps = np.bincount(place, weights=correct, minlength=bins) - np.bincount(place, weights=confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))
