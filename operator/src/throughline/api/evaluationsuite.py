"""EvaluationSuite: the data, task, metrics and bounds that say whether a model is good enough, for everyone."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from throughline.api import quantities
from throughline.api.base import ATOMIC_LIST, Number, Resource, Rule, list_map
from throughline.api.dataquality import DataQualityRules
from throughline.api.evaluationdataset import Column, Dataset
from throughline.api.evaluationmetrics import (
    AT_MOST_ONE,
    HIGHER_IS_BETTER,
    LOWER_IS_BETTER,
    METRICS_BY_TASK,
    NEED_POSITIVE_CLASS,
    NEED_PROBABILITIES,
    TaskType,
)
from throughline.api.evaluationtask import Task
from throughline.api.robustness import Perturbation, PerturbationType

Key = Annotated[str, Field(pattern=r"^[A-Za-z]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=63)]
TensorName = Annotated[str, Field(min_length=1, max_length=253)]


class InputDataType(StrEnum):
    """Tensor types as the Open Inference Protocol spells them."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BF16 = "BF16"
    BYTES = "BYTES"


class Input(Resource):
    """One input tensor, made of columns."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.scalar) || !self.scalar || size(self.columns) == 1",
            holds=lambda s: not s.scalar or len(s.columns) == 1,
            message="spec.inputs[].scalar needs exactly one entry in columns; name one column or remove scalar",
            field="scalar",
        ),
    )

    tensor: TensorName
    columns: Annotated[
        list[Column],
        Field(
            min_length=1,
            max_length=4096,
            json_schema_extra=ATOMIC_LIST,
            description="Side by side, in this order: a tensor of [rows, columns].",
        ),
    ]
    datatype: InputDataType
    scalar: Annotated[bool, Field(description="One column as a tensor of [rows] rather than [rows, 1].")] = False


class OutputKind(StrEnum):
    PROBABILITIES = "Probabilities"
    LOGITS = "Logits"
    LABEL = "Label"
    VALUE = "Value"
    SCORE = "Score"


class Output(Resource):
    """The output tensor that is scored."""

    tensor: TensorName
    kind: Annotated[
        OutputKind,
        Field(
            description="Classification: Probabilities or Logits, [rows, classes], for two classes also [rows] "
            "(of the positive class, else of the second); or Label, [rows], a class or its place. "
            "Regression: Value. Ranking: Score."
        ),
    ]


class Metric(Resource):
    """A metric, and the bound it must keep. Without one it is reported only."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"!has(self.floor) || !(self.name in {list(LOWER_IS_BETTER)})",
            holds=lambda s: s.floor is None or s.name not in LOWER_IS_BETTER,
            message="spec.metrics[].floor is set for a metric that is better when lower; set ceiling instead",
            field="floor",
        ),
        Rule(
            cel=f"!has(self.ceiling) || !(self.name in {list(HIGHER_IS_BETTER)})",
            holds=lambda s: s.ceiling is None or s.name not in HIGHER_IS_BETTER,
            message="spec.metrics[].ceiling is set for a metric that is better when higher; set floor instead",
            field="ceiling",
        ),
        Rule(
            cel=f"!(self.name in {list(AT_MOST_ONE)}) || "
            "(!has(self.floor) || quantity(string(self.floor)).compareTo(quantity('1')) <= 0) && "
            "(!has(self.ceiling) || quantity(string(self.ceiling)).compareTo(quantity('1')) <= 0)",
            holds=lambda s: (
                s.name not in AT_MOST_ONE
                or all(quantities.parse(bound) <= 1 for bound in (s.floor, s.ceiling) if bound is not None)
            ),
            message="spec.metrics[] has a bound above 1 for a metric that ends at 1; "
            'write a share, "0.80" rather than "80"',
            field="name",
        ),
        Rule(
            cel="!has(self.floor) || !has(self.ceiling) || "
            "quantity(string(self.floor)).compareTo(quantity(string(self.ceiling))) <= 0",
            holds=lambda s: (
                s.floor is None or s.ceiling is None or quantities.parse(s.floor) <= quantities.parse(s.ceiling)
            ),
            message="spec.metrics[].floor must not be above spec.metrics[].ceiling; exchange them or remove one",
            field="floor",
        ),
    )

    name: Annotated[Key, Field(description="One of the task's metrics; Custom: one that the scorer gives.")]
    floor: Annotated[Number | None, Field(description="The lower end of the interval must not be below this.")] = None
    ceiling: Annotated[Number | None, Field(description="The upper end of the interval must not be above this.")] = None


