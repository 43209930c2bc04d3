"""Which route a path belongs to, looked up by its parts instead of trying one pattern after the other.

Only for what is found as a rule: a route of plain parts and whole-part parameters, with a method that it takes. For
everything else, and for what is wrong, the router of the framework is asked.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Final, TypeAlias

from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Scope

_Parts: TypeAlias = tuple[str, ...]
_PART: Final = re.compile(r"[^{}]*|\{\w+\}")


class Paths:
    """The routes of an application, of which the first that matches counts."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        known: list[tuple[_Parts, Route]] = []
        for route in routes:
            if isinstance(route, WebSocketRoute):
                continue
            if not isinstance(route, Route):
                break  # it may match anything, and must not be overtaken by what comes after it
            parts = tuple(route.path.split("/"))
            if not all(map(_PART.fullmatch, parts)):
                break
            if inspect.iscoroutinefunction(route.endpoint):
                known.append((parts, route))
        # By how many parts a path has and how it ends: what is left are few, in their order.
        self._ending: dict[tuple[int, str], list[tuple[_Parts, Route]]] = {}
        self._others: dict[int, list[tuple[_Parts, Route]]] = {}
        for count, last in {(len(parts), parts[-1]) for parts, _ in known}:
            alike = [each for each in known if len(each[0]) == count]
            self._ending[count, last] = [each for each in alike if each[0][-1] == last or each[0][-1][:1] == "{"]
            self._others[count] = [each for each in alike if each[0][-1][:1] == "{"]

    def find(self, scope: Scope) -> tuple[Route, dict[str, str]] | None:
        """The route of a request and the parameters in its path; None when the router has to be asked."""
        path = scope["path"]
        # A pattern ends before a last line feed, and what is mounted below a path has that taken off.
        if scope["type"] != "http" or scope.get("root_path") or path[-1:] == "\n":
            return None
        method, given = scope["method"], path.split("/")
        count = len(given)
        found = self._ending.get((count, given[-1]))
        for parts, route in self._others.get(count, ()) if found is None else found:
            params = _params(parts, given)
            if params is not None:
                return (route, params) if route.methods is not None and method in route.methods else None
        return None


def _params(parts: _Parts, given: list[str]) -> dict[str, str] | None:
    params: dict[str, str] = {}
    for part, text in zip(parts, given, strict=True):
        if part[:1] == "{":
            if not text:
                return None
            params[part[1:-1]] = text
        elif part != text:
            return None
    return params
