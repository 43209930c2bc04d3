"""Control messages: host to replica over the lifeline, host to forkserver over its own socket.

The lifeline is a stream socket whose other end only the host holds: when it closes, however the host
ended, the replica ends. The forkserver's socket keeps message boundaries and carries descriptors.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from serving.wire import WireError

# --- host and replica ----------------------------------------------------------------------------


class Load(msgspec.Struct, frozen=True, tag="load"):
    """The host's first message to a replica: what to load and how to serve it.

    `measure` False: it replaces one that died, so it computes one row and hurries to work.
    """

    replica: int
    architecture: str
    weights_path: str
    weights_sha256: str | None
    socket_path: str
    threads: int
    max_batch_rows: int
    max_queue_rows: int
    queue_delay_us: int
    hang_ms: int
    measure: bool = True
    device: str = "cpu"


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Take no new requests, finish the accepted ones, end."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The model is loaded and warm, and the socket listens. Times in milliseconds."""

    load_ms: float
    batch_one_ms: float
    batch_max_ms: float
    resident_bytes: int
    private_bytes: int
    device_bytes: int = 0


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The model cannot be loaded. `code` None: not the caller's fault."""

    message: str
    code: str | None = None
    field: str | None = None


DEVICE_LOST: Final = 5
"""Exit status of a replica whose GPU reported an error: nothing it computes afterwards can be trusted."""
HANGING: Final = 4
"""Exit status of a replica whose forward ran for longer than `hang_ms` after somebody had given up."""
ToReplica = Load | Drain
FromReplica = Ready | Refused
_LENGTH: Final = struct.Struct("<I")
MAX_CONTROL_BYTES: Final = 8 * 1024 * 1024


def pack_control(message: ToReplica | FromReplica) -> bytes:
    """A control message with its length in front."""
    payload = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(payload)) + payload


class ControlReader:
    """Cuts a control stream into payloads."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yields every complete payload; raises WireError on one that is too large."""
        self._data += data
        while len(self._data) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._data)
            if size > MAX_CONTROL_BYTES:
                raise WireError(f"control message of {size} bytes")
            if len(self._data) < _LENGTH.size + size:
                return
            payload = bytes(self._data[_LENGTH.size : _LENGTH.size + size])
            del self._data[: _LENGTH.size + size]
            yield payload


# --- host and forkserver -------------------------------------------------------------------------

MAX_FORK_MESSAGE: Final = 4096


class Spawn(msgspec.Struct, frozen=True, tag="spawn"):
    """Fork a replica. Two descriptors come along: its end of the lifeline, and its standard error."""

    token: int


class Up(msgspec.Struct, frozen=True, tag="up"):
    """The forkserver has imported what replicas need."""


class Spawned(msgspec.Struct, frozen=True, tag="spawned"):
    """The replica asked for by `token` runs; its pidfd comes along."""

    token: int
    pid: int


class NotSpawned(msgspec.Struct, frozen=True, tag="not_spawned"):
    """The fork failed."""

    token: int
    message: str


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    """A replica ended; `status` is its exit code, or minus the signal that ended it."""

    pid: int
    status: int


FromForkserver = Up | Spawned | NotSpawned | Exited
