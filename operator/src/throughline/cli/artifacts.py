"""What `sign` and `verify` read alike: files named after an evaluation, single objects, and how far it has come."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from throughline.cli import documents
from throughline.lineage.verify import Object

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from throughline.lineage.digest import Progress

SHOW_AFTER_SECONDS = 1.0
SHOW_EVERY_SECONDS = 0.2


class InputError(Exception):
    """Wrong usage, or a file that cannot be read; the message says which."""


def read_bytes(path: Path) -> bytes:
    """The file's bytes; an InputError if there are none to read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def named_files(texts: Sequence[str], flag: str) -> dict[str, Path]:
    """`FILE` or `NAME=FILE` → path by name, "" where none was given."""
    found: dict[str, Path] = {}
    for text in texts:
        name, separator, file = text.partition("=")
        if not separator or Path(text).exists():
            name, file = "", text
        if name in found:
            again = f"{name} is given twice" if name else "several files: write NAME=FILE for each"
            raise InputError(f"{flag}: {again}")
        found[name] = Path(file)
    return found


def read_object(path: Path) -> Object:
    """The one object of a YAML or JSON file; what is wrong with its content is said in it."""
    content = read_bytes(path)
    try:
        found = list(documents.parse(str(path), content.decode()))
    except UnicodeDecodeError:
        return Object(str(path), problem="is not UTF-8 text")
    except documents.UnreadableError as error:
        return Object(str(path), problem=error.message)
    if len(found) != 1 or not isinstance(found[0].data, dict):
        return Object(str(path), problem=f"has {len(found)} objects; one is needed")
    for field, _ in found[0].repeated():
        return Object(str(path), problem=f"{'.'.join(map(str, field))} stands twice in the same map")
    return Object(str(path), found[0].data)


def progress_on_terminal() -> Callable[[Progress], None] | None:
    """Tells on a terminal how much of large files has been read; None where nobody looks."""
    if not sys.stderr.isatty():
        return None
    begun = shown = time.monotonic()

    def show(progress: Progress) -> None:
        nonlocal shown
        now = time.monotonic()
        done = progress.done_bytes >= progress.total_bytes
        if now - begun < SHOW_AFTER_SECONDS or (now - shown < SHOW_EVERY_SECONDS and not done):
            return
        shown = now
        share = progress.done_bytes / max(progress.total_bytes, 1)
        line = f"reading {progress.path}: {share:.0%} of {progress.total_bytes / 2**20:,.0f} MiB"
        sys.stderr.write(f"\r\x1b[K{'' if done else line}")
        sys.stderr.flush()

    return show
