"""Files that are safetensors to one reader and something else to another.

A reader of zip archives looks at the end of a file, an unpickler at its beginning, and neither minds what
else there is. Such a file is stored under the name of the harmless kind and runs code where it is opened as
the other: so it is refused.
"""

from __future__ import annotations

import pickletools
from typing import IO, Final, cast

from domain.models.at_rest import FileBytes
from domain.models.refusals import FileRefusal, FileRefused

_ZIP_TAIL: Final = 65_535 + 22
_MOST_BYTES: Final = 8 * 1024 * 1024
_MOST_STEPS: Final = 100_000
_IMPORTS: Final = frozenset({"GLOBAL", "STACK_GLOBAL", "INST"})


def refuse_polyglot(file: FileBytes) -> None:
    """Raises FileRefused when sound safetensors are a zip archive or a pickle as well."""
    if _ends_as_zip(file):
        raise FileRefused(FileRefusal.POLYGLOT, "the file is a zip archive as well as safetensors")
    if _imports_as_pickle(file):
        raise FileRefused(FileRefusal.POLYGLOT, "the file is a pickle as well as safetensors")


def _ends_as_zip(file: FileBytes) -> bool:
    """An end record whose comment ends where the file ends."""
    tail = file.read_at(max(0, file.size_bytes - _ZIP_TAIL), _ZIP_TAIL)
    place = tail.find(b"PK\x05\x06")
    while place >= 0:
        comment = int.from_bytes(tail[place + 20 : place + 22], "little")
        if place + 22 + comment == len(tail):
            return True
        place = tail.find(b"PK\x05\x06", place + 1)
    return False


def _imports_as_pickle(file: FileBytes) -> bool:
    """Whether an unpickler would get from the first byte to the end of a program that imports something.

    The opcodes are read, never run. Text of a header seldom is such a program, and never by accident one that
    imports: that takes names between line ends, or texts that were put on the stack.
    """
    imported = False
    try:
        for steps, (opcode, _, _) in enumerate(pickletools.genops(cast("IO[bytes]", _Bounded(file)))):
            if opcode.name == "STOP":
                return imported
            imported = imported or opcode.name in _IMPORTS
            if steps > _MOST_STEPS:
                return imported
    except (ValueError, EOFError, UnicodeError, IndexError, OverflowError):
        return False
    return False


class _Bounded:
    """The beginning of a file, for a reader of opcodes; what asks for more than that is told it ended."""

    def __init__(self, file: FileBytes) -> None:
        self._file = file
        self._position = 0

    def read(self, count: int) -> bytes:
        if count > _MOST_BYTES - self._position:
            return b""
        data = self._file.read_at(self._position, count)
        self._position += len(data)
        return data

    def readline(self) -> bytes:
        data = self._file.read_at(self._position, min(4_096, max(0, _MOST_BYTES - self._position)))
        line = data[: data.find(b"\n") + 1] or data
        self._position += len(line)
        return line

    def tell(self) -> int:
        return self._position
