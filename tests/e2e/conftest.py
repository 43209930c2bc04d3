"""What tests with real processes share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.servers import scratch

if TYPE_CHECKING:
    from playwright.async_api import Browser


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory for servers' data, which PostgreSQL's own account may enter also when the tests run as root."""
    with scratch() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A browser for the tests of one file, in the loop of that file."""
    from playwright.async_api import async_playwright

    from tests.support.browser import executable, launch

    try:
        path = await asyncio.to_thread(executable)
    except LookupError as reason:
        pytest.skip(str(reason))
    async with async_playwright() as playwright:
        started = await launch(playwright, path)
        yield started
        await started.close()
