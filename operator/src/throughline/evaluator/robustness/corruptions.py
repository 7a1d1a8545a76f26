"""Corruptions of rows at a given strength: what happens to inputs without anybody's ill will (Hendrycks and Dietterich
2019, "Benchmarking neural network robustness to common corruptions and perturbations").

All are pure: the same table, strength and seed give the same rows. A seed's dice fall the same way at every strength,
so a curve over strengths shows the strength and not the dice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy.ndimage import gaussian_filter

from throughline.evaluator.columns import matrix, with_matrix
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.storage import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from throughline.api.robustness import ImageShape

    Matrix = NDArray[np.float64]

# Rows of a QWERTY keyboard: the neighbours of a key are the usual slips of a finger.
KEY_ROWS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")


def _neighbours() -> dict[str, str]:
    near: dict[str, str] = {}
    for y, row in enumerate(KEY_ROWS):
        for x, key in enumerate(row):
            around = [(y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x), (y - 1, x + 1), (y + 1, x - 1)]
            near[key] = "".join(
                KEY_ROWS[j][i] for j, i in around if 0 <= j < len(KEY_ROWS) and 0 <= i < len(KEY_ROWS[j])
            )
    return near


NEIGHBOURS = _neighbours()


def gaussian_noise(values: Matrix, strength: float, *, lower: Matrix, upper: Matrix, seed: int) -> Matrix:
    """Adds noise of standard deviation strength × (upper − lower), clipped to the bounds.

    Args:
        values: [rows, columns].
        strength: Part of the span.
        lower: [columns], smallest allowed value.
        upper: [columns], largest allowed value.
        seed: Of the noise.
    """
    noise = np.random.default_rng(seed).standard_normal(values.shape)
    return np.clip(values + noise * strength * (upper - lower), lower, upper)


def gaussian_blur(values: Matrix, strength: float, *, image: ImageShape) -> Matrix:
    """Blurs images of [rows, height × width × channels] with a Gaussian of `strength` pixels, channel by channel."""
    shape = (len(values), image.height_pixels, image.width_pixels, image.channels)
    blurred = gaussian_filter(values.reshape(shape), sigma=(0, strength, strength, 0), mode="nearest")
    return np.asarray(blurred, dtype=np.float64).reshape(values.shape)


def offset(values: Matrix, strength: float, *, lower: Matrix, upper: Matrix) -> Matrix:
    """Covariate shift: every value moves up by strength × (upper − lower), clipped to the bounds."""
    return np.clip(values + strength * (upper - lower), lower, upper)


def scale(values: Matrix, strength: float, *, mean: Matrix, lower: Matrix, upper: Matrix) -> Matrix:
    """Covariate shift: every value moves away from its column's mean by the factor 1 + strength, clipped."""
    return np.clip(mean + (values - mean) * (1 + strength), lower, upper)


def missing_fields(
    table: pa.Table, columns: Sequence[str], strength: float, *, fill: str | None, seed: int
) -> pa.Table:
    """Empties each field of the columns with probability `strength`: null, or `fill` where given.

    Raises:
        EvaluationInputError: `fill` is no value of a column's type.
    """
    dice = np.random.default_rng(seed).random((table.num_rows, len(columns)))
    for index, name in enumerate(columns):
        column = plain(table[name])
        try:
            value = pa.scalar(fill, pa.string()).cast(column.type)
        except pa.ArrowInvalid as error:
            raise EvaluationInputError(
                f"spec.perturbations[].missingValue: {fill!r} is no {column.type}, as column {name} is; "
                "write such a value or name other columns"
            ) from error
        emptied = pa.compute.if_else(pa.array(dice[:, index] < strength), value, column)
        table = table.set_column(table.column_names.index(name), name, emptied)
    return table


def typos(table: pa.Table, columns: Sequence[str], strength: float, *, seed: int) -> pa.Table:
    """Mistypes each character of the text columns with probability `strength`: left out, typed twice, exchanged with
    the next one, or a neighbouring key struck (Damerau 1964 found these four to be most of all misspellings).
    """
    rng = np.random.default_rng(seed)
    for name in columns:
        texts = plain(table[name]).to_pylist()
        typed = pa.array([None if text is None else _mistype(text, strength, rng) for text in texts], pa.string())
        table = table.set_column(table.column_names.index(name), name, typed)
    return table


def _mistype(text: str, strength: float, rng: np.random.Generator) -> str:
    # Drawn for each character whether it is used or not, so that every strength sees the same dice.
    hit, which, key = rng.random(len(text)), rng.integers(4, size=len(text)), rng.random(len(text))
    out: list[str] = []
    index = 0
    while index < len(text):
        char = text[index]
        if hit[index] >= strength:
            out.append(char)
        elif which[index] == 0:
            pass
        elif which[index] == 1:
            out.append(char * 2)
        elif which[index] == 2 and index + 1 < len(text):
            out.append(text[index + 1] + char)
            index += 1
        else:
            near = NEIGHBOURS.get(char.lower(), char)
            new = near[int(key[index] * len(near))]
            out.append(new.upper() if char.isupper() else new)
        index += 1
    return "".join(out)


def numbers(table: pa.Table, columns: Sequence[str], new: Matrix) -> pa.Table:
    """The table with `new` in place of the columns; what was null stays null."""
    return with_matrix(table, columns, np.where(np.isnan(matrix(table, columns)), np.nan, new))
