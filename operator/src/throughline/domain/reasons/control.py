"""Reasons of SLOMet, ScalingActive, BatchTuned and LoadBalanced: what the control loop finds and does."""

from __future__ import annotations

from throughline.domain.condition_types import BATCH_TUNED, LOAD_BALANCED, SCALING_ACTIVE, SLO_MET, Meaning, Nature

_G, _P, _F, _U = Nature.GOOD, Nature.PROGRESS, Nature.FAULT, Nature.USER
CONTROL_REASONS = (
    Meaning(SLO_MET, "WithinSLO", _G, "The measured p99 and the failed requests are within spec.slo."),
    Meaning(
        SLO_MET,
        "PodFailing",
        _F,
        "More requests fail than spec.slo.availability allows (1 % if absent), and one pod fails them: its peers do "
        "not, or it is the only one. Its model is loaded again, once in half an hour.",
        "Read its log (`kubectl logs POD -n NAMESPACE -c triton`); where loading its model again did not help, "
        "`kubectl delete pod POD -n NAMESPACE` replaces it.",
    ),
    Meaning(
        SLO_MET,
        "RequestsFailing",
        _F,
        "More requests fail than spec.slo.availability allows (1 % if absent), on no pod alone.",
        "Read the log of the pod that the message names (`kubectl logs POD -n NAMESPACE -c triton`); correct what "
        "clients send, or set spec.model back.",
    ),
    Meaning(
        SLO_MET,
        "NoAnswer",
        _F,
        "Requests wait at a pod that has served for a minute, and it has answered none, neither well nor badly, for "
        "the whole metrics window, which is longer than spec.slo.latencyP99Milliseconds.",
        "Read its log (`kubectl logs POD -n NAMESPACE -c triton`); `kubectl delete pod POD -n NAMESPACE` replaces it.",
    ),
    Meaning(SLO_MET, "NoTraffic", _G, "No request has come, so none was late."),
    Meaning(SLO_MET, "NoLatencyYet", _P, "Requests come; their p99 is not known yet."),
    Meaning(SLO_MET, "AwaitingMetrics", _P, "The pods are new and have no metrics yet.", "See MetricsAvailable."),
    Meaning(SLO_MET, "MetricsUnavailable", _F, "Without metrics it is not known.", "See MetricsAvailable."),
    Meaning(
        SLO_MET,
        "SLOInfeasible",
        _U,
        "One request alone takes longer than spec.slo.latencyP99Milliseconds.",
        "Place the service on a faster pool, serve a faster model, or raise spec.slo.latencyP99Milliseconds.",
    ),
    Meaning(SLO_MET, "Converging", _P, "The SLO is missed, and something was just changed for it, or is about to be."),
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
        "Open the nodes that the message names; else add nodes to the pool, or list another one in "
        "spec.placement.pools.",
    ),
    Meaning(
        SLO_MET,
        "ReplicasBlocked",
        _F,
        "The SLO is missed, and replicas that were ordered for it cannot start: the API server refuses the pods, or no "
        "node takes them. The message has its words.",
        "See WorkloadReady, and do what the message says.",
    ),
    Meaning(
        SLO_MET,
        "AtMaxReplicas",
        _U,
        "The SLO is missed, and spec.scaling.maxReplicas is reached.",
        "Raise spec.scaling.maxReplicas; where far more are needed than that, see first what makes the model slow.",
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
        "NoEffectiveAction",
        _F,
        "The SLO is missed and no change is predicted to help.",
        "`throughline explain NAME -n NAMESPACE` shows what was weighed; look for CPU pressure, network and large "
        "inputs.",
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
        'Delete it, or set spec.scaling.mode to "Off".',
    ),
    Meaning(SCALING_ACTIVE, "Learning", _P, "How long the model takes is not learned yet."),
    Meaning(
        SCALING_ACTIVE,
        "AwaitingMetrics",
        _P,
        "The pods are new and have no metrics yet.",
        "See MetricsAvailable.",
    ),
    Meaning(SCALING_ACTIVE, "MetricsUnavailable", _F, "The replicas are held.", "See MetricsAvailable."),
    Meaning(
        SCALING_ACTIVE,
        "PoolFull",
        _U,
        "More replicas are needed than the pool can hold.",
        "Open the nodes that the message names; else add nodes to the pool, or list another one in "
        "spec.placement.pools.",
    ),
    Meaning(
        SCALING_ACTIVE,
        "ReplicasBlocked",
        _F,
        "Replicas that were ordered cannot start: the API server refuses the pods, or no node takes them. They are "
        "given back once the demand needs fewer.",
        "See WorkloadReady, and do what the message says.",
    ),
    Meaning(
        SCALING_ACTIVE,
        "CapacityUnknown",
        _F,
        "Nodes of the pool report less of a resource than their pods hold, as while a device plugin restarts: what is "
        "free is not known. What runs is held to be in use, and the service is not moved.",
        "Wait; where it lasts, check the device plugin on the nodes that the message names.",
    ),
    Meaning(
        SCALING_ACTIVE,
        "AtMaxReplicas",
        _U,
        "More replicas are needed than spec.scaling.maxReplicas.",
        "Raise spec.scaling.maxReplicas; where far more are needed than that, see first what makes the model slow.",
    ),
    Meaning(BATCH_TUNED, "Tuned", _G, "No other batch settings are predicted to be clearly better."),
    Meaning(BATCH_TUNED, "Fixed", _G, "spec.batching.fixed is in force."),
    Meaning(BATCH_TUNED, "Watching", _P, "New batch settings are tried and being watched."),
    Meaning(BATCH_TUNED, "Learning", _P, "How long the model takes is not learned yet; that needs requests."),
    Meaning(BATCH_TUNED, "AwaitingMetrics", _P, "The pods are new and have no metrics yet.", "See MetricsAvailable."),
    Meaning(BATCH_TUNED, "MetricsUnavailable", _F, "The batch settings are held.", "See MetricsAvailable."),
    Meaning(
        BATCH_TUNED,
        "Loading",
        _P,
        "Settings are being loaded; they are in force once every pod reports them.",
        "Wait; where it lasts, ModelReady says what Triton refused.",
    ),
    Meaning(
        BATCH_TUNED,
        "Recommended",
        _U,
        "Better batch settings are known, and spec.batching.mode is Recommend.",
        "See status.batch.recommended; set spec.batching.mode to Auto to have them applied.",
    ),
    Meaning(
        BATCH_TUNED,
        "BatchesFail",
        _U,
        "The model fails when several rows are executed together, so no batches of so many are made of this revision.",
        "Correct the model so that it takes a batch; or set spec.batching.maxBatchSize.max below what the message "
        "names.",
    ),
    Meaning(
        BATCH_TUNED,
        "RowsMixed",
        _U,
        "A row gets another answer in a batch than alone, as if of another row, so the requests of this revision are "
        "not batched.",
        "Correct the model so that each row of a batch gets its own answer; or set spec.batching.maxBatchSize.max "
        "below what the message names.",
    ),
    Meaning(
        BATCH_TUNED,
        "Refused",
        _U,
        "Triton refuses spec.batching.fixed for this model; what was in force before stays.",
        "Change spec.batching.fixed or the model; any change of the spec has them asked for again.",
    ),
    Meaning(
        BATCH_TUNED,
        "MemoryBound",
        _U,
        "Better batch settings are known, but a reload needs twice the model's memory.",
        "Raise the memory limit of spec.runtime.resources.",
    ),
    Meaning(LOAD_BALANCED, "Spread", _G, "Every replica gets its share of the load."),
    Meaning(LOAD_BALANCED, "AwaitingMetrics", _P, "The pods are new and have no metrics yet.", "See MetricsAvailable."),
    Meaning(LOAD_BALANCED, "MetricsUnavailable", _F, "Without metrics it is not known.", "See MetricsAvailable."),
    Meaning(
        LOAD_BALANCED,
        "PodFailing",
        _F,
        "A pod fails its requests at once and so draws more of them: how the load is spread cannot be judged.",
        "See SLOMet.",
    ),
    Meaning(
        LOAD_BALANCED,
        "NoAnswer",
        _F,
        "A pod answers none of the requests that wait at it: how the load is spread cannot be judged.",
        "See SLOMet.",
    ),
    Meaning(
        LOAD_BALANCED,
        "ReplicaWithoutLoad",
        _U,
        "A replica gets no requests, because clients keep their connections to others.",
        "Use gRPC, or a proxy that balances per request (Gateway API); HTTP clients must renew their connections.",
    ),
)
