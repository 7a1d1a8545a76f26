"""Entry points that the tests of Custom tasks name."""

# ruff: noqa: ARG001 - the contract names the arguments

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa


def profit(table: pa.Table, output: np.ndarray, parameters: Mapping[str, str]) -> dict[str, Any]:
    """One score per row, and one number of them all."""
    each = np.where(output > 0.5, table["gain"].to_numpy(), 0.0) - float(parameters["cost"])
    return {"profit": each, "median": float(np.median(each))}


def failing(table: pa.Table, output: np.ndarray, parameters: Mapping[str, str]) -> dict[str, Any]:
    raise KeyError("gain")


def short(table: pa.Table, output: np.ndarray, parameters: Mapping[str, str]) -> dict[str, Any]:
    return {"profit": [1.0, 2.0], "median": 1.0}


def text(table: pa.Table, output: np.ndarray, parameters: Mapping[str, str]) -> dict[str, Any]:
    return {"profit": "much", "median": 1.0}


def partial(table: pa.Table, output: np.ndarray, parameters: Mapping[str, str]) -> dict[str, Any]:
    return {"median": 1.0}


def own(table: pa.Table, output: np.ndarray, parameters: Mapping[str, str]) -> dict[str, Any]:
    return {"profit": {"value": 2.0, "low": 1.0, "high": 3.0}}


def outside(table: pa.Table, output: np.ndarray, parameters: Mapping[str, str]) -> dict[str, Any]:
    return {"profit": {"value": 4.0, "low": 1.0, "high": 3.0}, "median": 1.0}


NOT_A_FUNCTION = 3
