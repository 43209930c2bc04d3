"""A client that follows a run over WebSocket as documented: it keeps the cursor, and comes back with it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from gql import Client, gql
from gql.transport.exceptions import TransportError
from gql.transport.websockets import WebsocketsTransport
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.support.servers import Server

METRICS = gql("""
subscription ($run: ID!, $after: String) {
  runMetrics(runId: $run, after: $after, points: 10000) {
    cursor reset status series { key steps values }
  }
}""")
LOGS = gql("""
subscription ($run: ID!, $after: String) {
  runLogs(runId: $run, after: $after) { cursor status lines { message } }
}""")
RUN = gql("subscription ($run: ID!) { runUpdated(runId: $run) { status tags { key value } } }")

RESTART = 1012
FINAL = ("COMPLETED", "FAILED", "STOPPED")
RETRY_SECONDS = 0.05


@dataclass
class Watch:
    """What one subscriber received. `closed` has the code of each close that was not its own."""

    server: Server
    document: Any
    run: str
    bearer: Mapping[str, str] | None = None
    cursor: str | None = None
    status: str = ""
    messages: int = 0
    connections: int = 0
    lines: list[str] = field(default_factory=list)
    tags: list[dict[str, str]] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    _points: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def points(self, key: str) -> list[tuple[int, float]]:
        """Step and value of everything received, as it came."""
        return self._points.get(key, [])

    async def follow(self) -> None:
        """Follows to the end of the run, or to a close that is not for a restart."""
        while self.status not in FINAL:
            transport = WebsocketsTransport(
                url=self.server.socket_url,
                init_payload=dict(self.bearer or self.server.headers),
                subprotocols=["graphql-transport-ws"],
                connect_args={"max_size": None},
            )
            try:
                async with Client(transport=transport) as session:
                    self.connections += 1
                    asked = {"run": self.run}
                    if "$after" in str(self.document.payload["query"]) and self.cursor is not None:
                        asked["after"] = self.cursor
                    document = self.document
                    document.variable_values = asked
                    async with aclosing(session.subscribe(document)) as messages:
                        async for message in messages:
                            self._take(message)
                            if self.document is RUN and self.status in FINAL:
                                break  # an ended run may be resumed, so this stream goes on; the others end
            except (TransportError, WebSocketException, OSError) as problem:
                code = _close_code(problem)
                if code is not None:
                    self.closed.append(code)
                    if code != RESTART:
                        return
                await asyncio.sleep(RETRY_SECONDS)

    def _take(self, message: dict[str, Any]) -> None:
        (delta,) = message.values()
        self.messages += 1
        self.status = delta["status"]
        self.cursor = delta.get("cursor", self.cursor)
        if delta.get("reset") and self._points:
            raise AssertionError("a subscriber that keeps up is never reset")
        for series in delta.get("series", ()):
            self._points.setdefault(series["key"], []).extend(
                (int(step), float(value)) for step, value in zip(series["steps"], series["values"], strict=True)
            )
        self.lines += [line["message"] for line in delta.get("lines", ())]
        if "tags" in delta:
            self.tags.append({tag["key"]: tag["value"] for tag in delta["tags"]})


def _close_code(problem: BaseException | None) -> int | None:
    """The code of the close frame that the server sent, through the layers of the client."""
    while problem is not None:
        if isinstance(problem, ConnectionClosed):
            return None if problem.rcvd is None else problem.rcvd.code
        problem = problem.__cause__ or problem.__context__
    return None
