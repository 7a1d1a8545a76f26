"""Resources that are right, and ways to make each wrong: (what is changed, value, part of the message)."""

from __future__ import annotations

import copy
from typing import Any

REMOVE = object()

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
EVALUATION_SUITE: dict[str, Any] = {
    "apiVersion": "throughline.io/v1alpha1",
    "kind": "EvaluationSuite",
    "metadata": {"name": "census", "namespace": "default"},
    "spec": {
        "dataset": {
            "source": {"pvc": {"claimName": "data", "path": "census/2016.parquet"}},
            "labelColumn": "employed",
            "governance": {
                "owner": "fairness team",
                "purpose": "fairness audit",
                "legalBasis": "LegitimateInterests",
                "regions": ["eu-west-1"],
                "retentionDays": 30,
            },
        },
        "task": {"type": "Classification", "classes": ["0", "1"], "positiveClass": "1"},
        "inputs": [{"tensor": "x", "columns": ["AGEP", "SCHL"], "datatype": "FP32"}],
        "output": {"tensor": "probabilities", "kind": "Probabilities"},
        "metrics": [{"name": "accuracy", "floor": "0.80"}, {"name": "expectedCalibrationError", "ceiling": "0.05"}],
        "slices": [{"name": "race", "column": "RAC1P"}, {"name": "young", "expression": "AGEP < 25"}],
        "minimumSliceSize": 500,
        "gaps": [{"metric": "truePositiveRate", "slice": "race", "ceiling": "0.05"}],
    },
}

Change = tuple[str, Any]  # dotted path, value


def changed(resource: dict[str, Any], *changes: Change) -> dict[str, Any]:
    result = copy.deepcopy(resource)
    for path, value in changes:
        *parents, last = (int(p) if p.isdigit() else p for p in path.split("/"))
        node: Any = result
        for part in parents:
            node = node[part] if isinstance(part, int) else node.setdefault(part, {})
        if value is REMOVE:
            node.pop(last)
        elif isinstance(last, int) and last == len(node):
            node.append(copy.deepcopy(value))
        else:
            node[last] = copy.deepcopy(value)
    return result


