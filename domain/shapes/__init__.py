"""What comes out of each operation: shapes, dtypes and owned parameters, without torch.

The rules follow PyTorch's documentation of the modules of the same names; tests compare every one with
torch itself. A rule raises ShapeError when the values that flow in do not fit. No rule may let values of
different rows mix: the first dimension is the batch, and requests of different callers share it. What an
operation computes on its way is bounded like what comes out of it.
"""

from domain.shapes import arithmetic, arrangement, layers, sequences
from domain.shapes.values import (
    MAX_ROW_ELEMENTS,
    Infer,
    Parameters,
    ParameterSpec,
    ShapeError,
    Value,
    identity,
    no_parameters,
    same,
)

__all__ = [
    "MAX_ROW_ELEMENTS",
    "Infer",
    "ParameterSpec",
    "Parameters",
    "ShapeError",
    "Value",
    "arithmetic",
    "arrangement",
    "identity",
    "layers",
    "no_parameters",
    "same",
    "sequences",
]
