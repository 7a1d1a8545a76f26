"""Windows of samples against the baseline: drift of features and answers, and the accuracy to be expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from throughline.api import quantities
from throughline.api.driftresult import JudgedWindow
from throughline.api.evaluationmetrics import TaskType
from throughline.api.monitoring import RESERVED
from throughline.evaluator import rows
from throughline.evaluator.columns import is_text, matrix, require
from throughline.evaluator.columntypes import TextColumns
from throughline.evaluator.drift.labelfree import calibrate, estimate_accuracy
from throughline.evaluator.drift.window import WindowCursor, cut_windows, judge_window, with_predictions
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.sampling.rows import TIME
from throughline.evaluator.texts import Classes, encode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from throughline.api.drift import AccuracyEstimate, WindowReport
    from throughline.api.monitoring import DriftChecks, Predictions
    from throughline.evaluator.watching.state import WatchState

MOST_WINDOWS = 16  # that one look judges; the newest


@dataclass(frozen=True, slots=True)
class Available:
    """Samples that were not judged before."""

    table: pa.Table | None
    ends: list[tuple[str, int]]  # (file, row of the table at which it ends)
    lost_rows: int


def available(files: Sequence[Path], state: WatchState) -> Available:
    """The rows after those that were judged, in order of the files' names; what went meanwhile is counted."""
    tables: list[pa.Table] = []
    ends: list[tuple[str, int]] = []
    total = known = 0
    for path in files:
        if path.name < state.file:
            continue
        try:
            table = parquet.read_table(path)
        except FileNotFoundError:
            continue
        if path.name == state.file:
            table = table.slice(state.offset)
        tables.append(table)
        total += table.num_rows
        known += table.num_rows if path.name <= state.seen else 0
        ends.append((path.name, total))
    try:
        table = pa.concat_tables(tables, promote_options="permissive") if tables else None
    except pa.ArrowException as error:
        raise EvaluationInputError(
            f"the samples have a column in types that do not go together ({error}); the model's tensors changed: "
            "name another spec.monitoring.sampling.storage.path"
        ) from error
    return Available(table, ends, max(0, state.waiting_rows - known))


@dataclass(frozen=True, slots=True)
class Look:
    """What was found, and the state to go on with."""

    windows: list[JudgedWindow]
    skipped: int
    waiting: int
    accuracy: AccuracyEstimate | None
    left_out: list[str]
    digest: str
    state: WatchState


def judge(
    drift: DriftChecks, predictions: Predictions | None, found: Available, state: WatchState, location: str, work: Path
) -> Look:
    """Judges the newest full windows.

    Raises:
        EvaluationInputError: as the baseline or its columns are not what the policy needs.
        NotEvaluatedError: the baseline's store does not answer.
    """
    table = found.table
    text_columns = TextColumns(others=_sampled_texts(table))
    loaded = rows.load(drift.baseline, location, TaskType.CLASSIFICATION, scratch=work, text_columns=text_columns)
    total = 0 if table is None else table.num_rows
    cut = cut_windows(WindowCursor(), stored_from=0, stored_to=total, policy=drift.policy)
    chosen = cut.windows[-MOST_WINDOWS:]
    judged: list[JudgedWindow] = []
    accuracy = None
    left_out: list[str] = []
    if table is not None and total:  # a wrong declaration is told before the first window is full
        reference, left_out = _reference(drift, loaded.table, table)
        reference = _answered(reference, loaded.table, predictions)
        for first, end in chosen:
            window = table.slice(first, end - first)
            report = _judged(drift, reference, _answered(window, window, predictions))
            times = pc.min_max(window[TIME]).as_py()
            judged.append(
                JudgedWindow(first_sample=times["min"].isoformat(), last_sample=times["max"].isoformat(), report=report)
            )
        if chosen:
            first, end = chosen[-1]
            accuracy = _accuracy(drift, predictions, loaded.table, table.slice(first, end - first))
    done = cut.cursor.next_row
    update: dict[str, object] = {"waiting_rows": total - done, "seen": max([state.seen, *(f for f, _ in found.ends)])}
    if done:
        begin = 0
        for file, last in found.ends:
            if done <= last:
                before = state.offset if file == state.file else 0
                update |= {"file": file, "offset": before + done - begin}
                break
            begin = last
    if judged:
        update |= {"outcome": judged[-1].report.outcome, "message": judged[-1].report.message}
    skipped = len(cut.windows) - len(chosen)
    return Look(judged, skipped, total - done, accuracy, left_out, loaded.digest, state.model_copy(update=update))


