"""Approvals on the real API server: only by who may, only in their own name, never changed, and all of it audited."""

from __future__ import annotations

import copy
import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.modelrevisions import MODEL_APPROVAL, MODEL_REVISION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import CompletedProcess

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

POLICY = Path(__file__).resolve().parent.parent / "manifests" / "approval"
NAMESPACE = f"approval-tests-{secrets.token_hex(3)}"
SERVICE = MODEL_APPROVAL["spec"]["service"]
USERS = ("approver", "of-another-model", "writer-only", "editor", "rewriter")
AUDIT_SECONDS = 10.0
POLICY_SECONDS = 30.0


def username(user: str) -> str:
    return f"system:serviceaccount:{NAMESPACE}:{user}"


def role(name: str, *rules: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": list(rules)}


def binding(user: str, kind: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{user}-{name}", "namespace": NAMESPACE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": user, "namespace": NAMESPACE}],
    }


def rule(resource: str, *verbs: str, names: tuple[str, ...] = ()) -> dict[str, Any]:
    named = {"resourceNames": list(names)} if names else {}
    return {"apiGroups": ["throughline.io"], "resources": [resource], "verbs": list(verbs), **named}


RIGHTS = [
    binding("approver", "ClusterRole", "throughline-approver"),
    role("write", rule("modelapprovals", "create", "get")),
    role("approve-another", rule("inferenceservices", "approve", names=("another",))),
    binding("writer-only", "Role", "write"),
    binding("of-another-model", "Role", "write"),
    binding("of-another-model", "Role", "approve-another"),
    # More than the product's role gives: what then stands against a change is the CRD alone.
    binding("rewriter", "ClusterRole", "throughline-approver"),
    role("rewrite", rule("modelapprovals", "patch", "update")),
    binding("rewriter", "Role", "rewrite"),
    # What the cluster's role edit gives for built-in kinds, and no more of ours.
    binding("editor", "ClusterRole", "edit"),
]


@dataclass(frozen=True)
class Approvals:
    cluster: Cluster
    tokens: dict[str, str]

    def create(self, user: str, name: str, *, by: str | None = None, **spec: str) -> CompletedProcess[str]:
        approval = copy.deepcopy(MODEL_APPROVAL)
        approval["metadata"] = {"name": name, "namespace": NAMESPACE}
        approval["spec"] |= {"approvedBy": by or username(user), **spec}
        return self.as_user(user, "create", "-o", "json", "-f", "-", input=json.dumps(approval))

    def as_user(self, user: str, *arguments: str, input: str | None = None) -> CompletedProcess[str]:  # noqa: A002
        return self.cluster.kubectl(f"--token={self.tokens[user]}", *arguments, input=input, check=False)


@pytest.fixture(scope="module")
def approvals(crds: Cluster) -> Iterator[Approvals]:
    cluster = crds
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.kubectl("apply", "--server-side", "-f", str(POLICY))
    for user in USERS:
        cluster.kubectl("create", "serviceaccount", user, "-n", NAMESPACE)
    rights = {"apiVersion": "v1", "kind": "List", "items": RIGHTS}
    cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(rights))
    tokens = {user: cluster.kubectl("create", "token", user, "-n", NAMESPACE).stdout.strip() for user in USERS}
    result = Approvals(cluster, tokens)
    wait_for_the_policy(result)
    yield result
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)
    cluster.kubectl("delete", "--ignore-not-found", "-f", str(POLICY), check=False)


def wait_for_the_policy(approvals: Approvals) -> None:
    """A new policy takes the API server some seconds; until then all would pass."""
    until = time.monotonic() + POLICY_SECONDS
    while time.monotonic() < until:
        if "approvedBy is" in approvals.create("approver", f"probe-{secrets.token_hex(3)}", by="nobody").stderr:
            return
        time.sleep(0.5)
    raise AssertionError("the policy is not in force")


def test_an_honest_approval_passes_and_is_stored_as_written(approvals: Approvals) -> None:
    created = approvals.create("approver", "honest")
    assert created.returncode == 0, created.stderr
    stored = json.loads(created.stdout)
    assert stored["spec"]["approvedBy"] == username("approver")
    assert stored["metadata"]["creationTimestamp"]
    row = approvals.cluster.kubectl("get", "tapproval", "honest", "-n", NAMESPACE, "--no-headers").stdout.split()
    assert row[:-1] == ["honest", SERVICE, MODEL_REVISION["metadata"]["name"], "Approved", username("approver")]


def test_an_approval_in_anothers_name_is_refused(approvals: Approvals) -> None:
    refused = approvals.create("approver", "forged", by="alice@example.com")
    assert refused.returncode != 0
    assert "Forbidden" in refused.stderr
    assert "spec.approvedBy is alice@example.com, but you are" in refused.stderr


def test_the_time_is_the_api_servers(approvals: Approvals) -> None:
    approval = copy.deepcopy(MODEL_APPROVAL)
    metadata = {"name": "backdated", "namespace": NAMESPACE, "creationTimestamp": "2020-01-01T00:00:00Z"}
    approval["metadata"] = metadata
    approval["spec"]["approvedBy"] = username("approver")
    created = approvals.as_user("approver", "create", "-o", "json", "-f", "-", input=json.dumps(approval))
    assert created.returncode == 0, created.stderr
    assert not json.loads(created.stdout)["metadata"]["creationTimestamp"].startswith("2020")


