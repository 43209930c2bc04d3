"""The rules of identity that need no database: addresses, passwords, lifetimes, the short memory, the hashing pool."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import argon2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from domain.errors import BadUserInput, Overloaded
from domain.identity import ClientInfo, SessionPolicy, Tokens
from domain.identity.choosing import chosen_password
from domain.identity.live import LiveCache
from domain.identity.ports import Verdict
from domain.identity.rules import email, email_to_look_up, presented_password, shortest_password
from server.edge.cookies import Cookies
from server.security.guessing import MOST_JUDGED, guesses
from server.security.opening import session_policy
from server.security.passwords import Argon2Passwords
from server.security.setup_token import SetupTokenFile
from server.settings import AuthSettings
from tests.support.identity import PASSWORD, CountingHasher

# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Ada@Example.ORG", "ada@example.org"),
        ("a.b+c@d-e.f", "a.b+c@d-e.f"),
        ("root@localhost", "root@localhost"),
        ("x" * 64 + "@" + ".".join(["y" * 62] * 4), "x" * 64 + "@" + ".".join(["y" * 62] * 4)),
    ],
)
def test_an_address_is_folded(text: str, folded: str) -> None:
    assert email(text) == folded


@pytest.mark.parametrize(
    "text",
    [
        "", "@", "ada", "ada@", "@b.c", "a@b@c", " ada@b.c", "ada@b.c ", "a b@c.d", ".a@b.c", "a.@b.c", "a..b@c.d",
        "ada@-b.c", "ada@b-.c", "ada@b..c", "ada@.b", "ada@b.", "ada@b_c.d", "ada\x00@b.c", "ada@b.c\n", "ädä@b.c",
        "ada@bücher.de", "<ada@b.c>", '"a b"@c.d', "x" * 65 + "@b.c", "a@" + "b." * 127 + "c", "\ud800@b.c",
        "ada@[127.0.0.1]", "\u212a@b.c",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        email(text)
    assert refused.value.field == "email"
    assert email_to_look_up(text) is None


@given(st.text(max_size=400))
def test_a_folded_address_stays_as_it_is(text: str) -> None:
    found = email_to_look_up(text)
    assert found is None or (email(found) == found and found.isascii() and len(found) <= 320)


# --- passwords -----------------------------------------------------------------------------------


class Inline(Argon2Passwords):
    """Judges at once, without a thread."""

    async def guesses(self, password: str, words: Sequence[str]) -> float:
        return guesses(password, words)


def chosen(text: str, *, mfa_required: bool = False) -> str:
    judging = chosen_password(
        Inline(CountingHasher()),
        text,
        shortest=shortest_password(mfa_required=mfa_required),
        address="ada.lovelace@engine.example",
        name="Ada Lovelace",
    )
    with pytest.raises(StopIteration) as done:
        judging.send(None)  # nothing is waited for
    return str(done.value.value)


@pytest.mark.parametrize(
    "text",
    [
        PASSWORD,
        "violet umbrella crossing tundra",
        "xK9#mQ2$vL5@nR8&",
        "     ü ñ 漢 字 ж q z w    ",
        "ハンバーグ定食を三つください、お願い",
        "x7Ghq" * 4 + "trombone under glass",
        "z" + "pj4mdw8vk" * 113,  # 1018 bytes
    ],
)
def test_a_good_password_is_taken_as_it_is(text: str) -> None:
    assert chosen(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "at least 15"),
        ("short password", "at least 15"),
        ("ü" * 14, "at least 15"),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", "same few"),
        ("abababababababab", "same few"),
        ("passwordpassword", "easily guessed"),
        ("Password123456789", "easily guessed"),
        ("P@ssw0rdP@ssw0rd!", "easily guessed"),
        ("qwertyuiopasdfghjkl", "easily guessed"),
        ("123456789012345", "easily guessed"),
        ("abcdefghijklmnopqrstuvwxyz", "easily guessed"),
        ("correct horse battery staple", "easily guessed"),
        ("iloveyou-iloveyou-iloveyou", "easily guessed"),
        ("xk7qxk7qxk7qxk7qxk7q", "same few"),
        ("xk7qzxk7qzxk7qzxk7qz1234", "easily guessed"),
        ("LovelaceAdaEngine2", "easily guessed"),
        ("axonml-admin-password", "easily guessed"),
        ("qwerty admin dragon love", "easily guessed"),
        ("qwertyadmindragonlove", "easily guessed"),
        ("machine-learning-notebook-model-training", "easily guessed"),
        ("drowssap drowssap drowssap", "easily guessed"),
        ("l37m31n l37m31n l37m31n", "easily guessed"),
        ("14.07.1999 14.07.1999", "easily guessed"),
        ("adalovelace-adalovelace", "easily guessed"),
        ("пароль пароль пароль", "easily guessed"),
        ("йцукенгшщзхъфывапр", "easily guessed"),
        ("flower garden house apple", "make it longer"),
        ("my ada.lovelace@engine.example key", "e-mail"),
        ("ADA.LOVELACE@ENGINE.EXAMPLE 4711 zebra", "e-mail"),
        ("nine lanterns\x00under", "NUL"),
        ("nine lanterns \ud800 under", "surrogate"),
        ("ü" * 513, "1024 bytes"),
        ("x" * 1_000_000, "1024 bytes"),
    ],
)
def test_a_weak_password_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(BadUserInput, match=reason) as refused:
        chosen(text)
    assert refused.value.field == "password"


def test_the_commonest_passwords_are_refused_however_they_are_spelt() -> None:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    common = [one for one in FREQUENCY_LISTS["passwords"] if len(one) >= 8]
    assert len(common) > 3_000
    for number, password in enumerate(common[:3_000]):
        digits = any(character.isdigit() for character in password)
        swapped = password.translate(str.maketrans("ais", "@!$") if digits else str.maketrans("aeios", "@3!0$"))
        spelling = (password, password.capitalize(), swapped, password.upper(), password[::-1])[number % 5]
        with pytest.raises(BadUserInput):
            chosen(spelling, mfa_required=True)


@pytest.mark.parametrize("text", ["kx7!Qzpw", "wvmpzkqj", "hsosvhhd", "8R77rrpk", "tr4j-wQoq7", "漢字ж qzü7"])
def test_where_a_factor_is_needed_as_well_eight_characters_are_enough(text: str) -> None:
    assert chosen(text, mfa_required=True) == text


@pytest.mark.parametrize(
    "text", ["Lovelace", "lovelace1", "Engine!1", "axonml-1", "trombone", "Winter26", "12.12.1999"]
)
def test_where_a_factor_is_needed_as_well_what_is_common_stays_refused(text: str) -> None:
    with pytest.raises(BadUserInput):
        chosen(text, mfa_required=True)


@pytest.mark.parametrize(
    "text",
    [
        "4@8({[<3691!|70$5+%2" * 60,
        "ab" * 600,
        "aab" * 400,
        "correct horse battery " * 50,
        "19042010" * 150,
        "a" * 1_024,
    ],
    ids=lambda text: text[:20],
)
def test_judging_takes_bounded_time(text: str) -> None:
    guesses("x")  # reads the lists
    before = time.process_time()
    guesses(text, ["ada", "lovelace"])
    assert time.process_time() - before < 1
    assert guesses(text) == guesses(text[:MOST_JUDGED])


async def test_judging_knows_of_each_account_alone() -> None:
    passwords = Argon2Passwords(CountingHasher())
    text = "zorblatt-quimby"
    told, untold = await asyncio.gather(passwords.guesses(text, ["zorblatt", "quimby"]), passwords.guesses(text, []))
    assert told < untold == await passwords.guesses(text, [])
    passwords.close()


def test_two_spellings_of_one_text_are_one_password_and_look_alikes_are_not() -> None:
    assert presented_password("u\u0308ber den Wolken") == presented_password("\u00fcber den Wolken")
    assert presented_password("\ufb01ne") != presented_password("fine")  # NFC, not NFKC
    assert presented_password(" Both ") == " Both "


@given(st.text(max_size=60))
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        password = chosen(text)
    except BadUserInput:
        return
    assert len(password) >= 15
    assert len(password.encode()) <= 1024


# --- hashing in bounded room ---------------------------------------------------------------------


@pytest.fixture
def hasher() -> CountingHasher:
    return CountingHasher()


async def test_right_wrong_nobody_and_outdated(hasher: CountingHasher) -> None:
    passwords = Argon2Passwords(hasher)
    stored = await passwords.hash("p")
    hasher.computed = 0
    for given_hash, text, verdict in (
        (stored, "p", Verdict.RIGHT),
        (stored, "q", Verdict.WRONG),
        (None, "p", Verdict.WRONG),
        (argon2.PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash("p"), "p", Verdict.OUTDATED),
    ):
        before = hasher.computed
        assert await passwords.verify(given_hash, text) is verdict
        assert hasher.computed == before + 1
    passwords.close()


def test_production_hashes_cost_at_least_what_owasp_asks_for() -> None:
    costs = Argon2Passwords()._hasher
    assert costs.type is argon2.Type.ID
    assert costs.memory_cost >= 19 * 1024
    assert costs.time_cost >= 2
    assert costs.salt_len >= 16
    assert costs.hash_len >= 32


def test_nobodys_hash_costs_what_a_real_one_costs() -> None:
    passwords = Argon2Passwords()
    assert argon2.extract_parameters(passwords._nobody) == argon2.extract_parameters(argon2.PasswordHasher().hash("p"))
    passwords.close()


class Held(CountingHasher):
    """Every hash waits for a sign."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.running = threading.Semaphore(0)

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.running.release()
        assert self.go.wait(30)
        return super().hash(password, salt=salt)


