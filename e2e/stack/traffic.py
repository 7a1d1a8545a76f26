"""Requests that go on while something is done to a service: none may fail."""

from __future__ import annotations

import datetime as dt
import http.client
import subprocess
import threading
from typing import TYPE_CHECKING, Self

from e2e.stack.load import parse
from e2e.stack.watching import pause

if TYPE_CHECKING:
    from e2e.stack.load import Load
    from e2e.stack.watching import Api

LOAD_START_SECONDS = 3.0
PROFILE = "/tmp/profile.json"


class Requests:
    """One inference after the other, `per_second` at most, each through the Service; failures are kept."""

    def __init__(self, api: Api, name: str, per_second: float = 2.0, width: int = 8) -> None:
        self.api, self.name, self.every = api, name, 1.0 / per_second
        self.values = [[1.0] * width]
        self.answered = 0
        self.failed: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Requests:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self.every):
            at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
            try:
                status, body = self.api.infer(self.name, self.values)
            except OSError as error:
                self.failed.append(f"{at} {error}")
                continue
            if status == http.client.OK:
                self.answered += 1
            else:
                self.failed.append(f"{at} {status} {body[:200]!r}")


class SteadyLoad:
    """perf_analyzer at a steady rate by gRPC until the block ends, started again where it gave up after an error."""

    # One window after the other without end: by this tolerance none ever agree.
    ENDLESS = ("--measurement-interval=1000", "--max-trials=3600", "--stability-percentage=0.0001", "--percentile=99")
    # Prints what it has interrupted.
    INTERRUPT = (
        "for p in /proc/[0-9]*; do read -r c 2>/dev/null < $p/comm; "
        '[ "$c" = perf_analyzer ] && kill -INT ${p#/proc/} && echo $p; done; true'
    )
    # perf_analyzer waits for its answers and writes its profile; a second interrupt would make it drop both.
    ENDS_SECONDS = 60.0

    def __init__(self, load: Load, model: str, per_second: float) -> None:
        self.load, self.model, self.per_second = load, model, per_second
        self.answered = self.failed = self.starts = 0
        self.said = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        pause(LOAD_START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            found = self._in_pod("sh", "-c", self.INTERRUPT).stdout
            self._thread.join(timeout=self.ENDS_SECONDS if found else 1.0)

    def _run(self) -> None:
        address = f"{self.model}.{self.load.namespace}.svc.cluster.local:8001"
        rate = ("--async", "--max-threads=8", f"--request-rate-range={self.per_second:g}")
        while not self._stop.is_set():
            self._in_pod("rm", "-f", PROFILE)
            self.starts += 1
            done = self._in_pod(
                *("perf_analyzer", "-m", self.model, "-x", "1", "-u", address, "-i", "grpc", *rate, *self.ENDLESS),
                f"--profile-export-file={PROFILE}",
            )
            self.said = (done.stdout + done.stderr).decode(errors="replace")[-600:]
            profile = self._in_pod("cat", PROFILE).stdout
            if profile:
                _, latencies, failed = parse(profile)
                self.answered, self.failed = self.answered + len(latencies), self.failed + failed
            elif not self._stop.wait(1):  # the server was not reached at all
                self.failed += 1

    def _in_pod(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        place = ("exec", "-n", self.load.namespace, self.load.name, "--")
        return subprocess.run(
            [*self.load.cluster.kubectl_command, *place, *arguments], capture_output=True, check=False
        )
