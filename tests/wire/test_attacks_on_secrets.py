"""What a thief of the log learns: nothing that signs anybody in, at the most talkative level there is."""

from __future__ import annotations

import io
import json
import re
import time
from typing import Any, Final

import pyotp
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from tests.support.product import PASSWORD, Product

NEXT: Final = "seven slow lanterns over the weir"
WRONG: Final = "nine wrong lanterns under the weir"
LOGIN: Final = (
    'mutation {{ authLogin(input: {{email: "ada@example.com", password: "{password}"}})'
    " {{ token refreshToken mfaToken requiresMfa }} }}"
)


def strings(document: Any) -> set[str]:
    """Every string in a JSON document."""
    if isinstance(document, dict):
        return set().union(*map(strings, document.values()))
    if isinstance(document, list):
        return set().union(*map(strings, document))
    return {document} if isinstance(document, str) else set()


def written(secret: str, text: str) -> bool:
    """Whether `text` holds it: six digits as a word of their own, since ids and times hold any digits."""
    return (
        re.search(rf"(?<![0-9A-Za-z.]){secret}(?![0-9A-Za-z])", text) is not None if len(secret) < 8 else secret in text
    )


class Thief:
    """Signs in by every way there is, and notes every secret that was sent or answered."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.headers = product.headers
        self.secrets = {PASSWORD, NEXT, WRONG, product.token, product.key}

    async def post(self, path: str, status: int, **body: Any) -> dict[str, Any]:
        answer = await self.product.http.post(path, json=body or None, headers=self.headers)
        assert answer.status_code == status, (path, answer.text)
        document: dict[str, Any] = answer.json() if answer.content else {}
        kept = {
            "code",
            "secret",
            "token",
            "refresh_token",
            "mfa_token",
            "recovery_codes",
            "uri",
            "qr_code",
            "challenge",
        }
        for part in (body, document):
            self.secrets |= strings([value for name, value in part.items() if name in kept])
        return document


async def test_no_secret_reaches_the_log(product: Product, log_lines: io.StringIO) -> None:
    thief = Thief(product)
    account = {"email": "ada@example.com", "password": PASSWORD}
    await thief.post("/api/auth/login", 401, **account | {"password": WRONG})
    # A second factor, from its setup to its use, a recovery code, and new codes.
    secret = (await thief.post("/api/auth/mfa/totp/setup", 200))["secret"]
    app, now = pyotp.TOTP(secret), int(time.time())
    codes = (await thief.post("/api/auth/mfa/totp/enable", 200, code=app.at(now, counter_offset=-1)))["recovery_codes"]
    pending = (await thief.post("/api/auth/login", 200, **account))["mfa_token"]
    await thief.post("/api/auth/mfa/totp/verify", 401, mfa_token=pending, code="000000")
    signed = await thief.post("/api/auth/mfa/totp/verify", 200, mfa_token=pending, code=app.at(now, counter_offset=1))
    thief.headers = {"Authorization": f"Bearer {signed['token']}"}
    await thief.post("/api/auth/mfa/recovery/generate", 200)
    pending = (await thief.post("/api/auth/login", 200, **account))["mfa_token"]
    await thief.post("/api/auth/mfa/recovery", 401, mfa_token=pending, code=codes[0])
    # Keys, refreshing, and the same over the graph and a socket.
    key = (await thief.post("/api/auth/keys", 201, name="k", scopes=["runs:read"]))["secret"]
    await thief.post("/api/auth/refresh", 200, refresh_token=signed["refresh_token"])
    for token in (key, key[:-1] + "x", signed["token"] + "x"):
        await product.http.get("/api/training/runs", headers={"Authorization": f"Bearer {token}"})
        await product.http.get(f"/api/models/{token}", params={"filter": token, "token": token})
        await product.http.get("/api/models", headers={"Cookie": f"axonml_session={token}; axonml_refresh={token}"})
    for password in (PASSWORD, WRONG):
        document = LOGIN.format(password=password)
        answer = (await product.http.post("/graphql", json={"query": document})).json()
        thief.secrets |= strings([(answer.get("data") or {}).get("authLogin")]) - {"ada@example.com"}
        await product.http.post("/graphql", json={"query": document[:-1], "variables": {"password": password}})
        await product.http.post("/graphql", json={"query": document.replace("token", "tokn")})
    socket_headers = {"type": "connection_init", "payload": {"Authorization": f"Bearer {signed['token']}"}}
    async with connect(product.socket_url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        await socket.send(json.dumps(socket_headers))
        await socket.recv()
        payload = {"query": LOGIN.format(password=WRONG)}
        await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": payload}))
        await socket.recv()
    change = f'mutation {{ passwordChange(input: {{current: "{PASSWORD}", new: "{NEXT}"}}) {{ __typename }} }}'
    answer = (await product.http.post("/graphql", json={"query": change}, headers=thief.headers)).json()
    assert "errors" not in answer, answer
    text = log_lines.getvalue()
    assert '"path":"/api/auth/mfa/totp/verify"' in text.replace(" ", ""), "the flow itself is logged"
    assert len(thief.secrets) > 25
    assert {secret for secret in thief.secrets if written(secret, text)} == set()
