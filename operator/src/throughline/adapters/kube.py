"""The Kubernetes API over kubernetes.aio's transport, with plain dicts.

The typed and dynamic clients are left out on purpose: models cost memory and time, discovery writes to disk, and the
kinds that the operator touches are few and known (`RESOURCES`).
"""

from __future__ import annotations

import datetime as dt
import json
import os
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import structlog
from kubernetes.aio import config as kube_config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from throughline.ports import ApiError, Page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

log = structlog.get_logger("kube")

# (apiVersion, kind) → (plural, namespaced)
RESOURCES: dict[tuple[str, str], tuple[str, bool]] = {
    ("throughline.io/v1alpha1", "InferenceService"): ("inferenceservices", True),
    ("throughline.io/v1alpha1", "ServingPool"): ("servingpools", False),
    ("throughline.io/v1alpha1", "EvaluationSuite"): ("evaluationsuites", True),
    ("throughline.io/v1alpha1", "EvaluationRun"): ("evaluationruns", True),
    ("throughline.io/v1alpha1", "ModelRevision"): ("modelrevisions", True),
    ("throughline.io/v1alpha1", "ModelApproval"): ("modelapprovals", True),
    ("apps/v1", "Deployment"): ("deployments", True),
    ("apps/v1", "ReplicaSet"): ("replicasets", True),
    ("v1", "Pod"): ("pods", True),
    ("v1", "Node"): ("nodes", False),
    ("v1", "Service"): ("services", True),
    ("v1", "ServiceAccount"): ("serviceaccounts", True),
    ("v1", "ConfigMap"): ("configmaps", True),
    ("v1", "Secret"): ("secrets", True),
    ("v1", "PersistentVolumeClaim"): ("persistentvolumeclaims", True),
    ("autoscaling/v2", "HorizontalPodAutoscaler"): ("horizontalpodautoscalers", True),
    ("policy/v1", "PodDisruptionBudget"): ("poddisruptionbudgets", True),
    ("networking.k8s.io/v1", "NetworkPolicy"): ("networkpolicies", True),
    ("monitoring.coreos.com/v1", "PodMonitor"): ("podmonitors", True),
    ("coordination.k8s.io/v1", "Lease"): ("leases", True),
    ("events.k8s.io/v1", "Event"): ("events", True),
    ("batch/v1", "Job"): ("jobs", True),
    ("batch/v1", "CronJob"): ("cronjobs", True),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"): ("validatingadmissionpolicies", False),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"): (
        "validatingadmissionpolicybindings",
        False,
    ),
}

PAGE_SIZE = 500
CONNECTIONS = 40
READ_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
# Bookmarks come about once a minute, so a stream that is silent for longer is dead.
WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=90)
WRITE_TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)
NOT_FOUND = 404
CONFLICT = 409
ERROR_STATUSES = 400
EVENT_SILENCE_SECONDS = 600
EVENTS_REMEMBERED = 4096
EVENT_NOTE_LENGTH = 1024
LOG_BYTES = 16 << 20
REPORTER = "throughline.io/operator"


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who signs Events."""

    instance: str


async def connect(*, user_agent: str = "throughline", connections: int = CONNECTIONS) -> ApiClient:
    """A client from KUBECONFIG, else the pod's service account, else ~/.kube/config."""
    configuration = Configuration()
    if not os.environ.get("KUBECONFIG") and os.environ.get("KUBERNETES_SERVICE_HOST"):
        kube_config.load_incluster_config(client_configuration=configuration)
    else:
        await kube_config.load_kube_config(client_configuration=configuration, persist_config=False)
    configuration.proxy = configuration.proxy or _proxy(configuration.host)
    # Without this aiohttp looks for proxies and for ~/.netrc in a thread, twice for every request.
    configuration.client_session_kwargs = {"trust_env": False}
    configuration.connection_pool_maxsize = connections
    client = ApiClient(configuration)
    client.user_agent = user_agent
    return client


def _proxy(host: str) -> str | None:
    """From HTTPS_PROXY and NO_PROXY."""
    url = urlsplit(host)
    if not url.hostname or proxy_bypass(url.hostname):
        return None
    return getproxies().get(url.scheme)


