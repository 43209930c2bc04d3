"""The architecture table against torch itself: same parameters, same shapes, rows kept apart."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from domain.architecture import parse
from domain.errors import BadUserInput
from domain.operators import OPERATORS
from domain.tensors import DType
from serving.replica import program
from serving.replica.modules import BUILDERS, build
from tests.support.models import NUMPY, document, linear, lookup, mlp, node, saved, scaled_identity, weights

DTYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64}

SAMPLES: list[tuple[list[int], list[Any]]] = [
    ([5], [node("n", "Linear", "x", in_features=5, out_features=3)]),
    ([4, 5], [node("n", "Linear", "x", in_features=5, out_features=3, bias=False)]),
    ([4, 11], [node("n", "Conv1d", "x", in_channels=4, out_channels=6, kernel_size=3, stride=2, padding=1, groups=2)]),
    ([3, 9, 8], [node("n", "Conv2d", "x", in_channels=3, out_channels=4, kernel_size=[3, 2], dilation=[2, 1])]),
    ([6], [node("n", "BatchNorm1d", "x", num_features=6)]),
    ([6, 3], [node("n", "BatchNorm1d", "x", num_features=6, affine=False)]),
    ([3, 4, 4], [node("n", "BatchNorm2d", "x", num_features=3, eps=1e-3)]),
    ([4, 6], [node("n", "LayerNorm", "x", normalized_shape=[4, 6])]),
    ([4, 6], [node("n", "LayerNorm", "x", normalized_shape=[6], bias=False)]),
    ([4, 6], [node("n", "LayerNorm", "x", normalized_shape=[6], elementwise_affine=False)]),
    ([4, 6], [node("n", "GroupNorm", "x", num_groups=2, num_channels=4)]),
    *[([7], [node("n", op, "x")]) for op in ("ReLU", "ReLU6", "SiLU", "Tanh", "Sigmoid", "Softplus", "Hardswish")],
    ([7], [node("n", "GELU", "x", approximate="tanh")]),
    ([7], [node("n", "LeakyReLU", "x", negative_slope=0.2)]),
    ([7], [node("n", "ELU", "x", alpha=0.5)]),
    ([3, 4], [node("n", "Softmax", "x", dim=1)]),
    ([3, 4], [node("n", "LogSoftmax", "x")]),
    ([2, 9], [node("n", "MaxPool1d", "x", kernel_size=3, dilation=2)]),
    ([2, 9, 10], [node("n", "MaxPool2d", "x", kernel_size=3, stride=2, padding=1, ceil_mode=True)]),
    ([2, 5, 5], [node("n", "MaxPool2d", "x", kernel_size=2, stride=3, ceil_mode=True)]),
    ([2, 9], [node("n", "AvgPool1d", "x", kernel_size=[2])]),
    ([2, 9, 9], [node("n", "AvgPool2d", "x", kernel_size=2, padding=1, count_include_pad=False)]),
    ([2, 9], [node("n", "AdaptiveAvgPool1d", "x", output_size=4)]),
    ([2, 9, 9], [node("n", "AdaptiveAvgPool2d", "x", output_size=[2, 3])]),
    ([4], [node("n", "Dropout", "x", p=0.9)]),
    ([4], [node("n", "Identity", "x")]),
    ([2, 3, 4], [node("n", "Flatten", "x")]),
    ([2, 3, 4], [node("n", "Flatten", "x", start_dim=-2)]),
    ([2, 3, 4], [node("n", "reshape", "x", shape=[4, -1])]),
    ([2, 3, 4], [node("n", "transpose", "x", dim0=1, dim1=-1)]),
    ([2, 3], [node("a", "Tanh", "x"), node("n", "add", "x", "a", "x")]),
    ([2, 3], [node("a", "mean", "x", dim=[1], keepdim=True), node("n", "mul", "a", "x")]),
    ([2, 3], [node("a", "Tanh", "x"), node("n", "sub", "x", "a")]),
    ([2, 3], [node("a", "transpose", "x", dim0=1, dim1=2), node("n", "matmul", "x", "a")]),
    ([2, 3], [node("a", "Tanh", "x"), node("n", "cat", "x", "a", dim=-1)]),
    ([2, 3, 4], [node("n", "mean", "x", dim=[-1, 1])]),
]  # fmt: skip
DOCUMENTS = [document(shape, *nodes) for shape, nodes in SAMPLES] + [lookup()]


def test_both_tables_hold_the_same_operations() -> None:
    assert set(BUILDERS) == set(OPERATORS)
    assert {n["op"] for doc in DOCUMENTS for n in doc["nodes"]} == set(OPERATORS)


@pytest.mark.parametrize("doc", DOCUMENTS, ids=lambda doc: doc["nodes"][-1]["op"])
def test_operation_equals_its_torch_counterpart(doc: dict[str, Any]) -> None:
    graph = parse(doc)
    functions = {n.id: build(n.op, n.args, torch.float32) for n in graph.nodes}
    state = {
        f"{name}.{key}": value
        for name, function in functions.items()
        if isinstance(function, nn.Module)
        for key, value in function.state_dict().items()
    }
    assert {n: (tuple(t.shape), t.dtype) for n, t in state.items()} == {
        n: (spec.shape, DTYPES[spec.dtype]) for n, spec in graph.parameters.items()
    }
    assert all(tensor.is_meta for tensor in state.values())


@pytest.mark.parametrize("doc", DOCUMENTS, ids=lambda doc: doc["nodes"][-1]["op"])
def test_outputs_have_the_inferred_shape_and_rows_do_not_mix(doc: dict[str, Any], tmp_path: Path) -> None:
    graph = parse(doc)
    tensors = weights(graph, seed=3)
    for name in tensors:
        if name.endswith("running_var"):
            tensors[name] = np.abs(tensors[name]) + np.float32(0.5)
    if not tensors:  # nothing to load, and a file without tensors is no safetensors file
        functions = {n.id: build(n.op, n.args, torch.float32) for n in graph.nodes}
        for function in functions.values():
            if isinstance(function, nn.Module):
                function.eval()
        model = program.Program(graph, functions)
    else:
        graph, path = saved(tmp_path, doc, tensors)
        model = program.load(graph, path)
    shape = (3, *graph.inputs[0].row_shape)
    random = np.random.default_rng(1)
    x = (
        random.integers(0, 10, shape)
        if graph.inputs[0].dtype is DType.INT64
        else random.normal(size=shape).astype(np.float32)
    )
    together = model({"x": x})["y"]
    assert together.shape == (3, *graph.outputs[0].row_shape)
    assert together.dtype == graph.outputs[0].dtype.numpy
    alone = np.concatenate([model({"x": x[i : i + 1]})["y"] for i in range(3)])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_a_trained_sequential_gives_the_same_numbers(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)).eval()
    path = tmp_path / "net.safetensors"
    save_file(net.state_dict(), path)
    model = program.load(parse(mlp()), path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    x = torch.randn(17, 64)
    assert np.array_equal(model({"x": x.numpy()})["y"], net(x).detach().numpy())


def test_weights_are_mapped_not_copied(tmp_path: Path) -> None:
    doc = linear(4096, 1024)  # 16 MiB
    graph, path = saved(tmp_path, doc)
    model = program.load(graph, path)
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(path.name)]
    assert mapped
    start, end = (int(part, 16) for part in mapped[0].split()[0].split("-"))
    weight = model._functions["0"].weight
    assert start <= weight.data_ptr() < end


def test_nodes_no_output_needs_are_not_computed(tmp_path: Path) -> None:
    doc = document(
        [4],
        node("dead", "Linear", "x", in_features=4, out_features=9),
        node("0", "Linear", "x", in_features=4, out_features=4),
    )
    graph, path = saved(tmp_path, doc)
    model = program.load(graph, path)
    assert len(model._steps) == 1


def test_two_outputs_from_one_graph(tmp_path: Path) -> None:
    doc = document(
        [4],
        node("0", "Linear", "x", in_features=4, out_features=4),
        node("1", "ReLU", "0"),
    )
    doc["outputs"] = [{"name": "raw", "node": "0"}, {"name": "positive", "node": "1"}]
    graph, path = saved(tmp_path, doc, scaled_identity(-2))
    found = program.load(graph, path)({"x": np.array([[1, -1, 2, -2]], np.float32)})
    assert found["raw"].tolist() == [[-2, 2, -4, 4]]
    assert found["positive"].tolist() == [[0, 2, 0, 4]]


def test_double_precision(tmp_path: Path) -> None:
    graph, path = saved(tmp_path, {**document([4], node("0", "Linear", "x", in_features=4, out_features=2),
                                              dtype="float64"), "dtype": "float64"})  # fmt: skip
    assert program.load(graph, path)(program.example(graph, 2))["y"].dtype == np.float64


def test_file_that_changed_since_it_was_recorded_is_refused(tmp_path: Path) -> None:
    graph, path = saved(tmp_path, linear())
    with pytest.raises(BadUserInput, match="SHA-256"):
        program.load(graph, path, sha256="0" * 64)


@pytest.mark.parametrize("wrong", ["missing", "extra", "shape", "dtype", "lying"])
def test_weights_that_do_not_fit_are_refused_before_anything_is_read(tmp_path: Path, wrong: str) -> None:
    tensors = scaled_identity(1)
    if wrong == "missing":
        del tensors["0.bias"]
    elif wrong == "extra":
        tensors["1.bias"] = np.zeros(4, np.float32)
    elif wrong == "shape":
        tensors["0.bias"] = np.zeros(5, np.float32)
    elif wrong == "dtype":
        tensors["0.bias"] = np.zeros(4, NUMPY["F64"])
    graph, path = saved(tmp_path, linear(), tensors)
    if wrong == "lying":
        path.write_bytes(path.read_bytes() + b"tail")
    with pytest.raises(BadUserInput):
        program.load(graph, path)


def test_index_outside_a_table_is_the_callers_mistake(tmp_path: Path) -> None:
    graph, path = saved(tmp_path, lookup())
    model = program.load(graph, path)
    for index in (10, -1):
        with pytest.raises(BadUserInput, match=f"index {index} is outside"):
            model({"x": np.array([[0, 1, index]])})
