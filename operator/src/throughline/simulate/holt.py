"""Holt's linear method: a level and a trend, each exponentially smoothed, extrapolated to the horizon.

Source: C. C. Holt, "Forecasting seasonals and trends by exponentially weighted moving averages", ONR Memorandum 52,
1957, reprinted as doi:10.1016/j.ijforecast.2003.09.015. For observations y_t,

    level_t = a·y_t + (1 − a)·(level_{t−1} + trend_{t−1})
    trend_t = b·(level_t − level_{t−1}) + (1 − b)·trend_{t−1}
    forecast_{t+h|t} = level_t + h·trend_t

Least squares fit the smoothing constants a and b, as usual; the errors are those of the forecasts h steps ahead, and
they count for less as they age. b = 0 is simple exponential smoothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

# (a, b): slow to fast levels, each without a trend and with a slow and a fast one.
SMOOTHING = tuple((level, trend) for level in (0.1, 0.3, 0.6, 0.9) for trend in (0.0, 0.1, 0.3))
# Weight of a squared error after one more step: half after 70 steps.
DISCOUNT = 0.99


@dataclass(slots=True)
class Holt:
    """One pair of smoothing constants. `level` has the unit of the series, `trend` that unit per step."""

    level_smoothing: float
    trend_smoothing: float
    level: float | None = None
    trend: float = 0.0

    def observe(self, value: float) -> None:
        """Take in the next observation."""
        if self.level is None:
            self.level = value
            return
        before = self.level
        a, b = self.level_smoothing, self.trend_smoothing
        self.level = a * value + (1.0 - a) * (before + self.trend)
        self.trend = b * (self.level - before) + (1.0 - b) * self.trend

    def forecast(self, steps: int) -> float | None:
        """Forecast so many steps ahead, at least 0; None before the first observation."""
        return None if self.level is None else max(0.0, self.level + steps * self.trend)


@dataclass(slots=True)
class _Candidate:
    model: Holt
    pending: deque[float | None] = field(default_factory=deque)  # forecasts of the next steps, in order
    squared_error: float = 0.0  # discounted sum

    def observe(self, value: float | None, horizon: int) -> None:
        forecast = self.pending.popleft() if len(self.pending) == horizon else None
        if value is None:
            self.pending.append(None)
            return
        if forecast is not None:
            self.squared_error = DISCOUNT * self.squared_error + (value - forecast) ** 2
        self.model.observe(value)
        self.pending.append(self.model.forecast(horizon))


class FittedHolt:
    """Holt's method with the smoothing constants that have the least squared error so far."""

    def __init__(self, horizon: int) -> None:
        """`horizon`: steps ahead.

        Raises:
            ValueError: the horizon is below one step.
        """
        if horizon < 1:
            raise ValueError(f"horizon is {horizon} steps; give at least 1")
        self.horizon = horizon
        self._candidates = [_Candidate(Holt(level, trend)) for level, trend in SMOOTHING]

    def observe(self, value: float | None) -> None:
        """Take in the observation of the next step; None where it is missing, which leaves the forecast as it is."""
        for candidate in self._candidates:
            candidate.observe(value, self.horizon)

    def forecast(self) -> float | None:
        """Forecast `horizon` steps ahead, at least 0; None before the first observation."""
        return min(self._candidates, key=lambda c: c.squared_error).model.forecast(self.horizon)
