"""What happens to a list of runs: which ones come, change and go, told to everybody who follows that list.

Followers of the same list share one feed. It knows the list by ids and marks, is driven by whichever follower has
nothing to deliver, and looks again at the runs that something happened to. No task runs in the background, and what a
slow follower has not taken yet is one word per run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import Enum
from typing import Final

from domain.access import ResourceKind, Scope
from domain.errors import BadUserInput
from domain.events import MetricsAppended, RunChanged, RunsHub, RunsWatch
from domain.live import SharedReads, patiently
from domain.runs.entity import Moment, Run
from domain.runs.listing import RunListing
from domain.runs.ports import RunRepository

MOST_RUNS: Final = 100_000
"""A list that is longer cannot be followed."""
AT_ONCE: Final = 100
QUIET_SECONDS: Final = 0.5
LOOK_SECONDS: Final = 10.0
"""The least time between two looks at the whole list: after lost notices, and for what only time changes."""
_BREATH: Final = 0.05


class RunChangeKind(Enum):
    """How a run entered, changed in or left a list."""

    ADDED = "added"
    UPDATED = "updated"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class RunChange:
    """One change in a list of runs, and the run as it is now; None once it is purged."""

    kind: RunChangeKind
    run_id: str
    run: Run | None


class _Follower:
    """What one follower has still to be told: per run one kind, of several the sum."""

    def __init__(self) -> None:
        self.untold: dict[str, RunChangeKind] = {}

    def tell(self, run_id: str, kind: RunChangeKind) -> None:
        before = self.untold.pop(run_id, None)
        if before is RunChangeKind.ADDED and kind is RunChangeKind.REMOVED:
            return
        if before is RunChangeKind.ADDED:
            kind = before
        elif before is RunChangeKind.REMOVED:
            kind = RunChangeKind.UPDATED
        self.untold[run_id] = kind

    def take(self) -> dict[str, RunChangeKind]:
        taken = {run_id: self.untold[run_id] for run_id in list(self.untold)[:AT_ONCE]}
        for run_id in taken:
            del self.untold[run_id]
        return taken


class _Feed:
    """One list of one workspace, as long as somebody follows it: everybody who does may read the same runs."""

    def __init__(self, scope: Scope, wanted: RunListing, reads: RunRepository, moment: Callable[[], Moment]) -> None:
        self._scope = scope
        self._wanted = wanted
        self._reads = reads
        self._moment = moment
        self._shared: SharedReads[dict[str, Run]] = SharedReads()
        self._opening = asyncio.Lock()
        self._round: asyncio.Event | None = None
        self._watching = AsyncExitStack()
        self._watch: RunsWatch | None = None
        self._marks: dict[str, str] = {}
        self._waiting: set[str] = set()
        self._quiet_until: dict[str, float] = {}
        self._all = False
        self._looked = 0.0
        self.followers: set[_Follower] = set()

    async def end(self) -> None:
        """Once nobody follows it."""
        await self._watching.aclose()

    async def reach(self, follower: _Follower) -> bool:
        """Returns once the follower has something to be told; False when the process is stopping.

        Of the followers that wait, one drives the feed for all. Raises what the database raises when it stays away.
        """
        while not follower.untold:
            if self._round is not None:
                await self._round.wait()  # all who wait go on in the same turn of the loop, and then read together
                continue
            self._round = over = asyncio.Event()
            try:
                if not await self._drive():
                    return False
            finally:
                self._round = None
                over.set()
        return True

    async def runs(self, run_ids: tuple[str, ...]) -> dict[str, Run] | None:
        """The runs as they are now, read once for all followers that ask alike; None when the process is stopping."""

        async def read() -> dict[str, Run]:
            return await self._shared.read(run_ids, lambda: self._reads.by_ids(self._scope, run_ids, self._moment()))

        assert self._watch is not None  # noqa: S101 - `open` comes first
        return await patiently(self._watch, read)

    async def open(self, hub: RunsHub) -> None:
        """Reads the list, by the first follower. Raises BadUserInput when it is too long."""
        async with self._opening:
            if self._watch is not None:
                return
            async with AsyncExitStack() as opening:
                watch = await opening.enter_async_context(hub.watch_all(RunChanged, MetricsAppended))
                self._marks = await self._all_marks()
                self._watching = opening.pop_all()
            noted, self._all = watch.take()
            for run_id in noted & self._marks.keys():
                self._marks[run_id] = ""  # whether the follower's own list has this change, nobody knows: told again
                self._waiting.add(run_id)
            self._looked = asyncio.get_running_loop().time()
            self._watch = watch

    async def _drive(self) -> bool:
        """One round: looks at what is due, or else waits until something is. False when the process is stopping."""
        assert self._watch is not None  # noqa: S101 - `open` comes first
        noted, others = self._watch.take()
        self._all |= others
        self._waiting |= noted
        now = asyncio.get_running_loop().time()
        if self._all and now >= self._looked + LOOK_SECONDS:
            return await self._look_at_all(self._watch, now)
        self._quiet_until = {run_id: until for run_id, until in self._quiet_until.items() if until > now}
        due = tuple(sorted(self._waiting - self._quiet_until.keys()))
        if due:
            return await self._look(self._watch, due, now)
        times = [self._quiet_until[run_id] for run_id in self._waiting]
        if self._all:
            times.append(self._looked + LOOK_SECONDS)
        return await self._wait(self._watch, min(times) - now if times else None)

    async def _wait(self, watch: RunsWatch, seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                if not await watch.changed():
                    return False
        except TimeoutError:
            return True
        await asyncio.sleep(_BREATH)  # what comes in quick succession is looked at together
        return True

    async def _look(self, watch: RunsWatch, run_ids: tuple[str, ...], now: float) -> bool:
        found = await patiently(watch, lambda: self._reads.standing(self._scope, self._wanted, run_ids, self._moment()))
        if found is None:
            return False
        self._waiting -= set(run_ids)
        self._quiet_until |= dict.fromkeys(run_ids, now + QUIET_SECONDS)
        for run_id in run_ids:
            self._tell(run_id, found.get(run_id))
        return True

    async def _look_at_all(self, watch: RunsWatch, now: float) -> bool:
        marks = await patiently(watch, self._all_marks)
        if marks is None:
            return False
        self._all, self._looked = False, now
        for run_id in self._marks.keys() - marks.keys():
            self._tell(run_id, None)
        for run_id, mark in marks.items():
            self._tell(run_id, mark)
        return True

    async def _all_marks(self) -> dict[str, str]:
        marks = await self._reads.marks(self._scope, self._wanted, self._moment(), most=MOST_RUNS + 1)
        if len(marks) > MOST_RUNS:
            raise BadUserInput(
                f"more than {MOST_RUNS} runs meet this; follow a shorter list, by a filter or an experiment",
                field="filter",
            )
        return marks

    def _tell(self, run_id: str, mark: str | None) -> None:
        """Compares a run with what is known of it; `mark` is None when the list does not hold it."""
        before = self._marks.get(run_id)
        if mark == before:
            return
        if mark is None:
            del self._marks[run_id]
            kind = RunChangeKind.REMOVED
        else:
            self._marks[run_id] = mark
            kind = RunChangeKind.ADDED if before is None else RunChangeKind.UPDATED
        for follower in self.followers:
            follower.tell(run_id, kind)


class Feeds:
    """The feeds of this process, each there as long as it has followers."""

    def __init__(self, *, runs: RunRepository, hub: RunsHub, moment: Callable[[], Moment]) -> None:
        self._reads = runs
        self._hub = hub
        self._moment = moment
        self._feeds: dict[Hashable, _Feed] = {}

    async def follow(self, scope: Scope, filter_text: str, wanted: RunListing) -> AsyncGenerator[RunChange, None]:
        """The changes of a list from now on. `filter_text` is what the filter of `wanted` was made of."""
        key = (scope.workspace_id, scope.reach(ResourceKind.RUNS), filter_text, wanted.experiment_id)
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = _Feed(scope, wanted, self._reads, self._moment)
        follower = _Follower()
        feed.followers.add(follower)
        try:
            await feed.open(self._hub)
            while await feed.reach(follower):
                taken = follower.take()
                runs = await feed.runs(tuple(taken))
                if runs is None:
                    return
                for change in _changes(taken, runs):
                    yield change
        finally:
            feed.followers.discard(follower)
            if not feed.followers and self._feeds.get(key) is feed:
                del self._feeds[key]
                await feed.end()


def _changes(taken: Mapping[str, RunChangeKind], runs: Mapping[str, Run]) -> list[RunChange]:
    """A run that is gone by now is told as removed only: that follows, or is among these."""
    return [
        RunChange(kind, run_id, runs.get(run_id))
        for run_id, kind in taken.items()
        if kind is RunChangeKind.REMOVED or run_id in runs
    ]
