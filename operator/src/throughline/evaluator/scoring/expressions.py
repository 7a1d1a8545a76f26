"""The expressions of `spec.slices[].expression`: read by Python's parser, evaluated by pyarrow, never by eval().

Allowed are columns, numbers, text, True, False and None; + - * /; == != < <= > >=; in and not in a list of values;
`is None`, `is not None`; and, or, not; brackets; and `column("a name with spaces")`. As in SQL, what is compared with
a missing value is neither true nor false, and such a row is in no slice of the expression.
"""

from __future__ import annotations

import ast
import functools
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from throughline.evaluator.scoring.errors import ScoringError
from throughline.evaluator.storage import plain

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_DEPTH = 50
_COMPARE: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
_UNARY: dict[type[ast.unaryop], Callable[..., Any]] = {ast.Not: pc.invert, ast.USub: pc.negate_checked}
_ARITHMETIC: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: pc.add_checked,
    ast.Sub: pc.subtract_checked,
    ast.Mult: pc.multiply_checked,
}


def evaluate(expression: str, table: pa.Table, field: str = "expression") -> pa.Array:
    """Which rows the expression is true for: booleans [rows], null where a missing value leaves it open.

    Raises:
        ScoringError: The text is no expression of this language, names a column that is not there, or compares what
            cannot be compared.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ScoringError(field, f"{expression!r} cannot be read: {reason}") from error
    result = _Evaluation(expression, table, field).value(tree.body, 0)
    if isinstance(result, pa.Scalar):
        raise ScoringError(field, f"{expression!r} names no column, so it holds for all rows or none; name one")
    if not pa.types.is_boolean(result.type):
        raise ScoringError(
            field, f"{expression!r} is of type {result.type}, not true or false; compare it with a value"
        )
    return result.combine_chunks() if isinstance(result, pa.ChunkedArray) else result


class _Evaluation:
    def __init__(self, expression: str, table: pa.Table, field: str) -> None:
        self._expression, self._table, self._field = expression, table, field

    def _error(self, node: ast.AST, message: str) -> ScoringError:
        part = ast.get_source_segment(self._expression.strip(), node)
        where = f" in {part!r}" if part else ""
        return ScoringError(self._field, f"{message}{where}")

    def value(self, node: ast.expr, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self._error(node, f"is nested deeper than {MAX_DEPTH} levels")
        inner = functools.partial(self.value, depth=depth + 1)
        match node:
            case ast.Name(id=name):
                return self._column(node, name)
            case ast.Call(func=ast.Name(id="column"), args=[ast.Constant(value=str(name))], keywords=[]):
                return self._column(node, name)
            case ast.Constant(value=bool() | int() | float() | str() | None as constant):
                return self._scalar(node, constant)
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
                return self._call(node, _UNARY[type(op)], inner(operand))
            case ast.BoolOp(op=op, values=values):
                function = pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene
                return functools.reduce(functools.partial(self._call, node, function), map(inner, values))
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return self._divide(node, inner(left), inner(right))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return self._call(node, _ARITHMETIC[type(op)], inner(left), inner(right))
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                return self._chain(node, [left, *comparators], ops, depth + 1)
            case _:
                raise self._error(
                    node,
                    "only columns, values, + - * /, comparisons, in, is None, and, or, not are allowed; "
                    f"found {type(node).__name__}",
                )

    def _chain(self, node: ast.Compare, operands: list[ast.expr], ops: list[ast.cmpop], depth: int) -> Any:
        """A < b < c is a < b and b < c."""
        parts = [self._compare(node, operands[i], op, operands[i + 1], depth) for i, op in enumerate(ops)]
        return functools.reduce(functools.partial(self._call, node, pc.and_kleene), parts)

    def _compare(self, node: ast.Compare, left: ast.expr, op: ast.cmpop, right: ast.expr, depth: int) -> Any:
        match op:
            case ast.Is() | ast.IsNot():
                if not (isinstance(right, ast.Constant) and right.value is None):
                    raise self._error(node, "'is' is for None only; use ==")
                null = self._call(node, functools.partial(pc.is_null, nan_is_null=True), self.value(left, depth))
                return null if isinstance(op, ast.Is) else pc.invert(null)
            case ast.In() | ast.NotIn():
                if not isinstance(right, ast.List | ast.Tuple | ast.Set) or not right.elts:
                    raise self._error(node, "'in' needs a list of values, such as (1, 2)")
                value = self.value(left, depth)
                equal = [self._call(node, pc.equal, value, self.value(one, depth)) for one in right.elts]
                found = functools.reduce(functools.partial(self._call, node, pc.or_kleene), equal)
                return found if isinstance(op, ast.In) else pc.invert(found)
            case _:
                if any(isinstance(side, ast.Constant) and side.value is None for side in (left, right)):
                    raise self._error(node, "nothing equals a missing value; use 'is None' or 'is not None'")
                return self._call(node, _COMPARE[type(op)], self.value(left, depth), self.value(right, depth))

    def _column(self, node: ast.AST, name: str) -> Any:
        if name not in self._table.column_names:
            known = ", ".join(self._table.column_names[:20])
            raise self._error(node, f"there is no column {name!r}; there are {known}")
        return plain(self._table[name])

    def _scalar(self, node: ast.AST, constant: bool | float | str | None) -> Any:
        try:
            return pa.scalar(constant)
        except (OverflowError, pa.ArrowInvalid) as error:
            raise self._error(node, f"the number is too large ({error})") from error

    def _divide(self, node: ast.AST, left: Any, right: Any) -> Any:
        """In floating point; null where the divisor is zero, since no row should be judged by it."""
        divisor = self._call(node, lambda v: pc.cast(v, pa.float64()), right)
        zero = pc.equal(divisor, 0.0)
        safe = pc.if_else(zero, pa.scalar(None, pa.float64()), divisor)
        return self._call(node, pc.divide, self._call(node, lambda v: pc.cast(v, pa.float64()), left), safe)

    def _call(self, node: ast.AST, function: Callable[..., Any], *values: Any) -> Any:
        try:
            return function(*values)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            columns = sorted({n.id for n in ast.walk(node) if isinstance(n, ast.Name) and n.id != "column"})
            types = ", ".join(f"{n} is {self._table.schema.field(n).type}" for n in columns if n in self._names)
            raise self._error(node, f"cannot be evaluated ({types or 'no column'}): {error};") from error

    @property
    def _names(self) -> list[str]:
        return list(self._table.column_names)
