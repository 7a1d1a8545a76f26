"""A model that a person must approve: when it serves, and that anybody can verify afterwards what was approved."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e import helm
from e2e.stack import up
from e2e.stack.bed import SECONDS, Bed
from e2e.stack.objects import apply, condition, get, until
from e2e.stack.watching import pause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

UNAPPROVED_SECONDS = 20.0
POLICY = Path(__file__).resolve().parent.parent / "manifests" / "approval" / "policy.yaml"


@pytest.fixture(scope="module")
def bed(local: Cluster, product: Cluster) -> Iterator[Bed]:
    with Bed.made(local, product, "verify") as made:
        yield made


def test_a_model_that_needs_approval_serves_when_its_very_files_are_approved(bed: Bed) -> None:
    api, name = bed.api, "approved"
    bed.cluster.kubectl("apply", "-f", str(POLICY))
    apply(bed.cluster, [bed.suite("floor"), bed.service(name, "good", "floor", gate="Enforce", approval="Required")])
    said = api.until_condition(name, "AccuracyPassing", "Unknown", "AwaitingApproval", seconds=SECONDS)
    (revision,) = bed.revisions(name)
    assert revision["metadata"]["name"] in said["message"]
    whoami = json.loads(bed.cluster.kubectl("auth", "whoami", "-o", "json").stdout)
    approval = {
        "apiVersion": "throughline.io/v1alpha1",
        "kind": "ModelApproval",
        "metadata": {"name": "of-other-files", "namespace": bed.namespace},
        "spec": {
            "service": name,
            "revision": revision["metadata"]["name"],
            "artifactDigest": f"sha256:{'0' * 64}",
            "decision": "Approved",
            "approvedBy": whoami["status"]["userInfo"]["username"],
            "reason": "looks good",
        },
    }
    apply(bed.cluster, [approval])
    pause(UNAPPROVED_SECONDS)
    assert api.objects("deployments", name, "/apis/apps/v1") == []
    approval["metadata"]["name"] = "of-these-files"
    approval["spec"]["artifactDigest"] = revision["spec"]["artifact"]["digest"]
    apply(bed.cluster, [approval])
    api.until_ready(name)
    api.until_condition(name, "AccuracyPassing", "True", "AllPassed")
    (revision,) = bed.revisions(name)
    assert revision["status"]["approval"]["name"] == "of-these-files"
    until("its statement", lambda: statement_of(bed, name), seconds=60)


PARTS = ("model", "data", "suite", "result", "approval", "bom")


def statement_of(bed: Bed, name: str) -> dict[str, str]:
    """The data of the ConfigMap with the statement, once it has the approval."""
    (revision,) = bed.revisions(name)
    found = get(bed.cluster, "configmap", f"{revision['metadata']['name']}-statement", bed.namespace)
    data = dict((found or {}).get("data") or {})
    digest = f"sha256:{hashlib.sha256(data.get('statement.json', '').encode()).hexdigest()}"
    signed = condition(revision, "Signed").get("status") == "True" and revision["status"]["statementDigest"] == digest
    return data if signed and approved_by(data["statement.json"]) else {}


def approved_by(statement: str) -> str | None:
    payload = json.loads(base64.b64decode(json.loads(statement)["payload"]))
    return (payload["predicate"].get("approval") or {}).get("approvedBy")


def test_what_was_admitted_is_verified_on_a_laptop_and_any_changed_byte_is_named(bed: Bed, tmp_path: Path) -> None:
    """What `kubectl get` gives, the claim's files and the public key; no cluster. After the test with the approval."""
    name = "approved"
    data = statement_of(bed, name)
    (run,) = bed.runs(name)
    secret = get(bed.cluster, "secret", up.SIGNING, helm.NAMESPACE)
    assert secret is not None
    stored = get(bed.cluster, "configmap", run["metadata"]["name"], bed.namespace)
    assert stored is not None

    def given(kind: str, name: str) -> bytes:
        """As people save it; other programs leave a Y without the quotes that kubectl reads it by."""
        return bed.cluster.kubectl("get", kind, name, "-n", bed.namespace, "-o", "yaml").stdout.encode()

    files = {
        "statement.json": data["statement.json"].encode(),
        "signing.pub": base64.b64decode(secret["data"]["signing.pub"]),
        "data": (bed.folder / "data" / "rows.parquet").read_bytes(),
        "suite": given("evaluationsuite", "floor"),
        "result": stored["data"]["result.json"].encode(),
        "approval": given("modelapproval", "of-these-files"),
        "bom": data["bom.json"].encode(),
        "model/1/model.onnx": (bed.folder / "models" / "good" / "1" / "model.onnx").read_bytes(),
    }
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)

    def verify() -> tuple[int, dict[str, str]]:
        command = ["throughline", "verify", "--statement", "statement.json", "--key", "signing.pub", "-o", "json"]
        done = subprocess.run(
            [*command, *(f"--{part}={part}" for part in PARTS)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout, done.stderr
        return done.returncode, {c["part"]: c["status"] for c in json.loads(done.stdout)["checks"]}

    code, checks = verify()
    assert (code, set(checks.values())) == (0, {"ok"}), checks
    changes = {
        "model/1/model.onnx": (b"\x00", b"\x01"), "data": (b"\x00", b"\x01"), "suite": (b'"0.8"', b'"0.7"'),
        "result": (b'"rows": 2000', b'"rows": 2001'), "approval": (b"looks good", b"looks goot"),
        "bom": (b"1.6", b"1.5"),
    }  # fmt: skip
    for path, (old, new) in changes.items():
        assert old in files[path], path
        (tmp_path / path).write_bytes(files[path].replace(old, new, 1))
        code, checks = verify()
        part = path.split("/")[0]
        assert (code, {p for p, status in checks.items() if status == "FAILED"}) == (1, {part})
        (tmp_path / path).write_bytes(files[path])
    (tmp_path / "statement.json").write_bytes(files["statement.json"].replace(b'"payload":"e', b'"payload":"f'))
    assert verify()[0] == 1
