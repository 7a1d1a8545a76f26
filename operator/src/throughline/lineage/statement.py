"""What is signed: an in-toto Statement v1 (https://github.com/in-toto/attestation) about one model.

Its subject is the model alone, by the digest of its manifest; what the model was judged by (suites, data sets,
results) and by whom it was approved stands in the predicate, whose fields are the models below. docs/lineage.md
describes them for readers of other programs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from throughline.api.base import API_VERSION, Outcome, Resource
from throughline.api.evaluationsuite import EvaluationSuiteSpec
from throughline.api.modelrevision import Decision
from throughline.api.validation import without_nulls
from throughline.lineage import canonical
from throughline.lineage.digest import FileDigest, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from throughline.api.evaluationresult import EvaluationResult

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://throughline.io/attestation/model-evaluation/v1"

Digest = Annotated[str, Field(pattern=canonical.DIGEST_PATTERN)]


class StatementError(ValueError):
    """What was signed is no statement that we understand, or contradicts itself; the message says where."""


class FileRecord(Resource):
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=0)]


class ModelRecord(Resource):
    """The model: the subject again, with the manifest that its digest is of."""

    name: str
    version: int | None = None  # the one version folder that counts; None: the whole folder
    digest: Digest
    files: dict[str, FileRecord]

    @classmethod
    def of(cls, name: str, manifest: Manifest, version: int | None = None) -> ModelRecord:
        """The record of what was digested."""
        files = {p: FileRecord(sha256=f.sha256, size_bytes=f.size_bytes) for p, f in manifest.files.items()}
        return cls(name=name, version=version, digest=manifest.digest, files=files)

    @property
    def manifest(self) -> Manifest:
        """The files, to compare with."""
        return Manifest({path: FileDigest(file.sha256, file.size_bytes) for path, file in self.files.items()})


class SuiteRecord(Resource):
    name: str
    digest: Digest  # of the spec: see suite_digest


class DatasetRecord(Resource):
    digest: Digest  # of the bytes
    size_bytes: Annotated[int, Field(ge=0)]


class ResultRecord(Resource):
    digest: Digest  # of the bytes; we write canonical JSON, so that it is the content's too


class EvaluationRecord(Resource):
    """One evaluation of the model; its name is the suite's."""

    name: str
    suite: SuiteRecord
    dataset: DatasetRecord
    result: ResultRecord
    batch_rows: Annotated[int | None, Field(ge=1)] = None  # rows per request; None in statements of 0.1.0
    verdict: Outcome


class ParentRecord(Resource):
    """The revision that this one took the place of."""

    name: str
    digest: Digest


class ApprovalRecord(Resource):
    """A ModelApproval, as the API server stored it."""

    namespace: str
    name: str
    uid: str
    time: str  # creationTimestamp: the API server sets it
    service: str
    revision: str
    artifact_digest: Digest
    decision: Decision
    approved_by: str
    reason: str


class BomRecord(Resource):
    digest: Digest  # of the bytes


class Predicate(Resource):
    """What is said of the model."""

    model: ModelRecord
    service: str | None = None
    revision: str | None = None
    spec_hash: str | None = None
    variant: str | None = None
    pool: str | None = None
    parent: ParentRecord | None = None
    evaluations: tuple[EvaluationRecord, ...] = ()
    approval: ApprovalRecord | None = None
    bom: BomRecord | None = None
    created: str  # RFC 3339; the signer's clock, proven by nobody


class _Subject(Resource):
    name: str
    digest: dict[str, str]


class _Statement(Resource):
    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")] = STATEMENT_TYPE
    subject: Annotated[list[_Subject], Field(min_length=1, max_length=1)]
    predicate_type: Literal["https://throughline.io/attestation/model-evaluation/v1"] = PREDICATE_TYPE
    predicate: Predicate


