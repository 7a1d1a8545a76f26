"""A service of hand-made pods."""

from typing import Any

from throughline.api.status import InferenceServiceStatus
from throughline.domain.observed import PodView, PoolView, ServiceView

from tests.domain.manifest_cases import pool, spec

CURRENT, OLD = "cccccccccc", "oooooooooo"


def pod(name: str = "p", **changes: Any) -> PodView:
    values = {
        "uid": name,
        "ip": "10.0.0.1",
        "ready": True,
        "ready_seconds": 60.0,
        "terminating": False,
        "template_hash": "t1",
        "revision": CURRENT,
    }
    return PodView(name=name, **{**values, **changes})


def starting(name: str = "p", **changes: Any) -> PodView:
    return pod(name, **{"ready": False, "ready_seconds": 0.0, **changes})


def view(*pods: PodView, replicas: int | None = 1, image: str | None = None, **changes: Any) -> ServiceView:
    return ServiceView(
        now_seconds=0.0,
        name="resnet",
        namespace="vision",
        generation=2,
        spec=spec(runtime={"image": image} if image else {}, **changes),
        status=InferenceServiceStatus(),
        pool=PoolView("gpu", pool(), 4, 2),
        pods=pods,
        replicas=replicas,
        settings=None,
        model_hash=CURRENT,
        metrics_unavailable=None,
        metrics_window_seconds=30.0,
    )
