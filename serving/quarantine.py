"""Inputs that ended two replicas: not computed again for a while.

Nothing is hashed while there are none, which is nearly always.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from domain.errors import BadUserInput
from domain.tensors import Array

SECONDS: Final = 600.0
_MOST: Final = 256
_REFUSAL: Final = "two replicas died while they had these inputs to compute, which is not tried again for ten minutes"


class Quarantine:
    """Remembers such inputs, by digest, for ten minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def add(self, inputs: Mapping[str, Array]) -> BadUserInput:
        """Remember these; what their caller is told."""
        self._until[_digest(inputs)] = self._clock() + SECONDS
        if len(self._until) > _MOST:
            self._until.popitem(last=False)
        return BadUserInput(_REFUSAL, field="inputs")

    def check(self, inputs: Mapping[str, Array]) -> None:
        """Raises BadUserInput for inputs that are remembered."""
        while self._until and next(iter(self._until.values())) <= self._clock():
            self._until.popitem(last=False)
        if self._until and _digest(inputs) in self._until:
            raise BadUserInput(_REFUSAL, field="inputs")


def _digest(inputs: Mapping[str, Array]) -> bytes:
    found = hashlib.sha256()
    for name in sorted(inputs):
        array = inputs[name]
        found.update(f"{name}\0{array.dtype.str}{array.shape}".encode())
        found.update(array.tobytes())
    return found.digest()
