"""Sort keys as arguments of lists of runs."""

from __future__ import annotations

import strawberry

from resolvers.runs import SortDirection

strawberry.enum(SortDirection)


@strawberry.input
class RunOrder:
    field: str
    direction: SortDirection = SortDirection.DESC


def orders(given: list[RunOrder] | None) -> list[tuple[str, SortDirection]]:
    """Plain sort keys, as the resolvers take them."""
    return [(order.field, order.direction) for order in given or []]
