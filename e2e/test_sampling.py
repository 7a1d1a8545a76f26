"""Sampling on the real cluster: what Triton traces is stored redacted, once, and goes when it is to be erased."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from e2e.stack import evaluation, models, storage
from e2e.stack.objects import apply, until, until_ended
from e2e.stack.watching import kill_container, processes, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.cluster import Cluster
    from e2e.stack.watching import Api

pytestmark = [pytest.mark.e2e, pytest.mark.tracing]

NAME, BATCH, SECONDS = "sampled", 8, 240.0
MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("Y", x.sum(axis=1, keepdims=True))]))
        return answers
"""
PERSONAL = ("anna.schmidt@example.com", "DE89 3704 0044 0532 0130 00", "+49 30 901820", "4111 1111 1111 1111")
GOVERNANCE = {"owner": "t", "purpose": "t", "legalBasis": "Consent", "regions": ["local"], "retentionDays": 1}
SAMPLING = {
    "oneIn": 1,
    "fields": [{"name": "TEXT"}, {"name": "X", "columns": [{"name": "x0", "index": 0}]}, {"name": "Y"}],
    "useRequestId": True,
    "salt": {"name": "salt"},
    "erasures": "erasures",
    "retentionMinutes": 60,
    "storage": {"claimName": evaluation.CLAIM, "path": "samples"},
    # The cluster's server is older than it should be; this few requests it survives.
    "minimumServerVersion": "2.51.0",
    "governance": GOVERNANCE,
}


class Bed:
    """A sampled service of a text model, and its samples as this machine sees them."""

    def __init__(self, cluster: Cluster, api: Api) -> None:
        self.cluster, self.api, self.namespace = cluster, api, api.namespace
        self.folder: Path = storage.install(cluster, evaluation.CLAIM, self.namespace)
        self.folder.chmod(0o777)  # the sidecar's user is not ours
        self.rng = np.random.default_rng(3)
        self.sent = 0

    def object(self, kind: str, name: str, **more: Any) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": self.namespace}, **more}

    def serve(self) -> None:
        tensors = [("TEXT", "TYPE_STRING", 1), ("NOTE", "TYPE_STRING", 1), ("X", "TYPE_FP32", 2)]
        model = {
            "storage": {"uri": "configmap://text-model"},
            "backend": "python",
            "inputs": [{"name": n, "dataType": t, "dims": [d]} for n, t, d in tensors],
            "outputs": [{"name": "Y", "dataType": "TYPE_FP32", "dims": [1]}],
            "probe": "ConfigOnly",
        }
        service = models.service(
            NAME, model, pool="cpu", slo_ms=1000, namespace=self.namespace, monitoring={"sampling": SAMPLING},
            scaling={"maxReplicas": 1}, batching={"maxBatchSize": {"min": BATCH, "max": BATCH}},
        )  # fmt: skip
        salt = self.object("Secret", "salt", stringData={"salt": "0123456789abcdef" * 2})
        apply(self.cluster, [self.object("ConfigMap", "text-model", data={"model.py": MODEL}), salt, service])
        self.api.until_ready(NAME, seconds=SECONDS)

    def send(self, request_id: str, text: str = "hello", rows: int = 1) -> None:
        """One request; NOTE is never listed."""
        x = self.rng.standard_normal((rows, 2)).round(3).tolist()
        inputs = [
            {"name": "TEXT", "datatype": "BYTES", "shape": [rows, 1], "data": [[text]] * rows},
            {"name": "NOTE", "datatype": "BYTES", "shape": [rows, 1], "data": [["hush"]] * rows},
            {"name": "X", "datatype": "FP32", "shape": [rows, 2], "data": x},
        ]
        status, body = self.api.triton("POST", NAME, f"models/{NAME}/infer", {"id": request_id, "inputs": inputs})
        assert status == 200, body
        self.sent += rows

    def files(self) -> list[Path]:
        return [path for path in (self.folder / "samples").rglob("*") if path.is_file()]

    def rows(self) -> list[dict[str, Any]]:
        found = []
        for path in self.files():
            if path.suffix == ".parquet":
                try:
                    found += parquet.read_table(path).to_pylist()
                except FileNotFoundError:
                    continue
        return found

    def until_rows(self, count: int) -> list[dict[str, Any]]:
        self.api.until(f"{count} rows", lambda: len(self.rows()) == count, NAME, seconds=SECONDS)
        return self.rows()

    def stored(self) -> bytes:
        """Every byte of the storage, and the rows in the clear."""
        return b"".join(p.read_bytes() for p in self.files() if p.exists()) + str(self.rows()).encode()

    def pod(self) -> dict[str, Any]:
        (found,) = self.api.pods(NAME)
        return found

    def sidecar(self) -> dict[str, Any]:
        (found,) = [s for s in self.pod()["status"]["initContainerStatuses"] if s["name"] == "sample"]
        return dict(found)

    def kill_sampler(self) -> None:
        """The one child of the sidecar's first process: the server stays in its Service meanwhile."""

        def children() -> list[int]:
            return [here for there, here in processes(self.pod(), "sample").items() if there != "1"]

        (child,) = until("a sampler", children, seconds=60, every=0.5)
        os.kill(child, signal.SIGKILL)

    def kill_sidecar(self) -> None:
        """The container, which makes the pod unready for a moment: until the Service leads there again."""
        killed = self.sidecar()["containerID"]
        kill_container(self.pod(), "sample")

        def another() -> bool:
            now = self.sidecar()
            return "running" in now["state"] and now["containerID"] != killed

        self.api.until("another sidecar", another, NAME)
        self.api.until(
            "the Service to lead there", lambda: self.api.triton("GET", NAME, "health/ready")[0] == 200, NAME
        )

    def state(self) -> dict[str, Any]:
        (path,) = (self.folder / "samples" / ".state").glob("*.json")
        return dict(json.loads(path.read_text()))


