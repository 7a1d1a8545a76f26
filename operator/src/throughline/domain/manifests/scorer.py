"""What a scorer that is a container adds to the pod of an evaluation (docs/scorers.md).

It has no way to a verdict but its scores: what it reads it cannot write, what it writes is judged by a container that
it does not see, and the operator takes nothing from its log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from throughline import exits
from throughline.api.quantities import canonical_resource
from throughline.domain.manifests import pod

if TYPE_CHECKING:
    from throughline.api.evaluationsuite import EvaluationSuiteSpec
    from throughline.api.evaluationtask import Scorer
    from throughline.domain.manifests.options import RenderOptions

PREDICTOR, CONTAINER = "predict", "scorer"
PREDICTIONS, SCORES = "/predictions", "/scores"
# Of the volume that the scorer writes to. The kubelet evicts a pod that goes beyond.
SCORES_LIMIT = "512Mi"
CPU_REQUEST, MEMORY_REQUEST = "100m", "512Mi"
KILLED = [137, 143]  # by somebody else: for want of memory, or with its node


def predictor(asks: dict[str, Any]) -> dict[str, Any]:
    """`asks`: the evaluator, with all that it needs to ask the model."""
    return {
        **asks,
        "name": PREDICTOR,
        "args": [*asks["args"], f"--predictions-out={PREDICTIONS}", "--work-dir=/work"],
        "volumeMounts": [*asks["volumeMounts"], {"name": "predictions", "mountPath": PREDICTIONS}],
    }


def container(declared: Scorer, options: RenderOptions) -> dict[str, Any]:
    """The user's. Its root is read-only, and of all volumes it has these two."""
    made: dict[str, Any] = {
        "name": CONTAINER,
        "image": declared.image,
        "env": [
            {"name": "HOME", "value": SCORES},
            {"name": "TMPDIR", "value": SCORES},
            {"name": "THROUGHLINE_PREDICTIONS", "value": PREDICTIONS},
            {"name": "THROUGHLINE_SCORES", "value": SCORES},
        ],
        "resources": _resources(declared),
        "securityContext": pod.container_security(),
        # Whoever writes nothing there is quoted from the log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "predictions", "mountPath": PREDICTIONS, "readOnly": True},
            {"name": "scores", "mountPath": SCORES},
        ],
        **options.pull_policy,
    }
    if declared.command:
        made["command"] = list(declared.command)
    if declared.args:
        made["args"] = list(declared.args)
    return made


def _resources(declared: Scorer) -> dict[str, Any]:
    given = declared.resources
    requests = {k: canonical_resource(v) for k, v in sorted(given.requests.items())}
    limits = {k: canonical_resource(v) for k, v in sorted(given.limits.items())}
    if not requests and not limits:
        requests = {"cpu": CPU_REQUEST, "memory": MEMORY_REQUEST}
    return {kind: amounts for kind, amounts in (("requests", requests), ("limits", limits)) if amounts}


def judge(evaluator: dict[str, Any]) -> dict[str, Any]:
    """`evaluator`: with nothing but the suite. It needs neither the data nor the model any more."""
    mounts = [
        {"name": "predictions", "mountPath": PREDICTIONS, "readOnly": True},
        {"name": "scores", "mountPath": SCORES, "readOnly": True},
    ]
    return {
        **evaluator,
        "args": [
            *evaluator["args"],
            f"--predictions={PREDICTIONS}",
            f"--scores={SCORES}/scores.json",
            "--output=/work/out",
        ],
        "volumeMounts": [*evaluator["volumeMounts"], *mounts],
    }


def volumes() -> list[dict[str, Any]]:
    """Of the pod."""
    return [{"name": "predictions", "emptyDir": {}}, {"name": "scores", "emptyDir": {"sizeLimit": SCORES_LIMIT}}]


def failure_policy(suite: EvaluationSuiteSpec) -> dict[str, Any]:
    """Of the Job's spec: the same rows and predictions score the same, so a scorer that fails is not run again, and its
    pod stays, with what it said last. A pod that lost its node, and a scorer that was killed, are tried again.
    """
    if suite.task.scorer is None:
        return {}
    return {
        "podFailurePolicy": {
            "rules": [
                {"action": "Count", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": CONTAINER, "operator": "NotIn", "values": [0, *KILLED]},
                },
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": PREDICTOR, "operator": "In", "values": [exits.UNUSABLE]},
                },
            ]
        }
    }
