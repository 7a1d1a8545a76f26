"""One window of traffic against the baseline: features, predictions, and all of them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from throughline.api import quantities
from throughline.api.base import Outcome, Resource
from throughline.api.drift import ColumnKind, Distance, DriftFinding, DriftPolicy, DriftTest, WindowReport
from throughline.evaluator.columns import category_codes, is_number, is_text, require
from throughline.evaluator.drift.statistics import (
    Tested,
    binned,
    chi_squared,
    counted,
    holm,
    kolmogorov_smirnov,
    population_stability_index,
)
from throughline.evaluator.drift.twosample import as_categories, classifier_two_sample
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.storage import plain
from throughline.evaluator.texts import text_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PREDICTION_COLUMN = "prediction.class"
CONFIDENCE_COLUMN = "prediction.confidence"
MESSAGE = 1500  # characters of a report's message


class WindowCursor(Resource):
    """How far the windows of a stream have been judged: what a Job keeps (as JSON) for the next one."""

    next_row: int = 0


@dataclass(frozen=True, slots=True)
class Cut:
    """Windows [first, end) that are full, the state to go on with, and rows that nobody can judge any more."""

    windows: list[tuple[int, int]]
    cursor: WindowCursor
    lost_rows: int


def cut_windows(cursor: WindowCursor, *, stored_from: int, stored_to: int, policy: DriftPolicy) -> Cut:
    """Cuts the rows [stored_from, stored_to) that are still stored into full windows. Rows are numbered from the first
    ever sampled. What is left over waits for the next time, so no window is ever a remainder; rows that retention
    removed before they were judged are counted.
    """
    first = max(cursor.next_row, stored_from)
    full = max(0, stored_to - first) // policy.window_rows
    windows = [(first + n * policy.window_rows, first + (n + 1) * policy.window_rows) for n in range(full)]
    return Cut(windows, WindowCursor(next_row=first + full * policy.window_rows), first - cursor.next_row)


def with_predictions(table: pa.Table, probabilities: NDArray[np.float64], classes: Sequence[str]) -> pa.Table:
    """The table with the predicted class and its probability [rows, classes] as two more columns to be watched."""
    taken = [name for name in (PREDICTION_COLUMN, CONFIDENCE_COLUMN) if name in table.column_names]
    if taken:
        raise EvaluationInputError(f"the data has a column {taken[0]}, which holds predictions here; rename it")
    best = probabilities.argmax(axis=1)
    table = table.append_column(PREDICTION_COLUMN, pa.array([classes[place] for place in best], pa.string()))
    return table.append_column(CONFIDENCE_COLUMN, pa.array(probabilities.max(axis=1), pa.float64()))


@dataclass(frozen=True, slots=True)
class _Raw:
    """A test before the correction."""

    column: str | None
    test: DriftTest
    result: Tested
    distance: float
    reference_rows: int
    window_rows: int


def judge_window(policy: DriftPolicy, reference: pa.Table, window: pa.Table) -> WindowReport:
    """Tests every column, and all together, at the declared rate of false alarms for the whole window.

    Raises:
        EvaluationInputError: A column to watch is absent, or neither number, text nor boolean.
    """
    sizes: dict[str, Any] = {"reference_rows": reference.num_rows, "window_rows": window.num_rows}
    for side, rows in (("window", window.num_rows), ("baseline", reference.num_rows)):
        if rows < policy.minimum_rows:
            message = f"SampleTooSmall: the {side} has {rows} rows, {policy.minimum_rows} are needed"
            return WindowReport(outcome=Outcome.UNKNOWN, message=message, **sizes)
    kinds, unknown = _kinds(policy, reference, window)
    sizes |= {"unknown_columns": list(unknown)}
    told = f"; not judged: {'; '.join(f'{name} {why}' for name, why in unknown.items())}" if unknown else ""
    raw: list[_Raw] = []
    encodings: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for name, kind in kinds.items():
        tests, encoding = _column(name, kind, reference, window)
        raw += tests
        encodings.append(encoding)
    if not raw:
        return WindowReport(outcome=Outcome.UNKNOWN, message=f"no column can be judged{told}"[:MESSAGE], **sizes)
    raw.append(_together(kinds, encodings, policy.seed))
    findings = _judged(policy, raw)
    drifted = [finding for finding in findings if finding.drifted]
    if not drifted:
        message = f"no drift found by {len(findings)} tests at {policy.false_alarm_percent} % false alarms per window"
        return WindowReport(outcome=Outcome.PASSED, message=f"{message}{told}"[:MESSAGE], findings=findings, **sizes)
    message = f"{_named(drifted)}{told}"[:MESSAGE]
    return WindowReport(outcome=Outcome.FAILED, message=message, findings=findings, **sizes)


def _kinds(policy: DriftPolicy, reference: pa.Table, window: pa.Table) -> tuple[dict[str, ColumnKind], dict[str, str]]:
    """How each column is compared, and why others cannot be. A column that was declared must be comparable, or empty.

    Raises:
        EvaluationInputError: a declared column is absent, or neither number, text nor boolean.
    """
    declared = {column.name: column.kind for column in policy.columns} or dict.fromkeys(reference.column_names)
    require(reference, list(declared), "drift.columns")
    require(window, list(declared), "window")
    kinds: dict[str, ColumnKind] = {}
    unknown: dict[str, str] = {}
    for name, kind in declared.items():
        sides = {where: plain(table[name]) for where, table in (("baseline", reference), ("window", window))}
        held = {where: column.type for where, column in sides.items() if _has_values(column)}
        if not held:
            unknown[name] = "has no value in the baseline and none in the window"
            continue
        strange = next((f"is {type_} in the {where}" for where, type_ in held.items() if not _comparable(type_)), None)
        if strange is not None and policy.columns:
            raise EvaluationInputError(
                f"drift.columns: {name} {strange}; numbers, text and booleans can be compared: convert it, or "
                "leave it out"
            )
        if strange is not None:
            unknown[name] = f"{strange}, which cannot be compared"
            continue
        number = all(is_number(type_) for type_ in held.values())
        if kind is ColumnKind.CONTINUOUS and not number:
            types = ", ".join(str(type_) for type_ in held.values())
            raise EvaluationInputError(f"drift.columns: {name} is {types} and cannot be Continuous; set Categorical")
        kinds[name] = kind or (ColumnKind.CONTINUOUS if number else ColumnKind.CATEGORICAL)
    return kinds, unknown


def _has_values(column: pa.ChunkedArray) -> bool:
    return len(column) > (pc.sum(column.is_null(nan_is_null=True)).as_py() or 0)


def _comparable(type_: pa.DataType) -> bool:
    return is_number(type_) or is_text(type_) or bool(pa.types.is_boolean(type_))


def _column(
    name: str, kind: ColumnKind, reference: pa.Table, window: pa.Table
) -> tuple[list[_Raw], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    if kind is ColumnKind.CATEGORICAL:
        codes = category_codes(*(text_column(side[name], f"drift.columns: {name}") for side in (reference, window)))
        counts = counted(*codes)
        test = _Raw(
            *(name, DriftTest.CHI_SQUARED, chi_squared(*counts), population_stability_index(*counts)),
            *(reference.num_rows, window.num_rows),
        )
        return [test], (as_categories(codes[0]), as_categories(codes[1]))
    old, new = (_numbers(side[name]) for side in (reference, window))
    return _continuous(name, old, new), (old, new)


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Rounded where integers are beyond what floating-point numbers hold: distributions do not change by that."""
    numbers: NDArray[np.float64] = plain(column).cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
    return numbers


