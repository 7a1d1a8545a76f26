"""The Go programs: one binary with every Kubernetes component, Prometheus, and an S3 store."""

from __future__ import annotations

import os
import pathlib
import subprocess
import time
from typing import TYPE_CHECKING

from .cache import Cache, digest, digest_tree

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = pathlib.Path(__file__).parent
VERSION = "1.36.3"


def _kubernetes_flags() -> str:
    # Kubernetes components refuse to start without a version, and compare it with each other's.
    package = "k8s.io/component-base/version"
    major, minor, _ = VERSION.split(".")
    values = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor}
    return " ".join(["-s", "-w", *(f"-X {package}.{name}={value}" for name, value in values.items())])


# Module directory → program → what to build. Debian's Prometheus lacks Kubernetes service discovery; ours has no other.
SOURCES = {
    "kube": {
        "kube": ["-ldflags", _kubernetes_flags(), "."],
        "pause": ["-ldflags", "-s -w", "./pause"],
    },
    "prometheus": {
        "prometheus": [
            *("-ldflags", "-s -w", "-tags", "remove_all_sd,enable_kubernetes_sd,netgo"),
            "github.com/prometheus/prometheus/cmd/prometheus",
        ],
    },
    # In no image: the test that needs a store builds it.
    "s3": {"versitygw": ["-ldflags", "-s -w", "github.com/versity/versitygw/cmd/versitygw"]},
}


def directory(cache: Cache, module: str) -> pathlib.Path:
    inputs = [argument for arguments in SOURCES[module].values() for argument in arguments]
    return cache.binaries / f"{module}-{digest(digest_tree(HERE / module), *inputs)}"


def path(cache: Cache, module: str, program: str) -> pathlib.Path:
    return directory(cache, module) / program


def build(cache: Cache, module: str, work: pathlib.Path, report: Callable[[str], object]) -> None:
    target = directory(cache, module)
    if target.exists():
        return
    report(f"{', '.join(SOURCES[module])}: compiling (minutes, once)")
    started = time.monotonic()
    part = work / f"binaries-{module}"
    part.mkdir()
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
    for program, arguments in SOURCES[module].items():
        command = ["go", "build", "-trimpath", "-o", str(part / program), *arguments]
        subprocess.run(command, cwd=HERE / module, env=environment, check=True)
    cache.binaries.mkdir(parents=True, exist_ok=True)
    part.rename(target)
    report(f"{', '.join(SOURCES[module])}: compiled in {time.monotonic() - started:.0f} s")
