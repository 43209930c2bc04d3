"""The server itself and the look-up of any object by id."""

from __future__ import annotations

from typing import Annotated

import strawberry

from resolvers import server as resolve
from schema.node import Node


@strawberry.type
class ServerInfo:
    name: str
    version: str
    features: list[str]
    setup_required: bool


@strawberry.type
class ServerQuery:
    server_info: Annotated[ServerInfo, strawberry.field(resolver=resolve.server_info)]
    node: Annotated[Node | None, strawberry.field(resolver=resolve.node)]
    nodes: Annotated[list[Node | None], strawberry.field(resolver=resolve.nodes)]
