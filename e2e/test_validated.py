"""What `validate` accepts, the real API server accepts: asked for many files that are made by chance.

THROUGHLINE_VALIDATED=2000 asks for so many, and THROUGHLINE_VALIDATED_SEED=N for others.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from throughline.api import cron
from throughline.api.crd import KINDS
from throughline.cli import validate

from e2e.stack.verdicts import ApiServer
from tests.api import crons, mutations

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

CRON_JOBS = "/apis/batch/v1/namespaces/default/cronjobs"
GROUP = "/apis/throughline.io/v1alpha1"
COLLECTIONS = {k.kind: f"{GROUP}/{'namespaces/default/' if k.namespaced else ''}{k.plural}" for k in KINDS}
COUNT = int(os.environ.get("THROUGHLINE_VALIDATED", "300"))
SEED = int(os.environ.get("THROUGHLINE_VALIDATED_SEED", "0"))
POD = {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}]}


@pytest.fixture(scope="session")
def api_server(cluster: Cluster) -> ApiServer:
    return ApiServer(cluster)


def cron_job(schedule: str) -> str:
    """As text; the operator makes one of spec.monitoring.schedule."""
    spec = {"schedule": schedule, "jobTemplate": {"spec": {"template": {"spec": POD}}}}
    return json.dumps({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "x"}, "spec": spec})


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedule=crons.expressions())
def test_a_schedule_is_right_where_it_is_right_in_a_cron_job(api_server: ApiServer, schedule: str) -> None:
    verdict, problem = api_server.verdict(CRON_JOBS, cron_job(schedule)), cron.problem(schedule)
    if problem is None:
        assert verdict.accepted, f"{schedule!r}: {verdict.said}"
    elif verdict.accepted:
        assert any(never in problem for never in crons.NEVER), f"{schedule!r}: {problem}"


@pytest.mark.usefixtures("crds")
def test_a_file_that_validate_accepts_is_accepted_by_the_api_server(api_server: ApiServer, tmp_path: Path) -> None:
    """And most of what `validate` refuses, the API server refuses, or the test would ask for nothing."""
    file, accepted, disagreed = tmp_path / "resource.yaml", 0, []
    refused = {True: 0, False: 0}  # by the API server, too → how many
    for kind, text, _meant in mutations.texts(SEED):
        if accepted == COUNT:
            break
        file.write_text(text)
        report = validate.check([str(file)])
        accepted += not report.findings
        if report.findings and sum(refused.values()) > accepted:
            continue
        verdict = api_server.verdict(COLLECTIONS[kind], text)
        if report.findings:
            refused[not verdict.accepted] += 1
        elif not verdict.accepted:
            disagreed.append(f"{verdict.said}\n{text}")
    print(f"asked for {accepted} that validate accepts and {sum(refused.values())} that it refuses: {refused}")
    assert not disagreed, "\n\n".join([f"{len(disagreed)} of {accepted}:", *disagreed[:3]])
    assert refused[True] > 10 * refused[False]
