"""What is wrong with a resource, said so that it can be put right. The API server comes to the same verdict.

Types, bounds and rules are the models'; keys of list maps and metadata are checked as the API server does.
"""

from __future__ import annotations

import difflib
import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from throughline.api import objectmeta
from throughline.api.base import (
    API_VERSION,
    DNS_LABEL,
    DNS_SUBDOMAIN,
    GROUP,
    IMAGE_PATTERN,
    NUMBER_PATTERN,
    OBJECT_KEY,
    QUANTITY_PATTERN,
)
from throughline.api.crd import KINDS, Kind, Schema, definition
from throughline.api.labels import LABEL_KEY, LABEL_VALUE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]
TOP_LEVEL = ("apiVersion", "kind", "metadata", "spec", "status")
SHOWN = 60  # characters of a wrong value


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where, and what to do about it."""

    path: Path
    message: str
    wants_text: bool = False  # and it is none

    @property
    def field(self) -> str:
        """The path as people write it: spec.model.inputs[0].dims."""
        return dotted(self.path)


def dotted(path: Path) -> str:
    """spec.model.inputs[0].dims."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def is_ours(document: object) -> bool:
    """Whether the document claims to be of our group."""
    return isinstance(document, dict) and str(document.get("apiVersion", "")).split("/")[0] == GROUP


def check(document: Mapping[str, Any]) -> list[Problem]:
    """Everything that is wrong with one resource of the group; empty: the API server takes it."""
    if document.get("apiVersion") != API_VERSION:
        return [Problem(("apiVersion",), f"{document.get('apiVersion')!r} is not served; set it to {API_VERSION}")]
    kind = next((k for k in KINDS if k.kind == document.get("kind")), None)
    if kind is None:
        known = [k.kind for k in KINDS]
        return [
            Problem(
                ("kind",),
                f"{_shown(document.get('kind'))} is no kind of {GROUP}{_nearest(document.get('kind'), known)}",
            )
        ]
    schema = schema_of(kind.kind)
    problems = [
        Problem((name,), f"unknown field{_nearest(name, TOP_LEVEL)}") for name in document if name not in TOP_LEVEL
    ]
    problems += _metadata(document.get("metadata"), kind)
    if document.get("spec") is None:
        return [*problems, Problem(("spec",), "is required; add it")]
    return [*problems, *_spec(document["spec"], kind, schema["properties"]["spec"])]


@functools.cache
def schema_of(kind: str) -> Schema:
    """The openAPIV3Schema of the kind of that name, to be read only: to make it takes longer than any check."""
    made = definition(next(k for k in KINDS if k.kind == kind))
    schema: Schema = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _metadata(metadata: object, kind: Kind) -> Iterator[Problem]:
    if not isinstance(metadata, dict):
        yield Problem(("metadata",), "is required; add metadata.name")
        return
    if not kind.namespaced and metadata.get("namespace"):
        yield Problem(("metadata", "namespace"), f"a {kind.kind} belongs to no namespace; remove it")
    for unknown in (field for field in metadata if field not in objectmeta.FIELDS):
        yield Problem(("metadata", unknown), f"unknown field{_nearest(unknown, objectmeta.FIELDS)}")
    for path, message, wants_text in objectmeta.problems(metadata):
        yield Problem(("metadata", *path), message, wants_text=wants_text)
    name = metadata.get("name")
    if name is not None and not isinstance(name, str):
        message = f"must be text; got {_shown(name)}, put it in quotes"
        yield Problem(("metadata", "name"), message, wants_text=True)
    elif not name:
        begun = metadata.get("generateName")
        if not begun:
            yield Problem(("metadata", "name"), "is required; add it")
        elif isinstance(begun, str) and not kind.name_rule.holds(objectmeta.generated(begun)):
            yield Problem(("metadata", "generateName"), f"{kind.name_rule.message}; got {_shown(begun)}")
    elif not kind.name_rule.holds(name):
        yield Problem(("metadata", "name"), f"{kind.name_rule.message}; got {_shown(name)}")


def _spec(spec: object, kind: Kind, schema: Schema) -> Iterator[Problem]:
    # A null is an absent field to the API server.
    spec = without_nulls(spec)
    yield from _duplicates(spec, schema, ("spec",))
    try:
        # Strict, and as JSON: "5" is no integer to the API server either, but text may name a member of an enum.
        kind.spec.model_validate_json(json.dumps(spec), strict=True)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            yield _problem(details, schema)


def without_nulls(value: Any) -> Any:
    """The value as the API server takes it: a null is an absent field."""
    if isinstance(value, dict):
        return {str(k): without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(v) for v in value]
    return value


def _duplicates(value: object, schema: Schema, path: Path) -> Iterator[Problem]:
    if isinstance(value, dict):
        for name, child in value.items():
            inner = schema.get("properties", {}).get(name)
            if inner:
                yield from _duplicates(child, inner, (*path, name))
    elif isinstance(value, list) and "items" in schema:
        keys = schema.get("x-kubernetes-list-map-keys", [])
        seen: dict[tuple[str, ...], int] = {}
        for index, item in enumerate(value):
            yield from _duplicates(item, schema["items"], (*path, index))
            if keys and isinstance(item, dict) and all(key in item for key in keys):
                first = seen.setdefault(tuple(str(item[key]) for key in keys), index)
                if first != index:
                    what = " and ".join(f"{key} {_shown(item[key])}" for key in keys)
                    yield Problem(
                        (*path, index), f"{what} is in {dotted((*path, first))} already; remove or rename one"
                    )


