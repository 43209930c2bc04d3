"""Fixtures of the wire tests."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import structlog

from server import logs

if TYPE_CHECKING:
    from tests.support.attacks import World
    from tests.support.product import Product


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """Everything that this process logs while the test runs, as JSON lines, formatted as the server does."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("debug", "json", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
async def world(product: Product) -> World:
    """The product with one of everything in it, for the tests of attacks."""
    from tests.support.attacks import furnished

    return await furnished(product)
