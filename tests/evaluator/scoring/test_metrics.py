"""Every number is scikit-learn's own, exactly; and every resample is scikit-learn's with weights, up to rounding."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from throughline.evaluator.scoring import ScoringError, score
from throughline.evaluator.scoring.bootstrap import Auroc, Scopes, Sums, run
from throughline.evaluator.scoring.classification import expected_calibration_error
from throughline.evaluator.scoring.predictions import read
from throughline.evaluator.scoring.slices import Partition

from tests.evaluator.scoring.suites import classification, suite

BOTH = ["accuracy", "precision", "recall", "f1", "auroc", "logLoss", "brier", "expectedCalibrationError"]
RATES = ["truePositiveRate", "falsePositiveRate"]
REGRESSION = ["meanAbsoluteError", "rootMeanSquaredError", "r2", "meanAbsolutePercentageError"]


def drawn(seed: int, rows: int, classes: int, dtype: Any, *, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    """Classes of unequal frequency, and probabilities that know something of them."""
    random = np.random.default_rng(seed)
    true = random.choice(classes, rows, p=random.dirichlet(np.ones(classes)))
    logits = random.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[true]
    if ties:
        logits = np.round(logits)
    probabilities = np.exp(logits)
    return true, (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(dtype)


def reference(  # noqa: C901, PLR0912 - a table of metrics
    metric: str, y: np.ndarray, p: np.ndarray, positive: int | None, weight: Any = None
) -> float:
    """By scikit-learn from the table of its documentation, on labels and probabilities; NaN where it only warns."""
    label, classes = p.argmax(axis=1), p.shape[1]
    average: dict[str, Any] = {"labels": range(classes), "average": "macro", "zero_division": np.nan}
    truth, taken = y, label
    if positive is not None:
        truth, taken, average = y == positive, label == positive, {"zero_division": np.nan}
    elif metric != "f1" and metric in {"precision", "recall"}:
        seen = np.bincount(label if metric == "precision" else y, weights=weight, minlength=classes)
        if (seen == 0).any():
            return np.nan
    of = 1 if positive is None else positive
    present = np.bincount(y, weights=weight, minlength=classes)
    match metric:
        case "accuracy":
            return sk.accuracy_score(y, label, sample_weight=weight)
        case "precision":
            return sk.precision_score(truth, taken, sample_weight=weight, **average)
        case "recall" | "truePositiveRate":
            return sk.recall_score(truth, taken, sample_weight=weight, **average)
        case "f1":
            both = present + np.bincount(label, weights=weight, minlength=classes)
            if (both[[of] if positive is not None else slice(None)] == 0).any():
                return np.nan
            return sk.f1_score(truth, taken, sample_weight=weight, **average)
        case "falsePositiveRate":
            (tn, fp), _ = sk.confusion_matrix(y == of, label == of, labels=[False, True], sample_weight=weight)
            return fp / (fp + tn) if fp + tn else np.nan
        case "auroc":
            if (present == 0).any():
                return np.nan
            if classes == 2:
                return sk.roc_auc_score(y == of, p[:, of], sample_weight=weight)
            if weight is None:
                return sk.roc_auc_score(y, p, multi_class="ovr")
            return float(np.mean([sk.roc_auc_score(y == c, p[:, c], sample_weight=weight) for c in range(classes)]))
        case "logLoss":
            p = np.clip(p, 2.0**-23, 1 - 2.0**-23)
            return sk.log_loss(y, p, labels=range(classes), sample_weight=weight)
        case "brier":
            if classes == 2:
                return sk.brier_score_loss(y == of, p[:, of], sample_weight=weight, pos_label=True)
            return sk.brier_score_loss(y, p, labels=range(classes), sample_weight=weight)
    # By the definition, bin by bin.
    weight = np.ones(len(y)) if weight is None else weight
    confidence, total = p.max(axis=1).astype(float), 0.0
    for low, high in zip(np.linspace(0, 1, 11)[:-1], np.linspace(0, 1, 11)[1:], strict=True):
        # What rounding to half precision moves past an edge stays below it.
        inside = (confidence > (low + 2.0**-12 if low else low)) & (confidence <= high + 2.0**-12)
        total += abs(float((weight * ((label == y) - confidence.astype(float)))[inside].sum()))
    return total / weight.sum()


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 80),
    classes=st.integers(2, 4),
    positive=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    ties=st.booleans(),
)
def test_points_are_those_of_scikit_learn(
    seed: int, rows: int, classes: int, positive: bool, dtype: Any, ties: bool
) -> None:
    y, p = drawn(seed, rows, classes, dtype, ties=ties)
    exact = p.astype(np.float64)
    place = seed % classes if positive else None
    metrics = [*BOTH, *RATES] if positive else BOTH
    predictions = read(
        classification(classes, metrics, None if place is None else str(place)), pa.table({"y": y}), p
    ).scored
    random = np.random.default_rng(seed)
    for units in (np.arange(rows), np.flatnonzero(random.random(rows) < 0.5)):
        for metric in metrics:
            found = predictions.point(metric, units)
            if not len(units):
                assert found.value is None
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = reference(metric, y[units], exact[units], place)
            if np.isnan(expected):
                assert found.value is None, metric
                assert found.reason, metric
            elif metric in {"expectedCalibrationError", "logLoss", "brier"}:
                assert found.value == pytest.approx(expected, abs=1e-7)
            else:
                assert found.value == expected, metric


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 4), positive=st.booleans(), ties=st.booleans())
def test_resamples_are_scikit_learns_with_weights(seed: int, classes: int, positive: bool, ties: bool) -> None:
    y, p = drawn(seed, 60, classes, np.float64, ties=ties)
    place = seed % classes if positive else None
    metrics = [*BOTH, *RATES] if positive else BOTH
    spec = classification(classes, metrics, None if place is None else str(place))
    scored = read(spec, pa.table({"y": y}), p).scored
    random = np.random.default_rng(seed)
    codes = random.integers(-1, 3, 60).astype(np.intp)
    other = random.integers(0, 2, 60).astype(np.intp)
    parts = (Partition("a", ("x", "y", "z"), codes, is_expression=False),
             Partition("b", ("u", "v"), other, is_expression=False))  # fmt: skip
    scopes = Scopes(60, parts)
    additive = [m for m in metrics if m != "auroc"]
    sums, areas = Sums(scored, additive, scopes, 3), Auroc(scored.curves(), scopes, 3)
    run([sums, areas], 60, 3, seed)
    again = np.random.default_rng(seed)
    for resample in range(3):
        weights = np.bincount(again.integers(0, 60, 60), minlength=60).astype(float)
        for scope, units in enumerate(scopes.places()):
            own = units[weights[units] > 0]
            for metric in metrics:
                found = (areas.results if metric == "auroc" else sums.results[metric])[scope, resample]
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    expected = reference(metric, y[own], p[own], place, weights[own]) if len(own) else np.nan
                assert found == pytest.approx(expected, abs=1e-12, nan_ok=True), (metric, scope)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), rows=st.integers(2, 50))
def test_regression_is_scikit_learns(seed: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    y = 1e6 + random.normal(size=rows)
    p = (y + random.normal(size=rows)).astype(np.float32)
    scored = read(suite({"type": "Regression"}, "Value", REGRESSION), pa.table({"y": y}), p).scored
    functions = (
        sk.mean_absolute_error, sk.root_mean_squared_error, sk.r2_score, sk.mean_absolute_percentage_error
    )  # fmt: skip
    sums = Sums(scored, REGRESSION, Scopes(rows, ()), 2)
    run([sums], rows, 2, seed)
    again = np.random.default_rng(seed)
    draws = [np.bincount(again.integers(0, rows, rows), minlength=rows) for _ in range(2)]
    for metric, function in zip(REGRESSION, functions, strict=True):
        assert scored.point(metric, np.arange(rows)).value == function(y, p.astype(np.float64))
        for resample, weights in enumerate(draws):
            if metric == "r2" and np.count_nonzero(weights) < 2:
                continue
            expected = function(y, p.astype(np.float64), sample_weight=weights)
            assert sums.results[metric][0, resample] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_what_is_not_defined_is_unknown_and_not_zero() -> None:
    y, p = np.array([1] * 40 + [0, 1] * 20), np.tile([0.3, 0.7], (80, 1))
    table = pa.table({"y": y, "g": ["a"] * 40 + ["b"] * 40})
    spec = classification(2, ["auroc", "falsePositiveRate", "recall"], "1", slices=[{"name": "g", "column": "g"}])
    a, b = ({m.metric: m for m in s.metrics} for s in score(spec, table, p).slices)
    assert a["auroc"].value is None
    assert "no row is of class 0" in a["auroc"].reason
    assert a["falsePositiveRate"].value is None
    assert "all rows are of class 1" in a["falsePositiveRate"].reason
    assert a["recall"].value == 1.0
    assert b["auroc"].value == 0.5
    never = classification(2, ["precision"], "0")
    assert "the model predicts no row as class 0" in score(never, table, p).metrics[0].reason
    zero = suite({"type": "Regression"}, "Value", ["meanAbsolutePercentageError", "r2"])
    percent, r2 = score(zero, pa.table({"y": np.zeros(30)}), np.ones(30)).metrics
    assert percent.value is None
    assert "no percentage" in percent.reason
    assert "same true value" in r2.reason


def test_calibration_error_of_known_bins() -> None:
    confidence = np.array([0.75, 0.75, 0.75, 0.75, 0.95, 0.95])
    correct = np.array([True, True, False, False, True, True])
    assert expected_calibration_error(confidence, correct, 10) == pytest.approx((4 * 0.25 + 2 * 0.05) / 6)
    # An edge belongs to the bin below it: 0.5 lies in (0.4, 0.5], and so apart from 0.55.
    assert expected_calibration_error(np.array([0.5, 0.55]), np.array([True, False]), 10) == pytest.approx(1.05 / 2)


def test_curve_and_matrix_say_what_the_numbers_say() -> None:
    y, p = drawn(1, 500, 3, np.float32, ties=False)
    result = score(classification(3, ["accuracy", "expectedCalibrationError"]), pa.table({"y": y}), p)
    counts = np.array(result.confusion_matrix.counts)
    assert (counts == sk.confusion_matrix(y, p.argmax(axis=1))).all()
    bins = [b for b in result.calibration if b.rows]
    error = sum(b.rows * abs(b.accuracy - b.confidence) for b in bins) / 500
    assert error == pytest.approx(result.metrics[1].value)
    assert sum(b.rows for b in result.calibration) == 500
    assert [b.confidence for b in result.calibration if not b.rows] == [None] * (10 - len(bins))


def test_outputs_of_two_classes_may_be_one_number_and_logits_are_understood() -> None:
    y, p = drawn(2, 200, 2, np.float64, ties=False)
    table = pa.table({"y": y})
    values = [m.value for m in score(classification(2, BOTH), table, p).metrics]
    assert [m.value for m in score(classification(2, BOTH), table, p[:, 1]).metrics] == pytest.approx(values)
    logits = np.log(p[:, 1:] / p[:, :1])
    of_logits = score(classification(2, BOTH, kind="Logits"), table, logits)
    assert [m.value for m in of_logits.metrics] == pytest.approx(values)
    of_zero = score(classification(2, RATES, "0"), table, p[:, 0]).metrics
    assert [m.value for m in of_zero] == [m.value for m in score(classification(2, RATES, "0"), table, p).metrics]
    labels = classification(2, ["accuracy", "f1"], kind="Label")
    for output in (p.argmax(axis=1), p.argmax(axis=1).astype(str).astype(object), p.argmax(axis=1).astype(float)):
        assert score(labels, table, output).metrics[0].value == values[0]


ONES = np.full((4, 2), 0.5)


@pytest.mark.parametrize(
    ("y", "output", "message"),
    [
        ([0, 1, 0], ONES, "there are 3 rows"),
        ([0, 1, None, 1], ONES, "column y is missing in 1 rows, first in row 2"),
        ([0, 1, 7, 1], ONES, "'7' .first in row 2. is no class"),
        ([0, 1, 0, 1], np.full((4, 3), 1 / 3), "3 columns; spec.task.classes names 2"),
        ([0, 1, 0, 1], np.array([[0.5, 0.5]] * 3 + [[-1.0, 2.0]]), "row 3 has a probability outside"),
        ([0, 1, 0, 1], np.array([[0.5, 0.5]] * 3 + [[np.nan, 1.0]]), "first in row 3"),
        ([0, 1, 0, 1], np.array([[0.5, 0.5]] * 3 + [[0.5, 0.2]]), "row 3 add up to 0.700"),
        ([], np.zeros((0, 2)), "there are no rows"),
    ],
)
def test_what_does_not_fit_is_named(y: list[Any], output: np.ndarray, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        score(classification(2, ["accuracy"]), pa.table({"y": pa.array(y, pa.int64())}), output)


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(ScoringError, match=r"spec\.dataset\.labelColumn: there is no column 'y'; there are z"):
        score(classification(2, ["accuracy"]), pa.table({"z": [0, 1, 0, 1]}), ONES)


def wrong_and_sure(dtype: Any) -> np.ndarray:
    """Forty sure answers of which two are wrong, as a network gives them in that precision."""
    logits = np.array([[30.0, -30.0]] * 40)
    p = 1 / (1 + np.exp(-np.diff(logits, axis=1)))
    return np.column_stack([1 - p, p]).astype(dtype)


@pytest.mark.parametrize("kind", ["Probabilities", "Logits"])
def test_the_same_answers_score_the_same_in_every_precision(kind: str) -> None:
    """A library that clips at the output's own precision gives 0.35, 0.80 and 1.80 here."""
    metrics = ["logLoss", "brier", "expectedCalibrationError", "auroc"]
    table = pa.table({"y": [0] * 38 + [1] * 2})
    found = []
    for dtype in (np.float16, np.float32, np.float64):
        p = wrong_and_sure(dtype) if kind == "Probabilities" else np.array([[30, -30]] * 40).astype(dtype)
        found.append([(m.value, m.low, m.high) for m in score(classification(2, metrics, kind=kind), table, p).metrics])
    for other in found[1:]:
        assert np.array(other) == pytest.approx(np.array(found[0]), abs=1e-9)
    assert found[0][0][0] == pytest.approx(2 / 40 * -np.log(2.0**-23), rel=1e-6)