def _sampled_texts(samples: pa.Table | None) -> frozenset[str]:
    """Columns that are text in the samples: a CSV baseline must not have numbers of them."""
    names = [] if samples is None else [field.name for field in samples.schema if is_text(field.type)]
    return frozenset(names)


def _reference(drift: DriftChecks, baseline: pa.Table, samples: pa.Table) -> tuple[pa.Table, list[str]]:
    """The columns of the baseline that are compared, and those that cannot be."""
    if drift.policy.columns:
        names = [column.name for column in drift.policy.columns if not column.name.startswith("prediction.")]
        require(baseline, names, "spec.monitoring.drift.baseline")
        require(samples, names, "the samples (spec.monitoring.sampling.fields)")
        return baseline.select(names), []
    own = {drift.baseline.label_column, drift.baseline.id_column}
    names = [n for n in baseline.column_names if n not in own and not n.startswith(RESERVED)]
    both = [name for name in names if name in samples.column_names]
    if not both:
        raise EvaluationInputError(
            f"spec.monitoring.drift.baseline has none of the sampled columns ({', '.join(samples.column_names)}); it "
            f"has {', '.join(names)}: name the columns alike in spec.monitoring.sampling.fields[].columns"
        )
    return baseline.select(both), [name for name in names if name not in both]


def _answered(table: pa.Table, source_: pa.Table, predictions: Predictions | None) -> pa.Table:
    """With the answer's class and confidence, where the probabilities are there."""
    if predictions is None or not predictions.classes or not set(predictions.columns) <= set(source_.column_names):
        return table
    return with_predictions(table, _probabilities(source_, predictions), predictions.classes)


def _probabilities(table: pa.Table, predictions: Predictions) -> NDArray[np.float64]:
    return np.nan_to_num(matrix(table, predictions.columns))


def _judged(drift: DriftChecks, reference: pa.Table, window: pa.Table) -> WindowReport:
    try:
        return judge_window(drift.policy, reference, window)
    except pa.ArrowException as error:
        raise EvaluationInputError(
            f"a sampled column cannot be compared with the baseline's of that name ({error}); give both one type"
        ) from error


def _accuracy(
    drift: DriftChecks, predictions: Predictions | None, baseline: pa.Table, window: pa.Table
) -> AccuracyEstimate | None:
    label = drift.baseline.label_column
    if predictions is None or not predictions.classes or label is None:
        return None
    require(baseline, [label, *predictions.columns], "spec.monitoring.drift.baseline")
    require(window, predictions.columns, "the samples (spec.monitoring.sampling.fields)")
    found, codes = encode(baseline[label], f"spec.monitoring.drift.baseline: {label}")
    places = Classes(predictions.classes).places(found)
    if None in places or (codes < 0).any():
        raise EvaluationInputError(
            f"spec.monitoring.drift.baseline: {label} has values that are none of spec.monitoring.predictions.classes"
        )
    calibration = calibrate(_probabilities(baseline, predictions), np.array(places, dtype=np.int64)[codes])
    floor = None if predictions.accuracy_floor is None else float(quantities.parse(predictions.accuracy_floor))
    return estimate_accuracy(
        calibration, _probabilities(window, predictions), minimum_rows=drift.policy.minimum_rows, floor=floor
    )
