"""The cluster that kubectl would use, for commands that only look."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.kube_config import list_kube_config_contexts

from throughline.adapters.kube import Kube, Reporter, connect
from throughline.ports import ApiError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

IN_CLUSTER_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class NoClusterError(Exception):
    """There is no cluster to ask; the message says what to do."""


@asynccontextmanager
async def cluster() -> AsyncIterator[Kube]:
    """A client; what goes wrong with the connection is a NoClusterError."""
    try:
        client = await connect(user_agent="throughline-cli")
    except (ConfigException, OSError) as error:
        raise NoClusterError(f"no cluster is configured: set KUBECONFIG ({error})") from error
    kube = Kube(client, reporter=Reporter("cli"))
    try:
        yield kube
    except ApiError as error:
        if error.status == 0:
            raise NoClusterError(f"the cluster does not answer: {error.message}") from error
        raise
    finally:
        await kube.close()


def default_namespace() -> str:
    """As kubectl: of the current context, else of the pod, else `default`."""
    try:
        _, current = list_kube_config_contexts()
    except (ConfigException, OSError):
        try:
            return IN_CLUSTER_NAMESPACE.read_text(encoding="utf-8").strip()
        except OSError:
            return "default"
    return str((current.get("context") or {}).get("namespace") or "default")
