"""The evaluator in a pod against a real Triton: its outputs are the network's, its numbers those of scikit-learn."""

from __future__ import annotations

import base64
import io
import json
import secrets
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest
from ml_dtypes import bfloat16
from pyarrow import parquet
from sklearn import metrics

from e2e.stack import evaluation, storage
from e2e.stack.objects import apply, get, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

ROWS = 5003  # not a multiple of the batch size
BATCH = 64
# The client's own output, before any scoring.
DUMP = """
import asyncio, base64, io, pathlib, sys
import numpy as np
from throughline.evaluator import rows, suitefile
from throughline.evaluator.infer import Retry
from throughline.evaluator.progress import Progress
from throughline.evaluator.session import How, Session, Target
from throughline.evaluator.address import Address
from throughline.evaluator.triton import Asking, Triton
suite = suitefile.load("/claim/data/dense.yaml").spec
data = rows.read(suite, "/claim/data/rows.parquet", scratch=pathlib.Path("/work"))
how = How(None, 4, Retry(), None, False, pathlib.Path("/work/answers"))
connect = lambda t, output: Triton(Address.parse(t.url), t.model, t.version, output, Asking(30.0))
with asyncio.Runner() as runner:
    session = Session(suite, how, Progress(sys.stderr, shown=False), runner, connect)
    target = Target("dense", "grpc://server:8001", "dense")
    session.open(target)
    out = io.BytesIO()
    np.save(out, session.output(target, data)[0])
    session.close()
print(base64.b64encode(out.getvalue()).decode())
"""


class Bed:
    """A namespace with restricted pod security, a server, and what the network itself says of the rows."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        folder = self.folder = storage.install(cluster, evaluation.CLAIM, namespace)
        network = evaluation.put_model(folder, "dense", max_batch_size=BATCH, width=64, layers=2)
        evaluation.put_quantised_model(folder, "int8", network, max_batch_size=BATCH)
        evaluation.put_bfloat16_model(folder, "halves", max_batch_size=BATCH)
        rng = np.random.default_rng(11)
        values = rng.standard_normal((ROWS, len(evaluation.COLUMNS))).astype(np.float32)
        session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
        (self.output,) = session.run(None, {"X": values})
        self.labels = self.output.argmax(axis=1)
        wrong = rng.random(ROWS) < 0.2
        self.labels[wrong] = rng.integers(0, 10, wrong.sum())
        evaluation.put_rows(folder, values, self.labels)
        for name, floor in (("dense", "0.5"), ("strict", "0.95")):
            evaluation.put_suite(
                folder,
                name,
                task={"type": "Classification", "classes": evaluation.CLASSES},
                output={"tensor": "Y", "kind": "Logits"},
                metrics=[{"name": "accuracy", "floor": floor}, {"name": "logLoss"}, {"name": "f1"}],
                intervals={"resamples": 100},
            )

        self.values = values
        evaluation.put_suite(
            folder,
            "halves",
            inputs=[{"tensor": "X", "columns": evaluation.COLUMNS[:10], "datatype": "BF16"}],
            task={"type": "Classification", "classes": evaluation.CLASSES},
            output={"tensor": "Y", "kind": "Logits"},
            metrics=[{"name": "accuracy", "floor": "0"}],
            intervals={"resamples": 100},
        )

    def serve(self) -> None:
        apply(self.cluster, evaluation.server(self.cluster, self.namespace))
        self.kubectl("wait", "--for=condition=Ready", "pod/server", "--timeout=90s", timeout_seconds=100)

    def kubectl(self, *arguments: str, **more: Any) -> str:
        return self.cluster.kubectl(*arguments, "-n", self.namespace, **more).stdout

    def start(self, name: str, **container: Any) -> None:
        apply(self.cluster, [evaluation.evaluator(self.cluster, self.namespace, name, **container)])

    def ended(self, name: str) -> tuple[int, str, str]:
        """(exit code, last words, log)."""

        def state() -> dict[str, Any]:
            statuses = ((get(self.cluster, "pod", name, self.namespace) or {}).get("status") or {}).get(
                "containerStatuses"
            ) or [{}]
            return dict(statuses[0].get("state", {}).get("terminated") or {})

        end = until(f"{name} to end", state, seconds=120)
        return int(end["exitCode"]), str(end.get("message", "")), self.kubectl("logs", name)


@pytest.fixture(scope="module")
def bed(local: Cluster) -> Iterator[Bed]:
    namespace = f"evaluator-{secrets.token_hex(3)}"
    meta = {"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    apply(local, [{"apiVersion": "v1", "kind": "Namespace", "metadata": meta}])
    try:
        bed = Bed(local, namespace)
        bed.serve()
        yield bed
    finally:
        local.kubectl("delete", "namespace", namespace, "--wait=false", check=False)
        local.kubectl("delete", "pv", f"{namespace}-{evaluation.CLAIM}", "--wait=false", check=False)


def test_outputs_are_those_of_the_network(bed: Bed) -> None:
    bed.start("dump", command=["python3", "-c", DUMP])
    code, _, log = bed.ended("dump")
    assert code == 0, log
    output = np.load(io.BytesIO(base64.b64decode(log.splitlines()[-1])))
    assert (output.shape, output.dtype) == (bed.output.shape, np.float32)
    # Rows in another order, or of another batch, would be off by whole units.
    np.testing.assert_allclose(output, bed.output, rtol=1e-4, atol=1e-5)


def test_numbers_are_those_of_scikit_learn(bed: Bed) -> None:
    bed.start("passes", args=evaluation.arguments("dense", "dense", "-o", "json"))
    code, words, log = bed.ended("passes")
    assert code == 0, log
    said = json.loads(words)
    assert (said["exitCode"], said["outcome"]) == (0, "Passed")
    found = json.loads(log[log.index("{\n") :])["result"]
    values = {e["metric"]: e["value"] for e in found["metrics"]}
    predicted = bed.output.argmax(axis=1)
    likely = np.exp(bed.output - bed.output.max(axis=1, keepdims=True))
    likely /= likely.sum(axis=1, keepdims=True)
    assert values["accuracy"] == metrics.accuracy_score(bed.labels, predicted)
    assert values["f1"] == pytest.approx(metrics.f1_score(bed.labels, predicted, average="macro"), abs=1e-12)
    assert values["logLoss"] == pytest.approx(metrics.log_loss(bed.labels, likely), rel=1e-4)
    assert (found["rows"], found["model"]) == (ROWS, "dense/1")


def test_the_batch_of_a_dynamically_quantised_model_is_told(bed: Bed) -> None:
    """Each activation is quantised by the range of its whole batch, so a row's answer depends on the others."""
    bed.start("many", args=evaluation.arguments("dense", "int8", "-o", "json"))
    bed.start("one", args=evaluation.arguments("dense", "int8", "-o", "json", "--batch-size=1", "--concurrency=1"))
    results = []
    for name in ("many", "one"):
        code, _, log = bed.ended(name)
        assert code == 0, log
        results.append(json.loads(log[log.index("{\n") :])["result"])
    assert [result["batchRows"] for result in results] == [BATCH, 1]
    for result in results:
        (note,) = result["notes"]
        assert note.startswith("The answers depend on the batch: "), note
    losses = [next(e["value"] for e in result["metrics"] if e["metric"] == "logLoss") for result in results]
    assert losses[0] != losses[1]
    bed.start("plain", args=evaluation.arguments("dense", "dense", "-o", "json"))
    code, _, log = bed.ended("plain")
    assert code == 0, log
    assert json.loads(log[log.index("{\n") :])["result"]["notes"] == []


