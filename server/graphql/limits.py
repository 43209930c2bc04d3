"""What a GraphQL operation may ask for, measured in one pass over its document before anything is validated.

Every fragment is measured once and its measure reused, so a document that doubles itself through fragments costs
no more than its text. Nothing here executes, resolves or touches the context.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    is_list_type,
    type_from_ast,
    value_from_ast_untyped,
)
from graphql.type import GraphQLField, GraphQLInterfaceType, GraphQLNonNull

from domain.errors import PayloadTooLarge, QueryTooComplex
from server.graphql import introspection
from server.settings import LimitsSettings

UNPAGED_LIST: Final = 10
LONGER_LISTS: Final = {"members": 200, "workspaces": 20}  # which lead to each other, and back
SERIES_KEYS: Final = 10
POINTS_PER_FIELD: Final = 50
MOST_REPEATED: Final = 100
MOST_FRAGMENTS: Final = 200
MOST_NESTED: Final = 100
_CEILING: Final = 10**12
_LIST_ARGUMENTS: Final = ("ids", "runIds", "keys")

Variables = Mapping[str, Any]
Cost = Callable[[Variables], int]
_EVERY_TYPE: Final[Cost] = lambda _variables: 0  # noqa: E731 - a mark in place of a page: below the list of all types


@dataclass(frozen=True, slots=True)
class Measure:
    """What one operation asks for, fragments expanded. `cost` depends on the variables."""

    depth: int
    aliases: int
    directives: int
    root_fields: int
    cost: Cost


@dataclass(slots=True)
class _Part:
    """The measure of a selection set."""

    depth: int = 0
    aliases: int = 0
    directives: int = 0
    fields: int = 0
    fixed: int = 0
    costs: list[Cost] = field(default_factory=list)

    def add(self, other: _Part) -> None:
        self.depth = max(self.depth, other.depth)
        self.aliases = min(self.aliases + other.aliases, _CEILING)
        self.directives = min(self.directives + other.directives, _CEILING)
        self.fields = min(self.fields + other.fields, _CEILING)
        self.fixed = min(self.fixed + other.fixed, _CEILING)
        if other.costs:
            self.costs.append(other.cost)

    def cost(self, variables: Variables) -> int:
        return min(self.fixed + sum(cost(variables) for cost in self.costs), _CEILING)


def _number(node: ValueNode | None, variables: Variables, default: int) -> int:
    value: Any = default
    if isinstance(node, VariableNode):
        value = variables.get(node.name.value, default)
    elif isinstance(node, IntValueNode):
        value = int(node.value)
    if isinstance(value, bool) or not isinstance(value, int):
        return default  # null, or something that coercion will refuse
    return max(0, min(value, _CEILING))


def _length(node: ValueNode | None, variables: Variables, default: int) -> int:
    if isinstance(node, VariableNode):
        value = variables.get(node.name.value)
        if isinstance(value, list | dict):
            return len(value)
        return default if value is None else 1
    if isinstance(node, ListValueNode):
        return len(node.values)
    return default if node is None else 1


def _given(node: ValueNode | None, variables: Variables) -> Any:
    """A JSON argument as lists and mappings, as deep as rows are counted; what lies below does not matter."""
    match node:
        case VariableNode():
            return variables.get(node.name.value)
        case ObjectValueNode():
            return {member.name.value: _listed(member.value, variables) for member in node.fields}
    return _listed(node, variables)


def _listed(node: ValueNode | None, variables: Variables) -> Any:
    if isinstance(node, VariableNode):
        return variables.get(node.name.value)
    return node.values if isinstance(node, ListValueNode) else None


def _rows(value: Any) -> int:
    """Rows of a prediction's inputs: a list of rows, or a mapping of input names to such lists."""
    if isinstance(value, dict):
        return max((len(rows) for rows in value.values() if isinstance(rows, list | tuple)), default=1)
    return len(value) if isinstance(value, list | tuple) else 1


