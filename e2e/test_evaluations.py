"""Evaluations by the operator on the real cluster: a gate that keeps worse models out, one result whatever dies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from e2e import helm
from e2e.stack import evaluation, storage, up
from e2e.stack.audit import asked, writes
from e2e.stack.bed import BAD_SEED, GOOD_SEED, ROWS, SECONDS, Bed
from e2e.stack.objects import apply, condition, get, items, until
from e2e.stack.traffic import Requests
from e2e.stack.watching import kill_container, pause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

REST_SECONDS = 20.0


@pytest.fixture(scope="module")
def bed(local: Cluster, product: Cluster) -> Iterator[Bed]:
    with Bed.made(local, product, "evaluations") as made:
        yield made


def test_the_gate_lets_a_good_model_in_and_keeps_a_worse_one_out(bed: Bed) -> None:
    api, name = bed.api, "gated"
    apply(bed.cluster, [bed.suite("floor"), bed.service(name, "good", "floor", gate="Enforce")])
    api.until_condition(name, "Accepted", "False", "AwaitingEvaluation")
    assert api.objects("deployments", name, "/apis/apps/v1") == []
    (run,) = bed.ended(name)
    assert condition(run, "Succeeded")["reason"] == "VerdictPassed", run["status"]
    assert (run["status"]["rows"], run["status"]["attempts"], run["spec"]["reason"]) == (ROWS, 1, "Revision")
    values = {e["metric"]: e["value"] for e in bed.result(run)["metrics"]}
    assert values["accuracy"] == bed.accuracy
    api.until_ready(name)
    api.until_condition(name, "AccuracyPassing", "True", "AllPassed")
    (revision,) = bed.revisions(name)
    assert condition(revision, "Admitted")["status"] == "True"
    assert revision["spec"]["artifact"] == run["status"]["artifact"]
    until("the Job to be gone", lambda: not bed.jobs(), seconds=60)

    uids, requests = api.uids(name), Requests(api, name, width=len(evaluation.COLUMNS)).start()
    api.patch(name, {"model": evaluation.model("bad")})
    _, failed = bed.ended(name, 2)
    assert condition(failed, "Succeeded")["reason"] == "VerdictFailed", failed["status"]
    said = api.until_condition(name, "AccuracyPassing", "False", "RevisionHeldBack")
    assert "accuracy" in said["message"]
    assert "serves on" in said["message"]
    api.until_condition(name, "Ready", "True")
    requests.stop()
    assert requests.answered > 0
    assert requests.failed == []
    assert api.uids(name) == uids
    record = {r["spec"]["specHash"]: r for r in bed.revisions(name)}
    assert condition(record[failed["spec"]["specHash"]], "Admitted")["status"] == "False"
    assert record[failed["spec"]["specHash"]]["spec"]["parent"]["name"] == revision["metadata"]["name"]
    ledger = api.service(name)["status"]["decisions"]
    assert [d["reason"] for d in ledger if d["action"] == "Evaluate"] == ["RevisionHeldBack", "AllPassed"]
    assert {"RevisionHeldBack"} <= {e["reason"] for e in api.events(name)}

    def written() -> list[str]:
        return [what for what in writes(asked(bed.cluster, REST_SECONDS)) if bed.namespace in what]

    pause(REST_SECONDS)
    until("rest", lambda: not written(), seconds=SECONDS, every=5)


def pods_of(bed: Bed, service: str) -> list[dict[str, Any]]:
    """Of its evaluations, with the evaluator at work."""
    found = items(bed.cluster, "pods", bed.namespace, f"throughline.io/evaluation={service}")
    return [p for p in found if any("running" in s["state"] for s in p["status"].get("containerStatuses") or ())]


def at_work(bed: Bed, service: str) -> dict[str, Any]:
    return until(f"an evaluation of {service} at work", lambda: pods_of(bed, service), seconds=SECONDS, every=0.5)[0]


def test_what_is_killed_in_the_middle_ends_in_one_result(bed: Bed) -> None:
    """Evaluator, server, pod, Job and operator: each of another service, and the operator of all."""
    victims = ("evaluator", "server", "pod", "job")
    slow = {"maxRowsPerSecond": 100}
    services = [bed.service(f"kill-{v}", "good", "slow", **slow) for v in victims]
    apply(bed.cluster, [bed.suite("slow"), *services])
    pods = {v: at_work(bed, f"kill-{v}") for v in victims}
    pause(5.0)
    kill_container(pods["evaluator"], "evaluate")
    kill_container(pods["server"], "triton")
    bed.api.send("DELETE", f"/api/v1/namespaces/{bed.namespace}/pods/{pods['pod']['metadata']['name']}")
    job = pods["job"]["metadata"]["labels"]["batch.kubernetes.io/job-name"]
    bed.cluster.kubectl("delete", "job", job, "-n", bed.namespace, "--wait=false")
    operator = get(bed.cluster, "pod", up.operator_pod(bed.cluster), helm.NAMESPACE)
    assert operator is not None
    kill_container(operator)
    for victim in victims:
        (run,) = bed.ended(f"kill-{victim}")
        assert condition(run, "Succeeded")["reason"] == "VerdictPassed", (victim, run["status"])
        assert run["status"]["attempts"] == (2 if victim == "job" else 1)
        values = {e["metric"]: e["value"] for e in bed.result(run)["metrics"]}
        assert values["accuracy"] == bed.accuracy
        assert len(bed.runs(f"kill-{victim}")) == 1
        assert len(bed.revisions(f"kill-{victim}")) == 1


def test_what_is_wrong_is_named_and_the_service_goes_on(bed: Bed) -> None:
    api, name = bed.api, "wronged"
    (bed.folder / "data" / "garbage.parquet").write_bytes(b"PAR1 is not all that it takes")
    elsewhere = bed.suite("elsewhere")
    elsewhere["spec"]["dataset"]["governance"]["regions"] = ["mars-1"]
    missing = bed.suite("missing")
    missing["spec"]["dataset"]["source"] = {"configMap": {"name": "nowhere", "key": "rows.csv"}}
    columns = bed.suite("columns", inputs=[{"tensor": "X", "columns": ["x0", "y7"], "datatype": "FP32"}])
    suites = [bed.suite("garbage", rows="garbage.parquet"), columns, elsewhere, missing]
    service = bed.service(name, "good", "garbage", deadlineSeconds=60)
    apply(bed.cluster, [*suites, service])
    api.until_ready(name)
    uids = api.uids(name)
    service["spec"]["evaluation"]["suites"] = [
        {"name": n} for n in ("garbage", "columns", "elsewhere", "missing", "never-written")
    ]
    apply(bed.cluster, [service])
    runs = {r["spec"]["suite"]: r for r in bed.ended(name, 3)}
    ends = {suite: condition(run, "Succeeded") for suite, run in runs.items()}
    assert {suite: end["reason"] for suite, end in ends.items()} == {
        "garbage": "BadInput", "columns": "BadInput", "missing": "DeadlineExceeded",
    }  # fmt: skip
    assert "garbage.parquet" in ends["garbage"]["message"]
    assert "y7" in ends["columns"]["message"]
    assert "ConfigMap nowhere does not exist" in ends["missing"]["message"]
    said = api.until_condition(name, "AccuracyPassing", "Unknown", "EvaluationFailed")
    assert "garbage.parquet" in said["message"]
    for suite, reason, words in (
        ("elsewhere", "RegionNotAllowed", "mars-1, and pool cpu is in local"),
        ("never-written", "SuiteNotFound", "never-written does not exist"),
    ):
        api.patch(name, {"evaluation": {**service["spec"]["evaluation"], "suites": [{"name": suite}]}})
        assert words in api.until_condition(name, "AccuracyPassing", "Unknown", reason)["message"]
    assert {r["spec"]["suite"] for r in bed.runs(name)} == runs.keys()
    assert api.uids(name) == uids
    api.until_condition(name, "Ready", "True")


def test_no_server_loads_other_files_than_those_that_were_judged(bed: Bed) -> None:
    api, name = bed.api, "checked"
    evaluation.put_model(bed.folder, "checked", max_batch_size=64, width=32, layers=2, seed=GOOD_SEED)
    apply(bed.cluster, [bed.suite("floor"), bed.service(name, "checked", "floor", gate="Enforce", loadCheck="Digest")])
    api.until_ready(name, seconds=SECONDS)
    file = bed.folder / "models" / "checked" / "1" / "model.onnx"
    judged = file.read_bytes()
    storage.put_onnx(
        bed.folder / "models", "checked", inputs=len(evaluation.COLUMNS), width=32, layers=2, seed=BAD_SEED
    )
    (pod,) = api.pods(name)
    api.send("DELETE", f"/api/v1/namespaces/{bed.namespace}/pods/{pod['metadata']['name']}")
    said = api.until_condition(name, "WorkloadReady", "False", "CrashLooping")
    assert "those that were judged have" in said["message"]
    assert not api.ready_pods(name)
    file.write_bytes(judged)
    api.until_ready(name, seconds=SECONDS)


# In the retraining Job: what it "trained" becomes spec.model, by the Job's own right; the operator never writes a spec.
PUT_MODEL = """
import json, ssl, sys, urllib.request
account = "/var/run/secrets/kubernetes.io/serviceaccount"
url = f"https://kubernetes.default.svc/apis/throughline.io/v1alpha1/namespaces/{sys.argv[1]}/inferenceservices/{sys.argv[2]}"
headers = {"Authorization": "Bearer " + open(account + "/token").read(), "Content-Type": "application/merge-patch+json"}
body = json.dumps({"spec": {"model": {"storage": {"uri": sys.argv[3]}}}}).encode()
request = urllib.request.Request(url, body, headers, method="PATCH")
print(urllib.request.urlopen(request, context=ssl.create_default_context(cafile=account + "/ca.crt")).status)
"""


def trainer(bed: Bed, service: str, uri: str) -> list[dict[str, Any]]:
    """A suspended CronJob that puts another model into the service's spec, and the right to do so."""
    rule = {"apiGroups": ["throughline.io"], "resources": ["inferenceservices"], "verbs": ["patch"]}
    group = "rbac.authorization.k8s.io"
    container = {
        "name": "train",
        "image": bed.cluster.images["operator"],
        "command": ["python3", "-c", PUT_MODEL, bed.namespace, service, uri],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "serviceAccountName": "trainer",
        "restartPolicy": "Never",
        "nodeSelector": {"throughline.io/pool": "cpu"},
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    named = {"name": "trainer", "namespace": bed.namespace}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named},
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": named, "rules": [rule]},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": named,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "trainer"},
            "subjects": [{"kind": "ServiceAccount", **named}],
        },
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": named,
            "spec": {
                "schedule": "0 0 1 1 *",
                "suspend": True,
                "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": pod}}},
            },
        },
    ]


