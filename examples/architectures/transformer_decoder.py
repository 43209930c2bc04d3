"""A decoder that reads a memory: causal self-attention, attention over the memory, positions by index."""

import math

import torch
from publish import publish
from torch import Tensor, nn

INPUTS = ["tokens:int64:16", "memory:float32:10x32"]


class Decoder(nn.Module):
    """16 tokens of 200 and a memory of 10 steps to scores of the next token at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(200, 32)
        self.positions = nn.Embedding(16, 32)
        layer = nn.TransformerDecoderLayer(32, 4, 64, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, 2)
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 200, bias=False)

    def forward(self, tokens: Tensor, memory: Tensor) -> Tensor:
        steps = tokens.size(1)
        x = self.embedding(tokens) * math.sqrt(32) + self.positions(torch.arange(steps))
        mask = nn.Transformer.generate_square_subsequent_mask(steps)
        x = self.decoder(x, memory, tgt_mask=mask)
        return self.head(self.norm(x))


def network() -> nn.Module:
    """The decoder."""
    return Decoder()


if __name__ == "__main__":
    publish("transformer-decoder", network(), INPUTS)
