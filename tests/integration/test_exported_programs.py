"""Archives as `torch.export` writes them pass the check that refuses what would run when they are loaded."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from domain.models import ModelFormat
from domain.models.files import inspect


class OnDisk:
    """Implements `FileBytes`."""

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes()
        self.size_bytes = len(self._data)

    def read_at(self, offset: int, count: int) -> bytes:
        return self._data[offset : offset + count]


class Doubled(nn.Module):
    """Sizes that are computed from sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 8), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(torch.cat((x, x))).reshape(2 * x.shape[0] * 4, 2)
        return found


def test_what_torch_writes_is_taken(tmp_path: Path) -> None:
    for number, shapes in enumerate((None, ({0: Dim("rows", min=1, max=64)},))):
        path = tmp_path / f"{number}.pt2"
        program = torch.export.export(Doubled().eval(), (torch.zeros(3, 4),), dynamic_shapes=shapes)
        torch.export.save(program, path)
        assert inspect(OnDisk(path), path.name).format is ModelFormat.TORCH_EXPORT
