"""What `throughline validate` accepts, a real Triton loads, from the file and by its API, and answers.

THROUGHLINE_AGREEMENT=200 asks for so many services, and THROUGHLINE_AGREEMENT_SEED=N for others.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from e2e.stack import agreement, evaluation, storage
from e2e.stack.objects import apply, until_ended
from e2e.stack.watching import scratch

if TYPE_CHECKING:
    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

COUNT = int(os.environ.get("THROUGHLINE_AGREEMENT", "20"))
SEED = int(os.environ.get("THROUGHLINE_AGREEMENT_SEED", "0"))
SECONDS_EACH, SECONDS_START = 15.0, 60.0
ASK = "ask"


def test_a_real_triton_loads_what_validate_accepts(local: Cluster, product: Cluster) -> None:
    cases = list(agreement.cases(COUNT, SEED))
    with scratch(product, "agreement") as api:
        folder = storage.install(local, evaluation.CLAIM, api.namespace)
        agreement.asked(cases, folder)
        pod, _service = evaluation.server(local, api.namespace)
        (server,) = pod["spec"]["containers"]
        server["args"] += agreement.FLAGS
        asking = {
            "name": ASK,
            "image": local.images["operator"],
            "command": ["python3", "/claim/ask.py", "/claim/cases.json", "8000"],
            "securityContext": evaluation.SAFE,
            "volumeMounts": [{"name": "claim", "mountPath": "/claim", "readOnly": True}],
        }
        # `until_ended` looks at the first in the order of their names.
        pod["spec"]["containers"] = [asking, server]
        apply(local, [pod])
        ended = until_ended(local, "server", api.namespace, seconds=SECONDS_START + SECONDS_EACH * COUNT)
        said = local.kubectl("logs", "server", "-c", ASK, "-n", api.namespace).stdout
        local.kubectl("delete", "pv", f"{api.namespace}-{evaluation.CLAIM}", "--wait=false", check=False)
    assert ended["exitCode"] == 0, said
    *wrong, last = [json.loads(line) for line in said.splitlines()]
    assert last == {"asked": COUNT}
    resources = {case.name: case.resource["spec"] for case in cases}
    assert not wrong, "\n".join(f"{w['wrong']}\n{json.dumps(resources[w['case']])}" for w in wrong)
