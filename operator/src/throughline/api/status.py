"""The status of an InferenceService: what runs, whether the SLO holds, and why the last choice was made."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from throughline.api.base import ATOMIC_LIST, Condition, Outcome, Resource, list_map
from throughline.api.batching import BatchSettings
from throughline.api.timestamps import Timestamp

MAX_DECISIONS = 20
MAX_POOLS = 8
MAX_REPAIRS = 8
MAX_REJECTED = 8


class ReplicaStatus(Resource):
    """Replica counts of the Deployment; `recommended` is set in mode Recommend."""

    desired: Annotated[int, Field(ge=0)] = 0
    ready: Annotated[int, Field(ge=0)] = 0
    recommended: Annotated[int, Field(ge=0)] | None = None
    summary: Annotated[str, Field(max_length=32, description="ready/desired, for the printer column.")] = ""


class BatchStatus(Resource):
    """Batch settings in force on every pod, and what is recommended where the mode does not apply it."""

    settings: BatchSettings | None = None
    summary: Annotated[
        str, Field(max_length=64, description="max batch / queue delay × instances, for the printer column.")
    ] = ""
    recommended: BatchSettings | None = None


class SLOStatus(Resource):
    """Measured over the metrics window and rounded to two digits, so that noise writes nothing."""

    latency_p99: Annotated[str, Field(max_length=24)] = "-"
    throughput: Annotated[str, Field(max_length=24)] = "-"
    cost_per_thousand: Annotated[
        str, Field(max_length=24, description="Pool price per 1,000 inferences at this throughput.")
    ] = "-"
    error_budget_spent: Annotated[
        str,
        Field(
            max_length=24,
            pattern=r"^(-|\d+%)$",
            description="Share of the late requests that the SLO allows (1 of 100) that was spent, in steps. What was "
            "late counts half after half of spec.slo.budgetWindowSeconds in which requests come. Counted since the "
            "operator's start, or the last change of the SLO.",
        ),
    ] = "-"


class ServiceTime(Resource):
    """What was learned of the model on its pool: s(b) = α + βb for one execution of b items."""

    alpha_microseconds: Annotated[int, Field(ge=0)]
    beta_microseconds: Annotated[int, Field(ge=0)]
    contention_permille: Annotated[
        int, Field(ge=0, description="How much of its share each further instance costs the others; 1000: all of it.")
    ] = 0
    error_permille: Annotated[
        int, Field(ge=0, description="Measured p99 over predicted p99, which corrects the next prediction.")
    ] = 1000
    largest_batch: Annotated[int, Field(ge=0, description="Largest batch that was seen.")] = 0
    executions: Annotated[int, Field(ge=0, description="Executions behind the estimate.")] = 0


class BlockedBy(StrEnum):
    """What settings are blocked by. All but Worse block larger batches on as many instances or more, too."""

    WORSE = "Worse"
    REFUSED = "Refused"
    BATCHES_FAIL = "BatchesFail"
    ROWS_MIXED = "RowsMixed"


class RejectedSettings(Resource):
    """Settings that are blocked: tried and taken back, refused by a server, or not proved."""

    settings: BatchSettings
    reason: Annotated[str, Field(max_length=256)]
    blocked_by: BlockedBy = BlockedBy.WORSE
    until: Annotated[Timestamp | None, Field(description="Absent: for this model revision.")] = None


class Trial(Resource):
    """A change of batch settings that is being watched: on one pod, or on all."""

    settings: BatchSettings
    previous: BatchSettings
    pod: Annotated[str | None, Field(max_length=253, description="The one pod it is tried on; absent: all.")] = None
    started: Timestamp
    baseline_p99_microseconds: Annotated[int, Field(ge=0)] | None = None
    baseline_mean_microseconds: Annotated[int, Field(ge=0)] | None = None
    baseline_rate_per_second: Annotated[int, Field(ge=0)] | None = None
    baseline_failed_permille: Annotated[int, Field(ge=0, description="Share of the requests that failed before.")] = 0


class Repair(Resource):
    """A pod that failed requests, and when its model was ordered to be loaded again."""

    pod: Annotated[str, Field(max_length=253)]
    started: Timestamp


class PoolKnowledge(Resource):
    """What was learned of the model on a pool that it has left."""

    name: Annotated[str, Field(max_length=253)]
    service_time: ServiceTime


class ControlStatus(Resource):
    """What the loop keeps across a restart: what it learned of the model, a trial, settings that were taken back, and
    when it last changed something. What it saw of the traffic it learns again: until then it does not scale down.
    """

    pool: Annotated[str, Field(max_length=253)] = ""
    model_hash: Annotated[str, Field(max_length=64, description="What was learned holds for this model only.")] = ""
    service_time: ServiceTime | None = None
    trial: Trial | None = None
    rejected: Annotated[list[RejectedSettings], Field(max_length=MAX_REJECTED, json_schema_extra=ATOMIC_LIST)] = []
    proven_batch: Annotated[
        int, Field(ge=0, description="The model answers batches of so many rows as it does each row alone.")
    ] = 0
    last_batch_change: Timestamp | None = None
    last_rollback: Annotated[
        Timestamp | None, Field(description="When settings that pods had loaded were last taken back.")
    ] = None
    load_seconds: Annotated[
        int, Field(ge=0, description="How much longer the first executions after a load took, in seconds.")
    ] = 0
    last_scale_change: Timestamp | None = None
    last_move: Annotated[Timestamp | None, Field(description="When the service was last moved to another pool.")] = None
    repairs: Annotated[list[Repair], Field(max_length=MAX_REPAIRS, json_schema_extra=list_map("pod"))] = []
    pools: Annotated[list[PoolKnowledge], Field(max_length=MAX_POOLS, json_schema_extra=list_map("name"))] = []


class Action(StrEnum):
    SCALE = "Scale"
    BATCH = "Batch"
    TRIAL = "Trial"
    ROLLBACK = "Rollback"
    HOLD = "Hold"
    RECOMMEND = "Recommend"
    EVALUATE = "Evaluate"
    PLACE = "Place"
    REPAIR = "Repair"


class Alternative(Resource):
    """One point that was weighed: what it would have cost and done."""

    settings: BatchSettings
    replicas: int
    latency_p99: Annotated[str, Field(max_length=24)]
    capacity: Annotated[str, Field(max_length=24)]
    cost_per_hour: Annotated[str, Field(max_length=24)]
    verdict: Annotated[str, Field(max_length=128)]


class DecisionRecord(Resource):
    """One line of the ledger."""

    time: Timestamp
    action: Action
    reason: Annotated[str, Field(max_length=64)]
    message: Annotated[str, Field(max_length=1024)]
    inputs: Annotated[
        str, Field(max_length=512, description="Rate, p99, queue, service time and replicas that it was made from.")
    ] = ""
    predicted: Annotated[str, Field(max_length=256)] = ""
    replicas: int = 0
    settings: BatchSettings | None = None
    alternatives: Annotated[list[Alternative], Field(max_length=5, json_schema_extra=ATOMIC_LIST)] = []


class SuiteStatus(Resource):
    """What a suite says of the model that is wanted: the newest finished run of it."""

    suite: Annotated[str, Field(max_length=253)]
    run: Annotated[str, Field(max_length=253, description="EvaluationRun.")]
    verdict: Outcome | None = None
    completed: Timestamp | None = None


class EvaluationStatus(Resource):
    """Where the model that is wanted stands with its suites, and which one serves."""

    spec_hash: Annotated[str, Field(max_length=10, description="Of the revision that serves.")] = ""
    suites: Annotated[list[SuiteStatus], Field(max_length=16, json_schema_extra=list_map("suite"))] = []


class MonitoringStatus(Resource):
    """What the last look at the samples found."""

    job: Annotated[str, Field(max_length=253, description="That looked.")]
    completed: Timestamp
    outcome: Outcome | None = None
    reason: Annotated[str, Field(max_length=64)]
    message: Annotated[str, Field(max_length=2048)] = ""
    rows: Annotated[int, Field(ge=0, description="In the windows of that look.")] = 0


class InferenceServiceStatus(Resource):
    """Written by the operator alone."""

    observed_generation: Annotated[int, Field(ge=-1)] = -1
    conditions: Annotated[list[Condition], Field(max_length=24, json_schema_extra=list_map("type"))] = []
    reason: Annotated[
        str,
        Field(
            max_length=128,
            description="Reason of the condition that needs attention most; of Ready when none does. For the column.",
        ),
    ] = ""
    message: Annotated[
        str, Field(max_length=2048, description="Message of the condition that `reason` is of. For the column.")
    ] = ""
    pool: Annotated[str, Field(max_length=253)] = ""
    url: Annotated[str, Field(max_length=512, description="gRPC address inside the cluster; HTTP is on 8000.")] = ""
    replicas: ReplicaStatus = ReplicaStatus()
    selector: Annotated[
        str, Field(max_length=512, description="Label selector of the pods, for the scale subresource.")
    ] = ""
    batch: BatchStatus = BatchStatus()
    slo: SLOStatus = SLOStatus()
    control: ControlStatus = ControlStatus()
    evaluation: EvaluationStatus | None = None
    monitoring: MonitoringStatus | None = None
    decisions: Annotated[
        list[DecisionRecord],
        Field(max_length=MAX_DECISIONS, json_schema_extra=ATOMIC_LIST, description="Newest first."),
    ] = []
