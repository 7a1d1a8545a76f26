"""Every reason that a condition can have, what it means and what to do. The one source of README and `explain`.

Those that come from evaluation and monitoring are in evaluation/reasons.py.
"""

from __future__ import annotations

from throughline.domain.condition_types import (
    ACCEPTED,
    BATCH_TUNED,
    LOAD_BALANCED,
    METRICS_AVAILABLE,
    MODEL_READY,
    NOT_YET_OBSERVED,
    READY,
    RECONCILING,
    SCALING_ACTIVE,
    SLO_MET,
    STALLED,
    TYPES,
    WORKLOAD_READY,
    Meaning,
    Nature,
)
from throughline.domain.evaluation.reasons import describe_service

_G, _P, _F, _U = Nature.GOOD, Nature.PROGRESS, Nature.FAULT, Nature.USER
_TABLE = (
    Meaning(ACCEPTED, "Valid", _G, "The spec can be carried out on the pool in status.pool."),
    Meaning(
        ACCEPTED,
        "InvalidSpec",
        _U,
        "The spec contradicts itself or a field is out of range; what ran before goes on.",
        "Change the field that the message names; `throughline validate FILE` finds such errors offline.",
    ),
    Meaning(
        ACCEPTED,
        "AwaitingEvaluation",
        _P,
        "spec.evaluation.gate is Enforce and no revision has been admitted yet; what ran before goes on as it is.",
        "Wait for the evaluation, and the approval where one is required; AccuracyPassing says how far it is.",
    ),
    Meaning(
        ACCEPTED,
        "RevisionHeldBack",
        _U,
        "The gate keeps the revision out and there is none before it to serve; what ran before goes on as it is.",
        "AccuracyPassing says why: correct the model, or the bound that it missed.",
    ),
    Meaning(
        ACCEPTED,
        "PoolNotFound",
        _U,
        "None of spec.placement.pools exists; what ran before goes on.",
        "Create the ServingPool, or name one that exists (`kubectl get servingpools`).",
    ),
    Meaning(
        ACCEPTED,
        "PoolFull",
        _U,
        "No listed pool can hold spec.scaling.minReplicas: its nodes are full, tainted, cordoned or not ready.",
        "Do what the message says of each pool; else add nodes, list another pool, or lower spec.scaling.minReplicas "
        "or spec.runtime.resources.",
    ),
    Meaning(
        ACCEPTED,
        "NameConflict",
        _U,
        "An object that the service needs exists already and belongs to somebody else.",
        "Delete or rename that object, or give the InferenceService another name.",
    ),
    Meaning(
        ACCEPTED,
        "ApplyRejected",
        _U,
        "The API server refused an object of the service: a quota, an admission policy, or a right that is missing.",
        "Read the API server's words in the message; change what they name in spec.runtime, the policy or the quota.",
    ),
    Meaning(WORKLOAD_READY, "Available", _G, "All replicas run the current revision and are ready."),
    Meaning(
        WORKLOAD_READY,
        "NotAccepted",
        _U,
        "Nothing is created, because the spec was not accepted.",
        "See Accepted.",
    ),
    Meaning(
        WORKLOAD_READY,
        "VolumeNotReady",
        _U,
        "The claim or ConfigMap of spec.model.storage.uri is missing, cannot be mounted, or lacks the model's file.",
        "Create or complete it in the service's namespace, or correct spec.model.storage.uri.",
    ),
    Meaning(
        WORKLOAD_READY,
        "ImagePullFailed",
        _U,
        "The node cannot get the image.",
        "Correct spec.runtime.image (or the pool's image), or add spec.runtime.imagePullSecrets.",
    ),
    Meaning(
        WORKLOAD_READY,
        "ContainerConfigError",
        _U,
        "The container cannot be created: mostly a Secret or ConfigMap of spec.runtime.env that is missing, "
        "or an image without tritonserver.",
        "Create what the message names, or correct spec.runtime.",
    ),
    Meaning(
        WORKLOAD_READY,
        "CrashLooping",
        _F,
        "The server ends again and again.",
        "Read the reason with `kubectl logs POD -c triton --previous`; out of memory is the most frequent. "
        "A Triton before 2.46.0 (container 24.05) begins with `unrecognized option`.",
    ),
    Meaning(
        WORKLOAD_READY,
        "RecentlyRestarted",
        _P,
        "A server restarted and serves again; it counts once it has lasted longer than a restart's back-off.",
    ),
    Meaning(
        WORKLOAD_READY,
        "Unschedulable",
        _F,
        "No node of the pool has room for a replica, or none takes it.",
        "Add nodes to the pool, lower spec.scaling or spec.runtime.resources, or list another pool.",
    ),
    Meaning(
        WORKLOAD_READY,
        "NodeNotReady",
        _F,
        "The node of a replica is silent or in trouble; replicas and settings are held.",
        "Bring the node back, or delete it: Kubernetes then replaces its pods (after five minutes by itself).",
    ),
    Meaning(
        WORKLOAD_READY,
        "QuotaExceeded",
        _F,
        "A ResourceQuota of the namespace refuses new pods; the message is the API server's own.",
        "Raise the quota, or lower spec.scaling or spec.runtime.resources; pods are created once they fit.",
    ),
    Meaning(
        WORKLOAD_READY,
        "PodsRefused",
        _U,
        "A LimitRange, an admission policy or the pod security of the namespace refuses new pods; the message is the "
        "API server's own.",
        "Change what the message names in spec.runtime, or the policy.",
    ),
    Meaning(
        WORKLOAD_READY,
        "PodsFailing",
        _F,
        "Pods end one after another before they serve: evicted, or refused by the node's kubelet.",
        "Read the kubelet's words in the message; `kubectl describe node` shows the node's pressure and devices.",
    ),
    Meaning(
        WORKLOAD_READY,
        "ProgressDeadlineExceeded",
        _F,
        "The Deployment waited for its pods for longer than spec.runtime.startTimeoutSeconds and ten minutes more.",
        "`kubectl describe pod` of a pod that is not ready says what it waits for; raise "
        "spec.runtime.startTimeoutSeconds where the model only loads slowly.",
    ),
    Meaning(WORKLOAD_READY, "RolloutInProgress", _P, "Pods of a new revision are replacing those of the old."),
    Meaning(
        WORKLOAD_READY,
        "MinimumReplicasUnavailable",
        _P,
        "Fewer replicas are ready than there should be.",
        "Wait; when it lasts, `kubectl describe pod` of a pod that is not ready says why.",
    ),
    Meaning(
        WORKLOAD_READY,
        "ScaledToZero",
        _U,
        "Somebody set the Deployment to zero replicas, so nothing serves.",
        "Scale it up, or set spec.scaling.mode to Auto.",
    ),
    Meaning(MODEL_READY, "Ready", _G, "The current model is loaded and answers."),
    Meaning(
        MODEL_READY,
        "NoPods",
        _P,
        "There is no pod that could load the model.",
        "See WorkloadReady.",
    ),
    Meaning(
        MODEL_READY,
        "ServerNotRunning",
        _P,
        "Pods exist, but no server runs in them.",
        "See WorkloadReady.",
    ),
    Meaning(MODEL_READY, "Loading", _P, "Triton is loading the model."),
    Meaning(
        MODEL_READY,
        "ModelLoadFailed",
        _U,
        "Triton refused the model; the message is Triton's own.",
        "Correct spec.model (backend, version, tensors, parameters) or the files in the storage.",
    ),
    Meaning(
        MODEL_READY,
        "ConfigurationRefused",
        _F,
        "Triton refused new settings and goes on with the old ones; the message is Triton's own.",
        "In mode Auto they are taken back; in mode Fixed, correct spec.batching.fixed.",
    ),
    Meaning(
        MODEL_READY,
        "ProbeFailed",
        _F,
        "The model is loaded, but an inference of zeros fails.",
        "Correct spec.model.inputs, or set spec.model.probe to ConfigOnly where zeros are no valid input.",
    ),
    Meaning(METRICS_AVAILABLE, "Fresh", _G, "Prometheus has fresh metrics of the serving pods."),
    Meaning(
        METRICS_AVAILABLE,
        "NoServingPod",
        _P,
        "No pod serves, so there is nothing to measure.",
        "See WorkloadReady and ModelReady.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "AwaitingFirstScrape",
        _P,
        "The pods are new; a rate needs two scrapes.",
        "Wait; after three minutes the condition says what is missing.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "NoSeries",
        _F,
        "Prometheus does not scrape the pods; everything is held as it is.",
        "Have Prometheus select the PodMonitor, or discover pods by their annotations: port 8002.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "ScrapeFailed",
        _F,
        "Prometheus finds a pod and cannot scrape it.",
        "See Status > Target health in Prometheus; allow it port 8002 (settings.prometheusNamespaces).",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "TooFewSamples",
        _U,
        "Prometheus scrapes so seldom that the operator's window holds fewer than two samples.",
        "Raise settings.metricsWindowSeconds to four scrape intervals, or scrape more often.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "StaleSeries",
        _F,
        "The newest samples in Prometheus are older than the operator's window.",
        "See whether the targets are still scraped, and whether remote write lags.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "MetricMissing",
        _U,
        "A metric that the operator needs is not in Prometheus.",
        "Remove the relabeling that drops it, or serve with a newer Triton (2.46.0, container 24.05, or later).",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "LabelsMissing",
        _U,
        "The series of the model do not have the labels namespace and pod.",
        "Add them by relabel_configs, or use the PodMonitor.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "ModelLabelDiffers",
        _U,
        "The series of the pods name another model.",
        "Remove the relabeling that changes the label model.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "PartialAnswer",
        _F,
        "Prometheus warns that its answer lacks a part, and pods of the service are not in it; everything is held.",
        "Bring back the store or replica that the warning names (Thanos, Mimir, remote read).",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "TritonTooOld",
        _U,
        "The server is older than the oldest Triton that works: 2.46.0, container 24.05.",
        "Set a newer image in spec.runtime.image, or in the pool's spec.image.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "PrometheusUnreachable",
        _F,
        "Prometheus does not answer; everything is held as it is.",
        "Check the operator's --prometheus-url, the network policies, and that Prometheus runs.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "PrometheusUnauthorized",
        _F,
        "Prometheus refuses the operator's credentials, or wants some; everything is held as it is.",
        "Set or renew them by the chart's values under `prometheus` (docs/prometheus.md).",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "PrometheusCredentialsUnreadable",
        _F,
        "The operator cannot read a file with its credentials for Prometheus.",
        "Create or complete the Secret that the chart's values under `prometheus` name.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "PrometheusTLSFailed",
        _F,
        "The operator does not accept the certificate of Prometheus, or Prometheus not the operator's.",
        "Set prometheus.ca of the chart, and prometheus.clientCertificate where one is asked for.",
    ),
    Meaning(
        METRICS_AVAILABLE,
        "PrometheusQueryFailed",
        _F,
        "Prometheus answers, but not to the operator's queries; everything is held as it is.",
        "Check that --prometheus-url is the base of the Prometheus API, with its path.",
    ),
    Meaning(SLO_MET, "WithinSLO", _G, "The measured p99 is within spec.slo."),
    Meaning(SLO_MET, "NoTraffic", _G, "No request has come, so none was late."),
    Meaning(SLO_MET, "NoLatencyYet", _P, "Requests come; their p99 is not known yet."),
    Meaning(SLO_MET, "MetricsUnavailable", _F, "Without metrics it is not known.", "See MetricsAvailable."),
    Meaning(
        SLO_MET,
        "SLOInfeasible",
        _U,
        "One request alone takes longer than spec.slo.latencyP99Milliseconds.",
        "Raise spec.slo.latencyP99Milliseconds, or place the service on a faster pool.",
    ),
    Meaning(SLO_MET, "Converging", _P, "The SLO is missed, and something was just changed for it."),
    Meaning(SLO_MET, "Draining", _P, "What came in while the service was overloaded is being worked off."),
    Meaning(
        SLO_MET,
        "NotAutomatic",
        _U,
        "The SLO is missed; what would meet it is known, and the mode forbids doing it.",
        "Set the mode to Auto, or do what the message recommends.",
    ),
    Meaning(
        SLO_MET,
        "PoolFull",
        _U,
        "The SLO is missed, and the pool holds no more replicas.",
        "Add nodes to the pool, or list another one in spec.placement.pools.",
    ),
    Meaning(
        SLO_MET,
        "AtMaxReplicas",
        _U,
        "The SLO is missed, and spec.scaling.maxReplicas is reached.",
        "Raise spec.scaling.maxReplicas.",
    ),
    Meaning(
        SLO_MET,
        "MemoryBound",
        _U,
        "Better batch settings are known, but a reload needs twice the model's memory.",
        "Raise the memory limit of spec.runtime.resources.",
    ),
    Meaning(
        SLO_MET,
        "LoopInert",
        _F,
        "The SLO is missed and no change is predicted to help.",
        "`throughline explain NAME` shows what was weighed; look for CPU pressure, network and large inputs.",
    ),
    Meaning(SCALING_ACTIVE, "Steady", _G, "The replicas follow the demand."),
    Meaning(
        SCALING_ACTIVE,
        "Off",
        _G,
        "spec.scaling.mode is Off: the replicas are those of spec.scaling.replicas, or left as they are.",
    ),
    Meaning(
        SCALING_ACTIVE,
        "Recommending",
        _G,
        "spec.scaling.mode is Recommend: nothing is changed.",
        "See status.replicas.recommended.",
    ),
    Meaning(
        SCALING_ACTIVE,
        "ConflictingScaler",
        _U,
        "A HorizontalPodAutoscaler or ScaledObject scales the Deployment too, and its replicas are left to it; or it "
        "scales the InferenceService, which has no effect in spec.scaling.mode Auto.",
        "Delete it, or set spec.scaling.mode to Off.",
    ),
    Meaning(SCALING_ACTIVE, "Learning", _P, "How long the model takes is not learned yet."),
    Meaning(SCALING_ACTIVE, "MetricsUnavailable", _F, "The replicas are held.", "See MetricsAvailable."),
    Meaning(
        SCALING_ACTIVE,
        "PoolFull",
        _U,
        "More replicas are needed than the pool can hold.",
        "Add nodes to the pool, or list another one in spec.placement.pools.",
    ),
    Meaning(
        SCALING_ACTIVE,
        "AtMaxReplicas",
        _U,
        "More replicas are needed than spec.scaling.maxReplicas.",
        "Raise spec.scaling.maxReplicas.",
    ),
    Meaning(BATCH_TUNED, "Tuned", _G, "No other batch settings are predicted to be clearly better."),
    Meaning(BATCH_TUNED, "Fixed", _G, "spec.batching.fixed is in force."),
    Meaning(BATCH_TUNED, "Watching", _P, "New batch settings are tried and being watched."),
    Meaning(BATCH_TUNED, "Learning", _P, "How long the model takes is not learned yet; that needs requests."),
    Meaning(BATCH_TUNED, "MetricsUnavailable", _F, "The batch settings are held.", "See MetricsAvailable."),
    Meaning(
        BATCH_TUNED,
        "Recommended",
        _U,
        "Better batch settings are known, and spec.batching.mode is Recommend.",
        "See status.batch.recommended; set spec.batching.mode to Auto to have them applied.",
    ),
    Meaning(
        BATCH_TUNED,
        "MemoryBound",
        _U,
        "Better batch settings are known, but a reload needs twice the model's memory.",
        "Raise the memory limit of spec.runtime.resources.",
    ),
    Meaning(LOAD_BALANCED, "Spread", _G, "Every replica gets its share of the load."),
    Meaning(LOAD_BALANCED, "MetricsUnavailable", _F, "Without metrics it is not known.", "See MetricsAvailable."),
    Meaning(
        LOAD_BALANCED,
        "ReplicaWithoutLoad",
        _U,
        "A replica gets no requests, because clients keep their connections to others.",
        "Use gRPC, or a proxy that balances per request (Gateway API); HTTP clients must renew their connections.",
    ),
    *describe_service(),
    Meaning(READY, "Serving", _G, "The spec is realised and the model serves. Whether the SLO holds is SLOMet."),
    Meaning(RECONCILING, "Settled", _G, "Nothing is under way."),
    Meaning(STALLED, "NotStalled", _G, "Nothing waits for you."),
)
# The one condition of a ServingPool.
_POOL_TABLE = (
    Meaning(
        READY,
        "NodesReady",
        _G,
        "Nodes of the pool can take replicas. A message names what spec.accelerator asks for in vain.",
    ),
    Meaning(
        READY,
        "NoNodes",
        _F,
        "No node has the labels of spec.nodeSelector.",
        "Label or add nodes, or correct spec.nodeSelector.",
    ),
    Meaning(
        READY,
        "NodesTainted",
        _F,
        "The nodes of the pool have a taint that the pool does not tolerate.",
        "Add the toleration of the message to spec.tolerations of the pool.",
    ),
    Meaning(
        READY,
        "NodesCordoned",
        _F,
        "The nodes of the pool are cordoned.",
        "`kubectl uncordon` those that the message names, once their maintenance is over.",
    ),
    Meaning(
        READY,
        "NodesNotReady",
        _F,
        "The nodes of the pool are not ready.",
        "`kubectl describe node` says why.",
    ),
    Meaning(
        READY,
        "WrongArchitecture",
        _F,
        "The nodes with the pool's labels have another architecture.",
        "Correct spec.architecture or spec.nodeSelector of the pool.",
    ),
    Meaning(
        READY,
        "NoAccelerator",
        _F,
        "The pool's nodes do not offer the resource of spec.accelerator.",
        "Install its device plugin, or correct spec.accelerator.resource.",
    ),
    Meaning(
        READY,
        "InvalidSpec",
        _U,
        "A field of the pool is out of range, so no service is placed on it.",
        "Change the field that the message names; `throughline validate FILE` finds such errors offline.",
    ),
)
_BY_KEY = {(line.type, line.reason): line for line in _TABLE}


def describe() -> tuple[Meaning, ...]:
    """The table, in the order of the conditions. NotYetObserved is common to all and stands once, under Ready."""
    common = Meaning(READY, NOT_YET_OBSERVED, _P, "The operator has not looked at this yet.", "Wait a few seconds.")
    return tuple(sorted((*_TABLE, common), key=lambda line: TYPES.index(line.type)))


def describe_pool() -> tuple[Meaning, ...]:
    """The table of ServingPool."""
    return _POOL_TABLE


def nature(type_: str, reason: str) -> Nature:
    """Who must act. A reason that is not in the table is a fault that may pass."""
    if reason == NOT_YET_OBSERVED:
        return Nature.PROGRESS
    line = _BY_KEY.get((type_, reason))
    return line.nature if line else Nature.FAULT


def known(type_: str, reason: str) -> bool:
    """Whether the table explains the reason. Ready, Reconciling and Stalled repeat the reasons of the others."""
    if reason == NOT_YET_OBSERVED or (type_, reason) in _BY_KEY:
        return True
    return type_ in {READY, RECONCILING, STALLED} and any(r == reason for _, r in _BY_KEY)
