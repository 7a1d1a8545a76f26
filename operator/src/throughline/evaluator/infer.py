"""Every row through the model: packed into requests, several under way, retried, in order, and once each."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from throughline.evaluator.errors import NotEvaluatedError
from throughline.evaluator.served import RefusedError, TransientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from throughline.evaluator.answers import Answers
    from throughline.evaluator.progress import Progress
    from throughline.evaluator.served import ModelPort

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retry:
    """Back-off between attempts of one request, doubled each time. By default it bridges about a minute, in which a
    killed server is back.
    """

    attempts: int = 10
    first_seconds: float = 0.25
    most_seconds: float = 15.0

    def pause_seconds(self, attempt: int) -> float:
        """After the attempt of that number, from 1; a random half of it, so that callers do not come back at once."""
        whole = min(self.most_seconds, self.first_seconds * 2.0 ** (attempt - 1))
        return whole * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


@dataclass(slots=True)
class Statistics:
    """What it took. Not part of the result: that is the same for the same inputs."""

    rows: int = 0
    resumed_rows: int = 0
    requests: int = 0
    retried: int = 0
    seconds: float = 0.0
    batch_rows: int = 0
    in_flight: int = 0
    last_trouble: str = ""

    @property
    def rows_per_second(self) -> float | None:
        asked = self.rows - self.resumed_rows
        return asked / self.seconds if self.seconds > 0.0 and asked else None


@dataclass(slots=True)
class Pace:
    """At most so many rows per second, over any stretch of time; None is as fast as it goes."""

    rows_per_second: float | None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _next: float = field(default=0.0, init=False)

    async def wait(self, rows: int) -> None:
        """Until these rows may be sent."""
        if self.rows_per_second is None:
            return
        now = self.clock()
        at = max(now, self._next)
        self._next = at + rows / self.rows_per_second
        if at > now:
            await self.sleep(at - now)


@dataclass(frozen=True, slots=True)
class Plan:
    """How the rows are sent."""

    batch_rows: int
    in_flight: int
    retry: Retry = Retry()
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


async def infer(
    port: ModelPort,
    tensors: Mapping[str, NDArray[np.generic]],
    answers: Answers,
    plan: Plan,
    pace: Pace,
    progress: Progress,
) -> Statistics:
    """Ask for what `answers` lacks.

    Raises:
        NotEvaluatedError: a request is refused, or fails every attempt; it names the rows.
    """
    done = Statistics(
        rows=answers.rows, resumed_rows=answers.resumed_rows, batch_rows=plan.batch_rows, in_flight=plan.in_flight
    )
    batches = answers.missing(plan.batch_rows)
    started = time.monotonic()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(plan.in_flight):
                group.create_task(_work(port, tensors, batches, answers, plan, pace, progress, done))
    except* NotEvaluatedError as failed:
        # The others were cancelled, or failed for the same reason: one is enough to say.
        raise NotEvaluatedError(str(failed.exceptions[0])) from failed.exceptions[0]
    finally:
        done.seconds = time.monotonic() - started
        progress.end()
    return done


async def _work(
    port: ModelPort,
    tensors: Mapping[str, NDArray[np.generic]],
    batches: Iterator[tuple[int, int]],
    answers: Answers,
    plan: Plan,
    pace: Pace,
    progress: Progress,
    done: Statistics,
) -> None:
    """One of those under way. All take from the same iterator."""
    for start, stop in batches:
        rows = {name: array[start:stop] for name, array in tensors.items()}
        await pace.wait(stop - start)
        answer = await attempt(partial(port.infer, rows), plan, done, f"rows {start} to {stop - 1}")
        answers.add(start, stop, answer)
        done.requests += 1
        progress.show(answers.done_rows, retried=done.retried)


async def attempt(ask: Callable[[], Awaitable[T]], plan: Plan, done: Statistics, what: str) -> T:
    """The answer of one of the attempts.

    Raises:
        NotEvaluatedError: it is refused, or no attempt succeeds.
    """
    for number in range(1, plan.retry.attempts + 1):
        try:
            return await ask()
        except RefusedError as error:
            raise NotEvaluatedError(f"{what}: the server refused: {error}") from error
        except TransientError as error:
            done.last_trouble = str(error)
            if number == plan.retry.attempts:
                raise NotEvaluatedError(f"{what}: failed {number} times; the last time: {error}") from error
        done.retried += 1
        await plan.sleep(plan.retry.pause_seconds(number))
    raise AssertionError("a retry has at least one attempt")
