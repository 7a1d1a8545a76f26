"""Python packages for an image, whatever Python and C library the machine that builds it has."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from .errors import PrerequisiteMissing

if TYPE_CHECKING:
    import pathlib

    from .cache import Cache

# Oldest C library that wheels still name, as (2, minor).
OLDEST_GLIBC_MINOR = 5
UV = "uv==0.9.8"


@dataclasses.dataclass(frozen=True)
class Target:
    python: str
    glibc_minor: int

    def arguments(self) -> list[str]:
        # pip takes a platform literally: the older ones, and their names before 2020, must be listed too.
        platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(self.glibc_minor, OLDEST_GLIBC_MINOR - 1, -1)]
        platforms += [f"manylinux{year}_x86_64" for year in ("2014", "2010", "1")]
        listed = [argument for platform in platforms for argument in ("--platform", platform)]
        return ["--only-binary=:all:", "--implementation=cp", f"--python-version={self.python}", *listed]


BOOKWORM = Target(python="3.11", glibc_minor=36)
TRIXIE = Target(python="3.13", glibc_minor=41)


@functools.cache
def interpreter() -> str | None:
    """A Python that has pip: this one, or the one that a virtual environment without it was made from."""
    for python in (sys.executable, f"{sys.base_prefix}/bin/python3", "/usr/bin/python3"):
        has_pip = [python, "-m", "pip", "--version"]
        if shutil.which(python) and subprocess.run(has_pip, capture_output=True, check=False).returncode == 0:
            return python
    return None


def _pip(*arguments: str | pathlib.Path) -> None:
    python = interpreter()
    if python is None:
        raise PrerequisiteMissing("install what is missing: apt-get install --yes python3-pip")
    quiet = ("-q", "--disable-pip-version-check", "--root-user-action=ignore")
    subprocess.run([python, "-m", "pip", "install", *quiet, *arguments], check=True)


def install(destination: pathlib.Path, target: Target, *requirements: str) -> None:
    """Put packages, and not what they depend on, into a directory."""
    _pip("--no-deps", "--no-compile", "--target", destination, *target.arguments(), *requirements)


def uv(cache: Cache, work: pathlib.Path, *arguments: str | pathlib.Path) -> str:
    """Run uv, fetched into the cache for the purpose: a machine need not have it."""
    tools = cache.root / "tools" / UV
    if not tools.exists():
        part = work / UV
        _pip("--target", part, UV)
        tools.parent.mkdir(exist_ok=True)
        # Another layer may have fetched it meanwhile: either will do.
        if not tools.exists():
            part.rename(tools)
    # The interpreter of this machine builds and resolves; none is to be downloaded.
    environment = {**os.environ, "UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
    return subprocess.run(
        [tools / "bin" / "uv", *arguments], check=True, text=True, stdout=subprocess.PIPE, env=environment
    ).stdout
