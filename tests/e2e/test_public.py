"""Nothing but the public list answers a caller who has not signed in: every route, every root field, every protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from graphql import GraphQLObjectType, OperationType, get_named_type, is_leaf_type
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from schema.build import build
from server.edge import public
from server.rest.operations import system
from server.rest.routes import ROUTES
from tests.e2e.test_process import Running, running

OPERATIONS = [system.HEALTH, system.READY, *(route.operation for route in ROUTES)]
SCHEMA = build()._schema
ROOTS = {kind.value: SCHEMA.get_root_type(kind) for kind in OperationType}


@pytest.fixture
def server(tmp_path: Path, database_url: str) -> Iterator[Running]:
    with running(tmp_path, "--data-dir", str(tmp_path / "data"), AXONML_DATABASE_URL=database_url) as started:
        yield started


def test_the_contract_and_the_list_name_the_same_public_routes() -> None:
    declared: dict[str, set[tuple[str, str]]] = {"public": set(), "optional": set(), "bearer": set()}
    for operation in OPERATIONS:
        declared[operation.security].add((operation.method.upper(), operation.path))
    assert declared["public"] | declared["optional"] == public.ROUTES
    assert declared["optional"] == public.EITHER_WAY


def test_every_public_root_field_exists() -> None:
    for kind, names in public.ROOT_FIELDS.items():
        root = ROOTS[kind]
        assert root is not None
        assert names - {"__typename"} <= set(root.fields)


def field_text(root: GraphQLObjectType, name: str) -> str:
    """A call of the root field that needs no arguments to be refused: authorisation comes before validation."""
    return name if is_leaf_type(get_named_type(root.fields[name].type)) else f"{name} {{ __typename }}"


def test_every_other_route_and_root_field_refuses(server: Running) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as anonymous:
        for operation in OPERATIONS:
            path = re.sub(r"\{[^}]+\}", "x", operation.path)
            if (operation.method.upper(), operation.path) in public.ROUTES:
                continue
            response = anonymous.request(operation.method.upper(), path)
            assert response.status_code == 401, f"{operation.method} {operation.path}"
        for kind, root in ROOTS.items():
            assert root is not None
            for name in root.fields.keys() - public.ROOT_FIELDS[kind]:
                text = f"{kind} {{ {field_text(root, name)} }}"
                for accept in ("application/json", "text/event-stream"):
                    answer = anonymous.post("/graphql", json={"query": text}, headers={"Accept": accept})
                    assert "UNAUTHENTICATED" in answer.text or (kind == "subscription" and answer.status_code == 400), (
                        text
                    )
                    assert '"data":{' not in answer.text, text
        for name in ("__schema { types { name } }", '__type(name: "Query") { name }'):
            assert "UNAUTHENTICATED" in anonymous.post("/graphql", json={"query": f"{{ {name} }}"}).text
    with connect(
        server.url.replace("http", "ws") + "/graphql", subprotocols=[Subprotocol("graphql-transport-ws")]
    ) as ws:
        assert ws.response is not None
        assert "Sec-WebSocket-Extensions" not in ws.response.headers  # compression is offered, and declined
        ws.send('{"type": "subscribe", "id": "1", "payload": {"query": "{ serverInfo { name } }"}}')
        with pytest.raises(Exception, match="4401"):
            ws.recv(30)
