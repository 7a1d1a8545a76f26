"""Reasons of Ready of a ServingPool."""

from __future__ import annotations

from throughline.domain.condition_types import READY, Meaning, Nature

_G, _F, _U = Nature.GOOD, Nature.FAULT, Nature.USER
POOL_REASONS = (
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
        "`kubectl uncordon NODE` for those that the message names, once their maintenance is over.",
    ),
    Meaning(
        READY,
        "NodesNotReady",
        _F,
        "The nodes of the pool are not ready.",
        "`kubectl describe node NODE` says why.",
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
        "CapacityUnknown",
        _F,
        "Nodes of the pool report less of its resource than their pods hold: what is free is not known.",
        "Wait; where it lasts, check the device plugin on the nodes that the message names.",
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
