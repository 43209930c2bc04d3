"""A sentence classifier: learned positions, a transformer encoder that ignores padding, and the mean of its steps."""

import torch
from publish import publish
from torch import Tensor, nn

INPUTS = ["tokens:int64:24", "padding:bool:24"]


class Encoder(nn.Module):
    """24 tokens of 500, and which of them are padding, to 3 scores."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(500, 32)
        self.positions = nn.Parameter(torch.randn(1, 24, 32) * 0.02)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(32), enable_nested_tensor=False)
        self.head = nn.Linear(32, 3)

    def forward(self, tokens: Tensor, padding: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.positions[:, : tokens.size(1)]
        x = self.encoder(x, src_key_padding_mask=padding)
        return self.head(x.mean(dim=1))


def network() -> nn.Module:
    """The classifier."""
    return Encoder()


if __name__ == "__main__":
    publish("transformer-encoder", network(), INPUTS)
