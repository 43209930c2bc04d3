"""Drawing series from what is stored: levels of chunks where they suffice, points where they are needed, and the tail.

Computes only; what else must be read is said by `wanted` and handed in by `take`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from asyncpg import Record

from domain import ids
from domain.metrics import Column, MetricSeries, RunSeries, SeriesAxis, SeriesRequest, draw, joined
from domain.metrics.pyramid import Group, Level, arranged, draw_levels, within
from domain.metrics.series import shared_out
from persistence.metrics import read_sql as sql
from persistence.metrics.chunks import unpack_level, unpack_points
from persistence.metrics.codec import decode
from persistence.metrics.rows import milliseconds


@dataclass(slots=True)
class _Piece:
    """Consecutive points of a key: a chunk in one of its forms, or (id 0) what is not sealed yet."""

    id: int
    kind: int
    first_step: int
    last_step: int
    data: bytes | None = None
    column: Column | None = None
    level: Level | None = None

    def take(self, kind: int, data: bytes) -> None:
        """Another form of the same points."""
        self.kind, self.data, self.level = kind, data, None

    def points(self, key: str) -> Column:
        """All points; the piece must have them."""
        if self.column is None:
            self.column = unpack_points(key, self.data or b"")
        return self.column

    def drawn(self, key: str) -> Level:
        """Its level as it is now."""
        if self.level is None:
            points = self.kind == sql.POINTS
            self.level = Level.of(self.points(key)) if points else unpack_level(self.data or b"")
        return self.level


@dataclass(slots=True)
class _Sketch:
    """A series in the making; `wanted` are the forms of chunks it needs first. None when the window has no point."""

    key: str
    pieces: list[_Piece]
    request: SeriesRequest
    began: int
    done: bool = False
    series: MetricSeries | None = None
    wanted: dict[int, int] = field(default_factory=dict)
    groups: list[Group] | None = None
    cut: dict[int, Level | None] = field(default_factory=dict)

    def advance(self) -> None:
        """Draws, or says what is missing."""
        self.wanted = {}
        if self.request.axis is not SeriesAxis.STEP:
            self._finish(draw(joined([piece.points(self.key) for piece in self.pieces]), self.request, self.began))
            return
        if self.groups is None:
            self.groups = arranged([(piece.first_step, piece.last_step) for piece in self.pieces], self.request)
        for group in self.groups:
            if not group.whole:
                self._want(self.pieces[place] for place in group.places)
        if self.wanted:
            return
        levels = [level for place, group in enumerate(self.groups) if (level := self._level(place, group)) is not None]
        drawn = draw_levels(self.key, levels, self.request.points) if levels else None
        if not isinstance(drawn, int):
            self._finish(drawn)
            return
        wide = (self.pieces[group.places[0]] for group in self.groups if group.whole)
        for piece in wide:
            if piece.drawn(self.key).width > drawn:
                self.wanted[piece.id] = sql.FINE if piece.kind == sql.COARSE else sql.POINTS

    def _finish(self, series: MetricSeries | None) -> None:
        self.done, self.series = True, series if series and series.count else None
        self.pieces = []

    def _want(self, pieces: Iterable[_Piece]) -> None:
        self.wanted.update((piece.id, sql.POINTS) for piece in pieces if piece.kind != sql.POINTS)

    def _level(self, place: int, group: Group) -> Level | None:
        if group.whole:
            return self.pieces[group.places[0]].drawn(self.key)
        if place not in self.cut:
            column = joined([self.pieces[each].points(self.key) for each in group.places])
            self.cut[place] = within(column, self.request)
        return self.cut[place]


class Drawing:
    """The series of several runs, from the rows of `sql.SERIES`."""

    def __init__(self, run_ids: Sequence[str], rows: Sequence[Record], request: SeriesRequest) -> None:
        self._seqs = dict.fromkeys(run_ids, 0)
        self._sketches: dict[str, list[_Sketch]] = {}
        by_run: dict[str, list[Record]] = {}
        for row in rows:
            by_run.setdefault(ids.from_uuid("run", row["run_id"]), []).append(row)
        pieces = {run_id: self._pieces(run_id, of_run) for run_id, of_run in by_run.items()}
        runs = sum(map(bool, pieces.values()))
        for run_id, by_key in pieces.items():
            shared = shared_out(request, len(by_key) * runs)
            began = milliseconds(by_run[run_id][0]["began"])
            self._sketches[run_id] = [_Sketch(key, by_key[key], shared, began) for key in sorted(by_key)]

    def _pieces(self, run_id: str, rows: Sequence[Record]) -> dict[str, list[_Piece]]:
        (head,) = (row for row in rows if row["kind"] == sql.HEAD)
        self._seqs[run_id] = head["place"]
        by_key: dict[str, list[_Piece]] = {}
        tail: dict[str, list[Column]] = {}
        keys = None if head["keys"] is None else frozenset(head["keys"])
        for row in rows:
            if row["kind"] == sql.BATCH:
                for column in decode(row["data"], keys):
                    tail.setdefault(column.key, []).append(column)
            elif row["kind"] != sql.HEAD:
                piece = _Piece(row["id"], row["kind"], row["first_step"], row["last_step"], row["data"])
                by_key.setdefault(row["key"], []).append(piece)
        for key, parts in tail.items():
            column = joined(parts)
            bounds = int(column.steps.min()), int(column.steps.max())
            by_key.setdefault(key, []).append(_Piece(0, sql.POINTS, *bounds, column=column))
        return by_key

    @property
    def wanted(self) -> dict[int, int]:
        """The ids of chunks that are needed in another form, and which."""
        return {
            id_: kind for sketches in self._sketches.values() for each in sketches for id_, kind in each.wanted.items()
        }

    def take(self, rows: Iterable[Record]) -> None:
        """What was wanted."""
        data = {row["id"]: row["data"] for row in rows}
        for sketches in self._sketches.values():
            for sketch in sketches:
                for piece in sketch.pieces:
                    if piece.id in sketch.wanted:
                        piece.take(sketch.wanted[piece.id], data[piece.id])

    def advance(self) -> None:
        """Draws what can be drawn."""
        for sketches in self._sketches.values():
            for sketch in sketches:
                if not sketch.done:
                    sketch.advance()

    def series(self) -> dict[str, RunSeries]:
        """The series that have points in the window, for every run, once nothing is wanted."""
        return {
            run_id: RunSeries([each.series for each in self._sketches.get(run_id, ()) if each.series], seq)
            for run_id, seq in self._seqs.items()
        }
