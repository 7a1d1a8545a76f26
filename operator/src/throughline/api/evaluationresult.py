"""EvaluationResult: what one evaluation found. A report, so numbers are plain; None with a reason is Unknown."""

from __future__ import annotations

from enum import StrEnum

from throughline.api.base import Outcome, Resource
from throughline.api.dataquality import QualityReport
from throughline.api.modelrevision import Digest
from throughline.api.robustness import RobustnessReport


class Check(StrEnum):
    """What a reason of a verdict is about."""

    FLOOR = "Floor"
    CEILING = "Ceiling"
    GAP = "Gap"
    QUALITY = "Quality"  # of the data; metric is the check
    PERTURBATION = "Perturbation"


class Estimate(Resource):
    """A number with its confidence interval. `value` is None where it cannot be said, and `reason` says why;
    `low` and `high` are None also where there is a value but no interval.
    """

    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int  # rows (Ranking: groups) that the number is made of
    reason: str | None = None


class SliceResult(Resource):
    """The metrics of one slice."""

    slice: str  # name in spec.slices
    value: str  # of the column; "true" for the rows of an expression
    rows: int
    groups: int | None = None  # Ranking
    too_small: bool  # below spec.minimumSliceSize: shown, never judged
    metrics: list[Estimate]


class GapResult(Resource):
    """The largest difference of a metric between two slices of one entry of spec.slices."""

    metric: str
    slice: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    best: str | None = None  # slice with the better value (for a Custom metric: with the higher)
    worst: str | None = None
    compared: list[str] = []  # slices that took part
    left_out: list[str] = []  # slices that did not: too small, or without a value
    left_out_reasons: list[str] = []  # of each: NAME: why and what to do; of results of 0.1.0 empty
    smallest_rows: int | None = None  # rows of the smallest slice that took part
    reason: str | None = None


class ConfusionMatrix(Resource):
    """counts[i][j]: rows of class i that were taken for class j."""

    classes: list[str]
    counts: list[list[int]]


class CalibrationBin(Resource):
    """Rows whose confidence (the largest probability) lies in (low, high]."""

    low: float
    high: float
    rows: int
    confidence: float | None = None  # mean; None for an empty bin
    accuracy: float | None = None


class Reason(Resource):
    """What became of one bound."""

    check: Check
    metric: str
    slice: str | None = None
    outcome: Outcome
    bound: float | None = None  # None for a check without one number
    value: float | None = None
    low: float | None = None
    high: float | None = None
    message: str


class Verdict(Resource):
    """Passed when every bound is kept; Failed when one is certainly missed; Unknown otherwise, which is not passed."""

    outcome: Outcome
    reasons: list[Reason]


class EvaluationResult(Resource):
    """What one evaluation found."""

    suite: str | None = None
    suite_digest: Digest | None = None
    dataset_digest: Digest | None = None
    dataset_size_bytes: int | None = None
    model: str | None = None
    model_digest: Digest | None = None
    batch_rows: int | None = None  # rows per request, on which answers may depend; None: of results of 0.1.0
    rows: int
    groups: int | None = None  # Ranking
    confidence_percent: int
    resamples: int
    seed: int
    metrics: list[Estimate]
    slices: list[SliceResult] = []
    gaps: list[GapResult] = []
    confusion_matrix: ConfusionMatrix | None = None
    calibration: list[CalibrationBin] | None = None
    notes: list[str] = []  # how the numbers were made, where a reader must know
    quality: QualityReport | None = None  # of the rows, before the model was judged on them
    robustness: RobustnessReport | None = None
    verdict: Verdict | None = None


class Difference(Resource):
    """Variant minus baseline on the same rows, with the interval of the paired bootstrap."""

    metric: str
    baseline: float | None = None
    variant: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int
    reason: str | None = None


class SliceDifference(Resource):
    slice: str
    value: str
    rows: int
    too_small: bool
    metrics: list[Difference]


class GapDifference(Resource):
    """Largest gap of the variant minus largest gap of the baseline, between the same slices of the same rows."""

    metric: str
    slice: str
    baseline: float | None = None
    variant: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


class VariantComparison(Resource):
    variant: str
    metrics: list[Difference]
    slices: list[SliceDifference] = []
    gaps: list[GapDifference] = []


class Effect(Resource):
    """What changing one component alone does to a metric, on average over the pairs of variants that differ in it."""

    component: str
    before: str
    after: str
    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: list[list[str]]  # [variant before, variant after]
    reason: str | None = None


class Comparison(Resource):
    """Variants on the same rows."""

    baseline: str
    rows: int
    confidence_percent: int
    resamples: int
    seed: int
    variants: list[VariantComparison]
    effects: list[Effect] = []
    notes: list[str] = []
