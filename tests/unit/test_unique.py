"""Names that nobody gave before."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor

from domain.unique import unique


def test_no_two_are_alike_whoever_asks_at_the_same_time() -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: unique(), range(5_000)))
    assert len(set(found)) == 5_000
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in found)


def test_a_forked_process_does_not_repeat_its_parent() -> None:
    unique()  # so that some are ready
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, unique().encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        theirs = told.read()
    os.waitpid(child, 0)
    assert len(theirs) == 32
    assert theirs not in {unique() for _ in range(1_000)}
