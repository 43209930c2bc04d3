"""Root fields about the server itself, and the look-up of any object by its id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import strawberry

from domain import ids
from domain.errors import BadUserInput
from domain.identity.registration import RegistrationPolicy

if TYPE_CHECKING:
    from resolvers.context import Context

MAX_NODES = 100


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What the server is."""

    name: str
    version: str
    features: list[str]
    setup_required: bool
    registration: RegistrationPolicy
    mfa_required: bool
    password_min_length: int


async def server_info(info: strawberry.Info[Context, None]) -> ServerInfo:
    """Public: readable without signing in."""
    services = info.context.services
    identity = services.identity
    return ServerInfo(
        name="AxonML",
        version=services.version,
        features=list(services.features),
        setup_required=await identity.founder.required(),
        registration=identity.registration.policy,
        mfa_required=identity.mfa_required,
        password_min_length=identity.shortest_password,
    )


async def node(info: strawberry.Info[Context, None], id: strawberry.ID) -> Any:  # noqa: A002  # the contract's name
    """Any object by id; None when there is none for this caller. Raises BadUserInput for a malformed id."""
    return await _load(info.context, str(id), "id")


async def nodes(
    info: strawberry.Info[Context, None],
    ids: list[strawberry.ID],
) -> list[Any]:
    """Objects in the order of their ids; one SQL statement per kind."""
    if len(ids) > MAX_NODES:
        raise BadUserInput(f"at most {MAX_NODES} ids, got {len(ids)}", field="ids")
    loading = [_load(info.context, str(identifier), f"ids[{place}]") for place, identifier in enumerate(ids)]
    return [await found for found in loading]


def _load(context: Context, text: str, field: str) -> Awaitable[Any]:
    kind = ids.kind_of(text, field=field)
    loaders = context.loaders
    by_kind: dict[str, Callable[[str], Awaitable[Any]]] = {
        "usr": loaders.identity.users.load,
        "key": loaders.identity.api_keys.load,
        "wsp": loaders.workspaces.workspaces.load,
        "exp": loaders.experiments.experiments.load,
        "run": loaders.runs.runs.load,
        "mdl": loaders.models.models.load,
        "ver": loaders.models.versions.load,
        "end": loaders.endpoints.endpoints.load,
    }
    load = by_kind.get(kind)
    if load is None:
        raise BadUserInput("nothing with such an id is served by this server", field=field)
    return load(text)
