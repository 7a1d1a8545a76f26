"""Which columns of a CSV file are text as written, and which may be read as numbers: what the suite says of each.

A CSV file has no types. Ids, groups, classes and slices are text (`00042` is not 42); a column of which the suite says
that it holds numbers, such as an input of FP32, is read as numbers, also where it names slices.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from throughline.api.dataquality import ColumnType
from throughline.api.evaluationmetrics import TaskType
from throughline.api.evaluationsuite import InputDataType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.api.evaluationsuite import EvaluationSuiteSpec


@dataclass(frozen=True, slots=True)
class TextColumns:
    """Of a CSV file. Nothing in a cell of a key is a missing key; nothing in a cell of other text is an empty text."""

    keys: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()  # not text, though they may be keys


def of_suite(suite: EvaluationSuiteSpec) -> TextColumns:
    """Of the suite's data set, and of the training set that is compared with it."""
    single = (suite.dataset.id_column, suite.task.group_column, *(one.column for one in suite.slices))
    keys = {name for name in single if name is not None}
    others = {name for one in suite.inputs if one.datatype is InputDataType.BYTES for name in one.columns}
    typed = {name for one in suite.inputs if one.datatype is not InputDataType.BYTES for name in one.columns}
    for rule in suite.quality.columns if suite.quality is not None else ():
        (others if rule.type is ColumnType.TEXT else typed).add(rule.name)
    for one in suite.slices:
        if one.expression is not None:
            with_text, otherwise = _compared_with_text(one.expression)
            others |= with_text
            typed |= otherwise - with_text
    keys -= typed
    if suite.task.type is TaskType.CLASSIFICATION and suite.dataset.label_column is not None:
        keys.add(suite.dataset.label_column)
    return TextColumns(frozenset(keys), frozenset(others - typed), frozenset(typed))


def key_fields(suite: EvaluationSuiteSpec) -> Mapping[str, str]:
    """Column → the field of the suite that uses it as a key: each must hold single values."""
    single = (
        (suite.dataset.label_column, "spec.dataset.labelColumn"),
        (suite.dataset.id_column, "spec.dataset.idColumn"),
        (suite.task.group_column, "spec.task.groupColumn"),
        *((one.column, f"spec.slices[{one.name}].column") for one in suite.slices),
    )
    return {name: field for name, field in reversed(single) if name is not None}


def _compared_with_text(expression: str) -> tuple[set[str], set[str]]:
    """Columns that the expression compares with text, and columns that it uses otherwise; what cannot be read names
    none.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(), set()
    with_text: set[str] = set()
    otherwise: set[str] = set()
    for node in ast.walk(tree):
        sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        values = [one for side in sides for one in (getattr(side, "elts", None) or [side])]
        found = {name for side in sides if (name := _named_column(side)) is not None}
        if any(isinstance(one, ast.Constant) and isinstance(one.value, str) for one in values):
            with_text |= found
        elif any(isinstance(one, ast.Constant) and one.value is not None for one in values):
            otherwise |= found
        if isinstance(node, ast.BinOp):
            otherwise |= {name for one in ast.walk(node) if (name := _named_column(one)) is not None}
    return with_text, otherwise


def _named_column(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Call(func=ast.Name(id="column"), args=[ast.Constant(value=str(name))]):
            return name
        case _:
            return None
