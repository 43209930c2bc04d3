"""Signing in, factors, refreshing and signing out in any order: only what should open a session ever does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import Conflict, DomainError, MfaRequired, Unauthenticated
from domain.identity import AuthResult
from tests.support.factors import App
from tests.support.identity import PASSWORD, Instance

T = TypeVar("T")

STEPS = (
    "login", "login", "setup", "enable", "enable", "verify", "verify", "wrong code", "old code", "recover",
    "old recovery", "refresh", "logout", "logout all", "disable", "generate", "wait",
)  # fmt: skip


@dataclass
class Model:
    """What should be true: who is signed in and at which level, what waits, and which codes are left."""

    alive: list[tuple[AuthResult, int]] = field(default_factory=list)
    dead: list[AuthResult] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    set_up: App | None = None
    app: App | None = None
    codes: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)

    def end(self, but: AuthResult | None) -> None:
        """All sessions but one are over, and so is what waits."""
        self.dead += [one for one, _ in self.alive if one is not but]
        self.alive = [(one, level) for one, level in self.alive if one is but]
        self.pending.clear()


async def refused(attempt: Awaitable[T]) -> DomainError:
    """The refusal that this must end in."""
    with pytest.raises(DomainError) as problem:
        await attempt
    return problem.value


class Walk:
    """One walk through the steps, checked against the model after each."""

    def __init__(self, of: Instance) -> None:
        self.of, self.model = of, Model()

    async def step(self, name: str, which: int) -> None:
        model, identity = self.model, self.of.identity
        if name == "wait":
            self.of.clock.forward(seconds=30)
        elif name == "login":
            result = await self.of.login()
            assert result.requires_mfa == (model.app is not None)
            if result.mfa_token is None:
                model.alive.append((result, 1))
            else:
                model.pending.append(result.mfa_token)
        elif name in ("verify", "wrong code", "old code", "recover", "old recovery"):
            await self._second_step(name, which)
        elif model.alive:
            result, level = model.alive[which % len(model.alive)]
            if name == "refresh":
                renewed = await identity.sessions.refresh(result.tokens.refresh)
                model.alive[which % len(model.alive)] = (renewed, level)
            elif name == "logout":
                await identity.sessions.logout(await self.of.scope(result))
                model.alive.remove((result, level))
                model.dead.append(result)
            elif name == "logout all":
                await identity.sessions.logout_all(await self.of.scope(result))
                waiting = list(model.pending)
                model.end(None)
                model.pending = waiting  # whoever knows the password may go on
            else:
                await self._change(name, result)

    async def _change(self, name: str, result: AuthResult) -> None:
        model, identity, scope = self.model, self.of.identity, await self.of.scope(result)
        if name == "setup":
            if model.app is not None:
                assert isinstance(await refused(identity.totp.setup(scope)), Conflict)
            else:
                model.set_up = App(self.of, (await identity.totp.setup(scope)).secret, [])
        elif name == "enable":
            if model.set_up is None:
                assert isinstance(await refused(identity.totp.enable(scope, "123456")), Conflict)
            else:
                codes = (await identity.totp.enable(scope, model.set_up.code())).recovery_codes
                model.app, model.set_up, model.codes = model.set_up, None, list(codes)
                model.end(result)
                model.alive = [(result, 2)]
        elif name == "disable":
            assert not (await identity.totp.disable(scope, password=PASSWORD)).mfa_enabled
            model.set_up = None
            if model.app is not None:
                model.app = None
                model.used += model.codes
                model.codes = []
                model.end(result)
        elif model.app is None:
            assert isinstance(await refused(identity.recovery.generate(scope, password=PASSWORD)), Conflict)
        else:
            model.used += model.codes
            model.codes = list((await identity.recovery.generate(scope, password=PASSWORD)).recovery_codes)
            model.end(result)

    async def _second_step(self, name: str, which: int) -> None:
        model, identity = self.model, self.of.identity
        if model.app is None or not model.pending:
            attempt = identity.totp.verify(mfa_token="axm_nothing", code="123456")
            assert isinstance(await refused(attempt), Unauthenticated)
            return
        token = model.pending[which % len(model.pending)]
        if name == "verify":
            attempt = identity.totp.verify(mfa_token=token, code=model.app.next_code())
        elif name == "recover" and model.codes:
            model.used.append(model.codes.pop())
            attempt = identity.recovery.use(mfa_token=token, code=model.used[-1])
        else:
            wrong = model.used[which % len(model.used)] if model.used else "0000-0000-0000-0000"
            if name in ("wrong code", "old code"):
                attempt = identity.totp.verify(mfa_token=token, code=model.app.code(5 if name == "wrong code" else -2))
            else:
                attempt = identity.recovery.use(mfa_token=token, code=wrong)
            assert isinstance(await refused(attempt), Unauthenticated)
            model.pending.remove(token)  # not to count its failures here
            return
        model.alive.append((await attempt, 2))
        model.pending.remove(token)

    async def check(self) -> None:
        """Every session is what the model says, and nothing else is one."""
        for result, level in self.model.alive:
            scope = await self.of.scope(result)
            assert (await self.of.identity.sessions.current(scope)).assurance.level == level
            try:
                await self.of.identity.sessions.require_proven(scope)
            except MfaRequired:
                raise AssertionError("a session of level 1 outlived the first factor") from None
        for result in self.model.dead[-3:]:
            assert isinstance(await refused(self.of.scope(result)), Unauthenticated)
        count = await self.of.database.fetchval("SELECT count(*) FROM sessions WHERE ended_at IS NULL")
        assert count == len(self.model.alive)


async def test_only_what_should_opens_a_session(ready: Instance) -> None:
    loop = asyncio.get_running_loop()

    async def walk(steps: list[tuple[str, int]]) -> None:
        await ready.database.execute(
            "TRUNCATE sessions, pending_sign_ins, totp_factors, recovery_codes, attempts CASCADE"
        )
        of = Walk(ready)
        for name, which in steps:
            await of.step(name, which)
            await of.check()

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), max_size=18))
    def walks(steps: list[tuple[str, int]]) -> None:
        # Rare walks get far enough: each begins signed in and with an app, but for every other one.
        start = [("login", 0), ("login", 0), ("setup", 0), ("enable", 0), ("login", 0)] if len(steps) % 2 else []
        asyncio.run_coroutine_threadsafe(walk(start + steps), loop).result(60)

    await asyncio.to_thread(walks)
