"""What `throughline simulate` takes from the resources, and what it tells; the simulation itself is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from throughline import exits
from throughline.api import quantities
from throughline.api.batching import BatchingMode
from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.scaling import ScalingMode
from throughline.api.servingpool import ServingPoolSpec
from throughline.api.status import InferenceServiceStatus
from throughline.cli import output
from throughline.domain.formatting import count, money, plain
from throughline.domain.manifests import served_name
from throughline.domain.observed import PoolView
from throughline.domain.placement import Refusal, choose_pool
from throughline.domain.records import settings_text
from throughline.simulate.types import Environment, Truth

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from throughline.api.status import ServiceTime
    from throughline.simulate.comparison import Comparison
    from throughline.simulate.run import Case, Result

ASSUMED_PRICE = 1.0
TIMEOUT_SECONDS = 10.0  # and not less than
TIMEOUT_SLOS = 3.0  # so many times the SLO, or nothing could be late
HEADERS = ("CONTENDER", "SETTINGS", "REPLICA-HOURS", "COST", "VS OURS", "OVER SLO", "LOST", "P99", "CHANGES", "SLO")


class CannotSimulateError(Exception):
    """There is nothing to tell; the message says why and what to do. `code`: the command's exit code."""

    def __init__(self, message: str, code: int = exits.UNUSABLE) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Service:
    """The resource, as it is simulated. `notes`: what was assumed or left out."""

    name: str
    namespace: str
    model: str
    spec: InferenceServiceSpec
    pool_name: str
    pool: ServingPoolSpec
    truth: Truth
    environment: Environment
    notes: list[str] = field(default_factory=list)

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def slo_us(self) -> float:
        return self.spec.slo.latency_p99_milliseconds * 1e3


