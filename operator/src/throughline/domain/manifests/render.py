from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.domain.manifests import drift, network, workload

if TYPE_CHECKING:
    from throughline.api.inferenceservice import BatchSettings, InferenceServiceSpec
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
) -> list[Manifest]:
    """Everything that one service owns, but for the Secret; in the order to apply it: what pods need comes first."""
    manifests = [] if spec.runtime.service_account_name else [workload.service_account(identity)]
    manifests += [
        workload.config_map(identity, spec, pool_spec, settings),
        network.network_policy(identity, options),
        network.service(identity),
        workload.pod_disruption_budget(identity),
        workload.deployment(identity, spec, pool_name, pool_spec, options, surge=surge, digest=digest),
    ]
    manifests += drift.objects(identity, spec, pool_spec, options)
    if options.pod_monitor:
        manifests.append(network.pod_monitor(identity))
    return manifests