class Slice(Resource):
    """Rows that are also looked at on their own."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.column) != has(self.expression)",
            holds=lambda s: (s.column is None) != (s.expression is None),
            message="spec.slices[] must have exactly one of column and expression; remove or add one",
        ),
    )

    name: Key
    column: Annotated[Column | None, Field(description="One slice per value of the column.")] = None
    expression: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=1024,
            description="Rows for which it is true, such as: AGEP < 25 and RAC1P in (1, 2). "
            "A gap is then between these rows and all others.",
        ),
    ] = None


class Gap(Resource):
    """The most by which the model may be worse for one slice than for another."""

    metric: Annotated[Key, Field(description="One of the task's metrics.")]
    slice: Annotated[Key, Field(description="Name of an entry of spec.slices.")]
    ceiling: Annotated[Number, Field(description="The upper end of the largest gap's interval must not be above this.")]


class Intervals(Resource):
    """How the confidence intervals are made: by bootstrap, resampling rows (Ranking: whole groups)."""

    confidence_percent: Annotated[int, Field(ge=50, le=99)] = 95
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    seed: Annotated[int, Field(ge=0, le=2_147_483_647, description="Same seed and data: same intervals.")] = 1


def _metrics_of(task: TaskType) -> Rule:
    names = METRICS_BY_TASK[task]
    return Rule(
        cel=f"self.task.type != '{task}' || self.metrics.all(m, m.name in {list(names)}) && "
        f"(!has(self.gaps) || self.gaps.all(g, g.metric in {list(names)}))",
        holds=lambda s: s.task.type is not task or all(name in names for name in s.metric_names()),
        message=f"spec.metrics and spec.gaps of a {task} task may name {', '.join(names)}; correct the name",
        field="metrics",
    )


def _outputs_of(task: TaskType, *kinds: OutputKind) -> Rule:
    names = [str(kind) for kind in kinds]
    return Rule(
        cel=f"self.task.type != '{task}' || self.output.kind in {names}",
        holds=lambda s: s.task.type is not task or s.output.kind in kinds,
        message=f"spec.output.kind of a {task} task must be {' or '.join(names)}; correct it, or spec.task.type",
        field="output",
    )


class EvaluationSuiteSpec(Resource):
    """Data, task, inputs, output and metrics are needed; everything else has a default."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        _metrics_of(TaskType.CLASSIFICATION),
        _metrics_of(TaskType.REGRESSION),
        _metrics_of(TaskType.RANKING),
        _outputs_of(TaskType.CLASSIFICATION, OutputKind.PROBABILITIES, OutputKind.LOGITS, OutputKind.LABEL),
        _outputs_of(TaskType.REGRESSION, OutputKind.VALUE),
        _outputs_of(TaskType.RANKING, OutputKind.SCORE),
        Rule(
            cel=f"self.output.kind != 'Label' || self.metrics.all(m, !(m.name in {list(NEED_PROBABILITIES)})) && "
            f"(!has(self.gaps) || self.gaps.all(g, !(g.metric in {list(NEED_PROBABILITIES)})))",
            holds=lambda s: (
                s.output.kind is not OutputKind.LABEL
                or all(name not in NEED_PROBABILITIES for name in s.metric_names())
            ),
            message=f"spec.output.kind Label gives no probabilities, which {', '.join(NEED_PROBABILITIES)} need; "
            "name an output of Probabilities or Logits, or remove the metrics",
            field="output",
        ),
        Rule(
            cel="self.task.type != 'Classification' || has(self.task.positiveClass) || "
            f"self.metrics.all(m, !(m.name in {list(NEED_POSITIVE_CLASS)})) && "
            f"(!has(self.gaps) || self.gaps.all(g, !(g.metric in {list(NEED_POSITIVE_CLASS)})))",
            holds=lambda s: (
                s.task.type is not TaskType.CLASSIFICATION
                or s.task.positive_class is not None
                or all(name not in NEED_POSITIVE_CLASS for name in s.metric_names())
            ),
            message=f"spec.task.positiveClass is required for {' and '.join(NEED_POSITIVE_CLASS)}; add it",
            field="task",
        ),
        Rule(
            cel="self.task.type == 'Custom' || has(self.dataset.labelColumn)",
            holds=lambda s: s.task.type is TaskType.CUSTOM or s.dataset.label_column is not None,
            message="spec.dataset.labelColumn is required unless spec.task.type is Custom; add the column of the truth",
            field="dataset",
        ),
        Rule(
            cel="!has(self.gaps) || self.gaps.all(g, has(self.slices) && self.slices.exists(s, s.name == g.slice))",
            holds=lambda s: all(any(gap.slice == one.name for one in s.slices) for gap in s.gaps),
            message="spec.gaps[].slice must be the name of an entry of spec.slices; correct it or add the slice",
            field="gaps",
        ),
        Rule(
            cel="self.task.type == 'Classification' || !has(self.perturbations) || size(self.perturbations) == 0",
            holds=lambda s: s.task.type is TaskType.CLASSIFICATION or not s.perturbations,
            message="spec.perturbations have floors of accuracy, which only a Classification task has; remove them",
            field="perturbations",
        ),
        Rule(
            cel="self.output.kind != 'Label' || !has(self.perturbations) || "
            "self.perturbations.all(p, p.type != 'SquareAttack')",
            holds=lambda s: (
                s.output.kind is not OutputKind.LABEL
                or all(p.type is not PerturbationType.SQUARE_ATTACK for p in s.perturbations)
            ),
            message="spec.perturbations of type SquareAttack search by the model's scores, which spec.output.kind "
            "Label does not give; name an output of Probabilities or Logits, or remove them",
            field="perturbations",
        ),
        Rule(
            cel="!has(self.quality) || !has(self.quality.labelBalance) || self.task.type == 'Classification'",
            holds=lambda s: (
                s.quality is None or s.quality.label_balance is None or s.task.type is TaskType.CLASSIFICATION
            ),
            message="spec.quality.labelBalance is for a Classification task; remove it",
            field="quality",
        ),
        Rule(
            cel="!has(self.quality) || !has(self.quality.trainingOverlap) || has(self.trainingDataset)",
            holds=lambda s: s.quality is None or s.quality.training_overlap is None or s.training_dataset is not None,
            message="spec.trainingDataset is required for spec.quality.trainingOverlap; add it or remove the check",
            field="quality",
        ),
    )

    dataset: Dataset
    task: Task
    inputs: Annotated[list[Input], Field(min_length=1, max_length=64, json_schema_extra=list_map("tensor"))]
    output: Output
    metrics: Annotated[list[Metric], Field(min_length=1, max_length=32, json_schema_extra=list_map("name"))]
    slices: Annotated[list[Slice], Field(max_length=32, json_schema_extra=list_map("name"))] = []
    minimum_slice_size: Annotated[
        int,
        Field(ge=1, le=100_000_000, description="Slices of fewer rows (Ranking: groups) are shown but not judged."),
    ] = 100
    gaps: Annotated[list[Gap], Field(max_length=32, json_schema_extra=list_map("metric", "slice"))] = []
    intervals: Intervals = Intervals()
    perturbations: Annotated[
        list[Perturbation],
        Field(
            max_length=32,
            json_schema_extra=list_map("name"),
            description="What may happen to the inputs, how strongly, and the accuracy that must be left.",
        ),
    ] = []
    quality: Annotated[
        DataQualityRules | None, Field(description="What must hold for the rows before the model is judged on them.")
    ] = None
    training_dataset: Annotated[
        Dataset | None, Field(description="What the model was trained on; for spec.quality.trainingOverlap.")
    ] = None

    def metric_names(self) -> tuple[str, ...]:
        """Every metric that is named, in spec.metrics or in spec.gaps, once."""
        return tuple(dict.fromkeys([*(m.name for m in self.metrics), *(g.metric for g in self.gaps)]))
