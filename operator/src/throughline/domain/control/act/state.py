"""What the act stage keeps between two decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from throughline.domain.control.tuning import AGAIN_SECONDS

if TYPE_CHECKING:
    from throughline.api.batching import BatchSettings

CHANGES_KEPT = 16


class ScaleDownFloor(NamedTuple):
    """Fewer than `replicas` were tried at this demand and were not enough; not tried again before `until_seconds`."""

    replicas: int
    until_seconds: float
    demand_per_second: float
    wait_seconds: float  # of this time; the next is twice as long


def needed_since(
    before: tuple[tuple[float, int], ...], now_seconds: float, needed: int, window_seconds: float
) -> tuple[tuple[float, int], ...]:
    """`ActState.needed` with what is needed now."""
    begin = now_seconds - window_seconds
    return (*(seen for seen in before if seen[1] > needed and seen[0] > begin), (now_seconds, needed))


class Growth(NamedTuple):
    """Replicas that were added under pressure, with what was measured before. Kept until they are found to help, and
    as long as they did not, for the pause before the next attempt.
    """

    replicas: int  # before
    served_per_second: float  # items
    in_flight: float  # items
    mean_us: float | None
    serving: tuple[int, float] = (0, 0.0)  # replicas that serve, and since when so many
    retry_seconds: float | None = None  # when replicas may be added again (Unix); None: not judged
    pause_seconds: float = AGAIN_SECONDS
    found: str = ""

    @property
    def futile(self) -> bool:
        return self.retry_seconds is not None

    def moves(self, replicas: int) -> bool:
        """Whether the replicas may change by this alone: they are to be judged, or given back."""
        return not self.futile or replicas > self.replicas

    def paused(self, now_seconds: float) -> bool:
        """Whether they did not help, and none is to follow yet."""
        return self.retry_seconds is not None and now_seconds < self.retry_seconds


class ActState(NamedTuple):
    """Written by `act`, and by the fast path in its place. Losing it is safe: what was measured is measured again."""

    # (Unix time, replicas that were needed then): of the window of the scale-down stabilization what can still be its
    # most, so that fewer were needed at each later time. The one field that the fast path changes.
    needed: tuple[tuple[float, int], ...] = ()
    # (pool to move to, since when without a break the move has paid)
    pending_move: tuple[str, float] | None = None
    batch_changes: tuple[float, ...] = ()  # when settings were changed, newest last
    changed_in_flight: float | None = None  # items, when settings were changed last
    worse: BatchSettings | None = None  # settings that were rolled back in the last pass, for the estimates
    last_down: tuple[float, int, float] | None = None  # (when, replicas before, demand then) of the last removal
    scale_down_floor: ScaleDownFloor | None = None
    growth: Growth | None = None  # replicas that were added last, until they are found to help
    shortfall_since: float | None = None  # since when a little more has been needed than there is

    def after_fast_path(self, needed: tuple[tuple[float, int], ...]) -> ActState:
        """As `_replace`, which takes four times as long: it asks for each of the fields."""
        return ActState._make((needed, *self[1:]))

    def with_batch_change(self, now_seconds: float, in_flight: float | None, *, new: bool) -> ActState:
        """`new`: not one that passed as a canary."""
        # What was not enough with the old settings may be with the new ones. The effects of replicas and settings are
        # confounded now; but those that served no more share something that settings do not widen.
        futile = self.growth is not None and self.growth.futile
        changes = (*self.batch_changes, now_seconds)[-CHANGES_KEPT:] if new else self.batch_changes
        return self._replace(
            batch_changes=changes, scale_down_floor=None, last_down=None, growth=self.growth if futile else None,
            changed_in_flight=in_flight,
        )  # fmt: skip

    def with_needed(self, now_seconds: float, needed: int, window_seconds: float) -> ActState:
        return self._replace(needed=needed_since(self.needed, now_seconds, needed, window_seconds))