@pytest.fixture(scope="module")
def bed(local: Cluster, product: Cluster) -> Iterator[Bed]:
    with scratch(product, "sampling") as api:
        try:
            made = Bed(local, api)
            made.serve()
            # Tracing is on a few seconds after the server is there: what comes before is not sampled.
            made.api.until("the first sample", lambda: made.send("first") or made.rows(), NAME, seconds=SECONDS)
            yield made
        finally:
            local.kubectl("delete", "pv", f"{api.namespace}-{evaluation.CLAIM}", "--wait=false", check=False)


def settled(bed: Bed) -> int:
    """Rows that are there when no more come."""
    last = -1

    def still() -> bool:
        nonlocal last
        before, last = last, len(bed.rows())
        return before == last

    until("no more rows", still, seconds=60, every=12)
    return last


def test_what_is_stored_is_listed_redacted_and_hashed(bed: Bed) -> None:
    count = settled(bed)
    bed.send("customer-4711", f'says "write to {PERSONAL[0]}" or {PERSONAL[1]}')
    bed.send("customer-4712", f"call {PERSONAL[2]}\nor charge {PERSONAL[3]}", rows=3)
    rows = bed.until_rows(count + 4)
    assert rows[0].keys() == {"sample.time", "sample.key", "sample.item", "TEXT", "x0", "Y"}
    stored = bed.stored()
    for value in (*PERSONAL, "customer-471", "hush"):
        assert value.encode() not in stored
    texts = {r["TEXT"] for r in rows}
    assert any(t.startswith('says "write to <email:') and "<iban:" in t for t in texts), texts
    assert any(t.startswith("call <phone:") and "<card:" in t for t in texts), texts
    name = bed.pod()["metadata"]["name"]
    left = bed.cluster.kubectl("exec", name, "-n", bed.namespace, "-c", "sample", "--", "ls", "/samples").stdout
    assert left.split() == []


def test_a_killed_sidecar_loses_and_doubles_nothing_and_no_request_fails(bed: Bed) -> None:
    count = settled(bed)
    for number in range(30):
        bed.send(f"killed-{number}", rows=2)
        if number in (5, 10):
            bed.kill_sampler()
        if number == 20:
            assert bed.sidecar()["restartCount"] == 0
            bed.kill_sidecar()
    rows = bed.until_rows(count + 60)
    assert len({(r["sample.key"], r["sample.item"]) for r in rows if r["TEXT"] == "hello"}) >= 60
    assert settled(bed) == count + 60
    bed.api.until_condition(NAME, "Ready", "True")


def test_a_request_to_erase_is_carried_out_and_stands(bed: Bed) -> None:
    bed.send("erase-me", rows=4)
    count = settled(bed)
    apply(bed.cluster, [bed.object("ConfigMap", "erasures", data={"keys": "erase-me\n"})])
    bed.until_rows(count - 4)
    bed.api.until("it to be told", lambda: bed.state()["erased"]["rows"] >= 4, NAME, seconds=SECONDS)
    bed.send("erase-me", rows=2)
    bed.send("another")
    bed.until_rows(count - 3)


