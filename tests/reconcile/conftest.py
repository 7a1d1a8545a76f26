from __future__ import annotations

import pytest

from tests.reconcile.fakes import World
from tests.reconcile.judging import Scene


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def scene(world: World) -> Scene:
    return Scene(world)
