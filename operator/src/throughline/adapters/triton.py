"""Triton's HTTP API, one pod at a time, over NVIDIA's own client; and what its metrics endpoint says at this moment.

tritonclient pulls in gevent and numpy, so it is imported on the first call and nowhere else. A client lives for one
call group: pods come and go, and a connection kept open would hold up a draining server.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from throughline.adapters import batch_proof
from throughline.api.batching import BatchSettings
from throughline.domain.observed import BatchStatistic, LiveQueue
from throughline.ports import Proof, TritonError, TritonRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

HTTP_PORT, METRICS_PORT = 8000, 8002
PENDING, FAILED = "nv_inference_pending_request_count", "nv_inference_request_failure"
KEY_HEADER = "throughline-control-key"  # as in --http-restricted-api=…:throughline-control-key=VALUE
ANSWERED_NO = frozenset({"400", "404", "500"})


class Triton:
    """TritonPort."""

    def __init__(
        self,
        *,
        timeout_seconds: float,
        load_timeout_seconds: float,
        port: int = HTTP_PORT,
        metrics_port: int = METRICS_PORT,
    ) -> None:
        self._timeout, self._load_timeout = timeout_seconds, load_timeout_seconds
        self._port, self._metrics_port = port, metrics_port

    @asynccontextmanager
    async def _client(self, ip: str, timeout: float, what: str) -> AsyncIterator[Any]:  # noqa: ASYNC109 - the client's own
        from tritonclient.http.aio import InferenceServerClient  # noqa: PLC0415
        from tritonclient.utils import InferenceServerException  # noqa: PLC0415

        client_class: Any = InferenceServerClient  # the aio module shadows the sync class's name for type checkers
        client = client_class(_host(ip, self._port), conn_timeout=timeout, conn_limit=1)
        try:
            yield client
        except InferenceServerException as error:
            status, message = error.status() or "", error.message() or "no message"
            if status in ANSWERED_NO:
                raise TritonRefused(message) from error
            raise TritonError(f"{what} at {ip}: {status} {message}".strip()) from error
        except TimeoutError as error:
            raise TritonError(f"{what} at {ip}: no answer within {timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise TritonError(f"{what} at {ip}: {error}") from error
        finally:
            await client.close()

    async def load(self, ip: str, model: str, config: Mapping[str, Any], *, key: str) -> None:
        async with self._client(ip, self._load_timeout, "load") as client:
            await client.load_model(model, headers=_headers(key), config=json.dumps(config))

    async def version(self, ip: str) -> str:
        async with self._client(ip, self._timeout, "server metadata") as client:
            return str((await client.get_server_metadata()).get("version") or "")

    async def settings(self, ip: str, model: str, *, key: str) -> BatchSettings:
        async with self._client(ip, self._timeout, "config") as client:
            return parse_settings(await client.get_model_config(model, headers=_headers(key)))

    async def probe(self, ip: str, model: str, version: int) -> None:
        from tritonclient.http import InferInput  # noqa: PLC0415

        async with self._client(ip, self._timeout, "probe") as client:
            config = await client.get_model_config(model)
            if (config.get("model_transaction_policy") or {}).get("decoupled"):
                return  # HTTP has no stream of answers; that the configuration is there is all that can be asked
            metadata = await client.get_model_metadata(model, str(version))
            inputs = []
            for tensor, values in probe_inputs(metadata, config):
                data = InferInput(tensor["name"], list(values.shape), tensor["datatype"])
                data.set_data_from_numpy(values)
                inputs.append(data)
            await client.infer(model, inputs, model_version=str(version))

    async def prove(self, ip: str, model: str, version: int, rows: int) -> Proof:
        async with self._client(ip, self._timeout, "proof") as client:
            config = await client.get_model_config(model)
            metadata = await client.get_model_metadata(model, str(version))
        if (why := batch_proof.unfit(config)) is not None:
            return Proof(rows, words=why, compared=False)
        zeros = probe_inputs(metadata, config)
        infer = partial(self._infer, ip, model, version)
        return await batch_proof.prove(infer, batch_proof.proof_inputs(zeros, rows), zeros, rows)

    async def prove_together(self, ip: str, model: str, version: int, proof: Proof) -> Proof:
        return await batch_proof.prove_together(partial(self._infer, ip, model, version), proof)

    async def _infer(self, ip: str, model: str, version: int, given: batch_proof.Inputs) -> batch_proof.Answers:
        """The answers to one request, which may wait behind those of others."""
        from tritonclient.http import InferInput  # noqa: PLC0415

        inputs = []
        for tensor, values in given:
            data = InferInput(tensor["name"], list(values.shape), tensor["datatype"])
            data.set_data_from_numpy(values)
            inputs.append(data)
        async with self._client(ip, self._load_timeout, "proof") as client:
            result = await client.infer(model, inputs, model_version=str(version))
            return {output["name"]: result.as_numpy(output["name"]) for output in result.get_response()["outputs"]}

    async def statistics(self, ip: str, model: str) -> Sequence[BatchStatistic]:
        async with self._client(ip, self._timeout, "statistics") as client:
            return parse_statistics(await client.get_inference_statistics(model))

    async def queue(self, ip: str, model: str) -> LiveQueue:
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
                session.get(f"http://{_host(ip, self._metrics_port)}/metrics") as response,
            ):
                return parse_queue(await response.text(), model)
        except TimeoutError as error:
            raise TritonError(f"metrics at {ip}: no answer within {self._timeout:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TritonError(f"metrics at {ip}: {error}") from error

    async def load_error(self, ip: str, model: str, *, key: str) -> str | None:
        async with self._client(ip, self._timeout, "repository index") as client:
            return parse_load_error(await client.get_model_repository_index(headers=_headers(key)), model)


def _host(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _headers(key: str) -> dict[str, str]:
    return {KEY_HEADER: key} if key else {}


def probe_inputs(metadata: Mapping[str, Any], config: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Any]]:
    """The inputs of the smallest request, with their values: every size that varies is 1, every value 0.

    Optional inputs are left out, unless there are no others. What a shape tensor holds are sizes, of which none is 0.
    """
    declared = {tensor["name"]: tensor for tensor in config.get("input") or ()}
    tensors = metadata.get("inputs") or ()
    required = [t for t in tensors if not declared.get(t["name"], {}).get("optional")]
    found = []
    for tensor in required or tensors:
        values = _zeros([1 if d < 0 else d for d in map(int, tensor["shape"])], tensor["datatype"])
        found.append((tensor, values + 1 if declared.get(tensor["name"], {}).get("is_shape_tensor") else values))
    return found


def _zeros(shape: Sequence[int], datatype: str) -> Any:
    import numpy as np  # noqa: PLC0415
    from tritonclient.utils import triton_to_np_dtype  # noqa: PLC0415

    if datatype == "BYTES":
        return np.full(shape, b"", dtype=np.object_)
    return np.zeros(shape, triton_to_np_dtype(datatype))  # of BF16 the client's own: not the same in each version


def parse_settings(config: Mapping[str, Any]) -> BatchSettings:
    """The settings in a model configuration, as GET /v2/models/M/config gives it.

    One for a proof (`proof_config`) puts no requests together. It is told as a largest batch of 0, which is not what
    anybody wants of such a model: so it never looks as if it were as it should be.
    """
    groups, batching = config.get("instance_group") or [{}], config.get("dynamic_batching") or {}
    size = int(config.get("max_batch_size") or 0)
    proving = size > 1 and list(map(int, batching.get("preferred_batch_size") or ())) == [1]
    return BatchSettings(
        max_batch_size=0 if proving else size,
        max_queue_delay_microseconds=int(batching.get("max_queue_delay_microseconds") or 0),
        instances=int(groups[0].get("count") or 1),
    )


def parse_statistics(found: Mapping[str, Any]) -> tuple[BatchStatistic, ...]:
    """Rows of batch_stats, over the versions that are loaded."""
    rows = [row for model in found.get("model_stats") or () for row in model.get("batch_stats") or ()]
    return tuple(
        BatchStatistic(
            batch_size=int(row["batch_size"]),
            executions=int(row["compute_infer"]["count"]),
            compute_ns=sum(int(row[part]["ns"]) for part in ("compute_input", "compute_infer", "compute_output")),
        )
        for row in rows
        if "compute_infer" in row and int(row["compute_infer"]["count"]) > 0
    )


def parse_queue(text: str, model: str) -> LiveQueue:
    """The numbers in Prometheus's text format. Raises ValueError where the model's pending gauge is not there.

    A model on a GPU has a series per device, so they are added up.
    """
    # The page is long and asked for often: only the lines that matter are parsed.
    lines = [line for line in text.splitlines() if line.startswith((PENDING, FAILED))]
    samples = [s for f in text_string_to_metric_families("\n".join(lines) + "\n") for s in f.samples]
    mine = [s for s in samples if s.labels.get("model") == model]
    pending = [s.value for s in mine if s.name == PENDING]
    if not pending:
        raise ValueError(f"no {PENDING} of model {model}")
    failures = [(s.labels.get("reason") == "CANCELED", s.value) for s in mine if s.name == FAILED]
    cancelled = sum(value for given_up, value in failures if given_up)
    failed = sum(value for given_up, value in failures if not given_up)
    return LiveQueue(pending=round(sum(pending)), cancelled=round(cancelled), failed=round(failed))


def parse_load_error(index: Sequence[Mapping[str, Any]], model: str) -> str | None:
    """Why no version of the model is ready, in Triton's words."""
    entries = [entry for entry in index if entry.get("name") == model]
    if not entries:
        return f"the server's model repository has no model {model}"
    if any(entry.get("state") == "READY" for entry in entries):
        return None
    entry = entries[0]
    return str(entry.get("reason") or f"the model is {entry.get('state') or 'not loaded'}")
