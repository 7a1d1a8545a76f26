"""Resources that are right, and ways to make each wrong: (what is changed, value, part of the message)."""

from __future__ import annotations

from typing import Any

from tests.api.changes import REMOVE, Change, changed
from tests.api.evaluations import (
    BAD_EVALUATIONS,
    BAD_RUNS,
    EVALUATION_RULE_BREAKERS,
    EVALUATION_RUN,
    GOOD_EVALUATIONS,
    GOOD_RUNS,
)
from tests.api.monitoring import BAD_MONITORING, GOOD_MONITORING, MONITORING_RULE_BREAKERS
from tests.api.pods import BAD_PODS, CLAIM_RULE_BREAKERS, GOOD_CLAIMS, GOOD_PODS, POD_RULE_BREAKERS
from tests.api.suites import BAD_SUITES, EVALUATION_SUITE, GOOD_SUITES, SUITE_RULE_BREAKERS

INFERENCE_SERVICE: dict[str, Any] = {
    "apiVersion": "throughline.io/v1alpha1",
    "kind": "InferenceService",
    "metadata": {"name": "resnet50", "namespace": "default"},
    "spec": {
        "model": {
            "storage": {"uri": "pvc://models/resnet50"},
            "backend": "onnxruntime",
            "inputs": [{"name": "x", "dataType": "TYPE_FP32", "dims": [3, 224, 224]}],
        },
        "slo": {"latencyP99Milliseconds": 100},
        "placement": {"pools": [{"name": "gpu"}]},
    },
}
SERVING_POOL: dict[str, Any] = {
    "apiVersion": "throughline.io/v1alpha1",
    "kind": "ServingPool",
    "metadata": {"name": "gpu"},
    "spec": {"nodeSelector": {"pool": "gpu"}, "costPerHour": "1.01"},
}

SCHEDULE = {"name": "day", "schedule": "0 8 * * MON-FRI", "durationMinutes": 600, "minReplicas": 4}