def service(resources: Sequence[dict[str, Any]], args: argparse.Namespace) -> Service:
    """The service of these valid resources, by the command's flags."""
    resource = _named([r for r in resources if r["kind"] == "InferenceService"], args.service)
    metadata = resource["metadata"]
    try:
        status = InferenceServiceStatus.model_validate(resource.get("status") or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(("status", *(str(part) for part in first["loc"])))
        raise CannotSimulateError(
            f"{where}: {first['msg']}; leave the status out, or take it from a cluster of this version",
            exits.REFUSED,
        ) from error
    notes: list[str] = []
    truth = _truth(args, status.control.service_time, notes)
    spec = _as_auto(InferenceServiceSpec.model_validate(resource["spec"]), notes)
    pools = {r["metadata"].get("name", ""): r["spec"] for r in resources if r["kind"] == "ServingPool"}
    name, pool, most = _pool(spec, pools, status.pool, args, notes)
    if args.price is not None:
        pool = pool.model_copy(update={"cost_per_hour": f"{args.price:.9f}"})
    if pool.accelerator is not None and (devices := spec.model.devices(pool)) > 1:
        # The simulated replica has one device, and the core must reckon with what is there.
        pool = pool.model_copy(update={"accelerator": pool.accelerator.model_copy(update={"count_per_replica": 1})})
        notes.append(
            f"a replica has {devices} devices and is simulated with one; a real one carries about {devices} times that"
        )
    environment = Environment(
        pod_start_seconds=args.start_seconds,
        model_load_seconds=args.load_seconds,
        reload_seconds=args.reload_seconds,
        pool_replicas=min(most, spec.scaling.max_replicas),
        price_per_hour=float(quantities.parse(pool.cost_per_hour)),
        timeout_seconds=max(TIMEOUT_SECONDS, TIMEOUT_SLOS * spec.slo.latency_p99_milliseconds / 1e3),
    )
    if spec.scaling.min_replicas > 1:
        notes.append(
            f"the service keeps spec.scaling.minReplicas {spec.scaling.min_replicas}; the autoscalers may go down to 1"
        )
    own_name = str(metadata.get("name", ""))
    return Service(
        own_name, str(metadata.get("namespace", "default")), served_name(spec, own_name), spec, name, pool, truth,
        environment, notes,
    )  # fmt: skip


def _named(services: Sequence[dict[str, Any]], name: str | None) -> dict[str, Any]:
    found = [s for s in services if name in {None, s["metadata"].get("name")}]
    if not found:
        raise CannotSimulateError(f"there is no InferenceService{f' named {name}' if name else ''} in these files")
    if len(found) > 1:
        raise CannotSimulateError(f"there are {len(found)} InferenceServices in these files: name one with --service")
    return found[0]


def _truth(args: argparse.Namespace, learned: ServiceTime | None, notes: list[str]) -> Truth:
    alpha_us = None if args.alpha_ms is None else args.alpha_ms * 1e3
    beta_us = None if args.beta_ms is None else args.beta_ms * 1e3
    contention = args.contention
    if learned is not None and None in (alpha_us, beta_us):
        notes.append(
            f"the model's cost was learned from batches of up to {learned.largest_batch}; for larger ones it is a guess"
        )
    if learned is not None:
        alpha_us = learned.alpha_microseconds if alpha_us is None else alpha_us
        beta_us = learned.beta_microseconds if beta_us is None else beta_us
        contention = learned.contention_permille / 1e3 if contention is None else contention
    if alpha_us is None or beta_us is None:
        raise CannotSimulateError(
            "how long an execution of the model takes is not known: give --alpha-ms and --beta-ms (a batch of b takes "
            "alpha + beta·b), or the resource with what its operator has learned (kubectl get tis NAME -o yaml); "
            "`throughline explain NAME` shows the numbers under Learned"
        )
    if alpha_us + beta_us <= 0.0:
        raise CannotSimulateError("--alpha-ms and --beta-ms are both 0: an execution takes time, give how much")
    return Truth(float(alpha_us), float(beta_us), contention=contention or 0.0, noise=args.noise)


def _as_auto(spec: InferenceServiceSpec, notes: list[str]) -> InferenceServiceSpec:
    """In the other modes nothing would happen; the question is what would, if it might."""
    scaling, batching = spec.scaling, spec.batching
    if scaling.mode is not ScalingMode.AUTO:
        notes.append(f"spec.scaling.mode is {scaling.mode.value}; simulated as Auto")
        scaling = scaling.model_copy(update={"mode": ScalingMode.AUTO})
    if batching.mode is BatchingMode.RECOMMEND:
        notes.append(f"spec.batching.mode is {batching.mode.value}; simulated as Auto")
        batching = batching.model_copy(update={"mode": BatchingMode.AUTO})
    return spec.model_copy(update={"scaling": scaling, "batching": batching})


def _pool(
    spec: InferenceServiceSpec, pools: dict[str, Any], current: str, args: argparse.Namespace, notes: list[str]
) -> tuple[str, ServingPoolSpec, int]:
    """The pool that the operator would take, and how many replicas fit into it."""
    given, most = args.pool_replicas, spec.scaling.max_replicas
    if given is not None and given > most:
        notes.append(f"spec.scaling.maxReplicas is {most}: nobody gets more, of the {given} that fit into the pool")
    assumed = not pools
    if assumed:
        name = spec.placement.pools[0].name
        priced = "" if args.price is not None else f" at {ASSUMED_PRICE:g} an hour each (--price sets another)"
        notes.append(f"no ServingPool was given: {name} is taken to hold {given or most} replicas{priced}")
        pools = {name: {"nodeSelector": {"assumed": ""}, "costPerHour": f"{ASSUMED_PRICE:g}"}}
    views = {}
    for name, wire in pools.items():
        pool = ServingPoolSpec.model_validate(wire)
        holds = given or (most if pool.capacity is None else pool.capacity.max_replicas)
        views[name] = PoolView(name=name, spec=pool, capacity_replicas=holds, nodes=1)
    choice = choose_pool(spec, views, current)
    if isinstance(choice, Refusal):
        raise CannotSimulateError(choice.message, exits.REFUSED)
    if not assumed and given is None and choice.pool.spec.capacity is None:
        notes.append(
            f"ServingPool {choice.pool.name} declares no capacity: taken to hold spec.scaling.maxReplicas {most}"
        )
    return choice.pool.name, choice.pool.spec, choice.pool.capacity_replicas or 0


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it, for people and for programs."""

    service: Service
    case: Case
    found: Comparison
    picture: Path | None

    @property
    def _results(self) -> tuple[Result, ...]:
        """Ours first, then from the cheapest to the dearest."""
        return (self.found.ours, *sorted(self.found.alternatives, key=lambda result: result.replica_hours))

    def text(self) -> str:
        rows = [self._row(result) for result in self._results]
        lines = [*self._head(), "", output.table(HEADERS, rows), ""]
        lines.append(output.paragraph("Settings: max batch / queue delay × instances, last in force.", indent=""))
        lines.append(output.paragraph(self.found.verdict(), indent=""))
        if self.picture is not None:
            lines.append(f"Picture: {self.picture}")
        return "\n".join(lines)

    def _head(self) -> list[str]:
        s, t, e, traffic = self.service, self.service.truth, self.service.environment, self.case.traffic
        counted, hours = self.found.ours.requests, (traffic.duration_seconds - traffic.warmup_seconds) / 3600.0
        told = (
            f"{traffic.name}: {counted:,} requests in {plain(hours, 3)} h, {plain(counted / hours / 3600.0, 3)}/s in "
            f"the mean, after a warm-up of {plain(traffic.warmup_seconds / 60.0, 3)} min that is not counted"
        )
        cost = (
            f"a batch of b takes {plain(t.alpha_us / 1e3, 4)} + {plain(t.beta_us / 1e3, 4)}·b ms, "
            f"contention {plain(t.contention)}"
        )
        rows = [
            ("SLO", f"p99 within {plain(s.slo_us / 1e3, 6)} ms"),
            (
                "Pool",
                f"{s.pool_name}, up to {count(e.pool_replicas, 'replica')}, {money(e.price_per_hour)} an hour each",
            ),
            ("Model", cost),
            ("Traffic", told),
            *(("Note", note) for note in s.notes),
        ]
        return [f"InferenceService {s.full_name}", *(f"  {label.ljust(7)}   {value}" for label, value in rows)]

    def _row(self, result: Result) -> tuple[object, ...]:
        from throughline.simulate.comparison import kept  # noqa: PLC0415 - numba, see `simulate`

        return (
            f"* {result.contender}" if result is self.found.ours else f"  {result.contender}",
            settings_text(result.settings),
            f"{result.replica_hours:.2f}",
            f"{result.cost:,.{2 if self.found.ours.cost >= 1.0 else 4}f}",
            f"{self.found.ratio(result):.2f}",
            f"{result.over / result.requests:.2%}",
            f"{result.lost / result.requests:.2%}",
            None if result.p99_us is None else f"{result.p99_us / 1e3:,.{0 if result.p99_us >= 1e5 else 1}f} ms",
            result.changes,
            "kept" if kept(result) else "missed",
        )

    def to_wire(self) -> dict[str, Any]:
        """For -o json: unrounded."""
        s, t, e, traffic = self.service, self.service.truth, self.service.environment, self.case.traffic
        return {
            "service": {"namespace": s.namespace, "name": s.name, "slo": s.spec.slo.to_wire()},
            "pool": {"name": s.pool_name, "replicas": e.pool_replicas, "pricePerHour": e.price_per_hour},
            "model": {
                "alphaMilliseconds": t.alpha_us / 1e3,
                "betaMilliseconds": t.beta_us / 1e3,
                "contention": t.contention,
                "noise": t.noise,
            },
            "environment": {
                "startSeconds": e.pod_start_seconds,
                "loadSeconds": e.model_load_seconds,
                "reloadSeconds": e.reload_seconds,
                "timeoutSeconds": e.timeout_seconds,
                "seed": self.case.seed,
            },
            "traffic": {
                "name": traffic.name,
                "durationSeconds": traffic.duration_seconds,
                "warmupSeconds": traffic.warmup_seconds,
                "requests": self.found.ours.requests,
            },
            "notes": s.notes,
            "contenders": [self._wire(result) for result in self._results],
            "verdict": self.found.verdict(),
        }

    def _wire(self, result: Result) -> dict[str, Any]:
        from throughline.simulate.comparison import kept  # noqa: PLC0415 - numba, see `simulate`

        return {
            "name": result.contender,
            "ours": result is self.found.ours,
            "settings": result.settings.to_wire(),
            "replicaHours": result.replica_hours,
            "cost": result.cost,
            "relativeCost": self.found.ratio(result),
            "requests": result.requests,
            "over": result.over,
            "lost": result.lost,
            "violations": result.violations,
            "p99Milliseconds": None if result.p99_us is None else result.p99_us / 1e3,
            "changes": result.changes,
            "keptSlo": kept(result),
        }
