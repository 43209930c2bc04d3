"""Lists of runs: what attributes and references mean, what is refused, and pages under many parents."""

from __future__ import annotations

from typing import Any

import pytest

from domain import ids
from domain.errors import BadUserInput
from domain.paging import PageRequest
from domain.runs import RunOrder, RunsRequest, RunStatus
from persistence.database import Database
from tests.support.run_world import World, make_world, quoted
from tests.support.tracking import STALLED_AFTER


@pytest.fixture
async def world(database: Database) -> World:
    return await make_world(database)


async def test_stalled_and_archived_as_attributes(world: World) -> None:
    world.tracking.clock.forward(seconds=STALLED_AFTER.total_seconds() + 1)
    running = [seen.run for seen in world.seen if seen.run.status is RunStatus.RUNNING and not seen.run.archived]
    assert running
    assert len(await world.names("stalled = true")) == len(running)
    archived = [seen for seen in world.seen if seen.run.archived]
    assert len(await world.names("archived = true")) == len(archived)
    assert len(await world.names("archived = true or archived = false")) == len(world.seen)


async def test_references_by_id_and_by_name(world: World) -> None:
    vision = await world.tracking.experiments.find(world.scope, name="vision")
    assert vision is not None
    living = [seen for seen in world.seen if not seen.run.archived]
    wanted = sorted(seen.run.name for seen in living if seen.run.experiment_id == vision.id)
    assert sorted(await world.names(f"experiment = '{vision.id}'")) == wanted
    assert sorted(await world.names("experiment = 'vision'")) == wanted
    assert sorted(await world.names("", experiment_id=vision.id)) == wanted
    assert len(await world.names(f"owner = '{world.scope.principal.user_id}'")) == len(living)
    run = living[0].run
    assert await world.names(f"id in ('{run.id}')") == [run.name]


async def test_refusals(world: World) -> None:
    async def refused(field: str, **request: Any) -> str:
        with pytest.raises(BadUserInput) as caught:
            await world.tracking.runs.page(world.scope, RunsRequest(**request))
        assert caught.value.field == field
        return caught.value.message

    assert "column 6" in await refused("filter", filter="name ? 1")
    assert "metrics.<key>" in await refused("order_by[0].field", order=(RunOrder("notes"),))
    assert "tags" in await refused("order_by[1].field", order=(RunOrder("name"), RunOrder("tags.x")))
    assert "stalled" not in await refused("order_by[0].field", order=(RunOrder("nothing"),))  # only what orders
    await refused("order_by", order=(RunOrder("name"),) * 4)
    await refused("experiment_id", experiment_id=ids.new("run"))
    await refused("offset", offset=-1)
    first = await world.tracking.runs.page(world.scope, RunsRequest(page=PageRequest.of(2, None)))
    cursor = first.cursors[-1]
    for changed in (
        {"filter": "name = 'x'"},
        {"order": (RunOrder("name"),)},
        {"archived": True},
        {"experiment_id": ids.new("exp")},
    ):
        await refused("after", page=PageRequest.of(2, cursor), **changed)
    await refused("offset", page=PageRequest.of(2, cursor), offset=3)
    await refused("after", page=PageRequest.of(2, "garbage"))


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("by", [("duration",), ("metrics.loss", "duration")])
async def test_runs_keep_their_order_by_duration_while_they_go_on(
    world: World, by: tuple[str, ...], descending: bool
) -> None:
    order = tuple(RunOrder(name, descending) for name in by)
    whole = await world.by_pages(200, order=order)
    found: list[str] = []
    page = await world.tracking.runs.page(world.scope, RunsRequest(page=PageRequest.of(7, None), order=order))
    while page.has_next_page:
        found += [run.id for run in page.nodes]
        world.tracking.clock.forward(seconds=400)
        after = PageRequest.of(7, page.cursors[-1])
        page = await world.tracking.runs.page(world.scope, RunsRequest(page=after, order=order))
    assert [*found, *(run.id for run in page.nodes)] == whole


async def test_hostile_texts_stay_values(world: World) -> None:
    hostile = "'; DROP TABLE runs; --"
    assert await world.names(f"name = {quoted(hostile)}") == []
    assert await world.names("metrics.\"x'; DROP TABLE runs; --\" > 0 or params.`$1` = '$2'") == []
    assert len(await world.names("id is not null")) > 0
    named = await world.tracking.runs.create(world.scope, name=hostile)
    assert await world.names(f"name = {quoted(hostile)}") == [named.name]


async def test_nested_pages_take_two_statements_however_many_parents(world: World) -> None:
    parents = [seen.run for seen in world.seen if not seen.run.archived][:20]
    for place, parent in enumerate(parents):
        for child in range(place % 4):
            world.tracking.clock.forward(seconds=1)
            await world.tracking.runs.create(world.scope, name=f"{place}.{child}", parent_id=parent.id)
    request = RunsRequest(page=PageRequest.of(2, None), order=(RunOrder("name", descending=False),))
    pages = await world.tracking.runs.children(world.scope, [parent.id for parent in parents], request)
    for place, parent in enumerate(parents):
        page = pages[parent.id]
        assert [run.name for run in page.nodes] == [f"{place}.{child}" for child in range(min(place % 4, 2))]
        assert page.total_count == place % 4
        assert page.has_next_page == (place % 4 > 2)
    cursor = pages[parents[3].id].cursors[-1]
    following = await world.tracking.runs.children(
        world.scope, [parents[3].id], RunsRequest(page=PageRequest.of(2, cursor), order=request.order)
    )
    assert [run.name for run in following[parents[3].id].nodes] == ["3.2"]
    owners = await world.tracking.runs.of_owners(
        world.scope, [world.scope.principal.user_id], RunsRequest(page=PageRequest.of(1, None))
    )
    (only,) = owners.values()
    assert only.nodes[0].name == "19.2"
