"""Whether a model's answer to a row depends on the rows that share its request.

It should not, and does where activations are quantised by the range of the whole batch (dynamic int8), or where a
kernel mixes rows. Then a score holds for the batch it was measured in, and a neighbour's odd row changes an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from throughline.domain.formatting import count
from throughline.evaluator.infer import Plan, Statistics, attempt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from throughline.evaluator.answers import Answer
    from throughline.evaluator.infer import Pace, Retry
    from throughline.evaluator.served import ModelPort

ROWS = 32  # that are asked alone
HALVES = ("FP16", "BF16")
SINGLE, HALF = 1e-4, 1e-2  # of a number's size: what another kernel, or sums in another order, may change of it


@dataclass(frozen=True, slots=True)
class Probe:
    """Rows of one request, asked again in the same request and one by one."""

    judged: int  # rows of each request that the result is made of
    together: int  # rows of the request that was repeated
    asked: int  # rows that were asked alone
    changed: int  # of these: answered otherwise alone
    largest: float | None  # change of a number; None for text
    repeatable: bool  # the same request got the same answer

    def note(self) -> str | None:
        """For the result; None: nothing to say."""
        if not self.repeatable:
            return (
                f"The same request of {self.together} rows got other answers when it was repeated: the model is not "
                "deterministic, and neither is this result."
            )
        if not self.changed:
            return None
        much = "" if self.largest is None else f" (the largest change of a number is {self.largest:.2g})"
        own = count(self.judged, "row")
        return (
            f"The answers depend on the batch: {self.changed} of {self.asked} rows got another answer alone than among "
            f"{self.together}{much}. This result holds for requests of {own}."
        )


async def probe(
    port: ModelPort,
    tensors: Mapping[str, NDArray[np.generic]],
    batch_rows: int,
    most_rows: int,
    retry: Retry,
    pace: Pace,
) -> Probe | None:
    """Compares the first request's rows together and alone; None where no two rows can share a request.

    Raises:
        NotEvaluatedError: as `infer`.
    """
    rows = len(next(iter(tensors.values())))
    together = min(batch_rows if batch_rows > 1 else min(most_rows, ROWS), rows)
    if together < 2:
        return None
    plan, statistics = Plan(together, 1, retry), Statistics()

    async def ask(start: int, stop: int) -> Answer:
        await pace.wait(stop - start)
        given = {name: array[start:stop] for name, array in tensors.items()}
        return await attempt(partial(port.infer, given), plan, statistics, f"rows {start} to {stop - 1}, again")

    answer = await ask(0, together)
    first, second = answer.array(), (await ask(0, together)).array()
    tolerance = HALF if answer.datatype in HALVES else SINGLE
    if not _alike(first, second, tolerance).all():
        return Probe(batch_rows, together, 0, 0, None, repeatable=False)
    chosen = np.unique(np.linspace(0, together - 1, min(ROWS, together)).astype(int))
    each = [(await ask(int(row), int(row) + 1)).array() for row in chosen]
    if any(one.shape[1:] != first.shape[1:] for one in each):
        return Probe(batch_rows, together, len(chosen), len(chosen), None, repeatable=True)
    alone, among = np.concatenate(each), first[chosen]
    same = _alike(among, alone, tolerance)
    largest = None
    if among.dtype != np.object_:
        apart = np.abs(among.astype(np.float64) - alone.astype(np.float64))
        largest = float(np.nanmax(apart, initial=0.0))
    return Probe(batch_rows, together, len(chosen), int((~same).sum()), largest, repeatable=True)


def _alike(one: NDArray[np.generic], other: NDArray[np.generic], share: float) -> NDArray[np.bool_]:
    """Which rows have the same answer, up to that share of a number's size."""
    if one.shape != other.shape:
        return np.zeros(len(one), dtype=bool)
    if one.dtype.kind != "f":
        same = one == other
    else:
        a, b = one.astype(np.float64), other.astype(np.float64)
        same = (np.abs(a - b) <= share * np.maximum(1.0, np.abs(a))) | (np.isnan(a) & np.isnan(b)) | (a == b)
    return np.asarray(same.reshape(len(one), -1).all(axis=1), dtype=bool)
