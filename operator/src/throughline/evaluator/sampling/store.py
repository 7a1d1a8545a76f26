"""The folder of samples: Parquet files in a folder for each minute, none of them older than the retention.

    20261125T1254/20261125T125431-POD-6f1c.parquet
    .state/POD.json

Every file is written beside its place and renamed into it, so that it is there whole or not at all. Several pods may
share the folder: each writes files of its own, and any of them may delete or rewrite those of others.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from throughline.evaluator.sampling.rows import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from pathlib import Path

STATE = ".state"
PART = ".part"
_MINUTE = "%Y%m%dT%H%M"
_SECOND = "%Y%m%dT%H%M%S"
_FILE = re.compile(r"^(?P<second>\d{8}T\d{6})-[A-Za-z0-9.-]+\.parquet$")
_FOLDER = re.compile(r"^\d{8}T\d{4}$")
PART_SECONDS = 600  # a file that has been written for so long is nobody's


@dataclass(frozen=True, slots=True)
class Erased:
    """What one pass removed."""

    rows: int = 0
    files: int = 0


def batch_name(oldest_seconds: float, pod: str) -> str:
    """Of one batch; begun with the time of its oldest row, from which its retention counts."""
    return f"{datetime.fromtimestamp(oldest_seconds, UTC).strftime(_SECOND)}-{pod}-{secrets.token_hex(4)}"


class Store:
    """Samples below a folder."""

    def __init__(self, folder: Path, *, retention_minutes: int, most_bytes: int) -> None:
        self._folder, self._retention, self._most = folder, 60 * retention_minutes, most_bytes
        self._clean: dict[Path, tuple[int, int, frozenset[str]]] = {}  # looked through for these keys already

    def _path(self, batch: str) -> Path:
        second = datetime.strptime(batch.partition("-")[0], _SECOND).replace(tzinfo=UTC)
        return self._folder / second.strftime(_MINUTE) / f"{batch}.parquet"

    def has(self, batch: str) -> bool:
        return self._path(batch).exists()

    def expired(self, batch: str, now: float) -> bool:
        """Whether the batch is past its retention."""
        second = datetime.strptime(batch.partition("-")[0], _SECOND).replace(tzinfo=UTC)
        return second.timestamp() + self._retention <= now

    def full(self) -> bool:
        """Whether no more may be stored."""
        size = 0
        for path in self._each():
            with contextlib.suppress(FileNotFoundError):
                size += path.stat().st_size
        return size >= self._most

    def write(self, batch: str, table: pa.Table) -> None:
        """Stores a batch, once and whole."""
        self._replace(self._path(batch), table)

    def files(self) -> list[Path]:
        """All files, oldest first."""
        return [path for path in self._each() if path.suffix == ".parquet"]

    def expire(self, now: float) -> int:
        """Deletes what is older than the retention; returns how many files."""
        gone = 0
        for path in self.files():
            if self.expired(path.stem, now):
                path.unlink(missing_ok=True)
                self._clean.pop(path, None)
                gone += 1
        for folder in self._folders():
            for path in folder.glob(f"*{PART}"):
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime + PART_SECONDS <= now:
                        path.unlink()
            with contextlib.suppress(OSError):  # not empty, or gone
                folder.rmdir()
        return gone

    def erase(self, keys: frozenset[str], texts: frozenset[str] = frozenset()) -> Erased:
        """Rewrites every file without rows of these stored keys, or with one of these pseudonyms in a text. A file that
        has not changed since it was looked through for the same is not read again.
        """
        wanted = keys | texts
        rows = files = 0
        for path in self.files() if wanted else []:
            try:
                status = path.stat()
                mark = (status.st_mtime_ns, status.st_size, wanted)
                if self._clean.get(path) == mark:
                    continue
                table = parquet.read_table(path)
                kept = without(table, keys, texts)
                if kept.num_rows != table.num_rows:
                    rows, files = rows + table.num_rows - kept.num_rows, files + 1
                    if kept.num_rows:
                        self._replace(path, kept)
                    else:
                        path.unlink()
                    continue  # looked at once more: another pod may have put its own version there
                self._clean[path] = mark
            except FileNotFoundError:  # the retention of another pod was faster
                continue
        return Erased(rows, files)

    def read(self) -> pa.Table | None:
        """All rows, oldest first; None where there are none. A file that goes meanwhile is left out."""
        tables = []
        for path in self.files():
            with contextlib.suppress(FileNotFoundError):
                tables.append(parquet.read_table(path))
        return pa.concat_tables(tables, promote_options="permissive") if tables else None

    def note(self, pod: str, state: dict[str, Any]) -> None:
        """Replaces what the pod says of itself."""
        folder = self._folder / STATE
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{pod}.json{PART}"
        part.write_text(json.dumps(state, sort_keys=True))
        part.replace(folder / f"{pod}.json")

    def states(self) -> dict[str, dict[str, Any]]:
        """What each pod said last."""
        found = {}
        for path in sorted((self._folder / STATE).glob("*.json")):
            with contextlib.suppress(FileNotFoundError, ValueError):
                found[path.stem] = dict(json.loads(path.read_text()))
        return found

    def _replace(self, path: Path, table: pa.Table) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
        try:
            with part.open("wb") as file:
                parquet.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            # Where another pod has removed the folder, which was empty for a moment, the next attempt makes it anew.
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _folders(self) -> Iterator[Path]:
        if self._folder.is_dir():
            yield from sorted(path for path in self._folder.iterdir() if _FOLDER.match(path.name))

    def _each(self) -> Iterator[Path]:
        for folder in self._folders():
            with contextlib.suppress(FileNotFoundError):
                yield from sorted(path for path in folder.iterdir() if path.suffix == PART or _FILE.match(path.name))


def without(table: pa.Table, keys: AbstractSet[str], texts: AbstractSet[str]) -> pa.Table:
    """The rows that have none of the stored keys, and none of the pseudonyms in any text."""
    gone = pc.is_in(table[KEY], value_set=pa.array(sorted(keys), pa.string()))
    for name in table.column_names:
        if name != KEY and pa.types.is_string(table.schema.field(name).type):
            for text in texts:
                there = pc.fill_null(pc.match_substring(table[name], text), fill_value=False)
                gone = pc.or_(gone, there)
    return table.filter(pc.invert(gone))


def remove_tree(folder: Path) -> None:
    """The folder and all in it, where it is there."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
