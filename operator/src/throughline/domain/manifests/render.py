from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.domain.manifests import drift, form, network, workload
from throughline.domain.ownership import edited

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from throughline.api.batching import BatchSettings
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.servingpool import ServingPoolSpec
    from throughline.domain.manifests.names import Identity
    from throughline.domain.manifests.options import RenderOptions
    from throughline.domain.observed import Manifest


def render(
    identity: Identity,
    spec: InferenceServiceSpec,
    pool_name: str,
    pool_spec: ServingPoolSpec,
    settings: BatchSettings,
    options: RenderOptions,
    *,
    surge: bool,
    digest: str | None = None,
    live: Mapping[str, Any] | None = None,
) -> list[Manifest]:
    """Everything that one service owns, but for the Secret; in the order to apply it: what pods need comes first.

    `live`: its Deployment, whose pods are replaced only where they must be.
    """

    def deployment(in_form: RenderOptions, surges: bool) -> Manifest:
        return workload.deployment(identity, spec, pool_name, pool_spec, in_form, surge=surges, digest=digest)

    manifests = [] if spec.runtime.service_account_name else [workload.service_account(identity)]
    manifests += [
        workload.config_map(identity, spec, pool_spec, settings),
        network.network_policy(identity, options),
        network.service(identity),
        workload.pod_disruption_budget(identity),
        deployment(options, surge) if live is None else _over(live, deployment, options, surge=surge),
    ]
    manifests += drift.objects(identity, spec, pool_spec, options)
    if options.pod_monitor:
        manifests.append(network.pod_monitor(identity, options))
    return manifests


def _over(
    live: Mapping[str, Any],
    deployment: Callable[[RenderOptions, bool], Manifest],
    options: RenderOptions,
    *,
    surge: bool,
) -> Manifest:
    """The strategy of a rollout stays as it is, too, while there is nothing to roll out: what admission rewrites is
    as it should be.
    """
    in_form = form.kept(options, live, deployment)
    if in_form is None:
        return deployment(options, surge)
    manifest = deployment(in_form, _surges(live))
    rolls = edited({"spec": {"template": manifest["spec"]["template"]}}, live)
    return deployment(in_form, surge) if rolls else manifest


def _surges(deployment: Mapping[str, Any]) -> bool:
    rolling = ((deployment.get("spec") or {}).get("strategy") or {}).get("rollingUpdate") or {}
    return rolling.get("maxSurge") not in {0, "0", "0%"}
