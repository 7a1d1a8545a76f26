"""Image layers: each a tar in the cache, named by the hash of what it was built from."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING

from .cache import Cache, digest
from .errors import ClusterError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterable, Iterator

# Raised when the way layers are packed changes, so that none packed the old way is used.
FORMAT = "1"
# Versions of a layer that are kept, for going back and forth between changes.
KEPT = 3


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer fills its own tree; it may run programs of its base by laying that tree over the base's."""

    name: str
    inputs: str
    fill: Callable[[Building], None]
    base: Layer | None = None

    @property
    def key(self) -> str:
        return digest(FORMAT, self.name, self.inputs, self.base.key if self.base else "")

    def directory(self, cache: Cache) -> pathlib.Path:
        return cache.layers / f"{self.name}-{self.key}"

    def chain(self) -> list[Layer]:
        return [*(self.base.chain() if self.base else []), self]


@dataclasses.dataclass(frozen=True)
class Building:
    """What a layer's fill function works with."""

    cache: Cache
    layer: Layer
    work: pathlib.Path
    root: pathlib.Path

    def run(self, *argv: str | pathlib.Path, cwd: pathlib.Path | None = None) -> None:
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, cwd=cwd)

    @contextlib.contextmanager
    def over_base(self, upper: pathlib.Path) -> Iterator[pathlib.Path]:
        """A whole root file system: the distribution's, with changes going to `upper`."""
        lower = self.layer.chain()[0].directory(self.cache) / "root"
        merged, scratch = self.work / f"{upper.name}-merged", self.work / f"{upper.name}-scratch"
        merged.mkdir()
        scratch.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={scratch}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, merged], check=True)
        try:
            yield merged
        finally:
            subprocess.run(["umount", merged], check=True)

    def compile_python(self, *folders: str) -> None:
        """Byte code written now makes every start faster; pods cannot write it, their root is read-only.

        It is valid whatever the source's time (a layer resets those) and made by the Python that will read it.
        """
        compileall = ("python3", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash")
        with self.over_base(self.root) as merged:
            result = subprocess.run(
                ["chroot", merged, *compileall, *folders], check=False, capture_output=True, text=True
            )
        # 1 says that some source cannot be compiled (a template, another Python's syntax): no failure here.
        if result.returncode not in (0, 1):
            raise ClusterError(f"layer {self.layer.name}: byte code cannot be compiled: {result.stderr.strip()}")


class Layers:
    """Builds layers at most once each, side by side where they do not depend on each other."""

    def __init__(self, cache: Cache, work: pathlib.Path, progress: Callable[[str], object]) -> None:
        self._cache, self._work, self._progress = cache, work, progress
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def ensure(self, layer: Layer) -> None:
        if layer.base:
            self.ensure(layer.base)
        with self._guard:
            lock = self._locks.setdefault(layer.key, threading.Lock())
        with lock:
            target = layer.directory(self._cache)
            if target.exists():
                return
            self._progress(f"layer {layer.name}: building")
            work = self._work / layer.name
            part, root = work / "part", work / "part" / "root"
            root.mkdir(parents=True)
            layer.fill(Building(self._cache, layer, work, root))
            pack(root, part / "layer.tar")
            (part / "descriptor.json").write_text(json.dumps(describe(part / "layer.tar")))
            if layer.base:
                # Only a distribution's own tree is used again (over_base).
                shutil.rmtree(root)
            self._cache.layers.mkdir(parents=True, exist_ok=True)
            part.rename(target)
            self._progress(f"layer {layer.name}: done")


def prune(cache: Cache, wanted: Iterable[Layer]) -> None:
    """Remove all but the newest few versions of each layer."""
    versions: dict[str, list[pathlib.Path]] = {}
    for directory in sorted(cache.layers.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True):
        versions.setdefault(directory.name.rpartition("-")[0], []).append(directory)
    kept = {layer.directory(cache) for layer in wanted}
    for old in (directory for directories in versions.values() for directory in directories[KEPT:]):
        if old not in kept:
            shutil.rmtree(old)


def pack(root: pathlib.Path, tar: pathlib.Path) -> None:
    # The same tree gives the same bytes, whoever built it and when.
    fixed = ("--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0")
    subprocess.run(["tar", *fixed, "-C", root, "-cf", tar, "."], check=True)


def describe(tar: pathlib.Path) -> dict[str, str | int]:
    with tar.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": f"sha256:{checksum}",
        "size": tar.stat().st_size,
    }
