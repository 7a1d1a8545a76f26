"""Late labels: joined to the stored samples by their hashed key, and what follows for the error rate."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from throughline.api.driftresult import LabelReport
from throughline.api.evaluationmetrics import TaskType
from throughline.evaluator import rows
from throughline.evaluator.columns import matrix, require
from throughline.evaluator.drift.labels import detect_error_change, holdout_gap, join_labels, labelled_windows
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.sampling.rows import ITEM, KEY
from throughline.evaluator.storage import plain
from throughline.evaluator.texts import Classes, as_boolean, booleans_alike, same, texts
from throughline.evaluator.texts import keys as exact_keys

if TYPE_CHECKING:
    from pathlib import Path

    from throughline.api.drift import HoldoutGap
    from throughline.api.monitoring import Labels, Predictions
    from throughline.evaluator.drift.labels import Joined
    from throughline.evaluator.sampling.rows import Keys
    from throughline.evaluator.watching.state import WatchState

ID, PREDICTION, LABEL = "id", "prediction", "label"
DATASET = "spec.monitoring.labels.dataset"
SAMPLES = "the samples (spec.monitoring.sampling.fields)"


@dataclass(frozen=True, slots=True)
class Late:
    """What was found, and the state to go on with."""

    report: LabelReport
    holdout: HoldoutGap | None
    digest: str
    state: WatchState


def look(
    labels: Labels,
    predictions: Predictions,
    samples: pa.Table,
    keys: Keys,
    state: WatchState,
    location: str,
    work: Path,
    *,
    minimum_rows: int,
) -> Late:
    """Joins what came since the look before.

    Raises:
        EvaluationInputError: a column is not there, or has nulls where none may be.
        NotEvaluatedError: the labels' store does not answer.
    """
    loaded = rows.load(labels.dataset, location, TaskType.CLASSIFICATION, scratch=work)
    answers, ambiguous, held_out = _answers(samples, predictions, labels)
    joined = join_labels(
        *_alike(answers, _labels(loaded.table, labels, keys), predictions),
        id_column=ID,
        prediction_column=PREDICTION,
        label_column=LABEL,
        since=state.next_label,
    )
    changes, errors = detect_error_change(state.errors, ~joined.right)
    right = np.concatenate([_bits(state.pending), joined.right])
    windows = labelled_windows(right, window_rows=labels.window_rows, first_row=state.labelled_rows)
    done = len(windows) * labels.window_rows
    report = LabelReport(
        joined=len(joined.ids),
        unmatched=joined.unmatched,
        repeated=joined.repeated,
        conflicting=joined.conflicting,
        unlabelled=joined.unlabelled,
        ambiguous=ambiguous,
        windows=windows,
        changes=changes,
    )
    after = state.model_copy(
        update={
            "next_label": joined.next_label,
            "errors": errors,
            "pending": "".join("1" if one else "0" for one in right[done:]),
            "labelled_rows": state.labelled_rows + done,
        }
    )
    return Late(report, _holdout(labels, joined, held_out, minimum_rows), loaded.digest, after)


def _bits(text: str) -> np.ndarray:
    return np.array([one == "1" for one in text], dtype=bool)


def _answers(samples: pa.Table, predictions: Predictions, labels: Labels) -> tuple[pa.Table, int, frozenset[str]]:
    """(id and answer of each row that a label can be joined to, rows whose id is not theirs alone, ids held out)."""
    require(samples, predictions.columns, SAMPLES)
    if predictions.classes:
        best = np.nan_to_num(matrix(samples, predictions.columns)).argmax(axis=1)
        said = [predictions.classes[place] for place in best]
    else:
        column = predictions.columns[0]
        said = texts(samples[column], f"{SAMPLES}: {column}")
    places = samples[ITEM].to_pylist() if labels.item_column is not None else [0] * samples.num_rows
    ids = [None if key is None else _id(key, item) for key, item in zip(samples[KEY].to_pylist(), places, strict=True)]
    often = Counter(ids)
    own = [place for place, one in enumerate(ids) if one is not None and often[one] == 1]
    held: frozenset[str] = frozenset()
    if labels.holdout is not None:
        require(samples, [labels.holdout.column], SAMPLES)
        column, wanted = samples[labels.holdout.column], labels.holdout.value
        values = texts(column, f"{SAMPLES}: {labels.holdout.column}")
        held = frozenset(str(ids[place]) for place in own if same(values[place] or "", wanted, plain(column).type))
    table = pa.table(
        {
            ID: pa.array([ids[p] for p in own], pa.string()),
            PREDICTION: pa.array([said[p] for p in own], pa.string()),
        }
    )
    return table, samples.num_rows - len(own), held


def _labels(table: pa.Table, labels: Labels, keys: Keys) -> pa.Table:
    """The labels by the same ids: a null stays one, for the join to name it."""
    dataset = labels.dataset
    assert dataset.id_column is not None  # noqa: S101 - rules of the API
    assert dataset.label_column is not None  # noqa: S101
    needed = [dataset.id_column, dataset.label_column, *([labels.item_column] if labels.item_column else [])]
    require(table, needed, DATASET)
    places = _items(table, labels.item_column) if labels.item_column else [0] * table.num_rows
    ids = [
        None if key is None or item is None else _id(keys.hashed(key), item)
        for key, item in zip(
            exact_keys(table[dataset.id_column], f"{DATASET}.idColumn {dataset.id_column}"), places, strict=True
        )
    ]
    truth = texts(table[dataset.label_column], f"{DATASET}.labelColumn {dataset.label_column}")
    return pa.table({ID: pa.array(ids, pa.string()), LABEL: pa.array(truth, pa.string())})


def _items(table: pa.Table, column: str) -> list[int | None]:
    try:
        found: list[int | None] = plain(table[column]).cast(pa.int64()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise EvaluationInputError(
            f"spec.monitoring.labels.itemColumn {column}: whole numbers from 0 are needed ({error}); correct the column"
        ) from None
    return found


def _alike(answers: pa.Table, labels: pa.Table, predictions: Predictions) -> tuple[pa.Table, pa.Table]:
    """Both with one spelling of each class, whichever way the source of either writes booleans."""
    said, truth = answers[PREDICTION].to_pylist(), labels[LABEL].to_pylist()
    if predictions.classes:
        classes = Classes(predictions.classes)
        places = [None if text is None else classes.place(text) for text in truth]
        truth = [
            text if place is None else predictions.classes[place] for text, place in zip(truth, places, strict=True)
        ]
    elif booleans_alike(set(said), set(truth)):
        said, truth = [as_boolean(text) for text in said], [as_boolean(text) for text in truth]
    return (
        answers.set_column(1, PREDICTION, pa.array(said, pa.string())),
        labels.set_column(1, LABEL, pa.array(truth, pa.string())),
    )


def _id(key: str, item: int) -> str:
    return f"{key}#{item}"


def _holdout(labels: Labels, joined: Joined, held_out: frozenset[str], minimum_rows: int) -> HoldoutGap | None:
    if labels.holdout is None:
        return None
    held = np.array([one in held_out for one in joined.ids], dtype=bool)
    return holdout_gap(joined.right[~held], joined.right[held], minimum_rows=minimum_rows)
