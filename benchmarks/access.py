"""What it costs to prove who one is: per request, after a pause, and while somebody floods the server with logins.

The request is the cheapest the graph has, `{ __typename }`, so that the proof is most of what is added to it. The flood
guesses at another address with each request: every try costs one password hash, as a real one does.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from statistics import median
from typing import Final

import orjson

from benchmarks.client import Connection, Load, Requests, request, send_all
from benchmarks.report import rounded
from benchmarks.servers import Server, axonml
from benchmarks.session import Session

ACCESS: Final = "proof of who asks"
FLOOD: Final = "flood of logins"
COLUMN: Final = "axonml"
_CLIENTS: Final = 4
_PAUSE: Final = 0.7  # what is remembered of a session or key is remembered for half a second
_PAUSES: Final = 12
_FLOODERS: Final = 64
_TYPENAME: Final = orjson.dumps({"query": "{ __typename }"})
_QUERY: Final = orjson.dumps({"query": "{ runs(first: 20) { nodes { id name status } } viewer { id } }"})
_NO_LIMITS: Final = {f"AXONML_RATES__{name}": "off" for name in ("REQUESTS", "VISITORS", "SIGN_IN", "REFUSED")}


async def measure(session: Session) -> None:
    """Fills our column; peers have nothing to compare."""
    database = await session.databases.fresh("access")
    async with axonml(session.place, database, _NO_LIMITS) as server:
        assert server.key is not None
        assert server.account is not None
        login = orjson.dumps(dict(zip(("email", "password"), server.account, strict=True)))
        (signed,) = await send_all(server.port, [request("POST", "/api/auth/login", login)])
        proofs = {"nobody": None, "an access token": orjson.loads(signed)["token"], "an API key": server.key}
        await _proofs(session, server, proofs)
        await _pauses(session, server, proofs)
        await _flood(session, server)


def _graphql(body: bytes, key: str | None) -> bytes:
    return request("POST", "/graphql", body, key=key)


async def _proofs(session: Session, server: Server, proofs: dict[str, str | None]) -> None:
    """Processor time of the server for one request, the proof remembered."""
    sizes, alone = session.sizes, 0.0
    for name, key in proofs.items():
        load = Load(server.port, (Requests((_graphql(_TYPENAME, key),)),) * _CLIENTS, sizes.seconds, sizes.warmup)
        before = server.busy_seconds()
        outcome = await session.drivers.run(load)
        # The warm-up is work too, at the same rate.
        answers = outcome.rate * (sizes.seconds + sizes.warmup)
        spent = (server.busy_seconds() - before) / answers * 1e6
        row = session.results.row(ACCESS, f"{name}, {_CLIENTS} clients: processor time of a request", "µs", "low")
        session.put(row, COLUMN, spent, outcome)
        alone = alone or spent
        if key is not None:
            row = session.results.row(ACCESS, f"{name}: times a request of nobody", "×", "low")
            session.put(row, COLUMN, spent / alone)


async def _pauses(session: Session, server: Server, proofs: dict[str, str | None]) -> None:
    """Latency of one client that asks twice after each pause: the first time nothing is remembered, then all is."""
    connection = await Connection.open(server.port)
    try:
        for name, key in proofs.items():
            asked, cold, warm = _graphql(_TYPENAME, key), [], []
            for _ in range(_PAUSES):
                await asyncio.sleep(_PAUSE)
                cold.append(await _timed(connection, asked))
                warm.append(await _timed(connection, asked))
            for which, latencies in (("first after a pause", cold), ("the next", warm)):
                row = session.results.row(ACCESS, f"{name}, 1 client: {which}, p50", "ms", "low")
                session.put(row, COLUMN, median(latencies) * 1000)
    finally:
        connection.close()


async def _timed(connection: Connection, asked: bytes) -> float:
    began = time.monotonic()
    await connection.accepted(asked)
    return time.monotonic() - began


async def _flood(session: Session, server: Server) -> None:
    """An ordinary query beside a flood, against the same alone; what the flood gets, and what memory it takes."""
    seconds = 2 * session.sizes.seconds
    query = Load(server.port, (Requests((_graphql(_QUERY, server.key),)),), seconds, session.sizes.warmup)
    quiet = await session.drivers.run(query)
    before = most = server.memory()
    statuses: Counter[int] = Counter()
    ended = asyncio.Event()

    async def guess(flooder: int) -> None:
        connection = await Connection.open(server.port)
        try:
            tries = 0
            while not ended.is_set():
                tries += 1
                guessed = {"email": f"g{flooder}.{tries}@example.com", "password": "a guess of fair length"}
                status, _ = await connection.send(request("POST", "/api/auth/login", orjson.dumps(guessed)))
                statuses[status] += 1
                if status == 429:
                    await asyncio.sleep(0.05)  # sooner than it was told to
        finally:
            connection.close()

    async def watch() -> None:
        nonlocal most
        while not ended.is_set():
            most = max(most, await asyncio.to_thread(server.memory))
            await asyncio.sleep(0.25)

    async with asyncio.TaskGroup() as group:
        for flooder in range(_FLOODERS):
            group.create_task(guess(flooder))
        group.create_task(watch())
        beside = await session.drivers.run(query)
        ended.set()
    lasted = seconds + session.sizes.warmup
    hashed = statuses[401]
    for name, value, unit in (
        (f"logins tried by {_FLOODERS} clients that were hashed", hashed / lasted, "logins/s"),
        ("told to come later (429)", statuses[429] / lasted, "logins/s"),
    ):
        session.put(session.results.row(FLOOD, name, unit), COLUMN, value)
    row = session.results.row(FLOOD, "growth of the server's memory", "MiB", "low")
    session.put(row, COLUMN, (most - before) / 2**20)
    row.details[COLUMN] = rounded(statuses=float(sum(statuses.values())))
    for name, outcome in (("alone", quiet), ("beside the flood", beside)):
        for share, place in (("p50", 0.5), ("p99", 0.99)):
            row = session.results.row(FLOOD, f"a query of 20 runs {name}, {share}", "ms", "low")
            session.put(row, COLUMN, outcome.quantile(place) * 1000, outcome)
    if strange := set(statuses) - {401, 429}:
        raise AssertionError(f"the flood was answered {strange}")