def test_confidences_on_the_edge_of_a_bin_lie_in_one_bin_in_every_precision() -> None:
    y, p = [0] * 50 + [1] * 50, np.array([[0.8, 0.2], [0.3, 0.7]] * 50)
    table = pa.table({"y": y})
    bins = [
        [one.rows for one in score(classification(2, ["accuracy"]), table, p.astype(dtype)).calibration or ()]
        for dtype in (np.float16, np.float32, np.float64)
    ]
    assert bins[0] == bins[1] == bins[2]


CONSTANT = np.tile([0.9, 0.1], (400, 1))
HALF = pa.table({"y": [0, 1] * 200, "g": ["a", "b", "b", "a"] * 100})


@pytest.mark.parametrize(
    ("metric", "outcome", "said"),
    [
        ("auroc", "Failed", "auroc 0.5 [0.5, 0.5] is below the floor 0.7"),
        ("recall", "Failed", "is below the floor"),
        ("f1", "Failed", "is below the floor"),
        ("precision", "Unknown", "the model predicts no row as class 1; improve the model, or bound recall"),
    ],
)
def test_a_constant_model_fails_where_that_is_defined_and_is_named_elsewhere(
    metric: str, outcome: str, said: str
) -> None:
    spec = classification(2, [{"name": metric, "floor": "0.7"}], "1")
    (reason,) = score(spec, HALF, CONSTANT).verdict.reasons
    assert reason.outcome == outcome
    assert said in reason.message
    assert "rows that define it" not in reason.message


