"""The key of Triton's control API: random, made once per service, never changed while it exists."""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import TYPE_CHECKING

from throughline.domain.manifests import foreign_owner, render_secret, secret_name
from throughline.domain.ownership import FIELD_MANAGER

if TYPE_CHECKING:
    from throughline.domain.manifests import Identity
    from throughline.reconcile.context import Deps, ServiceState

KEY_BYTES = 32


async def ensure(deps: Deps, state: ServiceState, identity: Identity) -> str | None:
    """Have the key in `state`, from the Secret or a new one; returns whose the Secret is when it is not ours.

    The Secret is read by name and not watched: watching would take the right to list every Secret of the cluster.
    """
    if state.secret_seen:
        return None
    name = secret_name(identity.name)
    live = await deps.kube.get("v1", "Secret", identity.namespace, name)
    if live is not None:
        owner = foreign_owner(live, identity)
        if owner is not None:
            return f"Secret {identity.namespace}/{name} exists and is {owner}: delete or rename it"
        stored = _decode((live.get("data") or {}).get("key"))
        if stored is not None:
            state.key, state.secret_seen = stored, True
            return None
    # A Secret that somebody deleted comes back with the key that the running servers have.
    key = state.key or secrets.token_urlsafe(KEY_BYTES)
    await deps.kube.apply(render_secret(identity, key), field_manager=FIELD_MANAGER)
    state.key, state.secret_seen = key, True
    return None


def _decode(value: str | None) -> str | None:
    try:
        return base64.b64decode(value or "", validate=True).decode() or None
    except (binascii.Error, UnicodeDecodeError):  # unusable: a new one is made
        return None
