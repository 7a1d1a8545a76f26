"""Whether pods have the memory for other settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.domain.control.tuning import MEMORY_LIMIT

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings
    from throughline.domain.control.observe.observation import Observation


def memory_allows(seen: Observation, target: BatchSettings, *, whole: bool = False) -> bool:
    """Whether every pod has room for the change: a reload holds both models, instances alone are changed in place; but
    not by the first load since the server started, which is `whole` whatever it changes.

    Without a declared limit there is nothing to run into; with one, unknown use means no.
    """
    now = seen.settings
    growth = target.instances / now.instances
    in_place = (target.max_batch_size, target.max_queue_delay_microseconds) == (
        now.max_batch_size,
        now.max_queue_delay_microseconds,
    )
    for pod in seen.serving:
        factor = growth if in_place and pod.loaded_by_api and not whole else 1.0 + growth
        gpu = pod.metrics.gpu_memory_used_ratio if pod.metrics else None
        if gpu is not None and gpu * factor > MEMORY_LIMIT:
            return False
        limited = seen.view.memory_limited
        if limited and (pod.memory_used_ratio is None or pod.memory_used_ratio * factor > MEMORY_LIMIT):
            return False
    return True