async def test_a_flood_is_told_to_come_back_and_leaves_the_room_as_it_was() -> None:
    held = Held()
    passwords = Argon2Passwords(held, threads=2, queue=3)
    waiting = [asyncio.ensure_future(passwords.hash(str(number))) for number in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await passwords.hash("one too many")
    assert refused.value.retry_after == 1
    held.go.set()
    assert len(set(await asyncio.gather(*waiting))) == 5
    assert await passwords.hash("there is room again")
    passwords.close()


async def test_room_of_a_caller_who_left_is_given_back_when_the_hash_is_done() -> None:
    held = Held()
    passwords = Argon2Passwords(held, threads=1, queue=0)
    leaving = asyncio.ensure_future(passwords.hash("x"))
    await asyncio.to_thread(held.running.acquire)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    with pytest.raises(Overloaded):  # the thread still works: its memory is still in use
        await passwords.hash("y")
    held.go.set()
    passwords.close()
    assert passwords._room.acquire(blocking=False)


# --- the short memory ----------------------------------------------------------------------------


class Source:
    """Counts reads; a read waits for `go` when there is one."""

    def __init__(self) -> None:
        self.value: str | None = "alive"
        self.reads = 0
        self.go: asyncio.Event | None = None

    async def load(self, key: str) -> str | None:
        self.reads += 1
        found = self.value
        if self.go is not None:
            await self.go.wait()
        return None if found is None else f"{key} {found}"


async def test_an_entry_is_good_for_its_time_and_absence_is_not_remembered() -> None:
    source, ticks = Source(), 0.0
    cache = LiveCache(source.load, seconds=0.5, ticks=lambda: ticks)
    assert await cache.get("a") == "a alive"
    ticks = 0.49
    assert await cache.get("a") == "a alive"
    assert source.reads == 1
    ticks = 0.5
    source.value = None
    assert await cache.get("a") is None
    assert await cache.get("a") is None
    assert source.reads == 3


async def test_fifty_readers_of_one_key_read_once() -> None:
    source = Source()
    source.go = asyncio.Event()
    cache = LiveCache(source.load)
    readers = [asyncio.ensure_future(cache.get("a")) for _ in range(50)]
    await asyncio.sleep(0)
    source.go.set()
    assert set(await asyncio.gather(*readers)) == {"a alive"}
    assert source.reads == 1


async def test_a_reader_who_leaves_does_not_take_the_others_along() -> None:
    source = Source()
    source.go = asyncio.Event()
    cache = LiveCache(source.load)
    first, second = (asyncio.ensure_future(cache.get("a")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    source.go.set()
    assert await second == "a alive"


async def test_a_read_that_was_under_way_at_the_drop_is_not_remembered() -> None:
    source = Source()
    source.go = asyncio.Event()
    cache = LiveCache(source.load)
    early = asyncio.ensure_future(cache.get("a"))
    await asyncio.sleep(0)
    source.value = None
    cache.drop("a")
    late = asyncio.ensure_future(cache.get("a"))
    await asyncio.sleep(0)
    source.go.set()
    assert await early == "a alive"
    assert await late is None


async def test_the_memory_is_bounded() -> None:
    source = Source()
    cache = LiveCache(source.load, most=3)
    for key in "abcde":
        await cache.get(key)
    assert list(cache._entries) == ["c", "d", "e"]


# --- lifetimes, clients, files, cookies ----------------------------------------------------------


def test_nothing_outlives_its_session() -> None:
    settings = AuthSettings(access_token_minutes=60, session_timeout_minutes=600, jwt_expiry_hours=0.5)
    assert session_policy(settings) == SessionPolicy(*[timedelta(minutes=30)] * 3)


def test_a_client_is_kept_printable_and_short() -> None:
    cleaned = ClientInfo("::1\r\n", "Mozilla\x1b[31m " + "x" * 1_000_000).cleaned()
    assert cleaned.address == "::1"
    assert cleaned.user_agent is not None
    assert cleaned.user_agent.startswith("Mozilla[31m xxx")
    assert len(cleaned.user_agent) == 250
    assert ClientInfo("\n", None).cleaned() == ClientInfo(None, None)


def test_the_setup_token_lies_in_a_private_file(tmp_path: Path) -> None:
    file = SetupTokenFile(tmp_path)
    assert file.read() is None
    file.write("one")
    file.write("two")
    assert file.read() == "two"
    assert (tmp_path / "setup-token").stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["setup-token"]
    file.clear()
    file.clear()
    assert list(tmp_path.iterdir()) == []


def _set_cookies(act: Callable[[Cookies, Response], None], *, secure: bool) -> list[str]:
    response = Response()
    act(Cookies(secure=secure), response)
    return response.headers.getlist("set-cookie")


def test_cookies_are_out_of_reach_of_scripts_and_the_refresh_token_goes_where_it_is_used() -> None:
    tokens = Tokens("ACCESS", "REFRESH", 600, 3600)
    session, *refreshes = _set_cookies(lambda cookies, response: cookies.keep(response, tokens), secure=True)
    assert session == "__Host-axonml_session=ACCESS; HttpOnly; Max-Age=3600; Path=/; SameSite=lax; Secure"
    assert refreshes == [
        f"__Secure-axonml_refresh=REFRESH; HttpOnly; Max-Age=3600; Path={path}; SameSite=strict; Secure"
        for path in ("/api/auth/refresh", "/graphql")
    ]
    plain = _set_cookies(lambda cookies, response: cookies.keep(response, tokens), secure=False)
    assert [one.partition("=")[0] for one in plain] == ["axonml_session", "axonml_refresh", "axonml_refresh"]
    assert not any("Secure" in one for one in plain)
    gone = _set_cookies(lambda cookies, response: cookies.clear(response), secure=True)
    assert len(gone) == 3
    assert all("Max-Age=0" in one and "Secure" in one for one in gone)
