"""Background tasks: restarted when they die, reported, and ended together."""

from __future__ import annotations

import asyncio

import pytest

from server import supervision
from server.supervision import Supervisor


async def test_a_task_that_dies_or_returns_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "FIRST_DELAY", 0.001)
    starts = 0
    third = asyncio.Event()

    async def work() -> None:
        nonlocal starts
        starts += 1
        if starts == 1:
            raise ValueError("broken")
        if starts == 2:
            return
        third.set()
        await asyncio.Event().wait()

    async with Supervisor() as supervisor:
        supervisor.keep("work", work)
        async with asyncio.timeout(5):
            await third.wait()
        (status,) = supervisor.status()
        assert (status.name, status.running, status.restarts, status.last_error) == ("work", True, 2, "it returned")
    assert starts == 3


async def test_closing_ends_every_task_and_lets_it_clean_up() -> None:
    running, cleaned = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            running.set()
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    supervisor = Supervisor()
    supervisor.keep("work", work)
    async with asyncio.timeout(5):
        await running.wait()
        await supervisor.close()
    assert cleaned.is_set()
    with pytest.raises(ValueError, match="closed"):
        supervisor.keep("late", work)


async def test_a_task_that_ignores_its_end_does_not_hold_up_the_stop() -> None:
    release, running, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        running.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        ended.set()

    supervisor = Supervisor(stop_seconds=0.01)
    supervisor.keep("stubborn", stubborn)
    async with asyncio.timeout(5):
        await running.wait()
        await supervisor.close()
        assert not ended.is_set()
        release.set()
        await ended.wait()


async def test_names_are_unique() -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    async with Supervisor() as supervisor:
        supervisor.keep("work", work)
        with pytest.raises(ValueError, match="already"):
            supervisor.keep("work", work)
