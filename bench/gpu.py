"""`python -m bench.gpu`: the product tunes a real network on a real GPU, and is held against a sweep of the settings.

Triton and Prometheus run as processes of this machine; Kubernetes is all that is missing. What decides is the operator's
own: its adapters ask Prometheus and Triton, `domain.control.loop` decides, `reconcile.batch` loads what was decided and
verifies it, and the server's flags and configuration are those of the rendered Deployment and ConfigMap. There is one
replica and there may be no other, so only the batch settings are chosen.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughline.adapters.prometheus import Prometheus
from throughline.adapters.triton import Triton
from throughline.api.inferenceservice import BatchSettings, InferenceServiceSpec
from throughline.api.servingpool import ServingPoolSpec
from throughline.api.status import BatchStatus, InferenceServiceStatus, ReplicaStatus
from throughline.domain.control.loop import decide
from throughline.domain.control.text import settings_text, with_records
from throughline.domain.manifests import CONFIG_NAME, Identity, RenderOptions, model_hash, render, triton_config
from throughline.domain.observed import MetricsFrame, PodView, PoolView, ServiceView, Unavailable
from throughline.ports import TritonError
from throughline.reconcile import batch, servers
from throughline.reconcile.context import Deps, ServiceState, Tuning
from throughline.reconcile.settings_text import recognised

from bench import gpu_model, step
from e2e.report import OUT, Figure, at_least, at_most, figures_table, table, write
from e2e.stack import models
from e2e.stack.load import Result, parse
from e2e.stack.prometheus import SCRAPE_SECONDS
from e2e.stack.scenario import Swept
from e2e.stack.up import METRICS_WINDOW_SECONDS, POLL_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from throughline.api.status import DecisionRecord

    from e2e.stack.scenario import Settings

NAME, NAMESPACE, ADDRESS, KEY = "gpu", "default", "127.0.0.1", "bench"
PROMETHEUS_PORT = 9090
SLO_MS = 50
START_SECONDS, LOAD_SECONDS, SWEEP_SECONDS, SETTLE_SECONDS = 180.0, 120.0, 4.0, 0.5
ROUNDS = 2  # of the best of the sweep, there and back
GRID: tuple[Settings, ...] = (
    *((size, 0, instances) for instances in (1, 2) for size in (8, 16, 32, 64)),
    (32, 1000, 1),
    (64, 2000, 1),
)
# perf_analyzer measures one window after the other, and with no tolerance none agree: it goes on until interrupted.
ENDLESS = ("--measurement-interval=1000", "--max-trials=3600", "--stability-percentage=0.0001")
BATCHES_SHOWN = (1, 2, 4, 8, 16, 32, 64)
_started = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - _started:5.0f} s] {text}", flush=True)


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
        "inputs": [{"name": "IDS", "dataType": "TYPE_INT32", "dims": [gpu_model.TOKENS]}],
        "outputs": [{"name": "Y", "dataType": "TYPE_FP32", "dims": [gpu_model.ANSWERS]}],
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
    shutil.copy(gpu_model.__file__, version / "model.py")
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
            triton, end = port(), time.monotonic() + START_SECONDS
            while True:
                try:
                    await triton.probe(ADDRESS, NAME, place.spec.model.version)
                    break
                except TritonError as error:
                    if server.poll() is not None or time.monotonic() > end:
                        raise RuntimeError(f"Triton does not serve the model ({error}): see out/triton.log") from error
                    await asyncio.sleep(1)
            yield


def port() -> Triton:
    return Triton(timeout_seconds=5, load_timeout_seconds=LOAD_SECONDS)


class Query:
    """What the adapter asks of a client of Prometheus."""

    def custom_query(self, query: str) -> list[dict[str, Any]]:
        address = f"http://{ADDRESS}:{PROMETHEUS_PORT}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - our own address
            return list(json.load(answer)["data"]["result"])


class Operator:
    """One service under the operator's own code; what is not there is Kubernetes, so this is what keeps the status."""

    def __init__(self, place: Place, settings: BatchSettings) -> None:
        self.place, self.settings, self.began = place, settings, time.time()
        self.pool = PoolView("gpu", place.pool, 1, 1)
        self.revision = model_hash(place.spec, NAME)
        self.status = InferenceServiceStatus()
        self.state = ServiceState(uid=NAME, key=KEY)
        self.prometheus = Prometheus("", window_seconds=METRICS_WINDOW_SECONDS, client=Query())
        self.frame: MetricsFrame | Unavailable = Unavailable("PrometheusUnreachable", "not asked yet")
        tuning = Tuning(decision_interval=POLL_SECONDS, metrics_window=METRICS_WINDOW_SECONDS)
        none: Any = None  # Kubernetes
        self.deps = Deps(
            kube=none, triton=port(), objects=none, cluster=none, guard=none, hooks=none, options=none,
            frame=lambda: self.frame, tuning=tuning,
        )  # fmt: skip
        self.ledger: list[DecisionRecord] = []
        self.changed = time.monotonic()

    async def view(self) -> ServiceView:
        """As reconcile.gather puts it together."""
        spec, now = self.place.spec, time.time()
        self.frame = frame = await self.prometheus.frame()
        seen = isinstance(frame, MetricsFrame)
        pod = PodView(
            name=NAME, uid=NAME, ip=ADDRESS, ready=True, ready_seconds=now - self.began, terminating=False,
            template_hash="", revision=self.revision, container_id=NAME,
            metrics=frame.pods.get((NAMESPACE, NAME, NAME)) if isinstance(frame, MetricsFrame) else None,
        )  # fmt: skip
        (pod,) = await servers.ask(self.deps, self.state, spec, NAME, [pod], frozenset({NAME}))
        pod = replace(pod, settings=recognised(spec.model, pod.settings, (self.state.last_settings, self.settings)))
        return ServiceView(
            now_seconds=now, name=NAME, namespace=NAMESPACE, generation=1, spec=spec, status=self.status,
            pool=self.pool, pods=(pod,), replicas=1, settings=self.settings, model_hash=self.revision,
            metrics_unavailable=None if seen else frame,  # type: ignore[arg-type]
            metrics_window_seconds=METRICS_WINDOW_SECONDS,
            metrics_time_seconds=frame.time_seconds if isinstance(frame, MetricsFrame) else None,
            refused_settings=tuple(self.state.newly_refused.items()),
        )  # fmt: skip

    async def look(self) -> float:
        """One pass, as reconcile.service makes it; seconds until the next."""
        state, spec, view = self.state, self.place.spec, await self.view()
        decision, state.memory = decide(view, state.memory)
        state.newly_refused.clear()
        state.last_settings = decision.settings
        todo = batch.differing(spec, decision, view.pods, self.revision)
        until = time.time() + self.deps.tuning.batch_apply_seconds
        tried = await batch.load(self.deps, state, spec, NAME, self.pool, todo, until=until)
        if not (tried.refused or tried.unfinished):
            self.settings = decision.settings
        self.status = InferenceServiceStatus(
            control=decision.control,
            decisions=with_records(self.status.decisions, decision.records),
            replicas=ReplicaStatus(desired=1, ready=1),
            batch=BatchStatus(settings=self.settings),
            slo=decision.slo,
        )
        if decision.settings != view.settings:
            self.changed = time.monotonic()
        for record in decision.records:
            self.ledger.append(record)
            where = f" [{settings_text(record.settings)}]" if record.settings else ""
            say(f"{record.action} {record.reason}{where}: {record.message}\n{'':10}{record.inputs}\n{'':10}"
                f"predicted {record.predicted or '-'}")  # fmt: skip
        metrics = view.pods[0].metrics
        if metrics is not None:
            size = metrics.items_rate / max(metrics.executions_rate, 1e-9)
            say(f"seen {settings_text(self.settings)}: {metrics.success_rate:.0f}/s, batches of {size:.1f}, "
                f"p99 {(metrics.p99_us or 0) / 1000:.1f} ms")  # fmt: skip
        return min(POLL_SECONDS, decision.requeue_seconds)


