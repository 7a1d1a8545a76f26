"""Inputs and outputs of a model, as Triton's model configuration declares them (ModelInput, ModelOutput)."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from throughline.api.base import ATOMIC_LIST, Resource, Rule

MAX_RANK = 16
_IMAGE_RANK = 3


class DataType(StrEnum):
    """Tensor types as Triton's model configuration spells them."""

    BOOL = "TYPE_BOOL"
    UINT8 = "TYPE_UINT8"
    UINT16 = "TYPE_UINT16"
    UINT32 = "TYPE_UINT32"
    UINT64 = "TYPE_UINT64"
    INT8 = "TYPE_INT8"
    INT16 = "TYPE_INT16"
    INT32 = "TYPE_INT32"
    INT64 = "TYPE_INT64"
    FP16 = "TYPE_FP16"
    FP32 = "TYPE_FP32"
    FP64 = "TYPE_FP64"
    BF16 = "TYPE_BF16"
    STRING = "TYPE_STRING"


class InputFormat(StrEnum):
    """Layouts of an image, as Triton's model configuration spells them."""

    NONE = "FORMAT_NONE"
    NHWC = "FORMAT_NHWC"
    NCHW = "FORMAT_NCHW"


Dims = list[Annotated[int, Field(ge=-1, le=2_147_483_647)]]
_LARGEST = 2**63 - 1


def _no_zero(field: str) -> Rule:
    return Rule(
        cel=f"self.{field}.all(d, d != 0)",
        holds=lambda s: 0 not in getattr(s, field),
        message=f"{field} are sizes of at least 1, or -1 for one that varies; Triton refuses 0",
        field=field,
    )


def _sizes(shape: list[int]) -> list[int]:
    """Elements of each part of a shape between two sizes that vary, as Triton compares them."""
    found = [1]
    for size in shape:
        if size < 0:
            found.append(1)
        else:
            found[-1] *= size
    return found


def _as_many(tensor: Tensor) -> bool:
    if tensor.reshape is None:
        return True
    sizes = _sizes(tensor.dims)
    return sizes == _sizes(tensor.reshape.shape) and math.prod(sizes) <= _LARGEST


def _product(shape: str) -> str:
    """CEL has no fold."""
    return " * ".join(f"({shape}.size() > {i} && {shape}[{i}] > 0 ? {shape}[{i}] : 1)" for i in range(MAX_RANK))


_SHAPE = "self.reshape.shape"
# CEL compares all elements and how many sizes vary; the parts between those are left to `validate` and the operator.
_RESHAPE = Rule(
    cel=f"!has(self.reshape) || (self.dims.filter(d, d < 0).size() == {_SHAPE}.filter(d, d < 0).size() && "
    f"{_product('self.dims')} == {_product(_SHAPE)})",
    holds=_as_many,
    message="reshape.shape must have as many elements as dims, before, between and behind the sizes of -1 too; Triton "
    "refuses others",
    field="reshape",
)


class Reshape(Resource):
    """The shape that the model itself takes or gives, where it is not that of the requests."""

    RULES: ClassVar[tuple[Rule, ...]] = (_no_zero("shape"),)

    shape: Annotated[
        Dims,
        Field(
            max_length=MAX_RANK,
            json_schema_extra=ATOMIC_LIST,
            description="Without the batch dimension; empty where the model has no other.",
        ),
    ]


class Tensor(Resource):
    """What inputs and outputs share, without the batch dimension (as in Triton's model configuration)."""

    RULES: ClassVar[tuple[Rule, ...]] = (_no_zero("dims"), _RESHAPE)

    name: Annotated[str, Field(min_length=1, max_length=253)]
    data_type: DataType
    dims: Annotated[
        Dims,
        Field(
            min_length=1, max_length=MAX_RANK, json_schema_extra=ATOMIC_LIST, description="-1 is a size that varies."
        ),
    ]
    reshape: Annotated[
        Reshape | None, Field(description="The model's own shape, of as many elements; requests have `dims`.")
    ] = None
    is_shape_tensor: Annotated[bool, Field(description="A shape tensor of TensorRT: its values are sizes.")] = False


class InputTensor(Tensor):
    """An input of the model."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        *Tensor.RULES,
        Rule(
            cel="$format == 'FORMAT_NONE' || self.dims.size() == 3",
            holds=lambda s: s.format is InputFormat.NONE or len(s.dims) == _IMAGE_RANK,
            message="format FORMAT_NHWC or FORMAT_NCHW needs dims of three sizes; name all three, or remove format",
            field="format",
        ),
    )

    format: Annotated[
        InputFormat, Field(description="Layout of an image of three dimensions, for backends that ask for it.")
    ] = InputFormat.NONE
    optional: Annotated[
        bool, Field(description="Requests may leave it out; only requests with the same inputs are batched together.")
    ] = False
    allow_ragged_batch: Annotated[
        bool, Field(description="Requests of different shapes are batched together; the backend must support that.")
    ] = False


class OutputTensor(Tensor):
    """An output of the model."""

    label_filename: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
            max_length=253,
            description="File beside the version folder with the label of each class, a line each.",
        ),
    ] = None
