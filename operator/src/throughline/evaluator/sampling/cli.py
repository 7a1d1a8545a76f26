"""`throughline-sample`: the sidecar of a server that is sampled."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import ValidationError

from throughline import exits
from throughline.api.monitoring import Sampling
from throughline.evaluator.arguments import port as a_port
from throughline.evaluator.commandline import Parser, guarded
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.sampling.erasure import Erasure
from throughline.evaluator.sampling.rows import Keys, Rows
from throughline.evaluator.sampling.server import Server
from throughline.evaluator.sampling.spool import Spool
from throughline.evaluator.sampling.store import Store

if TYPE_CHECKING:
    import argparse
    from collections import Counter
    from collections.abc import Callable, Sequence
    from types import FrameType

PROGRAM = "throughline-sample"
SAMPLING_ENV, SALT_ENV, KEY_ENV, POD_ENV = (
    "THROUGHLINE_SAMPLING", "THROUGHLINE_SALT", "THROUGHLINE_CONTROL_KEY", "THROUGHLINE_POD",
)  # fmt: skip
COLLECT_SECONDS = 5.0  # between batches; raw requests are in memory for so long
UPKEEP_SECONDS = 20.0  # between looks at retention and erasure, which are promised each minute
NOTE_SECONDS = 60.0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = Parser(
        prog=PROGRAM,
        description="Stores redacted samples of the requests that Triton traces, deletes them after the retention, and "
        f"erases them by key. Environment: {SAMPLING_ENV} (spec.monitoring.sampling as JSON), {SALT_ENV}, {KEY_ENV} "
        f"(of Triton's control API), {POD_ENV} (a name of its own for each replica).",
    )
    top.add_argument("--traces", type=Path, default=Path("/samples"), metavar="DIRECTORY", help="Triton's trace files")
    top.add_argument("--storage", type=Path, metavar="DIRECTORY", help="where samples are kept")
    top.add_argument("--erasures", type=Path, metavar="DIRECTORY", help="files whose lines are keys to be erased")
    top.add_argument("--model", default="", metavar="NAME", help="whose requests are kept")
    top.add_argument("--no-batch-dimension", action="store_true", help="a request is one row")
    top.add_argument("--url", default="http://127.0.0.1:8000", help="the server's HTTP endpoint (default: %(default)s)")
    top.add_argument("--key-header", default="", metavar="NAME", help="header of Triton's control key")
    top.add_argument("--metrics-port", type=a_port, metavar="PORT", help="serve counts to Prometheus")
    top.add_argument("--hash-keys", action="store_true", help="print what is stored for each key on stdin, and end")
    return top


class Sampler:
    """The loop, one step at a time; the clock is the caller's."""

    def __init__(self, sampling: Sampling, given: argparse.Namespace, salt: bytes, pod: str) -> None:
        self._sampling, self._pod = sampling, pod
        self._rows = Rows(sampling, salt, given.model, batched=not given.no_batch_dimension)
        self._store = Store(
            given.storage,
            retention_minutes=sampling.retention_minutes,
            most_bytes=sampling.storage_mebibytes * 2**20,
        )
        self._erasure = Erasure(given.erasures, self._rows.keys, self._rows.redactor)
        self._spool = Spool(given.traces, self._store, self._rows, self._erasure, pod)
        self._server = Server(given.url, given.key_header, os.environ.get(KEY_ENV, ""))
        self._upkeep = self._noted = float("-inf")
        self._tracing = "NotReached"

    def step(self, now: float, *, server: bool = True) -> None:
        """Everything that is due at Unix time `now`."""
        if server:
            self._told(self._server.watch(self._sampling.minimum_server_version))
        self._erasure.reload()
        self._spool.collect(now)
        if now - self._upkeep >= UPKEEP_SECONDS:
            self._upkeep = now
            self._spool.counts["expired.files"] += self._store.expire(now)
            self._erasure.apply(self._store)
        if now - self._noted >= NOTE_SECONDS:
            self._noted = now
            self._store.note(self._pod, self.state(now))

    def state(self, now: float) -> dict[str, object]:
        """What there is to say: counts since the start, and no value of any request."""
        return {
            "time": round(now),
            "tracing": self._tracing,
            "counts": dict(sorted(self.counts().items())),
            "erased": self._erasure.acknowledged(),
        }

    def counts(self) -> Counter[str]:
        """All counts since the start."""
        return self._spool.counts + self._rows.counts

    def _told(self, tracing: str) -> None:
        if tracing != self._tracing:
            self._tracing = tracing
            _say(tracing=tracing, minimumServerVersion=self._sampling.minimum_server_version)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until it is told to end. Exit code: 0 it was, 2 the declaration is wrong, 70 a fault of this program."""
    return guarded(PROGRAM, lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    try:
        given = parser().parse_args(argv)
        salt = os.environ.get(SALT_ENV, "").encode()
        if given.hash_keys:
            keys = Keys(salt)
            sys.stdout.writelines(f"{keys.hashed(line.rstrip())}\n" for line in sys.stdin if line.strip())
            return exits.OK
        _require(given)
        sampling = Sampling.model_validate_json(os.environ.get(SAMPLING_ENV, ""))
        sampler = Sampler(sampling, given, salt, os.environ.get(POD_ENV) or os.uname().nodename)
        if given.metrics_port is not None:
            _serve_metrics(given.metrics_port, sampler)
    except (ValidationError, ValueError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return exits.UNUSABLE
    return _run(sampler, _until_told())


def _require(given: argparse.Namespace) -> None:
    """What sampling needs of the command line.

    Raises:
        EvaluationInputError: it is missing, or cannot be used.
    """
    if given.storage is None:
        raise EvaluationInputError("the following arguments are required: --storage")
    if not given.model.strip():
        raise EvaluationInputError("argument --model: name the model whose requests are kept")
    try:
        at = urlsplit(given.url)
        usable = at.scheme == "http" and at.hostname is not None and at.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise EvaluationInputError(f"argument --url: {given.url!r} is no address of a server; write http://HOST:8000")
    if re.fullmatch(r"[A-Za-z0-9-]*", given.key_header) is None:
        raise EvaluationInputError(f"argument --key-header: {given.key_header!r} is no name of a header")


def _until_told() -> Callable[[], bool]:
    told: list[int] = []

    def tell(number: int, _frame: FrameType | None) -> None:
        told.append(number)

    signal.signal(signal.SIGTERM, tell)
    signal.signal(signal.SIGINT, tell)
    return lambda: bool(told)


def _run(sampler: Sampler, ended: Callable[[], bool]) -> int:
    while True:
        last = ended()  # one more step after that: the server has ended, and what it wrote is still to be stored
        try:
            sampler.step(time.time(), server=not last)
        except OSError as error:  # the storage; the batch is tried again, and dropped in the end
            _say(error=f"{error.filename}: {error.strerror}")
        if last:
            return exits.OK
        until = time.monotonic() + COLLECT_SECONDS
        while time.monotonic() < until and not ended():
            time.sleep(0.2)


def _serve_metrics(port: int, sampler: Sampler) -> None:
    from prometheus_client import REGISTRY, start_http_server  # noqa: PLC0415 - only where it is wanted
    from prometheus_client.core import CounterMetricFamily  # noqa: PLC0415

    class Counts:
        def collect(self) -> list[CounterMetricFamily]:
            family = CounterMetricFamily("throughline_samples", "Samples by what became of them.", labels=["what"])
            for what, count in sampler.counts().items():
                family.add_metric([what], count)
            return [family]

    REGISTRY.register(Counts())
    try:
        start_http_server(port)
    except OSError as error:
        raise EvaluationInputError(f"--metrics-port {port}: {error.strerror}") from error


def _say(**fields: object) -> None:
    print(json.dumps(fields, sort_keys=True), flush=True)


if __name__ == "__main__":
    sys.exit(main())
