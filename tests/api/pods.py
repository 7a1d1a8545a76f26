"""`spec.runtime` of a service and of a pool, right and wrong: how pods fit into a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.api.changes import Change

RUNTIME = "spec.runtime"
ZONE = "topology.kubernetes.io/zone"
REQUIRED, PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)


def runtime(**fields: Any) -> tuple[Change, ...]:
    return (("spec/runtime", fields),)


def nodes(**requirement: Any) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}
    return {"nodeAffinity": {REQUIRED: terms}}


def apart(**selector: Any) -> dict[str, Any]:
    return {"podAntiAffinity": {REQUIRED: [{"topologyKey": ZONE, "labelSelector": selector}]}}


def spread(**more: Any) -> list[dict[str, Any]]:
    return [{"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "ScheduleAnyway", **more}]


def volume(**more: Any) -> dict[str, Any]:
    return {"name": "data", "mountPath": "/mnt/data", "configMap": {"name": "data"}, **more}


AFFINITY = {
    "nodeAffinity": {
        REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["l4"]}]}]},
        PREFERRED: [{"weight": 100, "preference": {"matchExpressions": [{"key": "spot", "operator": "DoesNotExist"}]}}],
    },
    "podAffinity": {PREFERRED: [{"weight": 1, "podAffinityTerm": {"topologyKey": ZONE, "namespaces": ["features"]}}]},
    "podAntiAffinity": {REQUIRED: [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}]},
}
# Of both kinds.
GOOD_PODS: dict[str, tuple[Change, ...]] = {
    "a RuntimeClass": runtime(runtimeClassName="nvidia"),
    "a PriorityClass": runtime(priorityClassName="high"),
    "labels and annotations of a mesh": runtime(
        podLabels={"sidecar.istio.io/inject": "true", "team": ""},
        podAnnotations={"traffic.sidecar.istio.io/excludeInboundPorts": "8000,8002", "note": "no label: ü/ü"},
    ),
    "labels that look like ours": runtime(
        podLabels={"app.kubernetes.io/component": "x", "nothroughline.io/pool": "x", "example.com/throughline.io": "y"}
    ),
    "affinity": runtime(affinity=AFFINITY),
    "affinity by a number": runtime(affinity=nodes(key="memory", operator="Gt", values=["80"])),
    "spread": runtime(
        topologySpreadConstraints=[
            *spread(matchLabelKeys=["pod-template-hash"], nodeTaintsPolicy="Honor"),
            *spread(whenUnsatisfiable="DoNotSchedule", minDomains=3, labelSelector={"matchLabels": {"a/b": "c"}}),
        ]
    ),
    "no spread": runtime(topologySpreadConstraints=[]),
    "ids": runtime(securityContext={"runAsUser": 1_000_650, "runAsGroup": 0, "fsGroup": 5, "supplementalGroups": [44]}),
    "ids from the cluster": runtime(securityContext={"ids": "Assigned", "supplementalGroups": [44]}),
    "volumes": runtime(
        volumes=[
            volume(),
            {"name": "keys", "mountPath": "/root/.k/a..b", "secret": {"secretName": "keys"}, "subPath": "a/.b/c.pem"},
            {"name": "ca", "mountPath": "/etc/ssl/certs", "configMap": {"name": "ca"}},
            {"name": "own", "mountPath": "/opt/tritonserver/backends/own", "configMap": {"name": "own"}},
            {"name": "runner", "mountPath": "/runner", "configMap": {"name": "runner"}},
            {"name": "big", "mountPath": "/modelstore", "persistentVolumeClaim": {"claimName": "big.data"}},
        ]
    ),
}  # fmt: skip
BAD_PODS: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "label value": (runtime(podLabels={"team": "a b"}), f"{RUNTIME}.podLabels.team", "not valid"),
    "root": (runtime(securityContext={"runAsUser": 0}), f"{RUNTIME}.securityContext.runAsUser", "at least 1"),
    "privileged": (
        runtime(securityContext={"privileged": True}),
        f"{RUNTIME}.securityContext.privileged",
        "unknown field",
    ),
    "seccomp": (
        runtime(securityContext={"seccompProfile": {"type": "Unconfined"}}),
        f"{RUNTIME}.securityContext.seccompProfile",
        "unknown field",
    ),
    "host path": (
        runtime(volumes=[volume(hostPath={"path": "/"})]),
        f"{RUNTIME}.volumes[0].hostPath",
        "unknown field",
    ),
    "host network": (runtime(hostNetwork=True), f"{RUNTIME}.hostNetwork", "unknown field"),
    "relative path": (runtime(volumes=[volume(mountPath="data")]), f"{RUNTIME}.volumes[0].mountPath", "not valid"),
    "mount path upwards": (
        runtime(volumes=[volume(mountPath="/mnt/../models")]),
        f"{RUNTIME}.volumes[0].mountPath",
        "not valid",
    ),
    "mount path not normal": (
        runtime(volumes=[volume(mountPath="/mnt//data")]),
        f"{RUNTIME}.volumes[0].mountPath",
        "not valid",
    ),
    "sub-path upwards": (runtime(volumes=[volume(subPath="a/../b")]), f"{RUNTIME}.volumes[0].subPath", "not valid"),
    "constraint of no kind": (
        runtime(topologySpreadConstraints=spread(whenUnsatisfiable="Never")),
        f"{RUNTIME}.topologySpreadConstraints[0].whenUnsatisfiable",
        "DoNotSchedule",
    ),
    "the same constraint twice": (
        runtime(topologySpreadConstraints=spread() + spread()),
        f"{RUNTIME}.topologySpreadConstraints[1]",
        "remove or rename",
    ),
    "topology without a key": (
        runtime(affinity={"podAffinity": {REQUIRED: [{}]}}),
        f"{RUNTIME}.affinity.podAffinity.{REQUIRED}[0].topologyKey",
        "required",
    ),
    "no terms": (
        runtime(affinity={"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": []}}}),
        f"{RUNTIME}.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms",
        "at least 1",
    ),
}  # fmt: skip
_EXPRESSION = f"{RUNTIME}.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms[0].matchExpressions[0].values"
POD_RULE_BREAKERS: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "label key": (runtime(podLabels={"a b": "c"}), f"{RUNTIME}.podLabels", "example.com/name"),
    "our label": (runtime(podLabels={"throughline.io/pool": "x"}), f"{RUNTIME}.podLabels", "remove the key"),
    "our label, below": (runtime(podLabels={"a.throughline.io/x": "x"}), f"{RUNTIME}.podLabels", "remove the key"),
    "the application's name": (
        runtime(podLabels={"app.kubernetes.io/name": "x"}),
        f"{RUNTIME}.podLabels",
        "app.kubernetes.io/name",
    ),
    "a controller's label": (runtime(podLabels={"pod-template-hash": "x"}), f"{RUNTIME}.podLabels", "controllers"),
    "annotation key": (runtime(podAnnotations={"a/b/c": "c"}), f"{RUNTIME}.podAnnotations", "example.com/name"),
    "annotation key too long": (runtime(podAnnotations={"a" * 254 + "/b": "c"}), f"{RUNTIME}.podAnnotations", "253"),
    "discovery by Prometheus": (
        runtime(podAnnotations={"prometheus.io/scrape": "false"}),
        f"{RUNTIME}.podAnnotations",
        "prometheus.io",
    ),
    "our annotation": (runtime(podAnnotations={"throughline.io/x": "y"}), f"{RUNTIME}.podAnnotations", "remove"),
    "a profile by annotation": (
        runtime(podAnnotations={"container.apparmor.security.beta.kubernetes.io/triton": "unconfined"}),
        f"{RUNTIME}.podAnnotations",
        "AppArmor",
    ),
    "ids given and assigned": (
        runtime(securityContext={"ids": "Assigned", "fsGroup": 1}),
        f"{RUNTIME}.securityContext.ids",
        "remove them, or set ids Fixed",
    ),
    "a volume of nothing": (
        runtime(volumes=[{"name": "data", "mountPath": "/mnt/data"}]),
        f"{RUNTIME}.volumes[0]",
        "one of persistentVolumeClaim, configMap and secret",
    ),
    "a volume of two": (
        runtime(volumes=[volume(secret={"secretName": "x"})]),
        f"{RUNTIME}.volumes[0]",
        "one of persistentVolumeClaim, configMap and secret",
    ),
    "over the models": (
        runtime(volumes=[volume(mountPath="/models")]),
        f"{RUNTIME}.volumes[0].mountPath",
        "choose another path",
    ),
    "into the models": (
        runtime(volumes=[volume(mountPath="/models/x/1")]),
        f"{RUNTIME}.volumes[0].mountPath",
        "choose another path",
    ),
    "into devices": (
        runtime(volumes=[volume(mountPath="/dev/dri")]),
        f"{RUNTIME}.volumes[0].mountPath",
        "choose another path",
    ),
    **{
        f"over what the server needs, {path}": (
            runtime(volumes=[volume(mountPath=path)]),
            f"{RUNTIME}.volumes[0].mountPath",
            f"choose another path, such as /mnt/NAME; got {path}",
        )
        for path in (
            *("/run", "/var/run", "/var", "/etc", "/etc/resolv.conf", "/usr", "/usr/bin", "/usr/local/cuda-12.6"),
            *("/bin/x", "/lib64", "/usr/lib/x86_64-linux-gnu", "/opt", "/opt/tritonserver", "/opt/tritonserver/bin/x"),
        )
    },
    "over the account's token": (
        runtime(volumes=[volume(mountPath="/run/secrets/kubernetes.io")]),
        f"{RUNTIME}.volumes[0].mountPath",
        "choose another path",
    ),
    "a class of the cluster's own": (
        runtime(priorityClassName="system-node-critical"),
        f"{RUNTIME}.priorityClassName",
        "name a PriorityClass of yours",
    ),
    "two at one path": (
        runtime(volumes=[volume(), volume(name="more")]),
        f"{RUNTIME}.volumes",
        "the same mountPath",
    ),
    "values with Exists": (
        runtime(affinity=nodes(key="a", operator="Exists", values=["b"])),
        _EXPRESSION,
        "add or remove them",
    ),
    "In nothing": (runtime(affinity=nodes(key="a", operator="In")), _EXPRESSION, "add or remove them"),
    "greater than a word": (
        runtime(affinity=nodes(key="a", operator="Gt", values=["many"])),
        _EXPRESSION,
        "one whole number",
    ),
    "not in nothing, of pods": (
        runtime(affinity=apart(matchExpressions=[{"key": "a", "operator": "NotIn"}])),
        f"{RUNTIME}.affinity.podAntiAffinity.{REQUIRED}[0].labelSelector.matchExpressions[0].values",
        "add or remove them",
    ),
    "key of a selector": (
        runtime(affinity=apart(matchLabels={"a b": "c"})),
        f"{RUNTIME}.affinity.podAntiAffinity.{REQUIRED}[0].labelSelector.matchLabels",
        "example.com/name",
    ),
    "domains that need not be": (
        runtime(topologySpreadConstraints=spread(minDomains=2)),
        f"{RUNTIME}.topologySpreadConstraints[0].minDomains",
        "needs whenUnsatisfiable DoNotSchedule",
    ),
}  # fmt: skip

GOOD_CLAIMS: dict[str, tuple[Change, ...]] = {
    "resource claims": runtime(
        resourceClaims=[
            {"name": "nic", "resourceClaimName": "shared"},
            {"name": "more", "resourceClaimTemplateName": "each"},
        ]
    )
}
CLAIM_RULE_BREAKERS: dict[str, tuple[tuple[Change, ...], str, str]] = {
    "claims of two kinds": (
        runtime(resourceClaims=[{"name": "nic", "resourceClaimName": "a", "resourceClaimTemplateName": "b"}]),
        f"{RUNTIME}.resourceClaims[0]",
        "one of resourceClaimName and resourceClaimTemplateName",
    ),
    "the pool's claim": (
        runtime(resourceClaims=[{"name": "accelerator", "resourceClaimName": "a"}]),
        f"{RUNTIME}.resourceClaims[0].name",
        "choose another name",
    ),
}
