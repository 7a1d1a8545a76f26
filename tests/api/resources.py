"""Resources that are right, and ways to make each wrong: (what is changed, value, part of the message)."""

from __future__ import annotations

from typing import Any

from tests.api.changes import REMOVE, Change, changed
from tests.api.evaluations import (
    BAD_EVALUATIONS,
    BAD_RUNS,
    EVALUATION_RUN,
    GOOD_EVALUATIONS,
    GOOD_RUNS,
)
from tests.api.monitoring import BAD_MONITORING, GOOD_MONITORING
from tests.api.pods import BAD_PODS, GOOD_CLAIMS, GOOD_PODS
from tests.api.pools import BAD_POOLS, GOOD_POOLS, POOL_RULE_BREAKERS, SERVING_POOL
from tests.api.services import SCHEDULE, SERVICE_RULE_BREAKERS
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
    **{
        f"image {image}": (("spec/runtime/image", image),)
        for image in (
            *("x", "a/b_c__d--e.f:T_1", "localhost:5000/x", "Registry.example.com/x/y:1", "localhost/x"),
            f"nvcr.io/nvidia/tritonserver:24.10-py3@sha256:{'0a' * 32}",
        )
    },
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
    **{
        f"image {image}": ((("spec/runtime/image", image),), "spec.runtime.image", "NAME in lower case")
        for image in ("x:", "UPPER/x", "registry.example.com/X", "x@sha256:abc", "x//y", "https://r.example.com/x")
    },
    **{
        f"{name}, of the operator's own": (
            (("spec/model/dynamicBatching", {name: 1}),),
            f"spec.model.dynamicBatching.{name}",
            f"unknown field; the operator chooses it, within spec.batching.{bound}",
        )
        for name, bound in (
            ("maxQueueDelayMicroseconds", "maxQueueDelayMicroseconds"),
            ("preferredBatchSize", "maxBatchSize"),
            ("preferred_batch_size", "maxBatchSize"),
        )
    },
    "image with a blank": ((("spec/runtime/image", "triton:1 "),), "spec.runtime.image", "not valid"),
    "unknown mode": ((("spec/batching/mode", "auto"),), "spec.batching.mode", "Auto, Recommend, Fixed"),
    "a spec that is no map": ((("spec", [1]),), "spec", "map of fields"),
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
        (INFERENCE_SERVICE, SERVICE_RULE_BREAKERS),
        (SERVING_POOL, POOL_RULE_BREAKERS),
        (EVALUATION_SUITE, SUITE_RULE_BREAKERS),
    )
    return {
        f"{base['kind']}: {name}": (changed(base, *changes), field, message)
        for base, cases in tables
        for name, (changes, field, message) in cases.items()
    }
