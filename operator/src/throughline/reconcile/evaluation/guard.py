"""Whether the API server vouches for the author of an approval. Where it does not, `approvedBy` is a mere claim, and no
approval counts (docs/decisions/0013).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from throughline.ports import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from throughline.ports import KubePort

log = structlog.get_logger("guard")

API = "admissionregistration.k8s.io/v1"
NAME = "modelapprovals.throughline.io"  # of policy and binding, in manifests/approval
AUTHOR_RULE = "object.spec.approvedBy == request.userInfo.username"
LOOK_AGAIN_SECONDS = 30.0


@dataclass(slots=True)
class ApprovalGuard:
    """One for all workers."""

    kube: KubePort
    clock: Callable[[], float]
    _stands: bool = False
    _asked: float = float("-inf")
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def stands(self) -> bool:
        """As it was at most half a minute ago. What cannot be read does not stand."""
        async with self._asking:  # who comes while it is asked waits, and never gets the answer of before
            if self.clock() - self._asked >= LOOK_AGAIN_SECONDS:
                self._stands = await self._ask()
                self._asked = self.clock()
            return self._stands

    async def _ask(self) -> bool:
        try:
            policy = await self.kube.get(API, "ValidatingAdmissionPolicy", None, NAME)
            binding = await self.kube.get(API, "ValidatingAdmissionPolicyBinding", None, NAME)
        except ApiError as error:
            if not error.terminal:
                raise  # asked again: an API server that is busy says nothing about approvals
            log.warning("admission policy not read, so no approval counts", error=str(error))
            return False
        return guards(policy, binding)


def guards(policy: Mapping[str, Any] | None, binding: Mapping[str, Any] | None) -> bool:
    """Whether every approval in every namespace must be in its author's own name."""
    rules, bound = (policy or {}).get("spec") or {}, (binding or {}).get("spec") or {}
    expressions = {v.get("expression") for v in rules.get("validations") or ()}
    return (
        AUTHOR_RULE in expressions
        and rules.get("failurePolicy", "Fail") == "Fail"
        and not rules.get("matchConditions")
        and bound.get("policyName") == NAME
        and "Deny" in (bound.get("validationActions") or ())
        and not _narrowed(bound.get("matchResources"))
        and not _narrowed(rules.get("matchConstraints"))
    )


def _narrowed(matching: Mapping[str, Any] | None) -> bool:
    """Whether it leaves out some namespaces or objects. The empty selectors that the API server fills in do not."""
    match = matching or {}
    selectors = any(match.get(s) for s in ("namespaceSelector", "objectSelector", "excludeResourceRules"))
    return selectors or any(rule.get("resourceNames") for rule in match.get("resourceRules") or ())
