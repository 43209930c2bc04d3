"""Shared memory for large tensors: nobody's bytes under another's, and no way out of it."""

from __future__ import annotations

import os
from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import flight, slab

MIB = 2**20


@pytest.fixture
def shared() -> slab.Slab:
    fd = slab.create()
    try:
        return slab.Slab(fd)
    finally:
        os.close(fd)


def _filled(value: int, size: int) -> list[np.ndarray[Any, Any]]:
    return [np.full(size, value % 251, np.uint8)]


def _holds(shared: slab.Slab, region: slab.Region, value: int) -> bool:
    return bool((np.frombuffer(shared.body(region), np.uint8) == value % 251).all())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(MIB // 4, 20 * MIB), st.integers(0, 5)), min_size=1, max_size=25))
def test_requests_never_lie_on_each_other(steps: list[tuple[int, int]]) -> None:
    fd = slab.create()
    shared = slab.Slab(fd)
    os.close(fd)
    requests = slab.Requests(shared, frozenset)
    kept: dict[int, slab.Region] = {}
    for number, (size, freed) in enumerate(steps):
        region = requests.put(number, _filled(number, size))
        if region is not None:
            kept[number] = region
        for gone in list(kept)[:freed]:
            assert _holds(shared, kept.pop(gone), gone)
            requests.free(gone)
    assert all(_holds(shared, region, number) for number, region in kept.items())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(MIB // 4, 20 * MIB), st.integers(0, 3)), min_size=1, max_size=25))
def test_answers_wait_for_their_reader(steps: list[tuple[int, int]]) -> None:
    fd = slab.create()
    shared = slab.Slab(fd)
    os.close(fd)
    answers = slab.Answers(shared)
    unread: deque[tuple[int, slab.Region]] = deque()
    for number, (size, read) in enumerate(steps):
        region = answers.put(_filled(number, size))
        if region is not None:
            unread.append((number, region))
        for _ in range(min(read, len(unread))):
            first, place = unread.popleft()
            assert _holds(shared, place, first)
            shared.taken = place[2]
    assert all(_holds(shared, place, number) for number, place in unread)


def test_a_cancelled_request_keeps_its_place_while_it_is_computed(shared: slab.Slab) -> None:
    busy = {1}
    requests = slab.Requests(shared, lambda: frozenset(busy))
    large = _filled(1, slab.SIZE - MIB)
    assert requests.put(1, large) is not None
    assert requests.put(2, large) is None  # by the socket
    requests.leave(1)
    assert requests.put(3, large) is None
    busy.clear()
    assert requests.put(4, large) is not None


def test_small_tensors_go_by_the_socket(shared: slab.Slab) -> None:
    small = _filled(1, slab.THRESHOLD_BYTES - 1)
    assert slab.Requests(shared, frozenset).put(1, small) is None
    assert slab.Answers(shared).put(small) is None


def test_several_tensors_start_at_multiples_of_64(shared: slab.Slab) -> None:
    arrays: list[np.ndarray[Any, Any]] = [np.full(3, 7, np.uint8), np.arange(MIB, dtype=np.float32)[::2]]
    region = slab.Requests(shared, frozenset).put(1, arrays)
    assert region is not None
    body = shared.body(region)
    assert bytes(body[:3]) == b"\x07\x07\x07"
    np.testing.assert_array_equal(np.frombuffer(body[64:], np.float32), arrays[1])


@pytest.mark.parametrize(
    "region", [(0, 8, 0), (63, 1, 0), (64, slab.SIZE, 0), (slab.SIZE, 1, 0), (-64, 64, 0), (64, -1, 0)]
)
def test_regions_outside_are_refused(shared: slab.Slab, region: slab.Region) -> None:
    with pytest.raises(slab.SlabError):
        shared.body(region)


def test_what_could_be_cut_short_is_no_slab_and_no_page() -> None:
    for size in (slab.SIZE, flight.SIZE, 0):
        fd = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, size)
            with pytest.raises(slab.SlabError):
                slab.Slab(fd)
            with pytest.raises(flight.FlightError):
                flight.Flight(fd)
        finally:
            os.close(fd)
    fd = slab.create()
    try:
        with pytest.raises(OSError, match="not permitted"):
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def test_a_page_tells_the_last_batch() -> None:
    fd = flight.create()
    try:
        writer, reader = flight.Flight(fd), flight.Flight(fd)
    finally:
        os.close(fd)
    assert reader.read() == frozenset()
    writer.write([3, 2**40])
    assert reader.read() == {3, 2**40}
    writer.write([])
    assert reader.read() == frozenset()
