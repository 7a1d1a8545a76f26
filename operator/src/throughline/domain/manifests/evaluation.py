"""The Job of one evaluation: the evaluator, and beside it a scratch replica of the model that it asks.

Both are in one pod, so that what is judged needs no Service, is reached by nobody else, and ends with the evaluation.
The pod does not have the service's label: its server must get none of the service's requests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from throughline.api.base import API_VERSION, GROUP
from throughline.api.batching import BatchSettings
from throughline.api.evaluation import EvaluationTarget
from throughline.domain.manifests import evaluation_pod, names, pod_settings, readers, scorer
from throughline.domain.manifests.triton_config import config_pbtxt, served_name, triton_config

if TYPE_CHECKING:
    from throughline.api.evaluation import Evaluation
    from throughline.api.evaluationdataset import Dataset
    from throughline.api.evaluationsuite import EvaluationSuiteSpec
    from throughline.api.inferenceservice import InferenceServiceSpec
    from throughline.api.servingpool import ServingPoolSpec
    from throughline.domain.manifests.names import Identity
    from throughline.domain.manifests.options import RenderOptions
    from throughline.domain.observed import Manifest

RUN_LABEL = f"{GROUP}/evaluation-run"
EVALUATION_LABEL = f"{GROUP}/evaluation"  # on the pods: the InferenceService that is judged
RETRAINING_LABEL = f"{GROUP}/retraining-after"  # of a Job that was started: the EvaluationRun that failed
# An evaluation is not in a hurry, and batches beyond this gain little.
MAX_BATCH_SIZE = 64
RESULT_KEY, MANIFEST_KEY, STATEMENT_KEY, BOM_KEY = "result.json", "manifest.json", "statement.json", "bom.json"
DATA_FOLDERS = ("data", "training")


@dataclass(frozen=True, slots=True)
class Assignment:
    """One evaluation that is to be done."""

    run: str  # name of the EvaluationRun
    run_uid: str
    suite_name: str
    suite: EvaluationSuiteSpec
    evaluation: Evaluation
    seconds: int  # left until its deadline

    @property
    def scratch(self) -> bool:
        return self.evaluation.target is EvaluationTarget.SCRATCH

    @property
    def datasets(self) -> list[tuple[str, Dataset]]:
        """(folder, data set)."""
        found = [(DATA_FOLDERS[0], self.suite.dataset)]
        if self.suite.training_dataset is not None:
            found.append((DATA_FOLDERS[1], self.suite.training_dataset))
        return found


def evaluation_name(service: str) -> str:
    """Name of the ServiceAccount and the NetworkPolicy of a service's evaluations."""
    return f"{names.base_name(service)}-evaluation"


def job_name(run: str, attempt: int) -> str:
    """Name of the Job of one attempt, from 1: begun twice, it is the same."""
    return f"{run}-{attempt}"


def selector(service: str) -> dict[str, str]:
    """Of the pods of a service's evaluations."""
    return {EVALUATION_LABEL: names.label_value(service)}


def surroundings(identity: Identity, assignment: Assignment) -> list[Manifest]:
    """ServiceAccount and NetworkPolicy of the service's evaluations, before any pod of theirs."""
    name, pods = evaluation_name(identity.name), selector(identity.name)
    return readers.surroundings(identity, name, pods, _egress(identity, assignment))


def _egress(identity: Identity, assignment: Assignment) -> list[dict[str, Any]]:
    """To the replicas that serve, where those are asked; to the stores of data that is given by URL; else nowhere."""
    rules: list[dict[str, Any]] = []
    if not assignment.scratch:
        serving = {"podSelector": {"matchLabels": names.selector(identity.name)}}
        rules.append({"to": [serving], "ports": [{"protocol": "TCP", "port": names.GRPC_PORT}]})
    return [*rules, *readers.store_rules(assignment.datasets)]


