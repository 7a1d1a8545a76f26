"""Blocked settings: what was tried and was worse, what a server refused, and batches that were not proved.

What is worse may be better under another load, so it is blocked for a while and alone. A refusal and a failed proof are
of the model itself: they hold for its revision, and for larger batches on as many instances or more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from throughline.api.batching import BatchSettings
from throughline.api.status import MAX_REJECTED, BlockedBy, RejectedSettings
from throughline.domain.times import unix_seconds

if TYPE_CHECKING:
    from throughline.domain.observed import ServiceView

MAX_REASON = 256


def _covers(entry: RejectedSettings, settings: BatchSettings) -> bool:
    if entry.blocked_by is BlockedBy.WORSE:
        return entry.settings == settings
    return _at_least(settings, entry.settings)


def _at_least(settings: BatchSettings, least: BatchSettings) -> bool:
    return settings.max_batch_size >= least.max_batch_size and settings.instances >= least.instances


def block_text(by: BlockedBy, words: str) -> str:
    """Why settings are blocked, in words."""
    match by:
        case BlockedBy.REFUSED:
            return f"Triton refused them: {words}"
        case BlockedBy.BATCHES_FAIL:
            return f"batches fail: {words}"
        case BlockedBy.ROWS_MIXED:
            return f"rows are mixed up in batches: {words}"
        case BlockedBy.WORSE:
            return words


@dataclass(frozen=True, slots=True)
class Blocked:
    """As a container: the settings that are blocked."""

    entries: tuple[RejectedSettings, ...] = ()

    def __contains__(self, settings: object) -> bool:
        return isinstance(settings, BatchSettings) and self.by(settings) is not None

    def by(self, settings: BatchSettings) -> RejectedSettings | None:
        """What blocks the settings; None: nothing."""
        return next((entry for entry in self.entries if _covers(entry, settings)), None)

    def limit(self, most: int) -> RejectedSettings | None:
        """The block that limits batches below the `most` that spec.batching allows; None: there is none."""
        found = [e for e in self.entries if e.blocked_by is not BlockedBy.WORSE and e.settings.max_batch_size <= most]
        return min(found, key=lambda e: (e.settings.instances, e.settings.max_batch_size), default=None)


def blocked(
    entries: tuple[RejectedSettings, ...], settings: BatchSettings, by: BlockedBy, reason: str, until: str | None
) -> tuple[RejectedSettings, ...]:
    """The entries with one more, without those that it makes needless. The oldest of those that run out go first."""
    known = Blocked(entries).by(settings)
    if known is not None and (known.until is None or by is BlockedBy.WORSE):
        return entries
    new = RejectedSettings(settings=settings, reason=reason[:MAX_REASON], blocked_by=by, until=until)
    left = [e for e in entries if not (until is None and _covers(new, e.settings))]
    while len(left) >= MAX_REJECTED:
        left.remove(next((e for e in left if e.until is not None), left[0]))
    return (*left, new)


def current(entries: list[RejectedSettings], view: ServiceView) -> tuple[RejectedSettings, ...]:
    """The blocks still in force, and what the servers have refused or failed to prove since the last decision."""
    now = view.now_seconds
    found = tuple(e for e in entries if e.until is None or unix_seconds(e.until) > now)
    for settings, words in view.refused_settings:
        if view.settings is None or not _at_least(view.settings, settings):  # other pods serve with these, or larger
            found = blocked(found, settings, BlockedBy.REFUSED, words, None)
    if (proof := view.failed_proof) is not None:
        found = blocked(found, BatchSettings(max_batch_size=proof.rows), proof.blocked_by, proof.words, None)
    return found
