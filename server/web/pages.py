"""Serves the pages and their assets from the distribution: nothing is fetched from anywhere else.

The pages carry no data and look the same to everybody; whatever they show comes through the graph afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from server.edge.identity import caller_of

STATIC: Final = Path(__file__).with_name("static")
_REVALIDATE: Final = {"cache-control": "no-cache"}


def graphiql(request: Request) -> Response:
    """The GraphiQL page. Whoever must change their password or add a second factor first is led to where they can."""
    caller = caller_of(request.scope).scope
    if caller is not None and caller.principal.confined:
        return RedirectResponse("/account", status_code=303)
    return FileResponse(STATIC / "graphiql.html", headers=_REVALIDATE)


async def _home(_: Request) -> Response:
    return RedirectResponse("/graphql", status_code=303)


async def _login(_: Request) -> Response:
    return FileResponse(STATIC / "login.html", headers=_REVALIDATE)


async def _account(request: Request) -> Response:
    """Only its address leads back: whatever else the request asked for is nothing to be repeated."""
    if caller_of(request.scope).scope is None:
        return RedirectResponse("/login?next=/account", status_code=303)
    return FileResponse(STATIC / "account.html", headers=_REVALIDATE)


async def _setup(_: Request) -> Response:
    return FileResponse(STATIC / "setup.html", headers=_REVALIDATE)


async def _icon(_: Request) -> Response:
    return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")


class _Assets(StaticFiles):
    """Assets keep their names between versions, so browsers ask each time and are answered 304."""

    async def get_response(self, path: str, scope: object) -> Response:  # the types are Starlette's own
        response = await super().get_response(path, scope)  # type: ignore[arg-type]  # see above
        response.headers.setdefault("cache-control", "no-cache")
        return response


def routes() -> list[BaseRoute]:
    """Routes of the pages and of their assets."""
    return [
        Route("/", _home),
        Route("/login", _login),
        Route("/setup", _setup),
        Route("/account", _account),
        Route("/favicon.ico", _icon),
        Mount("/assets", _Assets(directory=STATIC), name="assets"),
    ]
