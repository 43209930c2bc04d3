"""Logs: the form of a line, and that no credential can be in one."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from server import logs

CANARIES = (
    "axk_ab12cd34_0123456789abcdefghijABCDEFGHIJ012345",
    "axr_ab12cd34_0123456789abcdefghijABCDEFGHIJ012345",
    "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c3IifQ.c2lnbmF0dXJl",
)


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    logs.configure("info", "json", stream=written)
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_time_level_logger_and_request_id(stream: io.StringIO) -> None:
    structlog.contextvars.bind_contextvars(request_id="r-1")
    logs.get_logger("axonml.test").info("hello", count=1)
    (line,) = lines(stream)
    assert line["event"] == "hello"
    assert (line["level"], line["logger"], line["request_id"], line["count"]) == ("info", "axonml.test", "r-1", 1)
    assert line["timestamp"].endswith("Z")


def test_the_standard_library_goes_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("elsewhere").warning("lost %s", "it", extra={"password": "hunter2"})
    logging.getLogger("elsewhere").debug("not shown")
    (line,) = lines(stream)
    assert (line["event"], line["logger"], line["password"]) == ("lost it", "elsewhere", logs.REDACTED)


@pytest.mark.parametrize("secret", CANARIES)
@pytest.mark.parametrize("form", ["{}", "Bearer {}", "got '{}' here", "http://x/?a={}", "{{'k': '{}'}}"])
def test_tokens_are_redacted_wherever_they_stand(stream: io.StringIO, secret: str, form: str) -> None:
    text = form.format(secret)
    log = logs.get_logger("axonml.test")
    log.info(text, value=text, nested={"list": [text, (text,)]}, raw=text.encode())
    logging.getLogger("library").error("said %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("failed")
    assert secret not in stream.getvalue()
    assert logs.REDACTED in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("postgresql://axonml:hunter2@db.example/axonml", "hunter2"),
        ("Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy"),
        ("http://127.0.0.1:3000/setup#abcDEF123", "abcDEF123"),
        ('{"password": "hunter2", "a": 1}', "hunter2"),
        ("password=hunter2&x=1", "hunter2"),
        ("refresh_token: hunter2", "hunter2"),
        ("Cookie: axonml_session=hunter2; b=c", "hunter2"),
        ("Set-Cookie: axonml_session=hunter2", "hunter2"),
    ],
)
def test_secrets_inside_text_are_redacted(text: str, secret: str) -> None:
    assert secret not in logs.redact_text(text)


@pytest.mark.parametrize(
    "key",
    ["authorization", "Cookie", "password", "new_password", "jwt_secret", "access_token", "api_key", "otp_code", "dsn"],
)
def test_values_of_secret_names_are_redacted(stream: io.StringIO, key: str) -> None:
    logs.get_logger("axonml.test").info("event", **{key: "hunter2"}, headers={key: ["hunter2"]})
    assert "hunter2" not in stream.getvalue()


def test_harmless_text_stays(stream: io.StringIO) -> None:
    logs.get_logger("axonml.test").info("request", path="/api/training/runs/run_0123", api_key_id="key_01", ms=1.5)
    (line,) = lines(stream)
    assert (line["path"], line["api_key_id"], line["ms"]) == ("/api/training/runs/run_0123", "key_01", 1.5)


def test_values_cannot_forge_a_line() -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    try:
        logs.configure("info", "console", stream=written)
        logs.get_logger("axonml.test").info("request", path="/a\n2026 [error] forged\x1b[2J")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
    assert len(written.getvalue().splitlines()) == 1
    assert "\x1b[2J" not in written.getvalue()


def test_a_direct_line_looks_like_any_other(stream: io.StringIO) -> None:
    fields: dict[str, str | int | float | None] = {"path": "/ä", "status": 200, "ms": 1.5, "user": None}
    logs.write_line("axonml.test", logging.INFO, "request", fields)
    logs.get_logger("axonml.test").info("request", **fields)
    logs.write_line("axonml.test", logging.DEBUG, "not shown", {})
    direct, other = lines(stream)
    assert direct.keys() == other.keys()
    assert direct["timestamp"][:16] <= other["timestamp"][:16]
    assert {**direct, "timestamp": ""} == {**other, "timestamp": ""}


@pytest.mark.parametrize("secret", CANARIES)
@pytest.mark.parametrize("form", ["{}", "Bearer {}", "http://x/?a={}", "/a\n{}\x1b[2J", "\u2028{}"])
@pytest.mark.parametrize("shape", ["json", "console"])
def test_a_direct_line_keeps_secrets_and_forged_lines_out(shape: Any, form: str, secret: str) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    try:
        logs.configure("info", shape, stream=written)
        logs.write_line("axonml.test", logging.WARNING, "request", {"path": form.format(secret), "status": 200})
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
    text = written.getvalue()
    assert secret not in text
    assert logs.REDACTED in text
    assert len(text.splitlines()) == 1
    assert "\x1b[2J" not in text
    assert all(word in text for word in ("request", "warning", "axonml.test", "200"))


@pytest.mark.parametrize(
    "text", ["PASſWORD=hunter2", "Baſic dXNlcjpodW50ZXIy", "to\u212aen: hunter2", "bAsıc aHVudGVyMg=="]
)
def test_letters_that_only_look_alike_hide_no_secret(text: str) -> None:
    assert logs.REDACTED in logs.redact_text(text)
