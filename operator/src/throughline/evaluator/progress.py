"""How far it is, on stderr: a line that is drawn over on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

TERMINAL_SECONDS, LOG_SECONDS = 0.2, 5.0


class Progress:
    """Rows done of all, rows per second and the time that is left; silent when `shown` is false."""

    def __init__(
        self,
        stream: TextIO,
        *,
        shown: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._shown, self._clock = stream, shown, clock
        self._over = shown and stream.isatty()
        self._width = 0
        self._label, self._total, self._first, self._started, self._last = "", 0, 0, 0.0, 0.0

    def start(self, label: str, total: int, done: int) -> None:
        """A new count to `total`, of which `done` were done before."""
        self._label, self._total, self._first = label, total, done
        self._started = self._last = self._clock()

    def show(self, done: int, *, retried: int = 0) -> None:
        """Call it as often as you like."""
        now = self._clock()
        if not self._shown or now - self._last < (TERMINAL_SECONDS if self._over else LOG_SECONDS):
            return
        self._last = now
        self._write(self.text(done, retried, now - self._started))

    def text(self, done: int, retried: int, seconds: float) -> str:
        """Such as: census: 12,800 of 208,892 rows, 25,120 rows/s, 8 s left."""
        per_second = (done - self._first) / seconds if seconds > 0.0 else 0.0
        left = f", {_time((self._total - done) / per_second)} left" if per_second > 0.0 else ""
        again = f", {retried} retried" if retried else ""
        return f"{self._label}: {done:,} of {self._total:,} rows, {per_second:,.0f} rows/s{left}{again}"

    def say(self, text: str) -> None:
        """A line that stays, shown or not."""
        self._clear()
        print(text, file=self._stream, flush=True)

    def end(self) -> None:
        self._clear()

    def _write(self, text: str) -> None:
        if self._over:
            self._stream.write(f"\r{text.ljust(self._width)}")
            self._width = len(text)
            self._stream.flush()
        else:
            print(text, file=self._stream, flush=True)

    def _clear(self) -> None:
        if self._width:
            self._stream.write(f"\r{' ' * self._width}\r")
            self._width = 0


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
