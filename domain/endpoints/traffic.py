"""Which version answers a request, and how shares move.

The choice is a weighted rendezvous: every version draws a number from the request's key, and the largest wins. It needs
no memory, so every process chooses alike; a share that grows takes requests from the others and moves nothing among
them; and when a version fails, its requests alone go elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final, Protocol, TypeVar

from domain.endpoints.entities import EndpointTraffic
from domain.errors import BadUserInput, Conflict

WHOLE: Final = 100
MAX_VERSIONS: Final = 4
MAX_STICKY: Final = 256
_BITS: Final = 52


class Weighted(Protocol):
    """A version and its share in percent."""

    @property
    def version_id(self) -> str: ...

    @property
    def weight(self) -> int: ...


W = TypeVar("W", bound=Weighted)


def choose(versions: Sequence[W], endpoint_id: str, key: str) -> W:
    """The version that answers requests of this key. `versions` is not empty."""
    if len(versions) == 1:
        return versions[0]
    return max(versions, key=lambda each: _drawn(each, endpoint_id, key))


def _drawn(version: Weighted, endpoint_id: str, key: str) -> float:
    chosen_by = f"{endpoint_id} {version.version_id} {key}"
    digest = sha256(chosen_by.encode("utf-8", "surrogatepass")).digest()[:8]
    uniform = ((int.from_bytes(digest) >> (64 - _BITS)) + 0.5) / 2**_BITS
    return version.weight / -math.log(uniform)


def ordered(traffic: Iterable[EndpointTraffic]) -> tuple[EndpointTraffic, ...]:
    """The largest share first, always in the same order."""
    return tuple(sorted(traffic, key=lambda share: (-share.weight, share.version_id)))


def divided(shares: Mapping[str, int]) -> tuple[EndpointTraffic, ...]:
    """The traffic as given, in percent by version id. Raises BadUserInput for shares that do not add up."""
    if not 1 <= len(shares) <= MAX_VERSIONS:
        raise BadUserInput(f"expected 1 to {MAX_VERSIONS} versions", field="traffic")
    for weight in shares.values():
        if isinstance(weight, bool) or not 1 <= weight <= WHOLE:
            raise BadUserInput(f"expected shares from 1 to {WHOLE}", field="traffic")
    if sum(shares.values()) != WHOLE:
        raise BadUserInput(f"the shares add up to {sum(shares.values())}, not to {WHOLE}", field="traffic")
    return ordered(EndpointTraffic(version_id, weight) for version_id, weight in shares.items())


def shifted(traffic: Sequence[EndpointTraffic], version_id: str, weight: int) -> tuple[EndpointTraffic, ...]:
    """The traffic once a version takes `weight` percent; the others keep their proportions. 0 takes it away.

    Raises BadUserInput for a weight out of bounds, and Conflict when nothing else can take the rest, or too many would.
    """
    if isinstance(weight, bool) or not 0 <= weight <= WHOLE:
        raise BadUserInput(f"expected a whole number from 0 to {WHOLE}", field="weight")
    own = [EndpointTraffic(version_id, weight)] if weight else []
    others = [share for share in traffic if share.version_id != version_id] if weight < WHOLE else []
    rest = WHOLE - weight
    if rest and not others:
        raise Conflict(f"no other version takes the remaining {rest} %; give weight {WHOLE}", field="weight")
    if len(others) + len(own) > MAX_VERSIONS:
        raise Conflict(f"at most {MAX_VERSIONS} versions take traffic; give one of them weight 0 first", field="weight")
    if rest < len(others):
        raise Conflict(f"{rest} % cannot be shared by {len(others)} versions; give one weight 0 first", field="weight")
    return ordered((*own, *_scaled(others, rest)))


def _scaled(shares: Sequence[EndpointTraffic], room: int) -> list[EndpointTraffic]:
    """The shares in proportion, adding up to `room`, each at least 1."""
    total = sum(share.weight for share in shares)
    given = [max(1, share.weight * room // total) for share in shares]
    while sum(given) != room:
        step = 1 if sum(given) < room else -1
        missing = [step * (share.weight * room / total - got) for share, got in zip(shares, given, strict=True)]
        allowed = [index for index, got in enumerate(given) if got + step >= 1]
        given[max(allowed, key=lambda index: missing[index])] += step
    return [EndpointTraffic(share.version_id, got) for share, got in zip(shares, given, strict=True)]