# Changes after which InferenceService is still right.
GOOD_SERVICES: dict[str, tuple[Change, ...]] = {
    "as it is": (),
    "bounds equal": (("spec/scaling", {"minReplicas": 3, "maxReplicas": 3}),),
    "min at the default max": (("spec/scaling/minReplicas", 10),),
    "no batch dimension": (("spec/batching/maxBatchSize", {"min": 0, "max": 0}),),
    "fixed": (("spec/batching", {"mode": "Fixed", "fixed": {"maxBatchSize": 8}}),),
    "quantities as numbers": (("spec/runtime/resources", {"requests": {"cpu": 2}, "limits": {"cpu": 2}}),),
    "request of another unit": (
        ("spec/runtime/resources", {"requests": {"memory": "1024Mi"}, "limits": {"memory": "1Gi"}}),
    ),
    "limit alone": (("spec/runtime/resources", {"limits": {"memory": "1Gi"}}),),
    "environment": (
        (
            "spec/runtime/env",
            [{"name": "A", "value": "b"}, {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        ),
    ),
    "a null is absent": (("spec/scaling", None), ("spec/batching", {"mode": None})),
    "schedules": (("spec/scaling", {"schedules": [SCHEDULE, {**SCHEDULE, "name": "late", "timeZone": "Asia/Tokyo"}]}),),
    "configmap": (("spec/model/storage/uri", "configmap://fraud-model"),),
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
    "dims below -1": ((("spec/model/inputs/0/dims", [-2]),), "spec.model.inputs[0].dims[0]", "at least -1"),
    "same input twice": (
        (("spec/model/inputs/1", {"name": "x", "dataType": "TYPE_FP32", "dims": [1]}),),
        "spec.model.inputs[1]",
        "remove or rename",
    ),
    "misspelt": ((("spec/scaling/minReplica", 1),), "spec.scaling.minReplica", "did you mean minReplicas?"),
    "too many replicas": ((("spec/scaling/maxReplicas", 1001),), "spec.scaling.maxReplicas", "at most 1000"),
    "a schedule's words": (
        (("spec/scaling", {"schedules": [{**SCHEDULE, "schedule": "every day"}]}),),
        "spec.scaling.schedules[0].schedule",
        "not valid",
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
    "unknown mode": ((("spec/batching/mode", "auto"),), "spec.batching.mode", "Auto, Recommend, Fixed"),
    "list for map": ((("spec/slo", []),), "spec.slo", "map"),
    "map for list": ((("spec/placement/pools", {"name": "x"}),), "spec.placement.pools", "list"),
    "no name": ((("metadata/name", REMOVE),), "metadata.name", "required"),
    "name with a dot": ((("metadata/name", "a.b"),), "metadata.name", "choose another"),
    "name too long": ((("metadata/name", "a" * 64),), "metadata.name", "63 characters"),
}

# Wrong by a rule: CEL's part, with the exact message in both places.
RULE_BREAKERS: dict[str, tuple[tuple[Change, ...], str, str]] = {
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
}

GOOD_POOLS: dict[str, tuple[Change, ...]] = {
    "as it is": (),
    "cost a number": (("spec/costPerHour", 2),),
    "cost in thousandths": (("spec/costPerHour", "40m"),),
    "tolerates all": (("spec/tolerations", [{"operator": "Exists"}]),),
    "label with a prefix": (("spec/nodeSelector", {"nvidia.com/gpu.product": "NVIDIA-A10", "empty": ""}),),
}
BAD_POOLS: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "no cost": ((("spec/costPerHour", REMOVE),), "spec.costPerHour", "required"),
    "cost a fraction": ((("spec/costPerHour", 1.5),), "spec.costPerHour", "in quotes"),
    "resource without domain": (
        (("spec/accelerator", {"resource": "gpu"}),),
        "spec.accelerator.resource",
        "nvidia.com",
    ),
    "label value": ((("spec/nodeSelector", {"a": "b c"}),), "spec.nodeSelector.a", "not valid"),
}
POOL_RULE_BREAKERS: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "every node": ((("spec/nodeSelector", {}),), "spec.nodeSelector", "at least one label"),
    "label key": ((("spec/nodeSelector", {"a b": "c"}),), "spec.nodeSelector", "example.com/name"),
    "toleration with a value": (
        (("spec/tolerations", [{"operator": "Exists", "key": "a", "value": "b"}]),),
        "spec.tolerations[0].value",
        "remove it",
    ),
    "toleration without a key": ((("spec/tolerations", [{"value": "b"}]),), "spec.tolerations[0].key", "add it"),
}


REGRESSION: tuple[Change, ...] = (
    ("spec/task", {"type": "Regression"}),
    ("spec/output/kind", "Value"),
    ("spec/metrics", [{"name": "meanAbsoluteError", "ceiling": "12"}, {"name": "r2", "floor": "500m"}]),
    ("spec/gaps", REMOVE),
)
RANKING: tuple[Change, ...] = (
    ("spec/task", {"type": "Ranking", "groupColumn": "query", "k": 5}),
    ("spec/output/kind", "Score"),
    ("spec/metrics", [{"name": "ndcgAtK", "floor": "0.5"}]),
    ("spec/gaps", REMOVE),
)
CUSTOM: tuple[Change, ...] = (
    ("spec/task", {"type": "Custom", "entryPoint": "pkg.module:score", "parameters": {"a": "b"}}),
    ("spec/dataset/labelColumn", REMOVE),
    ("spec/metrics", [{"name": "profit", "floor": 3}]),
    ("spec/gaps", REMOVE),
)
URI = {"url": "s3://bucket/rows.parquet"}
GOOD_SUITES: dict[str, tuple[Change, ...]] = {
    "as it is": (),
    "regression": REGRESSION,
    "ranking": RANKING,
    "custom": CUSTOM,
    "configmap": (("spec/dataset/source", {"configMap": {"name": "a", "key": "rows.csv"}}),),
    "uri": (("spec/dataset/source", {"uri": URI | {"secretName": "creds"}}),),
    "no bound": (("spec/metrics", [{"name": "f1"}]),),
    "bound of one": (("spec/metrics", [{"name": "f1", "floor": 1}]),),
    "dots in a name": (("spec/dataset/source/pvc/path", "a..b/..c/d.parquet"),),
    "scalar": (("spec/inputs/0", {"tensor": "x", "columns": ["a"], "datatype": "INT64", "scalar": True}),),
    "labels": (("spec/output/kind", "Label"), ("spec/metrics", [{"name": "accuracy"}])),
    "neither slices nor gaps": (("spec/slices", REMOVE), ("spec/gaps", REMOVE)),
    "one gap per metric and slice": (("spec/gaps/1", {"metric": "f1", "slice": "race", "ceiling": "0.1"}),),
}
BAD_SUITES: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "no governance": ((("spec/dataset/governance", REMOVE),), "spec.dataset.governance", "required"),
    "no purpose": ((("spec/dataset/governance/purpose", REMOVE),), "spec.dataset.governance.purpose", "required"),
    "empty owner": ((("spec/dataset/governance/owner", ""),), "spec.dataset.governance.owner", "not be empty"),
    "no region": ((("spec/dataset/governance/regions", []),), "spec.dataset.governance.regions", "at least 1"),
    "unknown basis": (
        (("spec/dataset/governance/legalBasis", "Because"),),
        "spec.dataset.governance.legalBasis",
        "LegitimateInterests",
    ),
    "bound a fraction": ((("spec/metrics/0/floor", 0.8),), "spec.metrics[0].floor", "in quotes"),
    "class twice": ((("spec/task/classes", ["0", "1", "1"]),), "spec.task.classes", "twice"),
    "metric twice": (
        (("spec/metrics/2", {"name": "accuracy"}),),
        "spec.metrics[2]",
        "remove or rename",
    ),
    "gap twice": (
        (("spec/gaps/1", {"metric": "truePositiveRate", "slice": "race", "ceiling": "0.1"}),),
        "spec.gaps[1]",
        "truePositiveRate",
    ),
    "gap without a ceiling": ((("spec/gaps/0/ceiling", REMOVE),), "spec.gaps[0].ceiling", "required"),
    "tensor type of a config": ((("spec/inputs/0/datatype", "TYPE_FP32"),), "spec.inputs[0].datatype", "FP32"),
    "digest": ((("spec/dataset/digest", "md5:0"),), "spec.dataset.digest", "sha256:HEX"),
    "few resamples": ((("spec/intervals", {"resamples": 10}),), "spec.intervals.resamples", "at least 100"),
    "misspelt task": ((("spec/task/type", "classification"),), "spec.task.type", "Classification"),
    "positives misspelt": ((("spec/task/positiveclass", "1"),), "spec.task.positiveclass", "mean positiveClass?"),
}
NOISE = {"name": "noise", "type": "GaussianNoise", "strengths": ["0.1"], "floor": "0.7"}
OVERLAP: Change = ("spec/quality", {"trainingOverlap": {}})
SUITE_RULE_BREAKERS: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "blur without an image": (
        (("spec/perturbations", [NOISE | {"type": "GaussianBlur"}]),),
        "spec.perturbations[0].image",
        "neighbours",
    ),
    "more than all fields": (
        (("spec/perturbations", [NOISE | {"type": "Typos", "strengths": ["1.1"]}]),),
        "spec.perturbations[0].strengths",
        "above 1",
    ),
    "floor above one": (
        (("spec/perturbations", [NOISE | {"floor": "70"}]),),
        "spec.perturbations[0].floor",
        "accuracy",
    ),
    "value of noise": (
        (("spec/perturbations", [NOISE | {"missingValue": "0"}]),),
        "spec.perturbations[0].missingValue",
        "MissingFields only",
    ),
    "queries of noise": (
        (("spec/perturbations", [NOISE | {"queries": 5}]),),
        "spec.perturbations[0].queries",
        "SquareAttack only",
    ),
    "bounds exchanged": (
        (("spec/perturbations", [NOISE | {"bounds": {"lower": "1", "upper": "-1.5"}}]),),
        "spec.perturbations[0].bounds.lower",
        "must be below",
    ),
    "perturbed regression": ((*REGRESSION, ("spec/perturbations", [NOISE])), "spec.perturbations", "Classification"),
    "attack on labels": (
        (
            ("spec/output/kind", "Label"),
            ("spec/metrics", [{"name": "accuracy"}]),
            ("spec/perturbations", [NOISE | {"type": "SquareAttack"}]),
        ),
        "spec.perturbations",
        "scores",
    ),
    "balance of a regression": (
        (*REGRESSION, ("spec/quality", {"labelBalance": {"floor": "0.1"}})),
        "spec.quality",
        "Classification",
    ),
    "overlap with nothing": ((OVERLAP,), "spec.quality", "trainingDataset is required"),
    "range exchanged": (
        (("spec/quality", {"columns": [{"name": "a", "type": "Number", "minimum": "2", "maximum": "-1"}]}),),
        "spec.quality.columns[0].minimum",
        "exchange",
    ),
    "range of text": (
        (("spec/quality", {"columns": [{"name": "a", "type": "Text", "minimum": "2"}]}),),
        "spec.quality.columns[0].type",
        "Integer or Number",
    ),
    "missing per cent": ((("spec/quality", {"missingCeiling": "5"}),), "spec.quality.missingCeiling", "a share"),
    "two sources": ((("spec/dataset/source/uri", URI),), "spec.dataset.source", "exactly one"),
    "no source": ((("spec/dataset/source", {}),), "spec.dataset.source", "exactly one"),
    "outside the claim": (
        (("spec/dataset/source/pvc/path", "a/../../b.csv"),),
        "spec.dataset.source.pvc.path",
        "no '..'",
    ),
    "absolute": ((("spec/dataset/source/pvc/path", "/a.csv"),), "spec.dataset.source.pvc.path", "no leading"),
    "no classes": (
        (("spec/task", {"type": "Classification"}), ("spec/gaps", REMOVE)),
        "spec.task.classes",
        "two classes",
    ),
    "classes of a regression": (
        (*REGRESSION, ("spec/task/classes", ["a", "b"])),
        "spec.task.classes",
        "absent otherwise",
    ),
    "positive class elsewhere": ((("spec/task/positiveClass", "yes"),), "spec.task.positiveClass", "one of"),
    "ranking without groups": ((*RANKING, ("spec/task/groupColumn", REMOVE)), "spec.task.groupColumn", "required"),
    "groups of a regression": ((*REGRESSION, ("spec/task/groupColumn", "q")), "spec.task.groupColumn", "absent"),
    "custom without code": ((*CUSTOM, ("spec/task/entryPoint", REMOVE)), "spec.task.entryPoint", "required"),
    "code of a regression": ((*REGRESSION, ("spec/task/entryPoint", "a:b")), "spec.task.entryPoint", "absent"),
    "parameters of a regression": (
        (*REGRESSION, ("spec/task/parameters", {"a": "b"})),
        "spec.task.parameters",
        "remove them",
    ),
    "scalar of two": ((("spec/inputs/0/scalar", True),), "spec.inputs[0].scalar", "exactly one"),
    "floor of an error": (
        (("spec/metrics/1", {"name": "logLoss", "floor": "0.1"}),),
        "spec.metrics[1].floor",
        "set ceiling instead",
    ),
    "ceiling of a score": (
        (("spec/metrics/0", {"name": "accuracy", "ceiling": "0.9"}),),
        "spec.metrics[0].ceiling",
        "set floor instead",
    ),
    "percent": ((("spec/metrics/0/floor", "80"),), "spec.metrics[0].name", "0.80"),
    "floor above ceiling": (
        (*CUSTOM, ("spec/metrics", [{"name": "profit", "floor": 3, "ceiling": "2500m"}])),
        "spec.metrics[0].floor",
        "must not be above",
    ),
    "column and expression": (
        (("spec/slices/0/expression", "a < 1"),),
        "spec.slices[0]",
        "exactly one",
    ),
    "neither column nor expression": ((("spec/slices/1", {"name": "young"}),), "spec.slices[1]", "exactly one"),
    "metric of another task": ((("spec/metrics/0", {"name": "r2"}),), "spec.metrics", "accuracy, precision"),
    "gap of another task": ((("spec/gaps/0/metric", "r2"),), "spec.metrics", "accuracy, precision"),
    "metric of a regression": ((*REGRESSION, ("spec/metrics", [{"name": "f1"}])), "spec.metrics", "meanAbsoluteError"),
    "metric of a ranking": ((*RANKING, ("spec/metrics", [{"name": "f1"}])), "spec.metrics", "ndcgAtK"),
    "value of a classifier": ((("spec/output/kind", "Value"),), "spec.output", "Probabilities or Logits"),
    "label of a regression": ((*REGRESSION, ("spec/output/kind", "Label")), "spec.output", "must be Value"),
    "value of a ranking": ((*RANKING, ("spec/output/kind", "Value")), "spec.output", "must be Score"),
    "calibration of labels": ((("spec/output/kind", "Label"),), "spec.output", "no probabilities"),
    "gap in what labels lack": (
        (
            ("spec/output/kind", "Label"),
            ("spec/metrics", [{"name": "f1"}]),
            ("spec/gaps/0/metric", "auroc"),
        ),
        "spec.output",
        "no probabilities",
    ),
    "rate without a class": ((("spec/task/positiveClass", REMOVE),), "spec.task", "positiveClass is required"),
    "no label": ((("spec/dataset/labelColumn", REMOVE),), "spec.dataset", "labelColumn is required"),
    "gap of no slice": ((("spec/gaps/0/slice", "sex"),), "spec.gaps", "name of an entry of spec.slices"),
    "gap without slices": ((("spec/slices", REMOVE),), "spec.gaps", "name of an entry of spec.slices"),
}


def good() -> dict[str, dict[str, Any]]:
    """Every resource that both must take."""
    return (
        {f"service: {name}": changed(INFERENCE_SERVICE, *c) for name, c in GOOD_SERVICES.items()}
        | {f"pool: {name}": changed(SERVING_POOL, *c) for name, c in GOOD_POOLS.items()}
        | {f"suite: {name}": changed(EVALUATION_SUITE, *c) for name, c in GOOD_SUITES.items()}
    )


def bad() -> dict[str, tuple[dict[str, Any], str, str]]:
    """Every resource that both must refuse, with the field and part of the message of `validate`."""
    tables = ((INFERENCE_SERVICE, BAD_SERVICES), (SERVING_POOL, BAD_POOLS), (EVALUATION_SUITE, BAD_SUITES))
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
