"""Why Prometheus has no metrics of a pod: asked only when some are missing, for a bounded number of pods."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from throughline.domain.observed import SeriesFacts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from throughline.domain.observed import PodKey, SeriesKey

Sample = dict[str, Any]

# A pod's labels by a PodMonitor, and by annotation discovery in the style of Prometheus' own example.
LABELS = (("namespace", "pod"), ("kubernetes_namespace", "kubernetes_pod_name"))
MAX_PODS = 50
MAX_MODELS = 5
# As far back as the samples are asked for: to see an interval that is too long for the window, and not so far that the
# answer is large.
WINDOWS_BACK, MIN_SECONDS_BACK = 5, 300


def series_key(sample: Sample) -> SeriesKey | None:
    """Whose series it is; None without the labels."""
    labels = sample["metric"]
    for namespace, pod in LABELS:
        if labels.get(namespace) and labels.get(pod):
            return labels[namespace], labels[pod], labels.get("model", "")
    return None


def facts(found: Mapping[str, Sequence[Sample]], metric_of: Mapping[str, str]) -> SeriesFacts:
    """What the answers by query name already tell. A value that is NaN is there all the same."""
    keys = {name: {series_key(sample) for sample in samples} for name, samples in found.items()}
    models: dict[PodKey, set[str]] = {}
    unlabelled: set[str] = set()
    for sample in found.get("age", ()):
        key = series_key(sample)
        if key is None:
            unlabelled.add(sample["metric"].get("model", ""))
        else:
            models.setdefault(key[:2], set()).add(key[2])
    missing: dict[SeriesKey, tuple[str, ...]] = {}
    for key in keys.get("success", set()):
        lacking = tuple(metric for name, metric in metric_of.items() if name in keys and key not in keys[name])
        if key is not None and lacking:
            missing[key] = lacking
    return SeriesFacts(
        models={pod: frozenset(names) for pod, names in models.items()},
        missing=missing,
        unlabelled=tuple(sorted(unlabelled))[:MAX_MODELS],
    )


async def diagnose(
    ask: Callable[[str], Awaitable[list[Sample]]], known: SeriesFacts, pods: Sequence[PodKey], window: int
) -> SeriesFacts:
    """`known` with targets and samples of these pods, the first `MAX_PODS` of them: two queries, or three."""
    asked = sorted(pods)[:MAX_PODS]
    names = "|".join(sorted({re.escape(pod).replace("\\", "\\\\") for _, pod in asked}))
    targets = " or ".join(f'max by ({namespace},{pod})(up{{{pod}=~"{names}"}})' for namespace, pod in LABELS)
    up: dict[PodKey, bool | None] = dict.fromkeys(asked)
    for sample in await ask(targets):
        key = series_key(sample)
        if key is not None and key[:2] in up:
            up[key[:2]] = bool(up[key[:2]]) or float(sample["value"][1]) > 0
    back = max(MIN_SECONDS_BACK, WINDOWS_BACK * window)
    samples: dict[PodKey, tuple[float, ...]] = {}
    if not known.models.keys().isdisjoint(asked):
        for _, pod in LABELS:
            for series in await ask(f'nv_inference_request_success{{{pod}=~"{names}"}}[{back}s]'):
                key, times = series_key(series), tuple(float(at) for at, _ in series.get("values", ()))
                # Of several series, such as of two jobs or replicas, the one with most samples tells the interval.
                if key is not None and len(times) > len(samples.get(key[:2], ())):
                    samples[key[:2]] = times
    return SeriesFacts(models=known.models, missing=known.missing, unlabelled=known.unlabelled, up=up, samples=samples)
