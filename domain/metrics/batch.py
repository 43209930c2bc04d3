"""A batch of metric points: columns by key, its bounds, and how steps that a script left out are filled in.

A `Draft` is what a client sent, checked, with missing steps still open: they depend on the run's last step, which is
known only while the run's head is locked. `Draft.settle` closes them. A draft's digest depends on nothing but what
was sent, so that the same batch sent again is recognised.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from domain.errors import BadUserInput, PayloadTooLarge
from domain.idempotency import checked_token

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

MAX_POINTS: Final = 100_000
MAX_KEYS: Final = 10_000
MIN_STEP: Final = -(2**63)
MAX_STEP: Final = 2**63 - 1
# The years 1 to 9999: what PostgreSQL, Python and JavaScript all can show.
MIN_TIMESTAMP: Final = -62_135_596_800_000
MAX_TIMESTAMP: Final = 253_402_300_799_999
NO_TIMESTAMP: Final = -(2**63)


# No client can choose a name with a space in it.
SERVER_NAMED: Final = "server "


def server_batch_id() -> str:
    """The server's name for a batch that the client gave none."""
    return SERVER_NAMED + secrets.token_hex(16)


def batch_id(text: str, *, field: str = "batch_id") -> str:
    """A client's name for a batch: the rule of client tokens. Raises BadUserInput."""
    return checked_token(text, field=field)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Points of one key in the order they were accepted: steps, values, and timestamps in ms since 1970.

    The arrays have one length, at least 1.
    """

    key: str
    steps: Ints
    values: Floats
    timestamps: Ints

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True, slots=True)
class Batch:
    """An accepted batch, in the order of its keys' first points."""

    columns: tuple[Column, ...]

    @property
    def points(self) -> int:
        """How many points it holds."""
        return sum(map(len, self.columns))

    @property
    def last_step(self) -> int:
        """Its highest step. The batch must not be empty."""
        return max(int(column.steps.max()) for column in self.columns)


@dataclass(frozen=True, slots=True, eq=False)
class DraftColumn:
    """Points of one key as sent.

    A point whose `ahead` is 0 has the step `steps`; one with `ahead` k > 0 left it out: its step is the larger of
    (the run's last step + k) and `steps`. NO_TIMESTAMP stands for a missing time.
    """

    key: str
    steps: Ints
    ahead: Ints
    values: Floats
    timestamps: Ints

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A checked batch as the client sent it. It may be empty: every value was null."""

    columns: tuple[DraftColumn, ...]

    @property
    def points(self) -> int:
        """How many points it holds."""
        return sum(map(len, self.columns))

    def digest(self) -> bytes:
        """32 bytes that tell its content apart, whichever form it was sent in."""
        content = hashlib.sha256()
        for column in sorted(self.columns, key=lambda each: each.key):
            key = column.key.encode()
            content.update(len(key).to_bytes(4, "little") + key + len(column).to_bytes(4, "little"))
            for array in (column.steps, column.ahead, _canonical(column.values), column.timestamps):
                content.update(_little_endian(array))
        return content.digest()

    def settle(self, last_step: int | None, now_ms: int) -> Batch:
        """The batch with every step and time filled in, behind a run whose highest step is `last_step`.

        Raises BadUserInput when the step after the last one would not fit 64 bits.
        """
        return Batch(tuple(_settled(column, last_step, now_ms) for column in self.columns))


def _canonical(values: Floats) -> Floats:
    """One bit pattern for every NaN."""
    return np.where(np.isnan(values), np.nan, values)


def _little_endian(array: npt.NDArray[Any]) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _settled(column: DraftColumn, last_step: int | None, now_ms: int) -> Column:
    steps, timestamps = column.steps, column.timestamps
    if len(column) == 1 and not column.ahead[0]:  # what most scripts send, one request after the other
        if timestamps[0] == NO_TIMESTAMP:
            timestamps = np.array((now_ms,), np.int64)
        return Column(column.key, steps, column.values, timestamps)
    left_out = column.ahead > 0
    if left_out.any():
        last = -1 if last_step is None else last_step
        if last > MAX_STEP - int(column.ahead.max()):
            raise BadUserInput("the run's last step is too high to count on from; send steps", field="step")
        steps = np.where(left_out, np.maximum(column.ahead + last, steps), steps)
    missing = timestamps == NO_TIMESTAMP
    if missing.any():
        timestamps = np.where(missing, np.int64(now_ms), timestamps)
    return Column(column.key, steps, column.values, timestamps)


def check_size(points: int, keys: int) -> None:
    """Raises PayloadTooLarge for more points or keys than one request may carry."""
    if points > MAX_POINTS:
        raise PayloadTooLarge(f"a batch has at most {MAX_POINTS} points; split it")
    if keys > MAX_KEYS:
        raise PayloadTooLarge(f"a batch has at most {MAX_KEYS} keys; split it")
