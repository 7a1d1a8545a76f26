"""The Deployment and what it needs beside it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from throughline.domain.manifests import form, names, triton_config
from throughline.domain.manifests.pod import pod_template

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.servingpool import ServingPoolSpec
    from throughline.domain.manifests.names import Identity
    from throughline.domain.manifests.options import RenderOptions
    from throughline.domain.observed import Manifest

PULL_MARGIN_SECONDS = 600  # images of Triton are 5 to 20 GB


def deployment(
    identity: Identity,
    spec: InferenceServiceSpec,
    pool_name: str,
    pool: ServingPoolSpec,
    options: RenderOptions,
    *,
    surge: bool,
    digest: str | None = None,
) -> Manifest:
    """Without spec.replicas: that field belongs to the scaler's field manager, or to the user.

    `surge`: whether the pool has room for one replica more during a rollout. Without it one replica must go first,
    or the new one would wait for ever for the accelerator that the old one holds.
    """
    template = pod_template(identity, spec, pool_name, pool, options, digest=digest)
    metadata = names.metadata(identity, names.deployment_name(identity.name))
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "annotations": {form.ANNOTATION: form.annotation(template, options.template_version)}},
        "spec": {
            "selector": {"matchLabels": names.selector(identity.name)},
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": spec.runtime.start_timeout_seconds + PULL_MARGIN_SECONDS,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": int(surge), "maxUnavailable": int(not surge)},
            },
            "template": template,
        },
    }


def replicas_patch(name: str, namespace: str, replicas: int) -> Manifest:
    """Only the replica count of the Deployment `name`, for the scaler's own field manager."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas},
    }


def config_map(
    identity: Identity, spec: InferenceServiceSpec, pool: ServingPoolSpec, settings: BatchSettings
) -> Manifest:
    """The full configuration of one model revision.

    The name carries the revision: a new model gets a new ConfigMap and a rollout, and pods of the old revision keep
    theirs until they are gone. New batch settings change this one in place and roll nothing.
    """
    model = triton_config.served_name(spec, identity.name)
    revision = triton_config.model_hash(spec, model)
    config = triton_config.triton_config(spec.model, model, settings, accelerator=pool.accelerator)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": names.metadata(
            identity, names.config_map_name(identity.name, revision), {names.REVISION_LABEL: revision}
        ),
        "data": {f"{names.CONFIG_NAME}.pbtxt": triton_config.config_pbtxt(config)},
    }


def service_account(identity: Identity) -> Manifest:
    """An identity without any right; no token is mounted."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": names.metadata(identity, names.service_account_name(identity.name)),
        "automountServiceAccountToken": False,
    }


def secret(identity: Identity, key: str) -> Manifest:
    """The key to Triton's control API. Random, so the shell makes it once and then leaves it alone."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": names.metadata(identity, names.secret_name(identity.name)),
        "type": "Opaque",
        # Not stringData: that is never read back, so it could not be compared.
        "data": {"key": base64.b64encode(key.encode()).decode()},
    }


def pod_disruption_budget(identity: Identity) -> Manifest:
    """One pod at a time, and never a drain held up by a pod that does not serve anyway."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": names.metadata(identity, names.base_name(identity.name)),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": names.selector(identity.name)},
        },
    }
