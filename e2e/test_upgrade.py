"""An upgrade replaces no pod, and `throughline plan` foretells all that it changes.

From another build, with that build's chart and images: THROUGHLINE_BEFORE=FOLDER pytest e2e/test_upgrade.py, alone,
since the cluster must not have the product yet. FOLDER holds that build's sources.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from e2e import helm
from e2e.cluster.operator_image import BEFORE_VARIABLE, before
from e2e.stack import evaluation, models, up
from e2e.stack.bed import SECONDS, Bed
from e2e.stack.objects import apply, get
from e2e.stack.watching import SERVICE_LABEL, Api, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

NAMES = ("plain", "sampled", "judged")
SAMPLING = {
    "oneIn": 1,
    "fields": [{"name": "X"}],
    "salt": {"name": "salt"},
    "retentionMinutes": 60,
    "storage": {"claimName": evaluation.CLAIM, "path": "samples"},
    "minimumServerVersion": "2.51.0",
    "governance": {
        "owner": "t",
        "purpose": "t",
        "legalBasis": "NotPersonalData",
        "regions": ["local"],
        "retentionDays": 1,
    },
}
GRACE_SECONDS = 77  # as no service has
CHANGING = ("resourceVersion", "managedFields")


def rewriting_policy(namespace: str) -> list[dict[str, Any]]:
    """A mutating policy that changes a field of the pods of Deployments that the operator applies here."""
    pod = f"Object.spec.template.spec{{terminationGracePeriodSeconds: {GRACE_SECONDS}}}"
    expression = f"Object{{spec: Object.spec{{template: Object.spec.template{{spec: {pod}}}}}}}"
    head = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": f"{namespace}-rewrites"}}
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"]}
    match = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "resourceRules": [{**rule, "resources": ["deployments"]}],
    }
    mutation = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}
    spec = {"matchConstraints": match, "reinvocationPolicy": "Never", "mutations": [mutation]}
    return [
        {**head, "kind": "MutatingAdmissionPolicy", "spec": spec},
        {**head, "kind": "MutatingAdmissionPolicyBinding", "spec": {"policyName": f"{namespace}-rewrites"}},
    ]


@contextlib.contextmanager
def rewritten(api: Api) -> Iterator[None]:
    """While the policy is in force."""
    policy = rewriting_policy(api.namespace)
    apply(api.cluster, policy)

    def in_force() -> bool:
        metadata = {"name": "tried", "labels": {"app": "tried"}}
        template = {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "x"}]}}
        spec = {"selector": {"matchLabels": metadata["labels"]}, "template": template}
        tried = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
        _, body = api.send("POST", f"/apis/apps/v1/namespaces/{api.namespace}/deployments?dryRun=All", tried)
        return bool(json.loads(body)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == GRACE_SECONDS)

    try:
        api.until("the policy", in_force, "plain")
        yield
    finally:
        for each in policy:
            api.cluster.kubectl("delete", each["kind"], each["metadata"]["name"], "--wait=false", check=False)


def declared(bed: Bed) -> list[dict[str, Any]]:
    """A service without a gate, a sampled one, and one whose pods check the files that a suite has passed."""
    plain = models.service("plain", models.waiting_model(2000, 100), pool="cpu", namespace=bed.namespace)
    model = models.waiting_model(2000, 100) | {"probe": "ConfigOnly"}  # nothing is sent that Triton would trace
    sampled = models.service("sampled", model, pool="cpu", namespace=bed.namespace, monitoring={"sampling": SAMPLING})
    return [plain, sampled, bed.service("judged", "good", "floor", gate="Enforce", loadCheck="Digest")]


def planned(cluster: Cluster, folder: Path, services: Sequence[dict[str, Any]], *flags: str) -> dict[str, Any]:
    """What `throughline plan` says of these files."""
    file = folder / "services.yaml"
    file.write_text("\n---\n".join(json.dumps(service) for service in services))
    command = [sys.executable, "-m", "throughline", "plan", str(file), "-o", "json", *flags]
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def live(api: Api, plan: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """Every object that the plan names and the operator makes, without its status; None where there is none."""
    found = {}
    for kind, name in ((o["kind"], o["name"]) for o in plan["objects"] if o["kind"] != "InferenceService"):
        each = get(api.cluster, kind, name, api.namespace)
        if each is not None:
            each.pop("status", None)
            for field in CHANGING:
                each["metadata"].pop(field, None)
        found[kind, name] = each
    return found


def watch_an_upgrade(api: Api, folder: Path, services: Sequence[dict[str, Any]], values: dict[str, Any]) -> Any:
    """Upgrade to this build with those values. Returns what `plan` said before, after it was seen to come true."""
    cluster = api.cluster
    uids = {n: api.uids(n) for n in NAMES}
    templates = {n: api.deployment(n)["spec"] for n in NAMES}
    foretold = planned(cluster, folder, services, "--evaluator-image", values["settings"]["evaluatorImage"])
    before = live(api, foretold)
    operator = up.operator_pod(cluster)
    helm.install_chart(cluster.kubeconfig, values)
    assert up.operator_pod(cluster) != operator
    # The new operator works, on all that it has to do: it has seen what a user changes now.
    for name in NAMES:
        api.patch(name, {"slo": {"latencyP99Milliseconds": 1500}})
        now = dict(api.service(name) or {})
        generation, spec = now["metadata"]["generation"], now["spec"]
        next(s for s in services if s["metadata"]["name"] == name)["spec"] = spec
        seen = lambda name=name, at=generation: (api.service(name) or {})["status"]["observedGeneration"] == at  # noqa: E731
        api.until("a decision", seen, name)
        api.until_condition(name, "Ready", "True")
    expected = {(o["kind"], o["name"]) for o in foretold["objects"] if o["action"] != "keep"}

    def changed() -> set[tuple[str, str]]:
        return {key for key, is_now in live(api, foretold).items() if is_now != before[key]}

    api.until(f"{expected} to change", lambda: changed() >= expected, "plain")
    again = planned(cluster, folder, services)
    assert {o["action"] for o in again["objects"]} == {"keep"}, again
    assert changed() == expected
    assert not any(o["replacesPods"] for o in foretold["objects"])
    assert {n: api.uids(n) for n in NAMES} == uids
    assert {n: api.deployment(n)["spec"] for n in NAMES} == templates
    restarts = [p["status"]["containerStatuses"][0]["restartCount"] for n in NAMES for p in api.pods(n)]
    assert restarts == [0] * len(restarts)
    return foretold


@contextlib.contextmanager
def serving(api: Api) -> Iterator[list[dict[str, Any]]]:
    """The services, ready; those that check or sample have an image of the evaluator."""
    bed = Bed(api.cluster, api)
    bed.folder.chmod(0o777)  # the sampler's user is not ours
    services = declared(bed)
    salt = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "salt", "namespace": api.namespace}}
    apply(api.cluster, [{**salt, "stringData": {"salt": "0123456789abcdef" * 2}}, bed.suite("floor"), *services])
    try:
        for name in NAMES:
            api.until_ready(name, seconds=SECONDS)
        api.until_condition("judged", "AccuracyPassing", "True", "AllPassed")
        yield services
    finally:
        api.cluster.kubectl("delete", "tis", *NAMES, "-n", api.namespace, "--ignore-not-found", "--wait=false")
        volume = f"{api.namespace}-{evaluation.CLAIM}"
        api.cluster.kubectl("delete", "pv", volume, "--wait=false", "--ignore-not-found")


def test_another_image_of_the_evaluator_replaces_no_pod(local: Cluster, product: Cluster, tmp_path: Path) -> None:
    """While a policy rewrites a field of the pods."""
    with scratch(product, "upgrade") as api, rewritten(api), serving(api) as services:
        for name in ("sampled", "judged"):
            pod = api.deployment(name)["spec"]["template"]["spec"]
            assert local.images["evaluator"] in {c["image"] for c in pod["initContainers"]}
            assert pod["terminationGracePeriodSeconds"] == GRACE_SECONDS
        upgraded = f"{local.images['evaluator']}-next"  # on no node: what is due now waits for it
        try:
            foretold = watch_an_upgrade(api, tmp_path, services, up.values(local, evaluatorImage=upgraded))
        finally:
            helm.install_chart(local.kubeconfig, up.values(local))
    why = {o["why"] for o in foretold["objects"] if o["kind"] == "Deployment"}
    assert why == {"admission rewrites spec.template.spec.terminationGracePeriodSeconds"}


@pytest.mark.skipif(before() is None, reason=f"{BEFORE_VARIABLE} names no other build")
def test_an_upgrade_from_another_build_replaces_no_pod(local: Cluster, tmp_path: Path) -> None:
    earlier = before()
    assert earlier is not None
    assert get(local, "namespace", helm.NAMESPACE) is None, "the product is there already: run this test alone"
    up.install(local, chart=earlier / "charts" / "throughline", build="-before")
    with scratch(local, "upgrade") as api, serving(api) as services:
        for name in NAMES:
            assert SERVICE_LABEL in api.deployment(name)["metadata"]["labels"]
        foretold = watch_an_upgrade(api, tmp_path, services, up.values(local))
        for each in foretold["objects"]:
            print(f"{each['kind']} {each['name']}: {each['action']}, {each['why']}")
