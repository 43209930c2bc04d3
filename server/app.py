"""The ASGI application: every route behind the edge, built from use-cases that somebody else composed.

It opens nothing and owns no background work: whoever serves it has started what it needs, and stops it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import strawberry
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from domain import access
from domain.endpoints import EndpointOperator
from domain.storage import UNLIMITED, Storage
from resolvers.context import Context, Services
from server.edge.connections import LiveConnections
from server.edge.cookies import Cookies
from server.edge.identity import caller_of, client_of, request_id_of
from server.edge.rates import Rates
from server.edge.stack import Dispatcher, edge
from server.figures import RequestFigures, SubscriptionFigures
from server.graphql.documents import Documents
from server.graphql.executor import OnePassExecutor
from server.graphql.extensions import extensions
from server.graphql.persisted import KeptTexts, Texts, TrustedTexts
from server.graphql.trusted import trust
from server.graphql.view import ContextFactory, GraphQLView, Page
from server.rest import documentation
from server.rest.handler import starlette_routes
from server.rest.health import routes as health_routes
from server.rest.route import Route
from server.settings import Settings
from server.web.documents import documents as own_documents


@dataclass(frozen=True, slots=True)
class Composed:
    """What the composition root hands to the application.

    `ready` raises Unavailable while the server cannot do its work. `routes` are the REST routes of the nouns,
    `sockets` their WebSocket routes. `operator` runs the endpoints, in the process that owns their replicas. `storage`
    tells whether there is room to write.
    """

    services: Services
    ready: Callable[[], Awaitable[None]]
    routes: Sequence[Route] = ()
    sockets: Sequence[WebSocketRoute] = ()
    requests: RequestFigures = field(default_factory=RequestFigures)
    """Counts what is answered."""

    subscriptions: SubscriptionFigures = field(default_factory=SubscriptionFigures)
    """Counts what is shared among subscriptions."""

    operator: EndpointOperator | None = None
    storage: Storage = UNLIMITED


def context_factory(services: Services, cookies: Cookies) -> ContextFactory:
    """Builds the context of a caller, over HTTP and WebSocket."""

    def make(scope: access.Scope | None, connection: Request | WebSocket, response: Response | None) -> Context:
        return Context(
            services=services,
            scope=scope,
            request_id=request_id_of(connection.scope),
            client=client_of(connection),
            cookies=cookies.of(connection.scope, response) if response is not None else None,
            problem=caller_of(connection.scope).problem,
        )

    return make


def graphql_schema(settings: Settings, rates: Rates, documents: Documents) -> strawberry.Schema:
    """The served schema with the limits of `settings`, and of the process."""
    from schema.build import build

    return build(extensions(settings.limits, rates, documents), OnePassExecutor)


def _no_explorer(_: Request) -> Response:
    return RedirectResponse("/account", status_code=303)


def create_app(
    settings: Settings,
    composed: Composed,
    connections: LiveConnections,
    *,
    pages: Sequence[BaseRoute] = (),
    page: Page | None = None,
) -> ASGIApp:
    """The application. `pages` are the routes of the browser's pages, `page` what a browser gets at `/graphql`.

    Raises SettingsError when the list of trusted documents cannot be used.
    """
    services = composed.services
    cookies = Cookies(secure=(settings.server.public_url or "").startswith("https://"))
    rates = Rates(settings.rates, workers=settings.server.workers)
    documents = Documents(settings.limits)
    schema = graphql_schema(settings, rates, documents)
    texts: Texts = KeptTexts()
    if (trusted_documents := settings.graphql.trusted_documents) is not None:
        core = schema._schema  # noqa: SLF001 - Strawberry has no public name for it
        texts = TrustedTexts(trust(trusted_documents, own_documents(), documents, core))
        page = _no_explorer
    view = GraphQLView(
        schema,
        make_context=context_factory(services, cookies),
        authenticator=services.identity,
        connections=connections,
        limits=settings.limits,
        rates=rates,
        documents=documents,
        texts=texts,
        page=page,
        figures=composed.subscriptions,
    )
    rest = [*health_routes(services.version, composed.ready, composed.storage, connections), *composed.routes]
    rest.append(documentation.route([route.operation for route in rest]))
    routes: list[BaseRoute] = [
        StarletteRoute("/graphql", view),
        WebSocketRoute("/graphql", view),
        *starlette_routes(rest),
        *composed.sockets,
        *pages,
    ]
    dispatcher = Dispatcher(routes, services=services, settings=settings, connections=connections, cookies=cookies)
    return edge(
        dispatcher, settings, services.identity, cookies, composed.requests, rates=rates, connections=connections
    )