# Changes after which InferenceService is still right.
GOOD_SERVICES: dict[str, tuple[Change, ...]] = {
    "as it is": (),
    "bounds equal": (("spec/scaling", {"minReplicas": 3, "maxReplicas": 3}),),
    "min at the default max": (("spec/scaling/minReplicas", 10),),
    "replicas set from outside": (("spec/scaling", {"mode": "Off", "replicas": 0}),),
    "no batch dimension": (("spec/batching/maxBatchSize", {"min": 0, "max": 0}),),
    "fixed": (("spec/batching", {"mode": "Fixed", "fixed": {"maxBatchSize": 8}}),),
    "quantities as numbers": (("spec/runtime/resources", {"requests": {"cpu": 2}, "limits": {"cpu": 2}}),),
    "request of another unit": (
        ("spec/runtime/resources", {"requests": {"memory": "1024Mi"}, "limits": {"memory": "1Gi"}}),
    ),
    "limit alone": (("spec/runtime/resources", {"limits": {"memory": "1Gi"}}),),
    "request of nothing": (("spec/runtime/resources", {"requests": {"memory": 0, "cpu": 0}}),),
    "bytes without a unit": (("spec/runtime/resources", {"limits": {"memory": 1073741824, "cpu": "1024"}}),),
    "labels and annotations": (
        ("metadata/labels", {"example.com/Tier": "", "a_b.c": "V-1"}),
        ("metadata/annotations", {"Example.com/on": "", "x": None}),
    ),
    "a path with dots": (("spec/model/storage/uri", "pvc://models.v1/resnet50/..a/.b/c..d/"),),
    "environment": (
        (
            "spec/runtime/env",
            [{"name": "A", "value": "b"}, {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        ),
    ),
    "a null is absent": (("spec/scaling", None), ("spec/batching", {"mode": None})),
    "schedules": (("spec/scaling", {"schedules": [SCHEDULE, {**SCHEDULE, "name": "late", "timeZone": "Asia/Tokyo"}]}),),
    "configmap": (("spec/model/storage/uri", "configmap://fraud-model"),),
    "inputs as Triton has them": (
        (
            "spec/model/inputs",
            [
                {"name": "a", "dataType": "TYPE_FP32", "dims": [1], "reshape": {"shape": []}},
                {"name": "b", "dataType": "TYPE_INT32", "dims": [-1], "optional": True, "allowRaggedBatch": True},
                {"name": "c", "dataType": "TYPE_INT32", "dims": [2, 3, -1, 4], "reshape": {"shape": [6, -1, 2, 2]}},
                {"name": "d", "dataType": "TYPE_FP32", "dims": [3, 8, 8], "format": "FORMAT_NCHW"},
            ],
        ),
        (
            "spec/model/outputs",
            [{"name": "y", "dataType": "TYPE_FP32", "dims": [10], "labelFilename": "labels.txt"}],
        ),
    ),
    "a shape tensor of TensorRT": (
        ("spec/model/backend", "tensorrt"),
        ("spec/model/inputs", [{"name": "c", "dataType": "TYPE_INT32", "dims": [2], "isShapeTensor": True}]),
    ),
    "a model that spans the GPUs": (("spec/model/instanceKind", "KIND_MODEL"),),
    "queue policy": (
        (
            "spec/model/dynamicBatching",
            {
                "priorityLevels": 2,
                "defaultPriorityLevel": 2,
                "defaultQueuePolicy": {
                    "timeoutAction": "DELAY",
                    "defaultTimeoutMicroseconds": 50_000,
                    "allowTimeoutOverride": True,
                    "maxQueueSize": 100,
                },
            },
        ),
    ),
    "ordered answers": (("spec/model/dynamicBatching", {"preserveOrdering": True, "defaultQueuePolicy": {}}),),
    "flags of the server": (
        (
            "spec/runtime/args",
            [
                "--http-max-input-size=268435456",
                "--grpc-infer-response-compression-level=low",
                "--backend-config=python,shm-default-byte-size=1048576",
                "--http-header-forward-pattern=X-.*$",
                "--log-verbose=1",
                "--model-load-gpu-limit=0:0.8",
                "--cuda-memory-pool-byte-size=0:268435456",
            ],
        ),
    ),
    **GOOD_EVALUATIONS,
    **GOOD_MONITORING,
    **GOOD_PODS,
    **GOOD_CLAIMS,
}

# Wrong by type or bound: the schema's part. (change, field of the problem, part of the message)
BAD_SERVICES: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "no model": ((("spec/model", REMOVE),), "spec.model", "required"),
    "no slo": ((("spec/slo", REMOVE),), "spec.slo", "required"),
    "no pool": ((("spec/placement/pools", []),), "spec.placement.pools", "at least 1"),
    "storage elsewhere": ((("spec/model/storage/uri", "s3://b/x"),), "spec.model.storage.uri", "pvc://CLAIM/PATH"),
    "storage with ..": ((("spec/model/storage/uri", "pvc://a b/x"),), "spec.model.storage.uri", "pvc://CLAIM/PATH"),
    "version as text": ((("spec/model/version", "3"),), "spec.model.version", "remove the quotes"),
    "latency zero": ((("spec/slo/latencyP99Milliseconds", 0),), "spec.slo.latencyP99Milliseconds", "at least 1"),
    "latency a fraction": ((("spec/slo/latencyP99Milliseconds", 1.5),), "spec.slo.latencyP99Milliseconds", "whole"),
    "unknown type": ((("spec/model/inputs/0/dataType", "FP32"),), "spec.model.inputs[0].dataType", "TYPE_FP32"),
    "label file elsewhere": (
        (("spec/model/outputs", [{"name": "y", "dataType": "TYPE_FP32", "dims": [1], "labelFilename": "../labels"}]),),
        "spec.model.outputs[0].labelFilename",
        "not valid",
    ),
    "an output that is optional": (
        (("spec/model/outputs", [{"name": "y", "dataType": "TYPE_FP32", "dims": [1], "optional": True}]),),
        "spec.model.outputs[0].optional",
        "unknown field",
    ),
    "dims below -1": ((("spec/model/inputs/0/dims", [-2]),), "spec.model.inputs[0].dims[0]", "at least -1"),
    "same input twice": (
        (("spec/model/inputs/1", {"name": "x", "dataType": "TYPE_FP32", "dims": [1]}),),
        "spec.model.inputs[1]",
        "remove or rename",
    ),
    "misspelt": ((("spec/scaling/minReplica", 1),), "spec.scaling.minReplica", "did you mean minReplicas?"),
    "replicas below zero": ((("spec/scaling/replicas", -1),), "spec.scaling.replicas", "at least 0"),
    "too many replicas": ((("spec/scaling/maxReplicas", 1001),), "spec.scaling.maxReplicas", "at most 1000"),
    "a schedule's words": (
        (("spec/scaling", {"schedules": [{**SCHEDULE, "schedule": "every day"}]}),),
        "spec.scaling.schedules[0].schedule",
        "must have 5 fields",
    ),
    "the same schedule twice": (
        (("spec/scaling", {"schedules": [SCHEDULE, SCHEDULE]}),),
        "spec.scaling.schedules[1]",
        "remove or rename",
    ),
    "negative quantity": ((("spec/runtime/sharedMemory", "-1Gi"),), "spec.runtime.sharedMemory", "not valid"),
    "negative number": ((("spec/runtime/resources/limits/cpu", -1),), "spec.runtime.resources.limits.cpu", "not valid"),
    "quantity a fraction": ((("spec/runtime/sharedMemory", 1.5),), "spec.runtime.sharedMemory", "in quotes"),
    "unknown unit": ((("spec/runtime/sharedMemory", "1GB"),), "spec.runtime.sharedMemory", "not valid"),
    "quantity beyond 64 bits": (
        (("spec/runtime/resources/limits/cpu", 2**63),),
        "spec.runtime.resources.limits.cpu",
        "be text",
    ),
    "claim that begins a part with -": (
        (("spec/model/storage/uri", "pvc://a.-b/x"),),
        "spec.model.storage.uri",
        "pvc://CLAIM/PATH",
    ),
    "an absolute path in the claim": (
        (("spec/model/storage/uri", "pvc:///models/x"),),
        "spec.model.storage.uri",
        "pvc://CLAIM/PATH",
    ),
    "an empty part of the path": (
        (("spec/model/storage/uri", "pvc://models//x"),),
        "spec.model.storage.uri",
        "pvc://CLAIM/PATH",
    ),
    "line break behind a name": ((("spec/placement/pools/0/name", "gpu\n"),), "spec.placement.pools[0].name", "valid"),
    "name with an empty part": ((("spec/placement/pools/0/name", "a..b"),), "spec.placement.pools[0].name", "letter"),
    "key of a secret": (
        (("spec/runtime/env", [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "../k"}}}]),),
        "spec.runtime.env[0].valueFrom.secretKeyRef.key",
        "not begin with '..'",
    ),
    "image with a blank": ((("spec/runtime/image", "triton:1 "),), "spec.runtime.image", "not valid"),
    "unknown mode": ((("spec/batching/mode", "auto"),), "spec.batching.mode", "Auto, Recommend, Fixed"),
    "list for map": ((("spec/slo", []),), "spec.slo", "map"),
    "map for list": ((("spec/placement/pools", {"name": "x"}),), "spec.placement.pools", "list"),
    "no name": ((("metadata/name", REMOVE),), "metadata.name", "required"),
    "a label that is no text": ((("metadata/labels", {"tier": 1}),), "metadata.labels.tier", "must be text"),
    "a label's key": ((("metadata/labels", {"a b": "c"}),), "metadata.labels.a b", "example.com/name"),
    "a label's value": ((("metadata/labels", {"tier": "a b"}),), "metadata.labels.tier", "at most 63"),
    "an annotation's key": ((("metadata/annotations", {"a/b/c": "x"}),), "metadata.annotations.a/b/c", "example.com"),
    "an annotation that is no text": (
        (("metadata/annotations", {"on": True}),),
        "metadata.annotations.on",
        "put it in quotes",
    ),
    "metadata misspelt": ((("metadata/lables", {"a": "b"}),), "metadata.lables", "did you mean labels?"),
    "name with a dot": ((("metadata/name", "a.b"),), "metadata.name", "choose another"),
    "name too long": ((("metadata/name", "a" * 64),), "metadata.name", "63 characters"),
    **BAD_EVALUATIONS,
    **BAD_MONITORING,
    **BAD_PODS,
}

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

