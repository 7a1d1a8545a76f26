from __future__ import annotations

import pytest

from tests.reconcile.fakes import World


@pytest.fixture
def world() -> World:
    return World()
