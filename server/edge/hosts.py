"""Which host names the server answers to: the defence against DNS rebinding, for HTTP and WebSocket alike.

A page on a foreign name that resolves to this machine must not be able to talk to it, whatever cookies or
network position the browser has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from domain.errors import BadUserInput
from server.edge.identity import request_id_of
from server.edge.replies import refuse
from server.settings import ServerSettings

_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/@\[\]]+)(?::[0-9]*)?")
_WILDCARDS = frozenset({"0.0.0.0", "::", "[::]", "*", ""})  # noqa: S104 - compared with, never bound to


def host_name(authority: str) -> str:
    """The name in a Host header, without its port, lower-case; an IPv6 address keeps its brackets.

    Empty for what is no name with a port: somebody else might read another name in it.
    """
    found = _AUTHORITY.fullmatch(authority.strip().lower())
    return found[1].rstrip(".") if found is not None else ""


def trusted_hosts(server: ServerSettings) -> frozenset[str]:
    """The names this server answers to."""
    names = {"localhost", "127.0.0.1", "[::1]", *map(host_name, server.trusted_hosts)}
    if server.host not in _WILDCARDS:
        names.add(f"[{server.host.lower()}]" if ":" in server.host else server.host.lower())
    if server.public_url is not None:
        names.add(host_name(urlsplit(server.public_url).netloc))
    return frozenset(names - {""})


class TrustedHosts:
    """Refuses requests for any other host with 400."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and not self._trusted(scope):
            problem = BadUserInput(
                "this server does not answer to that host name; its operator can add it to server.trusted_hosts",
                field="Host",
            )
            await refuse(scope, receive, send, problem, request_id_of(scope))
            return
        await self._app(scope, receive, send)

    def _trusted(self, scope: Scope) -> bool:
        # Two Host headers could be read differently by whoever looks next, so exactly one is taken.
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        return len(hosts) == 1 and host_name(hosts[0].decode("latin-1")) in self._names
