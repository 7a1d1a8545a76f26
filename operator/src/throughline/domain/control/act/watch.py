"""Watch a change of batch settings: a canary against its peers, or all pods against what was before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from throughline.api.status import BlockedBy
from throughline.domain.control.model.queueing import TAIL
from throughline.domain.control.observe.counters import Failed
from throughline.domain.control.observe.failures import beyond, one_sided, tell
from throughline.domain.control.observe.observation import SUMMARY_SECONDS
from throughline.domain.control.optimise.blocked import block_text
from throughline.domain.control.tuning import (
    CLEAR,
    FAILURE_SHARE,
    LASTING_SECONDS,
    NOISE,
    SAME,
    SETTLE_SECONDS,
    SIGMAS,
)
from throughline.domain.formatting import duration, rate
from throughline.domain.records import settings_text
from throughline.domain.times import unix_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from throughline.api.status import Trial
    from throughline.domain.control.observe.demand import Demand
    from throughline.domain.observed import PodView, ServiceView


class Outcome(StrEnum):
    WATCHING = "Watching"
    COMMIT = "Commit"  # one pod did well: give it to all
    PASSED = "Passed"
    ROLLBACK = "Rollback"
    NO_GAIN = "NoGain"  # rolled back, though the latency is as good as expected
    CANCEL = "Cancel"  # could not be judged; the settings are not blocked


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: Outcome
    message: str
    failing: bool = False  # rolled back because requests fail


def _mean_us(pod: PodView) -> float | None:
    m = pod.metrics
    return m.request_us_rate / m.success_rate if m and m.success_rate > 0 else None


def _refusal(view: ServiceView, trial: Trial) -> str | None:
    for settings, message in view.refused_settings:
        if settings == trial.settings:
            return block_text(BlockedBy.REFUSED, message)
    proof = view.failed_proof
    if proof is not None and trial.settings.max_batch_size >= proof.rows:
        return block_text(proof.blocked_by, proof.words)
    return None


def _share(failed: float, answered: float) -> float:
    return failed / (failed + answered) if failed > 0.0 else 0.0


def _failing(view: ServiceView, trial: Trial, since: Mapping[str, Failed]) -> Verdict | None:
    """Whether clearly more requests fail than before the change, and than on pods without it: by the servers' own
    counters since the last observation, and by the metrics window, whatever it still holds of before.
    """
    tried = [p for p in view.serving if trial.pod in (None, p.name) and p.settings == trial.settings]
    peers = [p.metrics for p in view.serving if p not in tried and p.metrics is not None]
    theirs = _share(sum(m.failure_rate for m in peers), sum(m.success_rate for m in peers))
    usual = max(trial.baseline_failed_permille / 1000, theirs) + TAIL
    live = [since[p.uid] for p in tried if p.uid in since]
    window = view.metrics_window_seconds
    measured = [Failed(m.failure_rate * window, m.success_rate * window, window) for p in tried if (m := p.metrics)]
    for counts in (live, measured):
        failed, answered = sum(c.failed for c in counts), sum(c.answered for c in counts)
        expected = usual * (failed + answered)
        if tell(failed) and failed > expected + 2.0 * SIGMAS * math.sqrt(expected):
            text = f"{rate(failed / counts[0].seconds)} fail since the change"
            return Verdict(Outcome.ROLLBACK, text, failing=True)
    return None


def _judge_pod(view: ServiceView, trial: Trial, slo_us: float) -> Verdict:
    pod = next((p for p in view.serving if p.name == trial.pod), None)
    if pod is None:
        return Verdict(Outcome.CANCEL, f"pod {trial.pod} left during the canary of {settings_text(trial.settings)}")
    if pod.metrics is None:
        return Verdict(Outcome.WATCHING, f"no metrics of pod {pod.name} yet")
    peers = [p for p in view.serving if p.name != trial.pod and p.metrics is not None]
    if not peers:
        return Verdict(Outcome.CANCEL, f"pod {trial.pod} has no peer to compare it with")
    failed, answered = pod.metrics.failure_rate, pod.metrics.success_rate
    peer_failures = sum(p.metrics.failure_rate for p in peers if p.metrics) / len(peers)
    if beyond(failed, answered, FAILURE_SHARE, view.metrics_window_seconds) and failed > 2 * peer_failures:
        return Verdict(Outcome.ROLLBACK, f"{rate(pod.metrics.failure_rate)} fail on pod {pod.name}", failing=True)
    mine, theirs = _mean_us(pod), [m for p in peers if (m := _mean_us(p)) is not None]
    if mine is None or not theirs:
        return Verdict(Outcome.WATCHING, f"no request has reached pod {pod.name} or its peers yet")
    peer_mean = sum(theirs) / len(theirs)
    if mine > (1.0 + CLEAR) * peer_mean and mine > 0.5 * slo_us:
        return Verdict(
            Outcome.ROLLBACK, f"requests take {duration(mine)} on pod {pod.name}, {duration(peer_mean)} on its peers"
        )
    return Verdict(
        Outcome.COMMIT, f"requests take {duration(mine)} on pod {pod.name}, {duration(peer_mean)} on its peers"
    )


def _judge_closed_loop(demand: Demand, trial: Trial, less: float) -> Verdict | None:
    """By what closed-loop clients get from all pods. None: they are not the same as before the change."""
    before_us, rate_before = trial.baseline_mean_microseconds, trial.baseline_rate_per_second
    if not before_us or not rate_before or demand.mean_us is None:
        return None
    # Little's law, of items before and now
    under_way_before, under_way = rate_before * before_us, demand.served_per_second * demand.mean_us
    if abs(under_way - under_way_before) > SAME * under_way_before:
        return None
    text = f"{rate(demand.served_per_second)} served to closed-loop clients, {rate(rate_before)} before the change"
    gained = demand.served_per_second >= (1.0 - less) * rate_before
    return Verdict(Outcome.PASSED if gained else Outcome.NO_GAIN, text)


def _judge_all(  # one check after another
    view: ServiceView, demand: Demand, trial: Trial, slo_us: float, *, closed_loop: bool, same_speed: bool
) -> Verdict:
    if one_sided(demand.faulty_pods, view.serving):
        text = f"pod {demand.faulty_pods[0]} fails requests, and others with the same settings do not"
        return Verdict(Outcome.WATCHING, f"{text}: the settings are judged once it does not")
    usual = FAILURE_SHARE + trial.baseline_failed_permille / 1000
    if beyond(demand.failures_per_second, demand.requests_per_second, usual, view.metrics_window_seconds):
        return Verdict(Outcome.ROLLBACK, f"{rate(demand.failures_per_second)} fail since the change", failing=True)
    if not same_speed:
        return Verdict(Outcome.WATCHING, "the node runs slower than usual: the settings are judged once it does not")
    by_clients = _judge_closed_loop(demand, trial, NOISE) if closed_loop else None
    if by_clients is not None:
        return by_clients
    before, now = trial.baseline_mean_microseconds, demand.mean_us
    rate_before = trial.baseline_rate_per_second
    overloaded = before is not None and before > slo_us
    if overloaded and rate_before is not None:
        # The queue was growing already, so latency tells how long it has grown; what is served tells who is better, as
        # long as there is a queue to serve.
        queue = now is not None and now > 0.5 * slo_us
        if queue and demand.saturated and demand.served_per_second * (1.0 + CLEAR) < rate_before:
            return Verdict(
                Outcome.ROLLBACK, f"{rate(demand.served_per_second)} served, {rate(rate_before)} before the change"
            )
        return Verdict(Outcome.PASSED, f"{rate(demand.served_per_second)} served, {rate(rate_before)} before")
    same_load = rate_before is None or demand.served_per_second <= (1.0 + SAME) * rate_before
    if before is not None and now is not None and same_load and now > (1.0 + CLEAR) * before and now > 0.5 * slo_us:
        return Verdict(Outcome.ROLLBACK, f"requests take {duration(now)}, {duration(before)} before the change")
    if now is None:
        return Verdict(Outcome.PASSED, "no request has come since")
    return Verdict(
        Outcome.PASSED, f"requests take {duration(now)}" + (f", {duration(before)} before" if before else "")
    )


def _judge_p99(demand: Demand, trial: Trial, slo_us: float, *, clean: bool) -> Verdict | None:
    """What met the SLO is not left for what misses it under the same load. `clean`: the latency summary holds nothing
    from before the change. None: the SLO is met, or was not before.
    """
    before_us, now_us, rate_before = trial.baseline_p99_microseconds, demand.p99_us, trial.baseline_rate_per_second
    if before_us is None or before_us > slo_us or now_us is None or now_us <= slo_us:
        return None
    if rate_before is not None and demand.served_per_second > (1.0 + SAME) * rate_before:
        return None
    text = f"p99 {duration(now_us)} misses the SLO, {duration(before_us)} before the change met it"
    return Verdict(Outcome.ROLLBACK if clean else Outcome.WATCHING, text)


def _failed(view: ServiceView, trial: Trial, demand: Demand | None, since: Mapping[str, Failed]) -> Verdict | None:
    """What ends the change at once: Triton refuses it, or requests fail since."""
    refusal = _refusal(view, trial)
    if refusal is not None:
        return Verdict(Outcome.ROLLBACK, refusal)
    one_pods_fault = trial.pod is None and demand is not None and one_sided(demand.faulty_pods, view.serving)
    return None if one_pods_fault else _failing(view, trial, since)


def judge(
    view: ServiceView,
    trial: Trial,
    demand: Demand | None,
    slo_us: float,
    *,
    closed_loop: bool = False,
    since: Mapping[str, Failed] = MappingProxyType({}),
    warm_since: float | None = -math.inf,
    backlog: bool = False,
    same_speed: bool = True,
) -> Verdict:
    """What to do about the change under watch. Without metrics nothing is judged but what the servers say themselves.

    `since`: what failed since the last observation, by pod uid. `warm_since`: when the pods that were loaded had their
    slow executions behind them; None: they have not yet. `backlog`: what queued up meanwhile is still being served.
    `same_speed`: the node is as fast as it usually is.
    """
    if (failed := _failed(view, trial, demand, since)) is not None:
        return failed
    age = view.now_seconds - unix_seconds(trial.started)
    if age > LASTING_SECONDS:
        outcome = Outcome.CANCEL if trial.pod else Outcome.PASSED
        return Verdict(outcome, f"not judged within {LASTING_SECONDS:.0f} s")
    applied = [p for p in view.serving if trial.pod in (None, p.name)]
    if trial.pod is None and any(p.settings != trial.settings for p in applied):
        return Verdict(Outcome.WATCHING, "not yet in force on every pod")
    slow_only = not (demand is not None and demand.failing)  # cold executions are slow, and do not fail
    if slow_only and warm_since is None:
        return Verdict(Outcome.WATCHING, "the model is warming up after its load")
    since_change = min(age, view.now_seconds - warm_since) if slow_only and warm_since is not None else age
    if since_change < view.metrics_window_seconds + SETTLE_SECONDS or demand is None:
        return Verdict(Outcome.WATCHING, "the metrics window still holds what was before")
    if trial.pod is None and slow_only and backlog:
        return Verdict(Outcome.WATCHING, "what queued up while the model was warming up is being served")
    if trial.pod is not None:
        by_clients = _judge_closed_loop(demand, trial, 2 * NOISE) if closed_loop else None
        if by_clients is not None and by_clients.outcome is Outcome.NO_GAIN:
            return by_clients
        return _judge_pod(view, trial, slo_us)
    verdict = _judge_all(view, demand, trial, slo_us, closed_loop=closed_loop, same_speed=same_speed)
    if verdict.outcome is not Outcome.PASSED:
        return verdict
    clean = since_change >= SUMMARY_SECONDS + view.metrics_window_seconds + SETTLE_SECONDS
    return _judge_p99(demand, trial, slo_us, clean=clean) or verdict
