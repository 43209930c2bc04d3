"""Literals of a filter: each is read as the type of what it is compared with, or refused with its column."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

from domain import ids
from domain.errors import BadUserInput
from domain.search.ast import AttributeTarget, Id, KeyTarget, Operator, Target, Value
from domain.search.lexer import Token, TokenKind, refuse
from domain.search.vocabulary import AttributeKind, KeyedKind

_ORDERED: Final = frozenset({Operator.LT, Operator.LE, Operator.GT, Operator.GE})
_UNORDERED_KINDS: Final = frozenset(
    {AttributeKind.CHOICE, AttributeKind.BOOLEAN, AttributeKind.ID, AttributeKind.REFERENCE}
)
_MAX_MILLISECONDS: Final = 253_402_300_799_999  # the end of the year 9999
_MIN_MILLISECONDS: Final = -62_135_596_800_000  # the start of the year 1


def is_textual(target: Target) -> bool:
    """Whether patterns apply to it."""
    if isinstance(target, KeyTarget):
        return target.kind is not KeyedKind.NUMBERS
    return target.attribute.kind in (AttributeKind.TEXT, AttributeKind.REFERENCE)


def check_operator(target: Target, operator: Operator, value: Value, token: Token, field: str) -> None:
    """Refuses orders where there is none: of words, booleans and ids, and against NaN."""
    if operator not in _ORDERED:
        return
    if isinstance(target, AttributeTarget) and target.attribute.kind in _UNORDERED_KINDS:
        raise refuse(f"{target.name} has no order: use =, !=, in, not in or is null", token.column, field=field)
    if isinstance(value, bool):
        raise refuse("true and false have no order: use = or !=", token.column, field=field)
    if isinstance(value, float) and math.isnan(value):
        raise refuse("NaN has no order: use = or !=", token.column, field=field)


def read_value(target: Target, token: Token, field: str) -> Value:
    """The value of a literal for `target`. Raises BadUserInput naming the column."""
    if token.is_word("null"):
        raise refuse("nothing equals null: use 'is null' or 'is not null'", token.column, field=field)
    if isinstance(target, KeyTarget):
        return _keyed(target, token, field)
    attribute = target.attribute
    match attribute.kind:
        case AttributeKind.TEXT:
            return _text(token, field)
        case AttributeKind.NUMBER:
            return _number(token, field)
        case AttributeKind.BOOLEAN:
            return _boolean(token, field)
        case AttributeKind.TIME:
            return _time(token, field)
        case AttributeKind.CHOICE:
            return _choice(token, attribute.choices, field)
        case AttributeKind.ID:
            return _id(target, token, field)
        case AttributeKind.REFERENCE:
            text = _text(token, field)
            return _id(target, token, field) if ids.looks_like_id(text) else text


def _keyed(target: KeyTarget, token: Token, field: str) -> Value:
    if target.kind is KeyedKind.NUMBERS:
        return _number(token, field)
    if target.kind is KeyedKind.MIXED:
        if token.kind is TokenKind.NUMBER:
            return _number(token, field)
        if token.is_word("true") or token.is_word("false"):
            return _boolean(token, field)
    return _text(token, field)


def _text(token: Token, field: str) -> str:
    if token.kind is not TokenKind.TEXT:
        raise refuse(f"expected a text in quotes, got {token.shown()}", token.column, field=field)
    return token.text


def _number(token: Token, field: str) -> float:
    if token.kind is not TokenKind.NUMBER:
        raise refuse(f"expected a number, got {token.shown()}", token.column, field=field)
    number = float(token.text)
    if math.isinf(number) and "i" not in token.text.lower():
        raise refuse("expected a number that fits a double", token.column, field=field)
    return number


def _boolean(token: Token, field: str) -> bool:
    if not (token.is_word("true") or token.is_word("false")):
        raise refuse(f"expected true or false, got {token.shown()}", token.column, field=field)
    return token.text.lower() == "true"


def _choice(token: Token, choices: tuple[str, ...], field: str) -> str:
    value = token.text.lower()
    if token.kind not in (TokenKind.TEXT, TokenKind.WORD) or value not in choices:
        raise refuse(f"expected one of {', '.join(choices)}, got {token.shown()}", token.column, field=field)
    return value


def _id(target: AttributeTarget, token: Token, field: str) -> Id:
    if token.kind is not TokenKind.TEXT or target.attribute.id_kind is None:
        raise refuse(f"expected an id in quotes, got {token.shown()}", token.column, field=field)
    try:
        return Id(ids.parse(target.attribute.id_kind, token.text))
    except BadUserInput as error:
        raise refuse(error.message, token.column, field=field) from None


def _time(token: Token, field: str) -> datetime:
    if token.kind is TokenKind.NUMBER:
        milliseconds = _number(token, field)
        if not _MIN_MILLISECONDS <= milliseconds <= _MAX_MILLISECONDS:
            raise refuse("expected milliseconds since 1970, up to the year 9999", token.column, field=field)
        seconds, rest = divmod(int(milliseconds), 1_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1_000)
    if token.kind is TokenKind.TEXT and len(token.text) <= 40:
        try:
            moment = datetime.fromisoformat(token.text)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise refuse(
        f'expected a time such as "2026-01-31" or "2026-01-31T09:30:00Z", got {token.shown()}',
        token.column,
        field=field,
    )
