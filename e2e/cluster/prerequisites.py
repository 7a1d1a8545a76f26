"""What the machine must have, and the one line that says what to install."""

from __future__ import annotations

import os
import pathlib
import platform
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from . import pip
from .built import Built
from .errors import PrerequisiteMissing

if TYPE_CHECKING:
    from .cache import Cache

# Program → Debian package
RUNNING = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "nft": "nftables",
    "openssl": "openssl",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
}
BUILDING = {"debootstrap": "debootstrap", "tar": "tar", "chroot": "coreutils"}
PLUGINS = {
    "ptp": "containernetworking-plugins",
    "host-local": "containernetworking-plugins",
    "loopback": "containernetworking-plugins",
}
PLUGIN_FOLDER = pathlib.Path("/usr/lib/cni")
GO_MINIMUM = (1, 26)
BUILD_BYTES, RUN_BYTES = 14 * 2**30, 2 * 2**30
MORE_PROGRAMS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/go/bin")
# A node's processes see its own folders in place of these.
HIDDEN_IN_NODES = ("/run", "/var/run", "/var/lib", "/var/log")


def check(cache: Cache) -> None:
    """Raise PrerequisiteMissing for the first thing that is not there."""
    # A root shell may lack the folders of root's programs, and Go's archive sets no path.
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), *MORE_PROGRAMS])
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise PrerequisiteMissing(
            "the cluster runs on 64-bit x86 Linux only; set KUBECONFIG to use a cluster of your own"
        )
    if os.geteuid() != 0:
        raise PrerequisiteMissing(
            "run as root (namespaces and cgroups need it), or set KUBECONFIG to use a cluster of your own"
        )
    to_build = not Built.wanted(cache).exists()
    _check_packages(to_build)
    if to_build:
        _check_go()
    for folder in HIDDEN_IN_NODES:
        if cache.root.is_relative_to(folder):
            raise PrerequisiteMissing(f"the cache cannot be below {folder}: set THROUGHLINE_CACHE to another directory")
    _check_disk(cache, BUILD_BYTES if to_build else RUN_BYTES)
    _check_overlays(cache)


def _check_packages(to_build: bool) -> None:
    wanted = {**RUNNING, **(BUILDING if to_build else {})}
    missing = {package for program, package in wanted.items() if shutil.which(program) is None}
    missing |= {package for plugin, package in PLUGINS.items() if not (PLUGIN_FOLDER / plugin).exists()}
    if to_build and pip.interpreter() is None:
        missing.add("python3-pip")
    if missing:
        raise PrerequisiteMissing(f"install what is missing: apt-get install --yes {' '.join(sorted(missing))}")


def _check_go() -> None:
    wanted = ".".join(map(str, GO_MINIMUM))
    if shutil.which("go") is None:
        raise PrerequisiteMissing(f"install Go {wanted} or newer (https://go.dev/dl) and put it on the PATH")
    # Not in the repository: a go.mod there could name a toolchain to download.
    words = subprocess.run(
        ["go", "env", "GOVERSION"], cwd="/", capture_output=True, text=True, check=True
    ).stdout.strip()
    found = tuple(int(part) for part in words.removeprefix("go").split("-")[0].split(".")[:2] if part.isdigit())
    if found < GO_MINIMUM:
        raise PrerequisiteMissing(f"install Go {wanted} or newer (https://go.dev/dl): {words} is too old")


def _check_disk(cache: Cache, needed: int) -> None:
    cache.root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache.root).free
    if free < needed:
        gib = 2**30
        has = f"{cache.root} has {free / gib:.1f} GiB free and needs {needed / gib:.0f}"
        raise PrerequisiteMissing(f"{has}: set THROUGHLINE_CACHE to a directory on a larger disk")


def _check_overlays(cache: Cache) -> None:
    """Namespaces and overlay mounts are both refused on some container hosts."""
    trial = cache.root / f"trial-{os.getpid()}"
    try:
        for part in ("lower", "upper", "work", "merged"):
            (trial / part).mkdir(parents=True)
        options = f"lowerdir={trial}/lower,upperdir={trial}/upper,workdir={trial}/work"
        mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(trial / "merged")]
        spaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--propagation", "private"]
        result = subprocess.run([*spaces, *mount], capture_output=True, text=True, check=False)
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    if result.returncode != 0:
        raise PrerequisiteMissing(
            f"{cache.root} cannot hold overlay mounts ({result.stderr.strip()}): "
            "set THROUGHLINE_CACHE to a directory on ext4 or xfs, on a machine that allows new namespaces"
        )


def describe() -> str:
    return f"Python {platform.python_version()} at {sys.executable}, kernel {platform.release()}"
