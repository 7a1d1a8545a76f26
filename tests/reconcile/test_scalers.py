"""Another autoscaler on the Deployment: named, and not fought with."""

from __future__ import annotations

from typing import Any

import pytest
from throughline.api.batching import BatchSettings
from throughline.ports import ApiError
from throughline.reconcile.service import ServiceReconciler
from throughline.runtime.slim import slim

from tests.reconcile.fakes import World, service
from tests.reconcile.scene import KEY, serve

HPA = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}


def hpa(name: str = "cpu", kind: str = "Deployment", **labels: str) -> dict[str, Any]:
    target = {"kind": kind, "name": "m"}
    return {
        **HPA,
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"scaleTargetRef": target},
    }


def scaled(world: World, replicas: int, manager: str = "kube-controller-manager") -> None:
    """As after an update of the scale subresource."""
    found = world.live("Deployment", "m")
    entry = {
        "manager": manager,
        "operation": "Update",
        "subresource": "scale",
        "fieldsV1": {"f:spec": {"f:replicas": {}}},
    }
    metadata = {**found["metadata"], "managedFields": [entry]}
    world.add({**found, "metadata": metadata, "spec": {**found["spec"], "replicas": replicas}})


async def served(world: World, **scaling: Any) -> ServiceReconciler:
    obj = world.add(service(scaling={"minReplicas": 1, "maxReplicas": 3, **scaling}))
    passing = ServiceReconciler(world.deps)
    await passing(KEY)
    serve(world, obj, settings=BatchSettings(max_batch_size=1))
    await passing(KEY)
    return passing


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (hpa(), ("HorizontalPodAutoscaler cpu", "kubectl delete hpa cpu -n default")),
        (
            hpa("keda-hpa-m", **{"scaledobject.keda.sh/name": "queue"}),
            ("ScaledObject queue", "kubectl delete scaledobject queue -n default"),
        ),
    ],
    ids=["of the Deployment", "of KEDA"],
)
async def test_another_autoscaler_is_named_and_not_fought_with(
    world: World, other: dict[str, Any], words: tuple[str, ...]
) -> None:
    passing = await served(world)
    world.add(other)
    scaled(world, 5)  # more than spec.scaling.maxReplicas
    writes = len(world.kube.writes)
    for _ in range(4):
        world.now += 15
        await passing(KEY)
    assert world.live("Deployment", "m")["spec"]["replicas"] == 5
    assert [w for w in world.kube.writes[writes:] if w[1] == "Deployment"] == []
    assert world.conditions()["ScalingActive"] == ("False", "ConflictingScaler")
    assert world.live("InferenceService", "m")["status"]["reason"] != "Serving"
    for word in (*words, "spec.scaling.mode"):
        assert word in world.message("ScalingActive")


async def test_an_autoscaler_is_found_before_the_operator_has_scaled(world: World) -> None:
    """The API server records no manager of the scale subresource while nobody manages spec.replicas."""
    passing = await served(world)
    world.add(hpa())
    found = world.live("Deployment", "m")
    world.add({**found, "spec": {**found["spec"], "replicas": 2}})
    await passing(KEY)
    assert world.conditions()["ScalingActive"] == ("False", "ConflictingScaler")
    assert world.live("Deployment", "m")["spec"]["replicas"] == 2


async def test_replicas_of_the_operators_own_are_not_asked_about(world: World) -> None:
    passing = await served(world)
    found = world.live("Deployment", "m")
    managers = [{"manager": "throughline-scaler", "operation": "Apply", "fieldsV1": {}}]
    metadata = {**found["metadata"], "managedFields": managers}
    world.add({**found, "metadata": metadata, "spec": {**found["spec"], "replicas": 2}})
    reads = len(world.kube.reads)
    await passing(KEY)
    assert ("HorizontalPodAutoscaler", "*") not in world.kube.reads[reads:]


async def test_once_the_other_is_gone_the_operator_scales_again(world: World) -> None:
    passing = await served(world)
    world.add(hpa())
    scaled(world, 5)
    await passing(KEY)
    world.remove("HorizontalPodAutoscaler", "default", "cpu")
    world.now += 61
    await passing(KEY)
    assert world.live("Deployment", "m")["spec"]["replicas"] == 3
    assert world.conditions()["ScalingActive"][1] != "ConflictingScaler"


async def test_without_the_right_to_list_autoscalers_the_conflict_is_told_all_the_same(world: World) -> None:
    passing = await served(world)
    scaled(world, 5)

    async def forbidden(*_: Any, **__: Any) -> Any:
        raise ApiError(403, "Forbidden", "cannot list")

    world.kube.list = forbidden  # type: ignore[method-assign]
    await passing(KEY)
    assert world.conditions()["ScalingActive"] == ("False", "ConflictingScaler")
    assert "`kubectl get hpa -n default`" in world.message("ScalingActive")


