"""Permission records made, changed, removed and running out in any order: what a member may do is what they say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.access import Action, Effect, ResourceKind, Scope, WorkspaceRole
from domain.errors import Conflict, NotFound
from domain.paging import PageRequest
from tests.support.identity import PASSWORD, Instance, signed_in
from tests.support.tracking import Tracking

ACTIONS = (Action.READ, Action.WRITE, Action.DELETE)
STEPS = ("create", "create", "create", "update", "update", "delete", "wait", "wait", "return")
SPAN = timedelta(seconds=30)


@dataclass(frozen=True)
class Said:
    """One record as it should be; `resource` None is about all runs."""

    resource: str | None
    effect: Effect
    actions: frozenset[Action]
    ends: datetime | None


@dataclass(frozen=True)
class Choice:
    """What a step is made of."""

    step: str
    which: int
    effect: Effect
    actions: frozenset[Action]
    spans: int | None


CHOICES = st.builds(
    Choice,
    step=st.sampled_from(STEPS),
    which=st.integers(0, 5),
    effect=st.sampled_from(Effect),
    actions=st.frozensets(st.sampled_from(ACTIONS), min_size=1),
    spans=st.none() | st.integers(1, 2),
)


class Walk:
    """One walk through the steps, checked against what was said after each."""

    def __init__(self, of: Instance, owner: Scope, member: Scope, credentials: list[str], runs: list[str]) -> None:
        self.of, self.owner, self.member, self.credentials, self.runs = of, owner, member, credentials, runs
        self.said: dict[str, Said] = {}
        self.gone: list[str] = []

    async def step(self, choice: Choice) -> None:
        grants = self.of.identity.grants
        ends = None if choice.spans is None else self.of.clock.now() + choice.spans * SPAN
        said = Said([None, *self.runs][choice.which % 3], choice.effect, choice.actions, ends)
        actions = [action.value for action in choice.actions]
        if choice.step == "wait":
            self.of.clock.forward(seconds=30)
        elif choice.step == "return":
            await self._return()
        elif choice.step == "create":
            making = grants.create(
                self.owner,
                user_id=self.member.principal.user_id,
                kind="runs",
                resource=said.resource,
                actions=actions,
                effect=said.effect,
                expires_at=ends,
            )
            if self._taken(said):
                with pytest.raises(Conflict):
                    await making
            else:
                self.said[(await making).id] = said
        elif not self.said:
            for grant_id in self.gone[-1:]:
                with pytest.raises(NotFound):
                    await grants.delete(self.owner, grant_id)
        else:
            await self._change(choice, list(self.said)[choice.which % len(self.said)], actions, ends)

    async def _change(self, choice: Choice, grant_id: str, actions: list[str], ends: datetime | None) -> None:
        grants = self.of.identity.grants
        if choice.step == "delete":
            await grants.delete(self.owner, grant_id)
            del self.said[grant_id]
            self.gone.append(grant_id)
            return
        said = replace(self.said[grant_id], effect=choice.effect, actions=choice.actions, ends=ends)
        changing = grants.update(self.owner, grant_id, actions=actions, effect=choice.effect, expires_at=ends)
        if self._taken(said, but=grant_id):
            with pytest.raises(Conflict):
                await changing
        else:
            await changing
            self.said[grant_id] = said

    async def _return(self) -> None:
        """The member is removed, and added again by the administrator."""
        rooms, user = self.of.identity.workspaces, self.member.principal.user_id
        await rooms.remove_member(self.owner, self.owner.workspace_id, user_id=user)
        admin = await self.of.scope(await self.of.login())
        await rooms.add_member(admin, self.owner.workspace_id, user_id=user, role=WorkspaceRole.VIEWER)
        self.gone += self.said
        self.said.clear()
        self.credentials = self.credentials[:1]  # the key is gone

    def _taken(self, said: Said, but: str | None = None) -> bool:
        return any(
            (one.resource, one.effect) == (said.resource, said.effect)
            for grant_id, one in self.said.items()
            if grant_id != but
        )

    def _may(self, action: Action, run: str) -> bool:
        now = self.of.clock.now()
        effects = {
            one.effect
            for one in self.said.values()
            if one.resource in (None, run) and action in one.actions and (one.ends is None or now < one.ends)
        }
        return Effect.DENY not in effects and (action is Action.READ or Effect.ALLOW in effects)

    async def check(self) -> None:
        for credential in self.credentials:
            scope = await self.of.identity.authenticate(authorization=f"Bearer {credential}")
            for action in ACTIONS:
                expected = {run for run in self.runs if self._may(action, run)}
                assert {run for run in self.runs if scope.access.may(ResourceKind.RUNS, action, run)} == expected
                assert {run for run in self.runs if run in scope.reach(ResourceKind.RUNS, action)} == expected
        page = await self.of.identity.grants.page(self.owner, PageRequest())
        assert {one.id: Said(one.resource, one.effect, one.held, one.expires_at) for one in page.nodes} == self.said


async def test_a_member_may_do_what_the_records_say(ready: Instance) -> None:
    loop = asyncio.get_running_loop()
    owner = await signed_in(ready, "olga@example.org", "owner")
    tracking = Tracking(ready.database)
    runs = [(await tracking.runs.create(owner)).id for _ in range(2)]
    numbers = iter(range(1_000))

    async def walk(steps: list[Choice]) -> None:
        email = f"m{next(numbers)}@example.org"
        member = await signed_in(ready, email, "viewer")
        await ready.database.execute("TRUNCATE grants")
        result = await ready.identity.sign_in.by_password(email=email, password=PASSWORD)
        key = await ready.identity.keys.create(member, name="k", scopes=None)
        of = Walk(ready, owner, member, [result.tokens.access, key.secret], runs)
        for step in steps:
            await of.step(step)
            await of.check()

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(CHOICES, max_size=15))
    def walks(steps: list[Choice]) -> None:
        asyncio.run_coroutine_threadsafe(walk(steps), loop).result(60)

    await asyncio.to_thread(walks)
