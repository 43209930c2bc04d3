"""Cuts off clients that do not read: what they were sent would stay in memory, and their connection open, for ever.

Closing a connection in order waits until the client has read everything, so it does not end one that reads nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from server.logs import get_logger

log = get_logger("axonml.unread")

_FORGET: Final = struct.pack("ii", 1, 0)


class Connection(Protocol):
    """A connection as its protocol shows it. `resumed` counts how often a client that was behind has caught up."""

    transport: asyncio.Transport
    client: tuple[str, int] | None
    resumed: int

    @property
    def held_up(self) -> bool:
        """Whether nothing can be written until the client reads."""


@dataclass(frozen=True, slots=True)
class _Place:
    """How much was unread when the client was last seen to read, and when that was."""

    since: float
    unread: int
    resumed: int


class UnreadConnections:
    """Looks at all connections now and then; one that has taken nothing for `seconds` is torn."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._places: dict[Connection, _Place] = {}

    def look(self, connections: Iterable[Connection], now: float) -> None:
        """Notes who is behind, and tears what has been so for too long."""
        places: dict[Connection, _Place] = {}
        for one in connections:
            if not one.held_up or not one.transport.get_write_buffer_size():
                continue
            unread = _unread(one.transport)
            place = self._places.get(one)
            if place is None or unread < place.unread or one.resumed != place.resumed:
                place = _Place(now, unread, one.resumed)
            elif now - place.since >= self._seconds:
                log.info("connection cut off: the client does not read", client=one.client, unread=unread)
                _tear(one.transport)
                continue
            places[one] = place
        self._places = places


def _unread(transport: asyncio.Transport) -> int:
    """What the client has not taken yet, here and in the kernel.

    The kernel takes more only when a third of its megabytes is gone, for which a slow client needs longer than a limit.
    """
    bound = transport.get_extra_info("socket")
    kept = fcntl.ioctl(bound.fileno(), termios.TIOCOUTQ, bytes(4)) if bound is not None else bytes(4)
    return transport.get_write_buffer_size() + int.from_bytes(kept, sys.byteorder)


def _tear(transport: asyncio.Transport) -> None:
    """Ends a connection at once. Without lingering the kernel forgets its megabytes for the client, too."""
    bound = transport.get_extra_info("socket")
    if bound is not None:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FORGET)
    transport.abort()