def resource_path(api_version: str, kind: str, namespace: str | None = None, name: str = "") -> str:
    """URL path of a kind, or of one object of it."""
    plural, namespaced = RESOURCES[(api_version, kind)]
    prefix = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    if namespaced and namespace:
        prefix += f"/namespaces/{quote(namespace, safe='')}"
    return f"{prefix}/{plural}" + (f"/{quote(name, safe='')}" if name else "")


class Kube:
    """KubePort, and the few more calls that the runtime needs (leases, pages, discovery)."""

    def __init__(
        self,
        client: ApiClient,
        *,
        reporter: Reporter,
        observe: Callable[[str, int], None] = lambda _method, _status: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._reporter = reporter
        self._observe = observe
        self._now = now
        self._emitted: dict[tuple[str, str, str], float] = {}

    async def close(self) -> None:
        await self._client.close()

    async def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        try:
            return await self.request("GET", resource_path(api_version, kind, namespace, name))
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def list(
        self, api_version: str, kind: str, namespace: str | None = None, *, label_selector: str = ""
    ) -> Sequence[dict[str, Any]]:
        pages = self.pages(api_version, kind, namespace, label_selector=label_selector)
        return [item async for page in pages for item in page.items]

    async def pages(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[Page]:
        query = {"limit": str(PAGE_SIZE), "labelSelector": label_selector, "fieldSelector": field_selector}
        while True:
            found = await self.request("GET", resource_path(api_version, kind, namespace), query=query)
            for item in found.get("items") or ():
                item.setdefault("apiVersion", api_version)
                item.setdefault("kind", kind)
            metadata = found.get("metadata") or {}
            yield Page(items=found.get("items") or [], resource_version=metadata.get("resourceVersion", ""))
            if not metadata.get("continue"):
                return
            query["continue"] = metadata["continue"]

    async def watch(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        resource_version: str,
        timeout_seconds: int,
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Events from a version on, bookmarks included; ends quietly when the stream ends or stays silent."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "labelSelector": label_selector,
            "timeoutSeconds": str(timeout_seconds),
        }
        path = resource_path(api_version, kind, namespace)
        try:
            async with await self._send("GET", path, query=query, timeout=WATCH_TIMEOUT) as response:
                async for line in response.content:
                    if line.strip():
                        yield json.loads(line)
        except (TimeoutError, aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, ValueError) as error:
            # Silence, a cut or a torn line: the caller goes on from the last version it has seen.
            log.debug("watch ended", kind=kind, error=repr(error))

    async def apply(self, manifest: Mapping[str, Any], *, field_manager: str, subresource: str = "") -> dict[str, Any]:
        metadata = manifest["metadata"]
        path = resource_path(manifest["apiVersion"], manifest["kind"], metadata.get("namespace"), metadata["name"])
        return await self.request(
            "PATCH",
            f"{path}/{subresource}" if subresource else path,
            query={"fieldManager": field_manager, "force": "true"},
            body=manifest,
            content_type="application/apply-patch+yaml",
        )

    async def dry_run(self, manifest: Mapping[str, Any], *, field_manager: str) -> dict[str, Any]:
        """Server-side apply that is only judged, never stored."""
        metadata = manifest["metadata"]
        path = resource_path(manifest["apiVersion"], manifest["kind"], metadata.get("namespace"), metadata["name"])
        return await self.request(
            "PATCH",
            path,
            query={"fieldManager": field_manager, "force": "true", "dryRun": "All"},
            body=manifest,
            content_type="application/apply-patch+yaml",
        )

    async def create(self, manifest: Mapping[str, Any], *, field_manager: str) -> dict[str, Any]:
        path = resource_path(manifest["apiVersion"], manifest["kind"], manifest["metadata"].get("namespace"))
        return await self.request("POST", path, query={"fieldManager": field_manager}, body=manifest)

    async def replace(self, manifest: Mapping[str, Any], *, field_manager: str) -> dict[str, Any]:
        """PUT: fails with 409 when the object has changed since it was read."""
        metadata = manifest["metadata"]
        path = resource_path(manifest["apiVersion"], manifest["kind"], metadata.get("namespace"), metadata["name"])
        return await self.request("PUT", path, query={"fieldManager": field_manager}, body=manifest)

    async def delete(self, api_version: str, kind: str, namespace: str | None, name: str, *, uid: str = "") -> None:
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            await self.request("DELETE", resource_path(api_version, kind, namespace, name), body=body)
        except ApiError as error:
            # 409: another object bears the name now, so the one that was meant is gone.
            if error.status not in {NOT_FOUND, CONFLICT}:
                raise

    async def log(self, namespace: str, pod: str, container: str) -> str:
        path = f"{resource_path('v1', 'Pod', namespace, pod)}/log"
        query = {"container": container, "limitBytes": str(LOG_BYTES)}
        data = await self._read("GET", path, query=query, accept="*/*")
        return data.decode(errors="replace")

    async def emit(self, regarding: Mapping[str, Any], *, type_: str, reason: str, message: str, action: str) -> None:
        metadata = regarding["metadata"]
        note = message[:EVENT_NOTE_LENGTH]
        if not self._first_of_its_kind((metadata.get("uid", ""), reason, note)):
            return
        namespace = metadata.get("namespace") or "default"
        moment = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name'][:200]}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "eventTime": moment,
            "reportingController": REPORTER,
            "reportingInstance": self._reporter.instance[:128],
            "action": action,
            "reason": reason,
            "type": type_,
            "note": note,
            "regarding": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "name": metadata["name"],
                "namespace": metadata.get("namespace", ""),
                "uid": metadata.get("uid", ""),
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
        }
        await self.create(event, field_manager="throughline")

    def _first_of_its_kind(self, key: tuple[str, str, str]) -> bool:
        """Whether the same Event was not written within the last minutes."""
        now = self._now()
        if now - self._emitted.get(key, -EVENT_SILENCE_SECONDS) < EVENT_SILENCE_SECONDS:
            return False
        if len(self._emitted) >= EVENTS_REMEMBERED:
            self._emitted = {k: t for k, t in self._emitted.items() if now - t < EVENT_SILENCE_SECONDS}
        if len(self._emitted) < EVENTS_REMEMBERED:
            self._emitted[key] = now
        return True

    async def serves(self, api_version: str, kind: str) -> bool:
        """Whether the API server knows the kind (a CRD may be absent)."""
        prefix = "/apis/" if "/" in api_version else "/api/"
        try:
            found = await self.request("GET", prefix + api_version)
        except ApiError as error:
            if error.status == NOT_FOUND:
                return False
            raise
        return any(r.get("kind") == kind and "/" not in r.get("name", "/") for r in found.get("resources") or ())

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """One request with a deadline; every failure is an ApiError (status 0: no answer)."""
        return _parse(await self._read(method, path, query=query, body=body, content_type=content_type))

    async def _read(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> bytes:
        timeout = READ_TIMEOUT if method == "GET" else WRITE_TIMEOUT
        try:
            async with await self._send(
                method, path, query=query, body=body, content_type=content_type, accept=accept, timeout=timeout
            ) as response:
                return await response.read()
        except TimeoutError as error:
            raise ApiError(0, "Timeout", f"{method} {path}: no answer within {timeout.total:g} s") from error
        except aiohttp.ClientError as error:
            raise ApiError(0, "Unreachable", f"{method} {path}: {error}") from error

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the transport's own
    ) -> aiohttp.ClientResponse:
        """A response whose status is a success, unread."""
        status = 0
        try:
            _, url, headers, _, _ = await self._client.param_serialize(
                method,
                path,
                query_params=[(k, v) for k, v in (query or {}).items() if v],
                header_params={"Accept": accept, "Content-Type": content_type},
                auth_settings=["BearerToken"],
            )
            wrapped = await self._client.call_api(method, url, headers, body, _request_timeout=timeout)
            response: aiohttp.ClientResponse = wrapped.response
            status = response.status
            if status < ERROR_STATUSES:
                return response
            data = await response.read()
        except TimeoutError as error:
            raise ApiError(0, "Timeout", f"{method} {path}: no answer within {timeout.total or 0:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ApiError(0, "Unreachable", f"{method} {path}: {error}") from error
        finally:
            self._observe(method, status)
        parsed = _parse(data)
        retry_after = response.headers.get("Retry-After", "")
        raise ApiError(
            status,
            parsed.get("reason") or response.reason or "Unknown",
            parsed.get("message") or data[:500].decode(errors="replace"),
            float(retry_after) if retry_after.isdigit() else None,
        )


def _parse(data: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(data) if data else {}
    except ValueError:  # a proxy's page instead of the API server's answer; its text goes into the ApiError
        return {}
    return parsed if isinstance(parsed, dict) else {}
