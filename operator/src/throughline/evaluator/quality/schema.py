"""Columns, their types, values and gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from throughline.api import quantities
from throughline.api.base import Outcome
from throughline.api.dataquality import ColumnRule, ColumnType, QualityCheck, QualityFinding
from throughline.evaluator.storage import plain
from throughline.evaluator.texts import text_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from throughline.api.dataquality import DataQualityRules

SHOWN_VALUES = 3


def _matches(type_: pa.DataType, wanted: ColumnType) -> bool:
    types = pa.types
    match wanted:
        case ColumnType.INTEGER:
            return bool(types.is_integer(type_))
        case ColumnType.NUMBER:
            return bool(types.is_integer(type_) or types.is_floating(type_) or types.is_decimal(type_))
        case ColumnType.TEXT:
            return bool(types.is_string(type_) or types.is_large_string(type_))
        case ColumnType.BOOLEAN:
            return bool(types.is_boolean(type_))
        case ColumnType.TIMESTAMP:
            return bool(types.is_temporal(type_))


def check_schema(rules: DataQualityRules, table: pa.Table, needed: Sequence[str]) -> Iterator[QualityFinding]:
    """Findings about columns: absent, unexpected, of another type, with values out of range or set.

    `needed` are the columns that the suite itself reads (inputs, label, id, slices).
    """
    declared = {rule.name: rule for rule in rules.columns}
    for name in dict.fromkeys([*declared, *needed]):
        if name not in table.column_names:
            yield _failed(
                *(table, name, "is absent", None, None),
                f"add the column, or take {name} out of the suite; there are {', '.join(table.column_names)}",
            )
    if not rules.other_columns_allowed:
        for name in table.column_names:
            if name not in declared and name not in needed:
                fix = "remove the column, name it in spec.quality.columns, or set otherColumnsAllowed"
                yield _failed(table, name, "is not expected", None, None, fix)
    for rule in rules.columns:
        if rule.name in table.column_names:
            problems = list(_column(rule, table))
            yield from problems
            if not problems:
                yield QualityFinding(
                    check=QualityCheck.SCHEMA,
                    column=rule.name,
                    outcome=Outcome.PASSED,
                    rows=table.num_rows,
                    message=f"{rule.name} is {rule.type} within its bounds",
                )


def _column(rule: ColumnRule, table: pa.Table) -> Iterator[QualityFinding]:
    column = plain(table[rule.name])
    if not _matches(column.type, rule.type):
        fix = f"write {rule.name} as {rule.type}, or correct spec.quality.columns[{rule.name}].type"
        yield _failed(table, rule.name, f"is {column.type}, not {rule.type}", None, None, fix)
        return
    for bound, wrong, extreme, word in (
        (rule.minimum, pc.less, pc.min, "below the minimum"),
        (rule.maximum, pc.greater, pc.max, "above the maximum"),
    ):
        if bound is not None:
            outside = column.filter(wrong(column.cast(pa.float64(), safe=False), float(bound)))
            if len(outside):
                text = f"is {word} {bound} in {len(outside)} rows, at worst {extreme(outside).as_py()}"
                fix = "correct the rows, or the bound in spec.quality.columns"
                yield _failed(table, rule.name, text, float(len(outside)), float(bound), fix)
    # NaN is neither below nor above anything, and no model input either.
    if pa.types.is_floating(column.type):
        nans = pc.sum(pc.is_nan(column)).as_py() or 0
        if nans:
            fix = "write missing values as null, or correct the rows"
            yield _failed(table, rule.name, f"is NaN in {nans} rows", float(nans), 0.0, fix)
    if rule.values:
        texts = text_column(column, f"spec.quality.columns[{rule.name}]")
        outside = texts.filter(pc.invert(pc.is_in(texts, pa.array(rule.values, pa.string())))).drop_null()
        if len(outside):
            shown = ", ".join(map(repr, pc.unique(outside).to_pylist()[:SHOWN_VALUES]))
            text = f"has values that are not allowed in {len(outside)} rows, such as {shown}"
            fix = "correct the rows, or add the values to spec.quality.columns"
            yield _failed(table, rule.name, text, float(len(outside)), 0.0, fix)


def _failed(
    table: pa.Table, column: str, text: str, value: float | None, limit: float | None, fix: str
) -> QualityFinding:
    return QualityFinding(
        check=QualityCheck.SCHEMA,
        column=column,
        outcome=Outcome.FAILED,
        value=value,
        limit=limit,
        rows=table.num_rows,
        message=f"column {column} {text}",
        fix=fix,
    )


def check_missing(rules: DataQualityRules, table: pa.Table, read: Sequence[str]) -> Iterator[QualityFinding]:
    """Share of nulls in the declared columns and in those the model and the metrics read."""
    own = {rule.name: rule.missing_ceiling for rule in rules.columns}
    for name in dict.fromkeys([*own, *read]):
        if name not in table.column_names:
            continue
        ceiling = own.get(name) or rules.missing_ceiling
        limit = float(quantities.parse(ceiling))
        share = table[name].null_count / table.num_rows
        passed = share <= limit
        yield QualityFinding(
            check=QualityCheck.MISSING_VALUES,
            column=name,
            outcome=Outcome.PASSED if passed else Outcome.FAILED,
            value=share,
            limit=limit,
            rows=table.num_rows,
            message=f"column {name} is null in {share:.2%} of the rows; {limit:.2%} are allowed",
            fix="" if passed else f"fill {name} in, leave those rows out, or raise missingCeiling",
        )
