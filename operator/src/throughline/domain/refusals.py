"""Why the API server refuses pods, from its own words: the reason of WorkloadReady, and what to do.

What a policy or webhook says is anybody's text, so each sort of refusal is known by how the API server begins it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# The admission plugins' error as the API server wraps it; the name of each try is another.
_POD = re.compile(r'^(?:pods|Pod) "[^"]*" is (?:forbidden|invalid): ')
# A list of fifteen security context constraints must not push the fix out of the message.
SAID_LIMIT = 800

QUOTA_EXCEEDED, PODS_REFUSED = "QuotaExceeded", "PodsRefused"
WEBHOOK_FAILED, CREATION_FAILED, TERMINATING = "AdmissionWebhookFailed", "PodCreationFailed", "NamespaceTerminating"
_LIMIT_RANGE = (
    "set spec.runtime.resources within the namespace's LimitRange (`kubectl describe limitrange -n {namespace}`)"
)


class _Refusal(NamedTuple):
    """`fix`: with the groups of the pattern, and the namespace."""

    pattern: re.Pattern[str]
    reason: str
    fix: str


def _sort(pattern: str, reason: str, fix: str) -> _Refusal:
    return _Refusal(re.compile(pattern, re.DOTALL), reason, fix)


# The words of Kubernetes, each from its beginning.
_REFUSALS: tuple[_Refusal, ...] = (
    _sort(
        r"exceeded quota: (?P<quota>[^,\s]+),",
        QUOTA_EXCEEDED,
        "raise the ResourceQuota (`kubectl edit resourcequota {quota} -n {namespace}`), or lower spec.scaling or "
        "spec.runtime.resources",
    ),
    _sort(
        r"failed quota: ",
        QUOTA_EXCEEDED,
        "give spec.runtime.resources what the ResourceQuota that it names asks for",
    ),
    _sort(
        r"insufficient quota to match these scopes: (?P<scopes>\[.*\])",
        QUOTA_EXCEEDED,
        "the cluster admits such pods only where a ResourceQuota of the namespace has the scope {scopes}: create one "
        "with this scopeSelector; a PriorityClass can also be changed in spec.runtime.priorityClassName",
    ),
    _sort(
        r'violates PodSecurity .*"istio-(?:init|validation)"',
        PODS_REFUSED,
        "the servers meet the standard, what Istio adds does not: install Istio's CNI plugin, or leave the service out "
        'of the mesh by `sidecar.istio.io/inject: "false"` in spec.runtime.podLabels',
    ),
    _sort(
        r'violates PodSecurity .*"(?P<container>linkerd-init|kuma-init)"',
        PODS_REFUSED,
        "the servers meet the standard, {container} does not: install the CNI plugin of the mesh, or leave the service "
        "out of the mesh by spec.runtime.podLabels or podAnnotations",
    ),
    _sort(
        r"violates PodSecurity ",
        PODS_REFUSED,
        "the servers meet the restricted standard, so see which webhook adds what it names; where that must stay, set "
        "the label pod-security.kubernetes.io/enforce of the namespace",
    ),
    _sort(
        r"unable to validate against any security context constraint: .*"
        r"(?:is not an allowed group|must be in the ranges|fsGroup|runAsUser)",
        PODS_REFUSED,
        "let the cluster choose the ids: settings.podIds: assigned in the chart, or for this service "
        "spec.runtime.securityContext.ids: Assigned",
    ),
    _sort(
        r"unable to validate against any security context constraint",
        PODS_REFUSED,
        "restricted-v2 admits the servers with settings.podIds: assigned of the chart, so see which webhook adds what "
        "it names",
    ),
    _sort(r"\[?(?:minimum|maximum) \S+ usage per ", PODS_REFUSED, _LIMIT_RANGE),
    _sort(r"\[?\S+ max limit to request ratio per ", PODS_REFUSED, _LIMIT_RANGE),
    _sort(
        r"[nN]o PriorityClass with name ",
        PODS_REFUSED,
        "create the PriorityClass, or name one that exists (`kubectl get priorityclasses`) in "
        "spec.runtime.priorityClassName of the service or the pool",
    ),
    _sort(
        r"pod rejected: RuntimeClass ",
        PODS_REFUSED,
        "create the RuntimeClass, or name one that exists (`kubectl get runtimeclasses`) in "
        "spec.runtime.runtimeClassName of the service or the pool",
    ),
    _sort(
        r"error looking up service account [^/\s]+/(?P<account>\S+?):",
        PODS_REFUSED,
        "create it (`kubectl create serviceaccount {account} -n {namespace}`), or correct "
        "spec.runtime.serviceAccountName",
    ),
    _sort(
        r"Internal error occurred: failed calling webhook .*?https://(?P<service>[a-z0-9-]+)\.(?P<where>[a-z0-9-]+)\.svc",
        WEBHOOK_FAILED,
        "the webhook does not answer, and nothing in the spec is wrong: `kubectl describe service {service} -n "
        "{where}` shows whether pods stand behind it, `kubectl get "
        "validatingwebhookconfigurations,mutatingwebhookconfigurations` whose it is",
    ),
    _sort(
        r"Internal error occurred: failed calling webhook ",
        WEBHOOK_FAILED,
        "the webhook does not answer, and nothing in the spec is wrong: `kubectl get "
        "validatingwebhookconfigurations,mutatingwebhookconfigurations` shows whose it is",
    ),
    _sort(
        r"unable to create new content in namespace \S+ because it is being terminated",
        TERMINATING,
        "the namespace is being deleted, and the service with it: apply it in another namespace; `kubectl get "
        "namespace {namespace} -o yaml` shows what the deletion waits for",
    ),
    _sort(
        r"etcdserver: |Timeout: request did not complete |context deadline exceeded|rpc error: code = |"
        r"Internal error occurred: (?:resource quota evaluation timed out|etcdserver: |context deadline exceeded)|"
        r"the server (?:was unable to return a response|is currently unable to handle|has received too many requests)|"
        r"status unknown for quota: |Operation cannot be fulfilled on resourcequotas |"
        r"(?:Post|Put) \"https?://\S+/pods\S*\": ",
        CREATION_FAILED,
        "Kubernetes tries again by itself: wait; where it lasts, `kubectl get --raw '/readyz?verbose'` shows what of "
        "the API server is not ready",
    ),
)
_OTHER = (PODS_REFUSED, "change what it names in spec.runtime, or the policy")


def refused(words: str, namespace: str) -> tuple[str, str]:
    """(reason, message) for WorkloadReady, from the words of the Deployment's ReplicaFailure condition."""
    said = _POD.sub("", words.strip())
    reason, fix = _OTHER
    for refusal in _REFUSALS:
        found = refusal.pattern.match(said)
        if found is not None:
            reason, fix = refusal.reason, refusal.fix.format(**found.groupdict(), namespace=namespace)
            break
    shown = said if len(said) <= SAID_LIMIT else f"{said[:SAID_LIMIT]}…"
    verb = "cannot create pods" if reason in {WEBHOOK_FAILED, CREATION_FAILED} else "refuses to create pods"
    return reason, f"the API server {verb}: {shown}; {fix}"
