"""What every task gives: values of a metric for some rows, and the sums that the bootstrap needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Places = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Value:
    """A metric of some units. `value` is None where it is not defined for them; `reason` says why and what to do."""

    value: float | None
    units: int  # rows or groups the value is made of
    trials: int  # of the smallest denominator, such as the positive rows of a rate: what an exact interval rests on
    reason: str | None = None
    ends: tuple[float, float] | None = None  # of its interval, where whoever measured it says so
    certain: bool = False  # it follows from the answers, whatever the truth: other rows would give the same
    worst: float | None = None  # the largest that one unit can make it, where it is a mean of what each makes


@dataclass(frozen=True, slots=True)
class Block:
    """A sum over units by cell: cell `c` gets the sum of `values` of the units whose `cells` is c."""

    size: int
    cells: Places  # [units], in [0, size)
    values: Floats | None = None  # [units]; None: every unit counts one


@dataclass(frozen=True, slots=True)
class Curve:
    """One class against the rest, for the area under the ROC curve."""

    positive: npt.NDArray[np.bool_]  # [units]
    score: Floats  # [units]


class Scored(Protocol):
    """Predictions of one variant, ready to be scored. A unit is what the bootstrap draws: a row, or a group of rows."""

    @property
    def units(self) -> int: ...

    def point(self, metric: str, units: Places) -> Value:
        """The metric of these units, by scikit-learn where it has it."""
        ...

    def blocks(self, metrics: Sequence[str]) -> Mapping[str, Block]:
        """The sums from which `from_sums` makes the metrics."""
        ...

    def from_sums(self, metric: str, sums: Mapping[str, Floats]) -> Floats:
        """The metric from the sums of weighted units: block → [scopes, size, resamples] to [scopes, resamples].
        NaN where it is not defined.
        """
        ...

    def curves(self) -> Sequence[Curve]:
        """For AUROC, the mean over them; empty where there is none."""
        ...


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Elementwise; NaN where the denominator is zero."""
    result: Floats = np.divide(
        numerator, denominator, out=np.full(np.broadcast(numerator, denominator).shape, np.nan), where=denominator != 0
    )
    return result
