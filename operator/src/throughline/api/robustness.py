"""Perturbations of an EvaluationSuite: what may happen to a model's input, how strongly, and what must still hold;
and the report of what did hold.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from throughline.api import quantities
from throughline.api.base import (
    ATOMIC_LIST,
    Name,
    Number,
    Outcome,
    Resource,
    Rule,
    SignedNumber,
)

ColumnName = Annotated[str, Field(min_length=1, max_length=253)]


class PerturbationType(StrEnum):
    """What is done to the rows."""

    GAUSSIAN_NOISE = "GaussianNoise"
    GAUSSIAN_BLUR = "GaussianBlur"
    MISSING_FIELDS = "MissingFields"
    TYPOS = "Typos"
    OFFSET = "Offset"
    SCALE = "Scale"
    SQUARE_ATTACK = "SquareAttack"


class ImageShape(Resource):
    """The columns, read in order, are an image: row by row from the top left, channels innermost."""

    height_pixels: Annotated[int, Field(ge=1, le=4096)]
    width_pixels: Annotated[int, Field(ge=1, le=4096)]
    channels: Annotated[int, Field(ge=1, le=16)] = 1


class ValueBounds(Resource):
    """The values that the columns can take; perturbed values are clipped to them."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="quantity(string(self.lower)).compareTo(quantity(string(self.upper))) < 0",
            holds=lambda s: Decimal(s.lower) < Decimal(s.upper),
            message="spec.perturbations[].bounds.lower must be below spec.perturbations[].bounds.upper; "
            "lower the first or raise the second",
            field="lower",
        ),
    )

    lower: SignedNumber
    upper: SignedNumber


class Perturbation(Resource):
    """One kind of harm at rising strengths, and the accuracy that must be left at every one of them."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.type != 'GaussianBlur' || has(self.image)",
            holds=lambda s: s.type is not PerturbationType.GAUSSIAN_BLUR or s.image is not None,
            message="spec.perturbations[].image is required for type GaussianBlur: a blur needs to know which columns "
            "are neighbours; add it",
            field="image",
        ),
        Rule(
            cel="!(self.type in ['MissingFields', 'Typos']) || "
            "self.strengths.all(s, quantity(string(s)).compareTo(quantity('1')) <= 0)",
            holds=lambda s: (
                s.type not in {PerturbationType.MISSING_FIELDS, PerturbationType.TYPOS}
                or all(quantities.parse(strength) <= 1 for strength in s.strengths)
            ),
            message="spec.perturbations[].strengths are shares of the fields or characters for types MissingFields and "
            "Typos; none may be above 1",
            field="strengths",
        ),
        Rule(
            cel="quantity(string(self.floor)).compareTo(quantity('1')) <= 0",
            holds=lambda s: quantities.parse(s.floor) <= 1,
            message="spec.perturbations[].floor is an accuracy and must not be above 1; lower it",
            field="floor",
        ),
        Rule(
            cel="self.type == 'MissingFields' || !has(self.missingValue)",
            holds=lambda s: s.type is PerturbationType.MISSING_FIELDS or s.missing_value is None,
            message="spec.perturbations[].missingValue has a meaning for type MissingFields only; remove it",
            field="missingValue",
        ),
        Rule(
            cel="self.type == 'SquareAttack' || !has(self.queries)",
            holds=lambda s: s.type is PerturbationType.SQUARE_ATTACK or s.queries is None,
            message="spec.perturbations[].queries has a meaning for type SquareAttack only; remove it",
            field="queries",
        ),
    )

    name: Name
    type: PerturbationType
    strengths: Annotated[
        list[Number],
        Field(
            min_length=1,
            max_length=16,
            json_schema_extra=ATOMIC_LIST,
            description="GaussianNoise, Offset, SquareAttack: part of the span of the values (`bounds`, else the "
            "column's smallest to largest). Scale: 0.1 is ten per cent further from the mean. GaussianBlur: standard "
            "deviation in pixels. MissingFields, Typos: share of the fields, of the characters.",
        ),
    ]
    floor: Annotated[
        Number, Field(description="Accuracy at every strength: the lower end of its interval must not be below.")
    ]
    columns: Annotated[
        list[ColumnName],
        Field(
            max_length=4096,
            json_schema_extra=ATOMIC_LIST,
            description="Columns that are perturbed; empty: all of the inputs that it can be done to.",
        ),
    ] = []
    image: ImageShape | None = None
    bounds: ValueBounds | None = None
    missing_value: Annotated[
        str | None,
        Field(max_length=253, description="What stands in a missing field, as the client would send it; else null."),
    ] = None
    queries: Annotated[
        int | None, Field(ge=1, le=100_000, description="Requests that the attack may spend on a row; 500 if absent.")
    ] = None
    max_rows: Annotated[
        int, Field(ge=1, le=10_000_000, description="Rows that are perturbed: a sample, the same at every strength.")
    ] = 1000
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = 1


class StrengthPoint(Resource):
    """Accuracy at one strength. `low` and `high` end its interval."""

    strength: float
    accuracy: float
    low: float
    high: float
    rows: int
    queries_per_row: float | None = None  # of an attack: spent on average


class PerturbationFinding(Resource):
    """What one perturbation did, and whether its floor held."""

    name: str
    type: PerturbationType
    floor: float
    points: list[StrengthPoint]
    outcome: Outcome
    message: str


class RobustnessReport(Resource):
    """Accuracy against strength for each perturbation; `clean` is the accuracy of the same model on the same rows
    unperturbed (all rows of the data set).
    """

    clean: StrengthPoint
    perturbations: list[PerturbationFinding]
