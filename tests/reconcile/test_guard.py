"""An approval counts only where the API server holds every author to their own name."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from throughline.ports import ApiError
from throughline.reconcile.evaluation.guard import LOOK_AGAIN_SECONDS, ApprovalGuard, guards

from tests.api.resources import REMOVE, changed

if TYPE_CHECKING:
    from tests.reconcile.fakes import World

POLICY, BINDING = yaml.safe_load_all(
    (Path(__file__).resolve().parents[2] / "manifests/approval/policy.yaml").read_text()
)


def test_the_one_in_manifests_does() -> None:
    assert guards(POLICY, BINDING)
    filled = changed(BINDING, ("spec/matchResources", {"namespaceSelector": {}, "objectSelector": {}}))
    assert guards(POLICY, filled), "as the API server stores it"


@pytest.mark.parametrize(
    ("policy", "binding"),
    [
        pytest.param(("spec/validations", REMOVE), None, id="no rule"),
        pytest.param(("spec/failurePolicy", "Ignore"), None, id="ignores failures"),
        pytest.param(("spec/matchConditions", [{"name": "x", "expression": "false"}]), None, id="only where"),
        pytest.param(None, ("spec/validationActions", ["Audit"]), id="refuses nothing"),
        pytest.param(None, ("spec/policyName", "another"), id="of another"),
        pytest.param(None, ("spec/matchResources", {"namespaceSelector": {"matchLabels": {"a": "b"}}}), id="narrowed"),
    ],
)
def test_one_that_lets_some_through_does_not(policy: Any, binding: Any) -> None:
    assert not guards(changed(POLICY, policy) if policy else POLICY, changed(BINDING, binding) if binding else BINDING)


def test_none_does_not() -> None:
    assert not guards(None, BINDING)
    assert not guards(POLICY, None)


async def test_it_is_asked_now_and_then_and_an_error_is_no(world: World) -> None:
    guard = ApprovalGuard(world.kube, lambda: world.now)
    world.add(POLICY)
    world.add(BINDING)
    assert await guard.stands()
    world.remove("ValidatingAdmissionPolicy", "", POLICY["metadata"]["name"])
    assert await guard.stands()
    world.now += LOOK_AGAIN_SECONDS
    assert not await guard.stands()
    world.add(POLICY)
    world.now += LOOK_AGAIN_SECONDS

    async def forbidden(*_: Any) -> Any:
        raise ApiError(403, "Forbidden", "no")

    world.kube.get = forbidden  # type: ignore[method-assign]
    assert not await guard.stands()


async def test_a_busy_api_server_is_no_answer(world: World) -> None:
    """A kind that was just made: 429 "storage is (re)initializing". The queue asks again after the time it names."""
    guard = ApprovalGuard(world.kube, lambda: world.now)
    world.add(POLICY)
    world.add(BINDING)
    get = world.kube.get

    async def busy(*_: Any) -> Any:
        raise ApiError(429, "TooManyRequests", "storage is (re)initializing", 1.0)

    world.kube.get = busy  # type: ignore[method-assign]
    with pytest.raises(ApiError):
        await guard.stands()
    world.kube.get = get  # type: ignore[method-assign]
    assert await guard.stands()


async def test_who_asks_while_it_is_asked_gets_the_new_answer(world: World) -> None:
    guard = ApprovalGuard(world.kube, lambda: world.now)
    assert not await guard.stands()
    world.add(POLICY)
    world.add(BINDING)
    world.now += LOOK_AGAIN_SECONDS
    get = world.kube.get

    async def slow(*args: Any) -> Any:
        await asyncio.sleep(0)
        return await get(*args)

    world.kube.get = slow  # type: ignore[method-assign]
    assert await asyncio.gather(guard.stands(), guard.stands()) == [True, True]
