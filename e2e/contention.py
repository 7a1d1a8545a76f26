"""How much of this machine's CPU other processes used while something was measured, and which figures that spoils.

Ours are the processes below the one that measures: the cluster, its containers and the load generator all are. What
the machine's cores did beyond them, steal included, is others'. Kernel threads and interrupts count as ours, since our
traffic causes most of them.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from e2e.report import Figure

PROC = Path("/proc")
SAMPLE_SECONDS = 5.0
# Others slow us down where they use that much and leave less than one core idle.
OTHERS_SHARE = 0.1
IDLE_CORES = 1.0
KTHREADD = 2
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """One line of /proc/PID/stat; `ticks` of itself and of the children that it has waited for."""

    pid: int
    parent: int
    ticks: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters at one moment, in seconds of CPU."""

    at_seconds: float
    cores: int
    busy: float
    idle: float
    ours: float


@dataclass(frozen=True, slots=True)
class Interval:
    """Between two readings: the share of all cores that others used, and the cores that were idle."""

    start_seconds: float
    end_seconds: float
    others: float
    idle_cores: float

    @property
    def contended(self) -> bool:
        return self.others >= OTHERS_SHARE and self.idle_cores < IDLE_CORES


def interval(before: Reading, after: Reading) -> Interval:
    busy, idle = after.busy - before.busy, after.idle - before.idle
    total = max(busy + idle, 1e-9)
    # A process that ends between the readings of two counters may be in one of them only.
    others = min(max(busy - (after.ours - before.ours), 0.0), busy)
    return Interval(before.at_seconds, after.at_seconds, others / total, idle / total * after.cores)


def others_share(intervals: Collection[Interval]) -> float:
    """Mean share of the cores that others used."""
    seconds = sum(i.end_seconds - i.start_seconds for i in intervals)
    return sum(i.others * (i.end_seconds - i.start_seconds) for i in intervals) / seconds if seconds > 0 else 0.0


def judge(figure: Figure, intervals: Iterable[Interval], *, end_seconds: float, lower_is_better: bool) -> Figure:
    """The figure without its verdict, if others had the cores in any interval before `end_seconds`: what the operator
    learned then is in all that follows. A goal that a slow machine makes harder to meet was met all the same.
    """
    spoilt = [i for i in intervals if i.contended and i.start_seconds < end_seconds]
    if not spoilt or figure.met is None or (figure.met and lower_is_better):
        return figure
    seconds = sum(i.end_seconds - i.start_seconds for i in spoilt)
    busy = f"for {seconds:.0f} s other processes used {others_share(spoilt):.0%} of its cores"
    return replace(figure, met=None, note=f"not judged: the machine was busy ({busy})")


def parse_process(stat: str) -> Process:
    """The name of a program may hold blanks and brackets: what counts comes after the last bracket."""
    head, _, rest = stat.rpartition(")")
    fields = rest.split()
    return Process(int(head.split(" ", 1)[0]), int(fields[1]), sum(int(ticks) for ticks in fields[11:15]))


def ticks_below(root: int, processes: Iterable[Process]) -> int:
    """Of `root`, of all below it, and of the kernel's threads."""
    children: dict[int, list[Process]] = {}
    ticks = 0
    for process in processes:
        children.setdefault(process.parent, []).append(process)
        ticks += process.ticks if process.pid in {root, KTHREADD} else 0
    todo = [root, KTHREADD]
    while todo:
        below = children.pop(todo.pop(), [])
        ticks += sum(process.ticks for process in below)
        todo += [process.pid for process in below]
    return ticks


def parse_cores(stat: str) -> tuple[int, int, int]:
    """(cores, busy ticks, idle ticks) of /proc/stat; interrupts are in neither."""
    lines = [line.split() for line in stat.splitlines() if line.startswith("cpu")]
    user, nice, system, idle, iowait, _irq, _softirq, steal = (int(ticks) for ticks in lines[0][1:9])
    return len(lines) - 1, user + nice + system + steal, idle + iowait


def read(root: int, proc: Path = PROC) -> Reading:
    processes = []
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended while we looked; its parent has its time
                processes.append(parse_process((entry / "stat").read_text(errors="replace")))
    cores, busy, idle = parse_cores((proc / "stat").read_text())
    ours = ticks_below(root, processes)
    ticks = TICKS_PER_SECOND
    return Reading(time.monotonic(), cores, busy / ticks, idle / ticks, ours / ticks)


@dataclass
class Monitor:
    """Reads the counters all the time between `start` and `stop`."""

    readings: list[Reading] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator[Monitor]:
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(SAMPLE_SECONDS):
                self.sample()

        self.sample()
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()
            self.sample()

    def sample(self) -> None:
        self.readings.append(read(os.getpid()))

    def intervals(self, start_seconds: float = 0.0, end_seconds: float = float("inf")) -> Sequence[Interval]:
        """Those that overlap with that time, by the monotonic clock."""
        pairs = zip(self.readings, self.readings[1:], strict=False)
        return [
            interval(a, b)
            for a, b in pairs
            if b.at_seconds > max(a.at_seconds, start_seconds) and a.at_seconds < end_seconds
        ]
