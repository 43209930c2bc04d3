"""The server itself and the look-up of any object by id."""

from __future__ import annotations

from typing import Annotated

import strawberry

from domain.identity.registration import RegistrationPolicy
from resolvers import server as resolve
from schema.node import Node

strawberry.enum(RegistrationPolicy)


@strawberry.type
class ServerInfo:
    name: str
    version: str
    features: list[str]
    setup_required: bool
    registration: RegistrationPolicy
    mfa_required: bool
    password_min_length: int


@strawberry.type
class ServerQuery:
    server_info: Annotated[ServerInfo, strawberry.field(resolver=resolve.server_info)]
    node: Annotated[Node | None, strawberry.field(resolver=resolve.node)]
    nodes: Annotated[list[Node | None], strawberry.field(resolver=resolve.nodes)]
