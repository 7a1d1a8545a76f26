"""`make bench`: run all figures on one cluster, print them as a table and write out/bench.json."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench import beside, core, evaluator, oracle, rest, sensitivity, step, traces
from e2e.cluster import Cluster, PrerequisiteMissing
from e2e.report import Figure, figures_table, write
from e2e.stack import models, storage, up
from e2e.stack.load import Load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from e2e.stack.scenario import Settings

BATCHED: tuple[Settings, ...] = tuple(
    (size, delay, instances) for size in (8, 32, 64) for delay in (0, 500) for instances in (1, 2)
)
GRID: tuple[Settings, ...] = ((1, 0, 1), (1, 0, 2), *BATCHED)
ONNX_WIDTH = 1024
ONNX_INPUTS = 16  # few, since perf_analyzer keeps all that it sends
# docs/gpu.md's GPU, one: its table of times as a wait, four times as slow, so that two cores carry what it serves.
TABLE_SLOWER = 4.0
TABLE_SLO_MS = int(100 * TABLE_SLOWER)
TABLE_GRID: tuple[Settings, ...] = (
    *((1, 0, 1), (64, 2000, 1), (32, 0, 4), (64, 0, 4)),
    *((size, 0, instances) for size in (8, 16, 32, 64) for instances in (1, 2)),
)
STEPS = ("batches", "serial", "onnx", "gpu-table")
ALONE = ("core", "traces")  # need no cluster
BESIDE_LOAD = {"evaluator": evaluator.run, "oracle": oracle.run}
PARTS = (*STEPS, *BESIDE_LOAD, "rest", *ALONE)
ASKED = "sensitivity"  # needs a quarter of an hour, so only where it is named
_started = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - _started:5.0f} s] {text}", flush=True)


def cases() -> dict[str, step.Case]:
    """The two models of the tour, which wait instead of computing, a real network on the CPU, and a GPU's times."""
    scaling = {"maxReplicas": 8, "scaleDownStabilizationSeconds": 60}
    batching = {"instances": {"min": 1, "max": 2}}
    levels = ((4.0, 120.0), (10.0, 150.0), (1.0, 120.0))

    def waiting(name: str, alpha_us: int, beta_us: int, parallel: int) -> dict[str, object]:
        model = models.waiting_model(alpha_us, beta_us, parallel=parallel)
        return models.service(name, model, scaling=scaling, batching=batching)

    onnx = models.service(
        "onnx",
        {**models.onnx_model(ONNX_INPUTS), "storage": {"uri": f"pvc://{storage.CLAIM}/onnx"}},
        pool="cpu",
        slo_ms=250,
        scaling={"maxReplicas": 2, "scaleDownStabilizationSeconds": 60},
        batching=batching,
    )
    table = models.service(
        "gpu-table",
        models.table_model(models.H200_MS, slower=TABLE_SLOWER),
        slo_ms=TABLE_SLO_MS,
        scaling={"maxReplicas": 1},
    )
    return {
        "batches": step.Case("batches", waiting("batches", 4000, 200, 2), 100, levels, GRID, 64, 5.0, 1e6 / 4200),
        "serial": step.Case("serial", waiting("serial", 1000, 2000, 1), 100, levels, GRID, 64, None, 1e6 / 3000),
        # Two cores carry everything here, so the levels end where the cores do.
        "onnx": step.Case("onnx", onnx, 250, ((2.0, 120.0), (3.0, 120.0), (0.3, 90.0)), GRID, 32, None),
        "gpu-table": step.Case(
            "gpu-table",
            table,
            TABLE_SLO_MS,
            ((4.0, 120.0), (10.0, 120.0), (1.0, 90.0)),
            TABLE_GRID,
            64,
            5.0,
            1e3 / (TABLE_SLOWER * models.H200_MS[1][1]),
            share=0.97,
            limit_seconds=60.0,
        ),
    }


def on_cluster(cluster: Cluster, parts: Sequence[str]) -> list[Figure]:
    up.install(cluster)
    figures = rest.run(cluster, say) if "rest" in parts else []
    if "onnx" in parts:
        folder = storage.install(cluster)
        storage.put_onnx(folder, "onnx", width=ONNX_WIDTH, layers=12, inputs=ONNX_INPUTS)
    load = Load(cluster).start()
    for name, part in BESIDE_LOAD.items():
        if name in parts:
            figures += part(cluster, load, say)
    for name in STEPS:
        if name in parts:
            figures += step.run(cluster, load, cases()[name], say)
            print(figures_table(figures), flush=True)
    return figures


def run_traces(given: argparse.Namespace) -> list[Figure]:
    with ExitStack() as stack:
        before = None if given.beside is None else beside.checked(given.beside)
        if given.wheel is not None:
            before = stack.enter_context(beside.unpacked(given.wheel))
        return traces.run(say, given.traces, seeds=given.seeds, only=given.only, before=before)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, ASKED, []], help="all but sensitivity when none is named")
    parser.add_argument("--traces", type=Path, metavar="FOLDER", help="CSV files of recorded arrivals to run, too")
    parser.add_argument("--seeds", type=int, default=traces.SEEDS, metavar="N", help="traces: seeds 1 to N (default 5)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="traces, sensitivity: this one; may be repeated"
    )
    parser.add_argument("--constant", default="", metavar="TEXT", help="sensitivity: those whose name has it in it")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--wheel", type=Path, metavar="FILE", help="traces: another build of the product to run, too")
    other.add_argument("--beside", type=Path, metavar="FOLDER", help="traces: the same, as a folder with throughline/")
    given = parser.parse_args()
    if given.seeds < 1:
        parser.error("--seeds: at least 1")
    parts = given.parts or list(PARTS)
    figures: list[Figure] = core.run() if "core" in parts else []
    try:
        if "traces" in parts:
            figures += run_traces(given)
        if ASKED in parts:
            figures += sensitivity.run(say, given.only, given.constant)
        if set(parts) - {*ALONE, ASKED}:
            with Cluster.start(say) as cluster:
                figures += on_cluster(cluster, parts)
    except (PrerequisiteMissing, traces.UnknownTraceError, beside.NoBuildError) as missing:
        print(missing, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(figures_table(figures))
    print(f"\nwritten to out/{write('bench', figures).name}")
    return 0 if all(f.met is not False for f in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
