"""Data quality of an EvaluationSuite: what must hold for the rows before a model is judged on them, and the report."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from throughline.api import quantities
from throughline.api.base import (
    ATOMIC_LIST,
    Number,
    Outcome,
    Resource,
    Rule,
    SignedNumber,
    list_map,
)

ColumnName = Annotated[str, Field(min_length=1, max_length=253)]


class ColumnType(StrEnum):
    INTEGER = "Integer"
    NUMBER = "Number"
    TEXT = "Text"
    BOOLEAN = "Boolean"
    TIMESTAMP = "Timestamp"


def _share(field: str, where: str) -> Rule:
    wire = "".join(part.title() if n else part for n, part in enumerate(field.split("_")))
    return Rule(
        cel=f"!has(self.{wire}) || quantity(string(self.{wire})).compareTo(quantity('1')) <= 0",
        holds=lambda s: getattr(s, field) is None or quantities.parse(getattr(s, field)) <= 1,
        message=f'{where}.{wire} is a share and must not be above 1; write "0.05" for five per cent',
        field=wire,
    )


class ColumnRule(Resource):
    """What a column must be."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        _share("missing_ceiling", "spec.quality.columns[]"),
        Rule(
            cel="!has(self.minimum) || !has(self.maximum) || "
            "quantity(string(self.minimum)).compareTo(quantity(string(self.maximum))) <= 0",
            holds=lambda s: s.minimum is None or s.maximum is None or Decimal(s.minimum) <= Decimal(s.maximum),
            message="spec.quality.columns[].minimum must not be above spec.quality.columns[].maximum; exchange them",
            field="minimum",
        ),
        Rule(
            cel="(!has(self.minimum) && !has(self.maximum)) || self.type in ['Integer', 'Number']",
            holds=lambda s: (
                (s.minimum is None and s.maximum is None) or s.type in {ColumnType.INTEGER, ColumnType.NUMBER}
            ),
            message="spec.quality.columns[] may have minimum and maximum for type Integer or Number only; "
            "remove them or change the type",
            field="type",
        ),
    )

    name: ColumnName
    type: ColumnType
    minimum: SignedNumber | None = None
    maximum: SignedNumber | None = None
    values: Annotated[
        list[Annotated[str, Field(max_length=253)]],
        Field(max_length=1000, json_schema_extra=ATOMIC_LIST, description="All that it may hold, as text."),
    ] = []
    missing_ceiling: Annotated[
        Number | None, Field(description="Share of the rows in which it may be null; else missingCeiling of all.")
    ] = None


class DuplicateRule(Resource):
    """Rows that repeat an earlier one, beyond what repeats by nature."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        _share("baseline", "spec.quality.duplicates"),
        _share("ceiling", "spec.quality.duplicates"),
    )

    baseline: Annotated[
        Number, Field(description="Share of the rows that are expected to repeat: coarse columns repeat by nature.")
    ] = "0"
    ceiling: Annotated[Number, Field(description="Share of the rows that may repeat beyond the baseline.")] = "0"
    columns: Annotated[
        list[ColumnName],
        Field(max_length=4096, json_schema_extra=ATOMIC_LIST, description="Compared; empty: all but the id column."),
    ] = []


class LabelBalanceRule(Resource):
    RULES: ClassVar[tuple[Rule, ...]] = (_share("floor", "spec.quality.labelBalance"),)

    floor: Annotated[Number, Field(description="Share of the rows that each class must have.")]


class TrainingOverlapRule(Resource):
    """Leakage: rows that the model was trained on, beyond those that resemble one by nature."""

    RULES: ClassVar[tuple[Rule, ...]] = (_share("ceiling", "spec.quality.trainingOverlap"),)

    ceiling: Annotated[
        Number,
        Field(description="Share of the rows that may come from the training set; judged on the interval's low end."),
    ] = "0.01"
    columns: Annotated[
        list[ColumnName],
        Field(max_length=4096, json_schema_extra=ATOMIC_LIST, description="Compared; empty: inputs and label."),
    ] = []


class RepresentativenessRule(Resource):
    """Whether the rows look like what the model is asked in production."""

    RULES: ClassVar[tuple[Rule, ...]] = (_share("auc_ceiling", "spec.quality.representativeness"),)

    psi_ceiling: Annotated[
        Number, Field(description="Population stability index of an input, rows against a sample of live traffic.")
    ] = "0.25"
    auc_ceiling: Annotated[
        Number,
        Field(description="Area under the curve of a classifier that tells rows from live traffic; 0.5: it cannot."),
    ] = "0.7"
    minimum_rows: Annotated[int, Field(ge=50, le=10_000_000, description="Of each; fewer are not judged.")] = 500


class DataQualityRules(Resource):
    """What must hold for the rows before the model is judged on them."""

    RULES: ClassVar[tuple[Rule, ...]] = (_share("missing_ceiling", "spec.quality"),)

    columns: Annotated[list[ColumnRule], Field(max_length=1000, json_schema_extra=list_map("name"))] = []
    other_columns_allowed: Annotated[
        bool, Field(description="Whether there may be columns beyond those of columns, inputs, label, id and slices.")
    ] = True
    missing_ceiling: Annotated[
        Number, Field(description="Share of the rows in which an input or the label may be null.")
    ] = "0"
    duplicates: DuplicateRule | None = None
    label_balance: LabelBalanceRule | None = None
    training_overlap: TrainingOverlapRule | None = None
    representativeness: RepresentativenessRule | None = None


class QualityCheck(StrEnum):
    SCHEMA = "Schema"
    MISSING_VALUES = "MissingValues"
    DUPLICATES = "Duplicates"
    LABEL_BALANCE = "LabelBalance"
    TRAINING_OVERLAP = "TrainingOverlap"
    REPRESENTATIVENESS = "Representativeness"


class QualityFinding(Resource):
    """What became of one check. `message` says the number and the limit, `fix` what to do; the fix is empty when there
    is nothing to do.
    """

    check: QualityCheck
    column: str | None = None
    outcome: Outcome
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    rows: int  # rows that the number is made of
    message: str
    fix: str = ""


class QualityReport(Resource):
    """Passed when every check did; Failed when one did; Unknown otherwise."""

    outcome: Outcome
    rows: int
    findings: list[QualityFinding]
