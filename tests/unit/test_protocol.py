"""What an answer is written to: the head leaves with the body, and never later than the next turn of the loop."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from server.protocol import HeadWithBody


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
