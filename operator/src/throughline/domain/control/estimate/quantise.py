"""Quantise measurements with hysteresis, so that noise makes no new problem and predictions can be reused."""

from __future__ import annotations

import math

from throughline.domain.control.model.service_time_model import ServiceTimeModel

# Curves nearer than this are one to the choice, which makes its predictions reusable.
GRID = 0.02
DEMAND_GRID = 0.04
IN_FLIGHT_GRID = 0.25
CLOSED_LOOP_GRID = 0.05  # what closed-loop clients have in flight hardly changes, and the best batch depends on it
HYSTERESIS = 0.75  # of a step: a rounded value stays until the measured one is so far from it


def quantised(value: float, step: float = GRID, before: float = 0.0) -> float:
    """The value rounded to a grid of that relative step; where it was rounded to `before` and is still near, that:
    noise at the edge of two cells would otherwise make every other sample a new problem.
    """
    if value <= 0:
        return 0.0
    if before > 0 and abs(math.log(value) - math.log(before)) <= HYSTERESIS * step:
        return before
    return math.exp(round(math.log(value) / step) * step)


def rounded(curve: ServiceTimeModel, before: ServiceTimeModel | None) -> ServiceTimeModel:
    known = {limit: (alpha, beta) for limit, alpha, beta in before.segments} if before else {}
    lines = []
    for limit, alpha, beta in curve.segments:
        old = known.get(limit, (0.0, 0.0))
        lines.append((limit, quantised(alpha, GRID, old[0]), quantised(beta, GRID, old[1])))
    alpha, beta = (before.alpha_us, before.beta_us) if before else (0.0, 0.0)
    return ServiceTimeModel(
        quantised(curve.alpha_us, GRID, alpha), quantised(curve.beta_us, GRID, beta), round(curve.contention, 1),
        tuple(lines),
        quantised(curve.contended_us, IN_FLIGHT_GRID, before.contended_us if before else 0.0), curve.devices,
        None if curve.tail_us is None else quantised(curve.tail_us, GRID, (before.tail_us or 0.0) if before else 0.0),
    )  # fmt: skip
