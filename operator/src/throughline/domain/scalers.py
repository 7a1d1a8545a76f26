"""Another autoscaler on the Deployment that the operator scales: found by who wrote its replicas, named by its target.

Two scalers of one Deployment undo each other's steps. The operator holds, since the other cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from throughline.api.base import ConditionStatus
from throughline.domain.condition_types import SCALING_ACTIVE
from throughline.domain.decision import ConditionUpdate
from throughline.domain.manifests import deployment_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The field manager under which the operator writes the replicas of a Deployment.
SCALER = "throughline-scaler"
# Field managers under which the HorizontalPodAutoscaler's controller and KEDA write the scale subresource.
AUTOSCALERS = frozenset({"kube-controller-manager", "keda"})
SCALED_OBJECT_LABEL = "scaledobject.keda.sh/name"


class OtherScaler(NamedTuple):
    """Who else scales, and the command that takes it away; `command` None where its name could not be read."""

    name: str
    command: str | None


def wrote_replicas(deployment: Mapping[str, Any] | None) -> bool | None:
    """Whether an autoscaler was the last to set the replicas by the scale subresource; None: nothing tells.

    The field managers tell it, but for a field that had none: the API server (1.36) records no manager of an update of
    scale while nobody manages spec.replicas, as before the operator has scaled for the first time. Then a number that
    is not the API's default of 1 shows that somebody has set it.
    """
    found = deployment or {}
    managers = (found.get("metadata") or {}).get("managedFields") or ()
    scaled = {m.get("manager") for m in managers if m.get("subresource") == "scale"}
    if scaled or any(m.get("manager") == SCALER for m in managers):
        return bool(scaled & AUTOSCALERS)
    return None if (found.get("spec") or {}).get("replicas") not in {None, 1} else False


def targeting(autoscalers: Iterable[Mapping[str, Any]], service: str) -> OtherScaler | None:
    """The HorizontalPodAutoscaler of the service's namespace whose target is the service or its Deployment."""
    targets = {("Deployment", deployment_name(service)), ("InferenceService", service)}
    for found in autoscalers:
        target = (found.get("spec") or {}).get("scaleTargetRef") or {}
        if (target.get("kind"), target.get("name")) in targets:
            metadata = found["metadata"]
            namespace, keda = metadata["namespace"], (metadata.get("labels") or {}).get(SCALED_OBJECT_LABEL)
            if keda:
                return OtherScaler(f"ScaledObject {keda}", f"kubectl delete scaledobject {keda} -n {namespace}")
            name = metadata["name"]
            return OtherScaler(f"HorizontalPodAutoscaler {name}", f"kubectl delete hpa {name} -n {namespace}")
    return None


def conflict(other: OtherScaler, service: str) -> ConditionUpdate:
    """ScalingActive while the operator leaves the replicas to the other."""
    command = f" (`{other.command}`)" if other.command else ""
    return ConditionUpdate(
        SCALING_ACTIVE,
        ConditionStatus.FALSE,
        "ConflictingScaler",
        f"{other.name} scales Deployment {deployment_name(service)}, too, so its replicas are left as they are: "
        f"delete it{command}, or set spec.scaling.mode to Off to leave them to it",
    )
