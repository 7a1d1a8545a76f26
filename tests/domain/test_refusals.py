"""What the API server says when it refuses pods becomes the right reason, and advice that helps."""

from __future__ import annotations

import pytest
from throughline.domain.condition_reasons import nature
from throughline.domain.condition_types import WORKLOAD_READY, Nature
from throughline.domain.refusals import SAID_LIMIT, refused

SCC = (
    'unable to validate against any security context constraint: [provider "anyuid": Forbidden: not usable by user or '
    "serviceaccount, provider restricted-v2: .spec.securityContext.fsGroup: Invalid value: [1000]: 1000 is not an "
    'allowed group, provider "privileged": Forbidden: not usable by user or serviceaccount]'
)
WEBHOOK = (
    'Internal error occurred: failed calling webhook "validate.kyverno.svc-fail": failed to call webhook: Post '
    '"https://kyverno-svc.kyverno.svc:443/validate/fail?timeout=10s": dial tcp 10.96.7.7:443: connect: '
    "connection refused"
)
ISTIO = (
    'violates PodSecurity "restricted:latest": unrestricted capabilities (container "istio-init" must not include '
    '"NET_ADMIN", "NET_RAW" in securityContext.capabilities.add)'
)
ENFORCE = "pod-security.kubernetes.io/enforce"
# The words after `pods "…" is forbidden: ` → reason, what the message says, what it must not say
REFUSALS: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "ids outside OpenShift's range": (
        SCC,
        "PodsRefused",
        ("settings.podIds: assigned", "spec.runtime.securityContext.ids: Assigned"),
        ("serviceAccountName",),
    ),
    "an SCC refuses what a webhook added": (
        "unable to validate against any security context constraint: [provider restricted-v2: .capabilities.add: no]",
        "PodsRefused",
        ("see which webhook adds what it names",),
        ("serviceAccountName",),
    ),
    "no quota has the scope": (
        "insufficient quota to match these scopes: [{PriorityClass In [high]}]",
        "QuotaExceeded",
        ("has the scope [{PriorityClass In [high]}]", "spec.runtime.priorityClassName"),
        (),
    ),
    "a quota is used up": (
        "exceeded quota: team, requested: requests.cpu=2, used: requests.cpu=4, limited: requests.cpu=4",
        "QuotaExceeded",
        ("`kubectl edit resourcequota team -n vision`",),
        (),
    ),
    "a quota asks for limits": (
        "failed quota: team: must specify limits.cpu for: triton",
        "QuotaExceeded",
        ("give spec.runtime.resources what the ResourceQuota that it names asks for",),
        (),
    ),
    "Istio's init container": (ISTIO, "PodsRefused", ("Istio's CNI plugin", "sidecar.istio.io/inject"), (ENFORCE,)),
    "Linkerd's init container": (
        ISTIO.replace("istio-init", "linkerd-init"),
        "PodsRefused",
        ("CNI plugin of the mesh",),
        (ENFORCE,),
    ),
    "another container that is not restricted": (
        'violates PodSecurity "restricted:latest": runAsNonRoot != true (container "agent" must set it)',
        "PodsRefused",
        ("see which webhook adds what it names", ENFORCE),
        (),
    ),
    "two limits of a LimitRange": (
        "[maximum memory usage per Container is 1Gi, but limit is 2Gi, maximum cpu usage per Pod is 1, but limit is 2]",
        "PodsRefused",
        ("`kubectl describe limitrange -n vision`",),
        (),
    ),
    "a ratio of a LimitRange": (
        "memory max limit to request ratio per Container is 2, but provided ratio is 4.000000",
        "PodsRefused",
        ("`kubectl describe limitrange -n vision`",),
        (),
    ),
    "no such service account": (
        'error looking up service account vision/reader: serviceaccount "reader" not found',
        "PodsRefused",
        ("`kubectl create serviceaccount reader -n vision`", "spec.runtime.serviceAccountName"),
        (),
    ),
    "no such PriorityClass": ("no PriorityClass with name high was found", "PodsRefused", ("priorityclasses",), ()),
    "no such RuntimeClass": ('pod rejected: RuntimeClass "nvidia" not found', "PodsRefused", ("runtimeclasses",), ()),
    "a policy that speaks of quotas and accounts": (
        'admission webhook "gate.example" denied the request: serviceaccount default has exceeded quota: of tries,',
        "PodsRefused",
        ("change what it names in spec.runtime, or the policy",),
        ("serviceAccountName", "ResourceQuota"),
    ),
    "a webhook that is down": (
        WEBHOOK,
        "AdmissionWebhookFailed",
        (
            "nothing in the spec is wrong",
            "`kubectl describe service kyverno-svc -n kyverno`",
            "`kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations`",
        ),
        ("spec.runtime",),
    ),
    "a webhook outside the cluster that is down": (
        'Internal error occurred: failed calling webhook "a": failed to call webhook: Post "https://a.example/v": EOF',
        "AdmissionWebhookFailed",
        ("nothing in the spec is wrong", "`kubectl get validatingwebhookconfigurations,"),
        ("spec.runtime", "describe service"),
    ),
    "storage that does not answer": (
        "etcdserver: request timed out",
        "PodCreationFailed",
        ("tries again by itself",),
        ("spec.runtime",),
    ),
    "a quota that is being written": (
        'Operation cannot be fulfilled on resourcequotas "team": the object has been modified',
        "PodCreationFailed",
        ("tries again by itself",),
        ("spec.runtime",),
    ),
    "a namespace that goes": (
        "unable to create new content in namespace vision because it is being terminated",
        "NamespaceTerminating",
        ("the namespace is being deleted", "`kubectl get namespace vision -o yaml`"),
        ("spec.runtime",),
    ),
}


@pytest.mark.parametrize("forbidden", ['pods "resnet-triton-7d9c-x2x4z" is forbidden: ', ""], ids=["wrapped", "bare"])
@pytest.mark.parametrize("refusal", REFUSALS)
def test_each_refusal_has_its_reason_and_advice(refusal: str, forbidden: str) -> None:
    words, reason, said, unsaid = REFUSALS[refusal]
    found, message = refused(forbidden + words, "vision")
    assert found == reason, message
    assert words in message
    advice = message.replace(words, "")
    assert [s for s in said if s not in advice] == [], message
    assert [s for s in unsaid if s in advice] == [], message
    assert "x2x4z" not in message, "each try has a name of its own"


@pytest.mark.parametrize("words", [WEBHOOK, "etcdserver: request timed out"])
def test_nobody_is_asked_to_change_a_spec_for_what_passes_by_itself(words: str) -> None:
    assert nature(WORKLOAD_READY, refused(words, "vision")[0]) is Nature.FAULT


def test_an_invalid_pod_is_told_of_without_the_name_of_the_try() -> None:
    message = refused('Pod "resnet-triton-7d9c-x2x4z" is invalid: spec.hostname: Invalid value: "a.b"', "vision")[1]
    assert "x2x4z" not in message


def test_the_advice_stays_in_the_message_after_a_long_list() -> None:
    longest = f"{SCC[:-1]}, {', '.join(f'provider scc-{n}: Forbidden' for n in range(100))}]"
    message = refused(longest, "vision")[1]
    assert len(message) < SAID_LIMIT + 300
    assert message.endswith("spec.runtime.securityContext.ids: Assigned")
