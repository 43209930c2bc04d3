"""The work-conserving batcher: what waits is computed as soon as the model is free.

An idle model takes a request at once; while it computes, requests queue; when it is free it takes the
oldest request and everything behind it with the same signature, up to `max_rows` rows. Rows are counted,
not requests; a request is split only when it alone exceeds `max_rows`. Nothing polls: an idle batcher
sleeps on a condition without timeout. It must never hand a caller another caller's rows, and never compute
for one who has left or whose deadline has passed.

Torch-free: `forward` is any function from arrays to arrays whose first dimension is the batch.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from domain.errors import BadUserInput, DeadlineExceeded, DomainError, Overloaded, PayloadTooLarge, Unavailable
from domain.serving import InferenceError
from domain.tensors import Array
from serving.replica.cost import BatchCost

Arrays = dict[str, Array]
Forward = Callable[[Arrays], Arrays]
Signature = tuple[tuple[str, str, tuple[int, ...]], ...]


class ValueRefusedError(BadUserInput):
    """The model cannot take these values (an index out of its table); raised by `forward`."""


@dataclass(slots=True)
class Computed:
    """A request's own rows, and how long it waited and computed, in nanoseconds."""

    outputs: Arrays
    queue_ns: int
    compute_ns: int
    batch_rows: int


Outcome = Computed | DomainError | InferenceError


@dataclass(slots=True, eq=False)
class Item:
    """One request. `done` is called exactly once, from the batching thread, unless it was cancelled.

    `alone`: shares no forward with others. `origin` is whatever the transport wants to find again.
    """

    inputs: Arrays
    rows: int
    deadline_ns: int
    done: Callable[[Outcome], None]
    alone: bool = False
    origin: object = None
    enqueued_ns: int = 0
    cancelled: bool = False
    running: bool = False
    queue: _Queue | None = None


@dataclass(slots=True, eq=False)
class _Queue:
    """Waiting items of one signature, oldest first, and their rows."""

    items: OrderedDict[Item, None] = field(default_factory=OrderedDict)
    rows: int = 0

    @property
    def head(self) -> Item:
        return next(iter(self.items))

    def put(self, item: Item) -> None:
        self.items[item] = None
        self.rows += item.rows
        item.queue = self

    def remove(self, item: Item) -> None:
        del self.items[item]
        self.rows -= item.rows
        item.queue = None


@dataclass(slots=True)
class Counters:
    """What the batcher did. `dispatched` counts batches by why they were formed when they were."""

    requests: int = 0
    rows: int = 0
    forwards: int = 0
    failures: int = 0
    expired: int = 0
    cancelled: int = 0
    overloaded: int = 0
    dispatched: dict[str, int] = field(default_factory=lambda: {"idle": 0, "full": 0, "delay": 0, "deadline": 0})


def signature_of(inputs: Arrays) -> Signature:
    """What must be equal for requests to share a forward: names, dtypes and shapes of a row."""
    return tuple(sorted((name, a.dtype.str, a.shape[1:]) for name, a in inputs.items()))


