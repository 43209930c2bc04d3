"""What a process remembers of the runs it wrote to: bounded, merged only with what it still holds for true."""

from __future__ import annotations

from domain.metrics import MetricSummary
from persistence.metrics.known import KnownRuns
from persistence.metrics.plan import OpenRun, Prepared


def _summary(key: str, value: float = 1.0) -> MetricSummary:
    return MetricSummary(key, value, 0, value, value, value, 1, 0)


def _written(run_id: str, stored: int, *keys: str, before: tuple[str, ...] = (), count: int | None = None) -> OpenRun:
    run = OpenRun(run_id, stored, None, {key: _summary(key) for key in before}, count)
    run.accept(Prepared(len(keys), 0, b"", [_summary(key, 2.0) for key in keys]))
    return run


def test_the_runs_written_to_longest_ago_are_forgotten_first() -> None:
    known = KnownRuns(most_keys=6)
    known.learn("w", _written("a", 0, "x", "y", count=0))
    known.learn("w", _written("b", 0, "x", count=0))
    known.learn("w", _written("a", 1, "x", before=("x", "y")))
    known.learn("w", _written("c", 0, "x", count=0))
    assert [run_id for run_id in "abc" if known.get(run_id) is not None] == ["a", "c"]
    known.learn("w", _written("d", 0, *"abcdefgh", count=0))  # alone more than the bound
    assert not any(known.get(run_id) for run_id in "abcd")
    known.learn("w", _written("a", 2, "x", before=("x",)))
    assert known.get("a") is not None


def test_what_somebody_else_changed_is_not_mixed_with_what_was_known() -> None:
    known = KnownRuns()
    known.learn("w", _written("a", 0, "x", "y", count=0))
    first = known.get("a")
    assert first is not None
    assert (first.seq, first.keys, sorted(first.summaries)) == (1, 2, ["x", "y"])
    known.learn("w", _written("a", 7, "x", before=("x",)))  # six batches of others lie between
    second = known.get("a")
    assert second is not None
    assert (second.seq, second.keys, sorted(second.summaries)) == (8, None, ["x"])
    assert second.summaries["x"].count == 2
    known.forget(("a", "b"))
    assert known.get("a") is None


def test_keys_that_are_read_one_after_the_other_count_against_the_bound() -> None:
    known = KnownRuns(most_keys=6)
    known.learn("w", _written("b", 0, "x", count=0))
    for place, key in enumerate("uvwxyz"):  # as after a restart: the run has them, the process does not know it
        known.learn("w", _written("a", place, key, before=(key,)))
    assert known.get("b") is None
    assert known.get("a") is None  # alone more than the bound
    known.learn("w", _written("c", 0, *"uvwxy", count=0))
    known.learn("w", _written("d", 0, "x", count=0))
    assert [run_id for run_id in "cd" if known.get(run_id) is not None] == ["d"]
