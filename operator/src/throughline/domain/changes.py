"""From what the objects of a service should say, and what they say, to what happens to each: for the operator, which
does it, and for `throughline plan`, which shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from throughline.domain import diff, ownership
from throughline.domain.manifests import foreign_owner
from throughline.domain.manifests.form import ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from throughline.domain.manifests import Identity
    from throughline.domain.observed import Manifest


class Action(StrEnum):
    """What happens to one object."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    KEEP = "keep"
    WAIT = "wait"  # it is made once a model may serve
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Change:
    """One object, what happens to it, and why.

    `fields`: paths that the live object does not confirm. `rewritten`: those of them that admission rewrites.
    """

    action: Action
    manifest: Mapping[str, Any]
    why: str
    fields: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return str(self.manifest["kind"])

    @property
    def name(self) -> str:
        """The object's name, or the beginning of it."""
        return str(self.manifest["metadata"].get("name") or self.manifest["metadata"].get("generateName", ""))


def doubtful(manifest: Mapping[str, Any], live: Mapping[str, Any]) -> bool:
    """Whether `live` is of this very manifest and does not say so: its `managedFields` tell why."""
    if _annotation(manifest, ANNOTATION) is not None and _same(manifest, live, ANNOTATION):
        template = {"spec": {"template": manifest["spec"]["template"]}}
        return next(diff.paths(template, live), None) is not None
    return _same(manifest, live, diff.APPLIED_HASH) and diff.needs_apply(manifest, live) is not None


def changes(
    identity: Identity,
    manifests: Sequence[Manifest],
    live: Sequence[Mapping[str, Any] | None],
    cron_jobs: Iterable[Mapping[str, Any]],
) -> list[Change]:
    """In the order in which they are made. `manifests`: from `with_hash`; `live`: the object of each, None where there
    is none; `cron_jobs`: all that the service has.

    Where one is refused, none is made.
    """
    found = [change(identity, *pair) for pair in zip(manifests, live, strict=True)]
    rendered = {manifest["metadata"]["name"] for manifest in manifests if manifest["kind"] == "CronJob"}
    return [*found, *_withdrawn(identity, rendered, cron_jobs)]


def change(identity: Identity, manifest: Manifest, live: Mapping[str, Any] | None) -> Change:
    """What happens to one object of the service."""
    if live is None:
        return Change(Action.CREATE, manifest, "it does not exist")
    owner = foreign_owner(live, identity)
    if owner is not None:
        metadata = manifest["metadata"]
        return Change(
            Action.REFUSE,
            manifest,
            f"{manifest['kind']} {metadata['namespace']}/{metadata['name']} exists and is {owner}: "
            "delete or rename it, or give the InferenceService another name",
        )
    why = diff.needs_apply(manifest, live)
    if why is None:
        return Change(Action.KEEP, manifest, "it is as it should be")
    fields = tuple(diff.differences(manifest, live))
    rewritten = tuple(ownership.rewritten(manifest, live)) if _same(manifest, live, diff.APPLIED_HASH) else ()
    if rewritten and not ownership.edited(manifest, live):
        return Change(Action.KEEP, manifest, f"admission rewrites {', '.join(rewritten)}", fields, rewritten)
    return Change(Action.UPDATE, manifest, why, fields, rewritten)


def _withdrawn(identity: Identity, rendered: set[str], cron_jobs: Iterable[Mapping[str, Any]]) -> list[Change]:
    """What is declared no more, and would go on by itself."""
    return [
        Change(Action.DELETE, live, "spec.monitoring declares no drift and no labels that may be looked at")
        for live in cron_jobs
        if live["metadata"]["name"] not in rendered and foreign_owner(live, identity) is None
    ]


def _same(manifest: Mapping[str, Any], live: Mapping[str, Any], annotation: str) -> bool:
    return _annotation(manifest, annotation) == _annotation(live, annotation)


def _annotation(manifest: Mapping[str, Any], name: str) -> str | None:
    found: str | None = (manifest["metadata"].get("annotations") or {}).get(name)
    return found
