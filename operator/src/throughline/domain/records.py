"""Decision records, the lines of a service's ledger; and batch settings as they are written there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.api.status import MAX_DECISIONS, Action, DecisionRecord
from throughline.domain.formatting import duration
from throughline.domain.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

    from throughline.api.batching import BatchSettings
    from throughline.api.status import Alternative


def settings_text(settings: BatchSettings) -> str:
    """Max batch / queue delay × instances: `32/2ms×2`."""
    delay = settings.max_queue_delay_microseconds
    return f"{settings.max_batch_size}/{duration(delay) if delay else '0'}×{settings.instances}"


def record(
    now_seconds: float,
    action: Action,
    reason: str,
    message: str,
    *,
    inputs: str = "",
    predicted: str = "",
    replicas: int,
    settings: BatchSettings | None = None,
    alternatives: Sequence[Alternative] = (),
) -> DecisionRecord:
    return DecisionRecord(
        time=rfc3339(now_seconds),
        action=action,
        reason=reason,
        message=message[:1024],
        inputs=inputs[:512],
        predicted=predicted[:256],
        replicas=replicas,
        settings=settings,
        alternatives=list(alternatives)[:5],
    )


def with_records(ledger: Sequence[DecisionRecord], new: Sequence[DecisionRecord]) -> list[DecisionRecord]:
    """The decision records, newest first and bounded; holding again for the newest record's reason adds none."""
    result = list(ledger)
    for entry in new:
        if (
            entry.action is Action.HOLD
            and result
            and (result[0].action, result[0].reason) == (entry.action, entry.reason)
        ):
            continue
        result.insert(0, entry)
    return result[:MAX_DECISIONS]
