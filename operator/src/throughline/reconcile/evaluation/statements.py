"""The signed statement about a ModelRevision: what it is, what it was judged by, who approved it.

Signed anew only when that has changed. What contradicts itself is not signed, and the condition Signed says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from pydantic import ValidationError

from throughline.api.base import ConditionStatus, Outcome
from throughline.api.evaluationresult import EvaluationResult
from throughline.domain.conditions import replaced
from throughline.domain.decision import ConditionUpdate
from throughline.domain.evaluation.views import newest_ended
from throughline.domain.manifests import evaluation
from throughline.domain.ownership import FIELD_MANAGER
from throughline.domain.times import rfc3339
from throughline.lineage import bom, canonical, envelope, statement
from throughline.lineage.digest import FileDigest, Manifest
from throughline.reconcile import writes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from throughline.domain.evaluation.views import Evidence, RevisionView, RunView
    from throughline.domain.manifests import Identity
    from throughline.reconcile.context import Deps
    from throughline.reconcile.evaluation.evidence import Known

log = structlog.get_logger("statements")

SIGNED = "Signed"
SIGNED_SAID = ConditionUpdate(SIGNED, ConditionStatus.TRUE, "Signed", "the statement is in ConfigMap NAME-statement")

Told = tuple[Any, ...]  # what a statement follows from


class UnsignableError(Exception):
    """Why there can be no statement."""


def told(record: RevisionView, evidence: Evidence) -> Told:
    """What the statement about the revision follows from, in short."""
    runs = _runs(record, evidence)
    approval = record.status.approval
    return (record.name, tuple(r.status.result_digest for r in runs), None if approval is None else approval.uid)


async def keep(deps: Deps, last: dict[str, Told], identity: Identity, known: Known) -> bool:
    """Statements about the models that count now, and the condition Signed of each; whether anything was written.

    `last`: what each statement was known to follow from; only what is new is looked at.
    """
    if not deps.signers:
        return False
    written = False
    counted = {c.spec_hash for c in (known.wanted, known.live) if c is not None}
    for record in known.evidence.revisions:
        now = told(record, known.evidence)
        live = deps.objects.get("ModelRevision", identity.namespace, record.name)
        if record.spec.spec_hash not in counted or last.get(record.name) == now or live is None:
            continue
        digest, update = record.status.statement_digest, SIGNED_SAID
        try:
            digest = await signed(deps, identity, record, live["metadata"]["uid"], known.evidence) or digest
        except UnsignableError as error:
            update = ConditionUpdate(SIGNED, ConditionStatus.FALSE, "Unsignable", str(error))
        last[record.name] = now
        if digest is None and update is SIGNED_SAID:
            continue
        written |= await _write(deps, identity, record, live, update, digest)
    return written


async def _write(
    deps: Deps,
    identity: Identity,
    record: RevisionView,
    live: Mapping[str, Any],
    update: ConditionUpdate,
    digest: str | None,
) -> bool:
    generation = int(live["metadata"].get("generation") or 0)
    conditions = replaced(record.status.conditions, update, generation, rfc3339(deps.clock()))
    after = record.status.model_copy(update={"conditions": conditions, "statement_digest": digest})
    if after == record.status:
        return False
    await writes.status(deps, "ModelRevision", identity.namespace, record.name, after.to_wire())
    return True


def _runs(record: RevisionView, evidence: Evidence) -> list[RunView]:
    found = (newest_ended(evidence.runs, suite, record.spec.spec_hash) for suite in evidence.suites)
    return [run for run in found if run is not None and run.status.result_digest is not None]


async def signed(deps: Deps, identity: Identity, record: RevisionView, uid: str, evidence: Evidence) -> str | None:
    """The digest of the statement about the revision, written where it is not there already; None: nothing to state.

    Raises:
        UnsignableError: a result is gone, or contradicts the record.
    """
    runs = _runs(record, evidence)
    if not runs or not deps.signers:
        return None
    namespace, name = identity.namespace, evaluation.statement_name(record.name)
    results = {run.spec.suite: await _stored(deps, namespace, run) for run in runs}
    predicate = _predicate(deps, identity, record, runs, results)
    live = await deps.kube.get("v1", "ConfigMap", namespace, name)
    before = ((live or {}).get("data") or {}).get(evaluation.STATEMENT_KEY)
    if before is not None and _says(before, predicate, deps.signers):
        return canonical.digest_bytes(before.encode())
    suites = {s.name: s.spec for s in evidence.suites if s.spec is not None and s.name in results}
    found = {suite: result for suite, (_, result, _) in results.items()}
    data: dict[str, str] = {}
    if suites.keys() == found.keys():
        written = canonical.encode(bom.build(predicate, found, suites))
        predicate = predicate.model_copy(update={"bom": statement.BomRecord(digest=canonical.digest_bytes(written))})
        data[evaluation.BOM_KEY] = written.decode()
    made = envelope.sign(statement.write(predicate), list(deps.signers))
    data[evaluation.STATEMENT_KEY] = made.decode()
    log.info("signed", revision=record.name, by=[envelope.short(s.public_key.keyid) for s in deps.signers])
    manifest = evaluation.statement(identity, record.name, uid, data)
    await deps.kube.apply(manifest, field_manager=FIELD_MANAGER)
    return canonical.digest_bytes(made)


async def _stored(deps: Deps, namespace: str, run: RunView) -> tuple[bytes, EvaluationResult, str]:
    """(bytes of the result, what they say, the model's manifest or nothing), as the run's ConfigMap has them."""
    live = await deps.kube.get("v1", "ConfigMap", namespace, run.name)
    data = (live or {}).get("data") or {}
    text = data.get(evaluation.RESULT_KEY, "").encode()
    if canonical.digest_bytes(text) != run.status.result_digest:
        raise UnsignableError(f"ConfigMap {run.name} does not have the result of the run: it is gone, or was changed")
    try:
        return text, EvaluationResult.model_validate_json(text), data.get(evaluation.MANIFEST_KEY, "")
    except ValidationError as error:
        raise UnsignableError(f"the result of run {run.name}: {statement.first_problem(error)}") from error


def _predicate(
    deps: Deps,
    identity: Identity,
    record: RevisionView,
    runs: Sequence[RunView],
    results: dict[str, tuple[bytes, EvaluationResult, str]],
) -> statement.Predicate:
    spec, approval = record.spec, record.status.approval
    evaluations = []
    for run in runs:
        _, result, _ = results[run.spec.suite]
        judged = statement.EvaluationRecord(
            name=run.spec.suite,
            suite=statement.SuiteRecord(name=run.spec.suite, digest=run.spec.suite_digest),
            dataset=statement.DatasetRecord(
                digest=run.status.dataset_digest or "", size_bytes=result.dataset_size_bytes or 0
            ),
            result=statement.ResultRecord(digest=run.status.result_digest or ""),
            batch_rows=result.batch_rows,
            verdict=run.status.verdict or Outcome.UNKNOWN,
        )
        for contradiction in statement.contradictions(result, judged, spec.artifact.digest):
            raise UnsignableError(f"the result of run {run.name} is of something else: its {contradiction}")
        evaluations.append(judged)
    approved = None
    if approval is not None:
        approved = statement.ApprovalRecord(
            namespace=identity.namespace, name=approval.name, uid=approval.uid, time=approval.time,
            service=spec.service, revision=record.name, artifact_digest=spec.artifact.digest,
            decision=approval.decision, approved_by=approval.approved_by, reason=approval.reason,
        )  # fmt: skip
    return statement.Predicate(
        model=_model(record, [manifest for _, _, manifest in results.values() if manifest]),
        service=spec.service,
        revision=record.name,
        spec_hash=spec.spec_hash,
        variant=spec.variant,
        pool=spec.pool,
        parent=None
        if spec.parent is None
        else statement.ParentRecord(name=spec.parent.name, digest=spec.parent.digest),
        evaluations=tuple(evaluations),
        approval=approved,
        created=rfc3339(deps.clock()),
    )


def _model(record: RevisionView, manifests: Sequence[str]) -> statement.ModelRecord:
    """With every file, from the manifest that the revision's digest is of."""
    for text in manifests:
        if canonical.digest_bytes(text.encode()) != record.spec.artifact.digest:
            continue
        wire = canonical.parse_canonical(text.encode())
        files = {path: FileDigest(file["sha256"], file["sizeBytes"]) for path, file in wire["files"].items()}
        name = record.spec.model.name or record.spec.service
        return statement.ModelRecord.of(name, Manifest(files), record.spec.model.version)
    raise UnsignableError("no run has left the manifest of the model's files; there may be too many of them")


def _says(before: str, predicate: statement.Predicate, signers: Sequence[Any]) -> bool:
    """Whether that statement is one of ours and says the same. When it was made, and its bill, are no difference."""
    try:
        payload = envelope.verify(before.encode(), [signer.public_key for signer in signers]).payload
        found = statement.read(payload)
    except (envelope.EnvelopeError, envelope.SignatureInvalidError, statement.StatementError):
        return False  # by another key, or touched: signed anew
    return found.model_copy(update={"created": predicate.created, "bom": None}) == predicate
