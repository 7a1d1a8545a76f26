"""`throughline simulate FILE…`: what a service would have cost on a trace, against the alternatives.

The simulator needs numpy and numba, which the operator does not: everything of it is imported only when it runs.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from throughline import exits
from throughline.adapters.history import HistoryError
from throughline.cli import output, simulated, validate
from throughline.cli.simulated import CannotSimulateError, Service
from throughline.domain.formatting import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from throughline.simulate.types import Traffic

EXTRA = "throughline[simulate]"
SHAPES = (
    "poisson", "diurnal", "flash-crowd", "bursty", "slow-ramp", "on-off", "cost-drift", "node-loss", "metrics-gap",
)  # fmt: skip
PICTURES = (".svg", ".png")
DAY_HOURS, HOURS = 24.0, 2.0  # a shape's length unless said
UNITS_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "simulate",
        help="what a service would have cost on a trace, against other autoscalers; needs no cluster",
        description="Runs the operator's own decisions over recorded or made traffic in virtual time, and other "
        f"autoscalers over the same. Needs pip install '{EXTRA}'. "
        "Exit code: 0 simulated, 1 a resource is wrong or no setting meets its SLO, 2 wrong usage or a trace that "
        "cannot be used, 3 no answer of Prometheus.",
    )
    parser.add_argument(
        "files", nargs="+", metavar="FILE",
        help="YAML with the InferenceService and the ServingPool that it names; - for the input",
    )  # fmt: skip
    parser.add_argument("--service", metavar="NAME", help="which InferenceService, where the files have several")
    _add_traffic(parser.add_argument_group("traffic"))
    _add_model(parser.add_argument_group("the model's true cost (default: what the resource's status has learned)"))
    _add_environment(parser.add_argument_group("surroundings"))
    parser.add_argument("--no-alternatives", dest="alternatives", action="store_false", help="Throughline alone")
    parser.add_argument("--picture", type=_picture, metavar="FILE", help="draw it, as .svg or .png")
    output.add_output_flag(parser)
    parser.set_defaults(run=run)


def _add_traffic(group: argparse._ArgumentGroup) -> None:
    source = group.add_mutually_exclusive_group(required=True)
    source.add_argument("--trace", metavar="CSV", help="recorded arrivals, or rates over time as a dashboard exports")
    source.add_argument("--prometheus", metavar="URL", help="what this Prometheus has recorded of the service")
    source.add_argument("--shape", choices=SHAPES, help="made up")
    group.add_argument(
        "--time-column", "--column", metavar="NAME", help="of the CSV, with times (default: the one that holds them)"
    )
    group.add_argument(
        "--unit", choices=("s", "ms", "us", "ns", "d"), help="of that column's numbers (default: by size)"
    )
    group.add_argument(
        "--rate-column", metavar="NAME", help="of the CSV, with rates (default: by name and content); -: no column"
    )
    group.add_argument(
        "--rate-unit", choices=("s", "min", "h", "d", "row"),
        help="what that column's requests are per (default: by its name, else s); row: per row",
    )  # fmt: skip
    group.add_argument("--since", type=_seconds, default="24h", metavar="TIME", help="with --prometheus (%(default)s)")
    group.add_argument("--query", metavar="PROMQL", help="with --prometheus: requests/s (default: by model, namespace)")
    group.add_argument("--rate", type=_positive, metavar="N", help="requests/s; a trace is scaled to this mean")
    group.add_argument("--hours", type=_positive, metavar="H", help="with --shape (2; diurnal: 24)")


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--alpha-ms", type=_not_negative, metavar="MS", help="an execution's time whatever its batch")
    group.add_argument("--beta-ms", type=_not_negative, metavar="MS", help="and for each item of it")
    group.add_argument(
        "--contention", type=_not_negative, metavar="C", help="slowdown by each further instance (0); 1: they share"
    )
    group.add_argument(
        "--noise",
        type=_not_negative,
        default=0.05,
        metavar="CV",
        help="its variation from one to the next (%(default)s)",
    )


def _add_environment(group: argparse._ArgumentGroup) -> None:
    for flag, default, text in (
        ("start", 30.0, "from ordering a pod to its server's start"),
        ("load", 10.0, "from there until the model is loaded"),
        ("reload", 2.0, "until changed batch settings are in force"),
    ):
        group.add_argument(
            f"--{flag}-seconds", type=_not_negative, default=default, metavar="S", help=f"{text} (%(default)g)"
        )
    group.add_argument(
        "--pool-replicas", type=_count, metavar="N", help="that fit into the pool (default: its capacity)"
    )
    group.add_argument("--price", type=_not_negative, metavar="P", help="per replica and hour (the pool's costPerHour)")
    group.add_argument("--seed", type=int, default=1, metavar="N", help="of all that is random (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Simulate and print; all that can be wrong is looked for before the long part."""
    report, resources = validate.read_and_check(args.files)
    for finding in report.findings:
        print(finding, file=sys.stderr)
    if report.findings:
        return report.code
    try:
        _check_usage(args)
        service = simulated.service(resources, args)
        _need_extra(args.picture)
        return _simulate(args, service)
    except CannotSimulateError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code


