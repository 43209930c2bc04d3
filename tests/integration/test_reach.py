"""What members with rules may read and change, on a real database: every list and look-up against the decision itself.

All share one small world. What they change there is nothing that another of them looks at.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.access import Access, Action, Effect, ResourceKind, Rule, Scope, WorkspaceRole
from domain.endpoints import PredictionRequest
from domain.errors import Conflict, DomainError, Forbidden, NotFound
from domain.experiments import Experiment
from domain.logs import LogDraft, LogLevel, LogsRequest
from domain.logs import draft as log_draft
from domain.metrics import KeysRequest, SeriesRequest, SummariesRequest, decode
from domain.paging import PageRequest
from domain.runs import RunChangeKind, RunOrder, RunsRequest
from domain.runs.listing import listing
from persistence.database import Database
from tests.support.access import EDITOR, VIEWER
from tests.support.clusters import Cluster
from tests.support.live import Process, process
from tests.support.registry import Registry
from tests.support.tracking import Tracking

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROPERTY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PAGE = PageRequest()
RUNS, MODELS, ENDPOINTS = ResourceKind.RUNS, ResourceKind.MODELS, ResourceKind.ENDPOINTS


@dataclass
class World:
    """Three runs, each nested in the one before, and of each a model with a version behind an endpoint of its own."""

    live: Process
    registry: Registry
    scope: Scope
    experiment: Experiment
    runs: list[str]
    models: list[str]
    versions: list[str]
    endpoints: list[str]

    def acting(self, access: Access) -> Scope:
        return replace(self.scope, access=access)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(postgres_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    url = postgres_cluster.create()
    async with Database(url) as database, process(database, url) as live:
        registry = Registry(database, tmp_path_factory.mktemp("blobs"))
        await registry.blobs.open()
        async with registry.running():
            yield await furnished(live, registry)
    postgres_cluster.drop(url)


async def furnished(live: Process, registry: Registry) -> World:
    tracking = Tracking(live.database)
    scope = await tracking.scope()
    experiment = await tracking.experiments.create(scope, name="e")
    made = World(live, registry, scope, experiment, [], [], [], [])
    for place in range(3):
        parent = made.runs[-1] if made.runs else None
        run = await live.runs.create(scope, name=f"r{place}", experiment="e", parent_id=parent, params=[("lr", place)])
        await live.metrics.log(scope, run.id, decode({"loss": float(place)}))
        await live.logs.append(scope, run.id, log_draft([(f"line {place}", LogLevel.INFO, None)]))
        first = await registry.version(scope, 2.0, f"m{place}")
        version = await registry.upload(scope, f"m{place}", b"\x80\x02}q\x00.", run_id=run.id, file_name="w.bin")
        endpoint = await registry.endpoints.create(scope, name=f"e{place}", version_id=first.id, start=True)
        await registry.endpoints.settled(scope, endpoint, 10)
        made.runs.append(run.id)
        made.models.append(version.model_id)
        made.versions.append(version.id)
        made.endpoints.append(endpoint.id)
    return made


Drawn = list[tuple[ResourceKind, frozenset[Action], Effect, int | None]]
ROLES = st.sampled_from(WorkspaceRole)


def drawn_of(*kinds: ResourceKind) -> st.SearchStrategy[Drawn]:
    """Rules whose object is given by its place in the world; None: all of the kind."""
    return st.lists(
        st.tuples(
            st.sampled_from(kinds),
            st.frozensets(st.sampled_from(Action), min_size=1),
            st.sampled_from([Effect.ALLOW, Effect.DENY, Effect.DENY]),
            st.sampled_from([None, 0, 0, 1, 1, 2, 2]),
        ),
        max_size=4,
    )


def access_of(world: World, role: WorkspaceRole, drawn: Drawn) -> Access:
    places = {RUNS: world.runs, MODELS: world.models, ENDPOINTS: world.endpoints}
    return Access(
        role,
        tuple(
            Rule(kind, actions, effect, None if place is None else places[kind][place])
            for kind, actions, effect, place in drawn
        ),
    )


@PROPERTY
@given(role=ROLES, drawn=drawn_of(RUNS))
async def test_every_list_of_runs_holds_exactly_what_may_be_read(
    world: World, role: WorkspaceRole, drawn: Drawn
) -> None:
    access = access_of(world, role, drawn)
    scope, runs = world.acting(access), world.live.runs
    readable = [one for one in world.runs if access.may(RUNS, Action.READ, one)]
    orders = [(), (RunOrder("metrics.loss"),), (RunOrder("params.lr", descending=False),)]
    for filter_text in (None, 'name like "r%"'):
        for order in orders:
            page = await runs.page(scope, RunsRequest(filter=filter_text, order=order))
            assert {run.id for run in page.nodes} == set(readable)
            assert page.total_count == len(readable)
    one_by_one = await runs.page(scope, RunsRequest(page=PageRequest(first=1)))
    assert [run.id for run in one_by_one.nodes] == readable[-1:]
    assert one_by_one.has_next_page is (len(readable) > 1)
    of_experiment = await runs.of_experiments(scope, [world.experiment.id], RunsRequest())
    of_owner = await runs.of_owners(scope, [scope.principal.user_id], RunsRequest())
    for nested in (of_experiment[world.experiment.id], of_owner[scope.principal.user_id]):
        assert {run.id for run in nested.nodes} == set(readable)
        assert nested.total_count == len(readable)
    found = await runs.by_ids(scope, world.runs)
    assert set(found) == set(readable)
    for place, run_id in enumerate(world.runs):
        parent = world.runs[place - 1] if place else None
        if run_id in found:
            assert found[run_id].parent_id == (parent if parent in readable else None)
            children = await runs.children(scope, [run_id], RunsRequest())
            assert {run.id for run in children[run_id].nodes} == set(world.runs[place + 1 : place + 2]) & set(readable)
        if parent is not None:
            nested_in = await runs.page(scope, RunsRequest(filter=f'parent = "{parent}"'))
            assert {run.id for run in nested_in.nodes} == ({run_id} & set(readable) if parent in readable else set())
    living = await runs._feeds._reads.marks(scope, listing(RunsRequest()), runs._moment(), most=10)
    assert set(living) == set(readable)


@PROPERTY
@given(role=ROLES, drawn=drawn_of(RUNS))
async def test_metrics_and_logs_follow_their_run(world: World, role: WorkspaceRole, drawn: Drawn) -> None:
    access = access_of(world, role, drawn)
    scope, metrics, logs = world.acting(access), world.live.metrics, world.live.logs
    readable = {one for one in world.runs if access.may(RUNS, Action.READ, one)}
    summaries = await metrics.summaries(scope, world.runs, SummariesRequest())
    keys = await metrics.keys(scope, world.runs, KeysRequest.of(None, None))
    series = await metrics.series(scope, world.runs, SeriesRequest())
    pages = await logs.pages(scope, world.runs, LogsRequest())
    for found in (summaries, series):
        assert {run_id for run_id in world.runs if found[run_id]} == readable
    assert {run_id for run_id in world.runs if keys[run_id].nodes} == readable
    assert {run_id for run_id in world.runs if pages[run_id].nodes} == readable
    ways: list[Callable[[str], Awaitable[object]]] = [
        lambda one: world.live.runs.get(scope, one),
        lambda one: metrics.read(scope, one, SeriesRequest()),
        lambda one: metrics.points(scope, one),
        lambda one: metrics.follow(scope, one),
        lambda one: logs.page(scope, one, LogsRequest()),
        lambda one: logs.lines(scope, one),
        lambda one: logs.follow(scope, one),
        lambda one: logs.follow(scope, one, tail=1),
        lambda one: anext(world.live.runs.updates(scope, one)),
    ]
    for run_id in world.runs:
        for way in ways:
            if run_id in readable:
                await way(run_id)
            else:
                with pytest.raises(NotFound, match="there is no such run"):
                    await way(run_id)


@PROPERTY
@given(role=ROLES, drawn=drawn_of(RUNS, MODELS, ENDPOINTS))
async def test_every_list_of_the_registry_holds_exactly_what_may_be_read(
    world: World, role: WorkspaceRole, drawn: Drawn
) -> None:
    access = access_of(world, role, drawn)
    scope, models, endpoints = world.acting(access), world.registry.models, world.registry.endpoints
    owner = scope.principal.user_id
    readable = {one for one in world.models if access.may(MODELS, Action.READ, one)}
    for page in (
        await models.list(scope, PAGE),
        await models.list(scope, PAGE, filter='name like "m%"'),
        (await models.of_owners(scope, [owner], PAGE))[owner],
    ):
        assert {model.id for model in page.nodes} == readable
        assert page.total_count == len(readable)
    assert set(await models.by_ids(scope, world.models)) == readable
    assert set(await models.latest_of_models(scope, world.models)) == readable
    versions = await models.versions_by_ids(scope, world.versions)
    assert {version.model_id for version in versions.values()} == readable
    for run_id, version_id in zip(world.runs, world.versions, strict=True):
        if version_id in versions:
            assert versions[version_id].run_id == (run_id if access.may(RUNS, Action.READ, run_id) else None)
    for place, model_id in enumerate(world.models):
        named = await models.find(scope, name=f"m{place}")
        assert (named is not None) is (model_id in readable)
        by_number = await models.find_version(scope, name=f"m{place}", version=2)
        assert (by_number is not None) is (model_id in readable)
        run_id = world.runs[place]
        came_out = (await models.versions_of_runs(scope, [run_id], PAGE))[run_id]
        assert {version.model_id for version in came_out.nodes} == ({model_id} & readable)
        if model_id in readable:
            listed = (await models.versions_of_models(scope, [model_id], PAGE))[model_id]
            linked = run_id if access.may(RUNS, Action.READ, run_id) else None
            assert [version.run_id for version in listed.nodes] == [linked, None]
    shown = {one for one in world.endpoints if access.may(ENDPOINTS, Action.READ, one)}
    for served in (await endpoints.list(scope, PAGE), (await endpoints.of_owners(scope, [owner], PAGE))[owner]):
        assert {endpoint.id for endpoint in served.nodes} == shown
        assert served.total_count == len(shown)
    assert set(await endpoints.by_ids(scope, world.endpoints)) == shown
    for place, endpoint_id in enumerate(world.endpoints):
        assert (await endpoints.find(scope, name=f"e{place}") is not None) is (endpoint_id in shown)


@PROPERTY
@given(role=ROLES, drawn=drawn_of(RUNS, ENDPOINTS))
async def test_changes_are_refused_by_the_same_decision(world: World, role: WorkspaceRole, drawn: Drawn) -> None:
    access = access_of(world, role, drawn)
    scope = world.acting(access)
    for run_id in world.runs:
        decided = decision(access, RUNS, Action.WRITE, run_id)
        assert await outcome(world.live.runs.update(scope, run_id)) is decided
        assert await outcome(world.live.runs.many.update(scope, [run_id])) is decided
        if decided is not None:
            assert await outcome(world.live.metrics.log(scope, run_id, decode({"loss": 1.0}))) is decided
            assert await outcome(world.live.logs.append(scope, run_id, _line())) is decided
        # Nothing is archived, so purging is a conflict where it is not refused, and restoring changes nothing.
        decided = decision(access, RUNS, Action.DELETE, run_id)
        assert await outcome(world.live.runs.restore(scope, run_id)) is decided
        assert await outcome(world.live.runs.purge(scope, run_id)) is (decided or Conflict)
        assert await outcome(world.live.runs.many.purge(scope, [run_id])) is (decided or Conflict)
    for place, endpoint_id in enumerate(world.endpoints):
        decided = decision(access, ENDPOINTS, Action.PREDICT, endpoint_id)
        for given_as in (endpoint_id, f"e{place}"):
            asked = PredictionRequest(given_as, [[1.0, 2.0, 3.0, 4.0]])
            assert await outcome(world.registry.endpoints.predict(scope, asked)) is decided
        decided = decision(access, ENDPOINTS, Action.WRITE, endpoint_id)
        assert await outcome(world.registry.endpoints.start(scope, endpoint_id)) is decided


def decision(access: Access, kind: ResourceKind, action: Action, object_id: str) -> type[DomainError] | None:
    """What refuses; None: nothing."""
    if not access.may(kind, Action.READ, object_id):
        return NotFound
    return None if access.may(kind, action, object_id) else Forbidden


async def outcome(work: Awaitable[object]) -> type[DomainError] | None:
    try:
        await work
    except DomainError as problem:
        return type(problem)
    return None


def _line() -> LogDraft:
    return log_draft([("x", LogLevel.INFO, None)])


# --- missing and unreadable look the same --------------------------------------------------------------


def hidden(kind: ResourceKind, *ids: str) -> tuple[Rule, ...]:
    return tuple(Rule(kind, frozenset({Action.READ}), Effect.DENY, one) for one in ids)


async def said(work: Awaitable[object]) -> tuple[type[DomainError], str, str | None]:
    with pytest.raises(DomainError) as caught:
        await work
    return type(caught.value), caught.value.message, caught.value.field


@pytest.mark.parametrize("role", [WorkspaceRole.EDITOR, WorkspaceRole.VIEWER])
async def test_nothing_tells_what_may_not_be_read_from_what_is_not_there(world: World, role: WorkspaceRole) -> None:
    run, model, version, endpoint = world.runs[1], world.models[1], world.versions[1], world.endpoints[1]
    rules = (*hidden(RUNS, run), *hidden(MODELS, model), *hidden(ENDPOINTS, endpoint))
    scope = world.acting(Access(role, rules))
    live, models, endpoints = world.live, world.registry.models, world.registry.endpoints
    pairs: list[tuple[str, str, Callable[[str], Awaitable[object]]]] = [
        *(
            (run, "run_" + "0" * 32, way)
            for way in (
                lambda one: live.runs.get(scope, one),
                lambda one: live.runs.update(scope, one, name="x"),
                lambda one: live.runs.finish(scope, one),
                lambda one: live.runs.delete(scope, one),
                lambda one: live.runs.purge(scope, one),
                lambda one: live.runs.change_tags(scope, one, put=[("a", "b")]),
                lambda one: live.runs.log_params(scope, one, [("a", 1)]),
                lambda one: live.runs.many.delete(scope, [world.runs[0], one]),
                lambda one: live.runs.many.update(scope, [world.runs[0], one]),
                lambda one: live.metrics.log(scope, one, decode({"loss": 1.0})),
                lambda one: live.metrics.read(scope, one, SeriesRequest()),
                lambda one: live.logs.append(scope, one, _line()),
                lambda one: live.logs.lines(scope, one),
                lambda one: live.logs.follow(scope, one, tail=3),
                lambda one: anext(live.runs.updates(scope, one)),
            )
        ),
        *(
            (model, "mdl_" + "0" * 32, way)
            for way in (
                lambda one: models.get(scope, one),
                lambda one: models.get_version(scope, one, "1"),
                lambda one: models.content(scope, one, "1"),
                lambda one: models.receive(scope, one, announced=1),
                lambda one: models.update(scope, one, {"description": "x"}),
                lambda one: models.delete(scope, one),
            )
        ),
        *(
            (version, "ver_" + "0" * 32, way)
            for way in (
                lambda one: models.update_version(scope, one, {"description": "x"}),
                lambda one: models.delete_version(scope, one),
            )
        ),
        *(
            (endpoint, "end_" + "0" * 32, way)
            for way in (
                lambda one: endpoints.get(scope, one),
                lambda one: endpoints.update(scope, one, replicas=1),
                lambda one: endpoints.start(scope, one),
                lambda one: endpoints.stop(scope, one),
                lambda one: endpoints.delete(scope, one),
                lambda one: endpoints.predict(scope, PredictionRequest(one, [[1.0, 2.0, 3.0, 4.0]])),
            )
        ),
    ]
    for unreadable, missing, way in pairs:
        told = await said(way(unreadable))
        assert told == await said(way(missing))
        assert told[0] is NotFound
    with_name = await said(endpoints.predict(scope, PredictionRequest("e1", [[1.0, 2.0, 3.0, 4.0]])))
    assert with_name == await said(endpoints.predict(scope, PredictionRequest("none", [[1.0, 2.0, 3.0, 4.0]])))


async def test_what_may_not_be_read_is_no_use_to_what_is_made(world: World) -> None:
    run, version = world.runs[1], world.versions[1]
    rules = (*hidden(RUNS, run), *hidden(MODELS, world.models[1]), *hidden(ENDPOINTS, world.endpoints[1]))
    scope = world.acting(Access(WorkspaceRole.EDITOR, rules))
    create = world.live.runs.create
    for field, made in (("parent_id", create(scope, parent_id=run)), ("config_from", create(scope, config_from=run))):
        assert await said(made) == (NotFound, "there is no such run", field)
    assert await said(world.registry.upload(scope, "m0", b"x", run_id=run, file_name="w.bin")) == (
        NotFound,
        "there is no such run",
        "run_id",
    )
    assert (await said(world.registry.endpoints.create(scope, name="mine", version_id=version)))[0] is NotFound
    # Its name is taken all the same, and that is all one hears of it.
    of_version = (await world.registry.models.get_version(scope, "m0", "1")).id
    taken = await said(world.registry.endpoints.create(scope, name="e1", version_id=of_version))
    assert taken == (Conflict, "an endpoint called 'e1' exists already", "name")
    taken = await said(world.registry.endpoints.deploy(scope, of_version, endpoint="e1"))
    assert taken == (Conflict, "an endpoint called 'e1' exists already", "endpoint")
    in_use = await said(world.registry.models.delete_version(scope, of_version))
    assert "'e0'" in in_use[1]
    unseen = world.acting(Access(WorkspaceRole.EDITOR, hidden(ENDPOINTS, world.endpoints[0])))
    in_use = await said(world.registry.models.delete_version(unseen, of_version))
    assert in_use[0] is Conflict
    assert "e0" not in in_use[1]


async def test_a_viewer_who_may_write_to_one_endpoint_deploys_there_and_makes_none(world: World) -> None:
    allowed = Rule(ENDPOINTS, frozenset({Action.WRITE}), Effect.ALLOW, world.endpoints[2])
    scope = world.acting(Access(WorkspaceRole.VIEWER, (allowed,)))
    version = (await world.registry.models.get_version(scope, "m2", "1")).id
    assert (await world.registry.endpoints.deploy(scope, version, endpoint="e2")).id == world.endpoints[2]
    for name in ("e0", "new"):
        with pytest.raises(Forbidden, match="write"):
            await world.registry.endpoints.deploy(scope, version, endpoint=name)
    assert await world.registry.endpoints.find(world.scope, name="new") is None


async def test_many_runs_change_all_or_none_and_name_the_one_that_refuses(world: World) -> None:
    frozen = Rule(RUNS, frozenset({Action.WRITE}), Effect.DENY, world.runs[1])
    scope = world.acting(Access(WorkspaceRole.EDITOR, (frozen,)))
    refused = await said(world.live.runs.many.update(scope, world.runs, tags_set=[("k", "v")]))
    assert (refused[0], refused[2]) == (Forbidden, "ids[1]")
    assert (await world.live.runs.get(scope, world.runs[0])).tags == ()
    gone = [world.runs[0], world.runs[1], "run_" + "0" * 32]
    assert await said(world.live.runs.many.delete(scope, gone)) == (NotFound, "there is no such run", "ids[2]")


# --- live ----------------------------------------------------------------------------------------------


async def test_members_with_other_rights_follow_lists_of_their_own(world: World) -> None:
    live = world.live
    scope = await live.scope("feeds")
    open_run, secret = await live.runs.create(scope), await live.runs.create(scope)
    denied = replace(scope, access=Access(WorkspaceRole.EDITOR, hidden(RUNS, secret.id)))
    lists = [live.runs.list_updates(one) for one in (scope, replace(scope, access=VIEWER), denied)]
    waiting = [asyncio.ensure_future(anext(each)) for each in lists]
    feeds = live.runs._feeds._feeds
    async with asyncio.timeout(10):
        while len(feeds) < 2 or not all(one._watch for one in feeds.values()):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)
    # Who may read the same shares a feed, whatever else they may do.
    assert sorted(len(feed.followers) for feed in feeds.values()) == [1, 2]
    await live.runs.change_tags(scope, secret.id, put=[("a", "b")])
    async with asyncio.timeout(10):
        for change in (await waiting[0], await waiting[1]):
            assert (change.kind, change.run_id) == (RunChangeKind.UPDATED, secret.id)
        await live.runs.change_tags(scope, open_run.id, put=[("a", "b")])
        assert (await waiting[2]).run_id == open_run.id
    for each in lists:
        await each.aclose()


async def test_writes_are_decided_in_memory(world: World) -> None:
    run_id = world.runs[2]
    frozen = Rule(RUNS, frozenset({Action.WRITE}), Effect.DENY, run_id)
    writer = world.acting(Access(WorkspaceRole.EDITOR, hidden(RUNS, world.runs[0])))
    await world.live.metrics.log(writer, run_id, decode({"loss": 5.0}))
    known = world.live.metric_rows.writer._known.get(run_id)
    assert known is not None
    seq = known.seq
    for scope in (world.acting(Access(WorkspaceRole.EDITOR, (frozen,))), world.acting(VIEWER)):
        with pytest.raises(Forbidden, match="write this run"):
            await world.live.metrics.log(scope, run_id, decode({"loss": 6.0}))
    await world.live.metrics.log(world.acting(EDITOR), run_id, decode({"loss": 7.0}))
    assert known.seq == seq + 1, "what was refused reached no group"