async def test_without_that_right_nobody_is_blamed_where_nothing_shows_an_autoscaler(world: World) -> None:
    """A person may have set replicas that nobody managed: the operator goes on scaling."""
    passing = await served(world)
    found = world.live("Deployment", "m")
    world.add({**found, "spec": {**found["spec"], "replicas": 2}})

    async def forbidden(*_: Any, **__: Any) -> Any:
        raise ApiError(403, "Forbidden", "cannot list")

    world.kube.list = forbidden  # type: ignore[method-assign]
    await passing(KEY)
    assert world.conditions()["ScalingActive"][1] != "ConflictingScaler"


@pytest.mark.parametrize(("manager", "mode"), [("kubectl", "Auto"), ("kube-controller-manager", "Off")])
async def test_a_person_and_a_service_in_mode_off_are_no_conflict(world: World, manager: str, mode: str) -> None:
    passing = await served(world, mode=mode)
    world.add(hpa())
    scaled(world, 2, manager)
    reads = len(world.kube.reads)
    await passing(KEY)
    assert ("HorizontalPodAutoscaler", "*") not in world.kube.reads[reads:]
    assert world.conditions()["ScalingActive"][1] != "ConflictingScaler"


def requested(world: World, replicas: int | None, mode: str = "Off") -> None:
    """As `kubectl scale`, an HPA or KEDA leaves the service."""
    found = world.live("InferenceService", "m")
    scaling = {"mode": mode, "maxReplicas": 3, **({} if replicas is None else {"replicas": replicas})}
    spec, generation = {**found["spec"], "scaling": scaling}, found["metadata"]["generation"] + 1
    world.add({**found, "spec": spec, "metadata": {**found["metadata"], "generation": generation}})


async def test_in_mode_off_the_replicas_that_were_set_reach_the_deployment_with_one_write(world: World) -> None:
    passing = await served(world, mode="Off")
    requested(world, 3)
    await passing(KEY)
    assert world.live("Deployment", "m")["spec"]["replicas"] == 3
    assert world.live("InferenceService", "m")["spec"]["scaling"]["replicas"] == 3
    await passing(KEY)
    writes = len(world.kube.writes)
    for _ in range(4):
        world.now += 15
        await passing(KEY)
    assert world.kube.writes[writes:] == []


async def test_the_status_has_the_selector_of_the_scale_subresource(world: World) -> None:
    await served(world, mode="Off")
    selector = world.live("InferenceService", "m")["status"]["selector"]
    match = world.live("Deployment", "m")["spec"]["selector"]["matchLabels"]
    assert selector == ",".join(f"{k}={v}" for k, v in match.items())


async def test_an_autoscaler_of_the_service_is_obeyed_in_mode_off(world: World) -> None:
    passing = await served(world, mode="Off")
    world.add(hpa(kind="InferenceService"))
    requested(world, 5)
    await passing(KEY)
    assert world.live("Deployment", "m")["spec"]["replicas"] == 5
    assert world.conditions()["ScalingActive"] == ("True", "Off")


async def test_an_autoscaler_of_the_service_is_named_in_mode_auto_and_the_operator_goes_on_scaling(
    world: World,
) -> None:
    passing = await served(world)
    world.add(hpa("keda-hpa-m", kind="InferenceService", **{"scaledobject.keda.sh/name": "queue"}))
    requested(world, 5, mode="Auto")
    found = world.live("Deployment", "m")
    managers = [{"manager": "throughline-scaler", "operation": "Apply", "fieldsV1": {}}]
    world.add(
        {
            **found,
            "metadata": {**found["metadata"], "managedFields": managers},
            "spec": {**found["spec"], "replicas": 9},
        }
    )
    await passing(KEY)
    assert world.live("Deployment", "m")["spec"]["replicas"] == 3, "spec.scaling.maxReplicas"
    assert world.conditions()["ScalingActive"] == ("False", "ConflictingScaler")
    message = world.message("ScalingActive")
    assert "ScaledObject queue scales InferenceService m, which has no effect in mode Auto" in message
    assert 'set spec.scaling.mode to "Off"' in message


async def test_replicas_that_were_set_are_not_fought_over_with_an_autoscaler_of_the_deployment(world: World) -> None:
    passing = await served(world, mode="Off")
    requested(world, 3)
    await passing(KEY)
    world.add(hpa())
    scaled(world, 5)
    await passing(KEY)
    assert world.live("Deployment", "m")["spec"]["replicas"] == 5
    assert world.conditions()["ScalingActive"] == ("False", "ConflictingScaler")
    assert "remove spec.scaling.replicas" in world.message("ScalingActive")


def test_of_a_deployment_only_who_scaled_it_is_kept() -> None:
    fields = {"f:spec": {"f:replicas": {}}}
    managers = [
        {"manager": "throughline", "operation": "Apply", "fieldsV1": fields},
        {"manager": "keda", "operation": "Update", "subresource": "scale", "fieldsV1": fields},
    ]
    kept = slim({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "m", "managedFields": managers}})
    assert kept["metadata"]["managedFields"] == [{"manager": "keda", "subresource": "scale"}]
