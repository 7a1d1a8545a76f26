"""The watched objects, kept small: what reconciles read instead of the API server.

Each object is kept as compact JSON and parsed when it is asked for. A thousand services with their children are then
some ten MiB instead of a hundred; parsing one takes some ten microseconds.

Resource versions are compared as the integers that they are (KEP-5504 makes that official), so that an older event
never replaces a newer object, whichever path brought it: watch, list, or the reply to a write of our own.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from throughline.domain.manifests.names import SERVICE_LABEL, label_value
from throughline.runtime import slim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Ref = tuple[str, str, str]  # kind, namespace ("" for cluster-scoped), name
TOMBSTONES = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """One object. `body` leaves the version out, so that equal bodies are equal bytes."""

    version: int
    body: bytes


class Store:
    """A cache with an index by service."""

    def __init__(self) -> None:
        self._entries: dict[Ref, Entry] = {}
        self._children: dict[tuple[str, str], set[Ref]] = {}
        self._tombstones: OrderedDict[Ref, int] = OrderedDict()

    def put(self, obj: Mapping[str, Any]) -> bool:
        """Keep the object unless a newer one is known; True when its content (as kept) changed."""
        ref, version = ref_of(obj), version_of(obj)
        old = self._entries.get(ref)
        if (old is not None and version <= old.version) or version <= self._tombstones.get(ref, -1):
            return False
        entry = Entry(version, json.dumps(slim.slim(obj), separators=(",", ":")).encode())
        self._entries[ref] = entry
        owner = _service_key(obj)
        if owner:
            self._children.setdefault(owner, set()).add(ref)
        return old is None or old.body != entry.body

    def delete(self, obj: Mapping[str, Any]) -> bool:
        """Forget the object unless a newer one is known; True when it was there."""
        return self._drop(ref_of(obj), version_of(obj))

    def forget(self, ref: Ref) -> None:
        """Forget an object that the API server says is not there."""
        entry = self._entries.get(ref)
        if entry is not None:
            self._drop(ref, entry.version)

    def _drop(self, ref: Ref, version: int) -> bool:
        old = self._entries.get(ref)
        if old is not None and old.version > version:
            return False
        self._tombstones[ref] = max(version, self._tombstones.pop(ref, -1))
        while len(self._tombstones) > TOMBSTONES:
            self._tombstones.popitem(last=False)
        if old is None:
            return False
        del self._entries[ref]
        owner = _service_key(json.loads(old.body))
        if owner and owner in self._children:
            self._children[owner].discard(ref)
            if not self._children[owner]:
                del self._children[owner]
        return True

    def retain(self, kind: str, namespace: str | None, listed: set[Ref], list_version: int) -> list[dict[str, Any]]:
        """After a list: drop what it did not contain, unless that came later; returns what was dropped."""
        gone = []
        for ref, entry in list(self._entries.items()):
            if ref[0] == kind and (not namespace or ref[1] == namespace) and ref not in listed:
                if entry.version > list_version:
                    continue
                gone.append(self._load(entry))
                self._drop(ref, entry.version)
        return gone

    def get(self, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        entry = self._entries.get((kind, namespace or "", name))
        return None if entry is None else self._load(entry)

    def version(self, kind: str, namespace: str | None, name: str) -> int | None:
        """Resource version of one object, without parsing it."""
        entry = self._entries.get((kind, namespace or "", name))
        return None if entry is None else entry.version

    def versions(self, namespace: str, service: str) -> Mapping[tuple[str, str], int]:
        """(kind, name) → resource version of the service's children: tells cheaply whether any changed."""
        refs = self._children.get((namespace, label_value(service)), ())
        return {(kind, name): self._entries[(kind, ns, name)].version for kind, ns, name in refs}

    def children(self, namespace: str, service: str, kind: str) -> list[dict[str, Any]]:
        refs = self._children.get((namespace, label_value(service)), ())
        return [self._load(self._entries[ref]) for ref in sorted(refs) if ref[0] == kind]

    def all(self, kind: str) -> Iterator[dict[str, Any]]:
        """A snapshot of one kind."""
        return (self._load(entry) for ref, entry in list(self._entries.items()) if ref[0] == kind)

    def names(self, kind: str) -> Iterable[tuple[str, str]]:
        """(namespace, name) of one kind."""
        return [(ref[1], ref[2]) for ref in self._entries if ref[0] == kind]

    @staticmethod
    def _load(entry: Entry) -> dict[str, Any]:
        obj: dict[str, Any] = json.loads(entry.body)
        obj["metadata"]["resourceVersion"] = str(entry.version)
        return obj

    def __len__(self) -> int:
        return len(self._entries)


def ref_of(obj: Mapping[str, Any]) -> Ref:
    """The key of an object."""
    metadata = obj["metadata"]
    return (obj["kind"], metadata.get("namespace") or "", metadata["name"])


def version_of(obj: Mapping[str, Any]) -> int:
    """Its resource version as a number."""
    return int(obj["metadata"].get("resourceVersion") or 0)


def _service_key(obj: Mapping[str, Any]) -> tuple[str, str] | None:
    metadata = obj["metadata"]
    service = (metadata.get("labels") or {}).get(SERVICE_LABEL)
    return (metadata.get("namespace") or "", service) if service else None
