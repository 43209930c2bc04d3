"""Layers that differ from torch's by a little: batch first, states with the rows first, and no mask but the causal one.

Their tensors have torch's names and shapes, so that a weights file fits both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from serving.replica.batcher import ValueRefusedError

DTYPES: Final[Mapping[str, torch.dtype]] = {
    "bool": torch.bool,
    "uint8": torch.uint8,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
}


class CheckedEmbedding(nn.Embedding):
    """An embedding that names an index outside its table instead of failing somewhere inside."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name for it
        """Look up `input`; ValueRefusedError when an index is outside the table."""
        low, high = torch.aminmax(input)
        if int(low) < 0 or int(high) >= self.num_embeddings:
            wrong = int(low) if int(low) < 0 else int(high)
            raise ValueRefusedError(
                f"index {wrong} is outside the embedding's 0 to {self.num_embeddings - 1}", field="inputs"
            )
        return super().forward(input)


class Learned(nn.Module):
    """A learned value that is the same for every row."""

    def __init__(self, shape: tuple[int, ...], *, leading_one: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.empty(shape, dtype=dtype), requires_grad=False)
        self._row = shape[1:] if leading_one else shape

    def forward(self, rows: Tensor) -> Tensor:
        """As many times as `rows` has rows, without copying."""
        return self.value.expand(rows.shape[0], *self._row)


# --- recurrent layers: states are `(rows, layers * directions, features)` ------------------------


class RNN(nn.RNN):
    """Outputs and final state."""

    def forward(self, value: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """`(rows, steps, features)`, and `(rows, layers * directions, features)`."""
        found, last = super().forward(value, None if state is None else _inward(state))
        return found, last.transpose(0, 1)


class GRU(nn.GRU):
    """Outputs and final state."""

    def forward(self, value: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """`(rows, steps, features)`, and `(rows, layers * directions, features)`."""
        found, last = super().forward(value, None if state is None else _inward(state))
        return found, last.transpose(0, 1)


class LSTM(nn.LSTM):
    """Outputs, final hidden state and final cell state."""

    def forward(  # type: ignore[override]
        self, value: Tensor, hidden: Tensor | None = None, cell: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`(rows, steps, features)`, and twice `(rows, layers * directions, features)`."""
        states = None if hidden is None or cell is None else (_inward(hidden), _inward(cell))
        found, (last, last_cell) = super().forward(value, states)
        return found, last.transpose(0, 1), last_cell.transpose(0, 1)


def _inward(state: Tensor) -> Tensor:
    return state.transpose(0, 1).contiguous()


def recurrent(kind: type[nn.RNNBase]) -> Callable[[Mapping[str, Any], torch.dtype], nn.Module]:
    """The constructor of a recurrent layer. Dropout between layers does nothing in a model that is served."""

    def build(args: Mapping[str, Any], dtype: torch.dtype) -> nn.Module:
        given = {**args, "dropout": 0.0}
        return kind(**given, batch_first=True, dtype=dtype)

    return build


# --- attention -----------------------------------------------------------------------------------


def _causal(value: Tensor) -> Tensor:
    """True where a step must not look: at every later one."""
    steps = value.shape[1]
    return torch.ones(steps, steps, dtype=torch.bool, device=value.device).triu(1)


class Attention(nn.MultiheadAttention):
    """Attention without its weights as a result."""

    def __init__(self, *, is_causal: bool, **args: Any) -> None:
        super().__init__(**args, batch_first=True)
        self._is_causal = is_causal

    def forward(  # type: ignore[override]
        self, query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None = None
    ) -> Tensor:
        """`(rows, steps, features)` each; `padding` is true for keys to ignore."""
        mask = _causal(query) if self._is_causal else None
        found, _ = super().forward(query, key, value, key_padding_mask=padding, need_weights=False, attn_mask=mask)
        return found


class EncoderLayer(nn.TransformerEncoderLayer):
    """A block of self-attention."""

    def __init__(self, *, is_causal: bool, **args: Any) -> None:
        super().__init__(**args, batch_first=True)
        self._is_causal = is_causal

    def forward(self, value: Tensor, padding: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """`(rows, steps, features)`; `padding` is true for steps to ignore."""
        mask = _causal(value) if self._is_causal else None
        return super().forward(value, src_mask=mask, src_key_padding_mask=padding, is_causal=self._is_causal)


class DecoderLayer(nn.TransformerDecoderLayer):
    """A block of self-attention and attention over a memory."""

    def __init__(self, *, is_causal: bool, **args: Any) -> None:
        super().__init__(**args, batch_first=True)
        self._is_causal = is_causal

    def forward(  # type: ignore[override]
        self, value: Tensor, memory: Tensor, padding: Tensor | None = None, memory_padding: Tensor | None = None
    ) -> Tensor:
        """`(rows, steps, features)` each; the paddings are true for steps to ignore."""
        return super().forward(
            value,
            memory,
            tgt_mask=_causal(value) if self._is_causal else None,
            tgt_key_padding_mask=padding,
            memory_key_padding_mask=memory_padding,
            tgt_is_causal=self._is_causal,
        )
