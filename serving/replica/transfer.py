"""The way of tensors to the device that computes and back.

On a CPU there is none: arrays are used where they lie. To a GPU they go through pinned memory, which the device reads
by itself while the host goes on. Choosing a GPU creates its context, so it happens in the replica, never before the
fork.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from domain.serving import CPU
from domain.tensors import Array


class Transfer(Protocol):
    """Where a model computes."""

    device: torch.device

    def inward(self, array: Array) -> Tensor:
        """The array on the device."""
        ...

    def outward(self, values: dict[str, Tensor]) -> dict[str, Array]:
        """The tensors in host memory, once they are computed."""
        ...

    def used_bytes(self) -> int:
        """Memory of the device that this process holds."""
        ...


class OnCpu:
    """No transfer."""

    device = torch.device(CPU)

    def inward(self, array: Array) -> Tensor:
        return torch.from_numpy(array)

    def outward(self, values: dict[str, Tensor]) -> dict[str, Array]:
        return {name: value.contiguous().numpy() for name, value in values.items()}

    def used_bytes(self) -> int:
        return 0


class OnGpu:
    """Through pinned memory, all outputs of a forward with one wait."""

    def __init__(self, number: int) -> None:
        self.device = torch.device("cuda", number)
        torch.cuda.set_device(self.device)

    def inward(self, array: Array) -> Tensor:
        return torch.from_numpy(array).pin_memory().to(self.device, non_blocking=True)

    def outward(self, values: dict[str, Tensor]) -> dict[str, Array]:
        hosted = {name: torch.empty(value.shape, dtype=value.dtype, pin_memory=True) for name, value in values.items()}
        for name, value in values.items():
            hosted[name].copy_(value, non_blocking=True)
        torch.cuda.current_stream(self.device).synchronize()
        # numpy would keep the pinned memory for as long as somebody holds a part of an answer
        return {name: value.numpy().copy() for name, value in hosted.items()}

    def used_bytes(self) -> int:
        return torch.cuda.memory_reserved(self.device)


def to(device: str, replica: int) -> Transfer:
    """The way to a device as a configuration names it; `cuda` gives each replica the next GPU in turn."""
    if device == CPU:
        return OnCpu()
    _kind, _colon, number = device.partition(":")
    return OnGpu(int(number) if number else replica % torch.cuda.device_count())
