"""What the host and its web workers say to each other over the control socket, and how it is framed.

A frame is four bytes of length, little-endian, and one msgpack message. Both ends are processes of one version and one
user, so a frame that cannot be read ends the connection. Both directions keep their order, and the order carries
meaning: a replica set is known before the way to it opens, and the way closes before the set is withdrawn.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final, TypeAlias

import msgspec

from domain.control import DatabaseKind, HostStatus
from domain.endpoints import Route
from domain.figures import ProcessFigures
from serving.sharing import SharedSet

SOCKET_NAME: Final = "control.sock"
MAX_FRAME: Final = 64 * 1024 * 1024
_LENGTH: Final = struct.Struct("<I")


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """The host's first message: everything a worker needs to serve."""

    settings: dict[str, dict[str, Any]]
    dsn: str
    version: str
    host: str
    database: DatabaseKind
    started_at: datetime


class SetChanged(msgspec.Struct, frozen=True, tag="set"):
    """A replica set is loaded, or its replicas changed."""

    shared: SharedSet


class SetWithdrawn(msgspec.Struct, frozen=True, tag="unset"):
    """Use the set no more; answered by Drained."""

    set_id: str


class RouteOpened(msgspec.Struct, frozen=True, tag="open"):
    """Requests for the endpoint go this way from here on."""

    route: Route


class RouteClosed(msgspec.Struct, frozen=True, tag="close"):
    """The endpoint takes no more requests."""

    endpoint_id: str


class Status(msgspec.Struct, frozen=True, tag="status"):
    """Answers AskStatus."""

    number: int
    status: HostStatus


class Settled(msgspec.Struct, frozen=True, tag="settled"):
    """Answers AskSettled."""

    number: int


class WantFigures(msgspec.Struct, frozen=True, tag="want figures"):
    """What does the worker count? Answered by OwnFigures."""

    number: int


class Figures(msgspec.Struct, frozen=True, tag="figures"):
    """Answers AskFigures: the host's first, then those of every worker that answered."""

    number: int
    figures: tuple[ProcessFigures, ...]


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Finish what is in flight and end."""


class Serving(msgspec.Struct, frozen=True, tag="serving"):
    """The worker takes requests."""


class AskStatus(msgspec.Struct, frozen=True, tag="ask status"):
    """What runs on this host?"""

    number: int


class AskFigures(msgspec.Struct, frozen=True, tag="ask figures"):
    """What do the processes of this host count?"""

    number: int


class OwnFigures(msgspec.Struct, frozen=True, tag="own figures"):
    """Answers WantFigures."""

    number: int
    figures: ProcessFigures


class AskSettled(msgspec.Struct, frozen=True, tag="ask settled"):
    """Tell me when nothing is left to do for the endpoint, at most after so many seconds."""

    number: int
    endpoint_id: str
    seconds: float


class Woken(msgspec.Struct, frozen=True, tag="woken"):
    """The record of an endpoint changed; `serves` False: it is to stop."""

    endpoint_id: str
    serves: bool
    generation: int


class Forgotten(msgspec.Struct, frozen=True, tag="forgotten"):
    """The endpoint is deleted."""

    endpoint_id: str


class Drained(msgspec.Struct, frozen=True, tag="drained"):
    """Nothing here uses that set any more."""

    set_id: str


class Silent(msgspec.Struct, frozen=True, tag="silent"):
    """A replica answers nobody."""

    set_id: str
    index: int


ToWorker: TypeAlias = (
    Welcome | SetChanged | SetWithdrawn | RouteOpened | RouteClosed | Status | Figures | WantFigures | Settled | Stop
)
ToHost: TypeAlias = Serving | AskStatus | AskFigures | OwnFigures | AskSettled | Woken | Forgotten | Drained | Silent

_encoder: Final = msgspec.msgpack.Encoder()
_to_worker: Final = msgspec.msgpack.Decoder(ToWorker)
_to_host: Final = msgspec.msgpack.Decoder(ToHost)


class BrokenFrameError(Exception):
    """What came is not a message of this protocol."""


def encode(message: ToWorker | ToHost) -> bytes:
    """A frame."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Bodies until the other end is gone. Raises BrokenFrameError."""
    while True:
        try:
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            if length > MAX_FRAME:
                raise BrokenFrameError(f"a frame of {length} bytes")
            yield await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return


async def from_host(reader: asyncio.StreamReader) -> AsyncIterator[ToWorker]:
    """What the host says, until it is gone. Raises BrokenFrameError."""
    async for body in _frames(reader):
        try:
            yield _to_worker.decode(body)
        except msgspec.MsgspecError as problem:
            raise BrokenFrameError(str(problem)) from None


async def from_worker(reader: asyncio.StreamReader) -> AsyncIterator[ToHost]:
    """What a worker says, until it is gone. Raises BrokenFrameError."""
    async for body in _frames(reader):
        try:
            yield _to_host.decode(body)
        except msgspec.MsgspecError as problem:
            raise BrokenFrameError(str(problem)) from None