def test_a_perfect_model_keeps_a_ceiling_though_no_resample_varies() -> None:
    p = np.eye(2)[np.array([0, 1] * 200)]
    metrics = [{"name": name, "ceiling": "0.2"} for name in ("logLoss", "brier", "expectedCalibrationError")]
    result = score(classification(2, metrics), HALF, p)
    assert result.verdict.outcome == "Passed"
    assert all(m.high is not None and m.high > m.value for m in result.metrics), "nobody is certain after 400 rows"


def test_a_slice_without_positives_is_named_and_not_called_small() -> None:
    y = np.array([0, 1] * 100 + [0] * 200)
    p = np.eye(2)[y] * 0.8 + 0.1
    table = pa.table({"y": y, "g": ["with"] * 200 + ["without"] * 200})
    gap = {"metric": "truePositiveRate", "slice": "g", "ceiling": "0.1"}
    spec = classification(2, ["accuracy"], "1", slices=[{"name": "g", "column": "g"}], gaps=[gap])
    result = score(spec, table, p)
    (reason,) = result.verdict.reasons
    assert reason.outcome == "Unknown"
    assert (
        "with alone can be judged, and two are needed; without: no row is of class 1; add rows of it" in reason.message
    )
    assert "minimumSliceSize" not in reason.message
    small = pa.table({"y": y, "g": ["with"] * 390 + ["few"] * 10})
    (reason,) = score(spec, small, p).verdict.reasons
    assert "few: 10 rows are fewer than spec.minimumSliceSize 20; add rows, or lower it" in reason.message


def test_a_slice_that_is_left_out_of_a_gap_says_why() -> None:
    y = np.array([0, 1] * 150 + [0] * 100)
    table = pa.table({"y": y, "g": ["a"] * 150 + ["b"] * 150 + ["c"] * 100})
    gap = {"metric": "truePositiveRate", "slice": "g", "ceiling": "0.5"}
    spec = classification(2, ["accuracy"], "1", slices=[{"name": "g", "column": "g"}], gaps=[gap])
    (reason,) = score(spec, table, np.eye(2)[y] * 0.8 + 0.1).verdict.reasons
    assert reason.outcome == "Passed"
    assert "(not judged: c: no row is of class 1; add rows of it)" in reason.message
