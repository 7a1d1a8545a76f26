"""Another autoscaler on what the operator scales: found by who wrote the replicas, named by its target.

Two scalers of one Deployment undo each other's steps. The operator holds, since the other cannot. An autoscaler on the
InferenceService writes spec.scaling.replicas, which the operator obeys in modes Off and Recommend and ignores in Auto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from throughline.api.base import GROUP, ConditionStatus
from throughline.api.scaling import ScalingMode
from throughline.domain.condition_types import SCALING_ACTIVE
from throughline.domain.decision import ConditionUpdate
from throughline.domain.manifests import deployment_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from throughline.api.scaling import Scaling

# The field manager under which the operator writes the replicas of a Deployment.
SCALER = "throughline-scaler"
# Field managers under which the HorizontalPodAutoscaler's controller and KEDA write the scale subresource.
AUTOSCALERS = frozenset({"kube-controller-manager", "keda"})
VERTICAL = "VerticalPodAutoscaler"
PAUSED, PAUSED_REPLICAS = "autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas"
GO_TRUE = ("1", "t", "T", "true", "TRUE", "True")  # as strconv.ParseBool has it
SCALED_OBJECT_LABEL = "scaledobject.keda.sh/name"


class OtherScaler(NamedTuple):
    """Who else scales, and the command that takes it away; `command` None where its name could not be read."""

    name: str
    command: str | None
    on_service: bool = False  # its target is the InferenceService, whose Deployment it does not touch


def scales(scaling: Scaling) -> bool:
    """Whether the operator sets the replicas of the Deployment."""
    return scaling.mode is ScalingMode.AUTO or scaling.requested_replicas is not None


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


def targeting(autoscalers: Iterable[Mapping[str, Any]], service: str, scaling: Scaling) -> OtherScaler | None:
    """The HorizontalPodAutoscaler in the service's namespace that interferes: one whose target is the Deployment, or in
    mode Auto one whose target is the InferenceService.
    """
    found = [(_target_kind(autoscaler, service), autoscaler["metadata"]) for autoscaler in autoscalers]
    for kind in ("Deployment", "InferenceService") if scaling.mode is ScalingMode.AUTO else ("Deployment",):
        for target, metadata in found:
            if target == kind:
                return _named(metadata)._replace(on_service=target == "InferenceService")
    return None


def conflict_in_files(autoscaler: Mapping[str, Any], service: str, scaling: Scaling) -> str | None:
    """Why an autoscaler must not be applied beside the service; None: it may."""
    if autoscaler.get("kind") == VERTICAL:
        return _resized(autoscaler, service)
    target = None if _paused(autoscaler) else _target_kind(autoscaler, service)
    if target == "InferenceService" and scaling.mode is ScalingMode.AUTO:
        text = f"it has no effect on InferenceService {service} in mode Auto"
    elif target == "Deployment" and scales(scaling):
        text = f"InferenceService {service} scales Deployment {deployment_name(service)}, too"
    else:
        return None
    return f"{text}: remove the {autoscaler['kind']}, or {_leave(scaling, target)} to leave the replicas to it"


def _resized(autoscaler: Mapping[str, Any], service: str) -> str | None:
    mode = _map(_map(autoscaler.get("spec")).get("updatePolicy")).get("updateMode")
    if mode == "Off" or _target_kind(autoscaler, service) is None:
        return None
    return (
        f"it would resize the pods of InferenceService {service}, whose resources spec.runtime.resources and the pool "
        'set: set spec.updatePolicy.updateMode to "Off", or remove the VerticalPodAutoscaler'
    )


def _paused(autoscaler: Mapping[str, Any]) -> bool:
    """Whether KEDA leaves the replicas alone. With paused-replicas it sets them once more."""
    annotations = _map(_map(autoscaler.get("metadata")).get("annotations"))
    return PAUSED_REPLICAS not in annotations and annotations.get(PAUSED) in GO_TRUE


def target_field(autoscaler: Mapping[str, Any]) -> str:
    """The field of its spec that names what it scales."""
    return "targetRef" if autoscaler.get("kind") == VERTICAL else "scaleTargetRef"


def _target_kind(autoscaler: Mapping[str, Any], service: str) -> str | None:
    """Whether it scales the service or its Deployment, or neither."""
    reference = _map(_map(autoscaler.get("spec")).get(target_field(autoscaler)))
    kind = reference.get("kind") or "Deployment"  # KEDA's default; a HorizontalPodAutoscaler has to name it
    group = str(reference.get("apiVersion") or GROUP).partition("/")[0]
    if kind == "InferenceService":  # KServe has a kind of this name, too
        return kind if (reference.get("name"), group) == (service, GROUP) else None
    return kind if (kind, reference.get("name")) == ("Deployment", deployment_name(service)) else None


def _map(value: object) -> Mapping[str, Any]:
    """The map, or an empty one: files may hold anything where the API server would have a map."""
    return value if isinstance(value, dict) else {}


def _leave(scaling: Scaling, target: str) -> str:
    """What leaves the replicas to another autoscaler."""
    off = ['set spec.scaling.mode to "Off"'] if scaling.mode is ScalingMode.AUTO else []
    if target == "Deployment" and scaling.replicas is not None:
        off.append("remove spec.scaling.replicas")
    return " and ".join(off)


def _named(metadata: Mapping[str, Any]) -> OtherScaler:
    namespace, keda = metadata["namespace"], (metadata.get("labels") or {}).get(SCALED_OBJECT_LABEL)
    if keda:
        return OtherScaler(f"ScaledObject {keda}", f"kubectl delete scaledobject {keda} -n {namespace}")
    name = metadata["name"]
    return OtherScaler(f"HorizontalPodAutoscaler {name}", f"kubectl delete hpa {name} -n {namespace}")


def conflict(other: OtherScaler, service: str, scaling: Scaling) -> ConditionUpdate:
    """ScalingActive while another autoscaler scales the service or its Deployment."""
    command = f" (`{other.command}`)" if other.command else ""
    target = "InferenceService" if other.on_service else "Deployment"
    if other.on_service:
        text = f"{other.name} scales InferenceService {service}, which has no effect in mode Auto"
    else:
        text = f"{other.name} scales Deployment {deployment_name(service)}, too, so its replicas are left as they are"
    return ConditionUpdate(
        SCALING_ACTIVE,
        ConditionStatus.FALSE,
        "ConflictingScaler",
        f"{text}: delete it{command}, or {_leave(scaling, target)} to leave the replicas to it",
    )