# Wrong by a rule: CEL's part, with the exact message in both places.
RULE_BREAKERS: dict[str, tuple[tuple[Change, ...], str, str]] = {
    **{
        f"backend {name}": ((("spec/model/backend", name),), "spec.model.backend", words)
        for name, words in _BACKENDS.items()
    },
    **{
        f"flag {flag}": ((("spec/runtime/args", ["--log-verbose=1", flag]),), "spec.runtime.args", "--flag=value")
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

GOOD_POOLS: dict[str, tuple[Change, ...]] = {
    "as it is": (),
    "cost a number": (("spec/costPerHour", 2),),
    "cost in thousandths": (("spec/costPerHour", "40m"),),
    "tolerates all": (("spec/tolerations", [{"operator": "Exists"}]),),
    "label with a prefix": (("spec/nodeSelector", {"nvidia.com/gpu.product": "NVIDIA-A10", "empty": ""}),),
    "an accelerator by claim": (
        ("spec/accelerator", {"resourceClaimTemplateName": "one-h100"}),
        ("spec/capacity", {"maxReplicas": 8}),
    ),
    **GOOD_PODS,
}
BAD_POOLS: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "no cost": ((("spec/costPerHour", REMOVE),), "spec.costPerHour", "required"),
    "cost a fraction": ((("spec/costPerHour", 1.5),), "spec.costPerHour", "in quotes"),
    "resource without domain": (
        (("spec/accelerator", {"resource": "gpu"}),),
        "spec.accelerator.resource",
        "nvidia.com",
    ),
    "value of a node's label": ((("spec/nodeSelector", {"a": "b c"}),), "spec.nodeSelector.a", "not valid"),
    "cost in binary": ((("spec/costPerHour", "1Ki"),), "spec.costPerHour", "m, k, M, G or T"),
    "key of a toleration": ((("spec/tolerations", [{"key": "a b"}]),), "spec.tolerations[0].key", "example.com/"),
    "value of a toleration": (
        (("spec/tolerations", [{"key": "a", "value": "b/c"}]),),
        "spec.tolerations[0].value",
        "not valid",
    ),
    "name with an empty part": ((("metadata/name", "a..b"),), "metadata.name", "choose another"),
    **BAD_PODS,
}
POOL_RULE_BREAKERS: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "every node": ((("spec/nodeSelector", {}),), "spec.nodeSelector", "at least one label"),
    "key of a node's label": ((("spec/nodeSelector", {"a b": "c"}),), "spec.nodeSelector", "example.com/name"),
    "long key of a node's label": ((("spec/nodeSelector", {"a" * 254 + "/b": "c"}),), "spec.nodeSelector", "253"),
    "an accelerator by nothing": (
        (("spec/accelerator", {"countPerReplica": 1}),),
        "spec.accelerator",
        "one of resource",
    ),
    "claims without capacity": (
        (("spec/accelerator", {"resourceClaimTemplateName": "one-h100"}),),
        "spec.capacity",
        "add it, with maxReplicas",
    ),
    "toleration with a value": (
        (("spec/tolerations", [{"operator": "Exists", "key": "a", "value": "b"}]),),
        "spec.tolerations[0].value",
        "remove it",
    ),
    "a resource of Kubernetes itself": (
        (("spec/accelerator", {"resource": "kubernetes.io/gpu"}),),
        "spec.accelerator.resource",
        "must be an extended resource",
    ),
    "a resource of quotas": (
        (("spec/accelerator", {"resource": "requests.nvidia.com/gpu"}),),
        "spec.accelerator.resource",
        "must be an extended resource",
    ),
    "toleration without a key": ((("spec/tolerations", [{"value": "b"}]),), "spec.tolerations[0].key", "add it"),
    **POD_RULE_BREAKERS,
}