def suite_spec(manifest: Mapping[str, Any]) -> EvaluationSuiteSpec:
    """The spec of an EvaluationSuite, read as strictly as the API server reads it.

    Raises:
        pydantic.ValidationError: a field is wrong.
    """
    spec = without_nulls(manifest.get("spec"))
    return EvaluationSuiteSpec.model_validate_json(json.dumps(spec, default=str), strict=True)


def suite_digest(spec: EvaluationSuiteSpec) -> str:
    """`sha256:…` of a suite's spec as canonical JSON: the fields that were written, without defaults, so that it stays
    the same when a later version knows more fields; quantities as text, however they were written.
    """
    return canonical.digest(spec.as_written())


def approval_record(manifest: Mapping[str, Any]) -> ApprovalRecord:
    """What counts of a ModelApproval as `kubectl get -o yaml` or the API server gives it.

    Raises:
        StatementError: a field is missing (metadata too: an approval that no API server has stored proves nothing).
    """
    metadata, spec = manifest.get("metadata"), manifest.get("spec")
    typed = manifest.get("apiVersion"), manifest.get("kind")
    if not isinstance(metadata, dict) or not isinstance(spec, dict) or typed != (API_VERSION, "ModelApproval"):
        raise StatementError(f"is no ModelApproval of {API_VERSION} with metadata and spec")
    stored = {name: metadata.get(name) for name in ("namespace", "name", "uid")}
    missing = [f"metadata.{name}" for name, value in stored.items() if not value]
    if missing or not metadata.get("creationTimestamp"):
        names = ", ".join([*missing, *([] if metadata.get("creationTimestamp") else ["metadata.creationTimestamp"])])
        raise StatementError(f"lacks {names}: take it from the cluster, with kubectl get modelapproval NAME -o yaml")
    wire = {**without_nulls(spec), **stored, "time": metadata["creationTimestamp"]}
    try:
        return ApprovalRecord.model_validate_json(json.dumps(wire, default=str), strict=True)
    except ValidationError as error:
        raise StatementError(f"is no valid ModelApproval: spec.{first_problem(error)}") from error


def contradictions(result: EvaluationResult, record: EvaluationRecord, model_digest: str) -> Iterator[str]:
    """What the result says of itself that the statement says otherwise. What it does not say contradicts nothing."""
    pairs = (
        ("suite", result.suite, record.suite.name),
        ("suiteDigest", result.suite_digest, record.suite.digest),
        ("datasetDigest", result.dataset_digest, record.dataset.digest),
        ("modelDigest", result.model_digest, model_digest),
        ("batchRows", result.batch_rows, record.batch_rows),
        ("verdict", result.verdict and result.verdict.outcome, record.verdict),
    )
    for field, said, expected in pairs:
        if said is not None and said != expected:
            yield f"{field} is {said}; expected {expected}"


def write(predicate: Predicate) -> bytes:
    """The statement as canonical JSON, to be signed."""
    subject = _Subject(name=predicate.model.name, digest=_in_toto(predicate.model.digest))
    return canonical.encode(_Statement(subject=[subject], predicate=predicate).to_wire())


def read(payload: bytes) -> Predicate:
    """The predicate of a statement whose signature was checked.

    Raises:
        StatementError: another type or version, an unknown field, or digests that do not fit together.
    """
    try:
        statement = _Statement.model_validate(canonical.parse_canonical(payload))
    except canonical.CanonicalError as error:
        raise StatementError(f"the statement {error}") from error
    except ValidationError as error:
        raise StatementError(f"the statement has another form than expected: {first_problem(error)}") from error
    (subject,), model = statement.subject, statement.predicate.model
    if (subject.name, subject.digest) != (model.name, _in_toto(model.digest)):
        raise StatementError("the statement's subject is not the model of its predicate")
    if model.manifest.digest != model.digest:
        raise StatementError("the digest of the model is not that of its files in the statement")
    names = [record.name for record in statement.predicate.evaluations]
    if len(set(names)) != len(names):
        raise StatementError("the statement has two evaluations of the same name")
    return statement.predicate


def first_problem(error: ValidationError) -> str:
    """Field and message of the first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _in_toto(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix(canonical.PREFIX)}
