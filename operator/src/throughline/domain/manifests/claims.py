"""One volume for each claim of which a pod both reads and writes.

A kubelet mounts a claim once in a pod, so of two volumes of one claim, one of them read-only, neither may be writable.
"""

from __future__ import annotations

from typing import Any


def shared(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod's spec where volumes of a claim that one of them may write to are that one; what was read-only is so by
    its mounts. Claims that are only read stay as they are.
    """
    claims = {v["name"]: v["persistentVolumeClaim"] for v in pod["volumes"] if "persistentVolumeClaim" in v}
    writable = {claim["claimName"]: name for name, claim in claims.items() if not claim.get("readOnly")}
    other = {
        name: writable[claim["claimName"]]
        for name, claim in claims.items()
        if claim["claimName"] in writable and writable[claim["claimName"]] != name
    }
    if not other:
        return pod
    found = {**pod, "volumes": [v for v in pod["volumes"] if v["name"] not in other]}
    for kind in ("initContainers", "containers"):
        if kind in pod:
            found[kind] = [_mounting(container, other, claims) for container in pod[kind]]
    return found


def _mounting(container: dict[str, Any], other: dict[str, str], claims: dict[str, Any]) -> dict[str, Any]:
    mounts = []
    for mount in container.get("volumeMounts", ()):
        name = mount["name"]
        if name in other:
            only_read = {"readOnly": True} if claims[name].get("readOnly") else {}
            mounts.append({**mount, "name": other[name], **only_read})
        else:
            mounts.append(mount)
    return {**container, "volumeMounts": mounts}
