"""`throughline plan FILE`: what would be created or changed, and why, before anything is. Nothing is written."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from throughline import exits
from throughline.cli import cluster, output, validate
from throughline.cli.planning import plan_for, replaces_pods
from throughline.cli.reading import Reading
from throughline.domain.changes import Action
from throughline.ports import ApiError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from throughline.cli.planning import Plan
    from throughline.domain.changes import Change

# Settings of the operator that an upgrade often brings.
GIVEN = ("default_triton_image", "evaluator_image")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "plan",
        help="what would be created or changed on the cluster, and why; writes nothing",
        description="Says what this version of the operator would make of the files, with the settings of the operator "
        "on the cluster, and whether pods are replaced. "
        "Exit code: 0 fine, 1 something would be refused, 2 nothing to plan, 3 no answer of the cluster.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="YAML or JSON file, directory, or - for the input")
    parser.add_argument("-n", "--namespace", help="of resources that name none (default: as kubectl)")
    parser.add_argument("--offline", action="store_true", help="ask no cluster: show all that is rendered")
    for name in GIVEN:
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, metavar="IMAGE", help="as an upgrade would set it (default: as the operator has it)")
    output.add_output_flag(parser, formats=("text", "json", "yaml"))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the plan."""
    report, resources = validate.read_and_check(args.files)
    for finding in report.findings:
        print(finding, file=sys.stderr)
    for warning in report.warnings:
        print(warning.as_warning(), file=sys.stderr)
    if report.code != exits.OK:
        if not report.findings:
            print("error: no object of throughline.io in these files", file=sys.stderr)
        return report.code
    try:
        plan = asyncio.run(_plan(args, resources))
    except (cluster.NoClusterError, ApiError) as error:
        print(f"error: {error} (--offline shows what is rendered)", file=sys.stderr)
        return exits.NO_ANSWER
    _print(plan, args.output)
    return exits.REFUSED if plan.refused else exits.OK


async def _plan(args: argparse.Namespace, resources: Sequence[dict[str, Any]]) -> Plan:
    given = {name: vars(args)[name] for name in GIVEN if vars(args)[name] is not None}
    if args.offline:
        return await plan_for(resources, Reading(None, given), args.namespace or "default")
    async with cluster.cluster() as kube:
        return await plan_for(resources, Reading(kube, given), args.namespace or cluster.default_namespace())


def _print(plan: Plan, form: str) -> None:
    if form == "text":
        print(_text(plan))
    elif form == "json":
        objects = [_to_wire(change) for change in plan.changes]
        print(output.structured({"objects": objects, "notes": plan.notes}, "json"))
    else:
        print(output.structured([change.manifest for change in plan.changes], "yaml"))


def _text(plan: Plan) -> str:
    rows = [(c.action.value, c.kind, c.name, c.why) for c in plan.changes]
    table = output.table(("ACTION", "KIND", "NAME", "WHY"), rows)
    return "\n".join([table, "", *(f"Note: {note}" for note in plan.notes), _summary(plan)])


def _summary(plan: Plan) -> str:
    counts = {action: sum(c.action is action for c in plan.changes) for action in Action}
    summary = ", ".join(f"{count} to {action.value}" for action, count in counts.items() if count)
    if plan.replaced is None:
        return summary
    pods = f"the pods of {', '.join(plan.replaced)} are replaced one by one" if plan.replaced else "no pod is replaced"
    return f"{summary}; {pods}"


def _to_wire(change: Change) -> dict[str, Any]:
    return {
        "action": change.action.value,
        "apiVersion": change.manifest["apiVersion"],
        "kind": change.kind,
        "namespace": change.manifest["metadata"].get("namespace"),
        "name": change.name,
        "why": change.why,
        "fields": list(change.fields),
        "replacesPods": replaces_pods(change),
        "manifest": change.manifest,
    }