class Load:
    """perf_analyzer with so many callers, each of which sends again when it has its answer."""

    def __init__(self, program: Path, callers: int) -> None:
        self.program, self.callers = program, callers

    @contextlib.asynccontextmanager
    async def running(self, into: list[Result]) -> AsyncIterator[None]:
        """Load while the block lasts; the result goes into the list."""
        with tempfile.TemporaryDirectory() as folder:
            profile = Path(folder) / "profile.json"
            child = await asyncio.create_subprocess_exec(
                self.program, "-m", NAME, "-x", "1", "-u", f"{ADDRESS}:8001", "-i", "grpc", "--sync",
                f"--max-threads={self.callers}", f"--concurrency-range={self.callers}", "--input-data=zero",
                "--percentile=99", *ENDLESS, f"--profile-export-file={profile}",
                env={**os.environ, "TRITON_CLIENT_GRPC_CHANNEL_MAX_SHARE_COUNT": "1"},
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            try:
                yield
            finally:
                if child.returncode is None:
                    child.send_signal(signal.SIGINT)
                await child.wait()
            sent, latencies, failed = parse(profile.read_bytes())
        into.append(Result("", sent[-1] - sent[0], sent, latencies, failed, ""))

    async def measure(self, seconds: float) -> Result:
        """For so long, and without the first second of it, in which connections are made."""
        found: list[Result] = []
        async with self.running(found):
            await asyncio.sleep(seconds + 1.5)
        (whole,) = found
        kept = [(s, u) for s, u in zip(whole.sent_seconds, whole.latencies_us, strict=True) if s >= 1.0]
        sent, latencies = [s for s, _ in kept], [u for _, u in kept]
        return replace(whole, seconds=sent[-1] - sent[0], sent_seconds=sent, latencies_us=latencies)


async def swept(place: Place, load: Load, grid: Sequence[Settings], failed: list[int]) -> list[Swept]:
    """Each of the settings by hand: loaded, read back, measured."""
    found = []
    for size, delay, instances in grid:
        wanted = BatchSettings(max_batch_size=size, max_queue_delay_microseconds=delay, instances=instances)
        config = triton_config(place.spec.model, NAME, wanted, accelerated=place.pool.accelerator is not None)
        await port().load(ADDRESS, NAME, config, key=KEY)
        assert await port().settings(ADDRESS, NAME, key=KEY) == wanted
        await asyncio.sleep(SETTLE_SECONDS)
        result = await load.measure(SWEEP_SECONDS)
        failed.append(result.failed)
        found.append(Swept((size, delay, instances), result.throughput_per_second, result.percentile_us(0.99)))
        say(f"sweep {settings_text(wanted)}: {found[-1].throughput_per_second:.0f}/s, "
            f"p99 {found[-1].p99_us / 1000:.1f} ms")  # fmt: skip
    return found


def learned(operator: Operator) -> str:
    """The curve beside the means that it was made from."""
    known = operator.status.control.service_time
    if known is None:
        return "nothing was learned"
    inflation = known.contention_permille / 1000
    rows = [("instances", "batch", "executions", "measured", "s(b)")]
    for (instances, size), total in sorted(operator.state.memory.learner.totals.items()):
        if size in BATCHES_SHOWN:
            line = known.alpha_microseconds + known.beta_microseconds * size
            line *= 1 + inflation * (instances - 1)
            cells = (f"{total.executions:.0f}", f"{total.mean_us / 1000:.2f} ms", f"{line / 1000:.2f} ms")
            rows.append((str(instances), str(size), *cells))
    head = f"α = {known.alpha_microseconds} µs, β = {known.beta_microseconds} µs, contention {inflation:.2f}"
    return f"{head}\n{table(rows)}"


async def run(place: Place, *, callers: int, longest_seconds: float, quiet_seconds: float) -> list[Figure]:
    """Unbatched, then tuned until nothing has changed for a while, then the sweep with the same callers."""
    first = BatchSettings(max_batch_size=1)
    load, failed, tuning = Load(place.perf_analyzer, callers), list[int](), list[Result]()
    async with serving(place, first):
        say("the model serves")
        before = await load.measure(SWEEP_SECONDS)
        say(f"unbatched: {before.throughput_per_second:.0f}/s, p99 {before.percentile_us(0.99) / 1000:.1f} ms")
        operator, began = Operator(place, first), time.monotonic()
        async with load.running(tuning):
            while (now := time.monotonic()) - began < longest_seconds and now - operator.changed < quiet_seconds:
                await asyncio.sleep(await operator.look())
        tuned = operator.settings
        mine = (tuned.max_batch_size, tuned.max_queue_delay_microseconds, tuned.instances)
        took = max(0.0, operator.changed - began)
        say(f"tuned to {settings_text(tuned)}, last change after {took:.0f} s\n{learned(operator)}")
        points = [mine, *(g for g in GRID if g != mine)]
        found = await swept(place, load, points, failed)
        last = step.finalists(found, mine, SLO_MS * 1000.0)[:3]
        rounds = [await swept(place, load, last[:: 1 - 2 * (n % 2)], failed) for n in range(ROUNDS)]
    share, best = step.near_best(rounds, mine, SLO_MS * 1000.0)
    final = tuning[0]
    late = [s for s in final.sent_seconds if s >= final.sent_seconds[-1] - quiet_seconds / 2]
    p99_ms = final.percentile_us(0.99, since_seconds=late[0]) / 1000
    at_mine = next(s.throughput_per_second for s in found if s.settings == mine)
    return [
        Figure("unbatched, one instance", before.throughput_per_second, "/s"),
        Figure("tuned", at_mine, "/s"),
        at_least("throughput over unbatched, same GPU", at_mine / before.throughput_per_second, "×", 5),
        at_least(f"share of the best of the sweep, {best}", share, "", 0.95),
        at_most("p99 once tuned, as share of the SLO", p99_ms / SLO_MS, "", 1),
        Figure("p99 once tuned", p99_ms, "ms"),
        Figure("until the last change", took, "s"),
        at_most("failed requests", before.failed + final.failed + sum(failed), "requests", 0),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--tritonserver", type=Path, required=True, help="program; its backends are in ../backends")
    parser.add_argument("--prometheus", type=Path, required=True, help="program")
    parser.add_argument("--perf-analyzer", type=Path, required=True, help="program")
    parser.add_argument("--cpu", action="store_true", help="a small model without a GPU, to try the bench itself")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--longest-seconds", type=float, default=200, help="of tuning")
    parser.add_argument("--quiet-seconds", type=float, default=75, help="without a change, after which it has tuned")
    given = parser.parse_args()
    place = Place(
        given.tritonserver, given.prometheus, given.perf_analyzer, *service(cpu=given.cpu, callers=given.callers)
    )
    if not given.cpu:
        asked = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
        say(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    figures = asyncio.run(
        run(place, callers=given.callers, longest_seconds=given.longest_seconds, quiet_seconds=given.quiet_seconds)
    )
    print(figures_table(figures))
    print(f"\nwritten to out/{write('gpu', figures).name}")
    return 0 if all(f.met is not False for f in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
