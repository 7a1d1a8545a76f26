"""Answers survive a kill at any byte, and come in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from throughline.evaluator.answers import FILE, Answer, Answers
from throughline.evaluator.errors import NotEvaluatedError

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 10


def answer(start: int, stop: int) -> Answer:
    values = np.arange(2 * start, 2 * stop, dtype=np.float32).reshape(-1, 2)
    return Answer("FP32", values.shape, values.tobytes())


def fill(directory: Path, batches: list[tuple[int, int]]) -> None:
    with Answers(ROWS, directory) as answers:
        for start, stop in batches:
            answers.add(start, stop, answer(start, stop))


def test_order_is_that_of_the_rows() -> None:
    answers = Answers(ROWS)
    for start, stop in [(6, 10), (0, 3), (3, 6)]:
        answers.add(start, stop, answer(start, stop))
    assert answers.output().tolist() == np.arange(20).reshape(10, 2).tolist()
    assert list(answers.missing(4)) == []


@pytest.mark.parametrize("cut", range(0, 240, 7))
def test_a_file_cut_anywhere_is_taken_up_to_there(tmp_path: Path, cut: int) -> None:
    fill(tmp_path, [(0, 3), (6, 8), (3, 6)])
    path = tmp_path / FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: min(cut, len(whole))])
    with Answers(ROWS, tmp_path) as answers:
        assert answers.resumed_rows == answers.done_rows
        for start, stop in list(answers.missing(4)):
            answers.add(start, stop, answer(start, stop))
        assert answers.output().tolist() == np.arange(20).reshape(10, 2).tolist()
    # What was written after the cut is readable too.
    with Answers(ROWS, tmp_path) as again:
        assert again.resumed_rows == ROWS
        assert again.output().tolist() == np.arange(20).reshape(10, 2).tolist()


def test_a_damaged_record_is_asked_for_again(tmp_path: Path) -> None:
    fill(tmp_path, [(0, 3), (3, 6), (6, 10)])
    path = tmp_path / FILE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with Answers(ROWS, tmp_path) as answers:
        assert list(answers.missing(10)) == [(6, 10)]


@given(st.sets(st.integers(0, 9)), st.integers(1, 5))
def test_missing_is_the_rest_once(done: set[int], size: int) -> None:
    answers = Answers(ROWS)
    for row in done:
        answers.add(row, row + 1, answer(row, row + 1))
    asked = [row for start, stop in answers.missing(size) for row in range(start, stop)]
    assert asked == [row for row in range(ROWS) if row not in done]
    assert all(stop - start <= size for start, stop in answers.missing(size))


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with Answers(ROWS, tmp_path), pytest.raises(NotEvaluatedError, match="another evaluation"):
        Answers(ROWS, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (Answer("FP32", (2, 2), b"\0" * 16), "first dimension must be the rows"),
        (Answer("FP32", (3, 1), b"\0" * 12), "shape depends on the row"),
        (Answer("FP32", (3, 2), b"\0" * 20), "sent 5 values"),
    ],
)
def test_an_answer_of_another_shape_is_refused(wrong: Answer, said: str) -> None:
    answers = Answers(ROWS)
    answers.add(0, 3, answer(0, 3))
    with pytest.raises(NotEvaluatedError, match=said):
        answers.add(3, 6, wrong)


def test_texts() -> None:
    raw = b"".join(len(t).to_bytes(4, "little") + t for t in (b"ab", b"", "é".encode()))
    assert Answer("BYTES", (3, 1), raw).array().tolist() == [[b"ab"], [b""], ["é".encode()]]
