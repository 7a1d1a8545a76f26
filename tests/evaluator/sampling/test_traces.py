from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from throughline.evaluator.sampling import traces
from throughline.evaluator.sampling.traces import UnreadableTraceError

from tests.evaluator.sampling.written import trace

REAL = Path(__file__).with_name("triton-2.51.trace").read_bytes()


def test_a_file_that_triton_wrote() -> None:
    found = traces.parse(REAL)
    assert (found.model, found.request_id) == ("echo", "req-1")
    values = {name: None if t.values is None else np.array(t.values).tolist() for name, t in found.tensors.items()}
    assert values.pop("TEXT") == values.pop("OUT") == [b"hello", 'wörld "q" \\ \n x'.encode()]
    assert str(values.pop("F")) == str([0.333333, 123457000.0, float("nan")] * 2)
    assert values == {
        "U8": [34, 44, 34, 44], "I8": [-3, 0, -3, 0], "H": None, "B": [True, True], "I64": [-7, -7],
        "P": [0.333333] * 4,
    }  # fmt: skip
    assert found.tensors["F"].shape == (2, 3)


@given(st.integers(0, len(REAL) - 1))
def test_a_file_that_was_cut_off_is_not_read(length: int) -> None:
    with pytest.raises(UnreadableTraceError):
        traces.parse(REAL[:length])


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=3))
def test_any_text_is_read_as_it_came_or_not_at_all(texts: list[bytes]) -> None:
    try:
        found = traces.parse(trace(texts))
    except UnreadableTraceError:
        assert any(b'"' in text for text in texts)
        return
    assert list(found.tensors["TEXT"].values or ()) == texts


@pytest.mark.parametrize(
    "text",
    [
        rb"a\",\"b",
        b'x\\"","shape":"1,1","dtype":"BYTES"}},{"id":1,"activity":"TENSOR_QUEUE_INPUT","tensor":{"name":"P","data":"\\"y',
        (
            b'x\\"","shape":"1,1","dtype":"BYTES"}},{"id":1,"model_name":"m","model_version":1},'
            b'{"id":1,"activity":"TENSOR_QUEUE_INPUT","tensor":{"name":"Q","data":"\\"y'
        ),
    ],
)
def test_a_text_that_poses_as_more_is_not_read(text: bytes) -> None:
    with pytest.raises(UnreadableTraceError):
        traces.parse(trace([text]))


def test_quotes_and_brackets_in_the_request_id_are_its_own() -> None:
    assert traces.parse(trace([b"t"], request_id='a"b}]c')).request_id == 'a"b}]c'
