"""The chart on a real cluster, by the Helm SDK: what `helm install`, `upgrade` and `uninstall` do, without a binary.

`python -m e2e.helm` takes those commands as helm does, of its options those that our documents name.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import helm_python

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

CHART = Path(__file__).resolve().parent.parent / "charts" / "throughline"
RELEASE = "throughline"
NAMESPACE = "throughline-system"
WAIT_SECONDS = 120


def image_values(reference: str) -> dict[str, Any]:
    """Values that make the chart use this image, as it is on the nodes: repository:tag or repository@digest."""
    if "@" in reference:
        repository, digest = reference.split("@", 1)
        return {"image": {"repository": repository, "digest": digest, "pullPolicy": "IfNotPresent"}}
    head, _, tag = reference.rpartition(":")
    if not head or "/" in tag:  # no tag: what stands behind the last colon is a registry's port and a path
        raise ValueError(f"{reference}: an image needs a tag or a digest")
    return {"image": {"repository": head, "tag": tag, "pullPolicy": "IfNotPresent"}}


@contextlib.contextmanager
def _helm(kubeconfig: Path | str, namespace: str) -> Iterator[helm_python.Config]:
    with helm_python.Config(kubeconfig_path=kubeconfig, namespace=namespace) as config:
        yield config


def install_chart(
    kubeconfig: Path | str,
    values: Mapping[str, Any] | None = None,
    *,
    release: str = RELEASE,
    namespace: str = NAMESPACE,
    chart: Path = CHART,
    wait_seconds: int = WAIT_SECONDS,
) -> str:
    """Install, or upgrade where the release is there already; returns when the operator is ready, with the manifest."""
    options: dict[str, Any] = {"namespace": namespace, "timeout": wait_seconds, "wait": "watcher"}
    with _helm(kubeconfig, namespace) as config, helm_python.Chart.load(chart) as loaded:
        try:
            config.status(release)
        except helm_python.HelmNotFoundError:
            result = config.install(loaded, release, dict(values or {}), create_namespace=True, **options)
        else:
            result = config.upgrade(loaded, release, dict(values or {}), **options)
    return str(result.get("manifest", ""))


def uninstall_chart(
    kubeconfig: Path | str,
    *,
    release: str = RELEASE,
    namespace: str = NAMESPACE,
    wait_seconds: int = WAIT_SECONDS,
) -> None:
    """Uninstall and wait until the release's objects are gone (pods end a little later); no release is fine."""
    with _helm(kubeconfig, namespace) as config:
        config.uninstall(release, timeout=wait_seconds, wait="watcher", ignore_not_found=True)


def parse_set(assignments: Iterable[str]) -> dict[str, Any]:
    """The values of `--set A.B=C,D=E`; a number or a boolean is one, as for helm."""
    words = {"true": True, "false": False, "null": None}
    values: dict[str, Any] = {}
    for assignment in (part for given in assignments for part in given.split(",")):
        path, _, text = assignment.partition("=")
        *above, last = path.split(".")
        node = values
        for name in above:
            node = node.setdefault(name, {})
        node[last] = int(text) if text.isdecimal() else words.get(text, text)
    return values


def main(argv: Sequence[str] | None = None) -> int:
    """As helm, which returns before the operator is ready; here it is ready."""
    parser = argparse.ArgumentParser(prog="helm")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("install", "upgrade", "uninstall"):
        command = commands.add_parser(name)
        command.add_argument("release")
        command.add_argument("-n", "--namespace", default="default")
        if name != "uninstall":
            command.add_argument("chart", type=Path)
            command.add_argument("--create-namespace", action="store_true")
            command.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args(argv)
    kubeconfig, place = os.environ["KUBECONFIG"], {"release": arguments.release, "namespace": arguments.namespace}
    try:
        if arguments.command == "uninstall":
            uninstall_chart(kubeconfig, **place)
        else:
            install_chart(kubeconfig, parse_set(arguments.set), chart=arguments.chart, **place)
    except helm_python.HelmError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
