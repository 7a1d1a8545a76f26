"""`make demo`: from nothing to a service that tunes itself under load, on a real cluster on this machine.

Exit codes: 0 no goal was missed; 1 a goal was missed, or a step failed; 2 a prerequisite is missing; 3 a step failed
while other processes kept the machine busy, so that nothing is proved. Figures that such processes spoil are named.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from e2e import contention
from e2e.cluster import Cluster, ClusterError, PrerequisiteMissing
from e2e.report import Figure, at_least, at_most, figures_table, table, write
from e2e.stack import models, up
from e2e.stack.load import Load
from e2e.stack.objects import TimedOutError, apply, condition, get, until
from e2e.stack.scenario import Phase, Sample, Watch, fix, phase

if TYPE_CHECKING:
    from types import FrameType

NAME = "tour"
ALPHA_US, BETA_US = 4000, 200
UNBATCHED_PER_SECOND = 1e6 / (ALPHA_US + BETA_US)
SLO_MS = 100
CALLERS = 64
PRICE_PER_HOUR = 2.50  # of the pool `gpu` in e2e/stack/models.py
SHORT_SECONDS, STEP_SECONDS, FALL_SECONDS = 20.0, 180.0, 150.0
OK, FAILED, MISSING, UNDECIDED, INTERRUPTED = 0, 1, 2, 3, 130

_started = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - _started:5.0f} s] {text}", flush=True)


def cost_per_thousand(throughput_per_second: float, replicas: float) -> float:
    return PRICE_PER_HOUR * replicas / (throughput_per_second * 3.6)


def mean_replicas(watch: Watch, of: Phase) -> float:
    inside = [s.replicas for s in watch.within(of)]
    return sum(inside) / len(inside) if inside else 1.0


def timeline(samples: list[Sample], phases: list[Phase]) -> str:
    """A line whenever settings, replicas or the verdict changed."""
    rows = [("s", "load", "replicas", "batch", "p99", "served", "SLO", "why")]
    before = None
    for s in samples:
        key = (s.replicas, s.ready, s.settings, s.slo)
        if key == before:
            continue
        before = key
        load = next((p.name for p in reversed(phases) if s.at_seconds >= p.started_seconds), "")
        slo = {"True": "met", "False": "missed"}.get(s.slo, "unknown")
        rows.append(
            (f"{s.at_seconds:.0f}", load, f"{s.ready}/{s.replicas}", s.text, s.p99, s.throughput, slo, s.reason)
        )
    return table(rows)


def run(cluster: Cluster, monitor: contention.Monitor) -> list[Figure]:
    say("installing Prometheus, the operator from its chart, and the pools")
    up.install(cluster)
    storage = models.waiting_model(ALPHA_US, BETA_US, parallel=2)
    service = models.service(
        NAME,
        storage,
        slo_ms=SLO_MS,
        scaling={"maxReplicas": 8, "scaleDownStabilizationSeconds": 60},
        batching={"instances": {"min": 1, "max": 2}},
    )
    say(f"applying InferenceService {NAME}: a model of α = 4 ms and β = 0.2 ms per item (waiting, not a GPU)")
    apply(cluster, [service])
    until(
        f"{NAME} to be ready",
        lambda: condition(get(cluster, "inferenceservice", NAME), "Ready").get("status") == "True",
        seconds=120,
    )
    load = Load(cluster).start()

    say(f"before: unbatched, one replica, {CALLERS} callers")
    fix(cluster, service, (1, 0, 1), 1)
    begin = time.monotonic()
    before = load.concurrency(NAME, CALLERS, SHORT_SECONDS)
    say(f"  {before.throughput_per_second:.0f}/s, p99 {before.percentile_us(0.99) / 1000:.0f} ms")

    ends = [time.monotonic()]
    say("now the operator may choose; load 4× and then 10× what the unbatched replica carries, then a tenth of that")
    apply(cluster, [service])

    def show(s: Sample) -> None:
        if sys.stdout.isatty() or int(s.at_seconds) % 15 < 3:
            say(f"  {s.ready}/{s.replicas} ready, batch {s.text}, p99 {s.p99}, {s.throughput}, SLO {s.slo} {s.reason}")

    phases: list[Phase] = []
    watch = Watch(cluster, NAME, show)
    with watch.running():
        for name, factor, seconds in (
            ("4×", 4.0, STEP_SECONDS),
            ("10×", 10.0, STEP_SECONDS),
            ("1×", 1.0, FALL_SECONDS),
        ):
            say(f"load {name}: {factor * UNBATCHED_PER_SECOND:.0f}/s for {seconds:.0f} s")
            phases.append(phase(load, watch, name, NAME, factor * UNBATCHED_PER_SECOND, seconds))
            ends.append(time.monotonic())
    chosen, replicas_after = watch.samples[-1].settings, watch.samples[-1].replicas
    print("\n" + timeline(watch.samples, phases) + "\n")
    print(explain(cluster))
    print(cluster.kubectl("get", "tis").stdout)
    say(f"after: the same {CALLERS} callers, with what the operator chose, and no replica more meanwhile")
    fix(cluster, service, chosen, replicas_after)
    after = load.concurrency(NAME, CALLERS, SHORT_SECONDS)
    ends.append(time.monotonic())
    rows = [("", "throughput", "p99", "cost per 1,000", "failed")]
    rows.append(
        (
            "before (unbatched, 1 replica)",
            f"{before.throughput_per_second:.0f}/s",
            f"{before.percentile_us(0.99) / 1000:.0f} ms",
            f"{cost_per_thousand(before.throughput_per_second, 1):.5f}",
            str(before.failed),
        )
    )
    for p in phases:
        r = p.result
        rows.append(
            (
                f"load {p.name}, last minute",
                f"{r.throughput_per_second:.0f}/s",
                f"{r.percentile_us(0.99, since_seconds=p.seconds - 60) / 1000:.0f} ms",
                f"{cost_per_thousand(r.throughput_per_second, mean_replicas(watch, p)):.5f}",
                str(r.failed),
            )
        )
    rows.append(
        (
            f"after ({watch.samples[-1].text}, {replicas_after} replica)",
            f"{after.throughput_per_second:.0f}/s",
            f"{after.percentile_us(0.99) / 1000:.0f} ms",
            f"{cost_per_thousand(after.throughput_per_second, replicas_after):.5f}",
            str(after.failed),
        )
    )
    print(table(rows) + "\n")
    measured = monitor.intervals(begin)
    if measured:
        print(busy_table(["before", *(f"load {p.name}" for p in phases), "after"], [begin, *ends], monitor) + "\n")
    slo_us = SLO_MS * 1000.0
    gain = after.throughput_per_second / before.throughput_per_second / replicas_after
    failed = before.failed + after.failed + sum(p.result.failed for p in phases)
    end_4, end_10, end = ends[1], ends[2], ends[-1]
    met_4, met_10 = (p.within_slo_after_seconds(slo_us) for p in phases[:2])
    back = sum(map(watch.ordered_back, phases))

    def judged(figure: Figure, end_seconds: float, *, lower_is_better: bool = True) -> Figure:
        return contention.judge(figure, measured, end_seconds=end_seconds, lower_is_better=lower_is_better)

    return [
        judged(at_least("throughput per replica, after over before", gain, "×", 5), end, lower_is_better=False),
        judged(at_most("time until p99 stays within the SLO, load 4×", met_4, "s", 180), end_4),
        judged(at_most("time until p99 stays within the SLO, load 10×", met_10, "s", 180), end_10),
        Figure("last change at load 4×", watch.last_change_seconds(phases[0]), "s", "", None),
        judged(at_most("replicas removed and ordered back under a steady load", back, "times", 0), ends[-2]),
        judged(at_most("failed requests", failed, "requests", 0), end),
        Figure("max batch size chosen", chosen[0], "items"),
        Figure("queue delay chosen", chosen[1], "µs"),
        Figure("instances chosen", chosen[2], ""),
    ]


def busy_table(names: list[str], bounds: list[float], monitor: contention.Monitor) -> str:
    """For each phase, how much of the machine others used; `bounds` has one moment more than there are names."""
    rows = [("", "others' share of the cores", "of it with no core idle")]
    for name, start, end in zip(names, bounds, bounds[1:], strict=False):
        inside = monitor.intervals(start, end)
        contended = sum(i.end_seconds - i.start_seconds for i in inside if i.contended)
        rows.append((name, f"{contention.others_share(inside):.0%}", f"{contended:.0f} s"))
    return table(rows)


def explain(cluster: Cluster) -> str:
    """What a user sees of the decisions."""
    done = subprocess.run(
        [sys.executable, "-m", "throughline", "explain", NAME],
        env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout or done.stderr


def _stop(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    signal.signal(signal.SIGTERM, _stop)
    monitor = contention.Monitor()
    try:
        say("starting a cluster: control plane, three nodes, real kubelets and containerd")
        # The nodes of a cluster that KUBECONFIG names are not this machine.
        watching = contextlib.nullcontext() if os.environ.get("KUBECONFIG") else monitor.running()
        with watching, Cluster.start(lambda text: say(f"  {text}")) as cluster:
            figures = run(cluster, monitor)
    except PrerequisiteMissing as missing:
        print(missing, file=sys.stderr)
        return MISSING
    except (ClusterError, TimedOutError, RuntimeError) as error:
        return failed(error, monitor)
    except KeyboardInterrupt:
        print("\nstopped; the cluster is gone", file=sys.stderr)
        return INTERRUPTED
    print(figures_table(figures))
    print(f"\nwritten to out/{write('demo', figures).name}; the cluster is gone")
    return FAILED if any(f.met is False for f in figures) else OK


def failed(error: Exception, monitor: contention.Monitor) -> int:
    """Say what failed, and whether the machine was busy with something else meanwhile."""
    print(f"the demo failed: {error}", file=sys.stderr)
    contended = [i for i in monitor.intervals() if i.contended]
    if not contended:
        return FAILED
    seconds = sum(i.end_seconds - i.start_seconds for i in contended)
    share = contention.others_share(contended)
    print(
        f"for {seconds:.0f} s other processes used {share:.0%} of this machine's cores: try again when it is idle",
        file=sys.stderr,
    )
    return UNDECIDED


if __name__ == "__main__":
    sys.exit(main())
