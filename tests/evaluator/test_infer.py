"""Requests: packed, bounded, retried where that can help, at the wanted pace."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from throughline.evaluator.answers import Answer, Answers
from throughline.evaluator.errors import NotEvaluatedError
from throughline.evaluator.infer import Pace, Plan, Retry, Statistics, infer
from throughline.evaluator.progress import Progress
from throughline.evaluator.served import RefusedError, Served, TransientError


class Quiet:
    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...


class Port:
    """Answers each row with itself, doubled."""

    def __init__(self, failures: list[Exception] | None = None) -> None:
        self.failures = failures or []
        self.sizes: list[int] = []
        self.under_way = self.most = 0

    async def describe(self) -> Served:
        raise NotImplementedError

    async def close(self) -> None: ...

    async def infer(self, inputs: dict[str, np.ndarray]) -> Answer:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            # The later it is asked, the sooner it is answered.
            await asyncio.sleep(0.002 / (1 + len(self.sizes)))
            if self.failures:
                raise self.failures.pop(0)
            self.sizes.append(len(inputs["X"]))
            values = 2 * inputs["X"]
            return Answer("FP32", values.shape, values.tobytes())
        finally:
            self.under_way -= 1


class Sleeps:
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


X = np.arange(23, dtype=np.float32).reshape(-1, 1)


async def run(
    port: Port, pace: Pace | None = None, sleeps: Sleeps | None = None, **retry: int
) -> tuple[Answers, Statistics]:
    answers = Answers(len(X))
    plan = Plan(4, 3, Retry(**retry), sleep=sleeps or Sleeps())
    done = await infer(port, {"X": X}, answers, plan, pace or Pace(None), Progress(Quiet(), shown=False))
    return answers, done


async def test_packed_bounded_and_in_order() -> None:
    port = Port()
    answers, done = await run(port)
    assert answers.output().tolist() == (2 * X).tolist()
    assert sorted(port.sizes) == [3, 4, 4, 4, 4, 4]
    assert port.most == 3
    assert (done.rows, done.requests, done.retried) == (23, 6, 0)


async def test_what_may_pass_is_retried_with_growing_pauses() -> None:
    port, sleeps = Port([TransientError("away")] * 5), Sleeps()
    answers, done = await run(port, sleeps=sleeps)
    assert answers.output().tolist() == (2 * X).tolist()
    assert (done.retried, done.last_trouble) == (5, "away")
    assert len(sleeps.seconds) == 5


def test_pauses_double_up_to_their_bound() -> None:
    retry = Retry(first_seconds=1.0, most_seconds=10.0)
    for attempt, whole in [(1, 1.0), (2, 2.0), (4, 8.0), (5, 10.0), (9, 10.0)]:
        assert all(whole / 2 <= retry.pause_seconds(attempt) <= whole for _ in range(20))


async def test_attempts_are_bounded() -> None:
    port = Port([TransientError("away")] * 1000)
    with pytest.raises(NotEvaluatedError, match=r"rows \d+ to \d+: failed 3 times; the last time: away"):
        await run(port, attempts=3)
    assert 1000 - len(port.failures) <= 9


async def test_a_refusal_is_not_repeated() -> None:
    port, sleeps = Port([RefusedError("unexpected shape")]), Sleeps()
    with pytest.raises(NotEvaluatedError, match="the server refused: unexpected shape"):
        await run(port, sleeps=sleeps)
    assert sleeps.seconds == []


async def test_the_pace_holds() -> None:
    sleeps = Sleeps()
    await run(Port(), pace=Pace(8.0, clock=sleeps.clock, sleep=sleeps))
    # 20 rows go before the last request may: 20 / 8 s. The clock stands still but for these pauses.
    assert sleeps.now == pytest.approx(20 / 8)


def test_progress_tells_rate_and_time_left() -> None:
    progress = Progress(Quiet(), shown=True)
    progress.start("m", 10_000, 2_000)
    assert progress.text(4_000, 2, 4.0) == "m: 4,000 of 10,000 rows, 500 rows/s, 12 s left, 2 retried"