def test_decay_starts_a_job_whose_product_comes_in_by_the_same_gate(bed: Bed) -> None:
    api, name = bed.api, "decays"
    retrain = {"onDecay": "StartJob", "retrainingCronJob": "trainer"}
    service = bed.service(name, "bad", "rising", gate="Enforce", **retrain)
    better = f"pvc://{evaluation.CLAIM}/models/good"
    apply(bed.cluster, [bed.suite("rising", floor="0.01"), *trainer(bed, name, better), service])
    api.until_ready(name, seconds=SECONDS)
    apply(bed.cluster, [bed.suite("rising", floor="0.8")])
    runs = bed.ended(name, 3)
    assert [r["status"]["verdict"] for r in runs] == ["Passed", "Failed", "Passed"]
    assert [r["spec"]["reason"] for r in runs] == ["Revision", "Suite", "Revision"]
    assert runs[1]["status"]["retrainingJob"] == f"{runs[1]['metadata']['name']}-retrain"
    assert runs[2]["spec"]["model"]["storage"]["uri"] == better
    api.until_condition(name, "AccuracyPassing", "True", "AllPassed", seconds=SECONDS)
    wanted = runs[2]["spec"]["specHash"]
    serving = lambda: {p["metadata"]["labels"]["throughline.io/revision"] for p in api.ready_pods(name)} == {wanted}  # noqa: E731
    api.until("the better model to serve", serving, name, seconds=SECONDS)
