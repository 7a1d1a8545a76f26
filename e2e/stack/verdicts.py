"""The API server's verdict on a resource, without storing it: hundreds a second, over one connection."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from kubernetes import config

if TYPE_CHECKING:
    from e2e.cluster import Cluster

_HEADERS = {"Content-Type": "application/yaml", "Accept": "application/json"}
_REFUSED = {400, 422}


class Verdict(NamedTuple):
    """Whether the API server would create it, and what it says if not."""

    accepted: bool
    said: str


class ApiServer:
    """Asks for the creation of what a file holds, as `kubectl create --dry-run=server --validate=strict` does.

    The text is sent as it is: the API server reads YAML by the same library as kubectl.
    """

    def __init__(self, cluster: Cluster) -> None:
        client = config.new_client_from_config(str(cluster.kubeconfig))
        self._host, self._pool = client.configuration.host, client.rest_client.pool_manager
        token = client.configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        self._headers = {**_HEADERS, **({"Authorization": token} if token else {})}

    def verdict(self, path: str, text: str) -> Verdict:
        """`path`: of the collection, such as /api/v1/namespaces/default/configmaps."""
        url = f"{self._host}{path}?dryRun=All&fieldValidation=Strict"
        answer = self._pool.request("POST", url, body=text.encode(), headers=self._headers, retries=False)
        if answer.status == 201:
            return Verdict(accepted=True, said="")
        if answer.status not in _REFUSED:
            raise AssertionError(f"the API server answered {answer.status}: {answer.data!r}")
        return Verdict(accepted=False, said=json.loads(answer.data)["message"])
