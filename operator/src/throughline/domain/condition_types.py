"""The conditions of an InferenceService, and what a line of a table of reasons says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ACCEPTED = "Accepted"
WORKLOAD_READY = "WorkloadReady"
MODEL_READY = "ModelReady"
METRICS_AVAILABLE = "MetricsAvailable"
SLO_MET = "SLOMet"
SCALING_ACTIVE = "ScalingActive"
BATCH_TUNED = "BatchTuned"
LOAD_BALANCED = "LoadBalanced"
ACCURACY_PASSING = "AccuracyPassing"
DRIFT_WITHIN_BOUNDS = "DriftWithinBounds"
READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
# The order in which they are shown, and in which the first cause is looked for.
TYPES = (
    READY,
    ACCEPTED,
    WORKLOAD_READY,
    MODEL_READY,
    METRICS_AVAILABLE,
    SLO_MET,
    SCALING_ACTIVE,
    BATCH_TUNED,
    LOAD_BALANCED,
    ACCURACY_PASSING,
    DRIFT_WITHIN_BOUNDS,
    RECONCILING,
    STALLED,
)
NOT_YET_OBSERVED = "NotYetObserved"


class Nature(StrEnum):
    """What a reason says about who must act."""

    GOOD = "Good"  # as it should be
    PROGRESS = "Progress"  # getting there by itself
    FAULT = "Fault"  # wrong now, and tried again by itself
    USER = "User"  # stays wrong until somebody changes something


@dataclass(frozen=True, slots=True)
class Meaning:
    """One line of the table."""

    type: str
    reason: str
    nature: Nature
    meaning: str
    action: str = "Nothing."
