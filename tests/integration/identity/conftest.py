"""Instances of which only identity is open, each on a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from persistence.database import Database
from tests.support.identity import Instance, instance


@pytest.fixture
async def fresh(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance nobody has set up."""
    async with instance(database, tmp_path) as opened:
        yield opened


@pytest.fixture
async def ready(fresh: Instance) -> Instance:
    """An instance with its administrator."""
    await fresh.set_up()
    return fresh
