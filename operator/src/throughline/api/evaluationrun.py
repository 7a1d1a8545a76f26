"""EvaluationRun: one evaluation of one revision of a model by one suite, and the one verdict that came of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from throughline.api.base import Condition, Name, Outcome, Resource, list_map
from throughline.api.model import Model
from throughline.api.modelrevision import Artifact, Digest, SpecHash
from throughline.api.timestamps import Timestamp

MAX_METRICS = 32
Number = Annotated[str, Field(max_length=24)]


class RunReason(StrEnum):
    """Why it was begun."""

    REVISION = "Revision"  # the model has not been judged by this suite
    SUITE = "Suite"  # the suite has changed
    SCHEDULE = "Schedule"


class EvaluationRunSpec(Resource):
    """What is judged, and by what. Written once."""

    service: Annotated[Name, Field(description="InferenceService, in the same namespace.")]
    suite: Annotated[Name, Field(description="EvaluationSuite, in the same namespace.")]
    suite_digest: Annotated[Digest, Field(description="Of the suite's spec as canonical JSON, when the run began.")]
    spec_hash: SpecHash
    model: Annotated[Model, Field(description="spec.model of the InferenceService when the run began.")]
    served_name: Annotated[str, Field(max_length=253, description="Of the model on the wire.")]
    pool: Annotated[Name, Field(description="ServingPool whose nodes it runs on.")]
    reason: RunReason
    scheduled: Annotated[Timestamp | None, Field(description="The start of the schedule that it stands for.")] = None
    missed: Annotated[int, Field(ge=0, description="Earlier starts of the schedule that nothing stands for.")] = 0


class MetricResult(Resource):
    """One metric over all rows, with its interval; as text, since the API has no fractions."""

    metric: Annotated[str, Field(max_length=63)]
    value: Number
    low: Number | None = None
    high: Number | None = None


class EvaluationRunStatus(Resource):
    """Written by the operator alone."""

    observed_generation: Annotated[int, Field(ge=-1)] = -1
    conditions: Annotated[list[Condition], Field(max_length=8, json_schema_extra=list_map("type"))] = []
    started: Timestamp | None = None
    completed: Timestamp | None = None
    attempts: Annotated[int, Field(ge=0, description="Jobs that were begun.")] = 0
    verdict: Annotated[Outcome | None, Field(description="Absent until there is a result.")] = None
    message: Annotated[str, Field(max_length=2048, description="Each bound that was not kept, with its numbers.")] = ""
    rows: Annotated[int, Field(ge=0)] = 0
    metrics: Annotated[list[MetricResult], Field(max_length=MAX_METRICS, json_schema_extra=list_map("metric"))] = []
    artifact: Annotated[Artifact | None, Field(description="The model's files, as the evaluator read them.")] = None
    dataset_digest: Digest | None = None
    retraining_job: Annotated[Name | None, Field(description="Job that was started because of this verdict.")] = None
    result_digest: Annotated[
        Digest | None, Field(description="Of result.json in the ConfigMap that has the run's name.")
    ] = None
