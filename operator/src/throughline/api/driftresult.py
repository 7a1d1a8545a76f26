"""DriftResult: what one look at the samples found. A report, so numbers are plain."""

from __future__ import annotations

from throughline.api.base import Outcome, Resource
from throughline.api.drift import (
    BLIND_TO_CONCEPT_DRIFT,
    AccuracyEstimate,
    ErrorChange,
    HoldoutGap,
    LabelledWindow,
    WindowReport,
)


class JudgedWindow(Resource):
    """A window and when its rows were sampled (RFC 3339)."""

    first_sample: str
    last_sample: str
    report: WindowReport


class LabelReport(Resource):
    """Late labels since the look before."""

    joined: int
    unmatched: int  # labels of requests that were not sampled, or are no longer stored
    repeated: int
    conflicting: int
    unlabelled: int  # stored rows without a label so far
    ambiguous: int  # stored rows whose key another row has too: no label can be theirs
    windows: list[LabelledWindow] = []
    changes: list[ErrorChange] = []


class SamplerState(Resource):
    """What a replica's sidecar said last."""

    pod: str
    time: str
    tracing: str  # On, ServerTooOld, NotReached or Refused
    stored: int
    dropped: int


class DriftResult(Resource):
    """Passed: what could be checked is within bounds; Failed: something is not; Unknown: nothing could be judged."""

    outcome: Outcome
    message: str
    rows: int  # in the windows of this look
    windows: list[JudgedWindow] = []  # of this look, oldest first
    skipped_windows: int = 0  # full, and older than those that one look judges
    waiting_rows: int = 0  # not enough for a window yet
    lost_rows: int = 0  # that retention or erasure removed before they were judged
    accuracy: AccuracyEstimate | None = None  # of the newest window
    labels: LabelReport | None = None
    holdout: HoldoutGap | None = None
    baseline_digest: str | None = None
    labels_digest: str | None = None
    left_out: list[str] = []  # columns of the baseline that are not sampled
    samplers: list[SamplerState] = []
    limits: str = BLIND_TO_CONCEPT_DRIFT
