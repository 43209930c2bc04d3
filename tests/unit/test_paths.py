"""Finding the route of a path: what is found directly is what the framework's router finds."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Mount, Route

from server.edge.paths import Paths


def _route(path: str, *methods: str) -> Route:
    async def answer(_request: Request) -> Response:
        return Response()

    return Route(path, answer, methods=methods)


ROUTES = [
    _route("/", "GET"),
    _route("/runs", "GET", "POST"),
    _route("/runs/compare", "POST"),
    _route("/runs/{id}", "GET", "DELETE"),
    _route("/runs/{id}/metrics", "POST"),
    _route("/runs/{id}/{kind}", "GET"),
    _route("/files/{id}.csv", "GET"),
    _route("/files/{id}", "GET"),
    _route("/{rest:path}", "GET"),
]
_parts = st.sampled_from(["", "runs", "compare", "files", "metrics", "a.csv", "{id}", "a b", "\n", "x\n", "é"])


def _scope(method: str, path: str) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "root_path": ""}


@given(st.sampled_from(["GET", "HEAD", "POST", "DELETE"]), st.lists(_parts, max_size=4))
def test_what_is_found_is_what_the_router_finds(method: str, parts: list[str]) -> None:
    scope = _scope(method, "/" + "/".join(parts))
    found = Paths(ROUTES).find(scope)
    if found is not None:
        route, params = found
        matches = [(each, *each.matches(scope)) for each in ROUTES]
        first = next((each, child) for each, match, child in matches if match is Match.FULL)
        assert (route, params) == (first[0], first[1]["path_params"])


def test_plain_paths_are_found_and_the_rest_is_left_to_the_router() -> None:
    paths = Paths(ROUTES)
    found = paths.find(_scope("POST", "/runs/run_1/metrics"))
    assert found == (ROUTES[4], {"id": "run_1"})
    assert paths.find(_scope("HEAD", "/runs/r")) == (ROUTES[3], {"id": "r"})
    for method, path in (
        ("PUT", "/runs"),
        ("GET", "/runs/compare"),
        ("GET", "/runs/"),
        ("GET", "/files/a.csv"),
        ("GET", "/files/a"),
        ("GET", "/x"),
    ):
        assert paths.find(_scope(method, path)) is None
    assert paths.find({**_scope("GET", "/runs"), "root_path": "/runs"}) is None
    assert Paths([Mount("/runs", routes=[]), *ROUTES]).find(_scope("GET", "/runs")) is None
