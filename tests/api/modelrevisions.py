"""A ModelRevision and its ModelApproval that are right, and ways to make each wrong."""

from __future__ import annotations

from typing import Any

from tests.api.resources import INFERENCE_SERVICE, REMOVE, Change

DIGEST = f"sha256:{'0123456789abcdef' * 4}"
MODEL_REVISION: dict[str, Any] = {
    "apiVersion": "throughline.io/v1alpha1",
    "kind": "ModelRevision",
    "metadata": {"name": "fraud-1a2b3c4d", "namespace": "default"},
    "spec": {
        "service": "fraud",
        "artifact": {"digest": DIGEST, "files": 2, "sizeBytes": 8},
        "specHash": "1a2b3c4d5e",
        "model": INFERENCE_SERVICE["spec"]["model"],
        "pool": "gpu",
        "parent": {"name": "fraud-00000000", "digest": f"sha256:{'f' * 64}"},
        "created": "2026-01-02T03:04:05Z",
    },
}
MODEL_APPROVAL: dict[str, Any] = {
    "apiVersion": "throughline.io/v1alpha1",
    "kind": "ModelApproval",
    "metadata": {"name": "fraud-1a2b3c4d", "namespace": "default"},
    "spec": {
        "service": "fraud",
        "revision": "fraud-1a2b3c4d",
        "artifactDigest": DIGEST,
        "decision": "Approved",
        "approvedBy": "alice@example.com",
        "reason": "the gap is below 3 points",
    },
}

GOOD: dict[str, tuple[dict[str, Any], tuple[Change, ...]]] = {
    "revision": (MODEL_REVISION, ()),
    "first revision": (MODEL_REVISION, (("spec/parent", REMOVE),)),
    "variant": (MODEL_REVISION, (("spec/variant", "int8"),)),
    "approval": (MODEL_APPROVAL, ()),
    "rejection": (MODEL_APPROVAL, (("spec/decision", "Rejected"),)),
}
BAD: dict[str, tuple[dict[str, Any], Change, str, str]] = {
    "short digest": (MODEL_REVISION, ("spec/artifact/digest", "sha256:0"), "spec.artifact.digest", "must match"),
    "no file": (MODEL_REVISION, ("spec/artifact/files", 0), "spec.artifact.files", "at least 1"),
    "no artifact": (MODEL_REVISION, ("spec/artifact", REMOVE), "spec.artifact", "required"),
    "hash": (MODEL_REVISION, ("spec/specHash", "xyz"), "spec.specHash", "must match"),
    "hash of 8 digits": (MODEL_REVISION, ("spec/specHash", "1a2b3c4d"), "spec.specHash", "must match"),
    "no model": (MODEL_REVISION, ("spec/model", REMOVE), "spec.model", "required"),
    "parent alone": (MODEL_REVISION, ("spec/parent", {"name": "a"}), "spec.parent.digest", "required"),
    "nobody": (MODEL_APPROVAL, ("spec/approvedBy", ""), "spec.approvedBy", "must not be empty"),
    "no why": (MODEL_APPROVAL, ("spec/reason", REMOVE), "spec.reason", "required"),
    "maybe": (MODEL_APPROVAL, ("spec/decision", "Maybe"), "spec.decision", "one of Approved, Rejected"),
    "no digest": (MODEL_APPROVAL, ("spec/artifactDigest", REMOVE), "spec.artifactDigest", "required"),
}
