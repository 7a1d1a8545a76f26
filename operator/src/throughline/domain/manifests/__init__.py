"""From an InferenceService and its pool to the Kubernetes objects that serve it. Pure: same input, same output."""

from throughline.domain.manifests.names import (
    CONFIG_NAME,
    CONTAINER,
    CONTROL_KEY_HEADER,
    LOAD_CHECK,
    MODEL_FILES,
    POOL_LABEL,
    REVISION_LABEL,
    SERVICE_LABEL,
    Identity,
    config_map_name,
    deployment_name,
    foreign_owner,
    label_value,
    secret_name,
    selector,
    selector_text,
    service_account_name,
    service_name,
)
from throughline.domain.manifests.options import RenderOptions
from throughline.domain.manifests.render import render
from throughline.domain.manifests.triton_config import (
    batches,
    config_pbtxt,
    model_hash,
    proof_config,
    served_name,
    triton_config,
)
from throughline.domain.manifests.workload import replicas_patch
from throughline.domain.manifests.workload import secret as render_secret

__all__ = [
    "CONFIG_NAME",
    "CONTAINER",
    "CONTROL_KEY_HEADER",
    "LOAD_CHECK",
    "MODEL_FILES",
    "POOL_LABEL",
    "REVISION_LABEL",
    "SERVICE_LABEL",
    "Identity",
    "RenderOptions",
    "batches",
    "config_map_name",
    "config_pbtxt",
    "deployment_name",
    "foreign_owner",
    "label_value",
    "model_hash",
    "proof_config",
    "render",
    "render_secret",
    "replicas_patch",
    "secret_name",
    "selector",
    "selector_text",
    "served_name",
    "service_account_name",
    "service_name",
    "triton_config",
]
