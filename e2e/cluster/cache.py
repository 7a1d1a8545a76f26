"""Where everything lives: built things by the hash of their sources, and a directory for each running instance."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import pathlib
import secrets
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Processes started for an instance carry its name in this variable: it finds them whatever became of their parents.
INSTANCE_VARIABLE = "THROUGHLINE_INSTANCE"
# An instance directory without a lock may be one that is being made this very moment.
NEWBORN_SECONDS = 60.0


def digest(*parts: bytes | str) -> str:
    """A short hash of the parts; their lengths go in too, so that no two lists of parts are mistaken for each other."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big"))
        total.update(data)
    return total.hexdigest()[:16]


def digest_tree(*roots: pathlib.Path) -> str:
    """The hash of files and trees of files: names and contents, not times."""
    parts: list[bytes | str] = []
    for root in roots:
        files = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
        for file in files:
            if "__pycache__" not in file.parts:
                parts += [str(file.relative_to(root.parent)), file.read_bytes()]
    return digest(*parts)


@dataclasses.dataclass(frozen=True)
class Cache:
    root: pathlib.Path

    @classmethod
    def of_environment(cls) -> Cache:
        chosen = os.environ.get("THROUGHLINE_CACHE")
        return cls(pathlib.Path(chosen).resolve() if chosen else pathlib.Path.home() / ".cache" / "throughline")

    @property
    def binaries(self) -> pathlib.Path:
        return self.root / "binaries"

    @property
    def layers(self) -> pathlib.Path:
        return self.root / "layers"

    @property
    def stores(self) -> pathlib.Path:
        return self.root / "stores"

    @property
    def instances(self) -> pathlib.Path:
        return self.root / "instances"

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the named lock; the kernel lets go of it however the holder ends."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@dataclasses.dataclass(frozen=True)
class Instance:
    """The directory of one run (a cluster or a build), locked for as long as anything of that run is alive."""

    directory: pathlib.Path
    lock: int

    @classmethod
    def create(cls, cache: Cache, kind: str) -> Instance:
        directory = cache.instances / f"{kind}-{secrets.token_hex(4)}"
        directory.mkdir(parents=True, mode=0o755)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return cls(directory, lock)

    def close(self) -> None:
        os.close(self.lock)


def is_locked(directory: pathlib.Path) -> bool:
    try:
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return directory.exists() and time.time() - directory.stat().st_mtime < NEWBORN_SECONDS
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def instances(cache: Cache) -> list[pathlib.Path]:
    """Every instance directory, the newest last."""
    if not cache.instances.is_dir():
        return []
    return sorted((p for p in cache.instances.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
