"""Watch a run live in the terminal: one line chart per metric, drawn from a GraphQL subscription.

    AXONML_URL=http://127.0.0.1:3000 AXONML_API_KEY=axk_... python examples/watch_run.py run_... --keys loss accuracy

Follows the run until it ends. When the connection breaks or the server restarts, it goes on from its cursor: no point
is missed and none is drawn twice.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import sys
from typing import Any

from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportError, TransportQueryError
from gql.transport.websockets import WebsocketsTransport
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text
from websockets.exceptions import WebSocketException

SUBSCRIPTION = """
  subscription Watch($run: ID!, $keys: [String!], $after: String) {
    runMetrics(runId: $run, keys: $keys, after: $after) {
      cursor
      reset
      status
      series { key steps values }
    }
  }
"""

BLOCKS = "▁▂▃▄▅▆▇█"
LABELS = 52  # what a line holds besides the chart


class Watched:
    """What is known of the run so far: values by key, the status, and the cursor to go on from."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}
        self.steps: dict[str, int] = {}
        self.status = "?"
        self.cursor: str | None = None

    def take(self, delta: dict[str, Any]) -> None:
        """Adds a message; a reset replaces everything."""
        if delta["reset"]:
            self.values.clear()
        for series in delta["series"]:
            self.values.setdefault(series["key"], []).extend(float(value) for value in series["values"])
            if series["steps"]:
                self.steps[series["key"]] = int(series["steps"][-1])
        self.status, self.cursor = delta["status"], delta["cursor"]

    def chart(self, width: int) -> Group:
        """One line of at most `width` blocks per metric, newest on the right."""
        lines = [Text(f"status {self.status}", style="bold")]
        for key, values in sorted(self.values.items()):
            shown = [value for value in values if math.isfinite(value)]
            bucket = max(1, -(-len(shown) // width))
            columns = [shown[start : start + bucket][-1] for start in range(0, len(shown), bucket)]
            low, high = min(columns, default=0.0), max(columns, default=0.0)
            span = (high - low) or 1.0
            drawn = "".join(BLOCKS[round((value - low) / span * (len(BLOCKS) - 1))] for value in columns)
            last = f"{values[-1]:.4g}" if values else "-"
            lines.append(
                Text(f"{key:>10}  {drawn:<{width}}  {last}  (step {self.steps.get(key, 0)}, {len(values)} points)")
            )
        return Group(*lines)


async def watch(url: str, key: str, run: str, keys: list[str] | None, console: Console) -> Watched:
    """Follows the run to its end, reconnecting when the connection breaks."""
    watched = Watched()
    width = max(10, console.width - LABELS)
    socket = url.replace("http", "ws", 1).rstrip("/") + "/graphql"
    with Live(Panel(watched.chart(width), title=run), console=console, refresh_per_second=8) as live:
        while True:
            transport = WebsocketsTransport(
                url=socket, init_payload={"Authorization": f"Bearer {key}"}, subprotocols=["graphql-transport-ws"]
            )
            try:
                async with Client(transport=transport) as session:
                    asked = {"run": run, "keys": keys, "after": watched.cursor}
                    async for message in session.subscribe(GraphQLRequest(SUBSCRIPTION, variable_values=asked)):
                        watched.take(message["runMetrics"])
                        live.update(Panel(watched.chart(width), title=run))
                return watched
            except TransportQueryError as refusal:
                sys.exit(f"the server refused: {refusal}")
            except (TransportError, WebSocketException, OSError):
                await asyncio.sleep(0.5)


def main() -> None:
    """Reads the command line and watches."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("run", help="id of the run")
    options.add_argument("--keys", nargs="*", help="only these metrics")
    options.add_argument("--url", default=os.environ.get("AXONML_URL", "http://127.0.0.1:3000"))
    options.add_argument("--api-key", default=os.environ.get("AXONML_API_KEY"))
    given = options.parse_args()
    if not given.api_key:
        sys.exit("set AXONML_API_KEY (POST /api/auth/keys or the apiKeyCreate mutation makes one)")
    console = Console()
    watched = asyncio.run(watch(given.url, given.api_key, given.run, given.keys or None, console))
    for key, values in sorted(watched.values.items()):
        console.print(f"{key}: {len(values)} points, last {values[-1]:.4g}")
    console.print(f"ended: {watched.status}")


if __name__ == "__main__":
    main()
