"""Following one sequence together: read once for all, nobody waits for anybody, and nothing is missed or repeated."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from domain import tail
from domain.errors import BadUserInput, NotFound
from domain.events import Event, MetricsAppended, RunChanged
from domain.tail import Step, Tails
from persistence.live import Hub

RUN = "run_1"
PAGE = 4


class Bus:
    """A bus that reaches its hub at once."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Event | None], None]] = []

    def publish(self, event: Event | None) -> None:
        for receive in self._listeners:
            receive(event)

    def listen(self, receive: Callable[[Event | None], None]) -> Callable[[], None]:
        self._listeners.append(receive)
        return partial(self._listeners.remove, receive)


class Sequence:
    """A run whose entries are numbers, and a store that answers some turns of the loop later, in pages of `PAGE`."""

    def __init__(self) -> None:
        self.head = 0
        self.status = "running"
        self.sealed = 0
        self.gone = False
        self.reads = 0
        self.latency = 3
        self.broken: Exception | None = None
        self.bus = Bus()
        self.hub = Hub(self.bus)
        self.tails: Tails[list[int]] = Tails(self.hub, MetricsAppended, RunChanged)

    async def read(self, seq: int, until: int | None) -> Step[list[int]] | None:
        self.reads += 1
        turns = self.latency
        for _ in range(turns // 2):
            await asyncio.sleep(0)
        if self.broken is not None:
            raise self.broken
        last = min(self.head, seq + PAGE, self.head if until is None else max(seq, until))
        if seq < self.sealed:
            last = seq
        found = None if self.gone else self._step(seq, last)
        for _ in range(turns - turns // 2):  # the answer is on its way while more is written
            await asyncio.sleep(0)
        return found

    def _step(self, seq: int, last: int) -> Step[list[int]]:
        entries = list(range(seq + 1, last + 1))
        pieces = (entries,) if entries else ()
        return Step(pieces, last, self.head, self.status, self.status == "ended", len(entries))

    def append(self, entries: int = 1) -> None:
        self.head += entries
        self.bus.publish(MetricsAppended(RUN, self.head))

    def change(self, status: str) -> None:
        self.status = status
        self.bus.publish(RunChanged(RUN))

    @asynccontextmanager
    async def follower(self, seq: int = 0) -> AsyncIterator[tail.Follower[list[int]]]:
        async with self.tails.follower("wsp", RUN, seq, self.read) as follower:
            yield follower


@pytest.fixture
async def sequence() -> AsyncIterator[Sequence]:
    made = Sequence()
    async with made.hub:
        yield made


def entries(step: Step[list[int]] | None) -> list[int]:
    assert step is not None
    return [entry for piece in step.pieces for entry in piece]


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_those_at_the_same_place_are_told_with_one_object_that_was_read_once(sequence: Sequence) -> None:
    async with sequence.follower() as one, sequence.follower() as other, sequence.follower() as third:
        followers = (one, other, third)
        await asyncio.gather(*(follower.next() for follower in followers))
        sequence.reads = 0
        waiting = [asyncio.ensure_future(follower.next()) for follower in followers]
        await turns(1)
        sequence.append()
        steps = await asyncio.gather(*waiting)
        assert [entries(step) for step in steps] == [[1]] * 3
        assert steps[0] is steps[1] is steps[2]
        assert sequence.reads == 1
        assert sequence.hub.watching == 3
    assert sequence.hub.watching == 0


async def test_a_slow_one_holds_nobody_up_and_is_told_the_rest_in_one_step_without_a_read(sequence: Sequence) -> None:
    async with sequence.follower() as quick, sequence.follower() as slow:
        await asyncio.gather(quick.next(), slow.next())
        told = []
        for _ in range(5):
            sequence.append()
            told += entries(await quick.next())
        assert told == [1, 2, 3, 4, 5]
        sequence.reads = 0
        assert entries(await slow.next()) == [1, 2, 3, 4, 5]
        assert sequence.reads == 0


async def test_one_that_fell_behind_what_is_kept_reads_up_to_the_edge(
    sequence: Sequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MOST_KEPT", 2)
    async with sequence.follower() as quick, sequence.follower() as slow:
        await asyncio.gather(quick.next(), slow.next())
        for _ in range(3):
            sequence.append()
            await quick.next()
        sequence.append(7)  # written, and not yet read by those at the edge
        first = await slow.next()
        assert entries(first) == [1, 2, 3]
        waiting = [asyncio.ensure_future(follower.next()) for follower in (quick, slow)]
        steps = await asyncio.gather(*waiting)
        assert steps[0] is steps[1]
        assert entries(steps[0]) == [4, 5, 6, 7]


async def test_who_comes_later_goes_on_with_the_others(sequence: Sequence) -> None:
    sequence.append(2)
    async with sequence.follower() as early:
        assert entries(await early.next()) == [1, 2]
        async with sequence.follower(seq=1) as late:
            assert entries(await late.next()) == [2]
            waiting = [asyncio.ensure_future(follower.next()) for follower in (early, late)]
            await turns(1)
            sequence.append()
            steps = await asyncio.gather(*waiting)
            assert steps[0] is steps[1]


async def test_when_the_one_that_leads_leaves_another_takes_over_whatever_it_was_doing(sequence: Sequence) -> None:
    for moment in range(8):
        async with sequence.follower(sequence.head) as leading, sequence.follower(sequence.head) as other:
            await asyncio.gather(leading.next(), other.next())
            first = asyncio.ensure_future(leading.next())
            await turns(1)
            second = asyncio.ensure_future(other.next())
            await turns(1)
            sequence.append()
            await turns(moment)
            first.cancel()
            async with asyncio.timeout(10):
                assert entries(await second) == [sequence.head]
            await asyncio.gather(first, return_exceptions=True)


async def test_the_end_comes_with_the_last_entry_and_a_resumed_run_is_followed_anew(sequence: Sequence) -> None:
    async with sequence.follower() as one, sequence.follower() as lingering:
        await asyncio.gather(one.next(), lingering.next())
        sequence.append(PAGE + 1)
        sequence.change("ended")
        first, second = await one.next(), await one.next()
        assert (entries(first), entries(second)) == ([1, 2, 3, 4], [5])
        assert first is not None
        assert second is not None
        assert (first.final, second.final) == (False, True)
        assert await one.next() is None
        sequence.change("running")
        async with sequence.follower(sequence.head) as newcomer:
            step = await newcomer.next()
            assert step is not None
            assert (step.state, step.final) == ("running", False)
            sequence.append()
            assert entries(await newcomer.next()) == [6]


async def test_a_change_of_state_alone_is_told_once(sequence: Sequence) -> None:
    async with sequence.follower() as one:
        await one.next()
        sequence.change("stopping")
        step = await one.next()
        assert step is not None
        assert (step.state, step.pieces) == ("stopping", ())
        waiting = asyncio.ensure_future(one.next())
        sequence.bus.publish(None)
        await turns(20)
        assert not waiting.done()
        waiting.cancel()


async def test_an_old_answer_does_not_bring_back_an_old_state(sequence: Sequence) -> None:
    async with sequence.follower() as one, sequence.follower() as late:
        await one.next()
        sequence.latency = 40
        looking = asyncio.ensure_future(late.next())
        await turns(25)  # it has seen the state and is on its way
        sequence.latency = 2
        sequence.change("stopping")
        told = await one.next()
        assert told is not None
        assert told.state == "stopping"
        old = await looking
        assert old is not None
        assert old.state == "running"
        async with asyncio.timeout(10):
            newer = await late.next()
        assert newer is not None
        assert newer.state == "stopping"
        again = asyncio.ensure_future(one.next())
        await turns(20)
        assert not again.done()
        again.cancel()


async def test_what_cannot_be_read_ends_all_alike(sequence: Sequence) -> None:
    async with sequence.follower() as one, sequence.follower() as other:
        await asyncio.gather(one.next(), other.next())
        sequence.broken = RuntimeError("a defect")
        waiting = [asyncio.ensure_future(follower.next()) for follower in (one, other)]
        await turns(1)
        sequence.append()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in found] == [RuntimeError, RuntimeError]


async def test_sealed_entries_are_left_to_the_reader_and_the_edge_moves_on(sequence: Sequence) -> None:
    async with sequence.follower() as one:
        await one.next()
        sequence.head, sequence.sealed = 9, 9
        sequence.bus.publish(None)
        waiting = asyncio.ensure_future(one.next())
        step = await waiting
        assert step is not None
        assert (step.seq, step.head) == (0, 9)
        one.seq = 9
        sequence.append()
        assert entries(await one.next()) == [10]


async def test_the_end_is_told_to_one_that_went_there_by_other_means(sequence: Sequence) -> None:
    sequence.append(PAGE + 1)
    async with sequence.follower() as one, sequence.follower(PAGE + 1) as other:
        await other.next()
        sequence.change("ended")
        first = await one.next()
        assert first is not None
        assert (first.over, first.complete) == (True, False)
        one.seq = sequence.head
        assert await other.next() is not None
        last = await one.next()
        assert last is not None
        assert (last.final, last.pieces) == (True, ())
        assert await one.next() is None


async def test_refusals_come_before_anything_else(sequence: Sequence) -> None:
    async with sequence.follower(seq=1) as ahead:
        with pytest.raises(BadUserInput):
            await ahead.next()
    sequence.gone = True
    async with sequence.follower() as nobody:
        with pytest.raises(NotFound):
            await nobody.next()
    assert sequence.hub.watching == 0


async def test_the_end_of_the_process_and_of_the_run_itself_end_every_follower(sequence: Sequence) -> None:
    async with sequence.follower() as one, sequence.follower() as other:
        await asyncio.gather(one.next(), other.next())
        waiting = [asyncio.ensure_future(follower.next()) for follower in (one, other)]
        await turns(1)
        sequence.gone = True
        sequence.change("purged")
        assert await asyncio.gather(*waiting) == [None, None]
    sequence.gone = False
    async with sequence.follower() as one, sequence.follower() as other:
        await asyncio.gather(one.next(), other.next())
        waiting = [asyncio.ensure_future(follower.next()) for follower in (one, other)]
        await turns(1)
        sequence.hub.end()
        assert await asyncio.gather(*waiting) == [None, None]


@pytest.mark.parametrize("seed", range(30))
async def test_whoever_comes_goes_or_dawdles_gets_every_entry_once(sequence: Sequence, seed: int) -> None:
    chance = random.Random(seed)
    sequence.latency = chance.randrange(9)

    async def follow(pace: int, patience: float) -> list[int]:
        got: list[int] = []
        await turns(chance.randrange(400))
        while True:
            async with sequence.follower(got[-1] if got else 0) as follower:
                while True:
                    asked = asyncio.ensure_future(follower.next())
                    if chance.random() > patience:
                        await turns(chance.randrange(12))
                        asked.cancel()
                        (found,) = await asyncio.gather(asked, return_exceptions=True)
                        if isinstance(found, asyncio.CancelledError):
                            break  # it left in the middle of something, and comes back to its place
                    step = await asked
                    if step is None:
                        return got
                    got += entries(step)
                    await turns(chance.randrange(pace))

    async def write() -> None:
        while sequence.head < 200:
            sequence.append(chance.randrange(1, 4))
            await turns(chance.choice((0, 0, 1, 3, 30)))
            if chance.random() < 0.1:
                sequence.change(chance.choice(("running", "stopping")))
        sequence.change("ended")

    followers = [asyncio.ensure_future(follow(1 + place * 9 % 60, 1 - place % 3 * 0.1)) for place in range(12)]
    await write()
    async with asyncio.timeout(30):
        for got in await asyncio.gather(*followers):
            assert got == list(range(1, sequence.head + 1))
    assert sequence.hub.watching == 0
