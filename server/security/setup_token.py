"""The file in which the operator of a new server finds the one-time setup token."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

FILE_NAME: Final = "setup-token"


class SetupTokenFile:
    """`<data>/setup-token`, mode 0600, replaced whole."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE_NAME

    def read(self) -> str | None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
            return file.read(256).strip() or None

    def write(self, token: str) -> None:
        draft = self._path.with_name(f".{FILE_NAME}-{os.getpid()}")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token + "\n")
        draft.replace(self._path)

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)