def _problem(details: ErrorDetails, root: Schema) -> Problem:
    location = tuple(part for part in details["loc"] if part != "[key]")
    path: Path = ("spec", *location)
    schema, parent = _schema_at(root, location), _schema_at(root, location[:-1])
    context = details.get("ctx", {})
    got = _shown(details.get("input"))
    if details["type"] == "rule":
        return Problem((*path, context["field"]) if context["field"] else path, context["message"])
    facts = {
        **context,
        "got": got,
        "about": _about(schema),
        "values": ", ".join(schema.get("enum", [])),
        "nearest": _unknown(location, list(parent.get("properties", {}))) if location else "",
        "unquote": ", remove the quotes" if str(details.get("input")).lstrip("-").isdigit() else "",
        "form": _form(str(context.get("pattern", ""))),
        "quote": "" if isinstance(details.get("input"), dict | list) else ", put it in quotes",
        "msg": details["msg"],
    }
    message = _TEXTS.get(details["type"], "{msg}; got {got}").format(**facts)
    wants_text = details["type"] in {"string_type", "enum"} and not isinstance(details.get("input"), str)
    return Problem(path, message, wants_text=wants_text)


# pydantic's error type → what we say.
_TEXTS = {
    "missing": "is required; add it{about}",
    "extra_forbidden": "unknown field{nearest}",
    "enum": "must be one of {values}; got {got}",
    "int_type": "must be a whole number; got {got}{unquote}",
    "int_from_float": "must be a whole number; got {got}",
    "string_type": "must be text; got {got}{quote}",
    "quantity_float": "{msg}",
    "cron": "{msg}",
    "time_zone": "{msg}",
    "twice": "{msg}",
    "string_pattern_mismatch": "{got} is not valid here{about}{form}",
    "greater_than_equal": "must be at least {ge}; got {got}",
    "less_than_equal": "must be at most {le}; got {got}",
    "too_short": "must have at least {min_length} entries; has {actual_length}",
    "too_long": "must have at most {max_length} entries; remove some",
    "string_too_long": "must have at most {max_length} characters; shorten it",
    "string_too_short": "must not be empty",
    "model_type": "must be a map of fields; got {got}{about}",
    "model_attributes_type": "must be a map of fields; got {got}{about}",
    "dict_type": "must be a map; got {got}{about}",
    "list_type": "must be a list; got {got}, put '- ' before each entry",
}


# Pattern → what it lets through.
_FORMS = {
    DNS_SUBDOMAIN: "it must be lower-case letters, digits, '-' and '.', each part with a letter or digit at both ends",
    DNS_LABEL: "it must be lower-case letters, digits and '-', and begin and end with a letter or digit",
    OBJECT_KEY: "it must be letters, digits, '-', '_' and '.', and not begin with '..'",
    QUANTITY_PATTERN: "it must be a number, which m, k, Ki, M, Mi, G, Gi, T or Ti may follow",
    NUMBER_PATTERN: "it must be a number, which m, k, M, G or T may follow",
    IMAGE_PATTERN: "it must be [REGISTRY/]NAME[:TAG][@DIGEST], with NAME in lower case",
    LABEL_KEY: "it must be a name of at most 63 letters, digits, '-', '_' and '.', which example.com/ may precede",
    LABEL_VALUE: "it must be letters, digits, '-', '_' and '.', and begin and end with a letter or digit",
}


def _form(pattern: str) -> str:
    if pattern in _FORMS:
        return f"; {_FORMS[pattern]}"
    return f"; it must match {pattern}" if len(pattern) <= SHOWN else ""


def _schema_at(schema: Schema, location: Path) -> Schema:
    for part in location:
        inner = schema.get("items") if isinstance(part, int) else schema.get("properties", {}).get(part)
        schema = inner or schema.get("additionalProperties") or {}
    return schema


def _about(schema: Schema) -> str:
    """The field's description, as a hint."""
    description = str(schema.get("description", "")).rstrip(".")
    return f" ({description})" if description else ""


# Field of Triton's configuration that is no field here → the field that bounds it.
_ELSEWHERE = {
    ("dynamicBatching", "maxQueueDelayMicroseconds"): "spec.batching.maxQueueDelayMicroseconds",
    ("dynamicBatching", "preferredBatchSize"): "spec.batching.maxBatchSize",
}


def _unknown(location: Path, known: list[str]) -> str:
    bound = _ELSEWHERE.get((str(location[-2]), to_camel(str(location[-1])))) if len(location) > 1 else None
    return f"; the operator chooses it, within {bound}" if bound else _nearest(location[-1], known)


def _nearest(name: object, known: list[str] | tuple[str, ...]) -> str:
    camel = to_camel(str(name))  # of config.pbtxt, whose names have underscores
    close = (
        [camel] if camel in known and camel != name else difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    )
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"


def _shown(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
