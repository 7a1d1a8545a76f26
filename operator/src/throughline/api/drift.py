"""Drift: how live traffic is compared with the baseline that was fixed at approval, and the reports of it.

What only features and predictions can tell, and what it takes labels to know, is said in each report.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from throughline.api import quantities
from throughline.api.base import Number, Outcome, Resource, Rule, list_map

BLIND_TO_CONCEPT_DRIFT = (
    "Compares features and predictions with the baseline, without labels. A changed relation between features and "
    "labels (concept drift) leaves both as they were and cannot be seen here; late labels can show it."
)


class ColumnKind(StrEnum):
    CONTINUOUS = "Continuous"
    CATEGORICAL = "Categorical"


class DriftColumn(Resource):
    """A column and how it is compared."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    kind: Annotated[
        ColumnKind | None,
        Field(description="Continuous: Kolmogorov–Smirnov. Categorical: χ². If absent, numbers are Continuous."),
    ] = None


class DriftPolicy(Resource):
    """When a window of traffic counts as drifted from the baseline."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="$minimumRows <= $windowRows",
            holds=lambda s: s.minimum_rows <= s.window_rows,
            message="drift.minimumRows (500 if absent) must not be above drift.windowRows (2000 if absent), or no "
            "window would ever be judged; lower the first or raise the second",
            field="minimumRows",
        ),
        Rule(
            cel="!has(self.falseAlarmPercent) || "
            "quantity(string(self.falseAlarmPercent)).compareTo(quantity('0')) > 0 && "
            "quantity(string(self.falseAlarmPercent)).compareTo(quantity('50')) <= 0",
            holds=lambda s: 0 < quantities.parse(s.false_alarm_percent) <= 50,
            message="drift.falseAlarmPercent must be above 0 and at most 50; choose such a number",
            field="falseAlarmPercent",
        ),
    )

    window_rows: Annotated[int, Field(ge=50, le=10_000_000, description="Rows that are judged together.")] = 2000
    minimum_rows: Annotated[
        int, Field(ge=50, le=10_000_000, description="Fewer rows than this are not judged: Unknown.")
    ] = 500
    false_alarm_percent: Annotated[
        Number,
        Field(description="Windows without drift that may be reported all the same, in a hundred; over all columns."),
    ] = "1"
    minimum_psi: Annotated[
        Number,
        Field(description="Population stability index below which a column's shift is too small to matter."),
    ] = "0.1"
    minimum_auc: Annotated[
        Number,
        Field(description="Area under the curve of the classifier two-sample test below which it is too small."),
    ] = "0.55"
    columns: Annotated[
        list[DriftColumn],
        Field(max_length=4096, json_schema_extra=list_map("name"), description="Empty: all columns of the baseline."),
    ] = []
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = 1


class DriftTest(StrEnum):
    KOLMOGOROV_SMIRNOV = "KolmogorovSmirnov"
    CHI_SQUARED = "ChiSquared"
    MISSING_VALUES = "MissingValues"
    CLASSIFIER_TWO_SAMPLE = "ClassifierTwoSample"


class Distance(StrEnum):
    POPULATION_STABILITY_INDEX = "PopulationStabilityIndex"
    AREA_UNDER_CURVE = "AreaUnderCurve"


class DriftFinding(Resource):
    """One test. Drifted when `adjustedPValue` ≤ `threshold` and `distance` ≥ `distanceThreshold`."""

    column: str | None = None  # None: all columns together
    test: DriftTest
    statistic: float  # D of Kolmogorov–Smirnov, χ², area under the curve
    p_value: float
    adjusted_p_value: float  # Holm, over all tests of the window
    threshold: float  # declared false alarms per window
    distance: float
    distance_measure: Distance
    distance_threshold: float
    reference_rows: int
    window_rows: int
    drifted: bool


class WindowReport(Resource):
    """One window against the baseline. Passed: no drift was found; Failed: drifted; Unknown: not judged."""

    outcome: Outcome
    message: str
    reference_rows: int
    window_rows: int
    findings: list[DriftFinding] = []
    unknown_columns: list[str] = []  # that could not be judged; the others were
    limits: str = BLIND_TO_CONCEPT_DRIFT


class AccuracyEstimate(Resource):
    """Accuracy as the model's own confidences would have it, without labels. An estimate under `assumption`, never a
    measurement; the interval is that of rows and calibration, not of the assumption.
    """

    outcome: Outcome  # Unknown: too few rows; Passed and Failed only against a floor
    value: float | None = None
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    rows: int
    reference_accuracy: float
    reference_rows: int
    assumption: str
    message: str


class LabelledWindow(Resource):
    """True accuracy of the rows [first, end) of those whose labels have come, in order of the labels' arrival."""

    first: int
    end: int
    accuracy: float
    low: float
    high: float


class ErrorChange(Resource):
    """The error rate changed. ADWIN tells when it noticed, and a row before which the change did not happen; one change
    may be noticed several times, each time with less of the old regime left.
    """

    detected_at_row: int  # labelled rows seen when it was detected
    not_before_row: int
    delay_at_most_rows: int  # the difference: the true delay is between 0 and this
    error_rate_before: float
    error_rate_after: float
    worse: bool


class HoldoutGap(Resource):
    """Accuracy of the traffic inside the feedback loop minus that of the share held out of it."""

    outcome: Outcome  # Passed: the interval holds zero; Failed: it does not; Unknown: too few rows
    rest_accuracy: float | None = None
    holdout_accuracy: float | None = None
    gap: float | None = None
    low: float | None = None
    high: float | None = None
    rest_rows: int
    holdout_rows: int
    message: str
