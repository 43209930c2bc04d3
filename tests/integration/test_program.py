"""The architecture table against torch itself: same parameters, same shapes, rows kept apart."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from domain.architecture import Architecture, parse
from domain.errors import BadUserInput
from domain.operators import OPERATORS
from domain.tensors import DType
from serving.replica import program
from serving.replica.modules import BUILDERS, build, tensor_name
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
    ([2, 5, 6, 7], [node("n", "Conv3d", "x", in_channels=2, out_channels=3, kernel_size=[3, 2, 2], padding=1)]),
    ([4, 5], [node("n", "ConvTranspose1d", "x", in_channels=4, out_channels=6, kernel_size=3, stride=2, groups=2)]),
    ([3, 5, 4], [node("n", "ConvTranspose2d", "x", in_channels=3, out_channels=2, kernel_size=[3, 2], stride=2,
                      padding=1, output_padding=[1, 0], dilation=[2, 1], bias=False)]),
    ([2, 2, 3, 2], [node("n", "ConvTranspose3d", "x", in_channels=2, out_channels=1, kernel_size=2, stride=2)]),
    ([3, 2, 2, 2], [node("n", "BatchNorm3d", "x", num_features=3)]),
    ([3, 5], [node("n", "InstanceNorm1d", "x", num_features=3, affine=True)]),
    ([3, 4, 4], [node("n", "InstanceNorm2d", "x", num_features=3)]),
    ([4, 6], [node("n", "RMSNorm", "x", normalized_shape=[6])]),
    ([4, 6], [node("n", "RMSNorm", "x", normalized_shape=[4, 6], eps=1e-6, elementwise_affine=False)]),
    ([4, 6], [node("n", "PReLU", "x", num_parameters=4)]),
    ([7], [node("n", "PReLU", "x")]),
    *[([7], [node("n", op, "x")]) for op in ("Mish", "LogSigmoid", "Softsign", "Hardsigmoid", "SELU", "exp", "abs",
                                             "sin", "cos")],
    ([7], [node("n", "Hardtanh", "x", min_val=-0.5, max_val=0.25)]),
    ([6, 3], [node("n", "GLU", "x", dim=1)]),
    ([2, 5, 6, 4], [node("n", "MaxPool3d", "x", kernel_size=2)]),
    ([2, 5, 6, 4], [node("n", "AvgPool3d", "x", kernel_size=[2, 3, 1], stride=1)]),
    ([2, 5, 6, 4], [node("n", "AdaptiveAvgPool3d", "x", output_size=2)]),
    ([2, 9], [node("n", "AdaptiveMaxPool1d", "x", output_size=3)]),
    ([2, 9, 7], [node("n", "AdaptiveMaxPool2d", "x", output_size=[3, 2])]),
    ([2, 3, 4], [node("n", "Upsample", "x", scale_factor=3)]),
    ([2, 3, 4], [node("n", "Upsample", "x", scale_factor=2, mode="bilinear")]),
    ([8, 3, 4], [node("n", "PixelShuffle", "x", upscale_factor=2)]),
    ([1, 3], [node("n", "expand", "x", shape=[4, 3])]),
    ([2, 3, 4], [node("n", "permute", "x", dims=[0, 3, 1, 2])]),
    ([2, 1, 4], [node("n", "squeeze", "x", dim=2)]),
    ([2, 4], [node("n", "unsqueeze", "x", dim=-1)]),
    ([2, 4], [node("n", "select", "x", dim=2, index=-1)]),
    ([2, 9], [node("n", "slice", "x", dim=-1, start=1, stop=-1, step=3)]),
    ([2, 9], [node("n", "slice", "x", dim=1, stop=1)]),
    ([2, 3], [node("n", "flip", "x", dims=[1, -1])]),
    ([2, 3], [node("n", "pad", "x", pad=[1, 0, 0, 2], value=-1)]),
    ([2, 3], [node("a", "Tanh", "x"), node("n", "stack", "x", "a", dim=2)]),
    ([2, 3], [node("a", "cast", "x", dtype="int64"), node("n", "cast", "a", dtype="float32")]),
    ([2, 3], [node("a", "exp", "x"), node("n", "div", "x", "a")]),
    *[([2, 3], [node("a", "Tanh", "x"), node("n", op, "x", "a", "x")]) for op in ("maximum", "minimum")],
    ([2, 3], [node("a", "mul_scalar", "x", value=-2.5), node("n", "add_scalar", "a", value=1)]),
    ([2, 3], [node("a", "abs", "x"), node("b", "sqrt", "a"), node("c", "pow", "b", exponent=3), node("n", "log", "c")]),
    ([2, 3], [node("n", "clamp", "x", min=-0.5)]),
    *[([2, 3, 4], [node("n", op, "x", dim=[2], keepdim=True)]) for op in ("sum", "amax", "amin")],
    ([2, 3, 4], [node("n", "argmax", "x", dim=2)]),
    ([3], [node("a", "Parameter", "x", shape=[3]), node("n", "add", "x", "a")]),
    ([2, 3], [node("a", "Parameter", "x", shape=[1, 2, 3], leading_one=True), node("n", "mul", "x", "a")]),
    ([3], [node("a", "arange", "x", length=4, start=2),
           node("n", "Embedding", "a", num_embeddings=6, embedding_dim=3)]),
    ([5, 6], [node("a", "sinusoidal_positions", "x", length=5, features=6), node("n", "add", "x", "a")]),
    ([4, 3], [node("n", "RNN", "x", input_size=3, hidden_size=5, nonlinearity="relu", bias=False)]),
    ([4, 3], [node("n", "GRU", "x", input_size=3, hidden_size=5, num_layers=2, bidirectional=True, dropout=0.5)]),
    ([4, 3], [node("n", "LSTM", "x", input_size=3, hidden_size=5, num_layers=2, bidirectional=True)]),
    ([4, 3], [node("a", "GRU", "x", input_size=3, hidden_size=5), node("n", "GRU", "x", "a:h_n", input_size=3,
                                                                       hidden_size=5)]),
    ([4, 3], [node("a", "LSTM", "x", input_size=3, hidden_size=5),
              node("n", "LSTM", "x", "a:h_n", "a:c_n", input_size=3, hidden_size=5)]),
    ([5, 6], [node("n", "MultiheadAttention", "x", "x", "x", embed_dim=6, num_heads=2, is_causal=True)]),
    ([5, 6], [node("a", "slice", "x", dim=2, stop=4), node("n", "MultiheadAttention", "x", "a", "x", embed_dim=6,
                                                           num_heads=3, kdim=4, bias=False)]),
    *[([5, 8], [node("n", "TransformerEncoderLayer", "x", d_model=8, nhead=2, dim_feedforward=12, **given)])
      for given in ({}, {"is_causal": True}, {"norm_first": True, "activation": "gelu", "bias": False})],
    *[([5, 8], [node("m", "slice", "x", dim=1, stop=3),
                node("n", "TransformerDecoderLayer", "x", "m", d_model=8, nhead=4, dim_feedforward=12, **given)])
      for given in ({}, {"is_causal": True, "norm_first": True})],
    ([2, 5, 4], [node("n", "scaled_dot_product_attention", "x", "x", "x", is_causal=True)]),
]  # fmt: skip


def final_states() -> dict[str, Any]:
    """What a recurrent layer gives besides, as outputs and as inputs of other nodes."""
    doc = document(
        [4, 3],
        node("lstm", "LSTM", "x", input_size=3, hidden_size=5, num_layers=2, bidirectional=True),
        node("last", "select", "lstm:h_n", dim=1, index=-1),
        node("fc", "Linear", "last", in_features=5, out_features=2),
    )
    return {**doc, "outputs": [{"name": "y", "node": "fc"}, {"name": "cell", "node": "lstm:c_n"}]}


def padded() -> dict[str, Any]:
    """Blocks that are told which steps are padding."""
    block = {"d_model": 8, "nhead": 2, "dim_feedforward": 12}
    doc = document(
        [5, 8],
        node("encoder", "TransformerEncoderLayer", "x", "mask", **block),
        node("decoder", "TransformerDecoderLayer", "x", "encoder", "mask", "mask", **block, is_causal=True),
        node("n", "MultiheadAttention", "decoder", "x", "x", "mask", embed_dim=8, num_heads=2),
    )
    return {**doc, "inputs": [*doc["inputs"], {"name": "mask", "dtype": "bool", "shape": [-1, 5]}]}


DOCUMENTS = [document(shape, *nodes) for shape, nodes in SAMPLES] + [lookup(), final_states(), padded()]


def random_inputs(graph: Architecture, rows: int, seed: int = 1) -> dict[str, Any]:
    """Values for every input; the first step of a mask is never masked."""
    random = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    for spec in graph.inputs:
        shape = (rows, *spec.row_shape)
        if spec.dtype is DType.BOOL:
            found[spec.name] = random.random(shape) < 0.4
            found[spec.name][:, 0] = False
        elif spec.dtype is DType.INT64:
            found[spec.name] = random.integers(0, 10, shape)
        else:
            found[spec.name] = random.normal(size=shape).astype(spec.dtype.numpy)
    return found


def test_both_tables_hold_the_same_operations() -> None:
    assert set(BUILDERS) == set(OPERATORS)
    assert {n["op"] for doc in DOCUMENTS for n in doc["nodes"]} == set(OPERATORS)


@pytest.mark.parametrize("doc", DOCUMENTS, ids=lambda doc: doc["nodes"][-1]["op"])
def test_operation_equals_its_torch_counterpart(doc: dict[str, Any]) -> None:
    graph = parse(doc)
    functions = {n.id: build(n.op, n.args, torch.float32) for n in graph.nodes}
    state = {
        tensor_name(name, function, key): value
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
    inputs = random_inputs(graph, 3)
    together = model(inputs)
    for spec in graph.outputs:
        assert together[spec.name].shape == (3, *spec.row_shape)
        assert together[spec.name].dtype == spec.dtype.numpy
    for row in range(3):
        alone = model({name: array[row : row + 1] for name, array in inputs.items()})
        for name, array in together.items():
            np.testing.assert_allclose(array[row], alone[name][0], rtol=1e-5, atol=1e-5)


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