def _continuous(name: str, old: NDArray[np.float64], new: NDArray[np.float64]) -> list[_Raw]:
    missing = np.isnan(old), np.isnan(new)
    known = old[~missing[0]], new[~missing[1]]
    tests = []
    if len(known[0]) and len(known[1]):
        psi = population_stability_index(*binned(*known))
        result = kolmogorov_smirnov(*known)
        tests.append(_Raw(name, DriftTest.KOLMOGOROV_SMIRNOV, result, psi, len(known[0]), len(known[1])))
    if missing[0].any() or missing[1].any():
        old_counts, new_counts = (np.array([len(m) - m.sum(), m.sum()], dtype=np.int64) for m in missing)
        psi = population_stability_index(old_counts, new_counts)
        result = chi_squared(old_counts, new_counts)
        tests.append(_Raw(name, DriftTest.MISSING_VALUES, result, psi, len(old), len(new)))
    return tests


def _together(
    kinds: dict[str, ColumnKind], encodings: list[tuple[NDArray[np.float64], NDArray[np.float64]]], seed: int
) -> _Raw:
    old, new = (np.column_stack([pair[side] for pair in encodings]) for side in (0, 1))
    categorical = [kind is ColumnKind.CATEGORICAL for kind in kinds.values()]
    result = classifier_two_sample(old, new, categorical=categorical, seed=seed)
    return _Raw(
        *(None, DriftTest.CLASSIFIER_TWO_SAMPLE, Tested(result.auc, result.p_value), result.auc),
        *(result.reference_rows, result.window_rows),
    )


def _judged(policy: DriftPolicy, raw: list[_Raw]) -> list[DriftFinding]:
    level = float(quantities.parse(policy.false_alarm_percent)) / 100
    findings = []
    for test, adjusted in zip(raw, holm([test.result.p_value for test in raw]), strict=True):
        classifier = test.test is DriftTest.CLASSIFIER_TWO_SAMPLE
        least = float(quantities.parse(policy.minimum_auc if classifier else policy.minimum_psi))
        findings.append(
            DriftFinding(
                column=test.column,
                test=test.test,
                statistic=test.result.statistic,
                p_value=test.result.p_value,
                adjusted_p_value=adjusted,
                threshold=level,
                distance=test.distance,
                distance_measure=Distance.AREA_UNDER_CURVE if classifier else Distance.POPULATION_STABILITY_INDEX,
                distance_threshold=least,
                reference_rows=test.reference_rows,
                window_rows=test.window_rows,
                drifted=adjusted <= level and test.distance >= least,
            )
        )
    return findings


def _named(drifted: list[DriftFinding]) -> str:
    texts = [
        f"{finding.column or 'all columns together'} ({finding.test}: p {finding.adjusted_p_value:.2g} ≤ "
        f"{finding.threshold:g}, {finding.distance_measure} {finding.distance:.3g} ≥ {finding.distance_threshold:g})"
        for finding in sorted(drifted, key=lambda finding: -finding.distance)
    ]
    return f"{len(drifted)} of the tests find drift: {'; '.join(texts[:5])}{'; …' if len(texts) > 5 else ''}"
