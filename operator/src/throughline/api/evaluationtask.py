"""`spec.task` of an EvaluationSuite: what the model does, and so how it is scored."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from throughline.api import compute
from throughline.api.base import ATOMIC_LIST, Image, Resource, Rule
from throughline.api.compute import ComputeResources
from throughline.api.evaluationdataset import Column
from throughline.api.evaluationmetrics import TaskType

ClassName = Annotated[str, Field(min_length=1, max_length=253)]


def _each_once(classes: list[str]) -> list[str]:
    twice = next((name for name in classes if classes.count(name) > 1), None)
    if twice is not None:
        message = 'names "{name}" twice; each class stands for one column of the output: remove one'
        raise PydanticCustomError("twice", message, {"name": twice})
    return classes


# The spellings of a boolean that name one class, where there are two (docs/evaluate.md).
_BOOLEANS = ("1|[Tt][Rr][Uu][Ee]", "0|[Ff][Aa][Ll][Ss][Ee]")


def _one_boolean(spelling: str) -> str:
    matches = " && ".join(f"self.classes[{place}].matches('^({spelling})$')" for place in (0, 1))
    return f"({matches})"


def two_classes(field: str) -> Rule:
    """Two classes are two, also where they are booleans. `field`: path of `classes`."""
    return Rule(
        cel=f"!has(self.classes) || size(self.classes) != 2 || !({' || '.join(map(_one_boolean, _BOOLEANS))})",
        holds=lambda s: (
            len(s.classes) != 2
            or not any(all(re.fullmatch(spelling, name) for name in s.classes) for spelling in _BOOLEANS)
        ),
        message=f"{field}: the two are spellings of the same boolean, and so the same class; correct one",
        field="classes",
    )


class ScorerResources(ComputeResources):
    """What the scorer's container asks for, and may use at most."""

    RULES: ClassVar[tuple[Rule, ...]] = compute.rules("spec.task.scorer.resources", "remove the others")


class PredictionsFormat(StrEnum):
    """How a scorer's container gets the rows, each with what the model answered."""

    PARQUET = "Parquet"
    JSON_LINES = "JSONLines"  # beside the Parquet file


class Scorer(Resource):
    """A container that scores: it reads predictions and writes scores, by the contract in docs/scorers.md."""

    image: Annotated[Image, Field(description="By digest, for only then it is what it was when the suite was written.")]
    command: Annotated[
        list[Annotated[str, Field(max_length=32_768)]],
        Field(max_length=64, json_schema_extra=ATOMIC_LIST, description="Empty: the image's own."),
    ] = []
    args: Annotated[
        list[Annotated[str, Field(max_length=32_768)]], Field(max_length=256, json_schema_extra=ATOMIC_LIST)
    ] = []
    format: Annotated[
        PredictionsFormat,
        Field(description="JSONLines: predictions.jsonl is written too, for tools that read no Parquet."),
    ] = PredictionsFormat.PARQUET
    resources: ScorerResources = ScorerResources()


class Task(Resource):
    """What the model does, and so which metrics there are."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.type == 'Classification' ? has(self.classes) && size(self.classes) >= 2 : "
            "!has(self.classes) || size(self.classes) == 0",
            holds=lambda s: len(s.classes) >= 2 if s.type is TaskType.CLASSIFICATION else not s.classes,
            message="spec.task.classes must name two classes or more when spec.task.type is Classification, "
            "and must be absent otherwise",
            field="classes",
        ),
        two_classes("spec.task.classes"),
        Rule(
            cel="!has(self.positiveClass) || has(self.classes) && self.positiveClass in self.classes",
            holds=lambda s: s.positive_class is None or s.positive_class in s.classes,
            message="spec.task.positiveClass must be one of spec.task.classes; correct or remove it",
            field="positiveClass",
        ),
        Rule(
            cel="(self.type == 'Ranking') == has(self.groupColumn)",
            holds=lambda s: (s.type is TaskType.RANKING) == (s.group_column is not None),
            message="spec.task.groupColumn is required when spec.task.type is Ranking (the column that names the "
            "query), and must be absent otherwise",
            field="groupColumn",
        ),
        Rule(
            cel="self.type == 'Custom' ? has(self.entryPoint) != has(self.scorer) : "
            "!has(self.entryPoint) && !has(self.scorer)",
            holds=lambda s: (
                (s.entry_point is None) != (s.scorer is None)
                if s.type is TaskType.CUSTOM
                else s.entry_point is None and s.scorer is None
            ),
            message="spec.task must have exactly one of entryPoint (package.module:function) and scorer (a container) "
            "when spec.task.type is Custom, and neither otherwise; add one, or remove what is too much",
            field="entryPoint",
        ),
        Rule(
            cel="self.type == 'Custom' || !has(self.parameters) || size(self.parameters) == 0",
            holds=lambda s: s.type is TaskType.CUSTOM or not s.parameters,
            message="spec.task.parameters are for the scorer of a Custom task; remove them",
            field="parameters",
        ),
    )

    type: TaskType
    classes: Annotated[
        list[ClassName],
        AfterValidator(_each_once),
        Field(
            max_length=1000,
            # The API server tells a set's duplicates itself; a rule that compares each with each is too dear for it.
            json_schema_extra={"x-kubernetes-list-type": "set"},
            description="Classification: labels in the order of the output's columns, as text.",
        ),
    ] = []
    positive_class: Annotated[
        ClassName | None,
        Field(
            description="Classification: the class that precision, recall, F1 and rates are of; "
            "else those are means over the classes."
        ),
    ] = None
    calibration_bins: Annotated[
        int, Field(ge=2, le=100, description="Classification: bins of equal width for the calibration error.")
    ] = 10
    group_column: Annotated[Column | None, Field(description="Ranking: rows of one query have the same value.")] = None
    k: Annotated[int, Field(ge=1, le=10_000, description="Ranking: how many of the first places count.")] = 10
    entry_point: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*$",
            max_length=512,
            description="Custom: package.module:function, which scores the rows.",
        ),
    ] = None
    scorer: Annotated[
        Scorer | None, Field(description="Custom: a container that scores the rows, in place of entryPoint.")
    ] = None
    parameters: Annotated[
        dict[Annotated[str, Field(max_length=63)], Annotated[str, Field(max_length=4096)]],
        Field(max_length=64, description="Custom: handed to the scorer as they are."),
    ] = {}
