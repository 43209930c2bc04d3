"""Where a request really comes from: the peer, or what a proxy that the operator trusts says of it.

`X-Forwarded-For` is written by whoever likes to. It is read from its end, where the nearest proxy writes, for as long
as those who wrote it are trusted; the first address that is not a trusted proxy's is the caller.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

MOST_HOPS: Final = 16
_MAPPED: Final = bytes(10) + b"\xff\xff"


def place_of(address: str | None) -> bytes:
    """What counts as one place: an IPv4 address, or the /64 of an IPv6 one, which is the least that anybody is given.

    IPv4 in its IPv6 form is IPv4: else every such caller of a server that listens on both would share one place.
    """
    if address is None:
        return b""
    try:
        return socket.inet_pton(socket.AF_INET, address)
    except (OSError, ValueError):
        pass
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except (OSError, ValueError):
        return b"?" + address.encode()[:64]
    return packed[12:] if packed.startswith(_MAPPED) else packed[:8]


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it, some with the port; None when it is something else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


class ClientAddress:
    """Puts the caller's own address into the ASGI scope, where the log, the audit and the limits look."""

    def __init__(self, app: ASGIApp, trusted: Iterable[str]) -> None:
        self._app = app
        self._networks = tuple(ip_network(network) for network in trusted)
        self._trusts = lru_cache(maxsize=1_024)(self._is_trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if scope["type"] in ("http", "websocket") and client and self._trusts(client[0]):
            lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
            if lines:
                scope["client"] = (self._caller(b",".join(lines).decode("latin-1"), client[0]), 0)
        await self._app(scope, receive, send)

    def _caller(self, forwarded: str, peer: str) -> str:
        """The last address that somebody trusted vouches for."""
        found = peer
        for text in reversed(forwarded.rsplit(",", MOST_HOPS)[-MOST_HOPS:]):
            address = _parsed(text)
            if address is None:
                return found
            found = str(address)
            if not self._trusts(found):
                return found
        return found

    def _is_trusted(self, text: str) -> bool:
        address = _parsed(text)
        return address is not None and any(address in network for network in self._networks)
