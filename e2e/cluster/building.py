"""Build whatever the cluster needs and the cache lacks. Runs confined (confined.py): ends with its caller, leaves nothing."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time

from . import binary, built, layers, recipes, store
from .built import Built
from .cache import Cache, instances
from .confined import read_arguments
from .errors import ClusterError, SourceChangedError
from .layers import Layers
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .oci import Image
    from collections.abc import Callable

# The sources may change while they are built; so often we begin again.
ATTEMPTS = 3


def build(cache: Cache, work: pathlib.Path, report: Callable[[str], object]) -> Built:
    work.mkdir()
    wanted, images = Built.wanted(cache), recipes.images(cache)
    if wanted.images != {name: image.reference for name, image in images.items()}:
        raise SourceChangedError("the sources changed while they were hashed")
    builder = Layers(cache, work, report)

    def build_binary() -> None:
        if not binary.path(cache).exists():
            report("Kubernetes binary: compiling (about five minutes on two cores, once)")
            binary.build(cache, work)
            report("Kubernetes binary: done")

    with concurrent.futures.ThreadPoolExecutor() as pool:
        compiled = pool.submit(build_binary)

        def build_image(name: str) -> None:
            if name == "pause":
                compiled.result()
            for layer in images[name].layers:
                builder.ensure(layer)

        jobs = [compiled, *(pool.submit(build_image, name) for name in images)]
        for job in concurrent.futures.as_completed(jobs):
            if job.exception():
                # Ends this process, and with it the kernel ends what the other jobs still run.
                raise job.exception() or ClusterError("a build job failed")
    if not wanted.exists():
        report("images: unpacking")
    below: list[Image] = []
    for tier in recipes.TIERS:
        upon, below = below, [*below, *(images[name] for name in tier if name in images)]
        store.build(cache, below, work / f"store-{tier[0]}", upon)
    layers.prune(cache, [layer for image in images.values() for layer in image.layers])
    records = [directory / built.FILE for directory in instances(cache)]
    running = [pathlib.Path(Built.from_json(record.read_text()).store) for record in records if record.exists()]
    store.prune(cache, [pathlib.Path(wanted.store), *running])
    report("everything is built")
    return wanted


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
    except (ClusterError, SourceChangedError, OSError, ValueError) as error:
        channel.send(error=f"{type(error).__name__}: {error}")
    else:
        channel.send(done=done.to_json())
    sys.stdout.flush()
    # Threads may still wait for children that are to be ended with us.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
