"""From the server's trace files to the store, a batch at a time, whatever is killed in between.

Raw requests are only ever in the memory-backed folder that the server writes to. A batch is taken by moving its files
into a folder of the batch's name; then it is stored under that name, by one rename; then the folder is deleted. Whoever
comes after a kill finds the folder, and the name in the store tells whether the second step was done.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from throughline.evaluator.sampling import traces
from throughline.evaluator.sampling.store import batch_name, remove_tree, without

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from throughline.evaluator.sampling.erasure import Erasure
    from throughline.evaluator.sampling.rows import Rows
    from throughline.evaluator.sampling.store import Store
    from throughline.evaluator.sampling.traces import Sampled

TRACE = "trace"  # the server appends .0, .1, …
TAKEN = "taken-"
ATTEMPTS = "attempts"
MOST_ATTEMPTS = 3
MOST_FILES = 4096
MOST_BYTES = 16 * 2**20  # of one batch, which bounds the memory that it takes
SETTLED_SECONDS = 0.05  # a part of a file may end as the whole does
UNFINISHED_SECONDS = 5.0  # a file that is not whole after that never will be: the memory was full


class Spool:
    """The folder that the server writes traces to."""

    def __init__(self, folder: Path, store: Store, rows: Rows, erasure: Erasure, pod: str) -> None:
        self._folder, self._store, self._rows, self._erasure, self._pod = folder, store, rows, erasure, pod
        self.counts: Counter[str] = Counter()

    def collect(self, now: float) -> int:
        """Takes what is there and stores it; returns the rows. Batches that a kill left over come first."""
        stored = 0
        for folder in sorted(self._folder.glob(f"{TAKEN}*")):
            stored += self._finish(folder, now)
        folder_of_batch = self._take(now)
        return stored if folder_of_batch is None else stored + self._finish(folder_of_batch, now)

    def _take(self, now: float) -> Path | None:
        ready: list[Path] = []
        size, oldest = 0, now
        for path, written, length in self._waiting():
            if len(ready) >= MOST_FILES or size + length > MOST_BYTES:
                break
            if written + SETTLED_SECONDS > now or not _whole(path):
                if written + UNFINISHED_SECONDS <= now:
                    path.unlink(missing_ok=True)
                    self.counts["dropped.unfinished"] += 1
                continue
            ready.append(path)
            size, oldest = size + length, min(oldest, written)
        if not ready:
            return None
        folder = self._folder / f"{TAKEN}{batch_name(oldest, self._pod)}"
        folder.mkdir()
        for place, path in enumerate(ready):
            path.rename(folder / f"{place:06d}")
        return folder

    def _waiting(self) -> Iterator[tuple[Path, float, int]]:
        """(file, when it was written, bytes), oldest first; what is too large for any batch is deleted."""
        found = []
        for path in self._folder.glob(f"{TRACE}.*"):
            status = path.stat()
            if status.st_size > MOST_BYTES:
                path.unlink()
                self.counts["dropped.tooLarge"] += 1
            else:
                found.append((status.st_mtime, path, status.st_size))
        yield from ((path, written, length) for written, path, length in sorted(found))

    def _finish(self, folder: Path, now: float) -> int:
        batch = folder.name.removeprefix(TAKEN)
        rows = 0
        if self._store.has(batch) or self._store.expired(batch, now):
            pass  # killed between storing and deleting, or away for longer than rows may be kept
        elif _attempt(folder) > MOST_ATTEMPTS:  # it kills whoever reads it, or the storage refuses it
            self.counts["dropped.notStored"] += len(list(folder.glob("[0-9]*")))
        elif self._store.full():
            self.counts["dropped.full"] += len(list(folder.glob("[0-9]*")))
        else:
            rows = self._keep(folder, batch)
        remove_tree(folder)
        return rows

    def _keep(self, folder: Path, batch: str) -> int:
        table = self._rows.table(self._parsed(folder))
        if table is None:
            return 0
        keys, texts = self._erasure.wanted()
        kept = without(table, keys, texts)
        self.counts["erased.onArrival"] += table.num_rows - kept.num_rows
        if not kept.num_rows:
            return 0
        self._store.write(batch, kept)
        self.counts["stored"] += kept.num_rows
        return int(kept.num_rows)

    def _parsed(self, folder: Path) -> Iterator[tuple[float, Sampled]]:
        for path in sorted(folder.glob("[0-9]*")):
            try:
                yield path.stat().st_mtime, traces.parse(path.read_bytes())
            except traces.UnreadableTraceError:
                self.counts["dropped.unreadable"] += 1


def _whole(path: Path) -> bool:
    """Whether the first and the last byte say so."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        if file.read(1) == b"[":
            file.seek(-1, 2)
            return file.read(1) == b"]"
    return False


def _attempt(folder: Path) -> int:
    """Notes one attempt at the batch; returns how many there were."""
    with (folder / ATTEMPTS).open("ab") as file:
        file.write(b".")
        return file.tell()
