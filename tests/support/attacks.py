"""What the tests of attacks share: a product with one of everything, and every way to read or change it.

Every run, model and endpoint here has a name that appears nowhere else, so that an answer which holds the name of
what its caller may not read is a leak, by whichever field it came.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
from graphql import GraphQLInputObjectType, GraphQLList, GraphQLNonNull, build_schema, get_named_type, is_leaf_type

from schema.build import CONTRACT
from server.edge import public
from tests.support.models import linear
from tests.support.product import Product
from tests.support.registry import weights_file

SCHEMA = build_schema(CONTRACT.read_text())
RUN, EXPERIMENT, MODEL, ENDPOINT = "secret-run", "secret-experiment", "secret-model", "secret-endpoint"
MARKS = {"runs": {RUN, EXPERIMENT}, "models": {MODEL}, "endpoints": {ENDPOINT}}


@dataclass
class World:
    """A product with one of everything, and the ids of it."""

    product: Product
    ids: dict[str, str]

    async def key(self, *scopes: str) -> dict[str, str]:
        """The headers of a new API key."""
        made = await self.product.rest("POST", "/api/auth/keys", json={"name": "attack", "scopes": list(scopes)})
        assert made.status_code == 201, made.text
        return {"Authorization": f"Bearer {made.json()['secret']}"}

    async def ask(self, query: str, headers: dict[str, str], **variables: Any) -> httpx.Response:
        return await self.product.http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)


async def furnished(product: Product) -> World:
    """The product with one of everything in it."""
    run = await product.rest("POST", "/api/training/runs", json={"name": RUN, "experiment": EXPERIMENT, "start": True})
    await product.rest("POST", "/api/models", json={"name": MODEL})
    parts = {
        "file": ("w.safetensors", weights_file()),
        "architecture": (None, json.dumps(linear())),
        "run_id": (None, run.json()["id"]),
    }
    version = await product.rest("POST", f"/api/models/{MODEL}/versions", files=parts)
    assert version.status_code == 201, version.text
    made = await product.graphql(
        "mutation ($n: String!, $v: ID!) { endpointCreate(input: {name: $n, versionId: $v, start: false})"
        " { id traffic { version { id model { id } run { id experiment { id } } } } } }",
        n=ENDPOINT,
        v=version.json()["id"],
    )
    endpoint = made["endpointCreate"]
    version_of = endpoint["traffic"][0]["version"]
    viewer = await product.graphql("{ viewer { id apiKeys { id } } }")
    return World(
        product,
        {
            "end": endpoint["id"],
            "ver": version_of["id"],
            "mdl": version_of["model"]["id"],
            "run": version_of["run"]["id"],
            "exp": version_of["run"]["experiment"]["id"],
            "usr": viewer["viewer"]["id"],
            "key": viewer["viewer"]["apiKeys"][0]["id"],
        },
    )


# --- every way to read something ---------------------------------------------------------------------

_RUN = "id name experiment { name } owner { runs(first: 2) { nodes { name } } }"
_MODEL = f"name versions(first: 2) {{ nodes {{ run {{ {_RUN} }} }} }} latestVersion {{ model {{ name }} }}"
_ENDPOINT = f"name traffic {{ version {{ version model {{ {_MODEL} }} endpoints(first: 2) {{ nodes {{ name }} }} }} }}"
_VERSION = "run { name } model { name } endpoints(first: 2) { nodes { name } }"
_EVERYTHING = (
    f"runs(first: 2) {{ nodes {{ {_RUN} modelVersions(first: 2) {{ nodes {{ model {{ name }} }} }} }} }}"
    f" models(first: 2) {{ nodes {{ {_MODEL} }} }} endpoints(first: 2) {{ nodes {{ {_ENDPOINT} }} }}"
)
_ANY = " ".join(
    f"... on {kind} {{ {fields} }}"
    for kind, fields in {
        "Run": f"{_RUN} children(first: 2) {{ nodes {{ name }} }} parent {{ name }}",
        "Experiment": f"name runs(first: 2) {{ nodes {{ {_RUN} }} }}",
        "Model": _MODEL,
        "ModelVersion": f"{_VERSION} architecture",
        "Endpoint": _ENDPOINT,
        "User": _EVERYTHING,
        "ApiKey": "name",
    }.items()
)


def readings(found: dict[str, str]) -> list[str]:
    """Documents that read everything there is, each by one way in."""
    nodes = [f'{{ node(id: "{identifier}") {{ {_ANY} }} }}' for identifier in found.values()]
    listed = json.dumps(list(found.values()))
    return [
        f"{{ viewer {{ {_EVERYTHING} }} }}",
        f"{{ runs(first: 2) {{ nodes {{ {_RUN} }} }} }}",
        f"{{ experiments(first: 2) {{ nodes {{ name runs(first: 2) {{ nodes {{ {_RUN} }} }} }} }} }}",
        f"{{ models(first: 2) {{ nodes {{ {_MODEL} }} }} }}",
        f"{{ endpoints(first: 2) {{ nodes {{ {_ENDPOINT} }} }} }}",
        f'{{ run(id: "{found["run"]}") {{ {_RUN} modelVersions(first: 2) {{ nodes {{ model {{ name }} }} }} }} }}',
        f'{{ experiment(name: "{EXPERIMENT}") {{ name runs(first: 2) {{ nodes {{ {_RUN} }} }} }} }}',
        f'{{ model(name: "{MODEL}") {{ {_MODEL} }} }}',
        f'{{ modelVersion(id: "{found["ver"]}") {{ {_VERSION} }} }}',
        f'{{ modelVersion(name: "{MODEL}", version: 1) {{ model {{ name }} run {{ name }} }} }}',
        f'{{ endpoint(name: "{ENDPOINT}") {{ {_ENDPOINT} }} }}',
        f"{{ nodes(ids: {listed}) {{ {_ANY} }} }}",
        *nodes,
    ]


def leaked(text: str, allowed: Iterable[str]) -> set[str]:
    """The names in an answer that its caller may not know."""
    readable = set().union(*(MARKS[noun] for noun in allowed))
    return {mark for marks in MARKS.values() for mark in marks if mark in text} - readable


def data_of(answer: httpx.Response) -> str:
    """The data of a GraphQL answer, as text."""
    return json.dumps(answer.json().get("data"))


# --- every way to change something -------------------------------------------------------------------


def value_of(form: Any, name: str, found: dict[str, str], kind: str) -> str:
    """The literal of an argument: the ids of what there is, and as little as possible otherwise."""
    while isinstance(form, GraphQLNonNull):
        form = form.of_type
    if isinstance(form, GraphQLList):
        return f"[{value_of(form.of_type, name.removesuffix('s'), found, kind)}]"
    if isinstance(form, GraphQLInputObjectType):
        required = {inner: field for inner, field in form.fields.items() if isinstance(field.type, GraphQLNonNull)}
        parts = (f"{inner}: {value_of(field.type, inner, found, kind)}" for inner, field in required.items())
        return f"{{{', '.join(parts)}}}"
    known = {"runId": "run", "versionId": "ver", "modelId": "mdl", "id": kind}
    if form.name == "ID":
        return json.dumps(found[known[name]])
    fixed = {
        "Int": "1",
        "BigInt": "1",
        "Boolean": "true",
        "JSON": "1",
        "FloatValue": "1",
        "FloatSeries": "[1]",
        "RunStatus": "FAILED",
    }
    texts = {"email": "a@example.com", "scope": "runs:write", "endpoint": ENDPOINT}
    return fixed.get(form.name) or ("INFO" if form.name == "LogLevel" else json.dumps(texts.get(name, "x-1")))


# Who belongs where and may do what: `test_permissions` calls these as everybody.
ABOUT_PEOPLE = ("workspace", "member", "grant", "invite", "user")
KINDS = {"modelVersion": "ver", "model": "mdl", "endpoint": "end", "experiment": "exp", "apiKey": "key"}


def changes(found: dict[str, str]) -> dict[str, str]:
    """A valid call of every mutation that needs a caller and is about a thing, or the caller."""
    assert SCHEMA.mutation_type is not None
    calls: dict[str, str] = {}
    for name, field in SCHEMA.mutation_type.fields.items():
        if name in public.ROOT_FIELDS["mutation"] or name.startswith(ABOUT_PEOPLE):
            continue
        kind = next((kind for noun, kind in KINDS.items() if name.startswith(noun)), "run")
        given = field.args.get("input")
        argument = "" if given is None else f"(input: {value_of(given.type, 'input', found, kind)})"
        selected = "" if is_leaf_type(get_named_type(field.type)) else "{ __typename }"
        calls[name] = f"mutation {{ {name}{argument} {selected} }}"
    calls["paramsLog"] = calls["paramsLog"].replace('{key: "x-1"}', '{key: "x", value: 1}')
    calls["metricsLog"] = calls["metricsLog"].replace("}) {", ', points: [{key: "x", value: 1}]}) {')
    return calls


def scope_for(mutation: str) -> str | None:
    """The scope that a mutation needs; None: no key may do it."""
    if mutation.startswith(("apiKey", "auth", "webauthn")):
        return None
    if mutation.startswith("endpoint") or mutation == "modelVersionDeploy":
        return "endpoints:write"
    return "models:write" if mutation.startswith("model") else "runs:write"


async def state(url: str) -> dict[str, str]:
    """A digest of every table but those that note the use of credentials, and what was refused."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            " AND tablename NOT IN ('api_keys', 'sessions', 'users', 'audit_events')"
        )
        return {
            name: await connection.fetchval(
                f"SELECT md5(coalesce(string_agg(t::text, chr(10) ORDER BY t::text), '')) FROM \"{name}\" t"
            )
            for (name,) in tables
        }
    finally:
        await connection.close()


