"""Invites and registration on a real database: whom they let in, once, and what nobody learns from them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import pytest

from domain import ids
from domain.access import Scope, WorkspaceRole
from domain.errors import BadUserInput, Conflict, Forbidden, NotFound
from domain.identity import AuthResult
from domain.paging import PageRequest
from persistence.database import Database
from server.settings import AuthSettings
from tests.integration.identity.test_workspaces import held_up
from tests.support.identity import PASSWORD, Instance, instance, member, outcomes, signed_in

NEW = "seven copper kettles on the roof"
CY = "cy@example.org"
VIEWER = WorkspaceRole.VIEWER
Opening = Callable[..., AbstractAsyncContextManager[Instance]]


@pytest.fixture
def opened(database: Database, tmp_path: Path) -> Opening:
    @asynccontextmanager
    async def open_with(registration: Literal["closed", "invite", "open"] = "invite") -> AsyncIterator[Instance]:
        """An instance with its administrator and this policy."""
        async with instance(database, tmp_path, settings=AuthSettings(registration=registration)) as of:
            await of.set_up()
            yield of

    return open_with


async def invited(of: Instance, owner: Scope, email: str = CY, role: WorkspaceRole = VIEWER) -> str:
    """The token of a new invite."""
    url = (await of.identity.invites.create(owner, email=email, role=role)).url
    assert url.startswith("http://127.0.0.1:3000/login#invite=axi_")
    return url.partition("=")[2]


async def register(of: Instance, email: str = CY, **given: Any) -> AuthResult | None:
    return await of.identity.registration.register(email=email, password=NEW, **given)


async def count(of: Instance, table: str) -> int:
    return int(await of.database.fetchval(f"SELECT count(*) FROM {table}"))  # names of tables


async def test_an_invite_lets_its_address_in_once(opened: Opening) -> None:
    async with opened() as of:
        owner = await signed_in(of, "olga@example.org", "owner", "team")
        token = await invited(of, owner, role=WorkspaceRole.EDITOR)
        kept = await of.database.fetchval("SELECT to_jsonb(i)::text FROM invites i")
        assert token not in kept
        result = await register(of, "Cy@Example.org", invite=token)
        assert result is not None
        scope = await of.scope(result)
        assert (scope.workspace_id, scope.access.role) == (owner.workspace_id, WorkspaceRole.EDITOR)
        assert not scope.principal.must_change_password
        with pytest.raises(Forbidden) as problem:
            await register(of, invite=token)
        assert problem.value.field == "invite"
        assert (await of.identity.invites.page(owner, PageRequest())).nodes == []


async def test_a_client_token_makes_one_invite_with_one_good_link(opened: Opening) -> None:
    async with opened() as of:
        owner = await signed_in(of, "olga@example.org", "owner", "team")
        invites = of.identity.invites
        made = [await invites.create(owner, email=CY, role=VIEWER, client_token="t") for _ in range(2)]
        made += await asyncio.gather(
            *(invites.create(owner, email=CY.upper(), role=VIEWER, client_token="t") for _ in range(3))
        )
        assert {one.invite for one in made} == {made[0].invite}
        assert len({one.url for one in made}) == 5
        good = [one.url.partition("=")[2] for one in made]
        with pytest.raises(Conflict) as problem:
            await invites.create(owner, email=CY, role=WorkspaceRole.EDITOR, client_token="t")
        assert problem.value.field == "client_token"
        let_in, refused = outcomes(
            await asyncio.gather(*(register(of, invite=token) for token in good), return_exceptions=True)
        )
        assert (len(let_in), {type(one) for one in refused}) == (1, {Forbidden})


@pytest.mark.parametrize("over", ["used", "revoked", "replaced"])
async def test_a_late_retry_opens_no_invite_that_is_over(opened: Opening, over: str) -> None:
    async with opened() as of:
        owner = await signed_in(of, "olga@example.org", "owner", "team")
        invites = of.identity.invites
        first = await invites.create(owner, email=CY, role=VIEWER, client_token="t")
        if over == "used":
            await register(of, invite=first.url.partition("=")[2])
        elif over == "revoked":
            await invites.revoke(owner, first.invite.id)
        else:
            await invited(of, owner)
        before = [one.id for one in (await invites.page(owner, PageRequest())).nodes]
        with pytest.raises(Conflict) as problem:
            await invites.create(owner, email=CY, role=VIEWER, client_token="t")
        assert problem.value.field == "client_token"
        assert [one.id for one in (await invites.page(owner, PageRequest())).nodes] == before


@pytest.mark.parametrize("flaw", ["address", "expired", "revoked", "used", "unknown", "no owner", "disabled", "gone"])
async def test_an_invite_that_is_not_good_makes_nothing_and_does_not_say_why(opened: Opening, flaw: str) -> None:
    async with opened() as of:
        owner = await signed_in(of, "olga@example.org", "owner", "team")
        token, email = await invited(of, owner), CY
        before = await count(of, "users")
        match flaw:
            case "address":
                email = "eve@example.org"
            case "expired":
                of.clock.forward(days=7)
            case "unknown":
                token += "x"
            case "revoked":
                page = await of.identity.invites.page(owner, PageRequest())
                for _ in range(2):
                    await of.identity.invites.revoke(owner, page.nodes[0].id)
            case "used":
                await of.database.execute("UPDATE invites SET used_at = now()")
            case "no owner":
                await of.database.execute("UPDATE memberships SET role = 'editor'")
            case "disabled":
                await of.database.execute("UPDATE users SET disabled_at = now() WHERE email LIKE 'olga%'")
            case "gone":
                await of.database.execute("UPDATE workspaces SET deleted_at = now() WHERE slug = 'team'")
        hashes = of.hasher.computed
        with pytest.raises(Forbidden) as problem:
            await register(of, email, invite=token)
        assert problem.value.field == "invite"
        assert problem.value.message.startswith("this invite is not good: it is unknown, for another address, expired")
        assert of.hasher.computed == hashes + 1
        assert await count(of, "users") == before


async def test_an_invite_that_is_used_by_many_at_once_lets_one_in(opened: Opening) -> None:
    async with opened() as of:
        owner = await signed_in(of, "olga@example.org", "owner", "team")
        token = await invited(of, owner)
        won, lost = outcomes(
            await held_up(
                of,
                "SELECT 1 FROM workspaces WHERE id = $1 FOR UPDATE",
                ids.to_uuid(owner.workspace_id),
                attempts=[register(of, invite=token) for _ in range(3)],
            )
        )
        assert len(won) == 1
        assert {type(one) for one in lost} == {Forbidden}
        found = "SELECT count(*) FROM users WHERE email = $1"
        assert await of.database.fetchval(found, CY) == 1


async def test_whoever_has_an_account_accepts_instead_and_may_do_so_twice(opened: Opening) -> None:
    async with opened() as of:
        owner = await signed_in(of, "olga@example.org", "owner", "team")
        cy = await signed_in(of, CY, "viewer")
        token = await invited(of, owner, role=WorkspaceRole.EDITOR)
        with pytest.raises(Conflict) as problem:
            await register(of, invite=token)
        assert problem.value.field == "email"
        eve = await signed_in(of, "eve@example.org", "viewer")
        with pytest.raises(Forbidden) as refused:
            await of.identity.invites.accept(eve, token)
        assert refused.value.field == "token"
        first, second = await asyncio.gather(*(of.identity.invites.accept(cy, token) for _ in range(2)))
        assert first == second
        assert first.slug == "team"
        result = await of.identity.sign_in.by_password(email=CY, password=PASSWORD)
        inside = await of.identity.authenticate(authorization=f"Bearer {result.tokens.access}", workspace="team")
        assert inside.access.role is WorkspaceRole.EDITOR
        await of.identity.workspaces.remove_member(owner, owner.workspace_id, user_id=cy.principal.user_id)
        with pytest.raises(Forbidden):
            await of.identity.invites.accept(cy, token)


async def test_inviting_again_ends_the_earlier_link_and_members_are_not_invited(opened: Opening) -> None:
    async with opened() as of:
        owner = await signed_in(of, "olga@example.org", "owner", "team")
        earlier, later = await invited(of, owner), await invited(of, owner, CY.upper())
        page = await of.identity.invites.page(owner, PageRequest())
        assert [(one.email, one.expires_at - one.created_at) for one in page.nodes] == [(CY, timedelta(days=7))]
        with pytest.raises(Forbidden):
            await register(of, invite=earlier)
        assert await register(of, invite=later) is not None
        with pytest.raises(Conflict) as problem:
            await invited(of, owner)
        assert problem.value.field == "email"
        with pytest.raises(BadUserInput):
            await invited(of, owner, "nobody")


async def test_an_owner_has_so_many_open_invites_and_others_none(opened: Opening) -> None:
    async with opened() as of:
        owner = await signed_in(of, "olga@example.org", "owner", "team")
        with patch("persistence.invites.MAX_INVITES", 2):
            for number in range(2):
                await invited(of, owner, f"c{number}@example.org")
            with pytest.raises(Conflict):
                await invited(of, owner)
            of.clock.forward(days=7)
            await invited(of, owner)
        assert await count(of, "invites") == 1, "addresses of what is over are not kept"
        editor = await signed_in(of, "ed@example.org", "editor", "team")
        stranger = await signed_in(of, "oz@example.org", "owner", "other")
        (invite,) = (await of.identity.invites.page(owner, PageRequest())).nodes
        for attempt in (invited(of, editor), of.identity.invites.page(editor, PageRequest())):
            with pytest.raises(Forbidden):
                await attempt
        with pytest.raises(NotFound):
            await of.identity.invites.revoke(stranger, invite.id)


@pytest.mark.parametrize("invite", [None, "axi_none"])
async def test_a_closed_instance_registers_nobody(opened: Opening, invite: str | None) -> None:
    async with opened("closed") as of:
        with pytest.raises(Forbidden):
            await register(of, invite=invite)
        assert await count(of, "users") == 1


async def test_where_invites_are_needed_nobody_registers_without(opened: Opening) -> None:
    async with opened("invite") as of:
        with pytest.raises(Forbidden) as problem:
            await register(of)
        assert problem.value.field == "invite"


async def test_open_registration_makes_a_workspace_and_tells_nothing_of_taken_addresses(opened: Opening) -> None:
    async with opened("open") as of:
        hashes = of.hasher.computed
        for _ in range(2):
            assert await register(of, name="Cy Ä. Clops") is None
        assert of.hasher.computed == hashes + 2
        assert await register(of, "other@example.org", name="Cy Ä. Clops") is None
        slugs = [row["slug"] for row in await of.database.fetch("SELECT slug FROM workspaces ORDER BY created_at, id")]
        assert slugs[:2] == ["default", "cy-clops"]
        assert slugs[2].startswith("cy-clops-")
        scope = await of.scope(await of.identity.sign_in.by_password(email=CY, password=NEW))
        assert scope.access.role is WorkspaceRole.OWNER
        assert [one.slug for one in await of.identity.workspaces.mine(scope)] == ["cy-clops"]
        with patch("persistence.invites.MAX_WORKSPACES", 3):
            for email in (CY, "new@example.org"):
                with pytest.raises(Conflict):
                    await register(of, email)


async def test_registering_one_address_at_once_makes_one_account(opened: Opening) -> None:
    async with opened("open") as of:
        await asyncio.gather(*(register(of) for _ in range(4)))
        assert (await count(of, "users"), await count(of, "workspaces")) == (2, 2)


async def test_an_account_that_is_taken_keeps_its_password(opened: Opening) -> None:
    async with opened("open") as of:
        await member(of, CY)
        assert await register(of) is None
        assert (await of.identity.sign_in.by_password(email=CY, password=PASSWORD)).user is not None
