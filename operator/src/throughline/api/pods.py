"""How pods fit into a cluster: what InferenceService and ServingPool both say under `spec.runtime`.

No field opens what the restricted pod security standard closes: there is no host path, no privilege and no root user
to be had here.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from throughline.api.base import ATOMIC_LIST, GROUP, Label, Name, Resource, Rule, list_map
from throughline.api.labels import LabelValue, key_rule, keys, reserved_rule
from throughline.api.scheduling import SPREAD_KEYS, Affinity, TopologySpreadConstraint

# Set by Throughline, or by the Deployment and Job controllers, which refuse other values.
OUR_LABELS = keys(
    *("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by"),
    *("pod-template-hash", "controller-uid", "job-name"),
    domains=(GROUP, "batch.kubernetes.io"),
)
# Discovery by Prometheus is ours; the profiles would loosen what the security context sets.
OUR_ANNOTATIONS = keys(
    domains=(
        *(GROUP, "prometheus.io", "seccomp.security.alpha.kubernetes.io"),
        *("container.seccomp.security.alpha.kubernetes.io", "container.apparmor.security.beta.kubernetes.io"),
    )
)
# What Throughline and the kubelet mount into the server, and its programs and libraries: not below them, either.
_NEEDED = (
    "models|tmp|samples|dev|proc|sys|(var/)?run/secrets|(usr/)?s?bin|(usr/)?lib(32|64|x32)?|opt/tritonserver/(bin|lib)"
)
# What holds these, or files of the kubelet and the server: a mount there hides them, and one below adds to them.
_HOLDERS = (
    r"run|var|var/run|etc|etc/(hosts|hostname|resolv\.conf|passwd|group|ld\.so\.cache)|usr|usr/local|"
    r"usr/local/(bin|lib|cuda(-[0-9.]+)?)|opt|opt/tritonserver|opt/tritonserver/backends"
)
OUR_PATHS = re.compile(rf"/(({_NEEDED})(/.*)?|{_HOLDERS})")
_SEGMENT = r"\.?[A-Za-z0-9_][A-Za-z0-9_.@+=-]*"
ACCELERATOR_CLAIM = "accelerator"
MAX_ID = 2_147_483_647


class PodIDs(StrEnum):
    """Whether a pod that names no user gets ours."""

    FIXED = "Fixed"
    ASSIGNED = "Assigned"


class PodSecurityContext(Resource):
    """User and groups of the pod. All else of its security context is fixed, by the restricted standard."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.ids) || self.ids != 'Assigned' || "
            "!(has(self.runAsUser) || has(self.runAsGroup) || has(self.fsGroup))",
            holds=lambda s: (
                s.ids is not PodIDs.ASSIGNED or (s.run_as_user, s.run_as_group, s.fs_group) == (None, None, None)
            ),
            message="spec.runtime.securityContext.ids Assigned leaves runAsUser, runAsGroup and fsGroup to the "
            "cluster; remove them, or set ids Fixed",
            field="ids",
        ),
    )

    ids: Annotated[
        PodIDs | None,
        Field(
            description="Fixed: user, group and fsGroup are 1000 unless given. Assigned: none is set, so that the "
            "cluster gives them, as OpenShift does from the range of the namespace. Absent: the pool's, else "
            "settings.podIds of the installation."
        ),
    ] = None
    run_as_user: Annotated[int | None, Field(ge=1, le=MAX_ID)] = None
    run_as_group: Annotated[int | None, Field(ge=0, le=MAX_ID)] = None
    fs_group: Annotated[int | None, Field(ge=0, le=MAX_ID)] = None
    supplemental_groups: Annotated[
        list[Annotated[int, Field(ge=0, le=MAX_ID)]] | None, Field(max_length=16, json_schema_extra=ATOMIC_LIST)
    ] = None


class ClaimSource(Resource):
    claim_name: Name


class ConfigMapSource(Resource):
    name: Name


class SecretSource(Resource):
    secret_name: Name


