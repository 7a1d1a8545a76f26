"""The evaluator's throughput against perf_analyzer's: the same server, model, batch size and callers, turn by turn."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING

import numpy as np

from e2e.report import Figure, at_least, table
from e2e.stack import evaluation, storage
from e2e.stack.objects import apply

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster import Cluster
    from e2e.stack.load import Load

GOAL = 0.9
ROUNDS = 7
SECONDS = 4.0
BATCH, CALLERS = 64, 4
# An accelerator's time is waited for; the network is computed on the two cores that carry everything here, so that
# what a client costs is taken from the server.
ALPHA_US, BETA_US = 4000, 100
ROWS = {"device": 40_000, "network": 200_000}  # for about as long as perf_analyzer measures
WIDTHS = {"device": 8, "network": 16}
TASKS = {
    "device": ({"type": "Regression"}, "Value", "meanAbsoluteError"),
    "network": ({"type": "Classification", "classes": evaluation.CLASSES}, "Logits", "accuracy"),
}
SERVICE, POD = "server", "evaluate"


def _evaluated(cluster: Cluster, model: str) -> float:
    """Rows per second, from the first request to the last answer."""
    command = ["python3", "-m", "throughline.evaluator.cli"]
    run = evaluation.arguments(model, model, f"--batch-size={BATCH}", f"--concurrency={CALLERS}")
    # Exit code 1: what is measured here has no gates.
    cluster.kubectl("exec", POD, "--", *command, *run, check=False, timeout_seconds=300)
    text = cluster.kubectl("exec", POD, "--", "cat", "/work/out/run.json").stdout
    cluster.kubectl("exec", POD, "--", "rm", "-r", "/work/out")
    return float(json.loads(text)[model]["rows_per_second"])


def run(cluster: Cluster, load: Load, progress: Callable[[str], None]) -> list[Figure]:
    """For each model the median, over rounds, of the ratio of the two within a round: the machine's other load
    changes more slowly than rounds do.
    """
    folder = storage.install(cluster, evaluation.CLAIM)
    evaluation.put_model(folder, "network", max_batch_size=BATCH, width=512, layers=4)
    evaluation.put_waiting_model(folder, "device", max_batch_size=BATCH, alpha_us=ALPHA_US, beta_us=BETA_US)
    for model, rows in ROWS.items():
        values = np.zeros((rows, len(evaluation.COLUMNS)), np.float32)  # perf_analyzer sends zeros, too
        evaluation.put_rows(folder, values, np.zeros(rows, np.int64), name=f"{model}.parquet")
        evaluation.put_suite(
            folder,
            model,
            rows=f"{model}.parquet",
            inputs=[{"tensor": "X", "columns": evaluation.COLUMNS[: WIDTHS[model]], "datatype": "FP32"}],
            task=TASKS[model][0],
            output={"tensor": "Y", "kind": TASKS[model][1]},
            metrics=[{"name": TASKS[model][2]}],
            intervals={"resamples": 100},
        )
    apply(
        cluster,
        [
            *evaluation.server(cluster, "default", SERVICE),
            evaluation.evaluator(cluster, "default", POD, command=["sleep", "86400"]),
        ],
    )
    for pod in (SERVICE, POD):
        cluster.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=120s", timeout_seconds=130)
    figures = []
    for model in ROWS:
        ratios, cells = [], [("round", "perf_analyzer rows/s", "evaluator rows/s", "ratio")]
        for number in range(ROUNDS):
            theirs = (
                BATCH * load.concurrency(model, CALLERS, SECONDS, service=SERVICE, batch=BATCH).throughput_per_second
            )
            ours = _evaluated(cluster, model)
            ratios.append(ours / theirs)
            cells.append((str(number + 1), f"{theirs:,.0f}", f"{ours:,.0f}", f"{ours / theirs:.3f}"))
        progress(f"evaluator: {model}\n{table(cells)}")
        name = f"evaluator's throughput over perf_analyzer's, {model}, {BATCH} rows, {CALLERS} callers"
        figures.append(at_least(name, statistics.median(ratios), "×", GOAL))
    cluster.kubectl("delete", "pod", SERVICE, POD, "--wait=false")
    cluster.kubectl("delete", "service", SERVICE)
    return figures
