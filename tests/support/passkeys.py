"""People with passkeys in tests: registering, and both ways to sign in."""

from __future__ import annotations

from dataclasses import dataclass

from domain.access import Scope
from domain.identity import AuthResult, ClientInfo
from domain.identity.factors import Credential
from domain.identity.passkeys import Passkeys
from tests.support.authenticator import TRUTH, Authenticator, Lies
from tests.support.factors import pending
from tests.support.identity import Instance

CLIENT = ClientInfo("127.0.0.1", "test")


@dataclass
class Holder:
    """An instance, and somebody with an authenticator."""

    of: Instance
    device: Authenticator

    @property
    def passkeys(self) -> Passkeys:
        return self.of.identity.passkeys

    async def register(self, scope: Scope, name: str = "laptop", lies: Lies = TRUTH) -> Credential:
        """Makes a passkey."""
        begun = await self.passkeys.start_registration(scope)
        answer = self.device.create(begun.options, lies)
        return await self.passkeys.finish_registration(scope, name=name, credential=answer, ceremony_id=begun.id)

    async def second(self, lies: Lies = TRUTH, token: str | None = None) -> AuthResult:
        """Signs in by password and passkey."""
        token = token or await pending(self.of)
        begun = await self.passkeys.start(token)
        answer = self.device.get(begun.options, lies)
        return await self.passkeys.finish(mfa_token=token, credential=answer, client=CLIENT)

    async def alone(self, lies: Lies = TRUTH) -> AuthResult:
        """Signs in by passkey alone."""
        begun = await self.passkeys.start()
        return await self.passkeys.finish(credential=self.device.get(begun.options, lies), client=CLIENT)
