"""containerd's data with all images unpacked, made once and given to every node in a fraction of a second.

A store is containerd's own root directory. A node gets a copy in which only the two small databases are copied: the
snapshots of image layers are links to the store's (nothing writes below an overlay), the blobs are hard links.
The store with a changed operator builds upon the store of all other images in the same way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from . import containerd
from .cache import Cache, digest
from .errors import ClusterError
from .oci import Image, write_archive

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

DATABASES = ("io.containerd.metadata.v1.bolt/meta.db", "io.containerd.snapshotter.v1.overlayfs/metadata.db")
SNAPSHOTS = "io.containerd.snapshotter.v1.overlayfs/snapshots"
BLOBS = "io.containerd.content.v1.content/blobs/sha256"
FORMAT = "1"
START_SECONDS = 30.0
# Stores of this many changes of the operator are kept, for going back and for instances that still run.
KEPT = 6


def path(cache: Cache, images: Sequence[Image]) -> pathlib.Path:
    return cache.stores / digest(FORMAT, *sorted(image.reference for image in images))


def clone(store: pathlib.Path, target: pathlib.Path) -> None:
    """A containerd root of one's own with everything the store has."""
    for database in DATABASES:
        (target / database).parent.mkdir(parents=True)
        shutil.copyfile(store / database, target / database)
    (target / SNAPSHOTS).mkdir()
    for snapshot in (store / SNAPSHOTS).iterdir():
        # A store built upon another holds links itself: resolve, so that no chain of links forms.
        (target / SNAPSHOTS / snapshot.name).symlink_to(snapshot.resolve())
    (target / BLOBS).mkdir(parents=True)
    for blob in (store / BLOBS).iterdir():
        os.link(blob, target / BLOBS / blob.name)


def build(cache: Cache, images: Sequence[Image], work: pathlib.Path, upon: Sequence[Image] = ()) -> None:
    """Make the store of `images`, of which those in `upon` are taken from their store."""
    target = path(cache, images)
    if target.exists():
        return
    work.mkdir()
    root = work / "var/lib/containerd"
    if upon:
        clone(path(cache, upon), root)
    known = {image.reference for image in upon}
    log = work / "containerd.log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(containerd.command(work, "unused"), stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not containerd.is_up(daemon.pid):
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise ClusterError(f"containerd does not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        importer = subprocess.Popen(containerd.imported(daemon.pid), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert importer.stdin is not None
        present = [f"sha256:{blob.name}" for blob in (root / BLOBS).glob("*")]
        write_archive(cache, [image for image in images if image.reference not in known], importer.stdin, present)
        importer.stdin.close()
        if importer.wait() != 0:
            raise ClusterError(f"images cannot be imported: {log.read_text()[-2000:]}")
    finally:
        # An orderly end closes the databases.
        daemon.terminate()
        daemon.wait()
    cache.stores.mkdir(parents=True, exist_ok=True)
    root.rename(target)


def prune(cache: Cache, in_use: Sequence[pathlib.Path]) -> None:
    """Remove the oldest stores but for those an instance runs from, and those that kept ones link to."""
    stores = sorted(cache.stores.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)
    kept = [*stores[:KEPT], *in_use]
    linked = {snapshot.resolve().parents[2] for store in kept for snapshot in (store / SNAPSHOTS).iterdir()}
    for store in stores:
        if store not in kept and store not in linked:
            shutil.rmtree(store)
