"""What tests of runs begin with: the use-cases on a database of their own, and somebody who uses them."""

from __future__ import annotations

import pytest

from domain.access import Scope
from persistence.database import Database
from tests.support.tracking import Tracking


@pytest.fixture
def tracking(database: Database) -> Tracking:
    return Tracking(database)


@pytest.fixture
async def scope(tracking: Tracking) -> Scope:
    return await tracking.scope()
