"""What a model's queue does besides batching, as Triton's model configuration has it (ModelDynamicBatching).

Batch size and queue delay are not here: spec.batching bounds them, and the operator chooses. What stands here is kept
through every change of theirs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from throughline.api.base import Resource, Rule


class TimeoutAction(StrEnum):
    """What becomes of a request whose time in the queue is over, as Triton spells it."""

    REJECT = "REJECT"
    DELAY = "DELAY"


class QueuePolicy(Resource):
    """Triton's ModelQueuePolicy."""

    timeout_action: Annotated[
        TimeoutAction,
        Field(description="REJECT answers with an error; DELAY serves the request after all that are in time."),
    ] = TimeoutAction.REJECT
    default_timeout_microseconds: Annotated[
        int,
        Field(
            ge=0,
            le=3_600_000_000,
            description="How long a request may wait; 0: without end. Triton looks when it forms a batch, so a refusal "
            "may come later.",
        ),
    ] = 0
    allow_timeout_override: Annotated[bool, Field(description="Requests may name a shorter timeout of their own.")] = (
        False
    )
    max_queue_size: Annotated[
        int,
        Field(
            ge=0,
            le=1_000_000,
            description="Requests that may wait; 0: any number. Triton counts what a full queue refuses in no metric, "
            "so the operator scales by what was let in.",
        ),
    ] = 0


class DynamicBatching(Resource):
    """Fields of Triton's dynamic_batching that the operator leaves to the model's owner."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="$defaultPriorityLevel <= $priorityLevels && ($priorityLevels == 0 || $defaultPriorityLevel > 0)",
            holds=lambda s: (
                s.default_priority_level <= s.priority_levels
                and (s.priority_levels == 0 or s.default_priority_level > 0)
            ),
            message="spec.model.dynamicBatching.defaultPriorityLevel must be from 1 to "
            "spec.model.dynamicBatching.priorityLevels, and absent without that; Triton refuses others",
            field="defaultPriorityLevel",
        ),
        Rule(
            cel="!$preserveOrdering || ($priorityLevels <= 1 && (!has(self.defaultQueuePolicy) || "
            "!has(self.defaultQueuePolicy.timeoutAction) || self.defaultQueuePolicy.timeoutAction != 'DELAY'))",
            holds=lambda s: (
                not s.preserve_ordering
                or (
                    s.priority_levels <= 1
                    and (
                        s.default_queue_policy is None
                        or s.default_queue_policy.timeout_action is not TimeoutAction.DELAY
                    )
                )
            ),
            message="spec.model.dynamicBatching.preserveOrdering allows neither several priorityLevels nor "
            "timeoutAction DELAY, which answer out of order; remove one of them",
            field="preserveOrdering",
        ),
    )

    preserve_ordering: Annotated[bool, Field(description="Answers leave in the order of their requests.")] = False
    priority_levels: Annotated[
        int, Field(ge=0, le=1000, description="Levels that requests may name, 1 the first served; 0: none.")
    ] = 0
    default_priority_level: Annotated[
        int, Field(ge=0, le=1000, description="Level of requests that name none; required with priorityLevels.")
    ] = 0
    default_queue_policy: QueuePolicy | None = None
