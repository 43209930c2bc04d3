"""Replica sets for tests of serving, and short forms of what tests do with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from domain.serving import PredictionResult, ReplicaSet, ServingConfig
from serving.pool import LocalServing
from tests.support.models import document, linear, node, saved, scaled_identity

END, V1, V2 = "end_1", "ver_1", "ver_2"


def scaling(tmp_path: Path, factor: float, version: str = V1, **changes: Any) -> ReplicaSet:
    graph, path = saved(tmp_path, linear(), scaled_identity(factor), name=f"by{factor}")
    return ReplicaSet(END, version, str(path), graph, **changes)


def slow(tmp_path: Path, version: str = V1, **config: Any) -> ReplicaSet:
    """About a tenth of a second per row."""
    doc = document([2048], *[node(str(i), "Linear", str(i - 1) if i else "x", in_features=2048, out_features=2048)
                             for i in range(3)])  # fmt: skip
    graph, path = saved(tmp_path, doc, name="slow")
    return ReplicaSet(END, version, str(path), graph, config=ServingConfig(**config))


def row(value: float) -> dict[str, np.ndarray[Any, Any]]:
    return {"x": np.full((1, 4), value, np.float32)}


async def ask(serving: LocalServing, value: float, version: str = V1, **options: Any) -> PredictionResult:
    return await serving.predict(END, version, row(value), **options)


def pids(serving: LocalServing) -> list[int]:
    return [replica.pid for one in serving.status(END) for replica in one.replicas if replica.pid is not None]
