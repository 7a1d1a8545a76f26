"""The command line: python3 -m e2e.cluster build | up | check | kubectl ARGS… | exec COMMAND…."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from . import prerequisites
from .cache import Cache, instances, is_locked
from .cluster import KUBECONFIG, LocalCluster, prepare
from .errors import ClusterError, PrerequisiteMissing

if TYPE_CHECKING:
    from types import FrameType


def report(text: str) -> None:
    print(text, flush=True)


def up() -> int:
    started = time.monotonic()
    with LocalCluster.started(report) as cluster:
        report(f"three nodes are ready after {time.monotonic() - started:.1f} s; Ctrl-C ends the cluster")
        report(f"export KUBECONFIG={cluster.kubeconfig}")
        reason = cluster.wait_for_end()
    report(f"the cluster has stopped: {reason}")
    return 1


def running(cache: Cache) -> LocalCluster:
    """The newest cluster that is up."""
    for directory in reversed(instances(cache)):
        # Written last: a cluster without it is not up yet.
        if (directory / KUBECONFIG).exists() and is_locked(directory):
            return LocalCluster(directory)
    raise ClusterError("no cluster is running: start one with `python3 -m e2e.cluster up`")


def stop(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m e2e.cluster", description="A real Kubernetes cluster on this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="say whether this machine has what the cluster needs")
    commands.add_parser("build", help="build the binary and the images into the cache")
    commands.add_parser("up", help="run the cluster until Ctrl-C")
    for name, text in (
        ("kubectl", "run kubectl against the running cluster"),
        ("exec", "run a command in the cluster's network"),
    ):
        commands.add_parser(name, help=text, add_help=False, prefix_chars="\0").add_argument(
            "rest", nargs=argparse.REMAINDER
        )
    args = parser.parse_args()
    cache = Cache.of_environment()
    # A shell starts background jobs with Ctrl-C ignored: whoever sends it to us means it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    try:
        match args.command:
            case "check":
                prerequisites.check(cache)
                report(f"this machine has everything the cluster needs ({prerequisites.describe()})")
            case "build":
                prepare(cache, report)
            case "up":
                return up()
            case "kubectl":
                command = [*running(cache).kubectl_command, *args.rest]
                os.execv(command[0], command)  # noqa: S606 - the arguments are the caller's own words
            case "exec":
                command = running(cache).network_command(*args.rest)
                os.execvp(command[0], command)  # noqa: S606 - likewise
    except (PrerequisiteMissing, ClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
