"""How connections are read and written: the head of an answer leaves with its body, that of a request comes in time."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from unittest.mock import Mock, patch

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from server.protocol import BoundedConfig, BoundedHttp, HeadWithBody
from server.settings import LimitsSettings


class _Transport:
    """Notes what is written at once."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def _made() -> tuple[_Transport, HeadWithBody]:
    transport = _Transport()
    return transport, HeadWithBody(cast("Any", transport), asyncio.get_running_loop())


async def test_the_head_leaves_with_the_first_of_the_body() -> None:
    transport, answer = _made()
    answer.write(b"head ")
    answer.write(b"first")
    answer.write(b"second")
    await asyncio.sleep(0)
    assert transport.written == [b"head first", b"second"]


async def test_a_head_without_a_body_is_written_once_the_body_is_empty() -> None:
    transport, answer = _made()
    answer.write(b"head")
    answer.write(b"")
    assert transport.written == [b"head"]


async def test_a_head_whose_body_is_not_there_yet_leaves_alone() -> None:
    transport, answer = _made()
    answer.write(b"head")
    await asyncio.sleep(0)
    assert transport.written == [b"head"]
    answer.write(b"body")
    assert transport.written == [b"head", b"body"]


async def test_what_was_written_leaves_before_the_connection_closes() -> None:
    transport, answer = _made()
    answer.write(b"head")
    answer.close()
    await asyncio.sleep(0)
    assert transport.written == [b"head"]
    assert answer.is_closing()


async def test_nothing_is_written_to_a_connection_that_was_torn() -> None:
    transport, answer = _made()
    answer.write(b"head")
    transport.closed = True
    await asyncio.sleep(0)
    assert transport.written == []


class _Loop:
    """A loop whose time is told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Any]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Any) -> Any:
        self.timers.append((when, call))
        return Mock()

    def pass_to(self, now: float) -> None:
        """Rings what is due until then, each at its time."""
        while due := sorted(each for each in self.timers if each[0] <= now):
            self.timers.remove(due[0])
            self.now = due[0][0]
            due[0][1]()
        self.now = now


def _connected() -> tuple[_Loop, Mock, BoundedHttp]:
    limits = LimitsSettings(receive_seconds=10)
    config = BoundedConfig(Mock(), limits, lifespan="off", log_config=None)
    config.load()
    loop, transport = _Loop(), Mock(**{"is_closing.return_value": False, "get_extra_info.return_value": None})
    protocol = BoundedHttp(config, ServerState(), {}, _loop=cast("Any", loop))
    protocol.connection_made(transport)
    return loop, transport, protocol


def test_a_connection_whose_head_does_not_come_is_closed_at_the_limit() -> None:
    loop, transport, _ = _connected()
    loop.pass_to(9.9)
    transport.close.assert_not_called()
    loop.pass_to(10)
    transport.close.assert_called_once()


def test_every_head_has_the_whole_limit_though_one_timer_serves_them_all() -> None:
    loop, transport, protocol = _connected()
    for begun in (4.0, 8.0, 12.0):
        loop.pass_to(begun)
        protocol.on_message_begin()
        assert len(loop.timers) == 1
    loop.pass_to(21.9)
    transport.close.assert_not_called()
    loop.pass_to(22)
    transport.close.assert_called_once()


def test_after_the_head_nobody_waits_for_it() -> None:
    loop, transport, protocol = _connected()
    with patch.object(HttpToolsProtocol, "on_headers_complete"):
        protocol.on_message_begin()
        protocol.on_headers_complete()
    loop.pass_to(100)
    transport.close.assert_not_called()
    assert loop.timers == []
