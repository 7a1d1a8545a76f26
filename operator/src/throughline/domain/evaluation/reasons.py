"""Reasons that evaluation and monitoring give: of an InferenceService, an EvaluationRun and a ModelRevision."""

from __future__ import annotations

from throughline.domain.condition_types import ACCURACY_PASSING, DRIFT_WITHIN_BOUNDS, Meaning, Nature
from throughline.domain.evaluation.views import ADMITTED, SUCCEEDED

_G, _P, _F, _U = Nature.GOOD, Nature.PROGRESS, Nature.FAULT, Nature.USER
_RERUN = "`kubectl delete trun RUN -n NAMESPACE`: the operator then runs it again."
_AGAIN = f"Correct what the message names, then {_RERUN}"
_BETTER = (
    "Set spec.model of the InferenceService back, or to a better model; `kubectl get configmap RUN -n NAMESPACE -o "
    "yaml` shows the whole result."
)
_UNDECIDED = "Do what the message says of each bound, such as adding rows of a class or a slice to the data set."
_RESTORE = (
    "Restore the old files; put new ones under another path (spec.model.storage.uri) or version (spec.model.version) "
    "of the InferenceService."
)
_REGIONS = (
    "Set spec.region of the ServingPool (`kubectl edit servingpool POOL`), list another pool in spec.placement.pools, "
    "or correct {field}."
)
_SUITE_REGIONS = _REGIONS.format(field="spec.dataset.governance.regions of the EvaluationSuite")
_APPROVE = (
    "Apply a ModelApproval of the ModelRevision that the message names, with spec.decision: Approved or Rejected "
    "(docs/evaluate.md has one; the role is in manifests/approval)."
)
_REJECTED = (
    "Set spec.model of the InferenceService to another model; or apply a ModelApproval of the revision with "
    "spec.decision: Approved (docs/evaluate.md has one): the newest counts."
)
_SUITE_NOT_FOUND = (
    "Apply the EvaluationSuite in the service's namespace (`throughline validate FILE`, `kubectl apply -n NAMESPACE -f "
    "FILE`), or remove its name from spec.evaluation.suites of the InferenceService."
)