def inputs(identity: Identity, spec: InferenceServiceSpec, pool: ServingPoolSpec, assignment: Assignment) -> Manifest:
    """The suite as it was when the run began, and the scratch server's configuration. Kept with the run."""
    bounds = spec.batching
    settings = BatchSettings(
        max_batch_size=max(bounds.max_batch_size.min, min(bounds.max_batch_size.max, MAX_BATCH_SIZE)),
        max_queue_delay_microseconds=bounds.max_queue_delay_microseconds.min,
        instances=bounds.instances.min,
    )
    model = served_name(spec, identity.name)
    config = triton_config(spec.model, model, settings, accelerator=pool.accelerator)
    suite = {
        "apiVersion": API_VERSION,
        "kind": "EvaluationSuite",
        "metadata": {"name": assignment.suite_name},
        "spec": assignment.suite.as_written(),  # as the digest takes it
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _of_run(identity, assignment, evaluation_pod.inputs_name(assignment.run)),
        "data": {
            "suite.json": json.dumps(suite, indent=1, sort_keys=True),
            f"{names.CONFIG_NAME}.pbtxt": config_pbtxt(config),
        },
    }


def result(identity: Identity, run: str, run_uid: str, data: dict[str, str]) -> Manifest:
    """What the run found, byte for byte, by key."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": run,
            "namespace": identity.namespace,
            "labels": _labels(identity.name, run),
            "ownerReferences": [names.owner("EvaluationRun", run, run_uid)],
        },
        "data": data,
        "immutable": True,
    }


def retraining_name(run: str) -> str:
    """Name of the Job that is started because of a run's verdict: there is never a second."""
    return f"{run}-retrain"


def retraining(namespace: str, run: str, cron_job: Manifest) -> Manifest:
    """A Job from the CronJob's template, as `kubectl create job --from` makes it."""
    template = cron_job["spec"]["jobTemplate"]
    metadata = template.get("metadata") or {}
    owner = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": cron_job["metadata"]["name"],
        "uid": cron_job["metadata"]["uid"],
        "controller": True,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": retraining_name(run),
            "namespace": namespace,
            "labels": {**(metadata.get("labels") or {}), RETRAINING_LABEL: run},
            "annotations": {**(metadata.get("annotations") or {}), "cronjob.kubernetes.io/instantiate": "manual"},
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }


def statement_name(revision: str) -> str:
    """Name of the ConfigMap with the signed statement about a ModelRevision."""
    return f"{revision}-statement"


def statement(identity: Identity, revision: str, revision_uid: str, data: dict[str, str]) -> Manifest:
    """The signed statement, and the bill of materials whose digest it has, by key."""
    labels = {k: v for k, v in _labels(identity.name, "").items() if k != RUN_LABEL}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": statement_name(revision),
            "namespace": identity.namespace,
            "labels": labels,
            "ownerReferences": [names.owner("ModelRevision", revision, revision_uid)],
        },
        "data": data,
    }


def _labels(service: str, run: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "throughline-evaluation",
        "app.kubernetes.io/instance": names.label_value(service),
        "app.kubernetes.io/managed-by": names.MANAGED_BY,
        RUN_LABEL: run,
    }


def _of_run(identity: Identity, assignment: Assignment, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": identity.namespace,
        "labels": _labels(identity.name, assignment.run),
        "ownerReferences": [names.owner("EvaluationRun", assignment.run, assignment.run_uid)],
    }


def job(
    identity: Identity,
    spec: InferenceServiceSpec,
    pool: ServingPoolSpec,
    options: RenderOptions,
    assignment: Assignment,
    attempt: int,
) -> Manifest:
    """`spec`: the service's, with the model that is judged. Its answers so far survive a restart of the container."""
    metadata = _of_run(identity, assignment, job_name(assignment.run, attempt))
    metadata["labels"] |= names.selector(identity.name)  # by which the operator watches it
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": assignment.evaluation.retries,
            "activeDeadlineSeconds": assignment.seconds,
            **scorer.failure_policy(assignment.suite),
            "template": {
                "metadata": pod_settings.metadata(
                    spec, pool, {**_labels(identity.name, assignment.run), **selector(identity.name)}
                ),
                "spec": {
                    "serviceAccountName": evaluation_name(identity.name),
                    **evaluation_pod.spec(identity, spec, pool, options, assignment),
                },
            },
        },
    }
