"""Resources like those of the tables, changed by chance, as the texts that people write: some three in ten are right.

Fields are taken over from other resources of the tables, take odd values, or are left out; the YAML is written with
quotes, without any, or as JSON.
"""

from __future__ import annotations

import copy
import json
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from tests.api import resources

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str | int, ...]

# What a field may hold that somebody took for right: other types, other units, the edges of names and numbers.
ODD: tuple[Any, ...] = (
    *("", "a", "A", "x" * 63, "x" * 64, "x" * 253, "x" * 254, "-a", "a-", "a_b", "a.b", "a..b", ".a", "a/b", "é"),
    *("Y", "n", "on", "Off", "yes", "NO", "true", "False", "null", "~", "0x1F", "010", "1_000", "1e3", ".5", "+1"),
    *("1:30", "2026-11-29", "NaN", ".inf", "1", "1.0", "-1", "007", "0o17", "12345678901234567890", " a", "a ", "a b"),
    *("a: b", "#a", "1Mi", "512m", "1Gi", "0.5", "1k", "1K", "1e-3", "100Mi", "1.5Gi", "-1Gi", "1e40", "0", "5", "2"),
    *("0.001", "1m", "10%", "99.9%", "100%", "100.0001%", "0.5%", "1h", "30m", "1h30m", "1.5h", "90s", "1d", "PT1H"),
    *("0s", "-1s", "100ms", ".", "..", "../a", "a/../b", "/a", "a/", "a//b", "./a", "a/./b", "pvc://a/b", "pvc://a"),
    *("pvc://a/../b", "pvc://A/b", "pvc://a/.", "pvc:///b", "configmap://a", "s3://b/c", "hf://a/b", "http://a"),
    *("0 3 * * 7", "0 3 * * 0", "@daily", "Europe/Berlin", "UTC", "Local", "Mars/Base", "nvidia.com/gpu", "a/b/c"),
    *("example.com/a", "kubernetes.io/hostname", "throughline.io/x", "2026-02-30T08:00:00Z", "2026-01-31t08:00:00.5z"),
    *("a\nb", "a\tb", "\x01", "'", '"', "{", "[a]", "{{ x }}", "$(X)", "${X}", "*", "&a", "!a", "%a", "@a", "日本"),
    *(0, 1, -1, 2, 3, 100, 1000, 65_535, 65_536, 2**31 - 1, 2**31, 2**53 + 1, 2**63, 0.5, 1.0, 1.5, 1e3, 1e20, -0.0),
    *(True, False, None, [], {}, [1], ["a"], ["a", "a"], {"a": "b"}, {"a": 1}, {"name": "a"}, [{"name": "a"}], [None]),
)
_CROSSED, _ODD = 0.6, 0.9  # shares of the changes, cumulated; the rest leaves a field out
_WHOLE = ("apiVersion", "kind", "metadata")


class Text(NamedTuple):
    """A file with one resource, and the resource as it was meant."""

    kind: str
    text: str
    meant: dict[str, Any]


class _Plain(yaml.SafeDumper):
    """Writes text without quotes wherever YAML's own marks allow it, as people do: a Y, a 010, a 1e3."""


_Plain.yaml_implicit_resolvers = {}
for _type in (int, float, bool, type(None)):
    _Plain.add_representer(
        _type, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:str", json.dumps(value))
    )


def texts(seed: int = 0) -> Iterator[Text]:
    """Without an end; the same for the same seed."""
    chance = random.Random(seed)
    good = list(resources.good().values())
    found = _harvest(good)
    while True:
        resource = copy.deepcopy(chance.choice(good))
        for _ in range(chance.choice([1, 1, 2, 3, 5, 8])):
            _change(chance, resource, found)
        resource["metadata"] = resource.get("metadata") or {}
        resource["metadata"].pop("namespace", None)
        kind = resource["kind"]
        yield Text(kind, _written(chance, resource), resource)


def _harvest(good: list[dict[str, Any]]) -> dict[str, list[tuple[Path, Any]]]:
    """kind → every field of its resources, but what is inside a list, with a value that it has."""
    found: dict[str, list[tuple[Path, Any]]] = {}
    for resource in good:
        fields = [(path, value) for path, value in _fields(resource) if not any(isinstance(p, int) for p in path)]
        found.setdefault(resource["kind"], []).extend(f for f in fields if f[0] not in {(w,) for w in _WHOLE})
    return found


def _fields(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield (*path, key), child
        yield from _fields(child, (*path, key))


def _change(chance: random.Random, resource: dict[str, Any], found: dict[str, list[tuple[Path, Any]]]) -> None:
    kind = chance.random()
    if kind < _CROSSED:
        path, value = chance.choice(found[resource["kind"]])
        _put(resource, path, copy.deepcopy(value))
        return
    fields = [path for path, _ in _fields(resource) if path not in {(whole,) for whole in _WHOLE}]
    if not fields:
        return
    path = chance.choice(fields)
    if kind < _ODD:
        _put(resource, path, copy.deepcopy(chance.choice(ODD)))
    else:
        _put(resource, path, None, remove=True)


def _put(resource: dict[str, Any], path: Path, value: Any, *, remove: bool = False) -> None:
    """Where something stands in the way, nothing happens."""
    holder: Any = resource
    for part in path[:-1]:
        if isinstance(holder, dict):
            holder = holder.setdefault(part, {})
        elif isinstance(holder, list) and isinstance(part, int) and part < len(holder):
            holder = holder[part]
        else:
            return
    last = path[-1]
    if isinstance(holder, dict) or (isinstance(holder, list) and isinstance(last, int) and last < len(holder)):
        if remove:
            holder.pop(last, None) if isinstance(holder, dict) else holder.pop(last)
        else:
            holder[last] = value


def _written(chance: random.Random, resource: dict[str, Any]) -> str:
    style = chance.random()
    if style < 0.3:
        return json.dumps(resource)
    dumper = _Plain if style < 0.7 else yaml.SafeDumper
    return yaml.dump(resource, Dumper=dumper, allow_unicode=True, sort_keys=False)
