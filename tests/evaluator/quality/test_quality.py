"""Data quality on real rows of people: each thing that is wrong is named, and leakage is told from likeness."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from throughline.api.base import Outcome
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.quality.report import check_quality

from tests import census

sys.path.insert(0, str(Path(__file__).parent.parent))
from suites import GOVERNANCE, suite

FEATURES = list(census.FEATURES)
TRAINING = {"source": {"configMap": {"name": "training", "key": "rows.csv"}}, "governance": GOVERNANCE}


@pytest.fixture(scope="module")
def training():
    table = census.year(2015)
    return table.take(np.random.default_rng(0).permutation(table.num_rows))


def report(quality, table, **more):
    extra = {"trainingDataset": TRAINING} if "training" in more else {}
    return check_quality(suite(FEATURES, ["0", "1"], census.LABEL, quality=quality, **extra), table, **more)


def failed(result):
    return [(str(f.check), f.column) for f in result.findings if f.outcome is Outcome.FAILED]


def leaked(rows, training):
    result = report({"trainingOverlap": {}}, rows, training=training)
    finding = result.findings[-1]
    print(finding.message)
    return finding


def test_likeness_is_no_leakage_and_leakage_is_found(training):
    known, fresh = training.slice(0, 45_000), training.slice(45_000, 20_000)
    finding = leaked(fresh, known)
    assert finding.outcome is Outcome.PASSED
    assert finding.low < 0 < finding.high
    assert "46" in finding.message  # per cent of the rows equal a training row all the same
    # A twentieth copied from the training set.
    finding = leaked(pa.concat_tables([fresh.slice(0, 19_000), known.slice(100, 1000)]), known)
    assert finding.outcome is Outcome.FAILED
    assert finding.low < 0.05 < finding.high
    assert "take the training rows out" in finding.fix


def test_other_years_are_no_leakage(training):
    assert leaked(census.year(2018), training.slice(0, 45_000)).outcome is Outcome.PASSED


def test_no_false_finding_over_many_splits(training):
    found = []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(training.num_rows)
        rows, known = training.take(order[:4000]), training.take(order[4000:20_000])
        found.append(leaked(rows, known).outcome is Outcome.FAILED)
    assert sum(found) == 0


def test_when_nothing_is_alone_nothing_is_said(training):
    columns = {"trainingOverlap": {"columns": ["SEX", census.LABEL]}}
    finding = report(columns, training.slice(0, 1000), training=training.slice(1000, 1000)).findings[-1]
    assert (finding.outcome, finding.value) == (Outcome.UNKNOWN, None)


def test_schema_breaks_are_named(training):
    rows = training.slice(0, 1000)
    rules = {
        "columns": [
            {"name": "AGEP", "type": "Number", "minimum": "0", "maximum": "90"},
            {"name": "SEX", "type": "Text", "values": ["1"]},
            {"name": "MAR", "type": "Integer"},
            {"name": "income", "type": "Number"},
        ],
        "otherColumnsAllowed": False,
    }
    result = report(rules, rows)
    named = {f.column: f for f in result.findings if f.outcome is Outcome.FAILED}
    assert result.outcome is Outcome.FAILED
    assert set(named) == {"AGEP", "SEX", "MAR", "income", "id", "year"}
    assert "above the maximum 90" in named["AGEP"].message
    assert "'2'" in named["SEX"].message
    assert "is string, not Integer" in named["MAR"].message
    assert all(finding.fix for finding in named.values())
    assert failed(report({}, rows.drop_columns(["SCHL"]))) == [("Schema", "SCHL")]


def test_missing_duplicated_and_unbalanced_rows(training):
    rows = training.slice(0, 1000)
    holes = rows.set_column(1, "AGEP", pa.array([None] * 30 + rows["AGEP"].to_pylist()[30:]))
    assert failed(report({"missingCeiling": "0.02"}, holes)) == [("MissingValues", "AGEP")]
    assert failed(report({"missingCeiling": "0.03"}, holes)) == []
    columns = {"columns": [*FEATURES, census.LABEL]}
    natural = report({"duplicates": columns}, training).findings[-1]
    assert natural.outcome is Outcome.FAILED
    assert natural.value > 0.3
    baseline = columns | {"baseline": "0.41", "ceiling": "0.02"}
    assert failed(report({"duplicates": baseline}, training)) == []
    twice = pa.concat_tables([training, training.slice(0, 10_000)])
    assert failed(report({"duplicates": baseline}, twice)) == [("Duplicates", None)]
    assert failed(report({"labelBalance": {"floor": "0.4"}}, rows)) == []
    assert failed(report({"labelBalance": {"floor": "0.5"}}, rows)) == [("LabelBalance", census.LABEL)]


def test_representativeness(training):
    rule = {"representativeness": {}}
    assert report(rule, training.slice(0, 5000)).outcome is Outcome.UNKNOWN
    assert failed(report(rule, training.slice(0, 5000), live=training.slice(5000, 3000))) == []
    old = training.filter(pa.compute.greater(training["AGEP"], 60)).slice(0, 3000)
    assert ("Representativeness", "AGEP") in failed(report(rule, training.slice(0, 5000), live=old))


def test_what_cannot_be_checked_is_an_error(training):
    with pytest.raises(EvaluationInputError, match=r"spec\.dataset has no rows"):
        report({}, training.slice(0, 0))
    with pytest.raises(EvaluationInputError, match=r"trainingOverlap needs the training set"):
        report({"trainingOverlap": {}}, training.slice(0, 10), training=None)
    with pytest.raises(EvaluationInputError, match=r"trainingDataset .*: the data has no column SCHL"):
        report({"trainingOverlap": {}}, training.slice(0, 10), training=training.drop_columns(["SCHL"]))
