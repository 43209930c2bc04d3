"""Modules become documents and modules again: same tensors, same numbers, and clear words for what cannot."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from typer.testing import CliRunner

from domain.tensors import DType
from server.cli import app
from serving.conversion import ConversionError, Exported, build_module, export_module, input_spec, load, save
from serving.replica import program

EXAMPLES = Path(__file__).parents[2] / "examples" / "architectures"
FAMILIES = ["mlp", "resnet18", "lstm", "transformer_encoder", "transformer_decoder"]


def example(name: str) -> Any:
    if str(EXAMPLES) not in sys.path:
        sys.path.insert(0, str(EXAMPLES))  # as when the script is run
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_inputs(exported: Exported, rows: int = 3) -> dict[str, Tensor]:
    """Values for every input; the first step of a mask is never masked."""
    found: dict[str, Tensor] = {}
    for spec in exported.architecture.inputs:
        shape = (rows, *spec.row_shape)
        if spec.dtype is DType.BOOL:
            found[spec.name] = torch.rand(shape) < 0.3
            found[spec.name][:, 0] = False
        elif spec.dtype.is_integer:
            found[spec.name] = torch.randint(0, 16, shape)
        else:
            found[spec.name] = torch.randn(shape)
    return found


def disturbed(network: nn.Module) -> nn.Module:
    """With statistics and parameters that are not those of the beginning."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * (1.0 if "running" in name else 0.05))
    return network.eval()


