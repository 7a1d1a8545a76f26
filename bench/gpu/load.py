"""Load by perf_analyzer on this machine, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.gpu.server import ADDRESS, NAME
from e2e.stack.load import OWN_CONNECTIONS, Result, arguments, parse, waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# It measures one window after the other, and with no tolerance none agree: it goes on until interrupted.
ENDLESS = ("--measurement-interval=1000", "--max-trials=3600", "--stability-percentage=0.0001")
HEAD_SECONDS = 2.0


class Load:
    """perf_analyzer with so many callers, each of which sends again when it has its answer."""

    def __init__(self, program: Path, callers: int) -> None:
        self.program, self.callers = program, callers

    @contextlib.asynccontextmanager
    async def running(self, into: list[Result]) -> AsyncIterator[None]:
        """Load while the block lasts; the result goes into the list."""
        with tempfile.TemporaryDirectory() as folder:
            profile = Path(folder) / "profile.json"
            child = await asyncio.create_subprocess_exec(
                self.program, *arguments(NAME, ADDRESS, str(profile)), *waiting(self.callers), *ENDLESS,
                env={**os.environ, **OWN_CONNECTIONS},
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            try:
                yield
            finally:
                if child.returncode is None:
                    child.send_signal(signal.SIGINT)
                await child.wait()
            sent, latencies, failed = parse(profile.read_bytes())
        into.append(Result("", sent[-1] - sent[0], sent, latencies, failed, ""))

    async def measure(self, seconds: float) -> Result:
        """For so long, and without what comes first: connections are made, and callers fall into step."""
        found: list[Result] = []
        async with self.running(found):
            await asyncio.sleep(seconds + HEAD_SECONDS + 0.5)
        (whole,) = found
        kept = [(s, u) for s, u in zip(whole.sent_seconds, whole.latencies_us, strict=True) if s >= HEAD_SECONDS]
        sent, latencies = [s for s, _ in kept], [u for _, u in kept]
        return replace(whole, seconds=sent[-1] - sent[0], sent_seconds=sent, latencies_us=latencies)