def _default(definition: GraphQLField | None, name: str, fallback: int) -> int:
    argument = definition.args.get(name) if definition is not None else None
    if argument is None:
        return fallback
    value: object = argument.default_value
    if argument.default is not None:
        literal = argument.default.literal
        value = value_from_ast_untyped(literal) if literal is not None else argument.default.value
    return value if isinstance(value, int) and not isinstance(value, bool) else fallback


class Meter:
    """Measures the operations of one document against a schema."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self._schema = schema
        self._fragments: dict[str, FragmentDefinitionNode] = {}
        # A fragment inside a page is measured once for each field that opens such a page; the page is the same
        # object whenever its field is measured again, so the work is bounded by fields times fragments.
        self._measured: dict[tuple[str, Cost | None], _Part] = {}
        self._pages: dict[int, Cost | None] = {}
        self._open: set[str] = set()
        self._level = 0
        for definition in document.definitions:
            if isinstance(definition, FragmentDefinitionNode):
                self._fragments[definition.name.value] = definition
        if len(self._fragments) > MOST_FRAGMENTS:
            raise QueryTooComplex(f"the document defines {len(self._fragments)} fragments; at most {MOST_FRAGMENTS}")

    def measure(self, operation: OperationDefinitionNode) -> Measure:
        """The measure of one operation. Raises QueryTooComplex for fields repeated without end."""
        root = self._schema.get_root_type(operation.operation)
        part = self._selections(operation.selection_set, root, None)
        defaults = {
            variable.variable.name.value: value_from_ast_untyped(variable.default_value)
            for variable in operation.variable_definitions or ()
            if variable.default_value is not None
        }

        def cost(variables: Variables) -> int:
            return part.cost({**defaults, **variables})

        directives = part.directives + len(operation.directives or ())
        return Measure(part.depth, part.aliases, directives, part.fields, cost)

    def root_names(self, operation: OperationDefinitionNode) -> frozenset[str]:
        """The names of the root fields that an operation selects, fragments expanded."""
        names: set[str] = set()
        seen: set[str] = set()
        waiting = [operation.selection_set]
        while waiting:
            for selection in waiting.pop().selections:
                if isinstance(selection, FieldNode):
                    names.add(selection.name.value)
                elif isinstance(selection, InlineFragmentNode):
                    waiting.append(selection.selection_set)
                elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in seen:
                    seen.add(selection.name.value)
                    fragment = self._fragments.get(selection.name.value)
                    if fragment is not None:
                        waiting.append(fragment.selection_set)
        return frozenset(names)

    def _selections(self, selections: SelectionSetNode, parent: Any, page: Cost | None) -> _Part:
        self._level += 1
        if self._level > MOST_NESTED:
            raise QueryTooComplex(f"the operation is nested more than {MOST_NESTED} levels deep")
        part = _Part()
        repeated: dict[str, int] = {}
        waiting: list[tuple[SelectionSetNode, Any]] = [(selections, parent)]
        while waiting:
            current, owner = waiting.pop()
            for selection in current.selections:
                part.directives += len(selection.directives or ())
                if isinstance(selection, FieldNode):
                    name = (selection.alias or selection.name).value
                    repeated[name] = repeated.get(name, 0) + 1
                    part.add(self._field(selection, owner, page))
                elif isinstance(selection, InlineFragmentNode):
                    waiting.append((selection.selection_set, self._type(selection.type_condition, owner)))
                elif isinstance(selection, FragmentSpreadNode):
                    part.add(self._fragment(selection.name.value, page))
        again = sum(repeated.values()) - len(repeated)
        if again > MOST_REPEATED:
            raise QueryTooComplex(f"a selection repeats fields {again} times; at most {MOST_REPEATED}")
        self._level -= 1
        return part

    def _type(self, condition: Any, otherwise: Any) -> Any:
        return otherwise if condition is None else self._schema.type_map.get(condition.name.value)

    def _fragment(self, name: str, page: Cost | None) -> _Part:
        key = (name, page)
        if key in self._measured:
            return self._measured[key]
        fragment = self._fragments.get(name)
        if fragment is None or name in self._open:
            return _Part()  # unknown or circular: validation says so
        self._open.add(name)
        try:
            part = self._selections(fragment.selection_set, self._type(fragment.type_condition, None), page)
        finally:
            self._open.discard(name)
        self._measured[key] = part
        return part

    def _field(self, node: FieldNode, parent: Any, page: Cost | None) -> _Part:
        name = node.name.value
        if name.startswith("__"):
            return self._about_the_schema(node)
        if isinstance(parent, GraphQLObjectType) and parent.name.startswith("__"):
            return self._of_the_schema(node, parent, page)
        known = isinstance(parent, GraphQLObjectType | GraphQLInterfaceType)
        definition = parent.fields.get(name) if known else None
        arguments = {argument.name.value: argument.value for argument in node.arguments or ()}
        times = self._times(name, definition, arguments, page) if node.selection_set is not None else None
        inner = _Part()
        if node.selection_set is not None:
            if id(node) not in self._pages:
                self._pages[id(node)] = self._page(definition, arguments)
            paged = self._pages[id(node)]
            named = get_named_type(definition.type) if definition is not None else None
            inner = self._selections(node.selection_set, named, paged)
        part = _Part(inner.depth + 1, inner.aliases + (node.alias is not None), inner.directives, 1)
        extra = self._extra(name, definition, arguments)
        if times is None and extra is None and not inner.costs:
            part.fixed = min(1 + inner.fixed, _CEILING)
        else:
            part.costs.append(_multiplied(inner, times, extra))
        return part

    def _about_the_schema(self, node: FieldNode) -> _Part:
        """A field of introspection: counted like others but for its depth, which validation bounds by its own rule."""
        form = introspection.ROOTS.get(node.name.value)
        inner = _Part()
        if form is not None and node.selection_set is not None:
            inner = self._selections(node.selection_set, self._schema.type_map.get(form), None)
        return self._shallow(node, inner, 1)

    def _of_the_schema(self, node: FieldNode, parent: GraphQLObjectType, page: Cost | None) -> _Part:
        """A field inside one; `page` says that its owner is one of all types."""
        name = node.name.value
        definition = parent.fields.get(name)
        if node.selection_set is None or definition is None:
            return self._shallow(node, _Part(), 1)
        place = (parent.name, name)
        lengths = introspection.lengths(self._schema)
        average, longest = lengths.get(place, (1, 1))
        below = _EVERY_TYPE if place == introspection.SCHEMA_TYPES or (page and place in lengths) else None
        inner = self._selections(node.selection_set, get_named_type(definition.type), below)
        return self._shallow(node, inner, average if page is _EVERY_TYPE else longest)

    @staticmethod
    def _shallow(node: FieldNode, inner: _Part, times: int) -> _Part:
        return _Part(
            depth=0,
            aliases=min(inner.aliases + (node.alias is not None), _CEILING),
            directives=inner.directives,
            fields=1,
            fixed=min(1 + times * inner.cost({}), _CEILING),
        )

    @staticmethod
    def _page(definition: GraphQLField | None, arguments: Mapping[str, ValueNode]) -> Cost | None:
        """How many items the connection below this field holds, when it takes `first`, or `last` in place of it."""
        if definition is None or "first" not in definition.args:
            return None
        node = arguments.get("first")
        default = _default(definition, "first", 200 if "last" in definition.args else 50)
        last = arguments.get("last")
        return lambda variables: (_number(last, variables, 0) if last else 0) or _number(node, variables, default)

    @staticmethod
    def _times(
        name: str, definition: GraphQLField | None, arguments: Mapping[str, ValueNode], page: Cost | None
    ) -> Cost | None:
        """How often what is selected below a field is resolved; None: once."""
        if definition is None:
            return None
        form = definition.type.of_type if isinstance(definition.type, GraphQLNonNull) else definition.type
        if not is_list_type(form):
            return None
        if page is not None and name in ("nodes", "edges"):
            return page
        paged = Meter._page(definition, arguments)
        if paged is not None:
            keys = arguments.get("keys")
            return lambda variables: min(paged(variables), _length(keys, variables, _CEILING))
        for argument in _LIST_ARGUMENTS:
            if argument in definition.args:
                node = arguments.get(argument)
                return lambda variables: _length(node, variables, UNPAGED_LIST)
        length = LONGER_LISTS.get(name, UNPAGED_LIST)
        return lambda _variables: length

    @staticmethod
    def _extra(name: str, definition: GraphQLField | None, arguments: Mapping[str, ValueNode]) -> Cost | None:
        """What a field costs beyond one: columns of numbers by their points, predictions by their rows."""
        if definition is not None and "points" in definition.args:
            points, default = arguments.get("points"), _default(definition, "points", 1000)
            keys, runs = arguments.get("keys"), arguments.get("runIds")
            return lambda variables: (
                _number(points, variables, default)
                * _length(keys, variables, SERIES_KEYS)
                * _length(runs, variables, 1)
                // POINTS_PER_FIELD
            )
        if name == "predict":
            inputs = arguments.get("inputs")
            return lambda variables: _rows(_given(inputs, variables))
        return None


def _multiplied(inner: _Part, times: Cost | None, extra: Cost | None) -> Cost:
    def cost(variables: Variables) -> int:
        factor = times(variables) if times is not None else 1
        added = extra(variables) if extra is not None else 0
        return min(1 + added + factor * max(inner.cost(variables), 1 if times is not None else 0), _CEILING)

    return cost


def check(operation: OperationDefinitionNode, measure: Measure, limits: LimitsSettings) -> None:
    """Raises QueryTooComplex, naming the first limit that an operation passes. Cost is checked by `check_cost`."""
    mutation = operation.operation.value == "mutation"
    for what, value, limit in (
        ("levels deep", measure.depth, limits.graphql_depth),
        ("aliases", measure.aliases, limits.graphql_aliases),
        ("directives", measure.directives, limits.graphql_directives),
        ("root fields in one mutation", measure.root_fields if mutation else 0, limits.graphql_root_mutations),
    ):
        if value > limit:
            raise QueryTooComplex(f"the operation has {value} {what}; at most {limit} are allowed")


def check_cost(measure: Measure, variables: Variables, limits: LimitsSettings) -> int:
    """The cost of an operation with these variables. Raises QueryTooComplex when it would resolve too many fields."""
    cost = measure.cost(variables)
    if cost > limits.graphql_cost:
        raise QueryTooComplex(
            f"the operation may resolve about {cost} fields; at most {limits.graphql_cost} are allowed: "
            "ask for smaller pages (first, points) or fewer nested lists"
        )
    return cost


def inputs_of(schema: GraphQLSchema, operation: OperationDefinitionNode) -> dict[str, GraphQLInputType]:
    """The variables of an operation that hold input objects, with their types."""
    typed = {
        definition.variable.name.value: type_from_ast(schema, definition.type)
        for definition in operation.variable_definitions or ()
    }
    return {
        name: form  # type: ignore[misc]  # the named type says that it is an input
        for name, form in typed.items()
        if form is not None and isinstance(get_named_type(form), GraphQLInputObjectType)
    }


def check_inputs(inputs: Mapping[str, GraphQLInputType], variables: Variables, limits: LimitsSettings) -> None:
    """Raises PayloadTooLarge for too many input objects: each is converted one by one while everybody else waits."""
    most = limits.graphql_input_objects
    found = 0
    waiting: list[tuple[Any, Any]] = [(form, variables.get(name)) for name, form in inputs.items()]
    while waiting:
        form, value = waiting.pop()
        if isinstance(form, GraphQLNonNull):
            form = form.of_type
        if isinstance(form, GraphQLList):
            elements = value if isinstance(value, list) else [value]
            if isinstance(get_named_type(form), GraphQLInputObjectType):
                waiting.extend((form.of_type, element) for element in elements[: most + 1])
        elif isinstance(form, GraphQLInputObjectType) and isinstance(value, dict):
            found += 1
            waiting.extend((field.type, value[name]) for name, field in form.fields.items() if name in value)
        if found > most:
            raise PayloadTooLarge(
                f"more than {most} input objects in one operation; send columns (series), several requests, or use REST"
            )
