"""The bootstrap: resamples of the units, drawn once and used for every metric, slice and variant, so that all
differences are paired (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993).

A resample is a weight per unit: how often it was drawn. Metrics are made of sums over weighted units, which are one
sparse product per chunk of resamples; the area under the ROC curve needs the order of the scores, and is made from
running sums over the ordered negatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import sparse

from throughline.evaluator.scoring.values import ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from throughline.evaluator.scoring.slices import Partition
    from throughline.evaluator.scoring.values import Curve, Floats, Places, Scored

CHUNK = 32
CHUNK_CELLS = 8_000_000  # numbers held at once, 64 MB
# Ranked units that may be visited for AUROC, about a minute; beyond it fewer resamples are used, never below the least.
AUROC_VISITS = 3_000_000_000
AUROC_LEAST = 200


@dataclass(frozen=True, slots=True)
class Scopes:
    """All units, then every slice: place 0 is everything."""

    units: int
    partitions: tuple[Partition, ...]

    @property
    def names(self) -> list[tuple[Partition, int] | None]:
        """What each place stands for; None is everything."""
        return [None, *((p, index) for p in self.partitions for index in range(len(p.values)))]

    def places(self) -> list[Places]:
        """Units of each scope."""
        return [np.arange(self.units), *(p.rows(index) for p in self.partitions for index in range(len(p.values)))]

    def cells(self) -> tuple[Places, Floats]:
        """Units by the combination of slices they are in: the cell of each [units], and which cells make up each
        scope [scopes, cells].
        """
        joint = np.zeros(self.units, dtype=np.int64)
        first = np.zeros(1, dtype=np.int64)
        for part in self.partitions:
            mixed = joint * (len(part.values) + 1) + part.codes + 1
            _, first, joint = np.unique(mixed, return_index=True, return_inverse=True)
        codes = [part.codes[first] for part in self.partitions]
        rows = [
            np.ones(len(first)),
            *(c == i for p, c in zip(self.partitions, codes, strict=True) for i in range(len(p.values))),
        ]
        return joint.astype(np.intp), np.array(rows, dtype=np.float64)


class Job(Protocol):
    """Something that is computed for every resample."""

    width: int  # numbers it holds per resample

    def update(self, weights: Floats, start: int) -> None:
        """Take the resamples from `start` on: weights [units, resamples of this chunk]."""
        ...


class Sums:
    """Metrics that are made of sums."""

    def __init__(self, scored: Scored, metrics: Sequence[str], scopes: Scopes, resamples: int) -> None:
        self._scored, self._metrics = scored, metrics
        cells, self._membership = scopes.cells()
        count = self._membership.shape[1]
        self._blocks: list[tuple[str, int, int]] = []
        rows, columns, data, offset = [], [], [], 0
        every = np.arange(scored.units)
        for name, block in scored.blocks(metrics).items():
            values = np.ones(scored.units) if block.values is None else block.values
            kept = values != 0
            rows.append((offset + cells * block.size + block.cells)[kept])
            columns.append(every[kept])
            data.append(values[kept])
            self._blocks.append((name, offset, block.size))
            offset += count * block.size
        self._matrix = sparse.csr_matrix(
            (np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))), shape=(offset, scored.units)
        )
        self.width = offset
        self.results = {metric: np.full((len(self._membership), resamples), np.nan) for metric in metrics}

    def update(self, weights: Floats, start: int) -> None:
        chunk = weights.shape[1]
        totals = self._matrix @ weights
        sums: Mapping[str, Floats] = {
            name: np.tensordot(
                self._membership, totals[at : at + self._cells * size].reshape(self._cells, size, chunk), 1
            )
            for name, at, size in self._blocks
        }
        for metric in self._metrics:
            self.results[metric][:, start : start + chunk] = self._scored.from_sums(metric, sums)

    @property
    def _cells(self) -> int:
        return int(self._membership.shape[1])


@dataclass(frozen=True, slots=True)
class _Ordered:
    """One curve in one partition, ordered by slice and score."""

    negatives: Places
    positives: Places
    below: Places  # [positives]: negatives before the first that is not below it
    not_above: Places  # [positives]: negatives before the first that is above it
    parts: tuple[tuple[slice, int, int], ...]  # per slice: its positives, first and last of its negatives


class Auroc:
    """The area under the ROC curve: the share of pairs of a positive and a negative that are in order, ties half
    (Hanley and McNeil 1982), for one class or as the mean of each class against the rest.
    """

    def __init__(self, curves: Sequence[Curve], scopes: Scopes, resamples: int) -> None:
        everything = np.zeros(scopes.units, dtype=np.intp)
        partitions = [(everything, 1), *((p.codes, len(p.values)) for p in scopes.partitions)]
        self._ordered = [[_order(curve, *one) for one in partitions] for curve in curves]
        visits = scopes.units * len(curves) * len(partitions)
        self.resamples = min(resamples, max(AUROC_LEAST, AUROC_VISITS // max(visits, 1)))
        self.width = scopes.units
        self.results = np.full((len(scopes.names), resamples), np.nan)

    def update(self, weights: Floats, start: int) -> None:
        weights = weights[:, : max(self.resamples - start, 0)]
        if weights.shape[1]:
            each = [np.concatenate([_areas(one, weights) for one in curve]) for curve in self._ordered]
            self.results[:, start : start + weights.shape[1]] = np.mean(each, axis=0)


def _order(curve: Curve, codes: Places, count: int) -> _Ordered:
    _, rank = np.unique(curve.score, return_inverse=True)
    key = codes * (int(rank.max(initial=0)) + 1) + rank
    order = np.argsort(key, kind="stable")
    order = order[codes[order] >= 0]
    positive = curve.positive[order]
    negatives, positives = order[~positive], order[positive]
    edges = np.arange(count + 1)
    starts, ends = np.searchsorted(codes[negatives], edges), np.searchsorted(codes[positives], edges)
    parts = tuple((slice(ends[i], ends[i + 1]), int(starts[i]), int(starts[i + 1])) for i in range(count))
    below = np.searchsorted(key[negatives], key[positives], side="left")
    not_above = np.searchsorted(key[negatives], key[positives], side="right")
    return _Ordered(negatives, positives, below, not_above, parts)


def _areas(ordered: _Ordered, weights: Floats) -> Floats:
    """[slices, resamples]."""
    running = np.zeros((len(ordered.negatives) + 1, weights.shape[1]))
    np.cumsum(weights[ordered.negatives], axis=0, out=running[1:])
    areas = np.full((len(ordered.parts), weights.shape[1]), np.nan)
    for place, (positives, first, last) in enumerate(ordered.parts):
        weight = weights[ordered.positives[positives]]
        before = running[ordered.below[positives]]
        before += running[ordered.not_above[positives]]
        positive = weight.sum(axis=0)
        pairs = np.einsum("ij,ij->j", weight, before) / 2 - positive * running[first]
        areas[place] = ratio(pairs, positive * (running[last] - running[first]))
    return areas


def run(jobs: Sequence[Job], units: int, resamples: int, seed: int) -> None:
    """Draw the resamples, `units` of the units with replacement each, and hand them to every job."""
    generator = np.random.default_rng(seed)
    widest = max([units, *(job.width for job in jobs)])
    chunk = max(1, min(CHUNK, CHUNK_CELLS // widest))
    for start in range(0, resamples, chunk):
        drawn = np.empty((min(chunk, resamples - start), units))
        for row in drawn:
            row[:] = np.bincount(generator.integers(0, units, units), minlength=units)
        weights = np.ascontiguousarray(drawn.T)
        for job in jobs:
            job.update(weights, start)
