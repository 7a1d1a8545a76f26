"""One look: everything that `spec.monitoring` declares, and one outcome."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from throughline.api.base import Outcome
from throughline.api.drift import DriftPolicy
from throughline.api.driftresult import DriftResult, SamplerState
from throughline.domain.formatting import count
from throughline.evaluator import source
from throughline.evaluator.errors import EvaluationInputError
from throughline.evaluator.sampling.rows import Keys
from throughline.evaluator.sampling.store import Store
from throughline.evaluator.watching import features, late

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from throughline.api.evaluationdataset import Dataset
    from throughline.api.monitoring import Monitoring
    from throughline.evaluator.watching.state import WatchState

UNSEEN = "Without labels a changed relation between inputs and true answers (concept drift) is not seen."


@dataclass(frozen=True, slots=True)
class Where:
    """Places that a look reads."""

    storage: Path
    work: Path
    baseline_root: Path
    labels_root: Path
    baseline: str | None = None  # instead of the declared sources
    labels: str | None = None
    salt: bytes = b""
    clock: Callable[[], float] = time.time


def look(monitoring: Monitoring, where: Where, state: WatchState) -> tuple[DriftResult, WatchState]:
    """What is found now, and the state to keep once that has been told.

    Raises:
        EvaluationInputError: the declaration, the baseline or the labels are wrong.
        NotEvaluatedError: a store does not answer.
    """
    sampling = monitoring.sampling
    store = Store(
        where.storage, retention_minutes=sampling.retention_minutes, most_bytes=sampling.storage_mebibytes * 2**20
    )
    # Replicas delete what is too old; where none is left, this does.
    store.expire(where.clock())
    found = features.available(store.files(), state)
    result = DriftResult(
        outcome=Outcome.UNKNOWN, message="", rows=0, lost_rows=found.lost_rows, samplers=_samplers(store)
    )
    if monitoring.drift is not None:
        drift = monitoring.drift
        location = _location(where.baseline, drift.baseline, where.baseline_root)
        judged = features.judge(drift, monitoring.predictions, found, state, location, where.work)
        state = judged.state
        result = result.model_copy(
            update={
                "windows": judged.windows,
                "rows": sum(window.report.window_rows for window in judged.windows),
                "skipped_windows": judged.skipped,
                "waiting_rows": judged.waiting,
                "accuracy": judged.accuracy,
                "baseline_digest": judged.digest,
                "left_out": judged.left_out,
            }
        )
    if monitoring.labels is not None:
        result, state = _with_labels(monitoring, where, store, result, state)
    outcome, message = _verdict(monitoring, result, state)
    return result.model_copy(update={"outcome": outcome, "message": message}), state


def _with_labels(
    monitoring: Monitoring, where: Where, store: Store, result: DriftResult, state: WatchState
) -> tuple[DriftResult, WatchState]:
    assert monitoring.labels is not None  # noqa: S101 - the caller asked
    assert monitoring.predictions is not None  # noqa: S101 - a rule of the API
    samples = store.read()
    if samples is None:
        return result, state
    try:
        keys = Keys(where.salt)
    except ValueError as error:
        raise EvaluationInputError(f"spec.monitoring.sampling.salt: {error}") from error
    policy = monitoring.drift.policy if monitoring.drift is not None else DriftPolicy()
    location = _location(where.labels, monitoring.labels.dataset, where.labels_root)
    joined = late.look(
        monitoring.labels, monitoring.predictions, samples, keys, state, location, where.work,
        minimum_rows=policy.minimum_rows,
    )  # fmt: skip
    update = {"labels": joined.report, "holdout": joined.holdout, "labels_digest": joined.digest}
    return result.model_copy(update=update), joined.state


def _location(given: str | None, dataset: Dataset, root: Path) -> str:
    return given or source.locate(dataset.source, root)


def _samplers(store: Store) -> list[SamplerState]:
    found = []
    for pod, said in store.states().items():
        counts = said.get("counts") or {}
        if not {"time", "tracing"} <= said.keys():
            continue  # another file that lies there
        dropped = sum(count for name, count in counts.items() if name.startswith("dropped."))
        when = datetime.fromtimestamp(int(said["time"]), UTC).isoformat()
        found.append(
            SamplerState(pod=pod, time=when, tracing=said["tracing"], stored=counts.get("stored", 0), dropped=dropped)
        )
    return found


def _verdict(monitoring: Monitoring, result: DriftResult, state: WatchState) -> tuple[Outcome, str]:
    """Failed where any check is; Passed where one passed; and what none of them can see."""
    checks: list[tuple[Outcome, str]] = []
    if monitoring.drift is not None:
        checks.append(_features(result, state))
    if result.accuracy is not None:
        checks.append((result.accuracy.outcome, result.accuracy.message))
    if result.labels is not None:
        checks.append(_labels(result))
    if result.holdout is not None:
        checks.append((result.holdout.outcome, result.holdout.message))
    order = (Outcome.FAILED, Outcome.PASSED, Outcome.UNKNOWN)
    outcome = next((one for one in order if any(found is one for found, _ in checks)), Outcome.UNKNOWN)
    # What failed comes first: a message may be cut.
    said = [text for one in order for found, text in checks if found is one]
    off = sum(one.tracing == "ServerTooOld" for one in result.samplers)
    if off:
        oldest = monitoring.sampling.minimum_server_version
        said.append(f"{count(off, 'replica')} not sampled: the server is older than minimumServerVersion {oldest}")
    if monitoring.labels is None:
        said.append(UNSEEN)
    return outcome, "; ".join(said)


def _features(result: DriftResult, state: WatchState) -> tuple[Outcome, str]:
    if result.windows:
        newest = result.windows[-1].report
        earlier = sum(one.report.outcome is Outcome.FAILED for one in result.windows[:-1])
        more = f" ({count(earlier, 'earlier window')} of this check had drifted)" if earlier else ""
        return newest.outcome, f"{newest.message}{more}"
    waiting = f"{result.waiting_rows} rows wait for a full window"
    if state.message:
        return state.outcome, f"{waiting}; the last one: {state.message}"
    return Outcome.UNKNOWN, f"SampleTooSmall: {waiting}"


def _labels(result: DriftResult) -> tuple[Outcome, str]:
    assert result.labels is not None  # noqa: S101 - the caller asked
    labels = result.labels
    worse = [change for change in labels.changes if change.worse]
    if worse:
        last = worse[-1]
        return Outcome.FAILED, (
            f"the error rate rose from {last.error_rate_before:.4f} to {last.error_rate_after:.4f}, noticed at "
            f"labelled row {last.detected_at_row}"
        )
    if not labels.joined:
        return Outcome.UNKNOWN, "no label of a stored sample has come since the look before"
    return Outcome.PASSED, f"{labels.joined} labels came, and the error rate did not rise"
