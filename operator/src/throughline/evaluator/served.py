"""What a server says of a model, and whether a suite fits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from throughline.api.evaluationmetrics import TaskType
from throughline.api.evaluationsuite import OutputKind
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.rows import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from throughline.api.evaluationsuite import EvaluationSuiteSpec, Input
    from throughline.evaluator.answers import Answer

ANY = -1  # a dimension that may have any size


class TransientError(Exception):
    """The server did not answer, or not in time: the same request may succeed later."""


class RefusedError(Exception):
    """The server's answer is no, and will be for the same request."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output as the server declares it; `shape` has the rows first where the model batches."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.datatype} {list(self.shape)})"


@dataclass(frozen=True, slots=True)
class Served:
    """A model that is ready. `max_batch_size` is None where the server keeps its configuration to itself."""

    name: str
    version: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch_size: int | None
    priority_levels: int = 0


class ModelPort(Protocol):
    """One model on one server."""

    async def describe(self) -> Served:
        """Raises TransientError, RefusedError."""
        ...

    async def infer(self, inputs: Mapping[str, NDArray[np.generic]]) -> Answer:
        """The output for these rows. Raises TransientError, RefusedError."""
        ...

    async def close(self) -> None: ...


def check(suite: EvaluationSuiteSpec, served: Served) -> None:
    """Before the first row: names, datatypes and shapes of the suite are those of the model.

    Raises:
        EvaluationInputError: they are not; it names every field that is wrong, and the fix.
    """
    problems = [*_inputs(suite.inputs, served), *_output(suite, served)]
    if problems:
        raise EvaluationInputError(f"the suite does not fit model {served.name!r}:\n  " + "\n  ".join(problems))


def batch_rows(served: Served, wanted: int | None, *, default: int = 64) -> int:
    """Rows per request: what the model takes at most, or `wanted` if that is less.

    Raises:
        EvaluationInputError: `wanted` is more than the model takes.
    """
    if served.max_batch_size is None:
        # Every model that batches takes one row; how many more only the configuration says.
        return wanted or 1
    if served.max_batch_size > 0:
        most = served.max_batch_size
    else:
        most = 1 if any(t.shape[:1] == (1,) for t in served.inputs) else wanted or default
    if wanted is not None and wanted > most:
        raise EvaluationInputError(f"--batch-size {wanted} is more than model {served.name!r} takes ({most}); lower it")
    return wanted or most


def _inputs(inputs: Sequence[Input], served: Served) -> Iterator[str]:
    known = {tensor.name: tensor for tensor in served.inputs}
    for given in inputs:
        field = f"spec.inputs[{given.tensor}]"
        tensor = known.get(given.tensor)
        if tensor is None:
            yield f"{field}.tensor: the model has no such input{nearest(given.tensor, list(known))}"
            continue
        if tensor.datatype != given.datatype:
            yield f"{field}.datatype is {given.datatype}, and the model takes {tensor.datatype}; write that"
        yield from _input_shape(field, given, tensor)
    named = {given.tensor for given in inputs}
    for tensor in served.inputs:
        if tensor.name not in named and not tensor.optional:
            yield f"spec.inputs: the model also needs {tensor}; add an entry with the columns that it is made of"


def _input_shape(field: str, given: Input, tensor: Tensor) -> Iterator[str]:
    if tensor.shape[:1] not in {(ANY,), (1,)}:
        yield (
            f"{field}: the model takes shape {list(tensor.shape)}, whose first dimension is not the rows; serve it "
            "with max_batch_size above 0, or export it with a dynamic first dimension"
        )
        return
    rest, columns = tensor.shape[1:], len(given.columns)
    if given.scalar and rest:
        yield f"{field}.scalar gives shape [rows], and the model takes {list(tensor.shape)}; remove scalar"
    elif not given.scalar and not rest:
        fix = "set scalar: true" if columns == 1 else "name one column, and set scalar: true"
        yield f"{field} gives shape [rows, {columns}], and the model takes {list(tensor.shape)}; {fix}"
    elif len(rest) > 1:
        yield f"{field}: the model takes {list(tensor.shape)}, and columns make only [rows, columns]; serve it flat"
    elif rest and rest[0] not in {ANY, columns}:
        yield f"{field}.columns has {columns} entries, and the model takes {rest[0]} ({tensor}); correct the list"


def _output(suite: EvaluationSuiteSpec, served: Served) -> Iterator[str]:
    field = f"spec.output ({suite.output.tensor})"
    known = {tensor.name: tensor for tensor in served.outputs}
    tensor = known.get(suite.output.tensor)
    if tensor is None:
        yield f"spec.output.tensor: the model has no output {suite.output.tensor!r}" + nearest(
            suite.output.tensor, list(known)
        )
        return
    kind = suite.output.kind
    if kind is not OutputKind.LABEL and tensor.datatype == "BYTES":
        yield f"{field} is BYTES, and kind {kind} needs numbers; name another output, or kind Label"
    if kind in {OutputKind.PROBABILITIES, OutputKind.LOGITS} and suite.task.type is TaskType.CLASSIFICATION:
        rest, classes = tensor.shape[1:], len(suite.task.classes)
        one_column = classes == 2 and rest in {(), (1,)}
        if not one_column and rest not in {(ANY,), (classes,)}:
            yield (
                f"{field} has shape {list(tensor.shape)}, and spec.task.classes names {classes}; kind {kind} needs one "
                "column per class"
            )