_ACCURACY_TABLE = (
    Meaning(ACCURACY_PASSING, "AllPassed", _G, "Every suite of spec.evaluation passed for the revision that serves."),
    Meaning(ACCURACY_PASSING, "NotConfigured", _G, "The service has no spec.evaluation: nothing is claimed."),
    Meaning(
        ACCURACY_PASSING,
        "NotEvaluated",
        _P,
        "A suite has not been run for this revision yet, is running, or what it found is being written down.",
        "Wait; `kubectl get trun -n NAMESPACE` shows how far it is.",
    ),
    Meaning(
        ACCURACY_PASSING,
        "BoundMissed",
        _F,
        "A suite failed for the revision that serves: the message has each bound that was missed, with its numbers.",
        _BETTER,
    ),
    Meaning(
        ACCURACY_PASSING,
        "RevisionHeldBack",
        _U,
        "The gate keeps the revision of spec.model out, because a suite failed; the one before serves on.",
        "Correct the model, or the bound that it missed (a new suite is run anew); or set spec.model back.",
    ),
    Meaning(
        ACCURACY_PASSING,
        "Undecided",
        _F,
        "A bound can be judged neither kept nor missed: the message says why for each. That is not passed.",
        _UNDECIDED,
    ),
    Meaning(
        ACCURACY_PASSING,
        "AwaitingApproval",
        _P,
        "Every suite passed; a person must approve the revision before it serves.",
        _APPROVE,
    ),
    Meaning(
        ACCURACY_PASSING,
        "Rejected",
        _U,
        "The newest ModelApproval of the revision rejects it; the one before serves on.",
        _REJECTED,
    ),
    Meaning(
        ACCURACY_PASSING,
        "ArtifactChanged",
        _U,
        "The model's files are others than those that were first judged under this spec: they were overwritten.",
        _RESTORE,
    ),
    Meaning(
        ACCURACY_PASSING,
        "EvaluationFailed",
        _F,
        "An evaluation came to no verdict: the message says why.",
        _AGAIN,
    ),
    Meaning(
        ACCURACY_PASSING,
        "SuiteNotFound",
        _U,
        "spec.evaluation names an EvaluationSuite that is not in the namespace, or is not valid.",
        _SUITE_NOT_FOUND,
    ),
    Meaning(
        ACCURACY_PASSING,
        "RegionNotAllowed",
        _U,
        "The pool lies outside the regions in which the suite's data may be read, or names no region. Nothing is run.",
        _SUITE_REGIONS,
    ),
    Meaning(
        ACCURACY_PASSING,
        "EvaluatorMissing",
        _U,
        "The operator was installed without an image of the evaluator.",
        "Set settings.evaluatorImage of the chart.",
    ),
)
_DRIFT_TABLE = (
    Meaning(
        DRIFT_WITHIN_BOUNDS,
        "WithinBounds",
        _G,
        "What could be checked of the samples is as the baseline is. Without labels, concept drift is not seen.",
    ),
    Meaning(
        DRIFT_WITHIN_BOUNDS, "NotConfigured", _G, "spec.monitoring declares no drift or labels: nothing is claimed."
    ),
    Meaning(
        DRIFT_WITHIN_BOUNDS,
        "Drifted",
        _F,
        "Traffic, the estimated accuracy or the labelled errors are out of bounds: the message has the numbers.",
        "Look at what changed upstream; evaluate the model on newer rows, and retrain it where it fails.",
    ),
    Meaning(
        DRIFT_WITHIN_BOUNDS,
        "NotEnoughRows",
        _P,
        "There are not enough samples for a window yet.",
        "Wait; or sample more often, or lower drift.policy.minimumRows.",
    ),
    Meaning(
        DRIFT_WITHIN_BOUNDS, "NotLookedAt", _P, "The samples have not been looked at yet.", "Wait for the schedule."
    ),
    Meaning(
        DRIFT_WITHIN_BOUNDS,
        "EvaluatorMissing",
        _U,
        "The operator was installed without an image of the evaluator: nothing is sampled or looked at.",
        "Set settings.evaluatorImage of the chart.",
    ),
    Meaning(
        DRIFT_WITHIN_BOUNDS,
        "RegionNotAllowed",
        _U,
        "The pool lies outside the regions in which samples, baseline or labels may be kept. Nothing is sampled.",
        _REGIONS.format(field="governance.regions under spec.monitoring of the InferenceService"),
    ),
    Meaning(
        DRIFT_WITHIN_BOUNDS,
        "SaltMissing",
        _U,
        "The Secret of spec.monitoring.sampling.salt is not there, lacks the key, or is too short. Servers that are "
        "not sampled yet are left as they are; a new pod of a service that is sampled cannot start.",
        "Create the Secret that the message names, with 32 random bytes or more; restore it if it was deleted.",
    ),
    Meaning(
        DRIFT_WITHIN_BOUNDS,
        "ServerTooOld",
        _U,
        "Every server is older than spec.monitoring.sampling.minimumServerVersion: tracing is off, nothing is sampled.",
        "Serve with a newer Triton; lower minimumServerVersion only for a build in which tracing was repaired.",
    ),
    Meaning(
        DRIFT_WITHIN_BOUNDS,
        "CheckFailed",
        _F,
        "The last look came to no result: the message says why.",
        "Correct what the message names; `kubectl get pods -n NAMESPACE` shows the CronJob's last pod "
        "NAME-monitoring-…, `kubectl logs POD -n NAMESPACE` has more.",
    ),
    Meaning(
        DRIFT_WITHIN_BOUNDS,
        "Stale",
        _F,
        "The last look is older than two starts of its schedule: what it found is no longer held to be so.",
        "See with `kubectl describe cronjob NAME-monitoring -n NAMESPACE` whether it is suspended, or its pod does "
        "not run.",
    ),
)
_RUN_TABLE = (
    Meaning(SUCCEEDED, "VerdictPassed", _G, "Every bound of the suite is kept."),
    Meaning(SUCCEEDED, "VerdictFailed", _G, "There is a verdict: a bound is missed. AccuracyPassing acts on it."),
    Meaning(
        SUCCEEDED,
        "VerdictUnknown",
        _G,
        "There is a verdict: a bound can be judged neither kept nor missed, which is not passed.",
        _UNDECIDED,
    ),
    Meaning(
        SUCCEEDED,
        "Running",
        _P,
        "The evaluator works; `kubectl logs -f job/JOB -n NAMESPACE -c evaluate` shows how far.",
    ),
    Meaning(
        SUCCEEDED,
        "Scoring",
        _P,
        "The predictions are written, and the suite's scorer works on them; `kubectl logs -f job/JOB -n NAMESPACE -c "
        "scorer`.",
    ),
    Meaning(SUCCEEDED, "Pending", _P, "The Job's pod does not run yet: the message says why.", "Make room if it says."),
    Meaning(
        SUCCEEDED,
        "Waiting",
        _P,
        "Something that the Job needs is not there; it is looked for again until the deadline.",
        "Create what the message names.",
    ),
    Meaning(
        SUCCEEDED,
        "BadInput",
        _U,
        "Suite, data, model or a scorer's scores are not as the evaluator needs them.",
        _AGAIN,
    ),
    Meaning(
        SUCCEEDED,
        "EvaluatorCrashed",
        _F,
        "The evaluator ended with an error that it does not foresee: a fault of Throughline. It says nothing about the "
        "model.",
        "Report the traceback that `kubectl logs POD -n NAMESPACE` shows of the Job's pod, with the message. Then "
        f"{_RERUN}",
    ),
    Meaning(
        SUCCEEDED,
        "ScorerFailed",
        _U,
        "The container of spec.task.scorer failed: the message has its exit code and what it said last.",
        f"Correct the scorer; docs/scorers.md says how to run it by hand. {_AGAIN}",
    ),
    Meaning(
        SUCCEEDED,
        "DeadlineExceeded",
        _F,
        "It took longer than spec.evaluation.deadlineSeconds, waiting and retries included.",
        f"Raise deadlineSeconds, or make room for the pod. {_AGAIN}",
    ),
    Meaning(
        SUCCEEDED,
        "BackoffLimitExceeded",
        _F,
        "The evaluator, or the server beside it, failed more often than spec.evaluation.retries.",
        _AGAIN,
    ),
    Meaning(SUCCEEDED, "JobFailed", _F, "The Job failed, and Kubernetes gave no reason.", _AGAIN),
    Meaning(SUCCEEDED, "JobLost", _F, "Its Job was deleted before it had ended, as often as it may be tried.", _AGAIN),
    Meaning(
        SUCCEEDED, "ResultLost", _F, "The result could not be read from the pod, as often as it was tried.", _AGAIN
    ),
    Meaning(
        SUCCEEDED,
        "ResultTooLarge",
        _U,
        "The result does not fit into a ConfigMap.",
        "Name fewer entries in spec.slices of the EvaluationSuite.",
    ),
    Meaning(SUCCEEDED, "SuiteChanged", _G, "The suite was changed before its Job began; the new one has its own run."),
)
_REVISION_TABLE = (
    Meaning(ADMITTED, "Admitted", _G, "It passed every suite, and was approved where that is required. It stays so."),
    Meaning(ADMITTED, "AwaitingApproval", _P, "It passed every suite; a person must approve it.", _APPROVE),
    Meaning(ADMITTED, "NotEvaluated", _P, "A suite has not been run for it yet, or is running.", "Wait."),
    Meaning(ADMITTED, "BoundMissed", _F, "A suite failed: the message has each bound that was missed.", _BETTER),
    Meaning(ADMITTED, "Undecided", _F, "A bound can be judged neither kept nor missed.", _UNDECIDED),
    Meaning(ADMITTED, "Rejected", _U, "The newest ModelApproval rejects it.", _REJECTED),
    Meaning(ADMITTED, "ArtifactChanged", _U, "The files are others than those that were first judged.", _RESTORE),
    Meaning(ADMITTED, "EvaluationFailed", _F, "An evaluation came to no verdict.", _AGAIN),
    Meaning(ADMITTED, "SuiteNotFound", _U, "A suite that is named is absent, or not valid.", _SUITE_NOT_FOUND),
    Meaning("Signed", "Signed", _G, "A signed statement about it is in the ConfigMap NAME-statement."),
    Meaning(
        "Signed",
        "Unsignable",
        _F,
        "There is no statement: a result is gone or was changed, or contradicts the record.",
        f"Of the EvaluationRun that the message names: {_RERUN}",
    ),
    Meaning(ADMITTED, "RegionNotAllowed", _U, "The suite's data may not be read where the pool is.", _SUITE_REGIONS),
)


def describe_service() -> tuple[Meaning, ...]:
    """The tables of AccuracyPassing and DriftWithinBounds."""
    return (*_ACCURACY_TABLE, *_DRIFT_TABLE)


def describe_run() -> tuple[Meaning, ...]:
    """The table of EvaluationRun."""
    return _RUN_TABLE


def describe_revision() -> tuple[Meaning, ...]:
    """The table of ModelRevision."""
    return _REVISION_TABLE
