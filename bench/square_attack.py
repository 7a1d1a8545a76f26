"""Our Square Attack beside that of the Adversarial Robustness Toolbox: same model, rows, bound and budget.

Not part of `make bench`, since the toolbox is no dependency (it does not declare all of its own):
    uv run --with adversarial-robustness-toolbox==1.20.1 --with packaging python bench/square_attack.py
"""

from __future__ import annotations

import numpy as np
from art.attacks.evasion import SquareAttack
from art.estimators.classification import BlackBoxClassifierNeuralNetwork
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from throughline.evaluator.robustness.square import square_attack

TRAINED = 1200
QUERIES = 200
SEEDS = 5


def main() -> None:
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    values, truth = digits.data[order] / 16, digits.target[order]
    model = MLPClassifier((64,), max_iter=150, random_state=0, n_iter_no_change=150, tol=0)
    model.fit(values[:TRAINED], truth[:TRAINED])
    values, truth = values[TRAINED:], truth[TRAINED:]

    def logs(rows: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(model.predict_proba(rows.reshape(len(rows), 64)), 1e-12))

    zeros, ones = np.zeros(64), np.ones(64)
    victim = BlackBoxClassifierNeuralNetwork(logs, (8, 8, 1), 10, channels_first=False, clip_values=(0, 1))
    print(f"accuracy of {len(truth)} rows after {QUERIES} queries, mean of {SEEDS} seeds: ours, ART")
    for radius in (0.05, 0.10, 0.15):
        ours, theirs = [], []
        for seed in range(SEEDS):
            attacked = square_attack(
                *(lambda _, rows: logs(rows), values, truth),
                radius=np.full(64, radius),
                lower=zeros,
                upper=ones,
                shape=(8, 8, 1),
                queries=QUERIES,
                seed=seed,
            )
            ours.append(1 - attacked.fooled.mean())
            np.random.seed(seed)  # noqa: NPY002 - the toolbox draws from the global generator
            attack = SquareAttack(victim, eps=radius, max_iter=QUERIES, verbose=False, batch_size=1000)
            found = attack.generate(values.reshape(-1, 8, 8, 1).astype(np.float32), y=truth)
            theirs.append((logs(found.reshape(len(found), 64)).argmax(axis=1) == truth).mean())
        print(f"radius {radius:.2f}: {np.mean(ours):.3f}, {np.mean(theirs):.3f}")


if __name__ == "__main__":
    main()
