"""The contracts, tried by a tool that is not ours: schemathesis makes calls of the served documents and judges answers.

It makes the same calls in every run: whatever it draws follows from the seed.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import strategies as st
from hypothesis_graphql import nodes
from schemathesis.engine import events, from_schema

from domain.errors import HTTP_STATUS, INTERNAL
from schema.build import CONTRACT
from server.settings import RatesSettings, Settings
from tests.support.attacks import World, furnished
from tests.support.product import running

SEED: Final = 20261
UNLIMITED: Final = Settings(
    rates=RatesSettings(sign_in="off", refresh="off", refused="off", requests="off", visitors="off", graphql_cost="off")
)
REST_CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "nothing_of_the_inside",
)
SIGNS_OUT: Final = "logout"
"""What would make every later answer of a run the same refusal."""

INSIDE: Final = re.compile(
    r"Traceback|File \"|\.py\b|site-packages|asyncpg|tortoise|msgspec|recursion"
    r"|\bSELECT .* FROM\b|\bpg_|/tmp/|/home/|0x[0-9a-f]{8}"
)
CODES: Final = frozenset(HTTP_STATUS) - {INTERNAL}

schemathesis.graphql.scalar("JSON", st.integers(-9, 9).map(nodes.Int) | st.text(max_size=9).map(nodes.String))


@schemathesis.check
def only_refusals_with_a_code(
    _: schemathesis.CheckContext, response: schemathesis.Response, __: schemathesis.Case[Any]
) -> None:
    """Errors of the graph say what was wrong with the request; the tool's own check would take each for a defect."""
    for error in response.json().get("errors", ()):
        assert error["extensions"]["code"] in CODES, error


@schemathesis.check
def nothing_of_the_inside(
    _: schemathesis.CheckContext, response: schemathesis.Response, __: schemathesis.Case[Any]
) -> None:
    """No refusal shows a stack, a statement, a module or a path of the server."""
    text = response.content.decode("utf-8", "replace")
    found = INSIDE.search(text)
    assert response.status_code < 400 or found is None, text


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with running(database_url, settings=UNLIMITED) as product:
        yield await furnished(product)


def plan(url: str, world: World, *checks: str, examples: int, **phases: dict[str, Any]) -> schemathesis.Config:
    """How schemathesis asks this server, signed in as its administrator; nothing but `checks` and `phases` is on."""
    return schemathesis.Config.from_dict(
        {
            "base-url": url,
            "headers": world.product.headers,
            "parameters": {"header.X-Axonml-Workspace": "default"},
            "seed": SEED,
            "continue-on-failure": True,
            "request-timeout": 60,
            "generation": {"max-examples": examples, "no-shrink": True, "deterministic": True},
            "checks": {"enabled": False, **{name: {"enabled": True} for name in checks}},
            "phases": {"enabled": False, **{name: {"enabled": True, **more} for name, more in phases.items()}},
        }
    )


def judge(schema: Any) -> tuple[Counter[int], list[str]]:
    """How many answers of which status were judged, and what was wrong with them."""
    judged: Counter[int] = Counter()
    wrong: list[str] = []
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            for case, checks in event.recorder.checks.items():
                asked = event.recorder.interactions[case]
                request = asked.request
                judged[asked.response.status_code if asked.response else 0] += 1
                wrong += [
                    f"{check.failure_info.failure} [{request.method} {request.uri} {request.body!r}]"
                    for check in checks
                    if check.failure_info is not None
                ]
        elif isinstance(event, events.NonFatalError):
            wrong.append(f"{event.label}: {event.value!r}")
        elif isinstance(event, events.FatalError):
            raise event.exception
    return judged, wrong


async def rest(world: World, *checks: str, examples: int, **phases: dict[str, Any]) -> tuple[Counter[int], list[str]]:
    document = (await world.product.rest("GET", "/api/openapi.json")).json()
    config = plan(world.product.url, world, *checks, examples=examples, **phases)
    schema = schemathesis.openapi.from_dict(document, config=config).exclude(path_regex=SIGNS_OUT)
    judged, wrong = await asyncio.to_thread(judge, schema)
    assert (await world.product.rest("GET", "/api/auth/me")).status_code == 200, "still signed in, so that it counts"
    return judged, wrong


async def test_rest_answers_as_its_document_says(world: World) -> None:
    narrow = {"generation": {"mode": "positive"}, "unexpected-methods": ["put", "trace"]}
    judged, wrong = await rest(world, *REST_CHECKS, examples=3, coverage=narrow, fuzzing={})
    assert wrong == []
    assert judged[200] > 100
    assert judged.total() > 1_000


async def test_rest_asks_for_credentials_wherever_its_document_says(world: World) -> None:
    judged, wrong = await rest(world, "ignored_auth", examples=1, fuzzing={})
    assert wrong == []
    assert judged.total() >= 70


async def test_the_graph_answers_whatever_its_schema_allows(world: World) -> None:
    config = plan(world.product.graphql_url, world, only_refusals_with_a_code.__name__, examples=3, fuzzing={})
    schema = schemathesis.graphql.from_file(CONTRACT.read_text(), config=config).exclude(name_regex="[lL]ogout")
    judged, wrong = await asyncio.to_thread(judge, schema)
    assert wrong == []
    assert judged[200] > 100
