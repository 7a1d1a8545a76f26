"""Labels that come late: joined to predictions by request id, true accuracy by window, and a detector of change.

This is what sees concept drift. It sees it as late as the labels come, plus the detector's own delay.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from river.drift import ADWIN

from throughline.api.base import Outcome, Resource
from throughline.api.drift import ErrorChange, HoldoutGap, LabelledWindow
from throughline.evaluator.columns import require
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.shares import newcombe, wilson
from throughline.evaluator.texts import texts

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

# Rows of the current regime that are kept to go on from. A detector that has run so long without a change loses its
# older half: what is left tells a change as well.
MOST_KEPT = 200_000
DELTA = 0.002  # ADWIN's own default: its bound on false alarms


@dataclass(frozen=True, slots=True)
class Joined:
    """Labels with their predictions, in order of the labels' arrival.

    Attributes:
        ids: [rows], request ids.
        right: [rows], whether prediction and label are the same.
        next_label: Where the next join goes on (an index into all labels ever stored).
        unmatched: Labels of requests that were not sampled, or no longer stored.
        repeated: Further labels of a request that say the same as its first.
        conflicting: Further labels that say otherwise; the first one counts.
        unlabelled: Predictions without a label so far. If labels are rarer for some cases than for others, the
            accuracy of those with one is not that of all.
    """

    ids: list[str]
    right: NDArray[np.bool_]
    next_label: int
    unmatched: int
    repeated: int
    conflicting: int
    unlabelled: int


def join_labels(
    predictions: pa.Table, labels: pa.Table, *, id_column: str, prediction_column: str, label_column: str, since: int
) -> Joined:
    """Joins by request id. Give all labels that are stored; only those from index `since` on are returned and counted,
    so that a Job which goes on neither loses a label nor counts one twice.

    Raises:
        EvaluationInputError: A column is absent, or a request id is null or has two predictions.
    """
    require(predictions, [id_column, prediction_column], "predictions")
    require(labels, [id_column, label_column], "labels")
    said = _by_id(predictions, id_column, prediction_column)
    first: dict[str, str | None] = {}
    ids: list[str] = []
    right: list[bool] = []
    counts = {"unmatched": 0, "repeated": 0, "conflicting": 0}
    for index, (request, label) in enumerate(
        zip(texts(labels[id_column], id_column), texts(labels[label_column], label_column), strict=True)
    ):
        if request is None or label is None:
            what = id_column if request is None else label_column
            raise EvaluationInputError(f"labels.{what}: row {index} is null; remove the row or fill it in")
        outcome = _outcome(first, said, request, label)
        if index < since:
            continue
        if outcome is not None:
            counts[outcome] += 1
        else:
            ids.append(request)
            right.append(said[request] == label)
    unlabelled = len(said.keys() - first.keys())
    return Joined(ids, np.array(right, dtype=bool), labels.num_rows, **counts, unlabelled=unlabelled)


def _outcome(first: dict[str, str | None], said: dict[str, str | None], request: str, label: str) -> str | None:
    """Name of the count that the label falls under; None: it is the first of a known request."""
    if request in first:
        return "repeated" if first[request] == label else "conflicting"
    if request not in said:
        return "unmatched"
    first[request] = label
    return None


def _by_id(predictions: pa.Table, id_column: str, prediction_column: str) -> dict[str, str | None]:
    said: dict[str, str | None] = {}
    for index, (request, prediction) in enumerate(
        zip(
            texts(predictions[id_column], id_column),
            texts(predictions[prediction_column], prediction_column),
            strict=True,
        )
    ):
        if request is None:
            raise EvaluationInputError(f"predictions.{id_column}: row {index} is null; every request needs an id")
        if request in said:
            raise EvaluationInputError(
                f"predictions.{id_column}: {request!r} is there twice; labels could not be told apart: make ids unique"
            )
        said[request] = prediction
    return said


def labelled_windows(
    right: NDArray[np.bool_], *, window_rows: int, first_row: int = 0, confidence_percent: int = 95
) -> list[LabelledWindow]:
    """True accuracy of each full window of [rows]; a remainder is left for the next time."""
    windows = []
    for start in range(0, len(right) - window_rows + 1, window_rows):
        hits = int(right[start : start + window_rows].sum())
        low, high = wilson(hits, window_rows, confidence_percent)
        windows.append(
            LabelledWindow(
                first=first_row + start,
                end=first_row + start + window_rows,
                accuracy=hits / window_rows,
                low=low,
                high=high,
            )
        )
    return windows


class ErrorState(Resource):
    """Errors since the current regime began: what a Job keeps (as JSON) for the next one."""

    rows_seen: int = 0
    kept_rows: int = 0
    kept_bits: str = ""  # base64 of one bit for each kept row, 1 for an error


def detect_error_change(state: ErrorState, wrong: NDArray[np.bool_]) -> tuple[list[ErrorChange], ErrorState]:
    """Feeds [rows] of errors to ADWIN (Bifet and Gavaldà 2007) and tells every change of the error rate.

    ADWIN assumes independent errors. Errors that come in bursts (one bad hour, one broken sensor) are changes to it.
    The state goes on exactly: rows in one call or in many give the same changes.
    """
    kept = _unpacked(state)
    detector = ADWIN(delta=DELTA)
    for error in kept:
        detector.update(float(error))
    changes = []
    history = kept.tolist()
    for seen, error in enumerate(wrong.tolist(), start=state.rows_seen + 1):
        history.append(error)
        detector.update(float(error))
        if detector.drift_detected:
            change, history = _change(history, int(detector.width), seen)
            changes.append(change)
            # The new regime starts with a fresh detector, or replaying what is kept would not give the same again.
            detector = ADWIN(delta=DELTA)
            for old in history:
                detector.update(float(old))
        elif len(history) >= MOST_KEPT:
            history = history[len(history) // 2 :]
            detector = ADWIN(delta=DELTA)
            for old in history:
                detector.update(float(old))
    return changes, _packed(state.rows_seen + len(wrong), np.array(history, dtype=bool))


def _change(history: list[bool], width: int, seen: int) -> tuple[ErrorChange, list[bool]]:
    before, after = history[: len(history) - width], history[len(history) - width :]
    rate_before, rate_after = (float(np.mean(part)) for part in (before, after))
    change = ErrorChange(
        detected_at_row=seen,
        not_before_row=seen - width,
        delay_at_most_rows=width,
        error_rate_before=rate_before,
        error_rate_after=rate_after,
        worse=rate_after > rate_before,
    )
    return change, after


def _unpacked(state: ErrorState) -> NDArray[np.bool_]:
    raw = np.frombuffer(base64.b64decode(state.kept_bits), dtype=np.uint8)
    return np.unpackbits(raw, count=state.kept_rows).astype(bool)


def _packed(rows_seen: int, kept: NDArray[np.bool_]) -> ErrorState:
    bits = base64.b64encode(np.packbits(kept).tobytes()).decode()
    return ErrorState(rows_seen=rows_seen, kept_rows=len(kept), kept_bits=bits)


def holdout_gap(
    rest_right: NDArray[np.bool_],
    holdout_right: NDArray[np.bool_],
    *,
    minimum_rows: int,
    confidence_percent: int = 95,
) -> HoldoutGap:
    """Whether traffic that the model's own decisions feed back into looks better or worse than the share kept out.

    Args:
        rest_right: [rows] of labelled traffic inside the loop: whether the prediction was right.
        holdout_right: [rows], likewise, outside.
        minimum_rows: Of each side; fewer give Unknown.
        confidence_percent: Of the interval.
    """
    rows = {"rest_rows": len(rest_right), "holdout_rows": len(holdout_right)}
    if min(rows.values()) < minimum_rows:
        message = (
            f"SampleTooSmall: {len(holdout_right)} labelled rows held out and {len(rest_right)} others, "
            f"{minimum_rows} of each are needed"
        )
        return HoldoutGap(outcome=Outcome.UNKNOWN, message=message, **rows)
    rest, holdout = int(rest_right.sum()), int(holdout_right.sum())
    low, high = newcombe(rest, len(rest_right), holdout, len(holdout_right), confidence_percent)
    gap = rest / len(rest_right) - holdout / len(holdout_right)
    return HoldoutGap(
        outcome=Outcome.PASSED if low <= 0 <= high else Outcome.FAILED,
        rest_accuracy=rest / len(rest_right),
        holdout_accuracy=holdout / len(holdout_right),
        gap=gap,
        low=low,
        high=high,
        message=f"accuracy outside the holdout minus inside: {gap:+.4f} [{low:+.4f}, {high:+.4f}]",
        **rows,
    )
