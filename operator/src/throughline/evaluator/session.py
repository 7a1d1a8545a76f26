"""One evaluation: a suite, its rows, and the models that answer them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from throughline.evaluator import batchprobe, served, tensors
from throughline.evaluator.answers import Answers
from throughline.evaluator.infer import Pace, Plan, Retry, Statistics, attempt, infer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from throughline.api.evaluationsuite import EvaluationSuiteSpec
    from throughline.evaluator.progress import Progress
    from throughline.evaluator.rows import Rows
    from throughline.evaluator.served import ModelPort, Served


@dataclass(frozen=True, slots=True)
class Target:
    """A model on a server, under the name that reports use."""

    name: str
    url: str
    model: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class How:
    """How the servers are asked."""

    batch_rows: int | None  # None: as many as the model takes
    in_flight: int
    retry: Retry
    rows_per_second: float | None
    low_priority: bool
    work_directory: Path
    model_digest: str | None = None


class Session:
    """Asks models for a suite. All calls use one event loop, since a connection belongs to one."""

    def __init__(
        self,
        suite: EvaluationSuiteSpec,
        how: How,
        progress: Progress,
        runner: asyncio.Runner,
        connect: Callable[[Target, str], ModelPort],
    ) -> None:
        self.suite, self.how, self.progress = suite, how, progress
        self._runner, self._connect = runner, connect
        self._ports: dict[str, ModelPort] = {}
        self._served: dict[str, Served] = {}
        self.statistics: dict[str, Statistics] = {}

    def open(self, target: Target) -> Served:
        """Connect, wait until the model is ready, and see that the suite fits it.

        Raises:
            EvaluationInputError: it does not fit, or there is no such model.
            NotEvaluatedError: the server does not answer.
        """
        return self._runner.run(self._open(target))

    async def _open(self, target: Target) -> Served:
        port = self._ports[target.name] = self._connect(target, self.suite.output.tensor)
        plan = Plan(1, 1, self.how.retry)
        found = await attempt(port.describe, plan, Statistics(), f"model {target.model!r} at {target.url}")
        served.check(self.suite, found)
        self._served[target.name] = found
        if found.max_batch_size is None and self.how.batch_rows is None:
            self.progress.say(
                f"{target.name}: the server does not tell max_batch_size: one row per request; --batch-size N"
            )
        if self.how.low_priority and not found.priority_levels:
            self.progress.say(
                f"{target.name}: the model has no priority_levels, so --low-priority changes nothing; "
                "use --max-rows-per-second to spare it"
            )
        return found

    def output(self, target: Target, rows: Rows) -> tuple[NDArray[np.generic], Answers]:
        """The model's output for all rows, in their order; what an earlier, killed evaluation had is not asked again.
        The caller discards what was kept on disk when it has written the result.
        """
        found = self._served[target.name]
        with Answers(rows.table.num_rows, self.how.work_directory / self._key(target, found, rows)) as answers:
            if answers.resumed_rows:
                self.progress.say(
                    f"{target.name}: {answers.resumed_rows:,} rows were answered before: going on from there"
                )
            statistics = self._runner.run(self._ask(target, rows.table, answers))
            self.statistics[target.name] = statistics
            return answers.output(), answers

    def batch_rows(self, target: Target) -> int:
        """Rows per request."""
        return served.batch_rows(self._served[target.name], self.how.batch_rows)

    def batch_note(self, target: Target, rows: Rows) -> str | None:
        """What there is to say of answers that depend on the batch."""
        found = self._served[target.name]
        most = served.batch_rows(found, None)
        arrays = tensors.build(self.suite.inputs, rows.table.slice(0, max(self.batch_rows(target), batchprobe.ROWS)))
        asked = self._runner.run(
            batchprobe.probe(
                self._ports[target.name], arrays, self.batch_rows(target), most, self.how.retry,
                Pace(self.how.rows_per_second),
            )
        )  # fmt: skip
        return None if asked is None else asked.note()

    def predict(self, target: Target) -> Callable[[pa.Table], NDArray[np.generic]]:
        """The model as a function of rows, for what asks it about rows that are not the data set's."""

        def predicted(table: pa.Table) -> NDArray[np.generic]:
            answers = Answers(table.num_rows)
            self._runner.run(self._ask(target, table, answers))
            return answers.output()

        return predicted

    def close(self) -> None:
        for port in self._ports.values():
            self._runner.run(port.close())

    async def _ask(self, target: Target, table: pa.Table, answers: Answers) -> Statistics:
        plan = Plan(self.batch_rows(target), self.how.in_flight, self.how.retry)
        arrays = tensors.build(self.suite.inputs, table)
        self.progress.start(target.name, answers.rows, answers.done_rows)
        return await infer(
            self._ports[target.name], arrays, answers, plan, Pace(self.how.rows_per_second), self.progress
        )

    def _key(self, target: Target, found: Served, rows: Rows) -> str:
        """What the answers depend on: those to something else must not be taken for them."""
        parts: dict[str, Any] = {
            "data": rows.digest,
            "inputs": [one.to_wire() for one in self.suite.inputs],
            "output": self.suite.output.tensor,
            "url": target.url,
            "batchRows": self.batch_rows(target),
            "served": asdict(replace(found, max_batch_size=None, priority_levels=0)),
            "modelDigest": self.how.model_digest,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
