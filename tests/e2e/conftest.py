"""What tests with real processes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import scratch


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory for servers' data, which PostgreSQL's own account may enter also when the tests run as root."""
    with scratch() as made:
        yield made
