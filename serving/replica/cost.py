"""What a batch costs, learnt from those computed: a fixed part and a part per row.

A straight line through the recent batches, older ones counting less and less. It serves to tell callers how long they
would wait; when to compute is never decided by it.
"""

from __future__ import annotations

from typing import Final

_KEEP: Final = 0.95


class BatchCost:
    """Nanoseconds of a forward as a function of its rows. Zero until something was computed."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._rows = 0.0
        self._time = 0.0
        self._rows_rows = 0.0
        self._rows_time = 0.0

    def add(self, rows: int, elapsed_ns: int) -> None:
        """A batch of so many rows took so long."""
        self._weight = _KEEP * self._weight + 1
        self._rows = _KEEP * self._rows + rows
        self._time = _KEEP * self._time + elapsed_ns
        self._rows_rows = _KEEP * self._rows_rows + rows * rows
        self._rows_time = _KEEP * self._rows_time + rows * elapsed_ns

    def batches(self, rows: int, most: int) -> float:
        """What `rows` rows cost in batches of at most `most`."""
        if not self._weight or not rows:
            return 0.0
        fixed, per_row = self._line()
        return -(-rows // most) * fixed + rows * per_row

    def _line(self) -> tuple[float, float]:
        """Neither part is ever negative; with one size of batch only, all of it is taken to be per row."""
        spread = self._weight * self._rows_rows - self._rows**2
        if spread <= 1e-6 * self._rows**2:
            return 0.0, self._time / self._rows
        per_row = (self._weight * self._rows_time - self._rows * self._time) / spread
        fixed = (self._time - per_row * self._rows) / self._weight
        if per_row < 0:
            return self._time / self._weight, 0.0
        if fixed < 0:
            return 0.0, self._time / self._rows
        return fixed, per_row
