"""A data set in a real S3 store that is not AWS's: what reads it has its keys from a Secret, and says what is wrong."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.cluster import binary
from e2e.cluster.cache import Cache
from e2e.stack import evaluation
from e2e.stack.bed import ROWS, Bed
from e2e.stack.objects import apply, condition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

STORE, PORT = "store", 7070
KEY, SECRET = "the-key", "the-secret"


def store(bed: Bed) -> list[dict[str, Any]]:
    """Versitygw over the claim's directory: each folder in it is a bucket."""
    container = {
        "name": STORE,
        "image": bed.cluster.images["prometheus"],  # a small one; the program is on the claim
        "command": ["/claim/bin/versitygw", f"--port=:{PORT}", "--health=/health", "posix", "--nometa", "/claim"],
        "env": [{"name": "ROOT_ACCESS_KEY", "value": KEY}, {"name": "ROOT_SECRET_KEY", "value": SECRET}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1},
        "securityContext": evaluation.SAFE,
        "volumeMounts": [{"name": "claim", "mountPath": "/claim", "readOnly": True}],
    }
    labels = {"app": STORE}
    service = {"selector": labels, "ports": [{"port": PORT}]}
    return [
        evaluation.pod(STORE, bed.namespace, 65532, container, [], labels),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": STORE, "namespace": bed.namespace},
            "spec": service,
        },
    ]


def keys(bed: Bed, name: str, secret: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": bed.namespace},
        "stringData": {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": secret},
    }


def suite(bed: Bed, name: str, file: str, secret: str | None) -> dict[str, Any]:
    made = bed.suite(name)
    source = {"url": f"s3://data/{file}", "endpoint": f"http://{STORE}.{bed.namespace}.svc:{PORT}"}
    made["spec"]["dataset"]["source"] = {"uri": source if secret is None else {**source, "secretName": secret}}
    return made


@pytest.fixture(scope="module")
def bed(local: Cluster, product: Cluster) -> Iterator[Bed]:
    with Bed.made(local, product, "stores") as made:
        cache = Cache.of_environment()
        with tempfile.TemporaryDirectory() as work:
            binary.build(cache, "s3", Path(work), print)
        (made.folder / "bin").mkdir()
        shutil.copy(binary.path(cache, "s3", "versitygw"), made.folder / "bin")
        apply(made.cluster, [*store(made), keys(made, "right", SECRET), keys(made, "wrong", "guessed")])
        yield made


def test_rows_are_read_from_a_store_and_what_is_wrong_is_named(bed: Bed) -> None:
    api, name = bed.api, "stored"
    wrong = {
        "absent": (suite(bed, "absent", "never-written.parquet", "right"), "there is no such file"),
        "refused": (suite(bed, "refused", "rows.parquet", "wrong"), "secretName"),
        "unnamed": (suite(bed, "unnamed", "rows.parquet", None), "secretName"),
    }
    right = suite(bed, "right", "rows.parquet", "right")
    service = bed.service(name, "good", "right")
    service["spec"]["evaluation"]["suites"] = [{"name": s} for s in ("right", *wrong)]
    apply(bed.cluster, [right, *(s for s, _ in wrong.values()), service])
    api.until_ready(name)

    runs = {run["spec"]["suite"]: run for run in bed.ended(name, 1 + len(wrong))}
    assert condition(runs["right"], "Succeeded")["reason"] == "VerdictPassed"
    assert runs["right"]["status"]["rows"] == ROWS
    (value,) = (e["value"] for e in bed.result(runs["right"])["metrics"] if e["metric"] == "accuracy")
    assert value == bed.accuracy
    for what, (_, words) in wrong.items():
        said = condition(runs[what], "Succeeded")
        assert (said["status"], said["reason"]) == ("False", "BadInput")
        assert words in said["message"]
    api.until_condition(name, "Ready", "True")
    (policy,) = (
        p for p in api.objects("networkpolicies", name, "/apis/networking.k8s.io/v1")
        if p["metadata"]["name"] == f"{name}-evaluation"
    )  # fmt: skip
    assert policy["spec"]["egress"][-1] == {"ports": [{"port": PORT, "protocol": "TCP"}]}
