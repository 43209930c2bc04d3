"""A batch of metric points: columns by key, its bounds, and how steps that a script left out are filled in.

A `Draft` is what a client sent, checked, with missing steps still open: they depend on the run's last step, which is
known only while the run's head is locked. `Draft.settle` closes them. A draft's digest depends on nothing but what
was sent, so that the same batch sent again is recognised.
"""

from __future__ import annotations

import hashlib
import math
import struct
import sys
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from domain.errors import BadUserInput
from domain.idempotency import checked_token
from domain.metrics.keys import is_system
from domain.unique import unique

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


_ONE: Final = struct.Struct("<qqdq")
_NATIVE: Final = sys.byteorder == "little"

# No client can choose a name with a space in it.
SERVER_NAMED: Final = "server "


def server_batch_id() -> str:
    """The server's name for a batch that the client gave none."""
    return SERVER_NAMED + unique()


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

    @property
    def highest(self) -> int:
        """The highest step."""
        return int(self.steps.item(0) if len(self.steps) == 1 else self.steps.max())


@dataclass(frozen=True, slots=True)
class Batch:
    """An accepted batch, in the order of its keys' first points."""

    columns: tuple[Column, ...]

    @property
    def points(self) -> int:
        """How many points it holds."""
        return sum(map(len, self.columns))

    @property
    def last_step(self) -> int | None:
        """The highest step of its metrics; None without any. The system stream has steps of its own."""
        return max((column.highest for column in self.columns if not is_system(column.key)), default=None)


@dataclass(frozen=True, slots=True, eq=False)
class DraftColumn:
    """Points of one key as sent.

    A point whose `ahead` is 0 has the step `steps`; one with `ahead` k > 0 left it out: its step is the larger of
    (the run's last step + k) and `steps`. NO_TIMESTAMP stands for a missing time. `complete`: nothing was left out, so
    nobody needs to look.
    """

    key: str
    steps: Ints
    ahead: Ints
    values: Floats
    timestamps: Ints
    complete: bool = False

    def __len__(self) -> int:
        return len(self.steps)

    def first(self) -> tuple[int, int, float, int]:
        """Step, ahead, value and timestamp of the first point, with one bit pattern for every NaN."""
        value = self.values.item(0)
        return self.steps.item(0), self.ahead.item(0), math.nan if math.isnan(value) else value, self.timestamps.item(0)


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A checked batch as the client sent it, and how many points it holds: none when every value was null."""

    columns: tuple[DraftColumn, ...]
    points: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", sum(map(len, self.columns)))

    @property
    def counts_on(self) -> bool:
        """Whether a step was left out, so that it depends on what the run holds."""
        return any(not column.complete and column.ahead.any() for column in self.columns)

    @property
    def size_bytes(self) -> int:
        """About what it takes to store it: step, value and time of every point, and each key with its summary."""
        return 24 * self.points + sum(len(column.key) + 128 for column in self.columns)

    def digest(self) -> bytes:
        """32 bytes that tell its content apart, whichever form it was sent in."""
        content = hashlib.sha256()
        for column in sorted(self.columns, key=lambda each: each.key):
            key = column.key.encode()
            content.update(len(key).to_bytes(4, "little") + key + len(column).to_bytes(4, "little"))
            if len(column) == 1:  # the same bytes, for what most scripts send
                content.update(_ONE.pack(*column.first()))
                continue
            for array in (column.steps, column.ahead, _canonical(column.values), column.timestamps):
                content.update(array.data if _NATIVE else _little_endian(array))
        return content.digest()

    def settle(self, last_step: int | None, now_ms: int) -> Batch:
        """The batch with every step and time filled in, behind a run whose highest step is `last_step`.

        Raises BadUserInput when the step after the last one would not fit 64 bits.
        """
        return Batch(tuple(_settled(column, last_step, now_ms) for column in self.columns))


def _canonical(values: Floats) -> Floats:
    """One bit pattern for every NaN."""
    missing = np.isnan(values)
    return np.where(missing, np.nan, values) if missing.any() else values


def _little_endian(array: npt.NDArray[Any]) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _settled(column: DraftColumn, last_step: int | None, now_ms: int) -> Column:
    if is_system(column.key):
        column = _timed(column, now_ms)
    steps, timestamps = column.steps, column.timestamps
    if column.complete:
        return Column(column.key, steps, column.values, timestamps)
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


def _timed(column: DraftColumn, now_ms: int) -> DraftColumn:
    """A column of the system stream: a step that was left out is the point's time."""
    left_out = column.ahead > 0
    if not left_out.any():
        return column
    times = np.where(column.timestamps == NO_TIMESTAMP, np.int64(now_ms), column.timestamps)
    steps = np.where(left_out, times, column.steps)
    return replace(column, steps=steps, ahead=np.zeros_like(column.ahead), timestamps=times)


def check_size(points: int, keys: int) -> None:
    """Raises BadUserInput for more points or keys than one request may carry."""
    if points > MAX_POINTS:
        raise BadUserInput(f"a batch has at most {MAX_POINTS} points; split it", field="points")
    if keys > MAX_KEYS:
        raise BadUserInput(f"a batch has at most {MAX_KEYS} keys; split it", field="keys")
