"""What evaluation says of a service in one pass: the model that may serve, AccuracyPassing, and the ledger's line."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from throughline.api.base import ConditionStatus
from throughline.api.evaluation import LoadCheck
from throughline.api.status import Action
from throughline.domain.conditions import ACCURACY_PASSING
from throughline.domain.evaluation import admission, monitoring
from throughline.domain.evaluation.records import service_status
from throughline.domain.manifests import Identity
from throughline.domain.placement import Refusal
from throughline.domain.records import record
from throughline.reconcile.evaluation import salt
from throughline.reconcile.evaluation.evidence import know
from throughline.reconcile.evaluation.monitoring import look

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.status import DecisionRecord, EvaluationStatus, InferenceServiceStatus, MonitoringStatus
    from throughline.domain.decision import ConditionUpdate
    from throughline.reconcile.context import Deps, ServiceState


# News of these goes into the ledger; that something is awaited does not.
LEDGER_REASONS = frozenset(
    {"AllPassed", "BoundMissed", "Undecided", "RevisionHeldBack", "Rejected", "ArtifactChanged", "EvaluationFailed"}
)


class Judgement(NamedTuple):
    """`spec`: with the model that may serve. `refusal`: none may, so what runs is left as it is."""

    spec: InferenceServiceSpec
    refusal: Refusal | None
    update: ConditionUpdate
    status: EvaluationStatus | None
    records: tuple[DecisionRecord, ...]
    digest: str | None = None  # of the model's files, where each pod is to compare them
    drift: ConditionUpdate = monitoring.NOT_CONFIGURED
    monitored: MonitoringStatus | None = None


async def judge(
    deps: Deps,
    state: ServiceState,
    service: Mapping[str, Any],
    spec: InferenceServiceSpec,
    before: InferenceServiceStatus,
) -> Judgement:
    """From the watched objects, and the Secret of the salt; writes nothing."""
    metadata = service["metadata"]
    identity = Identity(name=metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"])
    drift, monitored = await look(deps, state, identity, spec, before.pool, before.monitoring)
    if drift.reason == monitoring.SALT_MISSING and not salt.sampled(deps, identity):
        # Pods with a sidecar that cannot be created would not start: the service is more than its samples.
        spec = spec.model_copy(update={"monitoring": None})
    if spec.evaluation is None:
        return Judgement(spec, None, admission.NOT_CONFIGURED, None, (), drift=drift, monitored=monitored)
    known = await know(deps, state.parsed, service, spec, spec.evaluation)
    update = admission.accuracy(
        spec.evaluation, known.evidence, known.wanted, known.serving, evaluator=bool(deps.options.evaluator_image)
    )
    refusal = None
    if known.serving.model is None:
        reason = "RevisionHeldBack" if update.status == ConditionStatus.FALSE else "AwaitingEvaluation"
        refusal = Refusal(reason, "spec.model", update.message)
    elif known.serving.held_back:
        spec = spec.model_copy(update={"model": known.serving.model})
    old = next((c for c in before.conditions if c.type == ACCURACY_PASSING), None)
    records: tuple[DecisionRecord, ...] = ()
    if update.reason in LEDGER_REASONS and (old is None or (old.status, old.reason) != (update.status, update.reason)):
        line = record(
            deps.clock(), Action.EVALUATE, update.reason, update.message,
            replicas=before.replicas.desired, settings=before.batch.settings,
        )  # fmt: skip
        records = (line,)
    served = known.evidence.revision(known.serving.spec_hash)
    checked = spec.evaluation is not None and spec.evaluation.load_check is LoadCheck.DIGEST and served is not None
    digest = served.spec.artifact.digest if served is not None and checked else None
    told = service_status(known.evidence, known.wanted, known.live_hash)
    return Judgement(spec, refusal, update, told, records, digest, drift, monitored)