def test_who_may_write_no_approval_is_refused(approvals: Approvals) -> None:
    refused = approvals.create("editor", "by-editor")
    assert refused.returncode != 0
    assert "cannot create resource" in refused.stderr
    assert "modelapprovals" in refused.stderr


@pytest.mark.parametrize("user", ["writer-only", "of-another-model"])
def test_who_lacks_the_verb_on_this_model_is_refused(approvals: Approvals, user: str) -> None:
    refused = approvals.create(user, f"by-{user}")
    assert refused.returncode != 0
    assert f"lacks the verb approve on inferenceservices.throughline.io {SERVICE}" in refused.stderr


def test_the_verb_may_be_of_one_model_alone(approvals: Approvals) -> None:
    created = approvals.create("of-another-model", "theirs", service="another")
    assert created.returncode == 0, created.stderr


def test_refusals_and_approvals_are_in_the_audit_log(approvals: Approvals, local: Cluster) -> None:  # noqa: ARG001
    approvals.create("approver", "audited")
    passed = [e for e in events(approvals, "approver") if e["responseStatus"]["code"] == 201]
    annotation = passed[-1]["annotations"]["modelapprovals.throughline.io/decision"]
    digest = MODEL_APPROVAL["spec"]["artifactDigest"]
    assert annotation == f"{username('approver')} Approved {MODEL_REVISION['metadata']['name']} {digest}"

    approvals.create("approver", "audited-forgery", by="alice@example.com")
    refused = [e for e in events(approvals, "approver") if e["responseStatus"]["code"] == 403]
    assert "alice@example.com" in refused[-1]["annotations"]["validation.policy.admission.k8s.io/validation_failure"]

    approvals.create("editor", "audited-stranger")
    (forbidden, *_) = events(approvals, "editor")
    assert forbidden["responseStatus"]["code"] == 403
    assert forbidden["annotations"]["authorization.k8s.io/decision"] == "forbid"


def events(approvals: Approvals, user: str) -> list[dict[str, Any]]:
    """The user's creates of approvals, oldest first. The log is written within moments: wait until it rests."""
    assert approvals.cluster.audit_log is not None
    seen = -1
    until = time.monotonic() + AUDIT_SECONDS
    while time.monotonic() < until:
        found = [
            event
            for event in map(json.loads, approvals.cluster.audit_log.read_text().splitlines())
            if event["user"]["username"] == username(user)
            and event.get("objectRef", {}).get("resource") == "modelapprovals"
            and event["verb"] == "create"
        ]
        if found and len(found) == seen:
            return found
        seen = len(found)
        time.sleep(0.5)
    raise AssertionError(f"no audit events of {user}")


@pytest.mark.parametrize(
    "patch", [{"reason": "other"}, {"decision": "Rejected"}, {"artifactDigest": f"sha256:{'1' * 64}"}]
)
def test_an_approval_never_changes_not_even_by_its_author(approvals: Approvals, patch: dict[str, str]) -> None:
    name = f"fixed-{secrets.token_hex(3)}"
    approvals.create("rewriter", name)
    arguments = ("patch", "tapproval", name, "-n", NAMESPACE, "--type=merge", "-p", json.dumps({"spec": patch}))
    never = "the spec of a ModelApproval is a record and never changes"
    assert never in approvals.as_user("rewriter", *arguments).stderr
    assert "cannot patch" in approvals.as_user("approver", *arguments).stderr
    assert never in approvals.cluster.kubectl(*arguments, check=False).stderr  # nor by the administrator


def test_who_approves_cannot_take_it_back_unseen(approvals: Approvals) -> None:
    approvals.create("approver", "kept")
    assert "cannot delete" in approvals.as_user("approver", "delete", "tapproval", "kept", "-n", NAMESPACE).stderr
    changed_mind = approvals.create("approver", "kept-not", decision="Rejected")
    assert changed_mind.returncode == 0, changed_mind.stderr


@pytest.mark.parametrize(
    "change",
    [
        {"pool": "other"},
        {"variant": "int8"},
        {"parent": None},
        {"artifact": {"digest": f"sha256:{'1' * 64}"}},
    ],
)
def test_a_revision_never_changes(approvals: Approvals, change: dict[str, Any]) -> None:
    name = f"revision-{secrets.token_hex(3)}"
    revision = copy.deepcopy(MODEL_REVISION)
    revision["metadata"] = {"name": name, "namespace": NAMESPACE}
    cluster = approvals.cluster
    created = json.loads(cluster.kubectl("create", "-o", "json", "-f", "-", input=json.dumps(revision)).stdout)
    assert created["spec"] == revision["spec"]
    assert created["status"] == {"observedGeneration": -1}
    arguments = ("patch", "trev", name, "-n", NAMESPACE, "--type=merge")
    refused = cluster.kubectl(*arguments, "-p", json.dumps({"spec": change}), check=False)
    assert refused.returncode != 0
    assert "the spec of a ModelRevision is a record and never changes" in refused.stderr
    status = {"status": {"approval": None, "statementDigest": f"sha256:{'2' * 64}"}}
    cluster.kubectl(*arguments, "--subresource=status", "-p", json.dumps(status))
    cluster.kubectl("label", "trev", name, "-n", NAMESPACE, "a=b")
