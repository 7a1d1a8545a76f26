"""What one pass decides of the batch settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.api.batching import BatchSettings
    from throughline.api.status import DecisionRecord, RejectedSettings, Trial
    from throughline.domain.control.optimise.proposal import OptimalityRange
    from throughline.domain.control.predict.outcome import Candidate


@dataclass(frozen=True, slots=True)
class BatchStep:
    """What becomes of the settings in this pass."""

    settings: BatchSettings
    pod_settings: Mapping[str, BatchSettings] = field(default_factory=dict)
    trial: Trial | None = None
    rejected: tuple[RejectedSettings, ...] = ()
    records: tuple[DecisionRecord, ...] = ()
    changed: bool = False
    recommended: BatchSettings | None = None
    coming: Candidate | None = None  # better settings that wait for the last change to settle
    deferred: bool = False  # a choice waits for a measurement that is coming
    memory_bound: bool = False  # better settings exist, but not the memory to load them
    message: str = ""
    worse: BatchSettings | None = None  # settings that were just found to be worse than predicted
    rolled_back: bool = False  # by a load
    judged: OptimalityRange | None = None  # where it was found that nothing is better
