"""The data directory: private, never changed when it was there before, held by one server."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from server import lock


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_missing_directory_is_made_private(tmp_path: Path) -> None:
    made = lock.prepare(tmp_path / "a" / "b")
    assert mode(made) == (0o711 if os.geteuid() == 0 else 0o700)


def test_the_mode_of_an_existing_directory_is_kept(tmp_path: Path) -> None:
    existing = tmp_path / "data"
    existing.mkdir(mode=0o755)
    existing.chmod(0o755)
    assert lock.prepare(existing) == existing
    assert mode(existing) == 0o755


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(lock.DataDirectoryError, match="not a directory"):
        lock.prepare(tmp_path / "data")
    with pytest.raises(lock.DataDirectoryError, match="cannot create"):
        lock.prepare(tmp_path / "data" / "below")


def test_a_second_holder_is_refused_by_the_first_ones_process_id(tmp_path: Path) -> None:
    with lock.held(tmp_path):
        refusal = rf"process {os.getpid()}\) is using the data directory"
        with pytest.raises(lock.DataDirectoryError, match=refusal), lock.held(tmp_path):
            pass
        assert mode(tmp_path / lock.LOCK_NAME) == 0o600
    with lock.held(tmp_path):
        pass
