"""Whether an object must be applied: so that nothing is written at rest, and what others changed is healed.

Two questions. Is the live object from this very desired state (its hash, in an annotation)? And does it still say all
that the desired state says? Fields that only the live object has are the API server's defaults or belong to others:
applying would not remove them, so they are no reason to apply. Only an empty map is meant as it stands: `{}` selects
everything, and whatever somebody adds to it selects less.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, TypeAlias

from throughline.api.base import GROUP

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from throughline.domain.observed import Manifest

# The keys and their values of an item in a list that is merged by these keys.
Key: TypeAlias = tuple[tuple[str, str | int], ...]
# A field's name; the key of an item in a list that is merged by keys; the index in any other list.
Step: TypeAlias = str | Key | int
Path: TypeAlias = tuple[Step, ...]

APPLIED_HASH = f"{GROUP}/applied-hash"
HASH_DIGITS = 16
# The lists that server-side apply merges by a key, in what is rendered here; all others are replaced as a whole.
# ports: of a container by containerPort; of a Service by port, where each item has a targetPort (a NetworkPolicy's
# ports have none, and are atomic).
_LIST_KEYS: dict[str, tuple[str, ...]] = {
    "claims": ("name",),
    "containers": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "resourceClaims": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}


def with_hash(manifest: Mapping[str, Any], *, hash_annotation: str = APPLIED_HASH) -> Manifest:
    """The manifest with the hash of itself as an annotation (of the object, never of its pod template)."""
    metadata = manifest.get("metadata", {})
    annotations = {k: v for k, v in metadata.get("annotations", {}).items() if k != hash_annotation}
    bare = {**manifest, "metadata": {**metadata, "annotations": annotations}}
    annotations[hash_annotation] = hash_of(bare)
    return bare


def hash_of(value: Mapping[str, Any]) -> str:
    """The same for the same value, whatever the order of its fields."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


def needs_apply(
    desired: Mapping[str, Any], live: Mapping[str, Any] | None, *, hash_annotation: str = APPLIED_HASH
) -> str | None:
    """Why `desired` (from `with_hash`) must be applied over `live`; None when it need not."""
    if live is None:
        return "it does not exist"
    wanted = desired["metadata"]["annotations"][hash_annotation]
    applied = (live.get("metadata", {}).get("annotations") or {}).get(hash_annotation)
    if applied is None:
        return "it was not applied by this operator"
    if applied != wanted:
        return "what it should say has changed"
    difference = next(paths(desired, live), None)
    return None if difference is None else f"{text_of(difference)} was changed by somebody else"


def differences(desired: Mapping[str, Any], live: Mapping[str, Any]) -> list[str]:
    """Paths of `desired` that `live` does not confirm; for people, so our own annotations are none of them."""
    found = (text_of(path) for path in paths(desired, live))
    return [path for path in found if not path.startswith(f"metadata.annotations.{GROUP}/")]


def text_of(path: Path) -> str:
    """As people write it: spec.template.spec.containers[triton].image."""
    text = ""
    for step in path:
        if isinstance(step, str):
            text += f".{step}" if text else step
        else:
            text += f"[{','.join(str(value) for _, value in step) if isinstance(step, tuple) else step}]"
    return text


def paths(desired: Any, live: Any, path: Path = ()) -> Iterator[Path]:
    """Paths of `desired` that `live` does not confirm."""
    if isinstance(desired, dict) and isinstance(live, dict):
        if live and not desired:
            yield path
        for name, value in desired.items():
            where = (*path, name)
            if name not in live:
                yield where
            elif isinstance(value, list) and isinstance(live[name], list):
                yield from _list_paths(name, value, live[name], where)
            else:
                yield from paths(value, live[name], where)
    elif isinstance(desired, list) and isinstance(live, list):
        yield from _list_paths("", desired, live, path)
    elif type(desired) is not type(live) or desired != live:
        yield path


def _list_paths(name: str, desired: Sequence[Any], live: Sequence[Any], path: Path) -> Iterator[Path]:
    keys = _list_keys(name, desired)
    if keys is None:
        if len(desired) != len(live):
            yield path
            return
        for index, (wanted, found) in enumerate(zip(desired, live, strict=True)):
            yield from paths(wanted, found, (*path, index))
        return
    found_by_key = {_key_of(item, keys): item for item in live if _all([item], *keys)}
    for wanted in desired:
        key = _key_of(wanted, keys)
        where = (*path, key)
        found = found_by_key.get(key)
        if found is None:
            yield where
        else:
            yield from paths(wanted, found, where)


def _list_keys(name: str, items: Sequence[Any]) -> tuple[str, ...] | None:
    keys = _LIST_KEYS.get(name)
    if name == "ports":
        marks = (("containerPort", "containerPort"), ("port", "targetPort"))
        keys = next(((key,) for key, mark in marks if _all(items, mark)), None)
    return keys if keys is not None and _all(items, *keys) else None


def _key_of(item: Mapping[str, Any], keys: Sequence[str]) -> Key:
    return tuple((key, item[key]) for key in keys)


def _all(items: Sequence[Any], *fields: str) -> bool:
    """Whether all are maps with these fields, as keys have them."""
    return bool(items) and all(
        isinstance(item, dict) and all(isinstance(item.get(f), str | int) for f in fields) for item in items
    )
