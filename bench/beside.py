"""Another build of the product on the same cases: its decision core, under this tree's simulator.

A process of its own imports the other build's `throughline`, so that two cores never meet in one interpreter. Of the
simulator it takes this tree's, so that both are measured by the same clock and the same traffic, even a kind that the
other build does not know; only the two modules that show a world to the core (`_VIEWS`) are the other build's.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from throughline.api.batching import BatchSettings
    from throughline.simulate.autopilot import Autopilot
    from throughline.simulate.run import Case

PACKAGE = "throughline"
SIMULATOR = f"{PACKAGE}.simulate"
# Where builds have the class of the batch settings; older ones in the second.
_SETTINGS = ("api.batching", "api.inferenceservice")
_VIEWS = (f"{SIMULATOR}.autopilot", f"{SIMULATOR}.look")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What another build made of a case: cost, and the share of its requests that was late or lost."""

    cost: float
    violations: float


class NoBuildError(Exception):
    """There is no build of the product to run."""


class BuildFailedError(Exception):
    """The other build did not run a case; with its last words."""


@contextmanager
def unpacked(wheel: Path) -> Iterator[Path]:
    """The folder of a wheel's packages, for as long as the context. Raises NoBuildError for no wheel of the product."""
    with tempfile.TemporaryDirectory(prefix="beside-") as folder:
        try:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
        except (OSError, zipfile.BadZipFile) as error:
            raise NoBuildError(f"{wheel}: no wheel that can be read: {error}") from error
        yield checked(Path(folder))


def checked(folder: Path) -> Path:
    """The folder. Raises NoBuildError where it holds no build of the product with a simulator."""
    if not (folder / PACKAGE / "simulate" / "autopilot.py").is_file():
        raise NoBuildError(f"{folder}: holds no {PACKAGE}/simulate; give the folder above {PACKAGE}/, or a wheel")
    return folder.resolve()


def run_build(folder: Path, case: Case, pilot: Autopilot, settings: BatchSettings, replicas: int) -> Outcome:
    """What `run_autopilot` is for this tree's product, for the build in `folder`: same case, spec and start.

    Raises:
        BuildFailedError: it ended with an error.
    """
    given = {
        "case": case,
        # As a user writes them: a default is the build's own.
        "spec": pilot.spec.model_dump(mode="json", by_alias=True, exclude_unset=True),
        "pool": pilot.pool.model_dump(mode="json", by_alias=True, exclude_unset=True),
        "settings": settings.model_dump(mode="json", by_alias=True),
        "replicas": replicas,
    }
    mine = importlib.import_module(SIMULATOR).__file__
    assert mine is not None
    done = subprocess.run(
        [sys.executable, __file__, str(folder), str(Path(mine).parent)],
        input=pickle.dumps(given), capture_output=True, check=False, env={**os.environ, "PYTHONPATH": str(folder)},
    )  # fmt: skip
    if done.returncode != 0:
        raise BuildFailedError(f"{folder} on {case.traffic.name}: {done.stderr.decode().strip()[-2000:]}")
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


class _Overlay(MetaPathFinder):
    """This tree's simulator in the other build's package; what this tree lacks, and the views, are the build's."""

    def __init__(self, build: Path, simulator: Path) -> None:
        self.theirs, self.ours = build / PACKAGE / "simulate", simulator

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname == SIMULATOR:
            places = [str(self.ours), str(self.theirs)]
            return spec_from_file_location(fullname, self.ours / "__init__.py", submodule_search_locations=places)
        if fullname in _VIEWS:
            return spec_from_file_location(fullname, self.theirs / f"{fullname.rpartition('.')[2]}.py")
        return None


def _answer(build: Path, simulator: Path) -> dict[str, float]:
    """In the process of the other build: the case from stdin, run."""
    sys.meta_path.insert(0, _Overlay(build, simulator))

    def of(module: str) -> Any:
        return importlib.import_module(f"{PACKAGE}.{module}")

    found = Path(of("domain").__file__).resolve()
    if build not in found.parents:
        raise ImportError(f"{PACKAGE} came from {found}, not from {build}")
    given = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - from the process that started this one
    spec = of("api.inferenceservice").InferenceServiceSpec.model_validate(given["spec"])
    pool = of("api.servingpool").ServingPoolSpec.model_validate(given["pool"])
    home = next(m for m in _SETTINGS if (build / PACKAGE / f"{m.replace('.', '/')}.py").is_file())
    settings = of(home).BatchSettings.model_validate(given["settings"])
    pilot = of("simulate.autopilot").Autopilot(spec, pool)
    result = of("simulate.run").run_autopilot(given["case"], pilot, settings, replicas=given["replicas"])
    return {"cost": result.cost, "violations": result.violations}


if __name__ == "__main__":
    print(json.dumps(_answer(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))))
