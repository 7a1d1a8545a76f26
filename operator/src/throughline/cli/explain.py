"""`throughline explain NAME`: what runs, what was learned, what was decided and why, from the resource's status."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from throughline import exits
from throughline.api.base import API_VERSION, ConditionStatus
from throughline.api.inferenceservice import InferenceServiceSpec
from throughline.api.status import BlockedBy, InferenceServiceStatus
from throughline.cli import cluster, documents, output
from throughline.domain.conditions import READY, RECONCILING, STALLED, Meaning, describe
from throughline.domain.control.optimise.blocked import block_text
from throughline.domain.formatting import age, plain
from throughline.domain.records import settings_text
from throughline.domain.times import unix_seconds
from throughline.ports import ApiError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from throughline.api.base import Condition
    from throughline.api.batching import BatchSettings
    from throughline.api.status import Alternative, DecisionRecord, RejectedSettings, ServiceTime

KIND = "InferenceService"
SUMMARIES = frozenset({READY, RECONCILING, STALLED})


class CannotExplainError(Exception):
    """There is nothing to explain; the message says why."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "explain",
        help="the ledger of one service: inputs, prediction, alternatives with cost, choice, why",
        description="Shows what an InferenceService runs, whether its SLO holds, what was learned of the model, and "
        "its last decisions with the alternatives that were weighed.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="the InferenceService; optional with -f")
    parser.add_argument("-n", "--namespace", help="its namespace (default: as kubectl)")
    parser.add_argument(
        "-f", "--file", help="read the resource from a file (kubectl get tis NAME -o yaml), - for input"
    )
    parser.add_argument("--last", type=int, default=5, metavar="N", help="decisions to show (default: %(default)s)")
    output.add_output_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the explanation."""
    try:
        resource = _from_file(args) if args.file else asyncio.run(_from_cluster(args))
        explanation = Explanation(resource, last=max(0, args.last), now_seconds=time.time())
    except (CannotExplainError, documents.UnreadableError) as error:
        print(f"error: {error}", file=sys.stderr)
        return exits.UNUSABLE
    except (cluster.NoClusterError, ApiError) as error:
        print(f"error: {error}", file=sys.stderr)
        return exits.NO_ANSWER
    print(output.structured(explanation.to_wire(), "json") if args.output == "json" else explanation.text())
    return exits.OK


def _from_file(args: argparse.Namespace) -> dict[str, Any]:
    found = [d.data for d in documents.read_all(args.file) if isinstance(d.data, dict) and d.data.get("kind") == KIND]
    named = [d for d in found if args.name in {None, (d.get("metadata") or {}).get("name")}]
    if not named:
        raise CannotExplainError(f"{args.file} has no {KIND}{f' named {args.name}' if args.name else ''}")
    if len(named) > 1:
        raise CannotExplainError(f"{args.file} has {len(named)} InferenceServices: name one")
    return dict(named[0])


async def _from_cluster(args: argparse.Namespace) -> dict[str, Any]:
    if not args.name:
        raise CannotExplainError("name an InferenceService, or give a file with -f")
    namespace = args.namespace or cluster.default_namespace()
    async with cluster.cluster() as kube:
        resource = await kube.get(API_VERSION, KIND, namespace, args.name)
    if resource is None:
        raise CannotExplainError(
            f"there is no InferenceService {args.name} in namespace {namespace} (see kubectl get tis -A)"
        )
    return resource


class Explanation:
    """Everything worth knowing of one resource, for people and for programs."""

    def __init__(self, resource: dict[str, Any], *, last: int, now_seconds: float) -> None:
        metadata = resource.get("metadata") or {}
        self.name = str(metadata.get("name", ""))
        self.namespace = str(metadata.get("namespace", "default"))
        self.generation = int(metadata.get("generation", 0))
        try:
            self.spec = InferenceServiceSpec.model_validate(resource.get("spec"))
            self.status = InferenceServiceStatus.model_validate(resource.get("status") or {})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise CannotExplainError(
                f"the resource is not of this version of Throughline ({where}: {first['msg']}); "
                "`throughline validate` lists what is wrong in its spec"
            ) from error
        self.decisions = self.status.decisions[:last]
        self.written = _written(metadata, self.status)
        self._now_seconds = now_seconds

    def to_wire(self) -> dict[str, Any]:
        """For -o json: the status' own words, with what each condition means."""
        return {
            "name": self.name,
            "namespace": self.namespace,
            "seen": self.seen,
            "statusWritten": self.written,
            "slo": self.spec.slo.to_wire(),
            "status": self.status.model_copy(update={"decisions": self.decisions}).to_wire(),
            "conditions": [
                {**condition.to_wire(), "meaning": meaning.meaning, "action": meaning.action}
                for condition, meaning in self._explained()
            ],
        }

    @property
    def seen(self) -> bool:
        """Whether the operator has seen the spec as it is now."""
        return self.status.observed_generation >= max(self.generation, 0)

    def text(self) -> str:
        """For people."""
        return "\n".join([*self._head(), "", *self._conditions(), "", *self._ledger()])

    def _head(self) -> Iterator[str]:
        status, slo = self.status, self.spec.slo
        yield f"{KIND} {self.namespace}/{self.name}"
        floor = f", at least {slo.throughput_per_second} requests/s" if slo.throughput_per_second else ""
        floor += f", {slo.availability} of the requests succeed" if slo.availability else ""
        replicas = status.replicas.summary or f"{status.replicas.ready}/{status.replicas.desired}"
        advised = f" (recommended: {status.replicas.recommended})" if status.replicas.recommended is not None else ""
        better = f" (recommended: {_settings(status.batch.recommended)})" if status.batch.recommended else ""
        rows = [
            ("Status", self._status_age()),
            ("SLO", f"p99 within {slo.latency_p99_milliseconds} ms{floor}"),
            ("Measured", f"p99 {status.slo.latency_p99}, throughput {status.slo.throughput}"),
            ("Error budget", f"{status.slo.error_budget_spent} spent"),
            ("Cost", f"{status.slo.cost_per_thousand} for 1,000 inferences"),
            ("Pool", status.pool or "not placed yet"),
            ("Replicas", f"{replicas} ready{advised}"),
            ("Settings", f"{status.batch.summary or _settings(status.batch.settings)}{better}"),
            ("Learned", _learned(status.control.service_time)),
        ]
        if trial := status.control.trial:
            where = f"on pod {trial.pod}" if trial.pod else "on all pods"
            rows.append(("Trying", f"{_settings(trial.settings)} {where} since {trial.started}"))
        rows += [("Rejected", _rejected(r)) for r in status.control.rejected]
        width = max(len(label) for label, _ in rows)
        for label, value in rows:
            yield f"  {label.ljust(width)}   {value}"
        if not self.seen:
            yield "  The operator has not seen this version of the spec yet: what follows is about an earlier one."

    def _status_age(self) -> str:
        """How old what follows is: a status that nobody writes any more looks like one of now."""
        if self.written is None:
            return "never written"
        ago = age(self._now_seconds - unix_seconds(self.written))
        return f"last changed {self.written}, {ago} ago; the operator writes it only when something changes"

    def _conditions(self) -> Iterator[str]:
        if not self.status.conditions:
            yield "No conditions: the operator has not looked at this yet. Is it running?"
            return
        rows = [(c.type, c.status.value, c.reason, c.last_transition_time) for c in self.status.conditions]
        yield output.table(("CONDITION", "STATUS", "REASON", "SINCE"), rows)
        for condition, meaning in self._explained():
            if condition in self._worth_explaining():
                yield ""
                yield f"{condition.type}: {meaning.meaning}"
                if condition.message:
                    yield output.paragraph(condition.message)
                yield output.paragraph(f"What to do: {meaning.action}")

    def _worth_explaining(self) -> list[Condition]:
        """What is wrong, once: not what repeats or only follows from another condition."""
        wrong = [c for c in self.status.conditions if not _healthy(c)]
        causes = [c for c in wrong if c.type not in SUMMARIES and not meaning_of(c).action.startswith("See ")]
        told = {c.reason for c in causes}
        rest = [c for c in wrong if c.type in SUMMARIES and c.reason not in told]
        return [*causes, *({c.reason: c for c in reversed(rest)}.values())]

    def _explained(self) -> Iterator[tuple[Condition, Meaning]]:
        for condition in self.status.conditions:
            yield condition, meaning_of(condition)

    def _ledger(self) -> Iterator[str]:
        if not self.decisions:
            yield "No decisions yet."
            return
        newest = self.decisions[0]
        yield output.table(
            ("DECISION", "ACTION", "REASON", "REPLICAS", "SETTINGS"),
            [(d.time, d.action.value, d.reason, d.replicas, _settings(d.settings)) for d in self.decisions],
        )
        yield ""
        yield f"The newest, {newest.action.value} at {newest.time}:"
        yield from _decision(newest)
        for older in self.decisions[1:]:
            yield ""
            yield f"{older.time} {older.action.value}:"
            yield output.paragraph(older.message)


