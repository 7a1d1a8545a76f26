"""The cluster's long-running processes: started with a log each, watched, and reported when they end."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from .errors import ClusterError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Sequence

POLL_SECONDS = 0.05
LOG_TAIL_CHARACTERS = 1500


class Processes:
    def __init__(self, logs: pathlib.Path) -> None:
        self._logs = logs
        self._logs.mkdir()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, argv: Sequence[str | pathlib.Path], pass_fds: Sequence[int] = ()) -> int:
        with (self._logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, pass_fds=pass_fds)
        self._running[name] = process
        return process.pid

    def kill(self, name: str) -> None:
        """End it as a crash would; this end is not a failure of the cluster."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def is_running(self, name: str) -> bool:
        return name in self._running

    def check(self) -> None:
        ended = [name for name, process in list(self._running.items()) if process.poll() is not None]
        if ended:
            tails = [f"--- {name}\n{self._tail(name)}" for name in ended]
            raise ClusterError("\n".join([f"ended unexpectedly: {', '.join(ended)}", *tails]))

    def wait_until(self, what: str, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise ClusterError(f"{what} did not come up within {seconds:.0f} s")
            time.sleep(POLL_SECONDS)

    def _tail(self, name: str) -> str:
        return (self._logs / f"{name}.log").read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]
