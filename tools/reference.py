"""The documents that are made from the code: conditions, API reference, and the numbers of how-it-decides."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughline.api import crd
from throughline.domain.condition_types import TYPES, Nature
from throughline.domain.conditions import describe, describe_pool
from throughline.domain.evaluation.reasons import describe_revision, describe_run

from tools import comparison

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from throughline.api.crd import Kind, Schema
    from throughline.domain.condition_types import Meaning

ROOT = Path(__file__).resolve().parent.parent
DOCS = Path("docs")
HEADER = "<!-- Made by tools/generate.py from {source}: edit that, not this file. -->\n"
CONTROL = "throughline.domain.control"
_NUMBER = re.compile(r"@([a-z_.]+)\.([A-Z_]+)(\|percent)?@")

NATURES = {
    Nature.GOOD: "as it should be",
    Nature.PROGRESS: "getting there by itself",
    Nature.FAULT: "wrong now, tried again by itself",
    Nature.USER: "stays so until somebody changes something",
}
CONDITIONS = {
    "Ready": "The summary: the spec is realised and the model serves. Made from Accepted, WorkloadReady and ModelReady "
    "only. When it is False it has the reason and message of the cause. A missed SLO does not make it False.",
    "Accepted": "The spec can be carried out.",
    "WorkloadReady": "The pods are as the spec asks.",
    "ModelReady": "The current model is loaded and answers.",
    "MetricsAvailable": "Prometheus has what decisions are made from. While it is not True, replicas and batch "
    "settings are held.",
    "SLOMet": "The measured p99 is within `spec.slo.latencyP99Milliseconds`.",
    "ScalingActive": "The replica count follows the demand.",
    "BatchTuned": "The batch settings are the best known.",
    "LoadBalanced": "Every replica gets its share of the load.",
    "AccuracyPassing": "Every suite of `spec.evaluation` passed for the revision that serves.",
    "DriftWithinBounds": "Live traffic is as the baseline of `spec.monitoring` is, as far as samples and labels tell.",
    "Reconciling": "For kstatus: True while something is under way or a fault is tried again. It repeats the reason of "
    "Ready.",
    "Stalled": "For kstatus: True when only a change by you helps. It repeats the reason of Ready.",
}


def files() -> dict[Path, str]:
    """Path below the repository root → what it must hold."""
    return {
        DOCS / "conditions.md": conditions(),
        DOCS / "api.md": api(),
        DOCS / "compare.md": HEADER.format(source="docs/compare.toml and docs/compare.md.in") + comparison.document(),
        DOCS / "how-it-decides.md": numbers((ROOT / DOCS / "how-it-decides.md.in").read_text()),
    }


def conditions() -> str:
    """Every condition and reason, what it means, what to do."""
    by_type: dict[str, list[Meaning]] = {}
    for line in describe():
        by_type.setdefault(line.type, []).append(line)
    natures = "".join(f"- **{nature.value}**: {text}.\n" for nature, text in NATURES.items())
    intro = (
        "# Conditions and reasons\n\n"
        "All conditions of an InferenceService are present from the operator's first visit on. Each is healthy when it "
        "is True, but for Reconciling and Stalled, which kstatus defines the other way round. The message of a "
        "condition names the object or field. `throughline explain NAME` prints what this page says of every condition "
        "that is not healthy.\n\n"
        "The column *Who acts* says what the reason asks for:\n\n"
        f"{natures}\n"
        "The column Reason of `kubectl get tis` shows one reason: why the service is not ready; else why its SLO is "
        "missed; else what else needs somebody; else `Serving`.\n"
    )
    parts = [
        HEADER.format(source="operator/src/throughline/domain/reasons"),
        intro,
        "## InferenceService\n",
        *(f"### {kind}\n\n{CONDITIONS[kind]}\n\n{_reasons(by_type[kind])}" for kind in TYPES),
        f"## ServingPool\n\n### Ready\n\nThe pool can take replicas.\n\n{_reasons(describe_pool())}",
        (
            "## EvaluationRun\n\n### Succeeded\n\nThere is a verdict, good or bad; Unknown while it is under way.\n\n"
            f"{_reasons(describe_run())}"
        ),
        f"## ModelRevision\n\n### Admitted\n\nIt may serve.\n\n{_reasons(describe_revision())}",
    ]
    return "\n".join(parts)


def _reasons(lines: Iterable[Meaning]) -> str:
    rows = [f"| `{m.reason}` | {m.nature.value} | {_cell(m.meaning)} | {_cell(m.action)} |" for m in lines]
    return "\n".join(["| Reason | Who acts | Meaning | What to do |", "|---|---|---|---|", *rows, ""])


def api() -> str:
    """Every field of every kind."""
    head = (
        HEADER.format(source="operator/src/throughline/api") + "\n# API reference\n\n"
        f"Group `{crd.GROUP}`, version `{crd.VERSION}`. The CustomResourceDefinitions are in [`crds/`](../crds). They "
        "set no defaults: an object is stored as it was written, and the operator fills in the defaults of the tables "
        "below when it reads. Unknown fields are refused by `throughline validate` and by `kubectl apply`.\n\n"
        "Quantities are Kubernetes quantities: `250m`, `2`, `1.5`, `4Gi`. A list with a key is merged by that key in "
        "server-side apply; other lists are replaced as a whole.\n"
    )
    return "\n".join([head, *(_kind(kind) for kind in crd.KINDS)])


def _kind(kind: Kind) -> str:
    schema = crd.definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec, status = schema["properties"]["spec"], schema["properties"].get("status")
    scope = "namespaced" if kind.namespaced else "cluster-wide"
    rules = list(dict.fromkeys([kind.name_rule.message, *_rules(spec)]))
    columns = [
        f"| {c['name'].upper()} | `{c['jsonPath']}` | {'yes' if c.get('priority') else ''} | "
        f"{_cell(c.get('description', ''))} |"
        for c in kind.columns
    ]
    return "\n".join(
        [
            f"## {kind.kind}\n\n{kind.description}\n\nShort name `{kind.short}`, {scope}.\n",
            f"### {kind.kind} spec\n",
            _fields(spec),
            f"### {kind.kind} rules\n\nBeside the bounds of each field:\n",
            *(f"- {_cell(rule)}." for rule in rules),
            # A suite and an approval are only read: what comes of them stands in the status of others.
            f"\n### {kind.kind} status\n\n"
            + (f"Written by the operator alone.\n\n{_fields(status)}" if status else "It has none.\n"),
            f"### {kind.kind} columns\n\nWhat `kubectl get {kind.short}` shows; some only with `-o wide`.\n",
            "| Column | Field | Only wide | Meaning |\n|---|---|---|---|",
            *columns,
            "",
        ]
    )


def _rules(schema: Schema) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", []):
        yield rule["message"]
    for child in schema.get("properties", {}).values():
        yield from _rules(child)
    for inner in ("items", "additionalProperties"):
        if isinstance(schema.get(inner), dict):
            yield from _rules(schema[inner])


def _fields(schema: Schema) -> str:
    rows = [f"| `{path}` | {kind} | {default} | {meaning} |" for path, kind, default, meaning in _walk(schema, "")]
    return "\n".join(["| Field | Type | Default | Meaning and bounds |", "|---|---|---|---|", *rows, ""])


def _walk(schema: Schema, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    required = schema.get("required", [])
    for name, field in schema["properties"].items():
        path = f"{prefix}{name}"
        description, _, default = str(field.get("description", "")).partition("Default: ")
        default = default.removesuffix(".")
        shown = "**required**" if name in required else f"`{default}`" if default else ""
        yield path, _type(field), shown, _cell(" ".join([description.strip(), *_bounds(field)]).strip())
        inner = field.get("items", field)
        if "properties" in inner and inner.get("type") == "object":
            yield from _walk(inner, f"{path}[]." if "items" in field else f"{path}.")


def _type(field: Schema) -> str:
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    match field.get("type"):
        case "array":
            return f"list of {_type(field['items'])}"
        case "object" if "additionalProperties" in field:
            return f"map to {_type(field['additionalProperties'])}"
        case "string" if field.get("format") == "date-time":
            return "time"
        case other:
            return str(other)


def _bounds(field: Mapping[str, Any]) -> Iterator[str]:
    if "enum" in field:
        yield f"One of {', '.join(f'`{value}`' for value in field['enum'])}."
    if field.get("type") == "integer" and "minimum" in field:
        yield (
            f"{field['minimum']:,} to {field['maximum']:,}."
            if "maximum" in field
            else f"At least {field['minimum']:,}."
        )
    if "maxItems" in field:
        least = f"{field['minItems']} to " if field.get("minItems") else "at most "
        yield f"{least}{field['maxItems']} entries.".capitalize()
    if keys := field.get("x-kubernetes-list-map-keys"):
        yield f"Key: {', '.join(f'`{key}`' for key in keys)}."
    if "maxProperties" in field:
        yield f"At most {field['maxProperties']} entries."


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def numbers(template: str) -> str:
    """The text with each `@module.CONSTANT@` of the decision core replaced by its value."""

    def value(match: re.Match[str]) -> str:
        number = getattr(import_module(f"{CONTROL}.{match[1]}"), match[2])
        if isinstance(number, tuple):
            return ", ".join(f"{n:g}" for n in number)
        return f"{100 * number:g}%" if match[3] else f"{number:g}"

    return HEADER.format(source="docs/how-it-decides.md.in and the constants of the code") + _NUMBER.sub(
        value, template
    )
