"""Quantise measurements with hysteresis, so that noise makes no new problem and predictions can be reused."""

from __future__ import annotations

import math

from throughline.domain.control.model.service_time_model import ServiceTimeModel
from throughline.domain.control.tuning import CLEAR, NOISE


def quantised(value: float, step: float = NOISE, before: float = 0.0) -> float:
    """The value rounded to a grid of that relative step; where it was rounded to `before` and is still near, that:
    noise at the edge of two cells would otherwise make every other sample a new problem.
    """
    if value <= 0:
        return 0.0
    if before > 0 and abs(math.log(value) - math.log(before)) <= step:
        return before
    return math.exp(round(math.log(value) / step) * step)


def rounded(curve: ServiceTimeModel, before: ServiceTimeModel | None) -> ServiceTimeModel:
    known = {limit: (alpha, beta) for limit, alpha, beta in before.segments} if before else {}
    lines = []
    for limit, alpha, beta in curve.segments:
        old = known.get(limit, (0.0, 0.0))
        lines.append((limit, quantised(alpha, NOISE, old[0]), quantised(beta, NOISE, old[1])))
    alpha, beta = (before.alpha_us, before.beta_us) if before else (0.0, 0.0)
    return ServiceTimeModel(
        quantised(curve.alpha_us, NOISE, alpha), quantised(curve.beta_us, NOISE, beta), round(curve.contention, 1),
        tuple(lines),
        quantised(curve.contended_us, CLEAR, before.contended_us if before else 0.0), curve.devices,
        None if curve.tail_us is None else quantised(curve.tail_us, NOISE, (before.tail_us or 0.0) if before else 0.0),
    )  # fmt: skip
