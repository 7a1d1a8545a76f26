"""Reasons of Accepted, WorkloadReady and ModelReady: the spec is accepted, its pods run, the model answers."""

from __future__ import annotations

from throughline.domain.condition_types import ACCEPTED, MODEL_READY, WORKLOAD_READY, Meaning, Nature

_G, _P, _F, _U = Nature.GOOD, Nature.PROGRESS, Nature.FAULT, Nature.USER
WORKLOAD_REASONS = (
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
        "The claim or ConfigMap of spec.model.storage.uri is missing, cannot be mounted, or lacks the model's file: it "
        "may be a link that leads out of the model's folder.",
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
        "Read the reason with `kubectl logs POD -n NAMESPACE -c triton --previous`; out of memory is the most "
        "frequent. A Triton before 2.46.0 (container 24.05) begins with `unrecognized option`.",
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
        "A LimitRange, an admission policy, the pod security of the namespace or OpenShift's SCC refuses new pods; the "
        "message is the API server's own.",
        "Do what the end of the message says: change what it names in spec.runtime, in the chart, or in the policy.",
    ),
    Meaning(
        WORKLOAD_READY,
        "AdmissionWebhookFailed",
        _F,
        "An admission webhook of the cluster does not answer, so no pod can be created; nothing in the spec is wrong.",
        "Bring the webhook back: the message names its service; `kubectl get "
        "validatingwebhookconfigurations,mutatingwebhookconfigurations` shows whose it is.",
    ),
    Meaning(
        WORKLOAD_READY,
        "PodCreationFailed",
        _F,
        "The API server, its storage or the quota's controller could not answer; nothing in the spec is wrong.",
        "Wait: Kubernetes tries again by itself. Where it lasts, `kubectl get --raw '/readyz?verbose'` shows what of "
        "the API server is not ready.",
    ),
    Meaning(
        WORKLOAD_READY,
        "NamespaceTerminating",
        _U,
        "The namespace is being deleted, and the service with it: no pod can be created there.",
        "Apply the service in another namespace; `kubectl get namespace NAMESPACE -o yaml` shows what the deletion "
        "waits for.",
    ),
    Meaning(
        WORKLOAD_READY,
        "PodsFailing",
        _F,
        "Pods end one after another before they serve: evicted, or refused by the node's kubelet.",
        "Read the kubelet's words in the message; `kubectl describe node NODE` shows the node's pressure and devices.",
    ),
    Meaning(
        WORKLOAD_READY,
        "ProgressDeadlineExceeded",
        _F,
        "The Deployment waited for its pods for longer than spec.runtime.startTimeoutSeconds and ten minutes more.",
        "`kubectl describe pod POD -n NAMESPACE` of a pod that is not ready says what it waits for; raise "
        "spec.runtime.startTimeoutSeconds where the model only loads slowly.",
    ),
    Meaning(WORKLOAD_READY, "RolloutInProgress", _P, "Pods of a new revision are replacing those of the old."),
    Meaning(
        WORKLOAD_READY,
        "MinimumReplicasUnavailable",
        _P,
        "Fewer replicas are ready than there should be.",
        "Wait; when it lasts, `kubectl describe pod POD -n NAMESPACE` of a pod that is not ready says why.",
    ),
    Meaning(
        WORKLOAD_READY,
        "ScaledToZero",
        _U,
        "The Deployment was scaled to zero replicas, so nothing serves.",
        "Type `kubectl scale tis/NAME -n NAMESPACE --replicas=1`, or set spec.scaling.mode to Auto; in mode Auto see "
        "Accepted and ScalingActive.",
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
)
