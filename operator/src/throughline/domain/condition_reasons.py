"""Every reason that a condition can have, what it means and what to do. The one source of docs/conditions.md and
`explain`; the tables themselves are in reasons/, and those of evaluation and monitoring in evaluation/reasons.py.
"""

from __future__ import annotations

from throughline.domain.condition_types import NOT_YET_OBSERVED, READY, RECONCILING, STALLED, TYPES, Meaning, Nature
from throughline.domain.evaluation.reasons import describe_service
from throughline.domain.reasons.control import CONTROL_REASONS
from throughline.domain.reasons.metrics import METRICS_REASONS
from throughline.domain.reasons.pool import POOL_REASONS
from throughline.domain.reasons.workload import WORKLOAD_REASONS

_TABLE = (
    *WORKLOAD_REASONS,
    *METRICS_REASONS,
    *CONTROL_REASONS,
    *describe_service(),
    Meaning(
        READY, "Serving", Nature.GOOD, "The spec is realised and the model serves. Whether the SLO holds is SLOMet."
    ),
    Meaning(RECONCILING, "Settled", Nature.GOOD, "Nothing is under way."),
    Meaning(STALLED, "NotStalled", Nature.GOOD, "Nothing waits for you."),
)
_BY_KEY = {(line.type, line.reason): line for line in _TABLE}


def describe() -> tuple[Meaning, ...]:
    """The table, in the order of the conditions. NotYetObserved is common to all and stands once, under Ready."""
    common = Meaning(
        READY, NOT_YET_OBSERVED, Nature.PROGRESS, "The operator has not looked at this yet.", "Wait a few seconds."
    )
    return tuple(sorted((*_TABLE, common), key=lambda line: TYPES.index(line.type)))


def describe_pool() -> tuple[Meaning, ...]:
    """The table of ServingPool."""
    return POOL_REASONS


def nature(type_: str, reason: str) -> Nature:
    """Who must act. A reason that is not in the table is a fault that may pass."""
    if reason == NOT_YET_OBSERVED:
        return Nature.PROGRESS
    line = _BY_KEY.get((type_, reason))
    return line.nature if line else Nature.FAULT


def known(type_: str, reason: str) -> bool:
    """Whether the table explains the reason. Ready, Reconciling and Stalled repeat the reasons of the others."""
    if reason == NOT_YET_OBSERVED or (type_, reason) in _BY_KEY:
        return True
    return type_ in {READY, RECONCILING, STALLED} and any(r == reason for _, r in _BY_KEY)
