"""A text classifier: embedded tokens, a bidirectional LSTM of two layers, and its two final states."""

import torch
from publish import publish
from torch import Tensor, nn

INPUTS = ["tokens:int64:32"]


class Classifier(nn.Module):
    """32 tokens of 1000 to 4 scores."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, 48)
        self.lstm = nn.LSTM(48, 64, num_layers=2, bidirectional=True, batch_first=True, dropout=0.2)
        self.head = nn.Linear(128, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        _, (last, _) = self.lstm(self.embedding(tokens))
        return self.head(torch.cat([last[-2], last[-1]], dim=1))


def network() -> nn.Module:
    """The classifier."""
    return Classifier()


if __name__ == "__main__":
    publish("lstm", network(), INPUTS)