def meaning_of(condition: Condition) -> Meaning:
    """What the condition's reason means; Ready, Reconciling and Stalled repeat the reasons of others."""
    lines = describe()
    own = [line for line in lines if (line.type, line.reason) == (condition.type, condition.reason)]
    same = [line for line in lines if line.reason == condition.reason]
    unknown = Meaning(condition.type, condition.reason, lines[0].nature, condition.reason, "Read the message.")
    return (own or same or [unknown])[0]


def _healthy(condition: Condition) -> bool:
    wanted = ConditionStatus.FALSE if condition.type in {RECONCILING, STALLED} else ConditionStatus.TRUE
    return condition.status is wanted


def _decision(record: DecisionRecord) -> Iterator[str]:
    yield output.paragraph(record.message)
    rows = [("Inputs", record.inputs), ("Predicted", record.predicted)]
    for label, value in rows:
        if value:
            yield f"  {label.ljust(9)}   {value}"
    if record.alternatives:
        yield ""
        yield output.table(
            ("ALTERNATIVE", "REPLICAS", "P99", "CAPACITY", "COST/HOUR", "VERDICT"),
            [_alternative(a) for a in record.alternatives],
            indent="  ",
        )


def _alternative(alternative: Alternative) -> tuple[object, ...]:
    return (
        _settings(alternative.settings),
        alternative.replicas,
        alternative.latency_p99,
        alternative.capacity,
        alternative.cost_per_hour,
        alternative.verdict,
    )


