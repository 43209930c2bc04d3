"""The one-time setup of an empty instance: its first administrator and default workspace, once for ever."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from domain import ids, names
from domain.access import UserRole
from domain.errors import Conflict, Unauthenticated
from domain.identity import choosing, rules
from domain.identity.entities import AuthResult, ClientInfo, Founding, FoundingOutcome, User, Workspace
from domain.identity.factors import PASSWORD_ALONE
from domain.identity.ports import IdentityRepository, Passwords, SetupTokenStore
from domain.identity.sessions import Sessions

ALREADY_SET_UP: Final = "this instance is already set up; sign in instead"
_WRONG_SETUP_TOKEN: Final = "this is not the setup token of this instance; use the link that the server printed last"  # noqa: S105
_SETUP_TOKEN_BYTES: Final = 32


class Founder:
    """Sets an empty instance up, by a token that only its operator can read, or by the operator's settings."""

    def __init__(
        self,
        *,
        repository: IdentityRepository,
        passwords: Passwords,
        sessions: Sessions,
        setup_tokens: SetupTokenStore,
        shortest: int,
    ) -> None:
        self._shortest = shortest
        self._repository = repository
        self._passwords = passwords
        self._sessions = sessions
        self._setup_tokens = setup_tokens
        self._set_up = False

    async def required(self) -> bool:
        """Whether the instance waits for its first administrator. Once it does not, it never does again."""
        if not self._set_up:
            self._set_up = (await self._repository.setup_state()).done
        return not self._set_up

    async def ensure(self, *, email: str | None = None, password: str | None = None) -> str | None:
        """Called at start: the one-time token to show to the operator, or None when none is needed.

        With `email` and `password` an empty instance gets that administrator; both are ignored ever after.
        Raises BadUserInput naming `admin_email` or `admin_password`.
        """
        if not await self.required():
            self._setup_tokens.clear()
            return None
        if email is not None and password is not None:
            founding = await self._founding(email, password, None, None, fields=("admin_email", "admin_password"))
            await self._repository.found(founding, None, self._sessions.now())  # CLOSED: another server was faster
            self._setup_tokens.clear()
            return None
        return await self._offer()

    async def found(
        self, *, token: str, email: str, password: str, name: str | None = None, client: ClientInfo | None = None
    ) -> AuthResult:
        """Makes the first administrator and the default workspace, and signs in. Works once, for ever.

        Raises Conflict once the instance is set up, Unauthenticated for a wrong token, BadUserInput.
        """
        presented = _digest(token)
        state = await self._repository.setup_state()
        if state.done:
            raise Conflict(ALREADY_SET_UP)
        if state.token_hash is None or not hmac.compare_digest(state.token_hash, presented):
            raise Unauthenticated(_WRONG_SETUP_TOKEN, field="token")
        founding = await self._founding(email, password, name, client or ClientInfo())
        match await self._repository.found(founding, presented, self._sessions.now()):
            case FoundingOutcome.CLOSED:
                raise Conflict(ALREADY_SET_UP)
            case FoundingOutcome.WRONG_TOKEN:
                raise Unauthenticated(_WRONG_SETUP_TOKEN, field="token")
            case FoundingOutcome.DONE:
                pass
        self._set_up = True
        self._setup_tokens.clear()
        assert founding.session is not None  # noqa: S101  # `_founding` opens one for every client
        return self._sessions.opened(founding.user, founding.session)

    async def _offer(self) -> str | None:
        state = await self._repository.setup_state()
        kept = self._setup_tokens.read()
        if kept is not None and state.token_hash is not None and hmac.compare_digest(_digest(kept), state.token_hash):
            return kept
        token = secrets.token_urlsafe(_SETUP_TOKEN_BYTES)
        if not await self._repository.offer_setup(_digest(token)):
            return None
        self._setup_tokens.write(token)
        return token

    async def _founding(
        self,
        email: str,
        password: str,
        name: str | None,
        client: ClientInfo | None,
        fields: tuple[str, str] = ("email", "password"),
    ) -> Founding:
        address = rules.email(email, field=fields[0])
        shown = address.partition("@")[0] if name is None else names.title(name)
        secret = await choosing.chosen_password(
            self._passwords, password, shortest=self._shortest, address=address, name=shown, field=fields[1]
        )
        session = None if client is None else self._sessions.new(client, PASSWORD_ALONE)
        now = self._sessions.now() if session is None else session.created_at
        workspace = Workspace(ids.new("wsp"), "default", "Default", now)
        user = User(ids.new("usr"), address, shown, UserRole.ADMIN, now, None if session is None else now)
        return Founding(workspace, user, await self._passwords.hash(secret), session)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
