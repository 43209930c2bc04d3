"""Who among the replicas of a set gets the next request, in whichever process the request is.

The host and every web worker dispatch on their own, over connections of their own; what a replica reports of its queue
keeps them from meeting at the same one. Nothing here starts or ends a replica.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from domain.architecture import Architecture
from domain.errors import BadUserInput, DeadlineExceeded, DomainError, Overloaded, PayloadTooLarge, Unavailable
from domain.serving import InferenceError, NotServing, PredictionResult, ReplicaFailed, ServingConfig, Timings
from domain.tensors import Array, check_arrays
from serving import wire
from serving.connection import ReplicaConnection, ReplicaGoneError
from serving.quarantine import Quarantine

SILENT_SECONDS = 10.0
"""A replica that leaves a cancellation unacknowledged for so long is to be ended."""
HEAVY_BYTES: Final = 16 * 1024 * 1024
"""A request of more bytes may exhaust a replica's memory by being received."""
_LONGEST_SECONDS: Final = 3600.0
_MOST_ATTEMPTS: Final = 6

_REFUSALS: Final[Mapping[str, type[DomainError]]] = {
    kind.code: kind for kind in (BadUserInput, Overloaded, PayloadTooLarge, DeadlineExceeded)
}

Lane = tuple[int, ReplicaConnection]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a replica computed, and which one."""

    result: wire.Result
    outputs: dict[str, Array]
    replica: int
    retried: bool


class Dispatch:
    """The requests of one process to one replica set.

    `lanes` gives the replicas that take requests now, by index; `silent` is told of one that answers nobody.
    """

    def __init__(
        self, max_queue_rows: int, lanes: Callable[[], Iterable[Lane]], silent: Callable[[int], None], *, name: str
    ) -> None:
        self._max_queue_rows = max_queue_rows
        self._lanes = lanes
        self._silent = silent
        self._name = name
        self._changed = asyncio.Event()
        self._in_flight = 0
        self._waiting_rows = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.closing = False
        self.failure: ReplicaFailed | None = None
        self._quarantine = Quarantine()

    def notify(self) -> None:
        """Wake everybody who waits for a replica, or for the end."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def predict(
        self, inputs: Mapping[str, Array], rows: int, deadline: float, outputs: tuple[str, ...] | None
    ) -> Answer:
        """Have the least loaded replica compute; elsewhere, or after a restart, if it dies meanwhile.

        A request that was waiting when its replica died is simply sent again. One that was being computed, or is heavy,
        may be what ended it: it is sent once more, alone, and put in quarantine when that ends a replica, too.
        """
        if self.closing:
            raise NotServing("this version is no longer served")
        self._quarantine.check(inputs)
        self._in_flight += 1
        self.idle.clear()
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await self._predict(inputs, rows, int(deadline * 1e9), outputs)
        except TimeoutError:
            self._end_silent()
            raise DeadlineExceeded("the prediction did not finish before its deadline") from None
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self.idle.set()

    async def _predict(
        self, inputs: Mapping[str, Array], rows: int, deadline_ns: int, outputs: tuple[str, ...] | None
    ) -> Answer:
        suspect = False
        for attempt in range(_MOST_ATTEMPTS):
            index, connection = await self._choose(rows)
            try:
                frame = await connection.predict(inputs, rows, deadline_ns, outputs, alone=suspect)
            except ReplicaGoneError as gone:
                involved = gone.computing or sum(array.nbytes for array in inputs.values()) > HEAVY_BYTES
                if involved and suspect:
                    raise self._quarantine.add(inputs) from None
                suspect = suspect or involved
                continue
            message = frame.message
            if isinstance(message, wire.Result):
                return Answer(message, frame.arrays, index, attempt > 0)
            if isinstance(message, wire.Failure):
                raise _refusal(message)
        raise Unavailable(f"{_MOST_ATTEMPTS} replicas died before they came to this request", retry_after=1.0)

    async def _choose(self, rows: int) -> Lane:
        """The ready replica with the fewest rows to do; waits for one, in bounded company."""
        chosen = self._least_loaded()
        if chosen is None:
            if self._waiting_rows + rows > self._max_queue_rows:
                raise Overloaded("no replica is ready and too many requests wait", retry_after=1.0)
            self._waiting_rows += rows
            try:
                while (chosen := self._least_loaded()) is None:
                    await self._changed.wait()
            finally:
                self._waiting_rows -= rows
        return chosen

    def _least_loaded(self) -> Lane | None:
        if self.failure is not None:
            raise ReplicaFailed(self.failure.message, stderr=self.failure.stderr)
        best: Lane | None = None
        for lane in self._lanes():
            if best is None or lane[1].load < best[1].load:
                best = lane
        return best

    def _end_silent(self) -> None:
        """A deadline passed: report replicas whose listening thread answers nobody any more."""
        for index, connection in list(self._lanes()):
            if connection.silent_seconds > SILENT_SECONDS:
                logger.error("replica %s of %s does not answer and is ended", index, self._name)
                self._silent(index)


async def compute(
    dispatch: Dispatch,
    architecture: Architecture,
    config: ServingConfig,
    inputs: Mapping[str, Array],
    *,
    deadline: float | None,
    outputs: Sequence[str] | None,
) -> PredictionResult:
    """One prediction as `domain.serving.Predicts` has it."""
    started = time.monotonic()
    rows = check_arrays(inputs, architecture.inputs, max_rows=config.max_queue_rows, max_bytes=wire.MAX_BODY_BYTES)
    if deadline is None:
        deadline = started + config.timeout_ms / 1000
    deadline = min(deadline, started + _LONGEST_SECONDS)
    answer = await dispatch.predict(inputs, rows, deadline, _check_outputs(outputs, architecture))
    result = answer.result
    total = (time.monotonic() - started) * 1e3
    return PredictionResult(
        outputs=answer.outputs,
        rows=rows,
        timings=Timings(result.queue_ns / 1e6, result.compute_ns / 1e6, total),
        batch_rows=result.batch_rows,
        replica=answer.replica,
        retried=answer.retried,
    )


def _check_outputs(outputs: Sequence[str] | None, architecture: Architecture) -> tuple[str, ...] | None:
    if outputs is None:
        return None
    known = [output.name for output in architecture.outputs]
    for index, name in enumerate(outputs):
        if name not in known:
            raise BadUserInput(
                f"unknown output {name!r}; the model gives: {', '.join(known)}", field=f"outputs[{index}]"
            )
    if not outputs or len(set(outputs)) != len(outputs):
        raise BadUserInput("expected at least one output, each named once", field="outputs")
    return tuple(outputs)


def check_batch_fits(architecture: Architecture, rows: int) -> None:
    """Raises BadUserInput when a batch of so many rows does not fit a frame."""
    for kind, specs in (("input", architecture.inputs), ("output", architecture.outputs)):
        row = sum(math.prod(s.row_shape) * s.dtype.itemsize for s in specs)
        if row * rows > wire.MAX_BODY_BYTES:
            raise BadUserInput(
                f"a batch of {rows} rows has {row * rows} bytes of {kind}; at most {wire.MAX_BODY_BYTES}",
                field="max_batch_rows",
            )


def _refusal(failure: wire.Failure) -> Exception:
    kind = _REFUSALS.get(failure.code)
    if kind is not None:
        return kind(failure.message, field=failure.field, retry_after=failure.retry_after)
    if failure.code == Unavailable.code:
        return NotServing(failure.message)
    return InferenceError(failure.message)