def _written(metadata: Mapping[str, Any], status: InferenceServiceStatus) -> str | None:
    """When the status was last written, by the API server; where a file does not say, the newest time in it."""
    writers = (w for w in metadata.get("managedFields") or () if w.get("subresource") == "status" and w.get("time"))
    times = [str(w["time"]) for w in writers]
    if not times:
        times = [*(c.last_transition_time for c in status.conditions), *(d.time for d in status.decisions)]
    return max(times, key=unix_seconds, default=None)


def _rejected(rejected: RejectedSettings) -> str:
    until = f"until {rejected.until}" if rejected.until else "for this model revision"
    larger = "" if rejected.blocked_by is BlockedBy.WORSE else " and larger"
    why = block_text(rejected.blocked_by, rejected.reason)
    return f"{_settings(rejected.settings)}{larger} {until}: {why}"


def _settings(settings: BatchSettings | None) -> str:
    return "-" if settings is None else settings_text(settings)


def _learned(time: ServiceTime | None) -> str:
    if time is None:
        return "nothing yet"
    alpha, beta = time.alpha_microseconds / 1000, time.beta_microseconds / 1000
    return (
        f"a batch of b takes {plain(alpha, 4)} + {plain(beta, 4)}·b ms, from {time.executions} executions of up to "
        f"{time.largest_batch}; "
        f"measured p99 is {plain(time.error_permille / 1000)} of the predicted"
    )