def _simulate(args: argparse.Namespace, service: Service) -> int:
    from throughline.simulate import comparison  # noqa: PLC0415 - numba; see the module
    from throughline.simulate.run import Case  # noqa: PLC0415

    traffic = _traffic(args, service)
    if traffic.arrivals.searchsorted(traffic.warmup_seconds) == traffic.arrivals.size:
        raise CannotSimulateError(
            f"{traffic.name}: no request arrives after the first {plain(traffic.warmup_seconds / 60, 3)} min, which "
            "are the warm-up; give a longer trace or a higher --rate"
        )
    case = Case(service.truth, service.environment, traffic, service.slo_us, args.seed)
    try:
        found = comparison.compare(
            case, service.spec, service.pool, alternatives=args.alternatives, progress=_progress()
        )  # fmt: skip
    except comparison.NoSettingError as error:
        raise CannotSimulateError(
            f"{error}; raise spec.slo.latencyP99Milliseconds or widen spec.batching, or check --alpha-ms and --beta-ms",
            exits.REFUSED,
        ) from error
    if args.picture is not None:
        from throughline.simulate import picture  # noqa: PLC0415

        title = f"{service.full_name} on {traffic.name}: p99 within {plain(service.slo_us / 1e3, 6)} ms, simulated"
        try:
            picture.save(found, case, args.picture, title=title)
        except OSError as error:
            raise CannotSimulateError(f"{args.picture}: {error.strerror}") from error
    said = simulated.Report(service, case, found, args.picture)
    print(output.structured(said.to_wire(), "json") if args.output == "json" else said.text())
    return exits.OK


def _progress() -> Callable[[str], None]:
    """On a terminal, since a day of traffic takes minutes; nowhere else."""
    if not sys.stderr.isatty():
        return lambda _: None
    return lambda what: print(f"simulating: {what} …", file=sys.stderr)


def _need_extra(picture: Path | None) -> None:
    """What is missing, before anything long."""
    for name in ("numpy", "numba", *(["matplotlib"] if picture is not None else [])):
        try:
            import_module(name)
        except ImportError as error:
            raise CannotSimulateError(
                f"this command needs {name}, which the operator does not: pip install '{EXTRA}' ({error})"
            ) from error


def _check_usage(args: argparse.Namespace) -> None:
    for flag, value, belongs_to in (
        ("--time-column", args.time_column, "--trace"),
        ("--unit", args.unit, "--trace"),
        ("--rate-column", args.rate_column, "--trace"),
        ("--rate-unit", args.rate_unit, "--trace"),
        ("--query", args.query, "--prometheus"),
        ("--hours", args.hours, "--shape"),
    ):
        if value is not None and getattr(args, belongs_to.lstrip("-")) is None:
            raise CannotSimulateError(f"{flag} belongs to {belongs_to}; leave it out or add {belongs_to}")
    if args.shape is not None and args.rate is None:
        raise CannotSimulateError("--shape needs --rate, in requests per second")
    if args.picture is not None and not args.picture.parent.is_dir():
        raise CannotSimulateError(f"--picture: there is no directory {args.picture.parent}")


def _traffic(args: argparse.Namespace, service: Service) -> Traffic:
    if args.trace is not None:
        return _from_csv(args, service)
    if args.prometheus is not None:
        return _from_prometheus(args, service)
    return _shape(args, service)


