"""Shares of the places: whom each counts for, and that nothing is left of those who have gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from domain.access import Principal, Scope, UserRole
from domain.errors import Overloaded
from server.edge.shares import Shares
from server.settings import LimitsSettings
from tests.support.access import EDITOR

ADA = Principal("usr_" + "a" * 32, "ada@example.com", UserRole.ADMIN, session_id="ses_1")
KEYS = [replace(ADA, session_id=None, api_key_id=f"key_{number}") for number in range(2)]


def _asked(kind: str = "http", path: str = "/graphql", client: tuple[str, int] | None = None) -> dict[str, Any]:
    return {"type": kind, "path": path, "client": client}


def _by(principal: Principal) -> Scope:
    return Scope("wsp_1", principal, EDITOR)


def test_all_keys_of_a_user_share_and_leave_a_tenth_to_sessions() -> None:
    shares = Shares(LimitsSettings(connections=40, connections_per_caller=20))
    places = [shares.enter(_asked(), _by(KEYS[number % 2])) for number in range(18)]
    for key in KEYS:
        with pytest.raises(Overloaded, match="at most 18"):
            shares.enter(_asked(), _by(key))
    places += [shares.enter(_asked(), _by(ADA)) for _ in range(2)]
    with pytest.raises(Overloaded, match="at most 20"):
        shares.enter(_asked(), _by(ADA))
    places.append(shares.enter(_asked(), _by(replace(ADA, user_id="usr_other"))))
    for place in places:
        place.leave()
    assert len(shares) == 0


def test_a_socket_moves_to_its_caller_and_stays_a_strangers_when_there_is_no_room() -> None:
    shares = Shares(LimitsSettings(connections=20, connections_per_caller=1, connections_of_strangers=1))
    first = shares.enter(_asked("websocket"), None)
    with pytest.raises(Overloaded, match="sockets of callers who have not signed in"):
        shares.enter(_asked("websocket"), None)
    first.move(ADA)
    second = shares.enter(_asked("websocket"), None)
    with pytest.raises(Overloaded, match="this user"):
        second.move(ADA)
    request = shares.enter(_asked(), None)  # counted apart from sockets
    assert len(shares) == 4  # a request counts for its address, too
    for place in (first, second, request):
        place.leave()
        place.leave()  # once is enough, twice does no harm
    assert len(shares) == 0


def test_an_address_has_an_eighth_of_the_requests_of_strangers() -> None:
    shares = Shares(LimitsSettings(connections=100, connections_of_strangers=32))
    dripping = [shares.enter(_asked(client=("192.0.2.1", 1 + number)), None) for number in range(4)]
    with pytest.raises(Overloaded, match="at this address"):
        shares.enter(_asked(client=("192.0.2.1", 9)), None)
    shares.enter(_asked("websocket", client=("192.0.2.1", 9)), None).leave()
    dripping += [shares.enter(_asked(client=(f"198.51.100.{number}", 1)), None) for number in range(28)]
    with pytest.raises(Overloaded, match="too many requests of callers who have not"):
        shares.enter(_asked(client=("203.0.113.1", 1)), None)
    for place in dripping:
        place.leave()
    assert len(shares) == 0


def test_strangers_do_not_get_the_last_tenth_and_health_is_always_told() -> None:
    shares = Shares(LimitsSettings(connections=20, connections_per_caller=17))
    taken = [shares.enter(_asked(), _by(ADA)) for _ in range(17)]
    taken.append(shares.enter(_asked(), None))
    for kind in ("http", "websocket"):
        with pytest.raises(Overloaded):
            shares.enter(_asked(kind), None)
    for path in ("/health", "/health/ready"):
        shares.enter(_asked(path=path), None).leave()
    taken[0].leave()
    shares.enter(_asked("websocket"), None)


def test_a_share_is_three_quarters_and_strangers_half_unless_it_is_said() -> None:
    assert (LimitsSettings().most_per_caller, LimitsSettings().most_strangers) == (1_500, 1_000)
    assert LimitsSettings(connections=10).most_per_caller == 7
    for name in ("connections_per_caller", "connections_of_strangers"):
        with pytest.raises(ValidationError, match=f"{name}: expected at most limits.connections, which is 100"):
            LimitsSettings.model_validate({"connections": 100, name: 101})
