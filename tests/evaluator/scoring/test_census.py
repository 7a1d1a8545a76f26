"""On real rows: whether people are employed, by race (US census, Massachusetts, 2016 to 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, recall_score
from throughline.api.base import Outcome
from throughline.api.evaluationresult import Check
from throughline.evaluator.scoring import compare, score

from tests import census
from tests.evaluator.scoring.suites import classification

if TYPE_CHECKING:
    import pyarrow as pa

WORSE_FOR = "6"  # RAC1P: Asian
SPEC = classification(
    2,
    [{"name": "accuracy", "floor": "0.80"}, {"name": "expectedCalibrationError", "ceiling": "0.1"}],
    "1",
    slices=[{"name": "race", "column": "RAC1P"}, {"name": "young", "expression": "AGEP < 25"}],
    gaps=[{"metric": "truePositiveRate", "slice": "race", "ceiling": "0.20"}],
    minimumSliceSize=1000,
)


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    table = census.year(2016)
    return table.set_column(table.column_names.index(census.LABEL), "y", table[census.LABEL])


@pytest.fixture(scope="module")
def output(rows: pa.Table) -> np.ndarray:
    """A logistic regression of 2015, on 2016, with the probabilities that it gives."""

    def features(table: pa.Table) -> np.ndarray:
        numbers = np.stack([census.codes(table)[name].to_numpy() for name in census.FEATURES], axis=1)
        return np.hstack([numbers, numbers[:, :1] ** 2, np.eye(25)[numbers[:, 1].astype(int)]])

    train = features(census.year(2015))
    mean, spread = train.mean(axis=0), train.std(axis=0) + 1e-9
    model = LogisticRegression(max_iter=200).fit((train - mean) / spread, census.year(2015)[census.LABEL].to_numpy())
    probabilities: np.ndarray = model.predict_proba((features(rows) - mean) / spread)
    return probabilities.astype(np.float32)


def worse_for_one(rows: pa.Table, output: np.ndarray) -> np.ndarray:
    """The same, but one person in three of one race who would be taken for employed is not."""
    changed = output.copy()
    hit = (np.array(rows["RAC1P"].to_pylist()) == WORSE_FOR) & (output[:, 1] > 0.5)
    hit &= np.random.default_rng(0).random(len(hit)) < 1 / 3
    changed[hit] = changed[hit][:, ::-1]
    return changed


def test_a_model_that_is_worse_for_one_race_fails_the_gap_alone(rows: pa.Table, output: np.ndarray) -> None:
    fair, unfair = score(SPEC, rows, output), score(SPEC, rows, worse_for_one(rows, output))
    assert fair.verdict.outcome == Outcome.PASSED, [r.message for r in fair.verdict.reasons]
    assert unfair.verdict.outcome == Outcome.FAILED
    assert [(r.check, r.outcome) for r in unfair.verdict.reasons] == [
        (Check.FLOOR, Outcome.PASSED),
        (Check.CEILING, Outcome.PASSED),
        (Check.GAP, Outcome.FAILED),
    ]
    (gap,) = unfair.gaps
    assert gap.worst == WORSE_FOR
    assert f"improve the model for race {WORSE_FOR}" in unfair.verdict.reasons[2].message
    assert gap.low > 0.20
    assert gap.left_out  # races of too few rows to be judged


def test_numbers_are_scikit_learns_on_every_slice(rows: pa.Table, output: np.ndarray) -> None:
    y, label = rows["y"].to_numpy(), output.argmax(axis=1)
    race, age = np.array(rows["RAC1P"].to_pylist()), rows["AGEP"].to_numpy()
    result = score(SPEC, rows, output)
    for one in result.slices:
        inside = race == one.value if one.slice == "race" else age < 25
        found = {m.metric: m for m in one.metrics}
        assert one.rows == inside.sum()
        assert found["accuracy"].value == accuracy_score(y[inside], label[inside])
        assert found["truePositiveRate"].value == recall_score(y[inside], label[inside])
        assert one.too_small == (inside.sum() < 1000)


def test_the_comparison_names_the_race(rows: pa.Table, output: np.ndarray) -> None:
    (worse,) = compare(SPEC, rows, {"fair": output, "worse": worse_for_one(rows, output)}, "fair").variants
    changed = {s.value for s in worse.slices if s.slice == "race" and s.metrics[0].value}
    assert changed == {WORSE_FOR}
    assert worse.gaps[0].low > 0.05
