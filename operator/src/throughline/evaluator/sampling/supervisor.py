"""What the sidecar's first process does: keeps the sampler running, and never ends by itself.

Kubernetes counts a sidecar that is down among what makes a pod unready (KEP-753, Pod readiness), and takes the pod out
of its Service: a sampler that failed would stop a server that is well. So only the sampler ends and is started again
here; the container does not. It imports nothing that costs memory.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

SAMPLER = (sys.executable, "-m", "throughline.evaluator.sampling.cli")
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0


class Supervisor:
    """One sampler after another, until SIGTERM or SIGINT; the last is told, and awaited."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self._told = threading.Event()
        self._sampler: subprocess.Popen[bytes] | None = None

    def tell(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """To end: the sampler stores what the server wrote last before it does."""
        self._told.set()
        if self._sampler is not None and self._sampler.poll() is None:
            self._sampler.terminate()

    def run(self) -> int:
        """The last sampler's exit code; one that was killed by signal N: 128 + N."""
        pause, code = FIRST_PAUSE_SECONDS, 0
        while not self._told.is_set():
            began = time.monotonic()
            self._sampler = subprocess.Popen(self._command)
            if self._told.is_set():  # between the two
                self._sampler.terminate()
            code = self._sampler.wait()
            if self._told.is_set():
                break
            if time.monotonic() - began > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            print(json.dumps({"ended": code, "againInSeconds": pause}), flush=True)
            self._told.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        return code if code >= 0 else 128 - code


def main() -> int:
    """`python -m throughline.evaluator.sampling`, with the sampler's arguments."""
    supervisor = Supervisor([*SAMPLER, *sys.argv[1:]])
    signal.signal(signal.SIGTERM, supervisor.tell)
    signal.signal(signal.SIGINT, supervisor.tell)
    return supervisor.run()
