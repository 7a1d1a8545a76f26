"""The form of a service's pods: what their template takes from this installation, and not from the service or its pool.

The installation changes when the operator is upgraded: another image of the evaluator, another version of the template.
It changes, too, when PodMonitors come to be made: pods then need no annotation for discovery by a Prometheus. That
alone replaces no pod. A live Deployment therefore keeps its form for as long as its template, rendered in that form, is
what was applied to it. As soon as anything else of the template changes, pods are replaced anyway, and the Deployment
takes the present form.

What was applied stands in an annotation of the Deployment: version, evaluator's image, whether pods are annotated for
discovery, and a hash of the template. The live template does not tell it: an admission policy may have rewritten an
image, and what is rendered no more is still there. 0.1.0 wrote no such annotation, but a hash of its whole Deployment.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from throughline.api.base import GROUP
from throughline.domain.diff import APPLIED_HASH, hash_of, with_hash
from throughline.domain.manifests import names, sampling
from throughline.domain.manifests.options import SCRAPE, TEMPLATE_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from throughline.domain.manifests.options import RenderOptions
    from throughline.domain.observed import Manifest

ANNOTATION = f"{GROUP}/pod-template"  # of the Deployment, never of its pods
FIRST_VERSION = 1


class Form(NamedTuple):
    """A version of the template, the evaluator's image in it (empty: it has none), and whether pods are annotated for
    discovery by a Prometheus.
    """

    version: int
    evaluator_image: str
    scrape_annotations: bool


def annotation(template: Mapping[str, Any], version: int) -> str:
    """The form of a rendered template, and its hash."""
    recorded = {
        "evaluatorImage": _evaluator_image(template),
        "hash": hash_of(template),
        "podMonitor": SCRAPE not in _annotations(template),  # discovered by it alone
        "version": version,
    }
    return json.dumps({k: v for k, v in recorded.items() if v}, sort_keys=True, separators=(",", ":"))


def kept(
    options: RenderOptions, live: Mapping[str, Any], deployment: Callable[[RenderOptions, bool], Manifest]
) -> RenderOptions | None:
    """The options to render the live Deployment's pods with, so that none is replaced; None: pods are replaced anyway.

    `deployment` renders the Deployment with the options and the strategy (whether it surges) that it is given.
    """
    recorded = _annotations(live).get(ANNOTATION)
    form = _first(live) if recorded is None else _parse(recorded)
    if form is None:
        return None
    in_form = replace(
        options,
        pods_evaluator_image=form.evaluator_image,
        pods_scrape_annotations=form.scrape_annotations,
        template_version=form.version,
    )
    if recorded is not None:  # of the template alone, which no strategy changes
        was_applied = _annotations(deployment(in_form, True))[ANNOTATION] == recorded
    else:
        applied = _annotations(live).get(APPLIED_HASH)
        was_applied = any(_hash_of_first(deployment(in_form, surge)) == applied for surge in (True, False))
    return in_form if was_applied else None


def _hash_of_first(rendered: Manifest) -> str:
    """As 0.1.0 has made it."""
    metadata = {k: v for k, v in rendered["metadata"].items() if k != "annotations"}
    return str(with_hash({**rendered, "metadata": metadata})["metadata"]["annotations"][APPLIED_HASH])


def _first(live: Mapping[str, Any]) -> Form:
    """The form of 0.1.0."""
    template = (live.get("spec") or {}).get("template") or {}
    return Form(FIRST_VERSION, _evaluator_image(template), scrape_annotations=True)


def _parse(recorded: str) -> Form | None:
    """None: it was edited, or written by a later version of the operator."""
    try:
        found = json.loads(recorded)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    version, image = found.get("version"), found.get("evaluatorImage", "")
    monitored = found.get("podMonitor", False)
    if not isinstance(version, int) or not isinstance(image, str) or not isinstance(monitored, bool):
        return None
    return Form(version, image, not monitored) if FIRST_VERSION <= version <= TEMPLATE_VERSION else None


def _evaluator_image(template: Mapping[str, Any]) -> str:
    containers = (template.get("spec") or {}).get("initContainers") or ()
    ours = (c for c in containers if c.get("name") in {names.LOAD_CHECK, sampling.CONTAINER})
    return str(next((c.get("image") or "" for c in ours), ""))


def _annotations(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    return (manifest.get("metadata") or {}).get("annotations") or {}
