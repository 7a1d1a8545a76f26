"""Batch settings as they stand in a rendered configuration, and what a server says of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from throughline.api.batching import BatchSettings
from throughline.domain.manifests import triton_config

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from throughline.api.model import Model


def from_config_map(config_map: Mapping[str, Any]) -> BatchSettings | None:
    """The settings in the config.pbtxt that `render` wrote."""
    text = "".join((config_map.get("data") or {}).values())
    size = re.search(r"^max_batch_size: (\d+)", text, re.MULTILINE)
    count = re.search(r"^\s+count: (\d+)", text, re.MULTILINE)
    delay = re.search(r"^\s+max_queue_delay_microseconds: (\d+)", text, re.MULTILINE)
    if size is None or count is None:
        return None
    return BatchSettings(
        max_batch_size=int(size[1]), max_queue_delay_microseconds=int(delay[1]) if delay else 0, instances=int(count[1])
    )


def as_reported(model: Model, settings: BatchSettings) -> BatchSettings:
    """What a server reports that was given these settings: without a dynamic batcher there is no queue delay."""
    config = triton_config(model, "m", settings, accelerator=None)
    return settings if "dynamic_batching" in config else settings.model_copy(update={"max_queue_delay_microseconds": 0})


def as_proving(settings: BatchSettings) -> BatchSettings:
    """What a server reports while a full batch of these settings is proved: that it batches nothing."""
    return BatchSettings(max_batch_size=0, instances=settings.instances)


def recognised(
    model: Model, reported: BatchSettings | None, candidates: Iterable[BatchSettings | None]
) -> BatchSettings | None:
    """The first candidate that a server would report so, else what it reports."""
    if reported is None:
        return None
    for candidate in candidates:
        if candidate is not None and as_reported(model, candidate) == reported:
            return candidate
    return reported