def test_a_model_of_bfloat16_is_evaluated(bed: Bed) -> None:
    bed.start("halves", args=evaluation.arguments("halves", "halves", "-o", "json"))
    code, _, log = bed.ended("halves")
    found = json.loads(log[log.index("{\n") :])["result"]
    rounded = bed.values[:, :10].astype(bfloat16).astype(np.float32)
    assert found["metrics"][0]["value"] == metrics.accuracy_score(bed.labels, rounded.argmax(axis=1)), code


def test_columns_that_cannot_be_used_are_named_and_no_verdict(bed: Bed) -> None:
    folder = bed.folder / "data"
    table = parquet.read_table(folder / "rows.parquet")
    serial = pa.array([2**53 + 1] * table.num_rows, pa.int64())
    parquet.write_table(table.set_column(0, "x0", serial), folder / "serial.parquet")
    bed.start("serial", args=evaluation.arguments("dense", "dense", "--data=/claim/data/serial.parquet", "--job"))
    code, words, log = bed.ended("serial")
    assert (code, json.loads(words)["exitCode"]) == (0, 2), log
    assert "column 'x0' (spec.inputs[X]) is int64 and has integers beyond ±2^53" in json.loads(words)["message"]


def test_a_failed_gate_and_bad_input_end_the_pod_so(bed: Bed) -> None:
    bed.start("fails", args=evaluation.arguments("strict", "dense"))
    bed.start("bad", args=evaluation.arguments("dense", "dense", "--data=/claim/data/none.parquet"))
    code, words, log = bed.ended("fails")
    assert (code, json.loads(words)["outcome"]) == (1, "Failed"), log
    code, words, log = bed.ended("bad")
    assert code == 2, log
    assert "there is no such file (/claim/data has " in json.loads(words)["message"]


def test_a_server_that_is_killed_in_the_middle_costs_only_time(bed: Bed) -> None:
    more = ("-o", "json", "--max-rows-per-second=600", "--progress")
    bed.start("patient", args=evaluation.arguments("dense", "dense", *more))
    until("rows to be answered", lambda: "rows/s" in bed.kubectl("logs", "patient", check=False), seconds=60)
    bed.kubectl("delete", "pod", "server", "--wait=true", "--grace-period=0", "--force")
    bed.serve()
    code, _, log = bed.ended("patient")
    assert code == 0, log
    assert "retried" in log
    found = json.loads(log[log.index("{\n") :])["result"]
    assert found["metrics"][0]["value"] == metrics.accuracy_score(bed.labels, bed.output.argmax(axis=1))
