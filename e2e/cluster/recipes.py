"""The images: what goes into each layer, and how a container of it starts."""

from __future__ import annotations

import inspect
import os
import pathlib
import shutil
from typing import TYPE_CHECKING

from . import binary, operator_image, pip
from .cache import Cache, digest, digest_tree
from .layers import Building, Layer
from .oci import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ASSETS = pathlib.Path(__file__).parent / "images"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SITE = "usr/local/lib/python3.11/dist-packages"
# What a container never reads, and what Python's own tests take.
STRIPPED = (
    *(
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "usr/share/info",
        "usr/share/lintian",
        "usr/share/zoneinfo",
    ),
    *("var/cache/apt", "var/lib/apt/lists", "var/log"),
)
TRITON_PACKAGES = (
    *("nvidia-pytriton==0.7.0", "numpy==1.26.4", "onnxruntime==1.32.0"),
    *("flatbuffers==25.12.19", "protobuf==7.36.2", "packaging==26.3"),
)
PERF_PACKAGES = ("perf-analyzer==2.60.0",)
BOOKWORM_PACKAGES = ("python3", "libpython3.11", "ca-certificates")
TRIXIE_PACKAGES = ("libssl3t64", "libstdc++6", "zlib1g", "ca-certificates")


def _inputs(fill: Callable[[Building], None], *values: str) -> str:
    """A layer is built anew when its own recipe or anything it names changes."""
    return digest(inspect.getsource(fill), *values)


def _debootstrap(building: Building, suite: str, packages: tuple[str, ...]) -> None:
    mirror = [os.environ["THROUGHLINE_DEBIAN_MIRROR"]] if "THROUGHLINE_DEBIAN_MIRROR" in os.environ else []
    building.run("debootstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, building.root, *mirror)
    for folder in STRIPPED:
        shutil.rmtree(building.root / folder, ignore_errors=True)


def _fill_bookworm(building: Building) -> None:
    _debootstrap(building, "bookworm", BOOKWORM_PACKAGES)
    # Debian's byte code names the times of its sources, which packing resets.
    compileall = ("python3", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash")
    building.run("chroot", building.root, *compileall, "/usr/lib/python3.11", "/usr/lib/python3")


def _fill_trixie(building: Building) -> None:
    _debootstrap(building, "trixie", TRIXIE_PACKAGES)


def _fill_triton(building: Building) -> None:
    site = building.root / SITE
    pip.install(site, pip.BOOKWORM, *TRITON_PACKAGES)
    server = site / "pytriton/tritonserver"
    # The stub of the interpreter's version belongs beside the backend; it runs isolated, and finds packages only where
    # Debian's Python looks by itself.
    shutil.copy(server / "python_backend_stubs/3.11/triton_python_backend_stub", server / "backends/python")
    shutil.rmtree(server / "python_backend_stubs")
    shutil.rmtree(site / "bin")
    for tests in [p for p in site.rglob("tests") if p.is_dir()]:
        shutil.rmtree(tests)
    shutil.copytree(
        ASSETS / "onnxruntime", server / "backends/onnxruntime", ignore=shutil.ignore_patterns("__pycache__")
    )
    (building.root / "opt").mkdir()
    (building.root / "opt/tritonserver").symlink_to(f"/{SITE}/pytriton/tritonserver")
    building.compile_python(f"/{SITE}")


def _fill_perf(building: Building) -> None:
    packages = building.work / "packages"
    pip.install(packages, pip.TRIXIE, *PERF_PACKAGES)
    (building.root / "usr/local/bin").mkdir(parents=True)
    # The wheel wraps the program in Python, which this image does without.
    shutil.copy(packages / "perf_analyzer/bin/perf_analyzer", building.root / "usr/local/bin")
    (building.root / "usr/local/bin/perf_analyzer").chmod(0o755)


# Images that change together are unpacked together, upon those that change less often.
TIERS = (
    ("pause", "triton", "prometheus", "perf"),
    ("operator-dependencies", "evaluator-dependencies"),
    ("operator", "evaluator", "operator-before", "evaluator-before"),
)
# Images of a program compiled here → its Go module.
COMPILED = {"pause": "kube", "prometheus": "prometheus"}
BOOKWORM = Layer(
    "bookworm", _inputs(_fill_bookworm, inspect.getsource(_debootstrap), *STRIPPED, *BOOKWORM_PACKAGES), _fill_bookworm
)
TRIXIE = Layer(
    "trixie", _inputs(_fill_trixie, inspect.getsource(_debootstrap), *STRIPPED, *TRIXIE_PACKAGES), _fill_trixie
)


def images(cache: Cache) -> Mapping[str, Image]:
    """Every image of the cluster, by the name callers use. The order is that of importing: rarely changing first."""

    def fill_pause(building: Building) -> None:
        shutil.copy(binary.path(cache, "kube", "pause"), building.root / "pause")

    def fill_prometheus(building: Building) -> None:
        (building.root / "usr/bin").mkdir(parents=True)
        shutil.copy(binary.path(cache, "prometheus", "prometheus"), building.root / "usr/bin")

    triton = Layer("triton", _inputs(_fill_triton, *TRITON_PACKAGES, digest_tree(ASSETS)), _fill_triton, BOOKWORM)
    prometheus = Layer("prometheus", binary.directory(cache, "prometheus").name, fill_prometheus, BOOKWORM)
    perf = Layer("perf", _inputs(_fill_perf, *PERF_PACKAGES), _fill_perf, TRIXIE)
    server = ["/opt/tritonserver/bin/tritonserver", "--backend-directory=/opt/tritonserver/backends"]
    # Threads of numpy's own would compete with the instances that Triton runs side by side.
    single = ["OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1"]
    return {
        "pause": Image(
            "pause",
            (Layer("pause", binary.directory(cache, "kube").name, fill_pause),),
            user="65535",
            entrypoint=["/pause"],
        ),
        # On the PATH as in NVIDIA's image, whose users start `tritonserver` by its name.
        "triton": Image(
            "triton",
            triton.chain(),
            user="1000",
            entrypoint=server,
            environment=[f"{PATH}:/opt/tritonserver/bin", *single],
        ),
        "prometheus": Image(
            "prometheus", prometheus.chain(), user="65534", entrypoint=["/usr/bin/prometheus"], environment=[PATH]
        ),
        "perf": Image(
            "perf", perf.chain(), user="1000", entrypoint=["/usr/local/bin/perf_analyzer"], environment=[PATH]
        ),
        **operator_image.images(BOOKWORM, SITE, PATH),
    }
