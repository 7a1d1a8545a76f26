"""`metadata` as the API server checks it for every kind: apimachinery's ValidateObjectMeta, and strict decoding."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from throughline.api.base import DNS_LABEL, MAX_DNS_LABEL, matches
from throughline.api.labels import LABEL_VALUE, MAX_LABEL_VALUE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_ANNOTATIONS_BYTES = 262_144
MAX_PREFIX = 253
# Characters that the API server puts behind generateName, and what it leaves of that for them.
GENERATED, GENERATED_FROM = "xxxxx", 58
FIELDS = (
    *("name", "generateName", "namespace", "labels", "annotations", "finalizers", "ownerReferences"),
    *("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"),
    *("selfLink", "managedFields"),
)
_NAME_PART = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX_PART = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def problems(metadata: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str, bool]]:
    """(path, message, whether it must be text) of all but the name, whose rule is the kind's."""
    for name in ("namespace", "generateName"):
        value = metadata.get(name)
        if value is not None and not isinstance(value, str):
            yield (name,), f"must be text; got {value!r}, put it in quotes", True
    namespace = metadata.get("namespace")
    if isinstance(namespace, str) and namespace and not _fits(DNS_LABEL, namespace):
        yield (
            ("namespace",),
            f"must have at most {MAX_DNS_LABEL} lower-case letters, digits and '-'; got {namespace}",
            False,
        )
    yield from _texts(metadata, "labels")
    yield from _texts(metadata, "annotations")
    finalizers = metadata.get("finalizers")
    for index, name in enumerate(finalizers if isinstance(finalizers, list) else []):
        if not isinstance(name, str) or not is_qualified(name):
            yield ("finalizers", index), "must be a name such as example.com/finalizer", not isinstance(name, str)


def _texts(metadata: Mapping[str, Any], field: str) -> Iterator[tuple[tuple[str | int, ...], str, bool]]:
    texts = metadata.get(field)
    if texts is None:
        return
    if not isinstance(texts, dict):
        yield (field,), f"must be a map of names to text; got {texts!r}", False
        return
    for key, value in texts.items():
        # Annotations' keys may be written in capitals.
        if not is_qualified(key.lower() if field == "annotations" else key):
            yield (field, key), "is no such name; write it as example.com/name or name, of at most 63 characters", False
        if value is not None and not isinstance(value, str):
            yield (field, key), f"must be text; got {value!r}, put it in quotes", True
        elif field == "labels" and value and not _fits(LABEL_VALUE, value):
            yield (
                (field, key),
                f"must be at most {MAX_LABEL_VALUE} letters, digits, '-', '_' and '.'; got {value}",
                False,
            )
    if field == "annotations":
        size = sum(len(str(part).encode()) for pair in texts.items() for part in pair)
        if size > MAX_ANNOTATIONS_BYTES:
            yield (field,), f"must have at most {MAX_ANNOTATIONS_BYTES} bytes together; have {size}", False


def _fits(pattern: str, text: str) -> bool:
    return len(text) <= MAX_DNS_LABEL and matches(pattern, text)


def generated(begun: str) -> str:
    """A name as the API server makes it of generateName."""
    return f"{begun[:GENERATED_FROM]}{GENERATED}"


def is_qualified(key: str) -> bool:
    """Whether it is a qualified name: example.com/name, or name."""
    *prefixes, name = key.split("/")
    if len(prefixes) > 1 or not _NAME_PART.fullmatch(name):
        return False
    return all(len(prefix) <= MAX_PREFIX and _PREFIX_PART.fullmatch(prefix) for prefix in prefixes)
