from __future__ import annotations

from dataclasses import dataclass

from throughline.api.pods import PodIDs

# Of the pod template, as this version of the operator renders it. A change that would replace pods which need not
# change counts it up and keeps the older form beside the new one; 1 is the form of 0.1.0. Once a version is released,
# what is rendered of it stays (form.py).
TEMPLATE_VERSION = 2

SCRAPE = "prometheus.io/scrape"  # the annotation that a Prometheus discovers pods by


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """What the operator's installation decides for all services."""

    default_image: str
    operator_namespace: str
    pod_monitor: bool = False  # whether the PodMonitor CRD is there
    pod_monitor_labels: tuple[tuple[str, str], ...] = ()  # that a Prometheus selects PodMonitors by
    pod_ids: PodIDs = PodIDs.FIXED  # of pods for which neither service nor pool says anything
    prometheus_namespaces: tuple[str, ...] = ()  # who may read metrics; empty: any pod
    evaluator_image: str = ""  # empty: no evaluations
    pods_evaluator_image: str = ""  # in serving pods, where those that live have another; empty: `evaluator_image`
    # On serving pods, for discovery by a Prometheus, where those that live have them or not; None: see below
    pods_scrape_annotations: bool | None = None
    image_pull_policy: str | None = None  # None: the kubelet's default
    template_version: int = TEMPLATE_VERSION  # an older one is rendered only to see whether live pods are of it

    @property
    def in_serving_pods(self) -> str:
        """The evaluator's image in serving pods, which check the model's files or are sampled."""
        return self.pods_evaluator_image or self.evaluator_image

    @property
    def scrape_annotations(self) -> bool:
        """Whether serving pods are annotated for discovery: with a PodMonitor, a Prometheus would find each twice."""
        return not self.pod_monitor if self.pods_scrape_annotations is None else self.pods_scrape_annotations

    @property
    def pull_policy(self) -> dict[str, str]:
        """A container's own field for it, where the installation has one."""
        return {"imagePullPolicy": self.image_pull_policy} if self.image_pull_policy else {}
