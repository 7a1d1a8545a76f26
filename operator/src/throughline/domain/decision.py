"""The decision about one service: what must be so now, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.api.base import ConditionStatus
    from throughline.api.batching import BatchSettings
    from throughline.api.status import ControlStatus, DecisionRecord, SLOStatus


@dataclass(frozen=True, slots=True)
class ConditionUpdate:
    """A condition as it should read now; domain.conditions keeps the transition time."""

    type: str
    status: ConditionStatus
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What the shell is to make so. Level-triggered: the same view gives the same decision."""

    # For spec.replicas of the Deployment, under the scaler's field manager. None: leave it alone (mode Off, Recommend).
    replicas: int | None
    # Durable settings, for the ConfigMap.
    settings: BatchSettings
    # By pod uid: settings that differ from the durable ones now (a trial on one pod). All others get `settings`.
    pod_settings: Mapping[str, BatchSettings]
    # The loop's memory, to persist in status.control.
    control: ControlStatus
    # MetricsAvailable, SLOMet, ScalingActive, BatchTuned.
    conditions: tuple[ConditionUpdate, ...]
    # New lines of the ledger, oldest first; empty when nothing changed.
    records: tuple[DecisionRecord, ...]
    slo: SLOStatus
    # By pod uid: when the repair was ordered, that loads the model again on it.
    reloads: Mapping[str, str] = field(default_factory=dict)
    pool: str | None = None  # to move to; None: stay
    recommended_replicas: int | None = None
    recommended_settings: BatchSettings | None = None
    # When to look again, if nothing wakes the worker before.
    requeue_seconds: float = field(default=15.0)
