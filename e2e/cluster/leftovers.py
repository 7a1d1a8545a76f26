"""Remove every trace of an instance from the host: processes, mounts, cgroups, its directory."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from .cache import INSTANCE_VARIABLE, Cache, instances, is_locked

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUPS = pathlib.Path("/sys/fs/cgroup")
PATIENCE_SECONDS = 10.0


def cgroup_name(instance: pathlib.Path) -> str:
    return f"throughline-{instance.name}"


def cgroups_of(instance: pathlib.Path) -> list[pathlib.Path]:
    """The instance's cgroup in every hierarchy: one on cgroup v2, one per controller on v1."""
    return [*CGROUPS.glob(cgroup_name(instance)), *CGROUPS.glob(f"*/{cgroup_name(instance)}")]


def processes_of(instance: pathlib.Path) -> Iterator[int]:
    marker = f"{INSTANCE_VARIABLE}={instance.name}".encode()
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue  # ended while we looked, or a kernel thread
        if marker in environment.split(b"\0"):
            yield int(entry.name)


def remove(instance: pathlib.Path) -> None:
    """Safe to call again, and on an instance that was killed halfway through anything."""
    _end_processes(instance)
    _unmount_below(instance)
    for top in cgroups_of(instance):
        _remove_cgroup(top)
    if instance.exists():
        shutil.rmtree(instance)


def sweep(cache: Cache) -> list[str]:
    """Remove what instances left whose every process was killed; the names of those."""
    stale = [directory for directory in instances(cache) if not is_locked(directory)]
    for directory in stale:
        remove(directory)
    return [directory.name for directory in stale]


def _end_processes(instance: pathlib.Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while pids := list(processes_of(instance)):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {pids} of {instance.name} do not end")
        time.sleep(0.05)


def _unmount_below(instance: pathlib.Path) -> None:
    # All mounts are made in private namespaces; this is for a host where that once was not so.
    points = [line.split()[1] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    for point in sorted((p for p in points if pathlib.Path(p).is_relative_to(instance)), key=len, reverse=True):
        subprocess.run(["umount", "--lazy", point], check=True)


def _remove_cgroup(top: pathlib.Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    for group in sorted([top, *(p for p in top.rglob("*") if p.is_dir())], key=lambda p: -len(p.parts)):
        while group.exists():
            try:
                group.rmdir()
            except OSError:
                # The kernel empties a cgroup a moment after its last process has ended.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
