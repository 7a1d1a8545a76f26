"""Whether a model answers a batch as it answers each row alone: what is asked, and what the answers say.

Answers may differ a little: kernels for larger batches add up in another order, TF32 and dynamic quantisation round by
what else is in the batch. A model that mixes rows up is off by as much as rows differ from each other, so that is what
a difference is measured by, and no tolerance has to be known of the model.
"""

from __future__ import annotations

import asyncio
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from throughline.api.status import BlockedBy
from throughline.ports import Proof, TritonError, TritonRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    Inputs = Sequence[tuple[Mapping[str, Any], Any]]  # (the tensor's metadata, its values)
    Answers = Mapping[str, Any]  # arrays by output
    Infer = Callable[[Inputs], Awaitable[Answers]]

# Rows of the batch that are asked alone, too: the first, the last and some between.
COMPARED = 8
# How often each of them is asked while the batcher is to put them together.
REPEATED = 2
# Share of the largest number of an answer by which the same answer may differ: some hundred times the rounding of one
# sum in single precision, ten times that of one in half; double precision is often of single inside.
TOLERANCE = {"f4": 1e-5, "f8": 1e-5}
HALF_TOLERANCE = 1e-2
# A row is another's when it is off by this share of what rows differ by; where all rows get the same answer alone, of
# the answer's size.
MIXED_SHARE = 0.5
MIXED_SIZE_SHARE = 0.05
# A label close to another may tip over by rounding alone: so many of the labels must be wrong.
MIXED_LABELS = 0.25
SEED = 7


class Alone(NamedTuple):
    """What rows were asked alone, by their place in the batch, and the answers."""

    inputs: Inputs
    answers: Mapping[int, Answers]


def unfit(config: Mapping[str, Any]) -> str | None:
    """Why a batch of this model cannot be asked for in one request; None: it can."""
    if (config.get("model_transaction_policy") or {}).get("decoupled"):
        return "a decoupled model gives a stream of answers"
    if config.get("sequence_batching") or config.get("ensemble_scheduling"):
        return "its requests depend on each other"
    if any(tensor.get("allow_ragged_batch") or tensor.get("is_shape_tensor") for tensor in config.get("input") or ()):
        return "not all of its inputs have a row for each item"
    return None


def proof_inputs(zeros: Inputs, rows: int) -> Inputs:
    """Rows that differ, the same at each call: numbers from 0 to 1, and whole numbers of 0 and 1, for larger ones may
    be out of a vocabulary, and on a GPU that can end the server.
    """
    import numpy as np  # noqa: PLC0415

    random, found = np.random.default_rng(SEED), []
    for tensor, values in zeros:
        shape = (rows, *values.shape[1:])
        if values.dtype == np.object_:
            digits = random.integers(0, 1000, shape)
            filled = np.array([str(n).encode() for n in digits.flat], dtype=np.object_).reshape(shape)
        elif values.dtype.kind in "biu":
            filled = random.integers(0, 2, shape)
            filled[-1] = 1 - filled[0]
            filled = filled.astype(values.dtype)
        else:
            filled = random.random(shape).astype(values.dtype)
        found.append((tensor, filled))
    return found


def _row(inputs: Inputs, start: int, stop: int) -> Inputs:
    return [(tensor, values[start:stop]) for tensor, values in inputs]


async def prove(infer: Infer, distinct: Inputs, zeros: Inputs, rows: int) -> Proof:
    """See TritonPort.prove. `zeros`: one row, for models that do not take the others."""
    import numpy as np  # noqa: PLC0415

    try:
        await infer(_row(distinct, 0, 1))
    except TritonRefused:
        distinct = [(tensor, np.repeat(values, rows, axis=0)) for tensor, values in zeros]
        try:
            await infer(zeros)
        except TritonRefused as error:
            return Proof(rows, BlockedBy.BATCHES_FAIL, f"even one row alone fails: {error}")
    try:
        together = await _twice(infer, distinct)
    except TritonRefused as error:
        try:
            await infer(_row(distinct, 0, 1))
        except TritonRefused as again:
            raise TritonError(f"rows fail alone, too: {again}") from error
        return Proof(rows, BlockedBy.BATCHES_FAIL, str(error))
    places = [int(place) for place in np.unique(np.linspace(0, rows - 1, COMPARED).astype(int))]
    singles = await asyncio.gather(*(infer(_row(distinct, place, place + 1)) for place in places))
    alone = Alone(distinct, dict(zip(places, singles, strict=True)))
    wrong = mixed({p: {n: v[p : p + 1] for n, v in together.items()} for p in places}, alone.answers)
    if any(len(values) != rows for values in together.values()):
        return Proof(rows, words="the answers are not one for each row", compared=False, answers=alone)
    return await _verdict(infer, alone, wrong, rows)


async def _twice(infer: Infer, inputs: Inputs) -> Answers:
    """A fault of the moment says nothing."""
    try:
        return await infer(inputs)
    except TritonRefused:
        return await infer(inputs)