class Batcher:
    """Queue and loop. `submit`, `cancel`, `drain` are for other threads; `run` is the batching thread.

    `max_rows`: rows per forward. `max_queue_rows`: rows that may wait. `delay_ns`: how long the oldest
    request may wait for company when the model is idle. `computing` is told the items of every forward
    before it starts, and none once the last of a batch has ended. `flush` is called after the outcomes of a
    batch have been delivered, so that a transport can write them in one go.
    """

    def __init__(
        self,
        forward: Forward,
        *,
        max_rows: int,
        max_queue_rows: int,
        delay_ns: int = 0,
        computing: Callable[[Sequence[Item]], None] = lambda _items: None,
        flush: Callable[[], None] = lambda: None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._forward = forward
        self._max_rows = max_rows
        self._max_queue_rows = max_queue_rows
        self._delay_ns = delay_ns
        self._computing = computing
        self._flush = flush
        self._clock = clock
        self._wake = threading.Condition()
        self._queues: dict[Hashable, _Queue] = {}
        self._waiting_rows = 0
        self._running_rows = 0
        self._running_since: int | None = None
        self._cost = BatchCost()
        self._draining = False
        self.counters = Counters()

    @property
    def queued_rows(self) -> int:
        """Rows waiting or being computed now that somebody still wants."""
        return self._waiting_rows + self._running_rows

    @property
    def computing_ns(self) -> int:
        """How long the present batch has been computed; 0 when there is none."""
        since = self._running_since
        return 0 if since is None else self._clock() - since

    def submit(self, item: Item) -> None:
        """Queue an item.

        Raises Overloaded when too much waits, or so much that the item's turn would come after its deadline;
        DeadlineExceeded when that has passed; PayloadTooLarge; Unavailable when draining.
        """
        with self._wake:
            if self._draining:
                raise Unavailable("the replica is draining")
            if item.rows > self._max_queue_rows:
                raise PayloadTooLarge(f"{item.rows} rows; at most {self._max_queue_rows} per request")
            if self._waiting_rows + item.rows > self._max_queue_rows:
                self.counters.overloaded += 1
                raise Overloaded(
                    f"{self._waiting_rows} rows are waiting; at most {self._max_queue_rows}",
                    retry_after=max(0.01, self._wait_ns() / 1e9),
                )
            item.enqueued_ns = self._clock()
            if item.deadline_ns <= item.enqueued_ns:
                self.counters.expired += 1
                raise DeadlineExceeded("the deadline passed before the request arrived")
            wait = self._wait_ns()
            if wait > item.deadline_ns - item.enqueued_ns:
                self.counters.overloaded += 1
                raise Overloaded(
                    f"{self.queued_rows} rows come first and take about {wait / 1e9:.3f} s, "
                    "longer than the request may wait",
                    retry_after=max(0.01, wait / 1e9),
                )
            signature = item if item.alone else signature_of(item.inputs)
            self._queues.setdefault(signature, _Queue()).put(item)
            self._waiting_rows += item.rows
            self._wake.notify()

    def _wait_ns(self) -> float:
        """How long an item that came now would wait for its turn, as far as earlier batches tell."""
        running = self._cost.batches(self._running_rows, self._max_rows)
        return max(0.0, running - self.computing_ns) + self._cost.batches(self._waiting_rows, self._max_rows)

    def cancel(self, item: Item) -> None:
        """Forget an item: not computed if it still waits, not answered if it does not."""
        with self._wake:
            if item.cancelled:
                return
            item.cancelled = True
            self.counters.cancelled += 1
            if item.queue is not None:
                item.queue.remove(item)
                self._waiting_rows -= item.rows
            elif item.running:
                item.running = False
                self._running_rows -= item.rows

    def drain(self) -> None:
        """Take no new items; `run` returns when the queue is empty."""
        with self._wake:
            self._draining = True
            self._wake.notify()

    def run(self) -> None:
        """Form and compute batches until drained."""
        while self.step():
            continue

    def step(self) -> bool:
        """Form and compute one batch, waiting for it if need be; False once drained."""
        batch = self._next()
        if batch:
            self._compute(batch)
            self._computing(())
        with self._wake:
            self._running_rows = 0
            self._running_since = None
        if batch is not None:
            self._flush()
        return batch is not None

    # --- forming ---------------------------------------------------------------------------------

    def _next(self) -> list[Item] | None:
        """The next batch, blocking while there is none; empty when only expired items were found."""
        with self._wake:
            while True:
                queue = self._oldest()
                if queue is None:
                    if self._draining:
                        return None
                    self._wake.wait()
                    continue
                until, reason = self._ripe_at(queue)
                now = self._clock()
                if now >= until or self._draining:
                    break
                self._wake.wait((until - now) / 1e9)
            batch, expired = self._take(queue, now)
            self._running_rows = sum(item.rows for item in batch)
            self._running_since = now
            if batch:
                self.counters.dispatched[reason] += 1
                self._computing(batch)  # before anybody can learn that one of them is cancelled
        for item in expired:
            self.counters.expired += 1
            item.done(DeadlineExceeded("the deadline passed while the request waited"))
        return batch

    def _oldest(self) -> _Queue | None:
        """The queue whose head has waited longest; empty ones are forgotten."""
        for signature in [key for key, queue in self._queues.items() if not queue.items]:
            del self._queues[signature]
        return min(self._queues.values(), key=lambda queue: queue.head.enqueued_ns, default=None)

    def _ripe_at(self, queue: _Queue) -> tuple[int, str]:
        """When the queue's head may be dispatched, and why then."""
        if queue.rows >= self._max_rows:
            return 0, "full"
        if not self._delay_ns:
            return 0, "idle"
        waited = queue.head.enqueued_ns + self._delay_ns
        spare = queue.head.deadline_ns - int(self._cost.batches(self._max_rows, self._max_rows))
        return (waited, "delay") if waited <= spare else (spare, "deadline")

    def _take(self, queue: _Queue, now: int) -> tuple[list[Item], list[Item]]:
        batch: list[Item] = []
        expired: list[Item] = []
        rows = 0
        while queue.items:
            item = queue.head
            if item.deadline_ns <= now:
                expired.append(item)
            elif batch and rows + item.rows > self._max_rows:
                break
            else:
                item.running = True
                batch.append(item)
                rows += item.rows
            queue.remove(item)
            self._waiting_rows -= item.rows
        return batch, expired

    # --- computing -------------------------------------------------------------------------------

    def _compute(self, batch: list[Item]) -> None:
        rows = sum(item.rows for item in batch)
        started = self._clock()
        try:
            outputs = self._forward_rows([item.inputs for item in batch], rows)
        except Exception as error:  # noqa: BLE001 - whatever the model raises concerns this batch only
            if len(batch) > 1:
                self._compute_singly(batch)
            else:
                self._fail(batch[0], error)
            return
        elapsed = self._clock() - started
        self._cost.add(min(rows, self._max_rows), elapsed // -(-rows // self._max_rows))
        position = 0
        for item in batch:
            own = {name: array[position : position + item.rows] for name, array in outputs.items()}
            position += item.rows
            self._deliver(item, Computed(own, started - item.enqueued_ns, elapsed, rows))

    def _compute_singly(self, batch: list[Item]) -> None:
        """A batch failed as a whole: find the guilty by computing each item alone, once."""
        for item in batch:
            if item.cancelled:
                continue
            started = self._clock()
            if item.deadline_ns <= started:
                self.counters.expired += 1
                self._deliver(item, DeadlineExceeded("the deadline passed while the request waited"))
                continue
            self._computing([item])
            try:
                outputs = self._forward_rows([item.inputs], item.rows)
            except Exception as error:  # noqa: BLE001 - as in _compute
                self._fail(item, error)
            else:
                elapsed = self._clock() - started
                self._deliver(item, Computed(outputs, started - item.enqueued_ns, elapsed, item.rows))

    def _forward_rows(self, parts: Sequence[Arrays], rows: int) -> Arrays:
        joined = {name: _join([part[name] for part in parts]) for name in parts[0]}
        if rows <= self._max_rows:
            return self._forward_once(joined, rows)
        pieces = [
            self._forward_once({n: a[i : i + self._max_rows] for n, a in joined.items()}, size)
            for i in range(0, rows, self._max_rows)
            if (size := min(self._max_rows, rows - i))
        ]
        return {name: _join([piece[name] for piece in pieces]) for name in pieces[0]}

    def _forward_once(self, inputs: Arrays, rows: int) -> Arrays:
        self.counters.forwards += 1
        outputs = self._forward(inputs)
        for name, array in outputs.items():
            if array.ndim == 0 or array.shape[0] != rows:
                raise InferenceError(f"output {name!r} has shape {list(array.shape)} for {rows} rows")
        return outputs

    def _fail(self, item: Item, error: Exception) -> None:
        self.counters.failures += 1
        if isinstance(error, DomainError | InferenceError):
            self._deliver(item, error)
            return
        traceback.print_exception(error)  # the host keeps the last lines a replica wrote
        self._deliver(item, InferenceError(f"{type(error).__name__}: {error}"[:500]))

    def _deliver(self, item: Item, outcome: Outcome) -> None:
        if isinstance(outcome, Computed):
            self.counters.requests += 1
            self.counters.rows += item.rows
        if not item.cancelled:
            item.done(outcome)


def _join(arrays: Iterable[Array]) -> Array:
    parts = list(arrays)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
