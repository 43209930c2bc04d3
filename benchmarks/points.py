"""The points that are logged: the same for every system, made before the clock starts.

Values are random walks in double precision, so no store compresses them better than real losses and gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.client import MARK

KEYS: Final = (
    "train/loss",
    "train/accuracy",
    "train/grad_norm",
    "train/lr",
    "train/tokens_per_second",
    "eval/loss",
    "eval/accuracy",
    "eval/perplexity",
    "system/gpu_0_utilization",
    "system/gpu_0_memory",
)
FIRST_MS: Final = 1_760_000_000_000
VARIANTS: Final = 16


@dataclass(frozen=True, slots=True)
class Point:
    """One point. Step and timestamp are JSON text: they may hold a MARK, so that each request has its own."""

    key: str
    value: float
    step: str
    timestamp: str


def walk(seed: int, length: int) -> NDArray[np.float64]:
    """A random walk of doubles."""
    return np.cumsum(np.random.default_rng(seed).normal(0.0, 0.01, length)) + 2.0


def batch(points: int, variant: int) -> list[Point]:
    """A batch of 1, 100 or 1,000 points that is another one in each request: its steps and times hold the MARK.

    Larger batches hold 10 keys, each at 10 or 100 successive steps.
    """
    keys = KEYS if points >= len(KEYS) else KEYS[:1]
    steps = points // len(keys)
    digits = len(str(steps - 1)) if steps > 1 else 0
    mark = MARK.decode()
    values = {key: walk(variant * 1000 + place, steps).tolist() for place, key in enumerate(keys)}
    return [
        # 13 digits of milliseconds, 2 + 7 of them counting requests
        Point(key, values[key][at], mark + (f"{at:0{digits}d}" if digits else ""), f"17{mark}{at:03d}0")
        for at in range(steps)
        for key in keys
    ]


def stretch(keys: tuple[str, ...], first: int, steps: int, series: dict[str, NDArray[np.float64]]) -> list[Point]:
    """The points of `keys` at steps `first` to `first + steps`, in the order in which a script logs them."""
    return [
        Point(key, float(series[key][step]), str(step), str(FIRST_MS + 250 * step))
        for step in range(first, first + steps)
        for key in keys
    ]
