"""What a pod that reads data sets is given: an account without rights, the way to their stores alone, and the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from throughline.domain.manifests import names, network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from throughline.api.evaluationdataset import Dataset, DatasetSource
    from throughline.domain.manifests.names import Identity
    from throughline.domain.observed import Manifest

HTTPS_PORT = 443


def surroundings(
    identity: Identity, name: str, pods: Mapping[str, str], rules: Sequence[Mapping[str, Any]]
) -> list[Manifest]:
    """ServiceAccount and NetworkPolicy of that name for the pods with those labels. `rules`: where they may go."""
    account: Manifest = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": names.metadata(identity, name),
        "automountServiceAccountToken": False,
    }
    policy: Manifest = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": names.metadata(identity, name),
        "spec": {
            "podSelector": {"matchLabels": pods},
            "policyTypes": ["Ingress", "Egress"],
            # An empty list is not stored, so it could not be compared.
            **({"egress": [network.dns_rule(), *rules]} if rules else {}),
        },
    }
    return [account, policy]


def store_rules(datasets: Sequence[tuple[str, Dataset]]) -> list[dict[str, Any]]:
    """Out to the stores of data that is given by URL.

    A NetworkPolicy knows addresses and no names, so a store's port is open to every address.
    """
    ports = sorted(
        {_store_port(d.source.uri.endpoint or d.source.uri.url) for _, d in datasets if d.source.uri is not None}
    )
    return [{"ports": [{"protocol": "TCP", "port": port}]} for port in ports]


def _store_port(url: str) -> int:
    parts = urlsplit(url)
    try:
        explicit = parts.port if parts.scheme in {"http", "https"} else None
    except ValueError:  # no number; the evaluator says so
        explicit = None
    return explicit or (80 if parts.scheme == "http" else HTTPS_PORT)


def volumes(datasets: Sequence[tuple[str, Dataset]]) -> list[dict[str, Any]]:
    """Of the pod, each named as its folder."""
    found = ((folder, _source(dataset.source)) for folder, dataset in datasets)
    return [{"name": folder, **source} for folder, source in found if source is not None]


def _source(source: DatasetSource) -> dict[str, Any] | None:
    """What is mounted of a data set; None: it is fetched."""
    if source.pvc is not None:
        return {"persistentVolumeClaim": {"claimName": source.pvc.claim_name, "readOnly": True}}
    if source.config_map is not None:
        key = source.config_map.key
        return {"configMap": {"name": source.config_map.name, "items": [{"key": key, "path": key}]}}
    return None


def mounts(datasets: Sequence[tuple[str, Dataset]]) -> list[dict[str, Any]]:
    """Of the container, each at /FOLDER."""
    return [
        {"name": folder, "mountPath": f"/{folder}", "readOnly": True}
        for folder, dataset in datasets
        if dataset.source.uri is None
    ]


def secrets(datasets: Sequence[tuple[str, Dataset]]) -> dict[str, Any]:
    """`envFrom` of the container: the credentials of the stores that the data sets name, and no others."""
    named = (d.source.uri.secret_name for _, d in datasets if d.source.uri is not None)
    found = [{"secretRef": {"name": name}} for name in dict.fromkeys(named) if name]
    return {"envFrom": found} if found else {}
