"""Build whatever the cluster needs and the cache lacks; run confined (confined.py), so that it ends with its caller."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from . import binary, built, layers, recipes, store
from .built import Built
from .cache import Cache, instances
from .confined import read_arguments
from .errors import SourceChangedError
from .layers import Layers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .oci import Image

# The sources may change while they are built; so often we begin again.
ATTEMPTS = 3


def build(cache: Cache, work: pathlib.Path, report: Callable[[str], object]) -> Built:
    work.mkdir()
    wanted, images = Built.wanted(cache), recipes.images(cache)
    if wanted.images != {name: image.reference for name, image in images.items()}:
        raise SourceChangedError("the sources changed while they were hashed")
    build_parts(cache, work, images, report)
    unpack(cache, work, images, report)
    prune(cache, wanted, images)
    report("everything is built")
    return wanted


def build_parts(cache: Cache, work: pathlib.Path, images: Mapping[str, Image], report: Callable[[str], object]) -> None:
    """The binaries and all layers, side by side."""
    builder = Layers(cache, work, report)
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=2 * len(images))
    compiled = {
        module: pool.submit(binary.build, cache, module, work, report)
        for module in dict.fromkeys(recipes.COMPILED.values())
    }

    def build_image(name: str) -> None:
        if name in recipes.COMPILED:
            compiled[recipes.COMPILED[name]].result()
        for layer in images[name].layers:
            builder.ensure(layer)

    jobs = [*compiled.values(), *(pool.submit(build_image, name) for name in images)]
    changed: SourceChangedError | None = None
    for job in concurrent.futures.as_completed(jobs):
        try:
            # Any other failure ends this process, and with it the kernel ends what the other jobs still run.
            job.result()
        except SourceChangedError as error:
            # The other jobs are not concerned: what they build is there for the next attempt.
            changed = error
    pool.shutdown()
    if changed is not None:
        raise changed


def unpack(cache: Cache, work: pathlib.Path, images: Mapping[str, Image], report: Callable[[str], object]) -> None:
    below: list[Image] = []
    for tier in recipes.TIERS:
        upon, below = below, [*below, *(images[name] for name in tier if name in images)]
        if not store.path(cache, below).exists():
            report(f"images: unpacking {', '.join(tier)}")
        store.build(cache, below, work / f"store-{tier[0]}", upon)


def prune(cache: Cache, wanted: Built, images: Mapping[str, Image]) -> None:
    """Remove old versions, but for what a running cluster uses."""
    layers.prune(cache, [layer for image in images.values() for layer in image.layers])
    records = [directory / built.FILE for directory in instances(cache)]
    running = [pathlib.Path(Built.from_json(record.read_text()).store) for record in records if record.exists()]
    store.prune(cache, [pathlib.Path(wanted.store), *running])


def build_settled(cache: Cache, work: pathlib.Path, progress: Callable[[str], object]) -> Built:
    started = time.monotonic()

    def report(text: str) -> None:
        progress(f"[{time.monotonic() - started:5.1f} s] {text}")

    for attempt in range(1, ATTEMPTS):
        try:
            return build(cache, work / f"attempt-{attempt}", report)
        except SourceChangedError as error:
            report(f"{error}: beginning again")
    return build(cache, work / f"attempt-{ATTEMPTS}", report)


def main(argv: list[str]) -> None:
    cache, directory, channel, _ = read_arguments(argv)
    try:
        with cache.locked("build"):
            done = build_settled(cache, directory, lambda text: channel.send(progress=text))
    except subprocess.CalledProcessError as error:
        log = (directory / "sandbox.log").read_text(errors="replace")[-2000:]
        channel.send(error=f"{' '.join(map(str, error.cmd))} failed: {log}")
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller must hear of it: we end without a traceback
        channel.send(error=f"{type(error).__name__}: {error}")
    else:
        channel.send(done=done.to_json())
    sys.stdout.flush()
    # Threads may still wait for children that are to be ended with us.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
