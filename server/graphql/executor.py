"""graphql-core's plain executor, which reads simple parts of an answer in one pass instead of value by value.

Most of a page is leaves that are attributes of an object: a name, a status, the last value of a metric. graphql-core
gives each of them a path, a resolve info and two dozen calls. Here the selected fields of a type are sorted once for
each operation: such leaves are read by name and coerced as their type says, and an edge whose resolver is marked
`for_several` is asked for once for all objects of a list. Whatever is not as simple as that (an awaitable, a wrong
value, an error, a null where none may be) leaves the whole object or list to graphql-core, which completes it or words
the error. Nothing is lost by asking again then: attributes are read, and loaders keep what they have loaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLFieldResolver,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    TypeNameMetaFieldDef,
    Undefined,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList, GroupedFieldSet
from graphql.execution.values import get_argument_values
from graphql.pyutils import Path
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.field import StrawberryField

from resolvers.batching import FOR_SEVERAL, Several

_DEFINITION: Final = "strawberry-definition"
_VALUES: Final = frozenset({bool, int, float, str, list, tuple, dict})
"""Types whose values are neither awaitable nor exceptions."""

Row = dict[str, Any]
Coerce = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Edge:
    """A field that is asked for once for all objects of a list. Below it only leaves are selected."""

    name: str
    field: GraphQLField
    details: FieldDetailsList
    resolve: GraphQLFieldResolver


@dataclass(frozen=True, slots=True)
class Reading:
    """How the selected fields of one type are come by, in the order of the answer.

    Of each entry: its response name, the attribute, what coerces it, whether it may be null. Without a coercion the
    second stands for the value: the name of the type, or None where a field of `rest` will be, which graphql-core
    completes. `edges` are all of `rest`; None when one of them is not an edge.
    """

    kind: GraphQLObjectType
    selected: GroupedFieldSet  # held, for it is known by its identity
    entries: tuple[tuple[str, Any, Coerce | None, bool], ...]
    rest: GroupedFieldSet
    edges: tuple[Edge, ...] | None

    @property
    def worthwhile(self) -> bool:
        """Whether it spares anything."""
        return len(self.rest) < len(self.entries)

    def row(self, source: object) -> Row | None:
        """What is selected of an object, None in place of `rest`. None: something is not simple, or wrong."""
        row: Row = {}
        try:
            for name, attribute, coerce, nullable in self.entries:
                if coerce is None:
                    row[name] = attribute
                    continue
                value = getattr(source, attribute)
                if value is None:
                    if not nullable:
                        return None
                    row[name] = None
                    continue
                if type(value) not in _VALUES and not _is_value(value):
                    return None
                row[name] = value = coerce(value)
                if value is None or value is Undefined:
                    return None
        except Exception:  # noqa: BLE001 - graphql-core meets it again, and reports it where it belongs
            return None
        return row

    def rows(self, items: Iterable[object], info: GraphQLResolveInfo[Any]) -> list[Row] | None:
        """`row` of each object. None: of one there is none, or it is null, or of another type."""
        rows = []
        for item in items:
            if item is None or not _is_value(item) or not _belongs(item, self.kind, info):
                return None
            row = self.row(item)
            if row is None:
                return None
            rows.append(row)
        return rows


class OnePassExecutor(Executor[Any]):
    """Completes without incremental delivery, with one cheap test for awaitables, and what is simple in one pass.

    Strawberry passes its own test for awaitables to queries but not to subscriptions, so it is set here.
    """

    build_resolve_info = StrawberryGraphQLCoreExecutionContext.build_resolve_info  # which needs no more than this has

    def __init__(self, *args: Any, operation_extensions: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_awaitable = optimized_is_awaitable  # type: ignore[assignment] # narrower than TypeGuard, same answer
        self.operation_extensions = operation_extensions
        self._readings: dict[tuple[str, int], Reading] = {}

    def build_per_event_executor(self, payload: Any) -> OnePassExecutor:
        """An executor of one event of a subscription, which takes what it remembers of selections with it.

        Each event collects its fields anew, so a subscription that shared this would hold a copy for every event.
        """
        executor = cast("OnePassExecutor", super().build_per_event_executor(payload))
        executor._relevant_sub_fields = {}  # noqa: SLF001 - of this class
        executor._readings = {}  # noqa: SLF001 - of this class
        return executor

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: GroupedFieldSet,
        position_context: None,
    ) -> Any:
        """The selected fields of one object, or an awaitable of them."""
        if path is not None:  # the root is read once
            reading = self._reading(parent_type, grouped_field_set)
            row = reading.row(source_value) if reading.worthwhile else None
            if row is not None:
                if not reading.rest:
                    return row
                found = super().execute_fields(parent_type, source_value, path, reading.rest, position_context)
                if self.is_awaitable(found):
                    return _joined(row, found)
                row.update(cast("Row", found))
                return row
        return super().execute_fields(parent_type, source_value, path, grouped_field_set, position_context)

    def complete_iterable_value(  # noqa: PLR0917 - graphql-core's signature
        self,
        item_type: Any,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        items: Iterable[Any],
        position_context: None,
    ) -> Any:
        """The elements of a list, or an awaitable of them."""

        def by_element() -> Any:
            return super(OnePassExecutor, self).complete_iterable_value(
                item_type, field_details_list, info, path, items, position_context
            )

        kind = item_type.of_type if isinstance(item_type, GraphQLNonNull) else item_type
        if not isinstance(kind, GraphQLObjectType) or type(items) not in (list, tuple):
            return by_element()
        reading = self._below(kind, field_details_list)
        if reading.edges is None or self.abort_signal is not None:
            return by_element()
        rows = reading.rows(items, info)
        if rows is None:
            return by_element()
        if not rows or not reading.edges:
            return rows
        return self._with_edges(reading, rows, Several(items), path, by_element)

    def _with_edges(
        self, reading: Reading, rows: list[Row], parents: Several, path: Path, by_element: Callable[[], Any]
    ) -> Any:
        """An awaitable of the rows with their edges, each of which is asked for now, as graphql-core would."""
        infos: list[GraphQLResolveInfo[Any]] = []
        values: list[Awaitable[Sequence[Any]]] = []
        try:
            for edge in reading.edges or ():
                place = Path(path.add_key(0), edge.name, reading.kind.name)
                nodes = [each.node for each in edge.details]
                info = self.build_resolve_info(edge.field, nodes, reading.kind, place)  # type: ignore[misc]  # see above
                first = edge.details[0]
                arguments = get_argument_values(
                    edge.field, first.node, self.variable_values, first.fragment_variable_values
                )
                values.append(edge.resolve(parents, info, **arguments))
                infos.append(info)
        except Exception:  # noqa: BLE001 - graphql-core meets it again, for each of them
            if values:
                self.settle_in_background(values)
            return by_element()

        async def filled() -> Any:
            found = await asyncio.gather(*values, return_exceptions=True)
            if all(map(self._filled, [rows] * len(values), reading.edges or (), infos, found)):
                return rows
            completed = by_element()
            return await completed if self.is_awaitable(completed) else completed

        return filled()

    def _filled(self, rows: list[Row], edge: Edge, info: GraphQLResolveInfo[Any], values: Any) -> bool:
        """Puts the values of an edge into the rows of their parents. False: one is not simple, or there are none."""
        if isinstance(values, BaseException):
            return False
        nullable, of_list, kind = _unfolded(edge.field.type)
        reading = self._below(kind, edge.details)
        for row, value in zip(rows, values, strict=True):
            if value is None:
                if not nullable:
                    return False
                continue
            if of_list and type(value) not in (list, tuple):
                return False
            found = reading.rows(value if of_list else (value,), info)
            if found is None:
                return False
            row[edge.name] = found if of_list else found[0]
        return True

    def _below(self, kind: GraphQLObjectType, details: FieldDetailsList) -> Reading:
        """How what is selected below a field is come by."""
        return self._reading(kind, self.collect_subfields(kind, details).grouped_field_set)

    def _reading(self, kind: GraphQLObjectType, selected: GroupedFieldSet) -> Reading:
        key = (kind.name, id(selected))
        reading = self._readings.get(key)
        if reading is None:
            reading = self._readings[key] = self._sorted(kind, selected)
        return reading

    def _sorted(self, kind: GraphQLObjectType, selected: GroupedFieldSet) -> Reading:
        entries: list[tuple[str, Any, Coerce | None, bool]] = []
        rest: GroupedFieldSet = {}
        edges: list[Edge] = []
        wrapped = self.middleware_manager is not None and bool(self.middleware_manager.middlewares)
        for name, details in selected.items():
            field = self.schema.get_field(kind, details[0].node.name.value)
            if field is None:
                continue  # graphql-core leaves it out as well
            simple = None if wrapped else _simple(name, field, kind)
            if simple is not None:
                entries.append(simple)
                continue
            entries.append((name, None, None, True))
            rest[name] = details
            if not wrapped and self._is_edge(field, details):
                edges.append(Edge(name, field, details, cast("GraphQLFieldResolver", field.resolve)))
        return Reading(kind, selected, tuple(entries), rest, tuple(edges) if len(edges) == len(rest) else None)

    def _is_edge(self, field: GraphQLField, details: FieldDetailsList) -> bool:
        definition = field.extensions.get(_DEFINITION)
        resolver = definition.base_resolver if isinstance(definition, StrawberryField) else None
        if resolver is None or not getattr(resolver.wrapped_func, FOR_SEVERAL, False):
            return False
        *_, kind = _unfolded(field.type)
        if not isinstance(kind, GraphQLObjectType):
            return False
        return not self._below(kind, details).rest


def _simple(name: str, field: GraphQLField, kind: GraphQLObjectType) -> tuple[str, Any, Coerce | None, bool] | None:
    """The entry of a leaf that is an attribute, or the name of the type."""
    if field is TypeNameMetaFieldDef:
        return name, kind.name, None, False
    nullable = not isinstance(field.type, GraphQLNonNull)
    leaf: Any = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
    definition = field.extensions.get(_DEFINITION)
    if (
        isinstance(leaf, GraphQLScalarType | GraphQLEnumType)
        and isinstance(definition, StrawberryField)
        and definition.is_basic_field
        and definition.default_resolver is getattr
    ):
        return name, definition.python_name, leaf.coerce_output_value, nullable
    return None


def _unfolded(form: Any) -> tuple[bool, bool, Any]:
    """Of a type: whether it may be null, whether it is a list, and what it, or its elements, are of."""
    nullable = not isinstance(form, GraphQLNonNull)
    form = form if nullable else form.of_type
    of_list = isinstance(form, GraphQLList)
    element = form.of_type if of_list else form
    return nullable, of_list, element.of_type if of_list and isinstance(element, GraphQLNonNull) else element


def _is_value(found: object) -> bool:
    return not (found is Undefined or isinstance(found, Exception) or optimized_is_awaitable(found))


def _belongs(item: object, kind: GraphQLObjectType, info: GraphQLResolveInfo[Any]) -> bool:
    """Whether an object is one of that type for certain."""
    if kind.is_type_of is None:
        return True
    try:
        return kind.is_type_of(item, info) is True
    except Exception:  # noqa: BLE001 - graphql-core asks again
        return False


async def _joined(row: Row, found: Awaitable[Row]) -> Row:
    row.update(await found)
    return row
