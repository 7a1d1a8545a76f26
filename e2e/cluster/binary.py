"""The one Go binary with every Kubernetes component, and the pod pause binary beside it."""

from __future__ import annotations

import os
import pathlib
import subprocess

from .cache import Cache, digest, digest_tree

SOURCE = pathlib.Path(__file__).parent / "kube"
VERSION = "1.36.3"


def _flags() -> list[str]:
    # Kubernetes components refuse to start without a version, and compare it with each other's.
    package = "k8s.io/component-base/version"
    major, minor, _ = VERSION.split(".")
    values = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor}
    return ["-trimpath", "-ldflags", " ".join(["-s", "-w", *(f"-X {package}.{k}={v}" for k, v in values.items())])]


def path(cache: Cache) -> pathlib.Path:
    return cache.binaries / digest(VERSION, digest_tree(SOURCE))


def kube(cache: Cache) -> pathlib.Path:
    return path(cache) / "kube"


def pause(cache: Cache) -> pathlib.Path:
    return path(cache) / "pause"


def build(cache: Cache, work: pathlib.Path) -> None:
    target = path(cache)
    if target.exists():
        return
    part = work / "binaries"
    part.mkdir()
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
    for name, package in (("kube", "."), ("pause", "./pause")):
        subprocess.run(["go", "build", *_flags(), "-o", part / name, package], cwd=SOURCE, env=environment, check=True)
    cache.binaries.mkdir(parents=True, exist_ok=True)
    part.rename(target)
