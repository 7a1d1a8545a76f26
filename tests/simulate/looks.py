"""A Look whose values a test writes down, and the loop that lets an autoscaler act on it."""

from dataclasses import dataclass

from throughline.api.batching import BatchSettings

SETTINGS = BatchSettings(max_batch_size=8)


@dataclass
class ScriptedLook:
    """Values as the test sets them. `replicas` follow the orders in `step`, `ready` only if it was equal to them."""

    now_seconds: float = 0.0
    replicas: int = 1
    ready: int = 1
    busy: float | None = None
    waiting: float | None = None
    flying: float | None = None
    served: float | None = None
    requested: float | None = None
    late: float | None = None
    stable: float | None = None
    panic: float | None = None

    def utilization(self):
        return self.busy

    def pending(self):
        return self.waiting

    def in_flight(self):
        return self.flying

    def served_per_second(self, window_seconds):
        return self.served

    def requests_per_second(self, window_seconds):
        return self.requested

    def late_per_second(self, window_seconds):
        return self.late

    def concurrency(self, window_seconds):
        return self.stable if window_seconds >= 60.0 else self.panic

    def p99_us(self):
        return None


def step(scaler, look, *, seconds=None, **values):
    """One decision: the values, the autoscaler's order carried out at once, the clock moved on. Returns replicas."""
    for key, value in values.items():
        setattr(look, key, value)
    all_ready = look.ready == look.replicas
    ordered = scaler.decide(look).replicas
    if ordered is not None:
        look.replicas = ordered
        if all_ready:
            look.ready = ordered
    look.now_seconds += scaler.interval_seconds if seconds is None else seconds
    return look.replicas
