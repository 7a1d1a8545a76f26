"""What is known of a service's models: its suites, runs, revisions and approvals, from the watched objects alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import ValidationError

from throughline.api import validation
from throughline.api.evaluationrun import EvaluationRunSpec, EvaluationRunStatus
from throughline.api.modelrevision import ModelApprovalSpec, ModelRevisionSpec, ModelRevisionStatus, RevisionApproval
from throughline.domain.evaluation import admission
from throughline.domain.evaluation.views import Candidate, Evidence, RevisionView, RunView, SuiteView
from throughline.domain.manifests import REVISION_LABEL, deployment_name, model_hash, served_name
from throughline.domain.times import unix_seconds
from throughline.lineage.statement import suite_digest, suite_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from throughline.api.evaluation import Evaluation
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.domain.evaluation.admission import Serving
    from throughline.reconcile.context import Deps, Key

log = structlog.get_logger("evidence")

Parsed = dict[tuple[str, str], tuple[int, Any]]  # (kind, name) → (resource version, what was made of it)


@dataclass(frozen=True, slots=True)
class Known:
    """The evidence, and the models that it is about."""

    evidence: Evidence  # with the approvals of the wanted revision
    wanted: Candidate
    live_hash: str | None  # revision of the Deployment's pods; None: there is none
    serving: Serving

    @property
    def live(self) -> Candidate | None:
        """The model that serves, where that is known: the wanted one, or one that a ModelRevision records."""
        if self.live_hash == self.wanted.spec_hash:
            return self.wanted
        record = self.evidence.revision(self.live_hash or "")
        if record is None:
            return None
        return replace(
            self.wanted,
            spec_hash=record.spec.spec_hash,
            model=record.spec.model,
            served_name=record.spec.model.name or record.spec.service,
        )


async def know(
    deps: Deps, parsed: Parsed, service: Mapping[str, Any], spec: InferenceServiceSpec, evaluation: Evaluation
) -> Known:
    """All of it, read without a pause after the first look. `parsed` keeps what has not changed since the last time."""
    metadata = service["metadata"]
    key = (metadata["namespace"], metadata["name"])
    for kind, name in [ref for ref in parsed if deps.objects.version(ref[0], key[0], ref[1]) is None]:
        del parsed[(kind, name)]  # deleted: runs come and go for as long as the service is there
    guarded = await deps.guard.stands()
    wanted = _wanted(deps, service, spec)
    evidence = replace(_evidence(deps, parsed, key, evaluation), guarded=guarded)
    record = evidence.revision(wanted.spec_hash)
    evidence = replace(evidence, approvals=approvals(deps, parsed, key, record, guarded=guarded))
    deployment = deps.objects.get("Deployment", key[0], deployment_name(key[1]))
    template = ((deployment or {}).get("spec") or {}).get("template") or {}
    live_hash = ((template.get("metadata") or {}).get("labels") or {}).get(REVISION_LABEL)
    serving = admission.serving(evaluation, wanted, evidence.revisions, live_hash)
    return Known(evidence, wanted, live_hash, serving)


def _wanted(deps: Deps, service: Mapping[str, Any], spec: InferenceServiceSpec) -> Candidate:
    name = service["metadata"]["name"]
    pool = (service.get("status") or {}).get("pool") or spec.placement.pools[0].name
    declared = deps.cluster.pool_spec(pool)
    model = served_name(spec, name)
    return Candidate(
        spec_hash=model_hash(spec, model),
        model=spec.model,
        served_name=model,
        pool=pool,
        region=None if declared is None else declared.region,
    )


def _evidence(deps: Deps, parsed: Parsed, key: Key, evaluation: Evaluation) -> Evidence:
    namespace, name = key
    return Evidence(
        suites=tuple(_suite(deps, parsed, namespace, reference.name) for reference in evaluation.suites),
        runs=tuple(_children(deps, parsed, namespace, name, "EvaluationRun", _run)),
        revisions=tuple(_children(deps, parsed, namespace, name, "ModelRevision", _revision)),
    )


def _suite(deps: Deps, parsed: Parsed, namespace: str, name: str) -> SuiteView:
    version = deps.objects.version("EvaluationSuite", namespace, name)
    if version is None:
        return SuiteView(name, None, "", "does not exist in this namespace")
    known = parsed.get(("EvaluationSuite", name))
    if known is None or known[0] != version:
        live = deps.objects.get("EvaluationSuite", namespace, name)
        known = parsed[("EvaluationSuite", name)] = (version, _read_suite(name, live or {}))
    found: SuiteView = known[1]
    return found


def _read_suite(name: str, live: Mapping[str, Any]) -> SuiteView:
    try:
        spec = suite_spec(live)
    except ValidationError:
        document = {k: live[k] for k in ("apiVersion", "kind", "metadata", "spec") if k in live}
        said = "; ".join(f"{p.field}: {p.message}" for p in validation.check(document))
        return SuiteView(name, None, "", f"is not valid: {said}")
    return SuiteView(name, spec, suite_digest(spec))


def _children(
    deps: Deps, parsed: Parsed, namespace: str, service: str, kind: str, read: Callable[[Mapping[str, Any]], Any]
) -> list[Any]:
    found = []
    for (child_kind, name), version in sorted(deps.objects.versions(namespace, service).items()):
        if child_kind != kind:
            continue
        known = parsed.get((kind, name))
        if known is None or known[0] != version:
            live = deps.objects.get(kind, namespace, name)
            try:
                view = None if live is None else read(live)
            except ValidationError as error:  # written by another version, or by hand
                log.warning("not readable, so it counts not", kind=kind, name=name, error=str(error))
                view = None
            known = parsed[(kind, name)] = (version, view)
        if known[1] is not None:
            found.append(known[1])
    return found


def _run(live: Mapping[str, Any]) -> RunView:
    metadata = live["metadata"]
    return RunView(
        name=metadata["name"],
        uid=metadata["uid"],
        created_seconds=unix_seconds(metadata["creationTimestamp"]),
        generation=int(metadata.get("generation") or 0),
        spec=EvaluationRunSpec.model_validate(live.get("spec") or {}),
        status=EvaluationRunStatus.model_validate(live.get("status") or {}),
    )


def _revision(live: Mapping[str, Any]) -> RevisionView:
    return RevisionView(
        name=live["metadata"]["name"],
        spec=ModelRevisionSpec.model_validate(live.get("spec") or {}),
        status=ModelRevisionStatus.model_validate(live.get("status") or {}),
    )


def approvals(
    deps: Deps, parsed: Parsed, key: Key, record: RevisionView | None, *, guarded: bool
) -> tuple[RevisionApproval, ...]:
    """Of that revision and of its very files, newest first; the API server has seen to it who wrote them."""
    if record is None or not guarded:
        return ()
    found = []
    for live in deps.objects.all("ModelApproval"):
        metadata = live["metadata"]
        if metadata["namespace"] != key[0]:
            continue
        version = int(metadata["resourceVersion"])
        known = parsed.get(("ModelApproval", metadata["name"]))
        if known is None or known[0] != version:
            known = parsed[("ModelApproval", metadata["name"])] = (version, _approval(live))
        if known[1] is None:
            continue
        spec, approval = known[1]
        named = (spec.service, spec.revision, spec.artifact_digest)
        if named == (key[1], record.name, record.spec.artifact.digest):
            found.append(approval)
    return tuple(sorted(found, key=lambda a: (a.time, a.name), reverse=True))


def _approval(live: Mapping[str, Any]) -> tuple[ModelApprovalSpec, RevisionApproval] | None:
    metadata = live["metadata"]
    try:
        spec = ModelApprovalSpec.model_validate(live.get("spec") or {})
    except ValidationError as error:
        log.warning("not readable, so it counts not", kind="ModelApproval", name=metadata["name"], error=str(error))
        return None
    approval = RevisionApproval(
        name=metadata["name"],
        uid=metadata["uid"],
        decision=spec.decision,
        approved_by=spec.approved_by,
        reason=spec.reason,
        time=metadata.get("creationTimestamp") or "",
    )
    return spec, approval
