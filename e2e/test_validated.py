"""What `validate` accepts, the real API server accepts: asked for many resources that hypothesis thinks of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from throughline.api import cron

from e2e.stack.verdicts import ApiServer
from tests.api import crons

if TYPE_CHECKING:
    from e2e.cluster import Cluster

pytestmark = pytest.mark.e2e

CRON_JOBS = "/apis/batch/v1/namespaces/default/cronjobs"
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
