"""The golden cases, and specs made from a few words."""

from pathlib import Path
from typing import Any

import yaml
from throughline.api.batching import BatchSettings
from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.pods import PodIDs
from throughline.api.servingpool import ServingPoolSpec
from throughline.domain.manifests import Identity, RenderOptions, render
from throughline.domain.manifests.options import TEMPLATE_VERSION

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
UID = "11111111-2222-3333-4444-555555555555"


def load(case: str, file: str) -> dict[str, Any]:
    return yaml.safe_load((GOLDEN / case / file).read_text())


def render_case(case: str) -> list[dict[str, Any]]:
    service, pool, extra = load(case, "input.yaml"), load(case, "pool.yaml"), load(case, "settings.yaml")
    metadata = service["metadata"]
    options = extra["options"]
    return render(
        Identity(metadata["name"], metadata["namespace"], metadata["uid"]),
        InferenceServiceSpec.model_validate(service["spec"]),
        pool["metadata"]["name"],
        ServingPoolSpec.model_validate(pool["spec"]),
        BatchSettings.model_validate(extra["settings"]),
        RenderOptions(
            default_image="example/triton:default",
            operator_namespace="throughline-system",
            pod_monitor=options.get("podMonitor", False),
            pod_monitor_labels=tuple(options.get("podMonitorLabels", {}).items()),
            pod_ids=PodIDs(options.get("podIds", "Fixed")),
            pods_scrape_annotations=options.get("scrapeAnnotations"),
            template_version=options.get("templateVersion", TEMPLATE_VERSION),
            prometheus_namespaces=tuple(options.get("prometheusNamespaces", ())),
            evaluator_image=options.get("evaluatorImage", ""),
            image_pull_policy=options.get("imagePullPolicy"),
        ),
        surge=extra["surge"],
    )


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if nested else value
    return result


def spec(**changes: Any) -> InferenceServiceSpec:
    base = {
        "model": {"storage": {"uri": "pvc://models/resnet"}, "backend": "onnxruntime"},
        "slo": {"latencyP99Milliseconds": 100},
        "placement": {"pools": [{"name": "gpu"}]},
    }
    return InferenceServiceSpec.model_validate(merged(base, changes))


def pool(**changes: Any) -> ServingPoolSpec:
    base = {"nodeSelector": {"pool": "gpu"}, "accelerator": {"resource": "nvidia.com/gpu"}, "costPerHour": "1"}
    return ServingPoolSpec.model_validate(merged(base, changes))


IDENTITY = Identity("resnet", "vision", UID)
OPTIONS = RenderOptions(default_image="example/triton:default", operator_namespace="throughline-system")
SETTINGS = BatchSettings(max_batch_size=8, max_queue_delay_microseconds=500, instances=2)


def objects(
    service: InferenceServiceSpec | None = None,
    serving_pool: ServingPoolSpec | None = None,
    *,
    identity: Identity = IDENTITY,
    settings: BatchSettings = SETTINGS,
    options: RenderOptions = OPTIONS,
    surge: bool = True,
) -> dict[str, dict[str, Any]]:
    """Rendered objects by kind."""
    rendered = render(identity, service or spec(), "gpu", serving_pool or pool(), settings, options, surge=surge)
    return {manifest["kind"]: manifest for manifest in rendered}
