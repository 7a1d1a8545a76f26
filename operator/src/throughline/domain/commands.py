"""Commands in messages that more than one condition gives: each runs as it is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from throughline.domain.observed import ServiceView


def scale(view: ServiceView, replicas: int | str) -> str:
    """Sets spec.scaling.replicas, which the operator obeys in the modes Off and Recommend; an edited Deployment it sets
    back.
    """
    return f"kubectl scale tis/{view.name} -n {view.namespace} --replicas={replicas}"


def explain(view: ServiceView) -> str:
    """Shows what the last decisions were made from."""
    return f"throughline explain {view.name} -n {view.namespace}"
