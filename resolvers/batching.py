"""How edges become one SQL statement per level: dataloaders for single objects and for nested pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Final, TypeVar

from strawberry.dataloader import DataLoader

K = TypeVar("K", bound=Hashable)
A = TypeVar("A", bound=Hashable)
V = TypeVar("V")
F = TypeVar("F", bound=Callable[..., Any])

FOR_SEVERAL: Final = "__for_several__"


def by_key(fetch: Callable[[list[K]], Awaitable[dict[K, V]]]) -> DataLoader[K, V | None]:
    """A loader of single objects: `fetch` answers a mapping; what it leaves out is None."""

    async def load(keys: list[K]) -> Sequence[V | None]:
        found = await fetch(list(keys))
        return [found.get(key) for key in keys]

    return DataLoader(load_fn=load)


def by_parent(fetch: Callable[[list[K], A], Awaitable[dict[K, V]]]) -> DataLoader[tuple[K, A], V]:
    """A loader of what hangs under a parent, for keys (parent, arguments).

    Parents that share the same arguments are fetched together; `fetch` answers one value for every parent.
    """

    async def load(keys: list[tuple[K, A]]) -> Sequence[V]:
        parents: dict[A, list[K]] = {}
        for parent, arguments in keys:
            parents.setdefault(arguments, []).append(parent)
        found = {arguments: await fetch(ids, arguments) for arguments, ids in parents.items()}
        return [found[arguments][parent] for parent, arguments in keys]

    return DataLoader(load_fn=load)


class Several(tuple[Any, ...]):
    """The parents of one list, for which an edge with the same arguments is asked for at once."""

    __slots__ = ()


def for_several(resolver: F) -> F:
    """Marks the resolver of an edge whose parent may be `Several`; it then answers an awaitable of a value for each.

    A list is then resolved by one call. Its values come from a loader, so that they are there when they are asked for
    one by one after all.
    """
    setattr(resolver, FOR_SEVERAL, True)
    return resolver


def under(loader: DataLoader[tuple[str, A], V], parent: Any, arguments: A) -> Awaitable[Any]:
    """What hangs under a parent, or the values of `Several`, in order."""
    if isinstance(parent, Several):
        return loader.load_many([(one.id, arguments) for one in parent])
    return loader.load((parent.id, arguments))