def test_windows_of_the_samples_are_judged_in_a_pod(bed: Bed) -> None:
    for number in range(20):
        bed.send(f"window-{number}", rows=BATCH)
    settled(bed)
    (bed.folder / "data").mkdir(exist_ok=True)
    for name, shift in (("like", 0.0), ("other", 3.0)):
        values = np.random.default_rng(9).standard_normal(1000) + shift
        parquet.write_table(pa.table({"x0": values}), bed.folder / "data" / f"{name}.parquet")
    baseline = {
        "source": {"pvc": {"claimName": evaluation.CLAIM, "path": "data/like.parquet"}},
        "governance": GOVERNANCE,
    }
    declared = {
        "sampling": SAMPLING,
        "drift": {"baseline": baseline, "policy": {"windowRows": 100, "minimumRows": 100}},
    }
    (bed.folder / "data" / "monitoring.json").write_text(json.dumps(declared))
    for name, outcome in (("like", "Passed"), ("other", "Failed")):
        command = [
            *("python3", "-m", "throughline.evaluator.watching", "--job", "--monitoring=/claim/data/monitoring.json"),
            *("--storage=/claim/samples", "--state=/work/state.json", "--output=/work/out"),
            f"--data=/claim/data/{name}.parquet",
        ]
        apply(bed.cluster, [evaluation.evaluator(bed.cluster, bed.namespace, f"drift-{name}", command=command)])
        end = until_ended(bed.cluster, f"drift-{name}", bed.namespace, seconds=SECONDS)
        words = json.loads(end["message"])
        assert (end["exitCode"], words["outcome"]) == (0, outcome), words
        assert "concept drift" in words["message"]
        log = bed.cluster.kubectl("logs", f"drift-{name}", "-n", bed.namespace).stdout
        assert log.splitlines()[-1].startswith("throughline-result: ")


def test_the_operator_has_the_samples_looked_at_and_says_what_was_found(bed: Bed) -> None:
    """By schedule: within bounds of rows that are like them, drifted from others."""
    policy = {"windowRows": 100, "minimumRows": 100}
    uids = bed.api.uids(NAME)
    for name, status, reason in (("like", "True", "WithinBounds"), ("other", "False", "Drifted")):
        source = {"pvc": {"claimName": evaluation.CLAIM, "path": f"data/{name}.parquet"}}
        drift = {"baseline": {"source": source, "governance": GOVERNANCE}, "policy": policy}
        bed.api.patch(NAME, {"monitoring": {"schedule": "* * * * *", "drift": drift}})
        for number in range(30):
            bed.send(f"{name}-{number}", rows=BATCH)
        said = bed.api.until_condition(NAME, "DriftWithinBounds", status, reason, seconds=SECONDS)
        assert "concept drift" in said["message"]
    assert bed.api.uids(NAME) == uids
    bed.api.until_condition(NAME, "Ready", "True")
    bed.api.patch(NAME, {"monitoring": {"drift": None}})
    bed.api.until_condition(NAME, "DriftWithinBounds", "Unknown", "NotConfigured")
    assert bed.api.objects("cronjobs", NAME, "/apis/batch/v1") == []


def test_a_retention_of_one_minute_is_obeyed(bed: Bed) -> None:
    bed.api.patch(NAME, {"monitoring": {"sampling": {"retentionMinutes": 1}}})
    bed.api.until(
        "a sample of the new pod",
        lambda: any(row["TEXT"] == "short-lived" for row in bed.rows()) or bed.send("short", "short-lived"),
        NAME,
        seconds=SECONDS,
    )
    oldest_seconds = 0.0

    def gone() -> bool:
        nonlocal oldest_seconds
        left = bed.rows()
        times = [row["sample.time"] for row in left if row["TEXT"] == "short-lived"]
        oldest_seconds = max([oldest_seconds, *((datetime.now(UTC) - at).total_seconds() for at in times)])
        return not left

    # A file goes within half a minute after the minute of its oldest row; those of before go at once.
    until("all samples to be gone", gone, seconds=150, every=2)
    assert [path for path in bed.files() if path.suffix == ".parquet"] == []
    print(f"\nthe last row that was seen was {oldest_seconds:.0f} s old")
    assert 0 < oldest_seconds < 120
