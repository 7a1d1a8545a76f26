"""What is persisted of the estimates, in status.control: so that a restart forgets little, and noise writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from throughline.api.status import MAX_POOLS, ControlStatus, PoolKnowledge
from throughline.domain.control.tuning import CLEAR, SAME, SETTLE_SECONDS

if TYPE_CHECKING:
    from throughline.api.status import ServiceTime


def _differs(a: int, b: int, noise: float) -> bool:
    return abs(a - b) > noise * max(a, b, 1)


def bias_is_kept(old: ServiceTime | None, bias: float) -> bool:
    """Whether the persisted bias says the same."""
    return old is not None and not _differs(old.error_permille, round(1000 * bias), CLEAR)


def persisted(old: ServiceTime | None, new: ServiceTime | None) -> ServiceTime | None:
    """What to persist: the old estimate while the new one says the same."""
    if old is None or new is None:
        return new
    if (
        not _differs(old.alpha_microseconds, new.alpha_microseconds, SAME)
        and not _differs(old.beta_microseconds, new.beta_microseconds, SAME)
        and abs(old.contention_permille - new.contention_permille) <= 1000 * SAME
        and bias_is_kept(old, new.error_permille / 1000)
        and old.largest_batch == new.largest_batch
        and (old.executions > 0) == (new.executions > 0)
    ):
        return old
    return new


def persisted_load_seconds(old: int, new: float) -> int:
    """What to persist of the cost of a load."""
    return round(new) if abs(new - old) > max(SETTLE_SECONDS, CLEAR * old) else old


def on_pool(control: ControlStatus, pool: str, *, assume: bool) -> ControlStatus:
    """What is known on another pool: what was learned there before. `assume`: a pool that was never tried is taken to
    be as fast as the one before, of no execution, until it has shown.
    """
    here = control.service_time
    known = next((k.service_time for k in control.pools if k.name == pool), None)
    left = [k for k in control.pools if k.name not in {pool, control.pool}]
    if here is not None and here.executions > 0 and control.pool:
        left.append(PoolKnowledge(name=control.pool, service_time=here))
    if known is None and here is not None and assume:
        known = here.model_copy(update={"executions": 0})
    return ControlStatus(
        pool=pool, model_hash=control.model_hash, service_time=known, last_move=control.last_move,
        pools=left[-MAX_POOLS:], proven_batch=control.proven_batch,
        rejected=[r for r in control.rejected if r.until is None],
    )  # fmt: skip


def control_of(control: ControlStatus, model_hash: str, pool: str, *, assume: bool) -> ControlStatus:
    """What was persisted, as far as it is of this model and pool. `assume`: as of `on_pool`."""
    if control.model_hash != model_hash:
        # Another model: estimates do not hold, the settings in force still do.
        return ControlStatus(pool=pool, model_hash=model_hash)
    return on_pool(control, pool, assume=assume) if control.pool != pool else control
