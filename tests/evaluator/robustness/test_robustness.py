"""Floors under perturbations: a fragile classifier of handwritten digits fails what the same one, trained with noise,
passes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from throughline.api.base import Outcome
from throughline.evaluator.columns import matrix
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.robustness import square
from throughline.evaluator.robustness.report import robustness
from throughline.evaluator.scoring import score

sys.path.insert(0, str(Path(__file__).parent.parent))
from suites import suite

PIXELS = [f"p{place}" for place in range(64)]
IMAGE = {"heightPixels": 8, "widthPixels": 8}
BOUNDS = {"lower": "0", "upper": "16"}
TRAINED = 1200
NOISE = {"name": "noise", "type": "GaussianNoise", "strengths": ["0.2", "0.4"], "floor": "0.76", "bounds": BOUNDS}
ATTACK = {
    "name": "attack",
    "type": "SquareAttack",
    "strengths": ["0.15"],
    "floor": "0.30",
    "bounds": BOUNDS,
    "image": IMAGE,
    "queries": 200,
    "maxRows": 597,
}


@pytest.fixture(scope="module")
def data():
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    return digits.data[order], digits.target[order]


@pytest.fixture(scope="module")
def table(data):
    values, labels = data
    rows = {name: values[TRAINED:, place] for place, name in enumerate(PIXELS)}
    return pa.table({**rows, "digit": labels[TRAINED:]})


def trained(values, labels):
    return MLPClassifier((64,), max_iter=150, random_state=0, n_iter_no_change=150, tol=0).fit(values / 16, labels)


def predictor(model):
    return lambda rows: model.predict_proba(matrix(rows, PIXELS) / 16)


@pytest.fixture(scope="module")
def fragile(data):
    return predictor(trained(data[0][:TRAINED], data[1][:TRAINED]))


@pytest.fixture(scope="module")
def hardened(data):
    values, labels = data[0][:TRAINED], data[1][:TRAINED]
    rng = np.random.default_rng(1)
    copies = [np.clip(values + rng.normal(0, 16 * sigma, values.shape), 0, 16) for sigma in (0.1, 0.2, 0.3, 0.4)]
    return predictor(trained(np.concatenate([values, *copies]), np.tile(labels, 5)))


def judged(perturbation, table, predict):
    report = robustness(
        suite(PIXELS, [str(n) for n in range(10)], "digit", perturbations=[perturbation]), table, predict
    )
    assert report.clean.accuracy > 0.93
    finding = report.perturbations[0]
    print(finding.message)
    return finding


@pytest.mark.parametrize("perturbation", [NOISE, ATTACK], ids=["noise", "attack"])
def test_a_fragile_model_fails_the_floor_that_a_hardened_one_passes(perturbation, table, fragile, hardened):
    assert judged(perturbation, table, fragile).outcome is Outcome.FAILED
    assert judged(perturbation, table, hardened).outcome is Outcome.PASSED


def test_accuracy_falls_with_strength_and_the_same_seed_gives_the_same_numbers(table, fragile):
    one = NOISE | {"strengths": ["0", "0.1", "0.2", "0.3", "0.4"], "floor": "0"}
    points = judged(one, table, fragile).points
    assert [p.accuracy for p in points] == sorted((p.accuracy for p in points), reverse=True)
    assert points[0].accuracy > points[-1].accuracy + 0.2
    assert judged(one, table, fragile).points == points
    assert judged(one | {"seed": 2}, table, fragile).points != points
    assert all(p.low < p.accuracy < p.high for p in points)


@pytest.mark.parametrize("written", [lambda n: str(n).encode(), float], ids=["bytes", "3.0"])
def test_labels_are_read_as_scoring_reads_them(written, table, fragile):
    classes, output = [str(n) for n in range(10)], {"tensor": "label", "kind": "Label"}
    by_label = suite(PIXELS, classes, "digit", perturbations=[NOISE], output=output)

    def predict(rows):
        return np.array([written(int(n)) for n in fragile(rows).argmax(axis=1)], dtype=object)

    clean = robustness(by_label, table, predict).clean.accuracy
    assert clean == pytest.approx(score(by_label, table, predict(table)).metrics[0].value)
    assert clean > 0.93


def test_a_floor_inside_the_interval_is_unknown(table, fragile):
    accuracy = judged(NOISE, table, fragile).points[-1].accuracy
    finding = judged(NOISE | {"floor": f"{accuracy:.4f}"}, table, fragile)
    assert finding.outcome is Outcome.UNKNOWN
    assert "maxRows" in finding.message


def test_the_attack_stays_in_its_bounds_and_its_budget(fragile, data):
    values, truth = data[0][TRAINED : TRAINED + 100], data[1][TRAINED : TRAINED + 100]
    asked = np.zeros(100, dtype=int)

    def scores(places, candidates):
        asked[places] += 1
        return np.log(np.maximum(fragile(pa.table({n: candidates[:, i] for i, n in enumerate(PIXELS)})), 1e-12))

    zeros, top = np.zeros(64), np.full(64, 16.0)
    attacked = square.square_attack(
        *(scores, values, truth), radius=np.full(64, 2.4), lower=zeros, upper=top, shape=(8, 8, 1), queries=60, seed=3
    )
    assert np.abs(attacked.values - values).max() <= 2.4 + 1e-12
    assert attacked.values.min() >= 0
    assert attacked.values.max() <= 16
    assert asked.max() <= 60
    assert np.array_equal(asked, attacked.queries)
    still_right = fragile(pa.table({n: attacked.values[:, i] for i, n in enumerate(PIXELS)})).argmax(axis=1) == truth
    assert np.array_equal(still_right, ~attacked.fooled)


def test_squares_reach_every_pixel():
    rng = np.random.default_rng(0)
    seen = sum(square._squares(rng, 200, (8, 8, 1), (3, 3)).sum(axis=0) for _ in range(5))
    assert (seen > 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": ["name"]}, r"perturbations\[noise\].columns: name is string"),
        ({"columns": ["nowhere"]}, r"perturbations\[noise\].columns: the data has no column nowhere"),
        (
            {"type": "SquareAttack", "image": {"heightPixels": 9, "widthPixels": 8}},
            "72 values and there are 64 columns",
        ),
    ],
)
def test_what_cannot_be_perturbed_is_named(change, message, table, fragile):
    named = table.append_column("name", pa.array(["x"] * table.num_rows))
    with pytest.raises(EvaluationInputError, match=message):
        judged(NOISE | change, named, fragile)
