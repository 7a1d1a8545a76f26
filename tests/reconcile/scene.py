"""A service in the world in memory, with its pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from throughline.domain.manifests import config_map_name, model_hash, served_name
from throughline.reconcile.context import ServiceState
from throughline.reconcile.gather import parse_spec

from tests.reconcile.fakes import World, pod

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings

KEY = ("default", "m")


def revision_of(obj: dict[str, Any]) -> str:
    spec = parse_spec(ServiceState(uid="x"), obj)
    assert spec is not None
    return model_hash(spec, served_name(spec, obj["metadata"]["name"]))


def config_of(world: World, obj: dict[str, Any]) -> str:
    found = world.live("ConfigMap", config_map_name(obj["metadata"]["name"], revision_of(obj)))
    return "".join(found["data"].values())


def serve(world: World, obj: dict[str, Any], *, pods: int = 1, settings: BatchSettings) -> None:
    """Pods that run and are ready, as the Deployment's would be."""
    for i in range(pods):
        ip = f"10.0.0.{i + 1}"
        world.triton.loaded[ip] = settings
        world.add(pod(f"m-{i}", revision_of(obj), ip=ip))
    world.sync()