def agree(network: nn.Module, inputs: list[str], folder: Path, **options: Any) -> Exported:
    """Export, write, serve and build again: all three compute the same as `network`."""
    exported = export_module(disturbed(network), [input_spec(text) for text in inputs], **options)
    given = random_inputs(exported)
    with torch.inference_mode():
        expected = network(*given.values())
    if not exported.weights:
        return exported
    save(exported, folder)
    back = load(folder)
    state = network.state_dict()
    if not exported.unused and set(exported.weights) == set(state):
        assert set(back.state_dict()) == set(state)
    for name, tensor in back.state_dict().items():
        if name in state:
            assert torch.equal(tensor, state[name])
    with torch.inference_mode():
        again = back(*given.values())
    served = program.load(exported.architecture, folder / "weights.safetensors")(
        {name: np.asarray(tensor.numpy()) for name, tensor in given.items()}
    )
    expected = expected if isinstance(expected, dict) else {exported.architecture.results[0].name: expected}
    again = again if isinstance(again, dict) else {exported.architecture.results[0].name: again}
    for name, tensor in expected.items():
        torch.testing.assert_close(again[name], tensor, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(served[name], tensor.numpy(), rtol=1e-4, atol=1e-5)
    return exported


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_survives_the_way_there_and_back(name: str, tmp_path: Path) -> None:
    module = example(name)
    exported = agree(module.network(), module.INPUTS, tmp_path)
    assert exported.unused == ()
    assert set(exported.weights) == set(module.network().state_dict())


class Lambda(nn.Module):
    """A forward for one test, beside a layer so that there are weights."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                self.add_module(name, part)
            elif isinstance(part, nn.Parameter):
                self.register_parameter(name, part)
            else:
                self.register_buffer(name, part, persistent=False)
        self._forward = forward

    def forward(self, x: Tensor) -> Any:
        return self._forward(self, self.fc(x))


def attention(m: Any, x: Tensor) -> Tensor:
    rows, steps, size = x.shape
    q, k, v = (part.view(rows, steps, 2, size // 2).transpose(1, 2) for part in (x, m.k(x), m.v(x)))
    found = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return found.transpose(1, 2).contiguous().view(rows, steps, size)


def by_hand(m: Any, x: Tensor) -> Tensor:
    scores = (x @ m.k(x).transpose(-2, -1)) / 8**0.5
    found: Tensor = torch.softmax(scores, dim=-1) @ m.v(x)
    return found


LINEAR = {"k": nn.Linear(8, 8), "v": nn.Linear(8, 8)}
FORWARDS: dict[str, tuple[Callable[..., Any], Mapping[str, Any]]] = {
    "attention with heads": (attention, LINEAR),
    "attention by hand": (by_hand, LINEAR),
    "arithmetic": (lambda _, x: (2 - x) * 3 / (1 + x.abs()) - x**2 + 1 / (x.exp() + 1), {}),
    "norm by hand": (lambda _, x: (x - x.mean(-1, keepdim=True)) / (x.amax(dim=-1, keepdim=True) + 4), {}),
    "parts": (lambda _, x: torch.cat([x[:, 0, :], x[:, -1], x[..., 1, 2:6].flatten(1)], dim=1), {}),
    "chunks": (lambda _, x: torch.stack(x.chunk(2, dim=-1), dim=1).sum(dim=(1, 2)), {}),
    "splits": (lambda _, x: x.split([3, 5], dim=-1)[1].unsqueeze(1).squeeze(1), {}),
    "steps first": (lambda m, x: m.enc(x.transpose(0, 1)).permute(1, 0, 2),
                    {"enc": nn.TransformerEncoderLayer(8, 2, 16)}),
    "recurrence with steps first": (lambda m, x: m.gru(x.transpose(0, 1))[0][-1], {"gru": nn.GRU(8, 6)}),
    "all final states": (lambda m, x: m.rnn(x)[1].transpose(0, 1).flatten(1),
                         {"rnn": nn.RNN(8, 5, 2, batch_first=True, bidirectional=True)}),
    "states handed on": (lambda m, x: m.b(x, m.a(x)[1])[0],
                         {"a": nn.LSTM(8, 6, batch_first=True), "b": nn.LSTM(8, 6, batch_first=True)}),
    "a parameter for each step": (lambda m, x: x * m.scale + m.table[: x.size(1)],
                                  {"scale": nn.Parameter(torch.rand(8)), "table": torch.rand(9, 8)}),
    "a token in front": (lambda m, x: torch.cat([m.token.expand(x.size(0), -1, -1), x], dim=1),
                         {"token": nn.Parameter(torch.rand(1, 1, 8))}),
    "attention layer": (lambda m, x: m.mha(x, x, x, need_weights=False)[0] + x,
                        {"mha": nn.MultiheadAttention(8, 2, batch_first=True)}),
    "masked encoder": (
        lambda m, x: m.enc(x, mask=nn.Transformer.generate_square_subsequent_mask(x.size(1)), is_causal=True),
        {"enc": nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)},
    ),
    "two results": (lambda _, x: {"raw": x, "best": x.argmax(dim=-1)}, {}),
    "a view of many": (lambda _, x: x.reshape(-1, 5 * 8).view(x.size(0), 5, -1), {}),
    "functions": (lambda _, x: functional.gelu(x) + functional.leaky_relu(x, 0.2) + functional.silu(x).clamp(max=1)
                  + functional.dropout(x, 0.5, training=False), {}),
    "images": (lambda m, x: functional.adaptive_avg_pool2d(
        functional.max_pool2d(functional.interpolate(m.c(x.unsqueeze(1)), scale_factor=2), 2), 1).flatten(1),
        {"c": nn.Conv2d(1, 3, 3, padding="same")}),
    "in place": (lambda _, x: x.clone().mul_(2).add_(1), {}),
}  # fmt: skip


@pytest.mark.parametrize("what", FORWARDS)
def test_a_forward_of_ones_own_is_followed(what: str, tmp_path: Path) -> None:
    forward, parts = FORWARDS[what]
    agree(Lambda(forward, **parts), ["x:float32:5x8"], tmp_path)


WRONG: dict[str, tuple[nn.Module, str]] = {
    "an unknown module": (nn.Sequential(nn.Linear(8, 8), nn.Bilinear(8, 8, 2)), r"1 \(Bilinear\) is not supported"),
    "a bare module": (nn.Linear(8, 8), "wrap it in nn.Sequential"),
    "a choice": (Lambda(lambda _, x: x if x.sum() > 0 else -x), "depends on values"),
    "an unknown function": (Lambda(lambda _, x: torch.fft.rfft(x)), "rfft.* is not supported"),
    "an unknown method": (Lambda(lambda _, x: x.cumsum(1)), "cumsum.* is not supported"),
    "rows joined": (Lambda(lambda _, x: x.reshape(-1, 8)), "joins or splits the batch"),
    "rows summed": (Lambda(lambda _, x: x.sum(0)), "rows must stay independent"),
    "rows normalised": (Lambda(lambda _, x: torch.softmax(x, 0)), "rows must stay independent"),
    "everything summed": (Lambda(lambda _, x: x.mean()), "mixes rows"),
    "shared weights": (Lambda(lambda m, x: m.fc(x)), r"fc \(Linear\) is used twice"),
    "weights of an attention": (
        Lambda(lambda m, x: m.a(x, x, x)[1], a=nn.MultiheadAttention(8, 2, batch_first=True)),
        "weights of an attention",
    ),
    "another mask": (
        Lambda(lambda m, x: m.e(x, torch.ones(5, 5).bool()), e=nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)),
        "only knows the causal one",
    ),
    "steps where rows are expected": (
        Lambda(lambda m, x: m.e(x), e=nn.TransformerEncoderLayer(8, 2, 16)), "batch as dimension 1, but it is at 0",
    ),
    "steps first in the result": (Lambda(lambda _, x: x.transpose(0, 1)), "must have the batch first"),
    "a normalisation over rows": (
        nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(5, track_running_stats=False)), "mixes rows",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_a_document_cannot_say_is_named(what: str) -> None:
    module, message = WRONG[what]
    with pytest.raises(ConversionError, match=message):
        export_module(module, [input_spec("x:float32:5x8")])


def test_inputs_are_as_many_as_the_forward_takes() -> None:
    with pytest.raises(ConversionError, match="takes no input for 'y'"):
        export_module(nn.Sequential(nn.ReLU()), [input_spec("x:float32:2"), input_spec("y:float32:2")])
    for text in ("x", "x:float33:2", "x:float32:2y3", ":float32"):
        with pytest.raises(ConversionError):
            input_spec(text)


def test_exporting_leaves_the_module_in_its_mode() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    export_module(network, [input_spec("x:float32:2")])
    assert network.training
    assert network[1].training


def test_weights_that_do_not_fit_are_refused() -> None:
    exported = export_module(nn.Sequential(nn.Linear(2, 2)), [input_spec("x:float32:2")])
    with pytest.raises(ConversionError, match="do not fit"):
        build_module(exported.architecture, {"0.weight": torch.zeros(2, 2)})


kinds = st.sampled_from([nn.RNN, nn.GRU, nn.LSTM])


@given(kinds, st.integers(1, 3), st.booleans(), st.booleans(), st.integers(1, 4), st.integers(1, 5), st.data())
@settings(max_examples=25, deadline=None)
def test_recurrent_layers_of_any_size_equal_torch(  # noqa: PLR0917
    kind: type[Any], layers: int, both: bool, bias: bool, inputs: int, hidden: int, data: st.DataObject
) -> None:
    steps = data.draw(st.integers(1, 4))
    network = nn.Sequential()
    network.add_module("rnn", kind(inputs, hidden, layers, bias=bias, bidirectional=both, batch_first=True))

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn: Any = network.rnn

        def forward(self, x: Tensor) -> Any:
            found, last = self.rnn(x)
            last = last[0] if kind is nn.LSTM else last
            return {"all": found, "last": last.transpose(0, 1)}

    module = disturbed(First())
    exported = export_module(module, [input_spec(f"x:float32:{steps}x{inputs}")])
    x = torch.randn(3, steps, inputs)
    with torch.inference_mode():
        expected, found = module(x), build_module(exported.architecture, exported.weights)(x)
    for name in ("all", "last"):
        torch.testing.assert_close(found[name], expected[name])
        assert list(found[name].shape[1:]) == next(
            list(spec.row_shape) for spec in exported.architecture.outputs if spec.name == name
        )


@given(
    st.sampled_from([1, 2, 4]), st.integers(1, 3), st.integers(1, 5), st.integers(1, 4),
    st.booleans(), st.booleans(), st.sampled_from(["relu", "gelu"]),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_decoder_blocks_of_any_size_equal_torch(  # noqa: PLR0917
    heads: int, each: int, steps: int, memory: int, first: bool, bias: bool, activation: str
) -> None:
    size = heads * each * 2

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.TransformerDecoderLayer(
                size, heads, 3 * size, activation=activation, norm_first=first, bias=bias, batch_first=True
            )

        def forward(self, x: Tensor, m: Tensor) -> Any:
            return self.block(x, m, nn.Transformer.generate_square_subsequent_mask(x.size(1)))

    module = disturbed(Block())
    specs = [input_spec(f"x:float32:{steps}x{size}"), input_spec(f"m:float32:{memory}x{size}")]
    exported = export_module(module, specs)
    x, m = torch.randn(2, steps, size), torch.randn(2, memory, size)
    with torch.inference_mode():
        torch.testing.assert_close(
            build_module(exported.architecture, exported.weights)(x, m), module(x, m), rtol=1e-4, atol=1e-5
        )


def test_the_command_writes_both_files_and_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_network.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Linear(3, 2), nn.Tanh())\nwrong = str\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    runner = CliRunner()
    arguments = ["model", "export", "my_network:make", "--input", "x:float32:3", "--to", "out", "--output", "y"]
    made = runner.invoke(app, arguments)
    assert (made.exit_code, made.output) == (0, "out: 2 nodes, 8 parameters\n")
    read = runner.invoke(app, ["model", "import", "out", "--state-dict", "state.pt"])
    assert read.exit_code == 0
    assert set(torch.load("state.pt", weights_only=True)) == {"0.weight", "0.bias"}
    again = runner.invoke(app, [*arguments, "--weights", "out/weights.safetensors"])
    assert again.exit_code == 0
    for wrong in ("my_network:nothing", "no_such:make", "my_network", "my_network:wrong"):
        refused = runner.invoke(app, ["model", "export", wrong, "--input", "x:float32:3", "--to", "out"])
        assert refused.exit_code == 1
        assert refused.output.startswith("axonml-server: ")
    (tmp_path / "out" / "architecture.json").write_text("{}")
    assert runner.invoke(app, ["model", "import", "out"]).exit_code == 1
