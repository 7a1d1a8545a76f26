"""`spec.evaluation` of an InferenceService: which suites judge its model, when, and what their verdict decides."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from throughline.api.base import Name, Resource, Rule, list_map
from throughline.api.schedules import CronText, TimeZone

DEADLINE_SECONDS = 3600


class Gate(StrEnum):
    """What a verdict decides."""

    REPORT = "Report"  # a condition, Events and metrics
    ENFORCE = "Enforce"  # and whether a new revision of the model serves


class Approval(StrEnum):
    NOT_REQUIRED = "NotRequired"
    REQUIRED = "Required"


class Decay(StrEnum):
    """What follows when a revision that serves fails a later evaluation."""

    ALERT = "Alert"
    ROLL_BACK = "RollBack"  # to the revision admitted before
    START_JOB = "StartJob"  # that makes a better one, which comes in by the same gate


class LoadCheck(StrEnum):
    """What a pod looks at before its server loads the model."""

    NONE = "None"
    DIGEST = "Digest"  # whether the files are those that were judged


class EvaluationTarget(StrEnum):
    """Which server is asked."""

    SCRATCH = "Scratch"  # one beside the evaluator, for as long as the evaluation takes
    LIVE = "Live"  # the replicas that serve


class SuiteReference(Resource):
    """An EvaluationSuite of the same namespace. It runs once for each revision of model and suite, and on schedule."""

    name: Name
    schedule: Annotated[
        CronText | None,
        Field(description="As in a CronJob: minute, hour, day of month, month, day of week. Absent: no repetition."),
    ] = None
    time_zone: TimeZone = "Etc/UTC"


class Evaluation(Resource):
    """Which suites judge the model, and what follows."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="$gate != 'Enforce' || $target != 'Live'",
            holds=lambda s: s.gate is not Gate.ENFORCE or s.target is not EvaluationTarget.LIVE,
            message="spec.evaluation.target must be Scratch when spec.evaluation.gate is Enforce: a revision that is "
            "kept out has no replica to ask; set target Scratch, or gate Report",
            field="target",
        ),
        Rule(
            cel="$approval != 'Required' || $gate == 'Enforce'",
            holds=lambda s: s.approval is not Approval.REQUIRED or s.gate is Gate.ENFORCE,
            message="spec.evaluation.approval Required needs spec.evaluation.gate Enforce: without it every revision "
            "serves at once; set gate Enforce, or approval NotRequired",
            field="approval",
        ),
        Rule(
            cel="$onDecay != 'RollBack' || $gate == 'Enforce'",
            holds=lambda s: s.on_decay is not Decay.ROLL_BACK or s.gate is Gate.ENFORCE,
            message="spec.evaluation.onDecay RollBack needs spec.evaluation.gate Enforce: only admitted revisions can "
            "be gone back to; set gate Enforce, or onDecay Alert",
            field="onDecay",
        ),
        Rule(
            cel="($onDecay == 'StartJob') == has(self.retrainingCronJob)",
            holds=lambda s: (s.on_decay is Decay.START_JOB) == (s.retraining_cron_job is not None),
            message="spec.evaluation.retrainingCronJob is required when spec.evaluation.onDecay is StartJob (the "
            "CronJob whose template is started), and must be absent otherwise",
            field="retrainingCronJob",
        ),
        Rule(
            cel="$loadCheck != 'Digest' || $gate == 'Enforce'",
            holds=lambda s: s.load_check is not LoadCheck.DIGEST or s.gate is Gate.ENFORCE,
            message="spec.evaluation.loadCheck Digest needs spec.evaluation.gate Enforce: only of an admitted revision "
            "is it known which files were judged; set gate Enforce, or loadCheck None",
            field="loadCheck",
        ),
    )

    suites: Annotated[
        list[SuiteReference],
        Field(min_length=1, max_length=16, json_schema_extra=list_map("name"), description="All must pass."),
    ]
    gate: Annotated[
        Gate, Field(description="Enforce: a new revision serves only after every suite passed; the old one goes on.")
    ] = Gate.REPORT
    approval: Annotated[
        Approval,
        Field(description="Required: and only after a ModelApproval, by a person with the verb approve."),
    ] = Approval.NOT_REQUIRED
    on_decay: Annotated[
        Decay,
        Field(
            description="When the revision that serves fails later. RollBack: to the one admitted before. StartJob: a "
            "Job from retrainingCronJob, once for each run that failed."
        ),
    ] = Decay.ALERT
    retraining_cron_job: Annotated[
        Name | None,
        Field(description="CronJob of the same namespace, usually suspended, whose jobTemplate is started."),
    ] = None
    load_check: Annotated[
        LoadCheck,
        Field(description="Digest: no server loads other files than those that were judged; each pod reads them once."),
    ] = LoadCheck.NONE
    target: EvaluationTarget = EvaluationTarget.SCRATCH
    max_rows_per_second: Annotated[
        int | None, Field(ge=1, le=10_000_000, description="Spare the server; for target Live.")
    ] = None
    deadline_seconds: Annotated[int, Field(ge=30, le=86_400, description="Of one evaluation, retries included.")] = (
        DEADLINE_SECONDS
    )
    retries: Annotated[int, Field(ge=0, le=10, description="Where a server or store does not answer.")] = 3
    history_limit: Annotated[
        int, Field(ge=1, le=100, description="Finished EvaluationRuns that are kept; the newest of each suite always.")
    ] = 10
