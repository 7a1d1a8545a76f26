from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from throughline.evaluator.scoring import ScoringError, compare, score

from tests.evaluator.scoring.suites import classification

ROWS = 2000
RANDOM = np.random.default_rng(0)
Y = RANDOM.integers(0, 2, ROWS)
GROUP = RANDOM.choice(["a", "b", "c"], ROWS)
TABLE = pa.table({"y": Y, "g": GROUP})
HARD = RANDOM.random(ROWS)  # the same rows are hard for every variant


def variant(error: float | np.ndarray, noise: float = 0.0) -> np.ndarray:
    """Probabilities of a model that errs on the hardest rows, up to some noise."""
    wrong = HARD + noise * RANDOM.normal(size=ROWS) < error
    label = np.where(wrong, 1 - Y, Y)
    return np.stack([1.0 - label, label], axis=1) * 0.8 + 0.1


def spec(**more: Any) -> Any:
    return classification(2, ["accuracy"], "1", slices=[{"name": "g", "column": "g"}], **more)


GAP = {"gaps": [{"metric": "accuracy", "slice": "g", "ceiling": "0.05"}]}


def test_differences_are_paired() -> None:
    """Two accuracies whose own intervals overlap widely may differ without doubt, on the same rows."""
    outputs = {"fp32": variant(0.20), "int8": variant(0.21)}
    (int8,) = compare(spec(), TABLE, outputs, "fp32").variants
    (difference,) = int8.metrics
    (alone,) = score(spec(), TABLE, outputs["fp32"]).metrics
    assert difference.value == pytest.approx(difference.variant - difference.baseline)
    assert difference.high < 0
    assert difference.high - difference.low < (alone.high - alone.low) / 3
    assert difference.baseline == alone.value


def test_an_equal_variant_differs_by_nothing() -> None:
    outputs = {"a": variant(0.2), "b": variant(0.2)}
    (b,) = compare(spec(**GAP), TABLE, outputs, "a").variants
    assert (b.metrics[0].value, b.metrics[0].low, b.metrics[0].high) == (0, 0, 0)
    assert (b.gaps[0].value, b.gaps[0].low, b.gaps[0].high) == (0, 0, 0)


def test_what_is_worse_for_one_slice_shows_there_and_in_the_gap() -> None:
    outputs = {"fp32": variant(0.2), "small": variant(np.where(GROUP == "b", 0.35, 0.2))}
    (small,) = compare(spec(**GAP), TABLE, outputs, "fp32").variants
    found = {s.value: s.metrics[0] for s in small.slices}
    assert found["b"].high < -0.1
    assert (found["a"].value, found["c"].value) == (0, 0)
    (gap,) = small.gaps
    assert gap.low > 0.05
    assert gap.value == pytest.approx(gap.variant - gap.baseline)


def test_a_gap_that_did_not_change_is_seldom_said_to_have() -> None:
    """Two noisy variants with the same errors everywhere: whatever gap there seems to be is chance."""
    claimed, simulations = 0, 40
    for seed in range(simulations):
        outputs = {"a": variant(0.2, noise=0.3), "b": variant(0.2, noise=0.3)}
        options = spec(**GAP, intervals={"resamples": 150, "seed": seed})
        (gap,) = compare(options, TABLE, outputs, "a").variants[0].gaps
        claimed += not gap.low <= 0 <= gap.high
    assert claimed <= 2  # 95 percent intervals: 2 expected


def test_the_interval_of_a_changed_gap_holds_the_truth() -> None:
    """The largest gap of the baseline, which has none, is above zero by chance, and in each resample once more."""
    random, rows = np.random.default_rng(5), 1200
    group = np.arange(rows) % 8
    held, simulations = 0, 60
    for seed in range(simulations):
        y = random.integers(0, 2, rows)
        outputs = {}
        for name, worse in (("even", 0.0), ("uneven", 0.3)):
            label = np.where(random.random(rows) < 0.2 + worse * (group == 0), 1 - y, y)
            outputs[name] = np.stack([1.0 - label, label], axis=1) * 0.8 + 0.1
        table = pa.table({"y": y, "g": group})
        options = spec(**GAP, intervals={"resamples": 150, "seed": seed})
        (gap,) = compare(options, table, outputs, "even").variants[0].gaps
        held += gap.low <= 0.3 <= gap.high
    assert held >= 0.88 * simulations


DESIGN = {
    "fp32": {"precision": "fp32", "size": "large"},
    "int8": {"precision": "int8", "size": "large"},
    "fp32-small": {"precision": "fp32", "size": "small"},
    "int8-small": {"precision": "int8", "size": "small"},
}


def test_which_component_mattered() -> None:
    outputs = {"fp32": variant(0.2), "int8": variant(0.2), "fp32-small": variant(0.3), "int8-small": variant(0.3)}
    found = {e.component: e for e in compare(spec(), TABLE, outputs, "fp32", DESIGN).effects}
    assert (found["precision"].before, found["precision"].after) == ("fp32", "int8")
    assert (found["precision"].value, found["precision"].low, found["precision"].high) == (0, 0, 0)
    assert found["size"].pairs == [["fp32", "fp32-small"], ["int8", "int8-small"]]
    assert found["size"].value == pytest.approx(-0.1, abs=0.02)
    assert -0.12 < found["size"].low < found["size"].high < -0.07


def test_what_the_design_cannot_tell_is_said() -> None:
    outputs = {"fp32": variant(0.2), "int8-small": variant(0.3)}
    effects = compare(spec(), TABLE, outputs, "fp32", DESIGN).effects
    assert [e.value for e in effects] == [None, None]
    assert "no two variants differ in precision alone" in effects[0].reason


def test_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ScoringError, match="'fp16' is no variant; there are fp32"):
        compare(spec(), TABLE, {"fp32": variant(0.2)}, "fp16")
    with pytest.raises(ScoringError, match="int4: no components are named"):
        compare(spec(), TABLE, {"fp32": variant(0.2), "int4": variant(0.2)}, "fp32", DESIGN)


def test_a_class_missing_in_a_slice_has_no_difference() -> None:
    table = pa.table({"y": Y, "g": np.where(Y == 1, "a", "b")})
    suite = classification(2, ["auroc"], slices=[{"name": "g", "column": "g"}])
    (other,) = compare(suite, table, {"a": variant(0.2), "b": variant(0.3)}, "a").variants
    assert [s.metrics[0].value for s in other.slices] == [None, None]
    assert "nothing to tell apart" in other.slices[0].metrics[0].reason
    assert other.metrics[0].high < 0
