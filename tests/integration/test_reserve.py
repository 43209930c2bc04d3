"""The space put by for PostgreSQL's recovery: held once, given up once, and none where none is wanted."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from persistence.postgres import Reserve

SIZE = 1024 * 1024


def test_it_is_held_and_given_up(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", SIZE)
    assert reserve.hold()
    assert reserve.hold()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= SIZE
    assert [reserve.release(), reserve.release(), reserve.held] == [True, False, False]


def test_what_a_process_that_died_left_behind_goes(tmp_path: Path) -> None:
    (tmp_path / "reserve.new").write_bytes(b"x")
    assert not Reserve(tmp_path / "reserve", 2**62).hold(), "no disk has so much"
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_reserve_goes_when_none_is_wanted(tmp_path: Path) -> None:
    Reserve(tmp_path / "reserve", SIZE).hold()
    assert not Reserve(tmp_path / "reserve", 0).hold()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["open", "posix_fallocate", "fsync"])
def test_a_disk_that_fills_up_meanwhile_is_no_defect(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"persistence.postgres.reserve.os.{call}", full)
        assert not Reserve(tmp_path / "reserve", SIZE).hold()
    assert "no disk space could be put by: No space left on device" in caplog.text
    assert list(tmp_path.iterdir()) == []
