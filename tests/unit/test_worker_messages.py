"""The protocol between host and web workers: what is sent arrives whole and in order, and nonsense ends the link."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from domain.control import BackgroundTask, DatabaseKind, HostStatus
from domain.endpoints import EndpointConfig, Route, RoutedVersion
from domain.figures import (
    DamagedRun,
    Distribution,
    IngestFigures,
    LiveFigures,
    PoolFigures,
    ProcessFigures,
    Requests,
    SealingFigures,
)
from domain.serving import ServingConfig
from domain.storage import Place, Space, Standing
from domain.tensors import DType, TensorSpec
from server.workers import messages
from serving.sharing import SharedReplica, SharedSet

STATUS = HostStatus(7, "1", datetime(2026, 1, 1, tzinfo=UTC), DatabaseKind.EXTERNAL, (BackgroundTask("a", True, 2),))
FIGURES = ProcessFigures(
    2,
    7,
    STATUS.started_at,
    2**40,
    1.5,
    IngestFigures(batches=3, refused={"OVERLOADED": 2}),
    LiveFigures(readers=4),
    PoolFigures(1, 2, 3, 4),
    (Requests("GET", "/health", 200, Distribution(counts=list(range(14)), sum=0.5)),),
    SealingFigures(damaged=[DamagedRun("run_1", "why", STATUS.started_at, 3, STATUS.started_at)], damaged_runs=1),
    (Standing(Place.DATABASE, Space(2**40, 2**30), 2**29, False, 3),),
)
SPEC = TensorSpec("x", DType.FLOAT32, (-1, 4))
TO_WORKER: list[messages.ToWorker] = [
    messages.Welcome({"server": {"port": 1}}, "dsn", "1", "host", DatabaseKind.BUNDLED, STATUS.started_at),
    messages.SetChanged(SharedSet("s", "e", "v", "{}", ServingConfig(), (SharedReplica(0, "/x.sock"),), "why", ("a",))),
    messages.SetWithdrawn("s"),
    messages.RouteOpened(Route("e", "w", "n", (RoutedVersion("v", 3, 100, (SPEC,), (SPEC,)),), EndpointConfig(), 9)),
    messages.RouteClosed("e"),
    messages.Status(4, STATUS),
    messages.Figures(6, (FIGURES, FIGURES)),
    messages.WantFigures(7),
    messages.Settled(5),
    messages.Stop(),
]
TO_HOST: list[messages.ToHost] = [
    messages.Serving(),
    messages.AskStatus(1),
    messages.AskFigures(3),
    messages.OwnFigures(7, FIGURES),
    messages.AskSettled(2, "e", 0.5),
    messages.Woken("e", serves=False, generation=3),
    messages.Forgotten("e"),
    messages.Drained("s"),
    messages.Silent("s", 1),
]


def _fed(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


async def test_everything_arrives_as_it_was_sent() -> None:
    sent = b"".join(map(messages.encode, TO_WORKER))
    assert [message async for message in messages.from_host(_fed(sent))] == TO_WORKER
    sent = b"".join(map(messages.encode, TO_HOST))
    assert [message async for message in messages.from_worker(_fed(sent))] == TO_HOST


async def test_a_frame_that_is_cut_short_is_the_end() -> None:
    sent = messages.encode(TO_HOST[0]) + messages.encode(TO_HOST[1])[:-1]
    assert [message async for message in messages.from_worker(_fed(sent))] == TO_HOST[:1]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\x01\x00\x00\x00\xc1",
        b"\x01\x00\x00\x00\x80",
        messages.encode(messages.Stop()),
    ],
)
async def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(messages.BrokenFrameError):
        await anext(messages.from_worker(_fed(data)))
