"""Token buckets in bounded memory: how often each of many keys may ask, in the same short time however many there are.

Each bucket is one number, the moment at which it will be full again (GCRA, the algorithm of ATM Forum TM 4.0). Nothing
that still counts is ever forgotten to make room: a bucket leaves only when it has filled, and keys that find no room
share one of a fixed number of buckets among themselves. So whoever comes with ever new keys makes it tighter for other
newcomers, and neither empties anybody's bucket nor fills it up. No library is used here because those that exist keep
an entry for every key until a timer finds it, read the wall clock, and take several times as long.
"""

from __future__ import annotations

import math
import re
import time
from array import array
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

MOST: Final = 20_000
SHARED: Final = 1_024
OFF: Final = "off"
_WRITTEN: Final = re.compile(r"(?P<count>[1-9][0-9]{0,8})/(?P<periods>[1-9][0-9]{0,3})?(?P<unit>[smh])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` at once, and no more than `count` within `seconds` in the long run."""

    count: int
    seconds: int

    def divided(self, among: int) -> Rate:
        """The share of one of `among` processes; at least one."""
        return Rate(math.ceil(self.count / among), self.seconds)


def parse_rate(text: str) -> Rate | None:
    """`30/5m`, `1000/s`; None for `off`. Raises ValueError."""
    if text == OFF:
        return None
    written = _WRITTEN.fullmatch(text)
    if written is None:
        raise ValueError("expected a number and a period, such as 30/5m or 1000/10s (s, m or h), or off")
    return Rate(int(written["count"]), int(written["periods"] or 1) * _SECONDS[written["unit"]])


class Buckets:
    """One bucket for each key, all of the same rate. A key that was never seen has a full one."""

    def __init__(self, rate: Rate, *, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = rate.seconds / rate.count
        self._depth = float(rate.seconds)
        self._most = most
        self._clock = clock
        # No bucket needs longer than `_depth` to fill. What was written during one such period is therefore full when
        # the next one ends, and goes all at once.
        self._young: dict[Hashable, float] = {}
        self._old: dict[Hashable, float] = {}
        self._turn = clock() + self._depth
        self._shared = array("d", bytes(8 * SHARED))

    def __len__(self) -> int:
        """How many buckets are kept for a key of their own; never more than `most`."""
        return len(self._young) + len(self._old)

    def take(self, key: Hashable, cost: float = 1) -> tuple[float, float]:
        """Takes `cost` out of a bucket: 0, or the seconds to wait; and the seconds until the bucket is full.

        Whoever must wait pays nothing. What is more than a bucket holds takes a full one.
        """
        now = self._clock()
        full_at = self._full_at(key, now)
        after = full_at + min(cost * self._interval, self._depth)
        wait = after - now - self._depth
        if wait > 1e-9:  # less is what adding up fractions leaves
            return wait, full_at - now
        self._keep(key, after)
        return 0.0, after - now

    def wait(self, key: Hashable) -> float:
        """How long until something may be taken; 0 when it may be at once. Takes nothing."""
        now = self._clock()
        return max(0.0, self._full_at(key, now) + self._interval - now - self._depth)

    def left(self, until_full: float) -> int:
        """How many are left in a bucket that needs so many seconds to fill."""
        return max(0, int((self._depth - until_full) / self._interval + 1e-6))

    def _full_at(self, key: Hashable, now: float) -> float:
        if now >= self._turn:
            # After two periods without a question the younger ones are full as well.
            self._old = self._young if now < self._turn + self._depth else {}
            self._young = {}
            self._turn = now + self._depth
        full_at = self._young.get(key)
        if full_at is None:
            full_at = self._old.get(key)
            if full_at is None:
                full_at = self._shared[hash(key) % SHARED]
        return max(full_at, now)

    def _keep(self, key: Hashable, full_at: float) -> None:
        if key not in self._young and self._old.pop(key, None) is None and len(self) >= self._most:
            self._shared[hash(key) % SHARED] = full_at
        else:
            self._young[key] = full_at
