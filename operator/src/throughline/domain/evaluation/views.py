"""What the decisions about evaluations are made from: suites, runs, revisions and approvals as they are now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from throughline.api.base import ConditionStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from throughline.api.base import Condition
    from throughline.api.evaluationrun import EvaluationRunSpec, EvaluationRunStatus
    from throughline.api.evaluationsuite import EvaluationSuiteSpec
    from throughline.api.model import Model
    from throughline.api.modelrevision import ModelRevisionSpec, ModelRevisionStatus, RevisionApproval

SUCCEEDED = "Succeeded"
ADMITTED = "Admitted"


@dataclass(frozen=True, slots=True)
class SuiteView:
    """A suite that the service names. `spec` is None where it is absent or not valid, and `problem` says which."""

    name: str
    spec: EvaluationSuiteSpec | None
    digest: str
    problem: str = ""

    def regions(self) -> frozenset[str] | None:
        """Where all its data may be read; None: there is no such suite."""
        if self.spec is None:
            return None
        allowed = frozenset(self.spec.dataset.governance.regions)
        training = self.spec.training_dataset
        return allowed if training is None else allowed & frozenset(training.governance.regions)


@dataclass(frozen=True, slots=True)
class RunView:
    """One EvaluationRun."""

    name: str
    uid: str
    created_seconds: float  # Unix time
    generation: int
    spec: EvaluationRunSpec
    status: EvaluationRunStatus

    @property
    def ended(self) -> Condition | None:
        """The condition that says how; None while it runs."""
        found = next((c for c in self.status.conditions if c.type == SUCCEEDED), None)
        return None if found is None or found.status == ConditionStatus.UNKNOWN else found


@dataclass(frozen=True, slots=True)
class RevisionView:
    """One ModelRevision."""

    name: str
    spec: ModelRevisionSpec
    status: ModelRevisionStatus

    @property
    def admitted(self) -> bool:
        return any(c.type == ADMITTED and c.status == ConditionStatus.TRUE for c in self.status.conditions)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model as it is to be judged, and where."""

    spec_hash: str
    model: Model
    served_name: str
    pool: str
    region: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one service's models."""

    suites: tuple[SuiteView, ...]  # in the order of spec.evaluation.suites
    runs: tuple[RunView, ...]
    revisions: tuple[RevisionView, ...]
    approvals: tuple[RevisionApproval, ...] = ()  # of the wanted revision, whose digest they name; newest first
    guarded: bool = True  # whether the API server vouches for the authors of approvals; else there are none

    def revision(self, spec_hash: str) -> RevisionView | None:
        return next((r for r in self.revisions if r.spec.spec_hash == spec_hash), None)


def newest(runs: Iterable[RunView], suite: SuiteView, spec_hash: str) -> RunView | None:
    """The newest run of the suite for that revision, ended or not; of the suite as it is now, where there is one."""
    return max(_of(runs, suite, spec_hash), key=lambda r: _age(r, suite), default=None)


def newest_ended(runs: Iterable[RunView], suite: SuiteView, spec_hash: str) -> RunView | None:
    """The newest one that has ended: while another runs, what was found before still stands."""
    ended = (r for r in _of(runs, suite, spec_hash) if r.ended is not None)
    return max(ended, key=lambda r: _age(r, suite), default=None)


def _of(runs: Iterable[RunView], suite: SuiteView, spec_hash: str) -> Sequence[RunView]:
    return [r for r in runs if r.spec.suite == suite.name and r.spec.spec_hash == spec_hash]


def _age(run: RunView, suite: SuiteView) -> tuple[bool, float, str]:
    """A suite that was set back is the one that it was before: what was found then counts again."""
    return run.spec.suite_digest == suite.digest, run.created_seconds, run.name
