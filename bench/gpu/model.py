"""The model of `bench.gpu`, for Triton's python backend: a text encoder of BERT's shape with random weights, in fp16.

A request is one text of token ids, an answer a few numbers. All requests of a batch are put together, go through the
network in one pass, are waited for, and are taken apart again. Without a GPU (`device` is cpu) a small network in numpy
stands in, which shows only that the bench works.
Parameters: device (cuda or cpu), layers, width, warm (batches of up to so many items are run before the first request).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Network = Callable[[NDArray[np.int32]], NDArray[np.float32]]

TOKENS, VOCABULARY, ANSWERS, HEAD_WIDTH = 256, 30_522, 8, 64


def on_gpu(layers: int, width: int) -> Network:
    import torch  # type: ignore[import-not-found]  # noqa: PLC0415 - only where there is a GPU
    from torch import nn  # noqa: PLC0415

    torch.manual_seed(0)
    with torch.device("cuda"):
        words, places = nn.Embedding(VOCABULARY, width), nn.Embedding(TOKENS, width)
        layer = nn.TransformerEncoderLayer(
            width, width // HEAD_WIDTH, 4 * width, activation="gelu", batch_first=True, dropout=0.0
        )
        encoder, head = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False), nn.Linear(width, ANSWERS)
        where = torch.arange(TOKENS)
    for part in (words, places, encoder, head):
        part.half().eval()

    def run(ids: NDArray[np.int32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found = encoder(words(torch.from_numpy(ids).cuda()) + places(where))
            answers: NDArray[np.float32] = head(found[:, 0]).float().cpu().numpy()  # the copy waits for the GPU
            return answers

    return run


def on_cpu(layers: int, width: int) -> Network:
    rng = np.random.default_rng(0)
    words = rng.standard_normal((VOCABULARY, width), np.float32)
    matrices = [rng.standard_normal((width, width), np.float32) / width**0.5 for _ in range(layers)]

    def run(ids: NDArray[np.int32]) -> NDArray[np.float32]:
        found = words[ids].mean(axis=1)
        for matrix in matrices:
            found = np.tanh(found @ matrix)
        return np.ascontiguousarray(found[:, :ANSWERS], np.float32)

    return run


class TritonPythonModel:
    """As the python backend wants it."""

    def initialize(self, args: dict[str, str]) -> None:
        given = {k: v["string_value"] for k, v in json.loads(args["model_config"])["parameters"].items()}
        build = on_gpu if given["device"] == "cuda" else on_cpu
        self.run = build(int(given["layers"]), int(given["width"]))
        for size in range(int(given["warm"]), 0, -1):  # the first batch of each size takes many times as long
            self.run(np.zeros((size, TOKENS), np.int32))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        batches = [pb_utils.get_input_tensor_by_name(r, "IDS").as_numpy() for r in requests]
        answers = self.run(np.concatenate(batches))
        ends = np.cumsum([len(b) for b in batches])[:-1]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", part)]) for part in np.split(answers, ends)]
