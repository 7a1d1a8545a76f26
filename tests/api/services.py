"""InferenceServices that a rule refuses: CEL's part, with the exact message in both places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.api.evaluations import EVALUATION_RULE_BREAKERS
from tests.api.monitoring import MONITORING_RULE_BREAKERS
from tests.api.pods import CLAIM_RULE_BREAKERS, POD_RULE_BREAKERS

if TYPE_CHECKING:
    from tests.api.changes import Change

SCHEDULE = {"name": "day", "schedule": "0 8 * * MON-FRI", "durationMinutes": 600, "minReplicas": 4}
_QUEUE = "spec/model/dynamicBatching"
# Flags that open an API, contradict the operator's own, or are none of Triton's as it reads them.
_REFUSED_FLAGS = (
    "--allow-http=false", "--http-port=80", "--model-repository=/x", "--load-model=*", "--model-control-mode=poll",
    "--http-restricted-api=x:y=z", "--grpc-use-ssl=true", "--metrics-config=counter_latencies=false",
    "--trace-config=triton,file=/tmp/x", "--cache-config=local,size=1", "--log-file=/x", "--log-verbose",
    "--log-verbose=", "--log-verbose=high", "log-verbose=1", "--log-info=1\n--http-port=1", "--exit-on-error=true",
    "--backend-config=default-max-batch-size=4", "--backend-config=onnxruntime,default-max-batch-size=4",
    "--repository-poll-secs=1", "--http-thread-count=99999", "--log-verbose=2147483648", "--model-load-gpu-limit=0:7",
    "--pinned-memory-pool-byte-size=9999999999999999999", "--cuda-memory-pool-byte-size=9999999999:1",
    "--backend-config=python,x=",
)  # fmt: skip
_BACKENDS = {
    "onnxruntime_onnx": "did you mean onnxruntime?",
    "onnx": "did you mean onnxruntime?",
    "tensorrt_plan": "did you mean tensorrt?",
    "pytorch_libtorch": "did you mean pytorch?",
    "tensorflow_savedmodel": "did you mean tensorflow?",
    "tensorflow_graphdef": "did you mean tensorflow?",
    "ensemble": "an ensemble is not served",
}

SERVICE_RULE_BREAKERS: dict[str, tuple[tuple[Change, ...], str, str]] = {
    **{
        f"backend {name}": ((("spec/model/backend", name),), "spec.model.backend", words)
        for name, words in _BACKENDS.items()
    },
    **{
        f"flag {flag}": (
            (("spec/runtime/args", ["--log-verbose=1", flag]),),
            "spec.runtime.args",
            f"; got {flag.partition('=')[0]}",
        )
        for flag in _REFUSED_FLAGS
    },
    "an old platform": (
        (("spec/model/platform", "tensorrt_plan"),),
        "spec.model.platform",
        "name the backend in spec.model.backend",
    ),
    "an ensemble's steps": (
        (("spec/model/ensembleScheduling", {"step": [{"modelName": "a"}]}),),
        "spec.model.ensembleScheduling",
        "an ensemble is not served",
    ),
    "a stateful model": (
        (("spec/model/sequenceBatching", {"maxSequenceIdleMicroseconds": 5_000_000}),),
        "spec.model.sequenceBatching",
        "would lose their state",
    ),
    "a decoupled model": (
        (("spec/model/modelTransactionPolicy", {"decoupled": True}),),
        "spec.model.modelTransactionPolicy",
        "a decoupled model is not served",
    ),
    "a dimension of 0": (
        (("spec/model/inputs/0/dims", [3, 0]),),
        "spec.model.inputs[0].dims",
        "Triton refuses 0",
    ),
    "an output's dimension of 0": (
        (("spec/model/outputs", [{"name": "y", "dataType": "TYPE_FP32", "dims": [0]}]),),
        "spec.model.outputs[0].dims",
        "Triton refuses 0",
    ),
    "a reshape to 0": (
        (("spec/model/inputs/0", {"name": "x", "dataType": "TYPE_FP32", "dims": [1], "reshape": {"shape": [0]}}),),
        "spec.model.inputs[0].reshape.shape",
        "Triton refuses 0",
    ),
    "a reshape to other elements": (
        (("spec/model/inputs/0", {"name": "x", "dataType": "TYPE_FP32", "dims": [6], "reshape": {"shape": [2, 4]}}),),
        "spec.model.inputs[0].reshape",
        "as many elements as dims",
    ),
    "a reshape where another size varies": (
        (("spec/model/outputs", [{"name": "y", "dataType": "TYPE_FP32", "dims": [-1], "reshape": {"shape": [1]}}]),),
        "spec.model.outputs[0].reshape",
        "as many elements as dims",
    ),
    "an image of two dimensions": (
        (("spec/model/inputs/0", {"name": "x", "dataType": "TYPE_FP32", "dims": [8, 8], "format": "FORMAT_NHWC"}),),
        "spec.model.inputs[0].format",
        "three sizes",
    ),
    "a shape tensor of onnxruntime": (
        (("spec/model/inputs/0", {"name": "x", "dataType": "TYPE_INT32", "dims": [2], "isShapeTensor": True}),),
        "spec.model.inputs",
        "is for backend tensorrt",
    ),
    "an output that is a shape tensor of onnxruntime": (
        (("spec/model/outputs", [{"name": "y", "dataType": "TYPE_INT32", "dims": [2], "isShapeTensor": True}]),),
        "spec.model.outputs",
        "is for backend tensorrt",
    ),
    "a reshape to nothing without a batch dimension": (
        (
            ("spec/model/inputs/0", {"name": "x", "dataType": "TYPE_FP32", "dims": [1], "reshape": {"shape": []}}),
            ("spec/batching", {"maxBatchSize": {"min": 0, "max": 0}}),
        ),
        "spec.model",
        "needs a batch dimension",
    ),
    "a reshape to nothing with fixed settings without a batch dimension": (
        (
            (
                "spec/model/outputs",
                [{"name": "y", "dataType": "TYPE_FP32", "dims": [1], "reshape": {"shape": []}}],
            ),
            ("spec/batching", {"mode": "Fixed", "fixed": {"maxBatchSize": 0}}),
        ),
        "spec.model",
        "needs a batch dimension",
    ),
    "memory with digits too many": (
        (("spec/runtime/resources", {"limits": {"memory": "999999999999Ti"}}),),
        "spec.runtime.resources.limits",
        "at most 1024Ti",
    ),
    "shared memory with digits too many": (
        (("spec/runtime/sharedMemory", "999999999999Ti"),),
        "spec.runtime.sharedMemory",
        "at most 1024Ti",
    ),
    "priorities without a default": (
        ((_QUEUE, {"priorityLevels": 2}),),
        "spec.model.dynamicBatching.defaultPriorityLevel",
        "from 1 to",
    ),
    "a default above the priorities": (
        ((_QUEUE, {"priorityLevels": 2, "defaultPriorityLevel": 3}),),
        "spec.model.dynamicBatching.defaultPriorityLevel",
        "from 1 to",
    ),
    "ordered answers with priorities": (
        ((_QUEUE, {"preserveOrdering": True, "priorityLevels": 2, "defaultPriorityLevel": 1}),),
        "spec.model.dynamicBatching.preserveOrdering",
        "out of order",
    ),
    "ordered answers with delays": (
        ((_QUEUE, {"preserveOrdering": True, "defaultQueuePolicy": {"timeoutAction": "DELAY"}}),),
        "spec.model.dynamicBatching.preserveOrdering",
        "out of order",
    ),
    "min above max": (
        (("spec/scaling", {"minReplicas": 3, "maxReplicas": 2}),),
        "spec.scaling.minReplicas",
        "spec.scaling.minReplicas must not be above",
    ),
    "min above the default max": (
        (("spec/scaling", {"minReplicas": 11}),),
        "spec.scaling.minReplicas",
        "spec.scaling.minReplicas must not be above",
    ),
    "a schedule above the default max": (
        (("spec/scaling", {"schedules": [{**SCHEDULE, "minReplicas": 11}]}),),
        "spec.scaling.schedules",
        "must not be above spec.scaling.maxReplicas",
    ),
    "batch min above max": (
        (("spec/batching/maxBatchSize", {"min": 9, "max": 8}),),
        "spec.batching.maxBatchSize.min",
        "set both to 0",
    ),
    "batch min 0, max not": (
        (("spec/batching/maxBatchSize", {"min": 0}),),
        "spec.batching.maxBatchSize.min",
        "set both to 0",
    ),
    "batch max 0, min absent": (
        (("spec/batching/maxBatchSize", {"max": 0}),),
        "spec.batching.maxBatchSize.min",
        "set both to 0",
    ),
    "delay min above max": (
        (("spec/batching/maxQueueDelayMicroseconds", {"min": 20001}),),
        "spec.batching.maxQueueDelayMicroseconds.min",
        "maxQueueDelayMicroseconds.max",
    ),
    "instances min above max": (
        (("spec/batching/instances", {"min": 5}),),
        "spec.batching.instances.min",
        "instances.max (4",
    ),
    "fixed without settings": ((("spec/batching", {"mode": "Fixed"}),), "spec.batching.mode", "spec.batching.fixed is"),
    "a path out of the claim": (
        (("spec/model/storage/uri", "pvc://models/../other"),),
        "spec.model.storage.uri",
        "must stay inside the claim",
    ),
    "a path out of the claim at its end": (
        (("spec/model/storage/uri", "pvc://models/a/.."),),
        "spec.model.storage.uri",
        "must stay inside the claim",
    ),
    "thousandths of a byte": (
        (("spec/runtime/resources", {"limits": {"memory": "512m"}}),),
        "spec.runtime.resources.limits",
        "did you mean Mi?",
    ),
    "thousandths of a byte of storage": (
        (("spec/runtime/resources", {"requests": {"ephemeral-storage": "512m"}}),),
        "spec.runtime.resources.requests",
        "did you mean Mi?",
    ),
    "bytes for mebibytes": (
        (("spec/runtime/resources", {"requests": {"memory": "512"}}),),
        "spec.runtime.resources.requests",
        "write Mi or Gi after the number",
    ),
    "a limit of no memory": (
        (("spec/runtime/resources", {"limits": {"memory": 0}}),),
        "spec.runtime.resources.limits",
        "write Mi or Gi after the number",
    ),
    "cpu in bytes": (
        (("spec/runtime/resources", {"requests": {"cpu": "100Mi"}}),),
        "spec.runtime.resources.requests",
        "cpu is in cores",
    ),
    "more cores than there are": (
        (("spec/runtime/resources", {"limits": {"cpu": 2000}}),),
        "spec.runtime.resources.limits",
        "500m for half of one",
    ),
    "a limit of no cpu": (
        (("spec/runtime/resources", {"limits": {"cpu": 0}}),),
        "spec.runtime.resources.limits",
        "a limit of 0 cpu",
    ),
    "shared memory in thousandths": (
        (("spec/runtime/sharedMemory", "512m"),),
        "spec.runtime.sharedMemory",
        "did you mean Mi?",
    ),
    "shared memory without a unit": (
        (("spec/runtime/sharedMemory", 64),),
        "spec.runtime.sharedMemory",
        "write Mi or Gi after the number",
    ),
    "accelerator as request": (
        (("spec/runtime/resources/requests", {"nvidia.com/gpu": 1}),),
        "spec.runtime.resources.requests",
        "ServingPool",
    ),
    "accelerator as limit": (
        (("spec/runtime/resources/limits", {"nvidia.com/gpu": 1}),),
        "spec.runtime.resources.limits",
        "ServingPool",
    ),
    "request above limit": (
        (("spec/runtime/resources", {"requests": {"memory": "2Gi"}, "limits": {"memory": "2000M"}}),),
        "spec.runtime.resources.requests",
        "raise the limit",
    ),
    "request above limit, as numbers": (
        (("spec/runtime/resources", {"requests": {"cpu": 3}, "limits": {"cpu": "2500m"}}),),
        "spec.runtime.resources.requests",
        "raise the limit",
    ),
    "value and valueFrom": (
        (
            (
                "spec/runtime/env",
                [{"name": "A", "value": "b", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            ),
        ),
        "spec.runtime.env[0].value",
        "not both",
    ),
    "valueFrom nothing": (
        (("spec/runtime/env", [{"name": "A", "valueFrom": {}}]),),
        "spec.runtime.env[0].valueFrom",
        "one of secretKeyRef and configMapKeyRef",
    ),
    **EVALUATION_RULE_BREAKERS,
    **MONITORING_RULE_BREAKERS,
    **POD_RULE_BREAKERS,
    **CLAIM_RULE_BREAKERS,
}
