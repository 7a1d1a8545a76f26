"""The operator's and the evaluator's images: dependencies as locked, and above them the wheel of this repository.

With THROUGHLINE_BEFORE, the folder of another build's sources, that build's images are there too, for the test of an
upgrade: `operator-before` and `evaluator-before`, on the dependencies of this one.
"""

from __future__ import annotations

import inspect
import json
import os
import pathlib
import shutil
import tomllib
from typing import TYPE_CHECKING, Any

from . import pip
from .cache import REPOSITORY, digest, digest_tree
from .errors import ClusterError, SourceChangedError
from .layers import Building, Layer
from .oci import Image

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = REPOSITORY / "pyproject.toml"
LOCK = REPOSITORY / "uv.lock"
SOURCE = REPOSITORY / "operator" / "src"
BEFORE_VARIABLE = "THROUGHLINE_BEFORE"
EXTRAS = ("evaluator", "stores")  # of the evaluator's image


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads(PROJECT.read_text())["project"]
    return project


def before() -> pathlib.Path | None:
    """The sources of the build to upgrade from; None unless they are given."""
    given = os.environ.get(BEFORE_VARIABLE)
    return pathlib.Path(given).resolve() if given else None


def _copy_project(repository: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """What the wheel is built from, still while others edit it."""
    target.mkdir()
    described = [file for pattern in ("README*", "LICENSE*") for file in repository.glob(pattern)]
    for file in (repository / PROJECT.name, *described):
        shutil.copy(file, target)
    source, to = repository / SOURCE.relative_to(REPOSITORY), target / "operator" / "src"
    shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def _code(name: str, base: Layer, repository: pathlib.Path, site: str) -> Layer:
    """The wheel of that repository, above what it depends on."""
    source = digest_tree(repository / "operator" / "src", repository / PROJECT.name)

    def fill(building: Building) -> None:
        project = _copy_project(repository, building.work / "project")
        if digest_tree(project / "operator" / "src", project / PROJECT.name) != source:
            raise SourceChangedError("the operator's sources changed while its image was built")
        wheels = building.work / "wheels"
        pip.uv(building.cache, building.work, "build", "--quiet", "--wheel", "--out-dir", wheels, project)
        (wheel,) = wheels.glob("*.whl")
        pip.install(building.root / site, pip.BOOKWORM, str(wheel))
        building.compile_python(f"/{site}/throughline")

    return Layer(name, digest(inspect.getsource(_code), source), fill, base)


def _runnable(suffix: str, operator: Layer, evaluator: Layer, path: str) -> dict[str, Image]:
    return {
        f"evaluator{suffix}": Image(
            f"evaluator{suffix}",
            evaluator.chain(),
            user="65532",
            entrypoint=["python3", "-m", "throughline.evaluator.cli"],
            # The root is read-only: what is temporary, and matplotlib's cache of fonts, go where the results go.
            environment=[
                *(path, "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"),
                *("HOME=/work", "TMPDIR=/work", "MPLCONFIGDIR=/work/.matplotlib"),
            ],
        ),
        f"operator{suffix}": Image(
            f"operator{suffix}",
            operator.chain(),
            user="65532",
            entrypoint=["python3", "-m", "throughline"],
            command=["run"],
            environment=[path, "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"],
        ),
    }


def images(base: Layer, site: str, path: str) -> Mapping[str, Image]:
    """Nothing, as long as the repository has no operator."""
    if not (PROJECT.exists() and SOURCE.exists()):
        return {}

    def fill_dependencies(building: Building, *extras: str) -> None:
        requirements = building.work / "requirements.txt"
        if not LOCK.exists():
            raise ClusterError(f"{LOCK.name} is missing: run `uv lock`")
        locked = building.work / "locked"
        locked.mkdir()
        for file in (PROJECT, LOCK):
            shutil.copy(file, locked)
        chosen = [f"--extra={extra}" for extra in extras]
        export = ("export", "--frozen", "--no-dev", *chosen, "--no-emit-project", "--quiet", "--project", locked)
        requirements.write_text(pip.uv(building.cache, building.work, *export))
        pip.install(building.root / site, pip.BOOKWORM, "--requirement", str(requirements))
        shutil.rmtree(building.root / site / "bin", ignore_errors=True)
        building.compile_python(f"/{site}")

    def fill_evaluator_dependencies(building: Building) -> None:
        fill_dependencies(building, *EXTRAS)
        for tests in [p for p in (building.root / site).rglob("tests") if p.is_dir()]:
            shutil.rmtree(tests)

    # Development dependencies are in the lock too: a change of those alone rebuilds a layer for nothing, but rarely.
    project = _project()
    wanted = json.dumps(project.get("dependencies", []))
    extra = json.dumps([project.get("optional-dependencies", {}).get(name, []) for name in EXTRAS])
    lock = LOCK.read_bytes() if LOCK.exists() else b""
    dependencies = Layer(
        "operator-dependencies", digest(inspect.getsource(fill_dependencies), wanted, lock), fill_dependencies, base
    )
    made = inspect.getsource(fill_dependencies) + inspect.getsource(fill_evaluator_dependencies)
    evaluator_dependencies = Layer(
        "evaluator-dependencies", digest(made, wanted, extra, lock), fill_evaluator_dependencies, base
    )
    made_of = {"": REPOSITORY, **({"-before": earlier} if (earlier := before()) else {})}
    runnable: dict[str, Image] = {}
    for suffix, repository in made_of.items():
        operator = _code(f"operator{suffix}", dependencies, repository, site)
        evaluator = _code(f"evaluator{suffix}", evaluator_dependencies, repository, site)
        runnable |= _runnable(suffix, operator, evaluator, path)
    return {
        # An image of its own, never run: it carries the dependencies into the store that a change of code builds upon.
        "operator-dependencies": Image(
            "operator-dependencies", dependencies.chain(), user="65532", entrypoint=["/bin/false"]
        ),
        "evaluator-dependencies": Image(
            "evaluator-dependencies", evaluator_dependencies.chain(), user="65532", entrypoint=["/bin/false"]
        ),
        **runnable,
    }
