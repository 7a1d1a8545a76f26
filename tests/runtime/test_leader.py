"""Leader election on a clock of our own: one at a time, taken over when silent, given up on a clean end."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

import pytest
from throughline.ports import ApiError
from throughline.runtime.leader import LeaderElection

if TYPE_CHECKING:
    from collections.abc import Mapping


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


class Leases:
    """One Lease with optimistic locking."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.down = False
        self.writes = 0

    def _check(self) -> None:
        if self.down:
            raise ApiError(0, "Unreachable", "no answer")

    async def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        self._check()
        return copy.deepcopy(self.lease)

    async def create(self, manifest: Mapping[str, Any], *, field_manager: str) -> dict[str, Any]:
        self._check()
        if self.lease is not None:
            raise ApiError(409, "AlreadyExists", "exists")
        return self._store(manifest)

    async def replace(self, manifest: Mapping[str, Any], *, field_manager: str) -> dict[str, Any]:
        self._check()
        assert self.lease is not None
        if manifest["metadata"].get("resourceVersion") != self.lease["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "changed")
        return self._store(manifest)

    def _store(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        self.writes += 1
        self.lease = copy.deepcopy(dict(manifest))
        self.lease["metadata"] = {**self.lease["metadata"], "resourceVersion": str(self.writes)}
        return copy.deepcopy(self.lease)


def candidate(api: Leases, clock: Clock, identity: str) -> LeaderElection:
    return LeaderElection(
        api=api,
        namespace="ns",
        name="lease",
        identity=identity,
        duration=15,
        renew_deadline=10,
        retry=2,
        clock=clock,
        sleep=clock.sleep,
    )


async def test_the_first_leads_and_the_second_waits_while_it_renews() -> None:
    api, clock = Leases(), Clock()
    first, second = candidate(api, clock, "a"), candidate(api, clock, "b")
    assert await first._try()
    for _ in range(20):
        assert not await second._try()
        clock.now += 5
        assert await first._try()


async def test_a_silent_leader_is_replaced_only_after_its_duration() -> None:
    api, clock = Leases(), Clock()
    first, second = candidate(api, clock, "a"), candidate(api, clock, "b")
    await first.acquire()
    assert not await second._try()
    clock.now += 14.9
    assert not await second._try()
    clock.now += 0.2
    assert await second._try()
    assert api.lease is not None
    assert api.lease["spec"]["holderIdentity"] == "b"
    assert api.lease["spec"]["leaseTransitions"] == 1
    assert not await first._try(), "the old one sees that it is over"
    assert first._lost()


async def test_clocks_of_others_are_not_compared() -> None:
    """renewTime of a leader whose clock is a year behind says nothing; only that it does not change does."""
    api, clock = Leases(), Clock()
    first, second = candidate(api, clock, "a"), candidate(api, clock, "b")
    await first.acquire()
    assert api.lease is not None
    api.lease["spec"]["renewTime"] = "2001-01-01T00:00:00.000000Z"
    assert not await second._try()


async def test_leading_ends_when_renewing_fails_for_too_long() -> None:
    api, clock = Leases(), Clock()
    leader = candidate(api, clock, "a")
    await leader.acquire()
    api.down, started = True, clock.now
    await asyncio.wait_for(leader.hold(), 5)
    assert 10 <= clock.now - started < 15, "before another may take it over"


async def test_a_short_outage_does_not_end_it() -> None:
    api, clock = Leases(), Clock()
    leader = candidate(api, clock, "a")
    await leader.acquire()
    hold = asyncio.create_task(leader.hold())
    api.down, until = True, clock.now + 6
    while clock.now < until:
        await asyncio.sleep(0)
    api.down = False
    writes = api.writes
    until = clock.now + 60
    while clock.now < until:
        await asyncio.sleep(0)
    assert not hold.done()
    assert api.writes > writes
    hold.cancel()


async def test_a_released_lease_is_taken_at_once() -> None:
    api, clock = Leases(), Clock()
    first, second = candidate(api, clock, "a"), candidate(api, clock, "b")
    await first.acquire()
    assert not await second._try()
    await first.release()
    assert await second._try()


async def test_releasing_never_takes_the_lease_from_another() -> None:
    api, clock = Leases(), Clock()
    first, second = candidate(api, clock, "a"), candidate(api, clock, "b")
    await first.acquire()
    await second._try()
    clock.now += 16
    assert await second._try()
    await first.release()
    assert api.lease is not None
    assert api.lease["spec"]["holderIdentity"] == "b"


@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_two_that_start_together(order: str) -> None:
    api, clock = Leases(), Clock()
    both = {name: candidate(api, clock, name) for name in order}
    won = await asyncio.gather(*(c._try() for c in both.values()))
    assert sum(won) == 1
