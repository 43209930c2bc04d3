"""Changing many runs in one step: all of them or none, whatever the reason why one of them refuses.

The rules are those of single runs. A refusal names the place of the run in the request, as `ids[3]`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from domain import ids
from domain.access import Action, KeyScope, ResourceKind, Scope
from domain.errors import BadUserInput, DomainError, NotFound
from domain.events import EventBus, RunChanged
from domain.patch import KEEP, Keep
from domain.runs import entity, values
from domain.runs.entity import Moment, Run
from domain.runs.ports import RunRepository
from domain.storage import Storage

MOST_RUNS: Final = 1_000


class ManyRuns:
    """The use-cases. Each answers the ids of the runs that changed, in the order given; a repeated id counts once."""

    def __init__(
        self,
        *,
        runs: RunRepository,
        bus: EventBus,
        moment: Callable[[], Moment],
        living_experiment: Callable[[Scope, str], Awaitable[str]],
        purged: Callable[[], None],
        storage: Storage,
    ) -> None:
        self._runs = runs
        self._bus = bus
        self._moment = moment
        self._living_experiment = living_experiment
        self._purged = purged
        self._storage = storage

    async def update(
        self,
        scope: Scope,
        run_ids: Sequence[str],
        *,
        experiment: str | Keep = KEEP,
        tags_set: Iterable[tuple[str, str]] = (),
        tags_delete: Sequence[str] = (),
    ) -> list[str]:
        """Moves them to another experiment, removes tags, then sets tags. Archived runs refuse.

        Raises BadUserInput, NotFound and Conflict, naming `ids[…]`, `experiment`, `tags_set[…]` or `tags_delete[…]`.
        """
        wanted = await self._allowed(scope, run_ids, Action.WRITE)
        put = values.make_tags(tags_set, field="tags_set")
        if len(tags_delete) > values.MAX_AT_ONCE:
            raise BadUserInput(f"at most {values.MAX_AT_ONCE} keys at once", field="tags_delete")
        gone = [values.key(name, field=f"tags_delete[{place}]") for place, name in enumerate(tags_delete)]
        if put:
            self._storage.take(0, changes=len(put) * len(wanted))
        experiment_id = None if isinstance(experiment, Keep) else await self._living_experiment(scope, experiment)

        def decide(run: Run) -> Run:
            moved = entity.edited(run)
            if experiment_id is not None:
                moved = replace(moved, experiment_id=experiment_id)
            return entity.with_tags(entity.without_tags(moved, gone), put)

        return await self._change(scope, wanted, decide)

    async def delete(self, scope: Scope, run_ids: Sequence[str]) -> list[str]:
        """Archives them. Raises BadUserInput, NotFound."""
        return await self._change(scope, await self._allowed(scope, run_ids, Action.DELETE), entity.archived)

    async def restore(self, scope: Scope, run_ids: Sequence[str]) -> list[str]:
        """Brings them back. Raises BadUserInput, NotFound."""
        return await self._change(scope, await self._allowed(scope, run_ids, Action.DELETE), entity.restored)

    async def purge(self, scope: Scope, run_ids: Sequence[str]) -> list[str]:
        """Takes archived runs away from every reader at once; their rows are removed in the background.

        Raises BadUserInput, NotFound, and Conflict when one is not archived.
        """
        wanted = await self._allowed(scope, run_ids, Action.DELETE)
        await self._runs.mark_many_purged(scope, wanted, self._moment())
        gone = list(dict.fromkeys(wanted))
        self._publish(gone)
        self._purged()
        return gone

    async def _allowed(self, scope: Scope, run_ids: Sequence[str], action: Action) -> list[str]:
        """The canonical ids of runs with all of which this may be done.

        Raises BadUserInput, NotFound (one that is missing or may not be read comes before all others) and Forbidden.
        """
        scope.carry(KeyScope.RUNS_WRITE)
        wanted = _checked(run_ids)
        if scope.reach(ResourceKind.RUNS).whole and scope.reach(ResourceKind.RUNS, action).whole:
            return wanted
        refusals: list[DomainError] = []
        for place, run_id in enumerate(wanted):
            try:
                scope.require(KeyScope.RUNS_WRITE, run_id, action=action)
            except DomainError as problem:
                refusals.append(placed(problem, place))
        if refusals:
            found = await self._runs.by_ids(scope, wanted, self._moment())
            missing = next((place for place, run_id in enumerate(wanted) if run_id not in found), None)
            if missing is not None:
                raise NotFound("there is no such run", field=f"ids[{missing}]")
            raise refusals[0]
        return wanted

    async def _change(self, scope: Scope, run_ids: list[str], decide: Callable[[Run], Run]) -> list[str]:
        changed = await self._runs.change_many(scope, run_ids, self._moment(), decide)
        self._publish(changed)
        return changed

    def _publish(self, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            self._bus.publish(RunChanged(run_id))


def placed(problem: DomainError, place: int) -> DomainError:
    """The same refusal, naming the run by its place in the request."""
    return type(problem)(problem.message, field=f"ids[{place}]", retry_after=problem.retry_after)


def _checked(run_ids: Sequence[str]) -> list[str]:
    """Canonical ids. A repeated one is told by its first place, so nothing is dropped before the places are known."""
    if len(run_ids) > MOST_RUNS:
        raise BadUserInput(f"at most {MOST_RUNS} runs at once, got {len(run_ids)}", field="ids")
    return [ids.parse("run", run_id, field=f"ids[{place}]") for place, run_id in enumerate(run_ids)]
