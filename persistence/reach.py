"""What a caller may read as a condition of SQL: the one place where the reach of rules meets the rows of lists."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from domain import ids
from domain.access import Reach


def within(reach: Reach, column: str, place: int) -> tuple[str, list[object]]:
    """What follows a condition so that only rows within reach are met, and its argument, which is `$place`.

    `column` holds the UUID of the object that decides. Where nothing is out of reach, nothing is added.
    """
    if reach.whole:
        return "", []
    return f" AND {_met(reach, column, place)}", [_uuids(reach)]


def linked(reach: Reach, column: str, place: int) -> str:
    """`column` where it links to an object within reach, else null. The argument of `within` is to be `$place`."""
    return column if reach.whole else f"(CASE WHEN {_met(reach, column, place)} THEN {column} END)"


def reached(reach: Reach, given: Iterable[str]) -> list[str]:
    """Those of the ids that are within reach."""
    return list(given) if reach.whole else [each for each in given if each in reach]


def link(reach: Reach, to: str | None) -> str | None:
    """The id of another object, None where that one is not within reach."""
    return to if to is None or reach.whole or to in reach else None


def _met(reach: Reach, column: str, place: int) -> str:
    return f"{column} <> ALL(${place}::uuid[])" if reach.everything else f"{column} = ANY(${place}::uuid[])"


def _uuids(reach: Reach) -> list[UUID]:
    return [ids.to_uuid(each) for each in sorted(reach.ids)]
