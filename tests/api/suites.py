"""EvaluationSuites that are right, and ways to make each wrong, as in resources.py."""

from __future__ import annotations

from typing import Any

from tests.api.changes import REMOVE, Change

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
SCORER: dict[str, Any] = {
    "image": "registry.example/scorers/profit@sha256:" + "0" * 64,
    "command": ["/bin/sh", "-c"],
    "args": ["exec /score.sh"],
    "format": "JSONLines",
    "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
}
CONTAINER: tuple[Change, ...] = (
    *CUSTOM,
    ("spec/task", {"type": "Custom", "scorer": SCORER, "parameters": {"a": "b"}}),
)
URI = {"url": "s3://bucket/rows.parquet"}
GOOD_SUITES: dict[str, tuple[Change, ...]] = {
    "as it is": (),
    "regression": REGRESSION,
    "ranking": RANKING,
    "custom": CUSTOM,
    "a container": CONTAINER,
    "the least of a container": (*CUSTOM, ("spec/task", {"type": "Custom", "scorer": {"image": "scorer"}})),
    "configmap": (("spec/dataset/source", {"configMap": {"name": "a", "key": "rows.csv"}}),),
    "uri": (("spec/dataset/source", {"uri": URI | {"secretName": "creds"}}),),
    "endpoint": (("spec/dataset/source", {"uri": URI | {"endpoint": "https://minio.example:9000"}}),),
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
    "endpoint with a path": (
        (("spec/dataset/source", {"uri": URI | {"endpoint": "https://minio.example/s3/x"}}),),
        "spec.dataset.source.uri.endpoint",
        "https://HOST:PORT",
    ),
    "endpoint of what is not S3": (
        (("spec/dataset/source", {"uri": {"url": "https://a/b.csv", "endpoint": "https://minio.example"}}),),
        "spec.dataset.source.uri.endpoint",
        "s3://BUCKET/KEY",
    ),
    "few resamples": ((("spec/intervals", {"resamples": 10}),), "spec.intervals.resamples", "at least 100"),
    "misspelt task": ((("spec/task/type", "classification"),), "spec.task.type", "Classification"),
    "a container without an image": (
        (*CONTAINER, ("spec/task/scorer/image", REMOVE)),
        "spec.task.scorer.image",
        "required",
    ),
    "a container's image": ((*CONTAINER, ("spec/task/scorer/image", "a b")), "spec.task.scorer.image", "not valid"),
    "a format": (
        (*CONTAINER, ("spec/task/scorer/format", "CSV")),
        "spec.task.scorer.format",
        "one of Parquet, JSONLines",
    ),
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
    **{
        f"one class in two spellings, {classes}": (
            (("spec/task/classes", classes), ("spec/task/positiveClass", classes[0])),
            "spec.task.classes",
            "the same class",
        )
        for classes in (["true", "True"], ["1", "true"], ["FALSE", "0"])
    },
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
    "custom without code": ((*CUSTOM, ("spec/task/entryPoint", REMOVE)), "spec.task.entryPoint", "exactly one"),
    "code of a regression": ((*REGRESSION, ("spec/task/entryPoint", "a:b")), "spec.task.entryPoint", "neither"),
    "code and a container": ((*CUSTOM, ("spec/task/scorer", SCORER)), "spec.task.entryPoint", "exactly one"),
    "a container of a regression": ((*REGRESSION, ("spec/task/scorer", SCORER)), "spec.task.entryPoint", "neither"),
    "both of a regression": (
        (*REGRESSION, ("spec/task/scorer", SCORER), ("spec/task/entryPoint", "a:b")),
        "spec.task.entryPoint",
        "neither",
    ),
    "an accelerator for a scorer": (
        (*CONTAINER, ("spec/task/scorer/resources", {"limits": {"nvidia.com/gpu": 1}})),
        "spec.task.scorer.resources.limits",
        "remove the others",
    ),
    "an accelerator asked for": (
        (*CONTAINER, ("spec/task/scorer/resources", {"requests": {"nvidia.com/gpu": 1}})),
        "spec.task.scorer.resources.requests",
        "remove the others",
    ),
    "a request above its limit": (
        (*CONTAINER, ("spec/task/scorer/resources/limits/memory", "512Mi")),
        "spec.task.scorer.resources.requests",
        "lower the request",
    ),
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