def _from_csv(args: argparse.Namespace, service: Service) -> Traffic:
    from throughline.simulate.traces import read  # noqa: PLC0415

    try:
        recording = read(
            args.trace, column=args.time_column, unit=args.unit, rates=args.rate_column, rate_unit=args.rate_unit,
            rate_per_second=args.rate, seed=args.seed,
        )  # fmt: skip
    except OSError as error:
        raise CannotSimulateError(f"{args.trace}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CannotSimulateError(f"{args.trace}: is not UTF-8 text; save it as that") from error
    except (ValueError, csv.Error) as error:
        raise CannotSimulateError(str(error)) from error
    service.notes.append(recording.taken)
    if recording.gap_seconds:
        service.notes.append(_gap(recording.gap_seconds))
    return recording.traffic


def _gap(seconds: float) -> str:
    return f"for {plain(seconds / 60, 3)} min nothing was recorded; there the rate before was held"


def _from_prometheus(args: argparse.Namespace, service: Service) -> Traffic:
    from throughline import settings  # noqa: PLC0415
    from throughline.simulate.history import from_prometheus  # noqa: PLC0415

    try:  # credentials, where it wants some, as the operator takes them from the environment
        access = settings.load({"prometheus_url": args.prometheus}).prometheus_access
    except ValidationError as error:
        problems = "; ".join(p["msg"] for p in error.errors(include_url=False, include_input=False))
        raise CannotSimulateError(f"--prometheus: {problems}") from error
    try:
        history = from_prometheus(
            access, model=service.model, namespace=service.namespace, since_seconds=args.since,
            now_seconds=time.time(), query=args.query, rate_per_second=args.rate, seed=args.seed,
        )  # fmt: skip
    except HistoryError as error:
        raise CannotSimulateError(str(error), exits.NO_ANSWER) from error
    if history.gap_seconds > 0:
        service.notes.append(_gap(history.gap_seconds))
    return history.traffic


def _shape(args: argparse.Namespace, service: Service) -> Traffic:
    from throughline.simulate import traffic  # noqa: PLC0415
    from throughline.simulate.columns import LONGEST_DAYS  # noqa: PLC0415
    from throughline.simulate.traces import MAX_REQUESTS, WARMUP_SECONDS, WARMUP_SHARE  # noqa: PLC0415

    rate, seed = args.rate, args.seed
    length = 3600.0 * (args.hours or (DAY_HOURS if args.shape == "diurnal" else HOURS))
    if length > LONGEST_DAYS * 86_400.0:
        raise CannotSimulateError(f"--hours {plain(length / 3600.0, 6)} is more than {LONGEST_DAYS:g} days; lower it")
    if rate * length > MAX_REQUESTS:
        raise CannotSimulateError(
            f"{rate * length / 1e6:,.0f} million requests are too many to hold; up to {MAX_REQUESTS / 1e6:g} million: "
            "lower --hours or --rate"
        )
    third = length / 3.0  # what happens once happens then, after the warm-up
    most = service.environment.pool_replicas
    made: dict[str, Callable[[], Traffic]] = {
        "poisson": lambda: traffic.poisson(rate, length, seed=seed),
        "diurnal": lambda: traffic.diurnal(rate, length, seed=seed),
        "flash-crowd": lambda: traffic.flash_crowd(rate, length, seed=seed, at_seconds=third),
        "bursty": lambda: traffic.bursty(rate, length, seed=seed),
        "slow-ramp": lambda: traffic.slow_ramp(rate / 10.0, rate, length, seed=seed),
        "on-off": lambda: traffic.on_off(rate, length, seed=seed),
        "cost-drift": lambda: traffic.cost_drift(rate, length, seed=seed),
        "node-loss": lambda: traffic.node_loss(
            rate, length, seed=seed, pool_replicas=most, left_replicas=max(1, most // 2), lost_seconds=third,
            back_seconds=2.0 * third,
        ),
        "metrics-gap": lambda: traffic.metrics_gap(rate, length, seed=seed, gap_at_seconds=third),
    }  # fmt: skip
    found = made[args.shape]()
    return replace(found, warmup_seconds=min(WARMUP_SECONDS, WARMUP_SHARE * length))


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return value


def _not_negative(text: str) -> float:
    value = _number(text)
    if value < 0.0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if value <= 0.0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    """As Prometheus writes times: 90m, 24h, 1d12h."""
    parts = re.findall(r"(\d+)([smhdw])", text)
    total = sum(int(number) * UNITS_SECONDS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or total == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time; write 90m, 24h or 7d")
    return float(total)


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix not in PICTURES:
        raise argparse.ArgumentTypeError(f"{text!r} must end in {' or '.join(PICTURES)}")
    return path
