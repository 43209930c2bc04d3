"""The tensors that a file of weights was found to hold, told from its header."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from domain.access import KeyScope, Scope
from domain.paging import Page, PageRequest

DEFAULT_TENSORS: Final = 200
MAX_TENSORS_AT_ONCE: Final = 1_000

_NUMPY: Final = {
    "BOOL": "bool",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "BF16": "bfloat16",
    "C64": "complex64",
    **{f"{short}{bits}": f"{long}{bits}" for short, long in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a file. `dtype` is numpy's name of it where there is one, such as `float32`."""

    name: str
    dtype: str
    shape: list[int]

    @classmethod
    def of(cls, name: str, dtype: str, shape: Sequence[int]) -> StoredTensor:
        """From what the header of a safetensors file says."""
        return cls(name, _NUMPY.get(dtype, dtype.lower().replace("f", "float", 1)), list(shape))


@dataclass(frozen=True, slots=True)
class TensorPair:
    """A tensor that two files do not have in common; None in the one that lacks it."""

    name: str
    left: StoredTensor | None
    right: StoredTensor | None


class TensorRepository(Protocol):
    """Tensors of files that belong to versions within what the scope may read."""

    async def tensors_of_files(
        self, scope: Scope, digests: Sequence[str], page: PageRequest
    ) -> dict[str, Page[StoredTensor]]:
        """By name, for every digest; an empty page for what is not weights as safetensors."""
        ...

    async def differing_tensors(self, scope: Scope, left: str, right: str, most: int) -> list[TensorPair]:
        """The first tensors, by name, that the files of two versions do not have with the same type and shape."""
        ...


class Tensors:
    """Use-cases."""

    def __init__(self, tensors: TensorRepository) -> None:
        self._tensors = tensors

    async def of_files(self, scope: Scope, digests: Sequence[str], page: PageRequest) -> dict[str, Page[StoredTensor]]:
        """A page for every file, by its digest. Raises BadUserInput for a cursor of another list."""
        scope.carry(KeyScope.MODELS_READ)
        return await self._tensors.tensors_of_files(scope, digests, page)
