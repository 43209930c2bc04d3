"""What can be done with runs. Each use-case authorises, applies a rule of `entity`, saves, and then publishes.

Rules are handed to the repository as functions, which it applies while it holds the lock on the run: so a rule always
sees the state that it changes. Nothing here knows SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

from domain import ids, names
from domain.access import Action, KeyScope, ResourceKind, Scope
from domain.clock import Clock
from domain.errors import BadUserInput, Conflict, NotFound
from domain.events import EventBus, RunChanged, RunsHub
from domain.experiments import DEFAULT_NAME, ExperimentRepository, reference
from domain.idempotency import ClientToken
from domain.live import SharedReads, patiently
from domain.paging import Page, PageRequest
from domain.patch import KEEP, Keep
from domain.runs import entity, values
from domain.runs.bulk import ManyRuns
from domain.runs.entity import Moment, Run, RunStatus
from domain.runs.feed import Feeds, RunChange
from domain.runs.listing import RunParents, RunsRequest, listing
from domain.runs.ports import ExperimentChoice, NewRun, RunRepository
from domain.runs.values import JsonValue
from domain.storage import UNLIMITED, Storage


class Runs:
    """The use-cases. Each takes who acts first, and raises DomainError subclasses only.

    `stalled_after`: how long a RUNNING run may be silent before it counts as stalled.
    """

    PURGE_ROWS = 2_000

    def __init__(
        self,
        *,
        runs: RunRepository,
        experiments: ExperimentRepository,
        bus: EventBus,
        hub: RunsHub,
        clock: Clock,
        stalled_after: timedelta,
        storage: Storage = UNLIMITED,
    ) -> None:
        self._runs = runs
        self._experiments = experiments
        self._bus = bus
        self._hub = hub
        self._clock = clock
        self._stalled_after = stalled_after
        self._storage = storage
        self._reads: SharedReads[Run | None] = SharedReads()
        self._purged = asyncio.Event()
        self.many = ManyRuns(
            runs=runs,
            bus=bus,
            moment=self._moment,
            living_experiment=self._living_experiment,
            purged=self._purged.set,
            storage=storage,
        )
        self._feeds = Feeds(runs=runs, hub=hub, moment=self._moment)

    # --- making and changing -------------------------------------------------------------------------

    async def create(
        self,
        scope: Scope,
        *,
        name: str | None = None,
        experiment: str | None = None,
        model_type: str | None = None,
        config: JsonValue = None,
        config_from: str | None = None,
        params: Iterable[tuple[str, JsonValue]] = (),
        tags: Iterable[tuple[str, str]] = (),
        parent_id: str | None = None,
        start: bool = True,
        notes: str | None = None,
        client_token: str | None = None,
    ) -> Run:
        """Makes a run, in its experiment by id or name (made when missing; `Default` when None is named).

        The configuration and the model type come from the run `config_from`, unless they are given. Its params do not:
        they are what a script made of its configuration.

        Raises BadUserInput, PayloadTooLarge, NotFound (experiment, parent, `config_from`), Conflict (client token),
        Unavailable (no room).
        """
        scope.require(KeyScope.RUNS_WRITE)
        if config_from is not None:
            scope.carry(KeyScope.RUNS_READ)
        given_params, given_tags = list(params), list(tags)
        at = self._moment()
        experiment_id, experiment_name = reference(DEFAULT_NAME if experiment is None else experiment)
        new = NewRun(
            id=ids.new("run"),
            name=values.made_up_name() if name is None else names.title(name),
            experiment=ExperimentChoice(experiment_id, experiment_name, ids.new("exp")),
            status=RunStatus.RUNNING if start else RunStatus.PENDING,
            model_type=_optional_title(model_type, "model_type"),
            config=None if config is None and config_from is not None else values.make_config(config),
            params=values.make_params(given_params),
            tags=values.make_tags(given_tags),
            notes=_optional_notes(notes),
            parent_id=None if parent_id is None else ids.parse("run", parent_id, field="parent_id"),
            created_at=at.now,
            config_from=None if config_from is None else ids.parse("run", config_from, field="config_from"),
        )
        # After the checks: what is digested is bounded by then.
        token = ClientToken.of(
            client_token,
            "runCreate",
            name=name,
            experiment=experiment,
            model_type=model_type,
            config=config,
            config_from=config_from,
            params=given_params,
            tags=given_tags,
            parent_id=parent_id,
            start=start,
            notes=notes,
        )
        size = values.MAX_CONFIG_BYTES if new.config is None else len(str(new.config))
        self._storage.take(size, changes=1 + len(new.params) + len(new.tags))
        run = await self._runs.create(scope, new, token, at)
        if run.id == new.id:
            self._bus.publish(RunChanged(run.id))
        return run

    async def update(
        self,
        scope: Scope,
        run_id: str,
        *,
        name: str | Keep = KEEP,
        notes: str | Keep | None = KEEP,
        model_type: str | Keep | None = KEEP,
        experiment: str | Keep = KEEP,
    ) -> Run:
        """Changes what is not KEEP, in every state but archived. Another experiment must exist already.

        Raises NotFound (the run, or the experiment by field), BadUserInput, Conflict.
        """
        scope.carry(KeyScope.RUNS_WRITE)
        changes: dict[str, Any] = {}
        if not isinstance(name, Keep):
            changes["name"] = names.title(name)
        if not isinstance(notes, Keep):
            changes["notes"] = _optional_notes(notes)
            self._storage.take(len(notes or ""))
        if not isinstance(model_type, Keep):
            changes["model_type"] = _optional_title(model_type, "model_type")
        if not isinstance(experiment, Keep):
            changes["experiment_id"] = await self._living_experiment(scope, experiment)
        return await self._change(scope, run_id, lambda run: replace(entity.edited(run), **changes))

    async def start(self, scope: Scope, run_id: str) -> Run:
        """PENDING becomes RUNNING; RUNNING stays. Raises NotFound, Conflict."""
        return await self._change(scope, run_id, entity.started)

    async def finish(
        self, scope: Scope, run_id: str, status: RunStatus = RunStatus.COMPLETED, failure: str | None = None
    ) -> Run:
        """Ends it; the same end again changes nothing, another end is a Conflict naming both."""
        return await self._change(scope, run_id, lambda run: entity.finished(run, status, failure))

    async def stop(self, scope: Scope, run_id: str, *, force: bool = False) -> Run:
        """Asks a RUNNING run to end itself; a PENDING, stalled or forced one is STOPPED at once."""
        return await self._change(scope, run_id, lambda run: entity.stopped(run, force=force))

    async def resume(self, scope: Scope, run_id: str) -> Run:
        """Takes an ended run back to RUNNING. Raises NotFound, Conflict."""
        return await self._change(scope, run_id, entity.resumed)

    async def delete(self, scope: Scope, run_id: str) -> Run:
        """Archives it: hidden, and restorable. Raises NotFound."""
        return await self._change(scope, run_id, entity.archived, action=Action.DELETE)

    async def restore(self, scope: Scope, run_id: str) -> Run:
        """Brings it back. Raises NotFound."""
        return await self._change(scope, run_id, entity.restored, action=Action.DELETE)

    async def purge(self, scope: Scope, run_id: str) -> str:
        """Removes an archived run for good, with points, logs and links; its id. Raises NotFound, Conflict.

        It is gone for every reader at once; its rows then go in bounded pieces. What a crash leaves behind is removed
        by the next `sweep_purged`.
        """
        canonical = await self._allowed(scope, run_id, Action.DELETE)
        await self._runs.mark_purged(scope, canonical, self._moment())
        self._bus.publish(RunChanged(canonical))
        await self._runs.sweep(rows=self.PURGE_ROWS)
        return canonical

    async def sweep_purged(self) -> int:
        """Removes what interrupted purges left behind, for all workspaces; how many runs. For the process itself."""
        self._purged.clear()
        return await self._runs.sweep(rows=self.PURGE_ROWS)

    async def until_purged(self, longest: timedelta) -> None:
        """Waits until runs were purged in bulk since the last sweep, but not longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(longest.total_seconds()):
                await self._purged.wait()

    async def log_params(self, scope: Scope, run_id: str, params: Iterable[tuple[str, JsonValue]]) -> Run:
        """Writes params, all or none, starting a PENDING run.

        Raises NotFound, BadUserInput, and Conflict (ended, archived, or another value of a key).
        """
        checked = values.make_params(params)
        self._storage.take(0, changes=len(checked))
        return await self._change(scope, run_id, lambda run: entity.with_params(run, checked), id_field="run_id")

    async def change_tags(
        self, scope: Scope, run_id: str, *, put: Iterable[tuple[str, str]] = (), remove: Iterable[str] = ()
    ) -> Run:
        """Sets and removes tags, all or none, in every state but archived. Raises NotFound, BadUserInput, Conflict."""
        tags = values.make_tags(put)
        keys = [values.key(name, field=f"keys[{place}]") for place, name in enumerate(remove)]
        if len(keys) > values.MAX_AT_ONCE:
            raise BadUserInput(f"at most {values.MAX_AT_ONCE} keys at once", field="keys")
        if tags:
            self._storage.take(0, changes=len(tags))
        return await self._change(
            scope, run_id, lambda run: entity.with_tags(entity.without_tags(run, keys), tags), id_field="run_id"
        )

    # --- reading -------------------------------------------------------------------------------------

    async def get(self, scope: Scope, run_id: str) -> Run:
        """One run, archived or not. Raises NotFound."""
        found = await self.find(scope, run_id)
        if found is None:
            raise NotFound("there is no such run", field="id")
        return found

    async def find(self, scope: Scope, run_id: str) -> Run | None:
        """One run, archived or not; None when there is none that may be read."""
        canonical = ids.parse("run", run_id)
        return (await self.by_ids(scope, [canonical])).get(canonical)

    async def by_ids(self, scope: Scope, run_ids: Sequence[str]) -> dict[str, Run]:
        """Those that exist and may be read, by canonical id."""
        scope.carry(KeyScope.RUNS_READ)
        return await self._runs.by_ids(scope, run_ids, self._moment())

    async def page(self, scope: Scope, request: RunsRequest) -> Page[Run]:
        """A page of the workspace's runs, or of one experiment's. Raises BadUserInput."""
        scope.carry(KeyScope.RUNS_READ)
        if request.experiment_id is not None:
            canonical = ids.parse("exp", request.experiment_id, field="experiment_id")
            request = replace(request, experiment_id=canonical)
        return await self._runs.page(scope, listing(request), self._moment())

    async def of_experiments(
        self, scope: Scope, experiment_ids: Sequence[str], request: RunsRequest
    ) -> dict[str, Page[Run]]:
        """A page under each experiment."""
        return await self._pages(scope, RunParents("experiment", tuple(experiment_ids)), request)

    async def of_owners(self, scope: Scope, user_ids: Sequence[str], request: RunsRequest) -> dict[str, Page[Run]]:
        """A page under each user."""
        return await self._pages(scope, RunParents("owner", tuple(user_ids)), request)

    async def children(self, scope: Scope, run_ids: Sequence[str], request: RunsRequest) -> dict[str, Page[Run]]:
        """A page of nested runs under each run. Raises NotFound for one that may not be read."""
        for run_id in run_ids:
            scope.require(KeyScope.RUNS_READ, run_id)
        return await self._pages(scope, RunParents("parent", tuple(run_ids)), request)

    async def updates(self, scope: Scope, run_id: str) -> AsyncGenerator[Run, None]:
        """The run as it is now, then after each change of its attributes (of several at once, the last).

        Becoming stalled is such a change; the script's sign of life alone is not. Ends when the run is purged or the
        process stops. Raises NotFound.
        """
        canonical = ids.parse("run", run_id, field="run_id")
        async with self._hub.watch(canonical, RunChanged) as watch:
            run = await self.find(scope, canonical)
            if run is None:
                raise NotFound("there is no such run", field="run_id")
            yield run
            while True:
                try:
                    async with asyncio.timeout(_seconds_until_stalled(run)):
                        if not await watch.changed():
                            return
                except TimeoutError:
                    pass  # it may have become stalled: look again
                newer = await patiently(watch, lambda: self._shared(scope, canonical))
                if newer is None:
                    return
                changed = _told(newer) != _told(run)
                run = newer
                if changed:
                    yield run

    async def list_updates(
        self, scope: Scope, *, filter_text: str | None = None, experiment_id: str | None = None
    ) -> AsyncGenerator[RunChange, None]:
        """What happens to the list of living runs that meet the filter, from now on, until the process stops.

        Raises BadUserInput (`filter`, `experiment_id`, too long a list) and NotFound (the experiment).
        """
        scope.carry(KeyScope.RUNS_READ)
        if experiment_id is not None:
            experiment_id = ids.parse("exp", experiment_id, field="experiment_id")
            if not await self._experiments.by_ids(scope, [experiment_id]):
                raise NotFound("there is no such experiment", field="experiment_id")
        wanted = listing(RunsRequest(filter=filter_text, experiment_id=experiment_id, total=False))
        async with aclosing(self._feeds.follow(scope, (filter_text or "").strip(), wanted)) as changes:
            async for change in changes:
                yield change

    # --- parts -----------------------------------------------------------------------------------------

    async def _shared(self, scope: Scope, run_id: str) -> Run | None:
        place = (scope.workspace_id, scope.reach(ResourceKind.RUNS), run_id)
        return await self._reads.read(place, lambda: self.find(scope, run_id))

    async def _pages(self, scope: Scope, parents: RunParents, request: RunsRequest) -> dict[str, Page[Run]]:
        scope.carry(KeyScope.RUNS_READ)
        return await self._runs.pages(scope, parents, listing(request), self._moment())

    async def _allowed(self, scope: Scope, run_id: str, action: Action, *, id_field: str = "id") -> str:
        """The canonical id of a run with which this may be done. Raises BadUserInput, NotFound, Forbidden."""
        canonical = ids.parse("run", run_id, field=id_field)
        await scope.require_of(KeyScope.RUNS_WRITE, canonical, self._exists, action=action)
        return canonical

    async def _exists(self, scope: Scope, run_id: str) -> bool:
        return bool(await self._runs.by_ids(scope, [run_id], self._moment()))

    async def _change(
        self,
        scope: Scope,
        run_id: str,
        decide: Callable[[Run], Run],
        *,
        action: Action = Action.WRITE,
        id_field: str = "id",
    ) -> Run:
        canonical = await self._allowed(scope, run_id, action, id_field=id_field)
        run, changed = await self._runs.change(scope, canonical, self._moment(), decide)
        if changed:
            self._bus.publish(RunChanged(canonical))
        return run

    async def _living_experiment(self, scope: Scope, text: str) -> str:
        experiment_id, name = reference(text)
        if experiment_id is not None:
            found = (await self._experiments.by_ids(scope, [experiment_id])).get(experiment_id)
        else:
            found = await self._experiments.by_name(scope, name or "")
        if found is None:
            raise NotFound("there is no such experiment", field="experiment")
        if found.archived:
            raise Conflict("the experiment is archived; restore it first", field="experiment")
        return found.id

    def _moment(self) -> Moment:
        now = self._clock.now()
        return Moment(now.replace(microsecond=now.microsecond // 1_000 * 1_000), self._stalled_after)


def nested(page: PageRequest, *, total: bool = True) -> RunsRequest:
    """The request of a nested list that takes nothing but a page."""
    return RunsRequest(page=page, total=total)


def _told(run: Run) -> tuple[object, ...]:
    """What `updates` compares: everything but the moment and the sign of life."""
    silent = replace(run, last_activity_at=None, seen=Moment(run.created_at, timedelta(0)))
    return (silent, run.stalled)


def _seconds_until_stalled(run: Run) -> float | None:
    """How long until silence makes the run stalled; None when it is already, or cannot be."""
    at = run.stalled_at
    if at is None or run.stalled:
        return None
    return max((at - run.seen.now).total_seconds(), 0.0) + 0.002  # just past it, beyond the rounding to milliseconds


def _optional_title(text: str | None, field: str) -> str | None:
    return None if text is None else names.title(text, field=field)


def _optional_notes(text: str | None) -> str | None:
    return None if text is None else names.notes(text, field="notes")
