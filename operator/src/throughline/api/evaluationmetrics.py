"""The metrics a suite may name, by task, and what each needs. The rules of the suite are made from these tables."""

from __future__ import annotations

from enum import StrEnum


class TaskType(StrEnum):
    CLASSIFICATION = "Classification"
    REGRESSION = "Regression"
    RANKING = "Ranking"
    CUSTOM = "Custom"


METRICS_BY_TASK: dict[TaskType, tuple[str, ...]] = {
    TaskType.CLASSIFICATION: (
        *("accuracy", "precision", "recall", "f1", "truePositiveRate", "falsePositiveRate"),
        *("auroc", "logLoss", "brier", "expectedCalibrationError"),
    ),
    TaskType.REGRESSION: ("meanAbsoluteError", "rootMeanSquaredError", "r2", "meanAbsolutePercentageError"),
    TaskType.RANKING: ("ndcgAtK", "meanReciprocalRank", "recallAtK"),
}
# What needs more of a classifier's output than its label.
NEED_PROBABILITIES = ("auroc", "logLoss", "brier", "expectedCalibrationError")
# What is said of one class against the rest.
NEED_POSITIVE_CLASS = ("truePositiveRate", "falsePositiveRate")
LOWER_IS_BETTER = (
    *("falsePositiveRate", "logLoss", "brier", "expectedCalibrationError"),
    *("meanAbsoluteError", "rootMeanSquaredError", "meanAbsolutePercentageError"),
)
HIGHER_IS_BETTER = tuple(name for names in METRICS_BY_TASK.values() for name in names if name not in LOWER_IS_BETTER)
# A bound of 80 where 0.80 was meant would never be met, or never be missed.
AT_MOST_ONE = (
    *("accuracy", "precision", "recall", "f1", "truePositiveRate", "falsePositiveRate", "auroc"),
    *("expectedCalibrationError", "r2", "ndcgAtK", "meanReciprocalRank", "recallAtK"),
)
