"""Architecture documents and weights for tests: small models whose answers are easy to predict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from domain import architecture
from domain.architecture import Architecture
from domain.tensors import Array

NUMPY = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "I64": np.int64}


def node(name: str, op: str, *inputs: str, **args: Any) -> dict[str, Any]:
    return {"id": name, "op": op, "args": args, "in": list(inputs)}


def document(shape: list[int], *nodes: dict[str, Any], dtype: str = "float32", **extra: Any) -> dict[str, Any]:
    """A chain or graph over one input `x`; the output `y` is the last node's."""
    return {
        "format": "arch/1",
        "inputs": [{"name": "x", "dtype": dtype, "shape": [-1, *shape]}],
        "nodes": list(nodes),
        "outputs": [{"name": "y", "node": nodes[-1]["id"]}],
        **extra,
    }


def linear(inputs: int = 4, outputs: int = 4) -> dict[str, Any]:
    return document([inputs], node("0", "Linear", "x", in_features=inputs, out_features=outputs))


def mlp(width: int = 256, depth: int = 1) -> dict[str, Any]:
    """64 -> width (depth times) -> 10, with ReLU between: the shape of an `nn.Sequential`."""
    nodes, size, last = [], 64, "x"
    for step in range(depth + 1):
        out = 10 if step == depth else width
        nodes.append(node(str(2 * step), "Linear", last, in_features=size, out_features=out))
        last, size = str(2 * step), out
        if step < depth:
            nodes.append(node(str(2 * step + 1), "ReLU", last))
            last = str(2 * step + 1)
    return document([64], *nodes)


def lookup() -> dict[str, Any]:
    """A table of 10 rows: an index outside it is the caller's mistake, seen only while computing."""
    return document([3], node("table", "Embedding", "x", num_embeddings=10, embedding_dim=2), dtype="int64")


def weights(graph: Architecture, seed: int = 0) -> dict[str, Array]:
    """Random tensors with the names, shapes and dtypes the graph expects."""
    random = np.random.default_rng(seed)
    return {
        name: np.asarray(random.normal(0, 1 / math.sqrt(max(1, spec.shape[-1] if spec.shape else 1)), spec.shape))
        .astype(NUMPY[spec.dtype])
        .copy()
        for name, spec in graph.parameters.items()
    }


def scaled_identity(factor: float, size: int = 4) -> dict[str, Array]:
    """Weights of `linear(size, size)` that multiply by `factor`: every row's answer is known."""
    return {"0.weight": np.eye(size, dtype=np.float32) * np.float32(factor), "0.bias": np.zeros(size, np.float32)}


def saved(
    directory: Path, doc: Mapping[str, Any], tensors: Mapping[str, Array] | None = None, name: str = "model"
) -> tuple[Architecture, Path]:
    """The parsed graph, and a file with its weights (random ones unless given)."""
    graph = architecture.parse(doc)
    path = directory / f"{name}.safetensors"
    save_file(dict(tensors if tensors is not None else weights(graph)), path)
    return graph, path
