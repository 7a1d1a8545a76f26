"""ModelRevision: the record of one model as it was served, and what is known of it; and ModelApproval, a person's word.

Both specs are written once and never changed: the API server refuses an update (see `Kind.immutable` in crd.py).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from throughline.api.base import Condition, Name, Resource, list_map
from throughline.api.model import Model
from throughline.api.timestamps import Timestamp

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
SpecHash = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{10}$",
        max_length=10,
        description="Of spec.model of the InferenceService: the revision in names of objects and labels of pods.",
    ),
]
Username = Annotated[str, Field(min_length=1, max_length=512)]


class Artifact(Resource):
    """The model's files, of the version that is served."""

    digest: Annotated[Digest, Field(description="Of the manifest of all files (docs/lineage.md).")]
    files: Annotated[int, Field(ge=1, description="How many.")]
    size_bytes: Annotated[int, Field(ge=0, description="Of all files.")]


class ParentRevision(Resource):
    """The ModelRevision that this one took the place of."""

    name: Name
    digest: Annotated[Digest, Field(description="Its spec.artifact.digest.")]


class ModelRevisionSpec(Resource):
    """What was served: files, configuration, where. Written once."""

    service: Annotated[Name, Field(description="InferenceService, in the same namespace.")]
    artifact: Artifact
    spec_hash: SpecHash
    model: Annotated[Model, Field(description="spec.model of the InferenceService.")]
    variant: Annotated[Name | None, Field(description="Of the InferenceService; absent: its one model.")] = None
    pool: Annotated[Name, Field(description="ServingPool that it was placed on.")]
    parent: ParentRevision | None = None
    created: Timestamp


class EvaluationVerdict(StrEnum):
    PASSED = "Passed"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


class RevisionEvaluation(Resource):
    """One evaluation of the revision."""

    name: Annotated[Name, Field(description="EvaluationRun.")]
    suite: Annotated[Name, Field(description="EvaluationSuite.")]
    suite_digest: Annotated[Digest, Field(description="Of the suite's spec as canonical JSON.")]
    dataset_digest: Annotated[Digest | None, Field(description="Of the data set's bytes.")] = None
    verdict: EvaluationVerdict
    result_digest: Annotated[Digest, Field(description="Of the result.")]


class Decision(StrEnum):
    APPROVED = "Approved"
    REJECTED = "Rejected"


class RevisionApproval(Resource):
    """The ModelApproval that counts, copied so that it outlives the object."""

    name: Annotated[Name, Field(description="ModelApproval.")]
    uid: Annotated[str, Field(max_length=64)]
    decision: Decision
    approved_by: Username
    reason: Annotated[str, Field(max_length=1024)]
    time: Timestamp


class ModelRevisionStatus(Resource):
    """Written by the operator alone."""

    observed_generation: Annotated[int, Field(ge=-1)] = -1
    conditions: Annotated[list[Condition], Field(max_length=8, json_schema_extra=list_map("type"))] = []
    evaluations: Annotated[list[RevisionEvaluation], Field(max_length=64, json_schema_extra=list_map("name"))] = []
    approval: RevisionApproval | None = None
    statement_digest: Annotated[Digest | None, Field(description="Of the signed statement's bytes.")] = None


class ModelApprovalSpec(Resource):
    """One person's decision on one revision. Written once; the newest of a revision counts."""

    service: Annotated[Name, Field(description="InferenceService; the author needs the verb approve on it.")]
    revision: Annotated[Name, Field(description="ModelRevision.")]
    artifact_digest: Annotated[
        Digest, Field(description="spec.artifact.digest of the revision that was looked at; of another it counts not.")
    ]
    decision: Decision
    approved_by: Annotated[
        Username, Field(description="Your own user name (kubectl auth whoami); the API server refuses another.")
    ]
    reason: Annotated[str, Field(min_length=1, max_length=1024, description="Why.")]
