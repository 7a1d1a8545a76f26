"""`python -m bench.gpu`: the product tunes a real network on a real GPU, and is held against a sweep of the settings.

Triton and Prometheus run as processes of this machine; Kubernetes is all that is missing. What decides is the
operator's own: its adapters ask Prometheus and Triton, `domain.control.loop` decides, `reconcile.batch` loads what was
decided and verifies it, and the server's flags and configuration are those of the rendered Deployment and ConfigMap.
There is one replica and there may be no other, so only the batch settings are chosen.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from throughline.api.batching import BatchSettings
from throughline.domain.control.tuning import MIN_COUNT
from throughline.domain.manifests import triton_config
from throughline.domain.records import settings_text

from bench import step
from bench.gpu.load import Load
from bench.gpu.pilot import Operator
from bench.gpu.server import ADDRESS, KEY, NAME, SLO_MS, Place, port, service, serving
from e2e.report import Figure, at_least, at_most, figures_table, table, write
from e2e.stack.load import Result
from e2e.stack.scenario import Swept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from e2e.stack.scenario import Settings

SWEEP_SECONDS, SETTLE_SECONDS = 4.0, 0.5
LAST_SECONDS = 30.0  # of the tuned service
ROUNDS = 2  # of the best of the sweep, there and back
GRID: tuple[Settings, ...] = (
    *((size, 0, 1) for size in (16, 32, 64)),
    *((size, 0, 2) for size in (8, 16, 32, 64)),
    (64, 2000, 1),
)
BATCHES_SHOWN = (1, 2, 4, 8, 16, 32, 64)
_started = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - _started:5.0f} s] {text}", flush=True)


async def swept(place: Place, load: Load, grid: Sequence[Settings], failed: list[int]) -> list[Swept]:
    """Each of the settings by hand: loaded, read back, measured."""
    found = []
    for size, delay, instances in grid:
        wanted = BatchSettings(max_batch_size=size, max_queue_delay_microseconds=delay, instances=instances)
        config = triton_config(place.spec.model, NAME, wanted, accelerator=place.pool.accelerator)
        await port().load(ADDRESS, NAME, config, key=KEY)
        assert await port().settings(ADDRESS, NAME, key=KEY) == wanted
        await asyncio.sleep(SETTLE_SECONDS)
        result = await load.measure(SWEEP_SECONDS)
        failed.append(result.failed)
        found.append(Swept((size, delay, instances), result.throughput_per_second, result.percentile_us(0.99)))
        by_second = Counter(int(at) for at in result.sent_seconds).most_common(int(SWEEP_SECONDS))
        say(f"sweep {settings_text(wanted)}: {found[-1].throughput_per_second:.0f}/s ({by_second[-1][1]} to "
            f"{by_second[0][1]} in one second), p99 {found[-1].p99_us / 1000:.1f} ms")  # fmt: skip
    return found


def learned(operator: Operator) -> str:
    """The curve beside the means that it was made from."""
    known = operator.status.control.service_time
    if known is None:
        return "nothing was learned"
    inflation = known.contention_permille / 1000
    rows = [("instances", "batch", "executions", "measured", "s(b)")]
    for (instances, size), total in sorted(operator.state.memory.estimated.service_times.totals.items()):
        if size in BATCHES_SHOWN and total.executions >= MIN_COUNT:
            line = (known.alpha_microseconds + known.beta_microseconds * size) * (1 + inflation * (instances - 1))
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
        operator, began = Operator(place, first, say), time.monotonic()
        async with load.running(tuning):
            await operator.tune(longest_seconds, quiet_seconds)
        tuned = operator.settings
        mine = (tuned.max_batch_size, tuned.max_queue_delay_microseconds, tuned.instances)
        took = max(0.0, operator.changed - began)
        say(f"tuned to {settings_text(tuned)}, last change after {took:.0f} s: {operator.conditions}")
        say(learned(operator))
        points = [mine, *(g for g in GRID if g != mine)]
        found = await swept(place, load, points, failed)
        last = step.finalists(found, mine, SLO_MS * 1000.0)[:3]
        rounds = [await swept(place, load, last[:: 1 - 2 * (n % 2)], failed) for n in range(ROUNDS)]
    share, best = step.near_best(rounds, mine, SLO_MS * 1000.0)
    (final,) = tuning
    since = final.sent_seconds[-1] - LAST_SECONDS
    p99_ms = final.percentile_us(0.99, since_seconds=since) / 1000
    last_per_second = sum(s >= since for s in final.sent_seconds) / LAST_SECONDS
    at_mine = median(s.throughput_per_second for one in (found, *rounds) for s in one if s.settings == mine)
    return [
        Figure("unbatched, one instance", before.throughput_per_second, "/s"),
        Figure(f"under the operator, last {LAST_SECONDS:g} s", last_per_second, "/s"),
        Figure("the same settings, in the sweep", at_mine, "/s"),
        at_least("throughput over unbatched, same GPU", last_per_second / before.throughput_per_second, "×", 5),
        at_least(f"share of the best of the sweep, {best}", share, "", 0.95),
        at_most("p99 of these, as share of the SLO", p99_ms / SLO_MS, "", 1),
        Figure(f"p99 under the operator, last {LAST_SECONDS:g} s", p99_ms, "ms"),
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
    parser.add_argument("--longest-seconds", type=float, default=160, help="of tuning")
    parser.add_argument("--quiet-seconds", type=float, default=130, help="without a change, after which it has tuned")
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