class Volume(Resource):
    """A claim, ConfigMap or Secret of the service's namespace, mounted read-only into the server."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="[has(self.persistentVolumeClaim), has(self.configMap), has(self.secret)].filter(x, x).size() == 1",
            holds=lambda s: [s.persistent_volume_claim, s.config_map, s.secret].count(None) == 2,
            message="spec.runtime.volumes[] must have one of persistentVolumeClaim, configMap and secret; "
            "remove or add one",
        ),
        Rule(
            cel=f"!self.mountPath.matches(r'^{OUR_PATHS.pattern}$')",
            holds=lambda s: OUR_PATHS.fullmatch(s.mount_path) is None,
            message="spec.runtime.volumes[].mountPath must not hide what the server or Kubernetes needs: nothing in "
            "/models, /tmp, /samples, /dev, /proc, /sys, /run/secrets, /var/run/secrets, /opt/tritonserver/bin or lib, "
            "/bin, /sbin, /lib or the same of /usr, nor a directory that holds these, nor /etc, /usr/local or "
            "/opt/tritonserver/backends itself; choose another path, such as /mnt/NAME",
            field="mountPath",
            got=lambda s: s.mount_path,
        ),
    )

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=56)]
    mount_path: Annotated[
        str, Field(pattern=rf"^(/{_SEGMENT})+$", max_length=512, description="Absolute path in the server's container.")
    ]
    sub_path: Annotated[
        str | None,
        Field(
            pattern=rf"^{_SEGMENT}(/{_SEGMENT})*$",
            max_length=512,
            description="Folder or file of the volume; absent: all of it.",
        ),
    ] = None
    persistent_volume_claim: ClaimSource | None = None
    config_map: ConfigMapSource | None = None
    secret: SecretSource | None = None


class ResourceClaim(Resource):
    """Devices by dynamic resource allocation: a ResourceClaim that pods share, or a template of one for each pod."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.resourceClaimName) != has(self.resourceClaimTemplateName)",
            holds=lambda s: (s.resource_claim_name is None) != (s.resource_claim_template_name is None),
            message="spec.runtime.resourceClaims[] must have one of resourceClaimName and resourceClaimTemplateName; "
            "remove or add one",
        ),
        Rule(
            cel=f"self.name != '{ACCELERATOR_CLAIM}'",
            holds=lambda s: s.name != ACCELERATOR_CLAIM,
            message=f"spec.runtime.resourceClaims[].name must not be {ACCELERATOR_CLAIM}, which is the claim of the "
            "ServingPool; choose another name",
            field="name",
        ),
    )

    name: Label
    resource_claim_name: Name | None = None
    resource_claim_template_name: Name | None = None


class PodSettings(Resource):
    """How pods fit into a cluster. A pool's settings hold for all services there; a service adds or overrides."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        key_rule("podLabels", "pod_labels", "spec.runtime.podLabels"),
        reserved_rule(
            "podLabels",
            "pod_labels",
            "spec.runtime.podLabels",
            OUR_LABELS,
            f"must not have app.kubernetes.io/name, instance or managed-by, keys of {GROUP}, or those of the "
            "Deployment and Job controllers; remove the key or choose another",
        ),
        key_rule("podAnnotations", "pod_annotations", "spec.runtime.podAnnotations"),
        reserved_rule(
            "podAnnotations",
            "pod_annotations",
            "spec.runtime.podAnnotations",
            OUR_ANNOTATIONS,
            f"must not have keys of {GROUP}, prometheus.io, or seccomp and AppArmor profiles, which Throughline sets "
            "itself; remove the key",
        ),
        Rule(
            cel="!has(self.priorityClassName) || !self.priorityClassName.startsWith('system-')",
            holds=lambda s: s.priority_class_name is None or not s.priority_class_name.startswith("system-"),
            message="spec.runtime.priorityClassName must not start with system-: those classes are for the cluster's "
            "own pods and may evict all others; name a PriorityClass of yours",
            field="priorityClassName",
        ),
        Rule(
            cel="!has(self.volumes) || self.volumes.all(v, self.volumes.exists_one(w, w.mountPath == v.mountPath))",
            holds=lambda s: len({v.mount_path for v in s.volumes}) == len(s.volumes),
            message="spec.runtime.volumes: two volumes have the same mountPath; give each its own",
            field="volumes",
        ),
    )

    pod_labels: Annotated[
        dict[str, LabelValue],
        Field(max_length=32, description="Labels of every pod of the service, those of its evaluations too."),
    ] = {}
    pod_annotations: Annotated[
        dict[str, Annotated[str, Field(max_length=4096)]],
        Field(max_length=32, description="Annotations of every pod of the service, those of its evaluations too."),
    ] = {}
    priority_class_name: Annotated[Name | None, Field(description="An existing PriorityClass.")] = None
    runtime_class_name: Annotated[
        Name | None, Field(description="An existing RuntimeClass: nvidia on k3s, RKE2 and Jetson.")
    ] = None
    topology_spread_constraints: Annotated[
        list[TopologySpreadConstraint] | None,
        Field(
            max_length=8,
            json_schema_extra=SPREAD_KEYS,
            description="Of the servers; absent: one over hosts, where it can be met. [] is none.",
        ),
    ] = None
    affinity: Annotated[
        Affinity | None,
        Field(description="Of the servers. Node affinity holds for every pod of the service, and the pool counts it."),
    ] = None
    security_context: PodSecurityContext = PodSecurityContext()
    volumes: Annotated[
        list[Volume],
        Field(max_length=16, json_schema_extra=list_map("name"), description="Mounted read-only into the server."),
    ] = []
