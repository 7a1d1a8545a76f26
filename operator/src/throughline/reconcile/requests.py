"""What one replica of a service asks of a node, pool by pool: rendered again only when something of it changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from throughline.domain.manifests import label_value
from throughline.domain.manifests.pod import pod_template
from throughline.domain.replica import replica_requests

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.servingpool import ServingPoolSpec
    from throughline.domain.manifests import Identity, RenderOptions


@dataclass(frozen=True, slots=True)
class Requests:
    """Call it with a pool. `shapes`: live pods as admitted, by value of the pool label."""

    options: RenderOptions
    known: dict[str, tuple[Any, ...]]
    identity: Identity
    spec: InferenceServiceSpec
    digest: str | None
    shapes: Mapping[str, Mapping[str, Any]]

    def __call__(self, name: str, pool: ServingPoolSpec) -> Mapping[str, int]:
        here = self.shapes.get(label_value(name))
        # Without a pod on this pool, one of another still shows sidecars and defaults of the namespace.
        admitted = here if here is not None else next(iter(self.shapes.values()), None)
        depends = (self.spec, pool, self.options, self.digest, admitted)
        before = self.known.get(name)
        if before is None or before[0] != depends:
            template = pod_template(self.identity, self.spec, name, pool, self.options, digest=self.digest)
            requests = replica_requests(template["spec"], admitted, same_pool=here is not None)
            before = self.known[name] = (depends, requests)
        amounts: Mapping[str, int] = before[1]
        return amounts
