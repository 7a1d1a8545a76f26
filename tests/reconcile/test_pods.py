"""What a pod's init containers say of the model's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from throughline.reconcile.pods import pod_view

from tests.reconcile.fakes import pod

if TYPE_CHECKING:
    from typing import Any

LINK = "1/model.onnx is a link to /data/model.onnx"


def said(exit_code: int, message: str) -> dict[str, Any]:
    ended = {"terminated": {"exitCode": exit_code, "message": message}}
    return {"name": "model-files", "restartCount": 0, "state": ended}


@pytest.mark.parametrize(
    ("status", "links", "container", "why"),
    [
        (said(0, f"{LINK}\n2/x is a link to /y\n"), f"{LINK}; 2/x is a link to /y", "triton", None),
        (said(0, ""), "", "triton", None),
        (said(1, "the model's folder has no folder 7"), "", "model-files", "no folder 7 (exit code 1)"),
    ],
    ids=["broken links hinder nobody", "all well", "no such version"],
)
def test_links_that_lead_nowhere_and_a_missing_version_are_told_apart(
    status: dict[str, Any], links: str, container: str, why: str | None
) -> None:
    found = pod("m-0", "r", ip="", ready=False, initContainerStatuses=[status])
    found["metadata"]["uid"] = "uid"
    seen = pod_view(found, 0.0)
    assert (seen.broken_links, seen.waiting_container) == (links, container)
    assert (seen.waiting_message or "").endswith(why or "")
