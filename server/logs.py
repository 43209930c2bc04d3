"""Structured logs: one event per line, JSON for machines and columns for a terminal, with request ids.

Everything that logs, the standard library and uvicorn included, passes through the same processors, so that
no secret reaches a log by a side door. Nothing here may ever write a credential: redaction is the last step
before rendering.
"""

from __future__ import annotations

import copy
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog
from structlog.typing import Processor, WrappedLogger

REDACTED: Final = "[redacted]"

_SECRET_KEYS: Final = re.compile(
    r"authorization|cookie|passw|secret|token|otp|recovery|credential|api_?key$|private|dsn$", re.IGNORECASE
)
_HARMLESS_KEYS: Final = frozenset({"tokens", "api_key_id", "key_id"})
_SECRET_TEXT: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"\b(ax[a-z])_[A-Za-z0-9_\-.~+/=]{6,}"), r"\1_" + REDACTED),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9_\-.~+/=]{4,}", re.IGNORECASE), r"\1 " + REDACTED),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*\.?[A-Za-z0-9_-]*"), REDACTED),
    (re.compile(r"(\b[a-z][a-z0-9+.\-]*://[^:/@\s]*):[^@/\s]+@", re.IGNORECASE), r"\1:" + REDACTED + "@"),
    (re.compile(r"(/(?:setup|invite)#)[^\s\"']+"), r"\1" + REDACTED),
    (re.compile(r"(\b(?:Set-)?Cookie\s*:\s*)[^\r\n]+", re.IGNORECASE), r"\1" + REDACTED),
    (
        re.compile(
            r"""(\b[a-z_]*(?:passw(?:or)?d|secret|token)["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&"']+)""",
            re.IGNORECASE,
        ),
        r"\1" + REDACTED,
    ),
)
_READY: Final = "axonml_line"
_json: Final = msgspec.json.Encoder()
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


# Lower-case text without any of these cannot match a pattern above: looking for them costs far less.
_MARKS: Final = ("ax", "bearer", "basic", "eyj", "://", "#", "cookie", "passw", "secret", "token")


def redact_text(text: str) -> str:
    """`text` without anything that looks like a credential."""
    # Beyond ASCII there are letters that a pattern takes for others, so those texts are always looked at.
    if text.isascii():
        lowered = text.lower()
        if not any(mark in lowered for mark in _MARKS):
            return text
    for pattern, replacement in _SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return text


@lru_cache(maxsize=1_024)
def _is_secret(key: str) -> bool:
    return _SECRET_KEYS.search(key) is not None and key not in _HARMLESS_KEYS


def _redact(key: str, value: object) -> object:
    if _is_secret(key):
        return REDACTED
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bytes):
        return redact_text(value.decode("latin-1"))
    if isinstance(value, Mapping):
        return {str(inner): _redact(str(inner), item) for inner, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact("", item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact_text(str(value))


def _escape(text: str) -> str:
    """Control characters written out, so that no value can forge a second line or move the cursor."""
    if text.isascii() and text.isprintable():
        return text
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def redact(_logger: WrappedLogger, _method: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
    """Processor: removes credentials from every value, and control characters except from tracebacks."""
    for key, value in event.items():
        if key.startswith("_"):
            continue
        clean = _redact(key, value)
        event[key] = _escape(clean) if isinstance(clean, str) and key != "exception" else clean
    return event


_SHARED: Final[tuple[Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
)


def _drop_color(
    _logger: WrappedLogger, _method: str, event: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    event.pop("color_message", None)  # uvicorn repeats its message here, with terminal colours
    return event


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Renders events; a line that `write_line` made is passed on where `lines` are what is written."""

    def __init__(self, *, lines: bool, worker: int | None, **options: Any) -> None:
        super().__init__(**options)
        self._lines = lines
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        event: Mapping[str, object] | None = getattr(record, _READY, None)
        if event is None:
            return super().format(record)
        if self._worker is not None:
            event = {"worker": self._worker, **event}
        if self._lines:
            return _json.encode(event).decode()
        record = copy.copy(record)
        # As structlog hands its own events to this formatter.
        vars(record).update(msg=dict(event), _logger=None, _name=record.levelname.lower())
        return super().format(record)


def write_line(name: str, level: int, event: str, fields: Mapping[str, str | int | float | None]) -> None:
    """An event for which speed counts: to the log as any other, but past the processors.

    The text of `fields` is redacted and escaped here; no name of a field may be one of a secret.
    """
    logger = logging.getLogger(name)
    if not logger.isEnabledFor(level):
        return
    line: dict[str, object] = {
        key: _escape(redact_text(value)) if isinstance(value, str) else value for key, value in fields.items()
    }
    line["event"] = event
    line["logger"] = name
    line["level"] = logging.getLevelName(level).lower()
    line["timestamp"] = datetime.now(UTC).replace(tzinfo=None).isoformat() + "Z"
    record = logging.LogRecord(name, level, __file__, 0, event, None, None)
    setattr(record, _READY, line)
    logger.handle(record)


def configure(
    level: str = "info",
    form: Literal["auto", "console", "json"] = "auto",
    *,
    stream: TextIO | None = None,
    worker: int | None = None,
) -> None:
    """Sends every log event of this process of `level` and above to `stream` (standard error by default).

    `worker` is the process id that the events of a web worker carry.
    May be called again: the previous configuration is replaced.
    """
    target = stream if stream is not None else sys.stderr
    console = form == "console" or (form == "auto" and target.isatty())
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )

    def stamp(_logger: WrappedLogger, _method: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
        if worker is not None:
            event.setdefault("worker", worker)
        return event

    shared = (*_SHARED, stamp)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        _Formatter(
            lines=not console,
            worker=worker,
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _drop_color],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "tortoise", "aerich"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    logging.getLogger("uvicorn.access").disabled = True  # the edge writes its own access log, with request ids
    # Strawberry logs the text of every refused document, with what callers wrote into it; `server.graphql` reports
    # defects instead.
    logging.getLogger("strawberry.execution").disabled = True
    for noisy in ("uvicorn", "uvicorn.error", "websockets", "asyncio", "tortoise", "httpx"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level) if level != "debug" else logging.INFO)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose events carry `name` and the request id of the caller, if there is one."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
