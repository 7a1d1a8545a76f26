"""ModelRevisions: made when a run has read a model's files, and kept up with runs and approvals."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from throughline.api.base import API_VERSION
from throughline.domain.evaluation.admission import admission
from throughline.domain.evaluation.records import new_revision, revision_name, revision_status
from throughline.domain.manifests.names import metadata
from throughline.domain.ownership import FIELD_MANAGER
from throughline.domain.times import rfc3339
from throughline.reconcile import writes
from throughline.reconcile.evaluation.evidence import approvals

if TYPE_CHECKING:
    from throughline.api.evaluation import Evaluation
    from throughline.domain.manifests import Identity
    from throughline.reconcile.context import Deps
    from throughline.reconcile.evaluation.evidence import Known, Parsed

log = structlog.get_logger("revisions")


async def record(deps: Deps, parsed: Parsed, identity: Identity, evaluation: Evaluation, known: Known) -> bool:
    """Whether anything was written: then what is known is no longer all of it."""
    now = rfc3339(deps.clock())
    for candidate in filter(None, (known.wanted, known.live)):
        spec = new_revision(known.evidence, candidate, identity.name, now)
        if spec is None:
            continue
        name = revision_name(identity.name, candidate.spec_hash)
        log.info("revision", name=name, digest=spec.artifact.digest)
        manifest = {
            "apiVersion": API_VERSION,
            "kind": "ModelRevision",
            "metadata": metadata(identity, name),
            "spec": spec.to_wire(),
        }
        deps.objects.put(await deps.kube.apply(manifest, field_manager=FIELD_MANAGER))
        return True
    candidates = {c.spec_hash: c for c in (known.wanted, known.live) if c is not None}
    written = False
    for view in known.evidence.revisions:
        key = (identity.namespace, identity.name)
        found = approvals(deps, parsed, key, view, guarded=known.evidence.guarded)
        own = replace(known.evidence, approvals=found)
        counts = candidates.get(view.spec.spec_hash)
        admitted = None if counts is None else admission(evaluation, own, counts)
        live = deps.objects.get("ModelRevision", identity.namespace, view.name)
        generation = int((live or {"metadata": {}})["metadata"].get("generation") or 0)
        after = revision_status(view, own, admitted, generation, now)
        if after == view.status or live is None:
            continue
        await writes.status(deps, "ModelRevision", identity.namespace, view.name, after.to_wire())
        written = True
    return written
