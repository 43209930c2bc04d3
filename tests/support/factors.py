"""An authenticator app in tests, and the sign-ins that need one."""

from __future__ import annotations

from dataclasses import dataclass

import pyotp

from domain.identity import AuthResult
from domain.identity.factors import RecoveryCodes
from tests.support.identity import Instance


@dataclass
class App:
    """An authenticator app: knows the secret, and shows the code of each moment."""

    of: Instance
    secret: str
    recovery_codes: list[str]

    def code(self, offset: int = 0) -> str:
        """The code of the present step, or one that far from it."""
        return pyotp.TOTP(self.secret).at(self.of.clock.now(), counter_offset=offset)

    def next_code(self) -> str:
        """The code of the step after: nobody has used it yet."""
        self.of.clock.forward(seconds=30)
        return self.code()

    async def sign_in(self) -> AuthResult:
        """Password and code."""
        token = await pending(self.of)
        return await self.of.identity.totp.verify(mfa_token=token, code=self.next_code())


async def with_app(of: Instance, signed_in: AuthResult) -> App:
    """Sets an app up and enables it."""
    scope = await of.scope(signed_in)
    setup = await of.identity.totp.setup(scope)
    app = App(of, setup.secret, [])
    codes: RecoveryCodes = await of.identity.totp.enable(scope, app.code())
    app.recovery_codes = list(codes.recovery_codes)
    return app


async def pending(of: Instance) -> str:
    """The token of a sign-in whose password was right."""
    result = await of.login()
    assert result.mfa_token is not None
    return result.mfa_token
