"""The kinds that belong to services: watched by the operator, read once by `throughline plan`."""

from __future__ import annotations

from typing import Final

from throughline.api.base import API_VERSION
from throughline.domain.manifests.evaluation import RUN_LABEL

POD_MONITOR: Final = ("monitoring.coreos.com/v1", "PodMonitor")
# By the label that names their service; PodMonitors, too, where the cluster has them.
CHILDREN: Final = (
    ("apps/v1", "Deployment"),
    ("v1", "Pod"),
    ("v1", "ConfigMap"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("batch/v1", "CronJob"),
)
# In whole, or by the label that is named: suites and approvals are the users', and belong to no one service.
EVALUATION: Final = (
    (API_VERSION, "EvaluationSuite", ""),
    (API_VERSION, "EvaluationRun", ""),
    (API_VERSION, "ModelRevision", ""),
    (API_VERSION, "ModelApproval", ""),
    ("batch/v1", "Job", RUN_LABEL),
)