def good() -> dict[str, dict[str, Any]]:
    """Every resource that both must take."""
    return (
        {f"service: {name}": changed(INFERENCE_SERVICE, *c) for name, c in GOOD_SERVICES.items()}
        | {f"pool: {name}": changed(SERVING_POOL, *c) for name, c in GOOD_POOLS.items()}
        | {f"suite: {name}": changed(EVALUATION_SUITE, *c) for name, c in GOOD_SUITES.items()}
        | {f"run: {name}": changed(EVALUATION_RUN, *c) for name, c in GOOD_RUNS.items()}
    )


def bad() -> dict[str, tuple[dict[str, Any], str, str]]:
    """Every resource that both must refuse, with the field and part of the message of `validate`."""
    tables = (
        (INFERENCE_SERVICE, BAD_SERVICES),
        (SERVING_POOL, BAD_POOLS),
        (EVALUATION_SUITE, BAD_SUITES),
        (EVALUATION_RUN, BAD_RUNS),
    )
    return {
        f"{base['kind']}: {name}": (changed(base, *changes), field, message)
        for base, cases in tables
        for name, (changes, field, message) in cases.items()
    }


def rule_breakers() -> dict[str, tuple[dict[str, Any], str, str]]:
    """Every resource that a rule refuses: the message is the same from `validate` and from the API server."""
    tables = (
        (INFERENCE_SERVICE, RULE_BREAKERS),
        (SERVING_POOL, POOL_RULE_BREAKERS),
        (EVALUATION_SUITE, SUITE_RULE_BREAKERS),
    )
    return {
        f"{base['kind']}: {name}": (changed(base, *changes), field, message)
        for base, cases in tables
        for name, (changes, field, message) in cases.items()
    }
