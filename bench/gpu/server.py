"""Triton and Prometheus as processes of this machine, as a pod of the rendered Deployment would have them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughline.adapters.triton import Triton
from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.servingpool import ServingPoolSpec
from throughline.domain.manifests import CONFIG_NAME, Identity, RenderOptions, render
from throughline.ports import TritonError, TritonRefused

from e2e.report import OUT
from e2e.stack import models
from e2e.stack.prometheus import SCRAPE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from throughline.api.batching import BatchSettings

NAME, NAMESPACE, ADDRESS, KEY = "gpu", "default", "127.0.0.1", "bench"
MODEL = Path(__file__).with_name("model.py")
TOKENS, ANSWERS = 256, 8  # of the model
PROMETHEUS_PORT = 9090
SLO_MS = 100
START_SECONDS, LOAD_SECONDS = 180.0, 120.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where the programs are, and what they serve."""

    tritonserver: Path
    prometheus: Path
    perf_analyzer: Path
    spec: InferenceServiceSpec
    pool: ServingPoolSpec


def service(*, cpu: bool, callers: int) -> tuple[InferenceServiceSpec, ServingPoolSpec]:
    """BERT-large's shape on a GPU, or something small to try the bench itself; one replica, batching as by default."""
    device, layers, width = ("cpu", 4, 256) if cpu else ("cuda", 24, 1024)
    parameters = {"device": device, "layers": layers, "width": width, "warm": callers}
    model = {
        "storage": {"uri": f"configmap://{NAME}"},
        "backend": "python",
        "inputs": [{"name": "IDS", "dataType": "TYPE_INT32", "dims": [TOKENS]}],
        "outputs": [{"name": "Y", "dataType": "TYPE_FP32", "dims": [ANSWERS]}],
        "parameters": [{"name": n, "value": str(v)} for n, v in parameters.items()],
    }
    scaling = {"minReplicas": 1, "maxReplicas": 1}
    found = models.service(NAME, model, slo_ms=SLO_MS, scaling=scaling)
    pool = next(p for p in models.pools() if p["metadata"]["name"] == ("cpu" if cpu else "gpu"))
    return InferenceServiceSpec.model_validate(found["spec"]), ServingPoolSpec.model_validate(pool["spec"])


def repository(folder: Path, place: Place, settings: BatchSettings) -> list[str]:
    """Triton's model repository as a pod would mount it; returns the server's flags as the pod would have them."""
    options = RenderOptions(default_image="none", operator_namespace=NAMESPACE)
    identity = Identity(name=NAME, namespace=NAMESPACE, uid=NAME)
    manifests = render(identity, place.spec, "gpu", place.pool, settings, options, surge=False)
    by_kind = {m["kind"]: m for m in manifests}
    configs, version = folder / NAME / "configs", folder / NAME / str(place.spec.model.version)
    for new in (configs, version):
        new.mkdir(parents=True)
    (configs / f"{CONFIG_NAME}.pbtxt").write_text(by_kind["ConfigMap"]["data"][f"{CONFIG_NAME}.pbtxt"])
    shutil.copy(MODEL, version / "model.py")
    (container,) = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"]
    replaced = {"$(THROUGHLINE_CONTROL_KEY)": KEY, "--model-repository=/models": f"--model-repository={folder}"}
    flags = [str(a) for a in container["args"]]
    for old, new_text in replaced.items():
        flags = [f.replace(old, new_text) for f in flags]
    return [*flags, f"--backend-directory={place.tritonserver.parent.parent / 'backends'}"]


@contextlib.contextmanager
def process(name: str, *command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs until the block ends; what it says goes to out/NAME.log."""
    OUT.mkdir(exist_ok=True)
    with (OUT / f"{name}.log").open("wb") as log:
        running = subprocess.Popen([str(c) for c in command], stdout=log, stderr=subprocess.STDOUT)
        try:
            yield running
        finally:
            running.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(40)
            running.kill()


@contextlib.asynccontextmanager
async def serving(place: Place, settings: BatchSettings) -> AsyncIterator[None]:
    """Triton with the model loaded, and Prometheus that scrapes it."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        flags = repository(folder / "models", place, settings)
        labels = {"namespace": NAMESPACE, "pod": NAME}
        scraped = {"job_name": NAME, "static_configs": [{"targets": [f"{ADDRESS}:8002"], "labels": labels}]}
        config = {"global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "scrape_timeout": "4s"}}
        (folder / "prometheus.json").write_text(json.dumps({**config, "scrape_configs": [scraped]}))
        with (
            process("triton", place.tritonserver, *flags) as server,
            process(
                "prometheus", place.prometheus, f"--config.file={folder / 'prometheus.json'}",
                f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={ADDRESS}:{PROMETHEUS_PORT}",
            ),
        ):  # fmt: skip
            await loaded(server, place.spec.model.version)
            yield


async def loaded(server: subprocess.Popen[bytes], version: int) -> None:
    """Wait until the model answers. The server listens only once it has loaded the model, or has failed to."""
    triton, end = port(), time.monotonic() + START_SECONDS
    while True:
        try:
            return await triton.probe(ADDRESS, NAME, version)
        except TritonRefused as error:
            why = await triton.load_error(ADDRESS, NAME, key=KEY)
            raise RuntimeError(f"Triton does not serve the model: {why or error}") from error
        except TritonError as error:
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Triton does not answer ({error}): see out/triton.log") from error
        await asyncio.sleep(1)


def port() -> Triton:
    return Triton(timeout_seconds=5, load_timeout_seconds=LOAD_SECONDS)


class Query:
    """What the adapter asks of a client of Prometheus."""

    def custom_query(self, query: str, params: dict[str, str] | None = None) -> list[dict[str, Any]]:
        assert not params
        address = f"http://{ADDRESS}:{PROMETHEUS_PORT}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(address, timeout=5) as answer:
            return list(json.load(answer)["data"]["result"])

    def version(self) -> str | None:
        return None
