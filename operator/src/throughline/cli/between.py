"""What is wrong between the objects of the files: two of one name, and a second autoscaler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from throughline.api.crd import INFERENCE_SERVICE, KINDS
from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.validation import Problem, is_ours, without_nulls
from throughline.domain import scalers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from throughline.cli.documents import Document

# API group → its kinds that scale others.
_AUTOSCALERS = {
    "autoscaling": "HorizontalPodAutoscaler",
    "autoscaling.k8s.io": scalers.VERTICAL,
    "keda.sh": "ScaledObject",
}
_CLUSTER_SCOPED = {kind.kind for kind in KINDS if not kind.namespaced}


def problems(documents: Sequence[Document]) -> Iterator[tuple[Document, Problem]]:
    """Each with the document that it is found in."""
    objects = [document for document in documents if isinstance(document.data, dict)]
    yield from _same_names(document for document in objects if is_ours(document.data))
    for document in objects:
        for service in objects if _is_autoscaler(document.data) else ():
            message = _second_scaler(document.data, service.data)
            if message is not None:
                yield document, Problem(("spec", scalers.target_field(document.data), "name"), message)


def _same_names(objects: Iterable[Document]) -> Iterator[tuple[Document, Problem]]:
    seen: dict[tuple[str, ...], Document] = {}
    for document in objects:
        kind, metadata = str(document.data.get("kind")), _metadata(document.data)
        if not metadata.get("name"):
            continue
        namespace = "" if kind in _CLUSTER_SCOPED else metadata.get("namespace", "")
        first = seen.setdefault((kind, str(namespace), str(metadata["name"])), document)
        if first is not document:
            where = f"{first.source}:{first.position(('metadata', 'name'))[0]}"
            message = f"this {kind} stands in {where} already, and the later one would replace it; remove or rename one"
            yield document, Problem(("metadata", "name"), message)


def _is_autoscaler(data: dict[str, Any]) -> bool:
    return _AUTOSCALERS.get(str(data.get("apiVersion")).partition("/")[0]) == data.get("kind")


def _second_scaler(autoscaler: dict[str, Any], data: dict[str, Any]) -> str | None:
    if not is_ours(data) or data.get("kind") != INFERENCE_SERVICE.kind:
        return None
    namespaces = {str(_metadata(one).get("namespace") or "") for one in (autoscaler, data)} - {""}
    try:
        scaling = InferenceServiceSpec.model_validate(without_nulls(data.get("spec") or {})).scaling
    except ValidationError:  # named where it stands
        return None
    if len(namespaces) > 1:
        return None
    return scalers.conflict_in_files(autoscaler, str(_metadata(data).get("name")), scaling)


def _metadata(data: dict[str, Any]) -> dict[str, Any]:
    metadata = data.get("metadata")
    return metadata if isinstance(metadata, dict) else {}
