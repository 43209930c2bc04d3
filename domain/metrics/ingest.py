"""The REST forms of a metric batch, as decoded JSON: a flat object, a list of them, single values, columns, lines.

Everything is checked here: what is not a number is refused by the path of its field, such as `[3].loss`. Nothing
here parses bytes, and nothing is dropped in silence except null, which means "no value at this step".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from domain.errors import BadUserInput
from domain.metrics.batch import MAX_STEP, MAX_TIMESTAMP, MIN_STEP, MIN_TIMESTAMP, Draft
from domain.metrics.draft import DraftBuilder, milliseconds, number, whole
from domain.metrics.keys import MAX_KEY, metric_key

_STEP: Final = "step"
_TIMESTAMP: Final = "timestamp"
_EPOCH: Final = "epoch"
_ENTRY: Final = frozenset({"key", "value", _STEP, _TIMESTAMP})
_MANY: Final = 16
_COLUMNS: Final = frozenset({"steps", "values", "timestamps"})


def decode(document: Any) -> Draft:
    """The draft of one JSON document in any form.

    Raises BadUserInput naming the field; `points` or `keys` when there are too many.
    """
    builder = DraftBuilder()
    _document(builder, document, "")
    return builder.build()


def decode_lines(documents: Iterable[Any]) -> Draft:
    """The draft of several JSON documents, each in any form, in their order; fields are named by line, from 0.

    Raises as `decode`; BadUserInput when there is none.
    """
    lines = DraftLines()
    for document in documents:
        lines.add(document)
    return lines.build()


class DraftLines:
    """The draft of JSON documents that come one after the other, as in `decode_lines`."""

    def __init__(self) -> None:
        self._builder = DraftBuilder()
        self._count = 0

    def add(self, document: Any) -> None:
        """The next line. Raises BadUserInput naming the field."""
        _document(self._builder, document, f"[{self._count}]")
        self._count += 1

    def build(self) -> Draft:
        """Call it once, after the last line. Raises BadUserInput when there was none."""
        if not self._count:
            raise BadUserInput("expected at least one line")
        return self._builder.build()


def _document(builder: DraftBuilder, document: Any, path: str) -> None:
    if isinstance(document, list):
        if not document:
            raise BadUserInput("expected at least one point", field=path or None)
        for place, row in enumerate(document):
            if not isinstance(row, dict):
                raise BadUserInput("expected an object of metric values", field=f"{path}[{place}]")
            _row(builder, row, f"{path}[{place}]")
    elif not isinstance(document, dict):
        raise BadUserInput("metrics come as an object or a list of objects", field=path or None)
    elif isinstance(document.get("metrics"), list):
        _only(document, "metrics", path)
        # Lines may count on from one another, so only a document alone is taken by its columns.
        if path or not _taken_by_column(builder, document["metrics"]):
            _entries(builder, document["metrics"], _below(path, "metrics"))
    elif isinstance(document.get("series"), dict):
        _only(document, "series", path)
        _columns(builder, document["series"], _below(path, "series"))
    else:
        _row(builder, document, path)


def _below(path: str, name: str) -> str:
    shown = name if len(name) <= MAX_KEY else name[:MAX_KEY] + "…"
    return f"{path}.{shown}" if path else shown


def _only(document: Mapping[str, Any], name: str, path: str) -> None:
    for other in document:
        if other != name:
            raise BadUserInput(f"unknown field beside {name}", field=_below(path, other))


def _row(builder: DraftBuilder, row: Mapping[str, Any], path: str) -> None:
    """A flat object: `step` and `timestamp` place it, everything else is a value, `epoch` is both."""
    if not row:
        raise BadUserInput("expected at least one metric", field=path or None)
    given = row.get(_STEP)
    step = None if given is None else whole(given, field=_below(path, _STEP))
    given = row.get(_TIMESTAMP)
    timestamp = None if given is None else milliseconds(given, field=_below(path, _TIMESTAMP))
    values = []
    named = False
    for name, value in row.items():
        if name in (_STEP, _TIMESTAMP):
            continue
        named = True
        if value is None:
            continue
        field = _below(path, name)
        values.append((metric_key(name, field=field), number(value, field=field)))
        if name == _EPOCH and step is None:
            step = _whole_epoch(value)
    if not named:
        raise BadUserInput("expected at least one metric beside step and timestamp", field=path or None)
    if values:
        builder.row(values, step, timestamp)


def _whole_epoch(epoch: Any) -> int | None:
    """The step that an epoch stands for; an epoch such as 0.5 lies between steps and stands for none."""
    try:
        return whole(epoch, field=_EPOCH)
    except BadUserInput:
        return None


def _entries(builder: DraftBuilder, entries: Sequence[Any], path: str) -> None:
    if not entries:
        raise BadUserInput("expected at least one point", field=path)
    for place, entry in enumerate(entries):
        field = f"{path}[{place}]"
        if not isinstance(entry, dict):
            raise BadUserInput("expected an object with key and value", field=field)
        for name in entry:
            if name not in _ENTRY:
                raise BadUserInput("unknown field; expected key, value, step, timestamp", field=_below(field, name))
        key = entry.get("key")
        if not isinstance(key, str):
            raise BadUserInput("expected a metric key", field=f"{field}.key")
        step, timestamp = entry.get(_STEP), entry.get(_TIMESTAMP)
        builder.point(
            metric_key(key, field=f"{field}.key"),
            number(entry.get("value"), field=f"{field}.value"),
            None if step is None else whole(step, field=f"{field}.step"),
            None if timestamp is None else milliseconds(timestamp, field=f"{field}.timestamp"),
        )


def _taken_by_column(builder: DraftBuilder, entries: Sequence[Any]) -> bool:
    """Takes many entries at once when nothing about them is special; else takes nothing and says so."""
    if len(entries) < _MANY:
        return False
    columns: dict[Any, tuple[list[Any], list[Any], list[Any]]] = {}
    try:
        for entry in entries:
            if len(entry) != len(_ENTRY):
                return False
            key = entry["key"]
            column = columns.get(key)
            if column is None:
                column = columns[key] = ([], [], [])
            column[0].append(entry["value"])
            column[1].append(entry[_STEP])
            column[2].append(entry[_TIMESTAMP])
        names = [metric_key(key, field="key") for key in columns]
    except (KeyError, TypeError, BadUserInput):
        return False
    # Two spellings of one key would come apart; their points must stay in the order in which they were sent.
    if len(set(names)) < len(names) or not all(_are_plain(*column) for column in columns.values()):
        return False
    for name, (values, steps, timestamps) in zip(names, columns.values(), strict=True):
        builder.column(name, values, steps, timestamps, field="metrics")
    return True


def _are_plain(values: list[Any], steps: list[Any], timestamps: list[Any]) -> bool:
    kinds = set(map(type, values))
    return (
        set(map(type, steps)) == set(map(type, timestamps)) == {int}
        and min(steps) >= MIN_STEP
        and max(steps) <= MAX_STEP
        and min(timestamps) >= MIN_TIMESTAMP
        and max(timestamps) <= MAX_TIMESTAMP
        and (kinds == {float} or (kinds <= {float, int} and min(values) >= MIN_STEP and max(values) <= MAX_STEP))
    )


def _columns(builder: DraftBuilder, series: Mapping[str, Any], path: str) -> None:
    if not series:
        raise BadUserInput("expected at least one series", field=path)
    for key, columns in series.items():
        field = _below(path, key)
        if not isinstance(columns, dict):
            raise BadUserInput("expected an object with steps and values", field=field)
        for name, column in columns.items():
            if name not in _COLUMNS:
                raise BadUserInput("unknown field; expected steps, values, timestamps", field=_below(field, name))
            if not (isinstance(column, list) or (column is None and name != "values")):
                raise BadUserInput("expected a list", field=f"{field}.{name}")
        if "values" not in columns:
            raise BadUserInput("expected a list of values", field=f"{field}.values")
        builder.column(key, columns["values"], columns.get("steps"), columns.get("timestamps"), field=field)
