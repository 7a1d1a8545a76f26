"""Names, labels and owner of everything that belongs to one InferenceService.

No name and no label depends on the operator's version: an upgrade of the chart must not roll a pod.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from throughline.api.base import API_VERSION, GROUP

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LABEL = 63
HASH_DIGITS = 8
CONTAINER = "triton"
LOAD_CHECK = "load-check"  # init container
MODEL_FILES = "model-files"  # init container
CONTROL_KEY_HEADER = "throughline-control-key"
CONTROL_KEY_ENV = "THROUGHLINE_CONTROL_KEY"
CONFIG_NAME = "throughline"  # Triton's --model-config-name, and the ConfigMap's key without .pbtxt
GRPC_PORT, HTTP_PORT, METRICS_PORT = 8001, 8000, 8002

SERVICE_LABEL = f"{GROUP}/inferenceservice"
REVISION_LABEL = f"{GROUP}/revision"
POOL_LABEL = f"{GROUP}/pool"
MANAGED_BY = "throughline"


@dataclass(frozen=True, slots=True)
class Identity:
    """The InferenceService that owns what is rendered."""

    name: str
    namespace: str
    uid: str


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


def base_name(name: str) -> str:
    """The resource's name as an RFC 1035 label, which Services demand: at most 63, no dot, a letter first.

    A name that had to be changed ends in a hash of the whole, so that two never meet.
    """
    label = re.sub(r"[^a-z0-9-]", "-", name.lower())
    if not label[:1].isalpha():
        label = f"s-{label}"
    if label == name and len(label) <= MAX_LABEL:
        return name
    return f"{label[: MAX_LABEL - HASH_DIGITS - 1].rstrip('-')}-{_digest(name)}"


def label_value(text: str) -> str:
    """A valid label value that is unique to the text: itself where it fits."""
    if len(text) <= MAX_LABEL:
        return text
    return f"{text[: MAX_LABEL - HASH_DIGITS - 1].rstrip('-._')}-{_digest(text)}"


def deployment_name(name: str) -> str:
    """Name of the Deployment of the InferenceService `name`."""
    return base_name(name)


def service_name(name: str) -> str:
    """Name of its Service."""
    return base_name(name)


def config_map_name(name: str, model_hash: str) -> str:
    """Name of the ConfigMap that holds the configuration of one model revision."""
    return f"{base_name(name)}-config-{model_hash}"


def secret_name(name: str) -> str:
    """Name of the Secret with the key of Triton's control API, under `key`."""
    return f"{base_name(name)}-control"


def service_account_name(name: str) -> str:
    """Name of the ServiceAccount that is made where the spec names none."""
    return base_name(name)


def selector(name: str) -> dict[str, str]:
    """What a Deployment selects its pods by: immutable there, so the least that is unique."""
    return {SERVICE_LABEL: label_value(name)}


def selector_text(name: str) -> str:
    """The selector as clients write it."""
    return ",".join(f"{label}={value}" for label, value in selector(name).items())


def labels(name: str) -> dict[str, str]:
    """The recommended labels, and ours."""
    return {
        "app.kubernetes.io/name": "triton",
        "app.kubernetes.io/instance": label_value(name),
        "app.kubernetes.io/managed-by": MANAGED_BY,
        **selector(name),
    }


def owner(kind: str, name: str, uid: str) -> dict[str, Any]:
    """Deleting that object of ours deletes the one that bears this: no finalizer is needed."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def metadata(identity: Identity, name: str, extra_labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Name, labels and owner of one object."""
    return {
        "name": name,
        "namespace": identity.namespace,
        "labels": {**labels(identity.name), **(extra_labels or {})},
        "ownerReferences": [owner("InferenceService", identity.name, identity.uid)],
    }


def foreign_owner(live: Mapping[str, Any], identity: Identity) -> str | None:
    """Whose object this is, when it is not this service's; None when it is, so that nothing of others is taken over."""
    owners = live.get("metadata", {}).get("ownerReferences") or []
    controller = next((o for o in owners if o.get("controller")), None)
    if controller is None:
        return "nobody's (it has no controller)"
    if controller.get("uid") == identity.uid:
        return None
    return f"{controller.get('kind', '?')} {controller.get('name', '?')}"
