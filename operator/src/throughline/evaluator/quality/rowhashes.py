"""Rows as hashes: which repeat, and which were seen in training."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy import stats

from throughline.evaluator.columns import require
from throughline.evaluator.storage import values
from throughline.evaluator.texts import encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_WHOLE = re.compile(r"^(-?\d+)\.0+$")
HASH_BYTES = 16  # 128 bits: among 10⁹ rows a collision is less likely than 10⁻²⁰


def row_hashes(table: pa.Table, columns: Sequence[str], field: str) -> NDArray[np.bytes_]:
    """[rows] of BLAKE2b over the columns' values as text, so that 1, 1.0, "1" and "1.0" are one value: a data set must
    not seem new because it was written as CSV. Null is a value of its own.

    Raises:
        EvaluationInputError: A column is absent; `field` says where it was named.
    """
    require(table, columns, field)
    texts = [_texts(table[name], f"{field}: {name}") for name in columns]
    hashes = [hashlib.blake2b(repr(row).encode(), digest_size=HASH_BYTES).digest() for row in zip(*texts, strict=True)]
    return np.array(hashes, dtype=f"V{HASH_BYTES}")


def _texts(column: pa.ChunkedArray, where: str) -> list[str | None]:
    if pa.types.is_nested(column.type):
        return [None if value is None else str(value) for value in values(column, where)]
    found, codes = encode(column, where)
    found = [_WHOLE.sub(r"\1", text) for text in found]
    return [None if code < 0 else found[code] for code in codes]


def duplicate_rows(hashes: NDArray[np.bytes_]) -> int:
    """Rows that repeat an earlier one."""
    return len(hashes) - len(np.unique(hashes))


@dataclass(frozen=True, slots=True)
class Overlap:
    """Rows found in the training set, against what is to be expected without leakage.

    Attributes:
        overlap: Share of the rows that equal a training row.
        expected_overlap: What it would be of fresh rows of the same source.
        once: Share of the rows that equal a training row which occurs there once.
        expected_once: What that would be of fresh rows.
        leaked: Share of the rows that must have come from the training set; NaN where nothing can be said.
        low: Lower end of its interval; at or below 0 where nothing points to leakage.
        high: Upper end.
    """

    overlap: float
    expected_overlap: float
    once: float
    expected_once: float
    leaked: float
    low: float
    high: float


def training_overlap(rows: NDArray[np.bytes_], training: NDArray[np.bytes_], confidence_percent: int) -> Overlap:
    """How much of the data comes from the training set, beyond likeness by nature.

    Coarse rows (census: age, sex, marital status, …) equal a stranger's often, so the plain overlap says little. What
    is to be expected without leakage is learnt from the training set alone: hold out each of its n rows in turn and
    look for it among the others, which is the limit of splitting the set over and over, without the dice. With N₁
    rows that occur once and N₂ values that occur twice, a share 1 − N₁/n is found at all, and a share 2N₂/n is found
    exactly once (Good 1953, "The population frequencies of species", gives both as estimates for a fresh row).

    Judged is the second. A training row that occurs once is rarely met again by chance, but a copy is one as often
    as training rows are, N₁/n. If a share λ of the rows was copied from the training set, the share found once is
    λ N₁/n + (1 − λ) 2N₂/n, hence `leaked` = λ. Against the plain overlap this contrast is larger, and suffers less
    when the rows are of another time than the training set (measured in docs/drift.md): such drift lowers both
    shares, so the estimate is then too low; a finding stands, its absence is no proof. The interval takes the rows as
    binomial and N₁, N₂ as Poisson counts.
    """
    values, counts = np.unique(training, return_counts=True)
    size, singles, pairs = len(training), int((counts == 1).sum()), int((counts == 2).sum())
    overlap = float(np.isin(rows, values).mean())
    once = float(np.isin(rows, values[counts == 1]).mean())
    of_copies, expected = singles / size, 2 * pairs / size
    contrast = of_copies - expected
    # Hardly a training row is alone: a copy and a fresh row look the same.
    if singles <= 2 * pairs:
        return Overlap(overlap, 1 - of_copies, once, expected, *(float("nan"),) * 3)
    leaked = (once - expected) / contrast
    # Delta method: ∂λ/∂once = 1/c, ∂λ/∂expected = (λ − 1)/c, ∂λ/∂ofCopies = −λ/c, c the contrast.
    variance = (
        once * (1 - once) / len(rows) + (1 - leaked) ** 2 * 4 * pairs / size**2 + leaked**2 * singles / size**2
    ) / contrast**2
    reach = float(stats.norm.ppf(0.5 + confidence_percent / 200)) * sqrt(variance)
    return Overlap(overlap, 1 - of_copies, once, expected, leaked, leaked - reach, leaked + reach)
