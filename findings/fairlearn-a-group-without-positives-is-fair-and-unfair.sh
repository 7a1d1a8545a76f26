#!/usr/bin/env bash
# fairlearn 0.15.0 with scikit-learn 1.9.1: a group in which the rate is undefined (no positive label) makes a perfect
# classifier maximally unfair by equalized_odds_difference, and drops out of MetricFrame without a word, which then
# calls it perfectly fair. Two functions of one library judge the same answers 1.0 and 0.0; neither is known.
#
# Guess: both give NaN, or both raise, as a group's rate has no value. Seen: of three groups the middle one has no
# positives and every answer is right. equalized_odds_difference takes its true positive rate for 0 and says 1.0, the
# worst there is. MetricFrame with the same rate as NaN shows NaN in by_group, and leaves the group out of difference()
# and ratio(): 0.0 and 1.0. A gate on either number passes or fails on slices that are small, not on what the model does.
# Output seen:
#   by group: {'a': 1.0, 'b': nan, 'c': 1.0}
#   MetricFrame difference and ratio: [0.0, 1.0]
#   equalized_odds_difference: 1.0
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check fairlearn==0.15.0 scikit-learn==1.9.1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy
from fairlearn.metrics import MetricFrame, equalized_odds_difference
from sklearn.metrics import recall_score

groups = list("aaaabbbbcccc")
labels = [1, 1, 0, 0] + [0, 0, 0, 0] + [1, 1, 0, 0]
answers = labels


def expect(what, seen, wanted):
    print(f"{what}: {seen}")
    if str(seen) != str(wanted):
        sys.exit(f"changed: {what} was {wanted}")


def recall(true, predicted):
    return recall_score(true, predicted, zero_division=numpy.nan)


frame = MetricFrame(metrics=recall, y_true=labels, y_pred=answers, sensitive_features=groups)
expect("by group", {g: float(v) for g, v in frame.by_group.items()}, {"a": 1.0, "b": float("nan"), "c": 1.0})
expect("MetricFrame difference and ratio", [float(frame.difference()), float(frame.ratio())], [0.0, 1.0])
odds = equalized_odds_difference(labels, answers, sensitive_features=groups)
expect("equalized_odds_difference", float(odds), 1.0)
PYTHON
