"""A PersistentVolume of a directory that all nodes see, as model storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e.stack.models import onnx_bytes
from e2e.stack.objects import apply

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.cluster import Cluster

CLAIM = "models"


def install(cluster: Cluster, claim: str = CLAIM, namespace: str = "default") -> Path:
    """A bound claim; returns its directory on this machine."""
    folder = cluster.node_path(claim)
    folder.chmod(0o755)
    size = {"storage": "1Gi"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{namespace}-{claim}"},
        "spec": {
            "capacity": size,
            "accessModes": ["ReadOnlyMany", "ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "hostPath": {"path": str(folder)},
            "claimRef": {"name": claim, "namespace": namespace},
        },
    }
    wanted = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim, "namespace": namespace},
        "spec": {
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": "",
            "volumeName": f"{namespace}-{claim}",
            "resources": {"requests": size},
        },
    }
    apply(cluster, [volume, wanted])
    return folder


def put_onnx(folder: Path, name: str, *, version: int = 1, **network: int) -> None:
    """NAME/VERSION/model.onnx below the claim's directory."""
    target = folder / name / str(version)
    target.mkdir(parents=True, exist_ok=True)
    (target / "model.onnx").write_bytes(onnx_bytes(**network))
