"""What a full batch shows of models that answer in every kind of right and wrong way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from throughline.adapters import batch_proof
from throughline.api.status import BlockedBy
from throughline.ports import Proof, TritonError, TritonRefused

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 32
WEIGHTS = np.random.default_rng(1).normal(size=(16, 4)).astype(np.float32)
ZEROS = [({"name": "x", "datatype": "FP32", "shape": [-1, 16]}, np.zeros((1, 16), np.float32))]


def right(x: Any) -> Any:
    return x @ WEIGHTS


def softmax(x: Any, axis: int) -> Any:
    powers = np.exp(right(x))
    return powers / powers.sum(axis=axis, keepdims=True)


def quantised(x: Any) -> Any:
    """As dynamic int8: by the range of the whole batch."""
    scale = np.abs(x).max() / 127
    return right((np.round(x / scale) * scale).astype(np.float32))


def in_another_order(x: Any) -> Any:
    return right(x) * np.float32(1 + 2e-6 * (len(x) > 1))


def prove(model: Callable[[Any], Any], zeros: Any = ZEROS, rows: int = ROWS) -> Proof:
    async def infer(inputs: Any) -> Any:
        return {"y": model(inputs[0][1])}

    return asyncio.run(batch_proof.prove(infer, batch_proof.proof_inputs(zeros, rows), zeros, rows))


@pytest.mark.parametrize(
    "model",
    [right, in_another_order, quantised, lambda x: softmax(x, 1)],
    ids=["right", "rounding", "dynamic-int8", "softmax"],
)
@pytest.mark.parametrize("rows", [2, 8, 32])
def test_a_model_that_answers_each_row_is_proved(model: Any, rows: int) -> None:
    found = prove(model, rows=rows)
    assert (found.fault, found.compared) == (None, True)


@pytest.mark.parametrize(
    "model",
    [
        lambda x: np.repeat(right(x)[:1], len(x), axis=0),
        lambda x: right(x)[::-1],
        lambda x: np.roll(right(x), 1, axis=0),
        lambda x: softmax(x, 0),
        lambda x: right(x) - right(x).mean(axis=0),
        lambda x: np.concatenate([right(x)[:-1], right(x)[:1]]),
        lambda x: 100 + 1e-2 * np.repeat(right(x)[:1], len(x), axis=0).astype(np.float64),
    ],
    ids=["first", "reversed", "shifted", "softmax-over-rows", "mean-over-rows", "last", "small-beside-its-size"],
)
@pytest.mark.parametrize("rows", [2, 32])
def test_a_model_that_mixes_rows_up_is_found(model: Any, rows: int) -> None:
    found = prove(model, rows=rows)
    assert found.fault is BlockedBy.ROWS_MIXED, "K16"
    assert "row" in found.words


def test_labels_of_another_row_are_found() -> None:
    """One or two labels may tip over; these are all the first row's."""

    def labels(x: Any) -> Any:
        return right(x - 0.5).argmax(axis=1)[:, None]

    assert prove(labels).fault is None
    assert prove(lambda x: np.repeat(labels(x)[:1], len(x), axis=0)).fault is BlockedBy.ROWS_MIXED


def test_answers_that_are_the_same_for_all_rows_prove_no_more_than_that_none_fails() -> None:
    found = prove(lambda x: np.zeros((len(x), 1)))
    assert (found.fault, found.compared) == (None, False)


def test_a_model_that_fails_batches_is_found_with_its_words() -> None:
    def fails(x: Any) -> Any:
        if len(x) > 1:
            raise TritonRefused("cannot reshape")
        return right(x)

    found = prove(fails)
    assert (found.fault, found.words) == (BlockedBy.BATCHES_FAIL, "cannot reshape"), "K4"


def test_a_failure_of_the_moment_is_none_of_batches() -> None:
    calls: list[int] = []

    def once(x: Any) -> Any:
        calls.append(len(x))
        if len(calls) == 2:
            raise TritonRefused("busy")
        return right(x)

    assert prove(once).fault is None

    def breaks(x: Any) -> Any:
        calls.append(len(x))
        if calls.count(ROWS):
            raise TritonRefused("the stub has died")
        return right(x)

    calls.clear()
    with pytest.raises(TritonError, match="alone, too") as failure:
        prove(breaks)
    assert not isinstance(failure.value, TritonRefused)


def test_a_model_that_answers_by_chance_cannot_be_compared() -> None:
    random = np.random.default_rng(3)
    found = prove(lambda x: random.normal(size=(len(x), 4)))
    assert (found.fault, found.compared) == (None, False)


def test_a_model_that_takes_zeros_alone_is_asked_for_those() -> None:
    def strict(x: Any) -> Any:
        if x.any() or len(x) > 4:
            raise TritonRefused("out of range")
        return right(x)

    assert prove(strict, rows=4).fault is None
    assert prove(strict, rows=8).fault is BlockedBy.BATCHES_FAIL


def test_whole_numbers_are_of_every_vocabulary_and_rows_differ() -> None:
    zeros = [
        ({"name": "ids"}, np.zeros((1, 1), np.int64)),
        ({"name": "flag"}, np.zeros((1, 1), np.bool_)),
        ({"name": "text"}, np.full((1, 1), b"", np.object_)),
    ]
    ids, flag, text = (values for _, values in batch_proof.proof_inputs(zeros, 2))
    assert sorted(ids.ravel().tolist()) == [0, 1]
    assert sorted(flag.ravel().tolist()) == [False, True]
    assert (ids.dtype, flag.dtype) == (np.int64, np.bool_)
    assert text[0, 0] != text[1, 0]


def test_requests_that_the_batcher_puts_together_are_compared_too() -> None:
    """A model may take a request of many rows, and mix up or fail several requests of one."""
    together: list[Any] = []

    async def infer(inputs: Any) -> Any:
        x = inputs[0][1]
        together.append(x)
        await asyncio.sleep(0)
        first = together[0] if wrong == "mixes" else x
        if wrong == "fails" and len(together) > 1:
            raise TritonRefused("one request at a time")
        return {"y": right(first[: len(x)])}

    async def asked() -> Proof:
        found = Proof(ROWS, answers=batch_proof.Alone(distinct, {p: {"y": right(x[p : p + 1])} for p in range(8)}))
        return await batch_proof.prove_together(infer, found)

    distinct = batch_proof.proof_inputs(ZEROS, ROWS)
    x = distinct[0][1]
    faults = []
    for each in ("", "mixes", "fails"):
        wrong = each
        together.clear()
        faults.append(asyncio.run(asked()).fault)
    assert faults == [None, BlockedBy.ROWS_MIXED, BlockedBy.BATCHES_FAIL]


def test_what_cannot_be_asked_in_one_request_is_not() -> None:
    for config in (
        {"model_transaction_policy": {"decoupled": True}},
        {"sequence_batching": {"direct": {}}},
        {"input": [{"name": "x", "allow_ragged_batch": True}]},
    ):
        assert batch_proof.unfit(config)
    assert batch_proof.unfit({"input": [{"name": "x"}]}) is None
