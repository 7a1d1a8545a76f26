"""What Triton's model configuration has and this operator does not serve: refused by name, with what to do.

The fields are declared so that the API server refuses them, too: a client that asks for no strict validation would
have them dropped without a word, and a stateful model would then be batched and scaled as if it had no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from throughline.api.base import Resource, Rule

if TYPE_CHECKING:
    from collections.abc import Mapping

# Name of a backend → what it was called as a platform, or is called by mistake. Triton finds no backend of that name.
_PLATFORMS: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime_onnx", "onnx"),
    "tensorrt": ("tensorrt_plan",),
    "pytorch": ("pytorch_libtorch", "libtorch"),
    "tensorflow": ("tensorflow_savedmodel", "tensorflow_graphdef"),
}
_ENSEMBLE = (
    "an ensemble is not served: its steps are models of their own, and each server here has one model. Serve each step "
    "as an InferenceService and let the client call them in turn, or make one model of them (backend python, or one "
    "graph)"
)
_REFUSED: Mapping[str, str] = {
    "platform": "spec.model.platform is not read; name the backend in spec.model.backend (onnxruntime, tensorrt, "
    "pytorch, tensorflow, python, …) and remove platform",
    "ensemble_scheduling": f"spec.model.ensembleScheduling: {_ENSEMBLE}",
    "sequence_batching": "spec.model.sequenceBatching: a stateful model is not served: the requests of one sequence "
    "would reach different replicas, and each change of replicas or batch settings would lose their state. Keep the "
    "state in the client or in a store and remove sequenceBatching, or serve the model by a Deployment of your own",
    "model_transaction_policy": "spec.model.modelTransactionPolicy: a decoupled model is not served: one request has "
    "many answers there, and its latency is that of a whole stream. Remove it; backends that need it set it "
    "themselves (vllm)",
}


class Unserved(Resource):
    """A message of Triton's model configuration that is refused whatever it holds."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})


def _absent(field: str, message: str) -> Rule:
    wire = to_camel(field)
    return Rule(cel=f"!has(self.{wire})", holds=lambda s: getattr(s, field) is None, message=message, field=wire)


def _no_platform(backend: str, names: tuple[str, ...]) -> Rule:
    return Rule(
        cel=f"!(self.backend in {list(names)})",
        holds=lambda s: s.backend not in names,
        message=f"spec.model.backend: did you mean {backend}? {' and '.join(names)} "
        f"{'is no name of a backend' if len(names) == 1 else 'are no names of backends'}",
        field="backend",
    )


RULES: tuple[Rule, ...] = (
    *(_no_platform(backend, names) for backend, names in _PLATFORMS.items()),
    Rule(
        cel="self.backend != 'ensemble'",
        holds=lambda s: s.backend != "ensemble",
        message=f"spec.model.backend: {_ENSEMBLE}",
        field="backend",
    ),
    *(_absent(field, message) for field, message in _REFUSED.items()),
)
