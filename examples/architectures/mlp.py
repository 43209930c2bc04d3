"""A multilayer perceptron: an `nn.Sequential` becomes a document one to one."""

from publish import publish
from torch import nn

INPUTS = ["x:float32:64"]


def network() -> nn.Module:
    """64 numbers in, 10 scores out."""
    return nn.Sequential(
        nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.1), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 10)
    )


if __name__ == "__main__":
    publish("mlp", network(), INPUTS)