def routes(found: dict[str, str]) -> list[tuple[str, str, Any]]:
    """A valid request to every route that changes something."""
    run, model, endpoint = (
        f"/api/{path}"
        for path in (f"training/runs/{found['run']}", f"models/{found['mdl']}", f"inference/endpoints/{found['end']}")
    )
    acts = [("POST", f"{run}/{act}", None) for act in ("start", "stop", "resume", "restore", "purge")]
    return [
        *acts,
        ("POST", f"{run}/finish", {"status": "failed"}),
        ("POST", "/api/experiments", {"name": "x"}),
        ("POST", "/api/training/runs", {"name": "x"}),
        ("PATCH", run, {"name": "x"}),
        ("DELETE", run, None),
        ("POST", f"{run}/metrics", {"loss": 1}),
        ("POST", f"{run}/log", {"message": "x"}),
        ("POST", f"{run}/logs", {"message": "x"}),
        ("POST", f"{run}/params", {"a": 1}),
        ("POST", f"{run}/tags", {"a": "b"}),
        ("POST", "/api/models", {"name": "x"}),
        ("PUT", model, {"description": "x"}),
        ("DELETE", model, None),
        ("DELETE", f"{model}/versions/1", None),
        ("PUT", f"{model}/versions/1/architecture", linear()),
        ("POST", f"{model}/versions/1/deploy", {"endpoint": ENDPOINT}),
        ("POST", "/api/inference/endpoints", {"name": "x", "model_version_id": found["ver"]}),
        ("PUT", endpoint, {"replicas": 1}),
        ("POST", f"{endpoint}/start", None),
        ("POST", f"{endpoint}/stop", None),
        ("DELETE", endpoint, None),
        ("POST", "/api/auth/keys", {"name": "x", "scopes": ["runs:write"]}),
        ("DELETE", f"/api/auth/keys/{found['key']}", None),
        ("POST", "/api/auth/logout", None),
    ]
