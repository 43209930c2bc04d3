"""Whose address a request counts for, with and without proxies in front."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from server.edge.addresses import MOST_HOPS, ClientAddress, place_of
from server.settings import ServerSettings

PROXIES = ("10.0.0.0/8", "fd00::/8")


async def nothing() -> Message:
    raise AssertionError("nobody reads here")


async def nowhere(_: Message) -> None:
    raise AssertionError("nobody sends here")


async def client_of(peer: str | None, *forwarded: str, trusted: tuple[str, ...] = PROXIES) -> Any:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["client"])

    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    client = (peer, 4_711) if peer is not None else None
    await ClientAddress(app, trusted)({"type": "http", "headers": headers, "client": client}, nothing, nowhere)
    return seen[0] and seen[0][0]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", (), "203.0.113.9"),
        ("203.0.113.9", ("198.51.100.1",), "203.0.113.9"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("6.6.6.6, 198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("6.6.6.6, 198.51.100.1, 10.2.0.1",), "198.51.100.1"),
        ("10.0.0.1", ("6.6.6.6", "198.51.100.1, 10.2.0.1", "10.3.0.1"), "198.51.100.1"),
        ("10.0.0.1", ("10.2.0.1, 10.3.0.1",), "10.2.0.1"),
        ("10.0.0.1", ("198.51.100.1:5555",), "198.51.100.1"),
        ("10.0.0.1", ("[2001:db8::7]:443",), "2001:db8::7"),
        ("10.0.0.1", ("2001:db8::7",), "2001:db8::7"),
        ("fd00::1", ("2001:db8::7",), "2001:db8::7"),
        ("::ffff:10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("::ffff:198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("unknown",), "10.0.0.1"),
        ("10.0.0.1", ("6.6.6.6, unknown, 10.2.0.1",), "10.2.0.1"),
        ("10.0.0.1", ("",), "10.0.0.1"),
        ("10.0.0.1", ("\xff, ,",), "10.0.0.1"),
        ("10.0.0.1", (", ".join(["6.6.6.6"] + ["10.9.9.9"] * (MOST_HOPS + 5)),), "10.9.9.9"),
        (None, ("198.51.100.1",), None),
    ],
)
async def test_only_what_trusted_proxies_say_counts(
    peer: str | None, forwarded: tuple[str, ...], client: str | None
) -> None:
    assert await client_of(peer, *forwarded) == client


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=20), max_size=5))
async def test_nothing_in_the_header_makes_a_request_fail(values: list[str]) -> None:
    assert await client_of("10.0.0.1", *values)
    assert await client_of("203.0.113.9", *values) == "203.0.113.9"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.9", "203.0.113.9", True),
        ("203.0.113.9", "203.0.113.10", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:203.0.113.9", "203.0.113.9", True),
        ("::ffff:203.0.113.9", "::ffff:203.0.113.10", False),
        ("fe80::1%eth0", "fe80::1", True),
        (None, "203.0.113.9", False),
        ("not an address", "another", False),
    ],
)
def test_a_place_is_an_address_or_the_64_bits_of_a_network(one: str | None, other: str, *, same: bool) -> None:
    assert (place_of(one) == place_of(other)) is same


def test_proxies_are_addresses_or_networks() -> None:
    settings = ServerSettings.model_validate({"trusted_proxies": "10.0.0.7, 192.168.0.0/16,fd00::/8"})
    assert settings.trusted_proxies == ("10.0.0.7/32", "192.168.0.0/16", "fd00::/8")
    for wrong in ("*", "10.0.0.1/8", "proxy.example.com", "10.0.0.0/33"):
        with pytest.raises(ValueError, match="addresses or networks"):
            ServerSettings.model_validate({"trusted_proxies": wrong})