async def prove_together(infer: Infer, proof: Proof) -> Proof:
    """See TritonPort.prove_together."""
    alone: Alone | None = proof.answers
    if alone is None:
        return proof
    places = [*alone.answers] * REPEATED
    found = await asyncio.gather(
        *(infer(_row(alone.inputs, place, place + 1)) for place in places), return_exceptions=True
    )
    failed = [answer for answer in found if isinstance(answer, TritonRefused)]
    if len(failed) > 1:
        return Proof(2, BlockedBy.BATCHES_FAIL, str(failed[0]))
    for answer in found:
        if isinstance(answer, BaseException) and not isinstance(answer, TritonRefused):
            raise answer
    if not proof.compared:
        return proof
    for round_ in range(REPEATED):
        part = slice(round_ * len(alone.answers), (round_ + 1) * len(alone.answers))
        answers = {p: a for p, a in zip(places[part], found[part], strict=True) if not isinstance(a, BaseException)}
        if (wrong := mixed(answers, alone.answers)) is not None:
            return Proof(2, BlockedBy.ROWS_MIXED, wrong)
    return proof


async def _verdict(infer: Infer, alone: Alone, wrong: str | None, rows: int) -> Proof:
    if wrong is None and not _told_apart(alone):
        return Proof(rows, words="all rows get the same answer alone", compared=False, answers=alone)
    if wrong is None:
        return Proof(rows, answers=alone)
    again = {place: await infer(_row(alone.inputs, place, place + 1)) for place in alone.answers}
    if mixed(again, alone.answers) is not None:
        return Proof(rows, words="the same row alone gets other answers each time", compared=False, answers=alone)
    return Proof(rows, BlockedBy.ROWS_MIXED, wrong)


def _told_apart(alone: Alone) -> bool:
    """Whether the answers could show that one is of another row."""
    first, *others = alone.answers.values()
    return any(not _alike(other[name], value) for other in others for name, value in first.items())


def mixed(batched: Mapping[int, Answers], alone: Mapping[int, Answers]) -> str | None:
    """What is wrong with the batched answers, in words, beside those to the same rows alone; None: nothing."""
    if not batched:
        return None
    for name in next(iter(alone.values())):
        pairs = [(place, batched[place].get(name), alone[place][name]) for place in batched]
        if any(b is None or b.shape != a.shape for _, b, a in pairs):
            continue  # not an answer for each row: nothing to compare
        differing = [(place, b, a) for place, b, a in pairs if not _alike(b, a)]
        if not differing:
            continue
        limit = _limit([answers[name] for answers in alone.values()])
        wrong = [place for place, b, a in differing if _distance(b, a) >= limit]
        exact = pairs[0][2].dtype.kind not in "fV"
        if wrong and len(wrong) >= (MIXED_LABELS * len(pairs) if exact else 1):
            return (
                f"output {name} of row {wrong[0] + 1} is another one in a batch than alone, as if of another row "
                f"({len(wrong)} of {len(pairs)} rows)"
            )
    return None


def _limit(alone: Sequence[Any]) -> float:
    """From which distance on a row's answer is not its own."""
    import numpy as np  # noqa: PLC0415

    apart = [(_distance(a, b), _alike(a, b)) for a, b in combinations(alone, 2) if a.shape == b.shape]
    told_apart = [d for d, alike in apart if not alike]
    if 2 * len(told_apart) >= len(apart) > 0:
        return MIXED_SHARE * float(np.median(told_apart))
    if alone[0].dtype.kind not in "fV":
        return 0.0
    return MIXED_SIZE_SHARE * max(1e-30, *(float(np.nanmax(np.abs(_numbers(a)), initial=0.0)) for a in alone))


def _numbers(values: Any) -> Any:
    import numpy as np  # noqa: PLC0415

    return np.asarray(values).astype(np.float64)


def _alike(one: Any, other: Any) -> bool:
    """Whether it is the same answer but for rounding."""
    import numpy as np  # noqa: PLC0415

    if one.shape != other.shape:
        return False
    if one.dtype.kind not in "fV":
        return bool((one == other).all())
    tolerance = TOLERANCE.get(one.dtype.str[1:], HALF_TOLERANCE)  # ml_dtypes' bfloat16 is of kind V
    return _distance(one, other) <= tolerance * float(np.nanmax(np.abs(_numbers(other)), initial=0.0))


def _distance(one: Any, other: Any) -> float:
    """The largest difference of a number; of what is no number the share that differs."""
    import numpy as np  # noqa: PLC0415

    if one.dtype.kind not in "fV":
        return float(np.mean(one != other))
    a, b = _numbers(one), _numbers(other)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    apart = np.where(same, 0.0, np.abs(a - b))
    return float(np.max(np.where(np.isnan(apart), np.inf, apart), initial=0.0))
