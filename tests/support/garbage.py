"""Rubbish for every input: what careless scripts, broken clients and hostile callers send.

Values are drawn by a seeded generator, so a failure repeats. What JSON text cannot be made of Python values (numbers
that overflow, nesting beyond the recursion limit) is kept as raw text.
"""

from __future__ import annotations

import base64
import copy
import json
import random
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
)


@dataclass(frozen=True)
class Raw:
    """A piece of a JSON document, as text."""

    text: str


def encoded(value: object) -> bytes:
    """JSON text, with `Raw` parts as they are and lone surrogates escaped."""
    pieces: dict[str, str] = {}

    def raw(part: object) -> str:
        assert isinstance(part, Raw), part
        mark = f"raw-{uuid.UUID(int=len(pieces)).hex}"
        pieces[f'"{mark}"'] = part.text
        return mark

    text = json.dumps(value, default=raw)
    for mark, part in pieces.items():
        text = text.replace(mark, part)
    return text.encode()


DEEP = Raw("[" * 20_000 + "]" * 20_000)
DEEP_OBJECT = Raw('{"a":' * 600 + "1" + "}" * 600)
STRINGS = (
    *("", " ", "\x00", "a\x00b", "\ud800", "a\udfffb", "\n", "\x7f\x1b[31m", "\u202eabc", "é" * 251, "𝕏" * 126),
    *(
        "a" * 251,
        "x" * 70_000,
        "..",
        ".",
        "/",
        "../../etc/passwd",
        "..\\..\\x",
        "%2e%2e%2f",
        "%00",
        "%",
        "a/b",
        "C:\\x",
    ),
    *("'; DROP TABLE runs; --", '"', "`", "{}", "[]", "null", "true", "NaN", "-Infinity", "-1", "0", "1.5", "1e999"),
    *("9223372036854775808", "-9223372036854775809", "٣", "latest", "@x", "run_", "run_zz", f"run_{'0' * 32}"),
    *(
        f"mdl_{'f' * 32}",
        "0" * 32,
        "00000000-0000-0000-0000-000000000000",
        "2026-13-45T99:99:99Z",
        "0000-01-01T00:00:00Z",
    ),
    *("metrics. < 1", "name = 'x", "(" * 500, "not " * 300 + "name = 'x'", "name matches '(a+)+$'", "metrics.a<1e999"),
    *("AAAA", "=", "eyJ2IjoxfQ", base64.urlsafe_b64encode(b'{"v":1,"k":[null]}').decode(), "v1." + "A" * 40, "MXwx"),
)
NUMBERS = (0, -1, 1.5, -0.0, 2**31, -(2**31) - 1, 2**53, 2**63, -(2**63) - 1, 2**64, 10**400, 1e308)
TOKENS = tuple(Raw(text) for text in ("NaN", "Infinity", "-Infinity", "1e999", "01", "undefined", "-"))
SHAPES: tuple[Any, ...] = (
    *(None, True, False, [], {}, [None], [[]], [{}], ["x"], [1, "x", None], {"": 1}, {"a": None}, {"key": "a"}),
    *({"key": "a", "value": {"b": [1]}}, [{"key": "", "value": None}], ["a"] * 2_000, [1] * 20_000, {"\x00": "\x00"}),
    *({"$ref": "x"}, {"id": "x", "extra": 1}, [float("nan")], DEEP, DEEP_OBJECT, {"a" * 300: 1}),
)
LITERALS = (
    "null",
    "-1",
    "9223372036854775808",
    "1e999",
    '"\\u0000"',
    '"\\uD800"',
    "[]",
    "{}",
    "NO_SUCH",
    "[[[1]]]",
    "$no",
)
LONGEST_HEADER = 8_000
LONGEST_SEGMENT = 10_000
JSON = {"Content-Type": "application/json"}
BODIES = (
    *(b"", b" ", b"{", b"null", b"[]", b"1", b'"x"', b"{}{}", b"\xff\xfe\x00", b'{"\xed\xa0\x80":1}', b'{"a":1,}'),
    *(b'{"name":"a","name":"b"}', b"\xef\xbb\xbf{}", encoded(DEEP), encoded(DEEP_OBJECT), b"[" * 5_000, b"-", b"\x00"),
)


class Source:
    """Draws rubbish. `each` bounds how many values one input is tried with; 0 tries all."""

    def __init__(self, seed: int, each: int, ids: Mapping[str, str]) -> None:
        self._random = random.Random(seed)
        self._each = each
        self._ids = ids

    def _some(self, values: tuple[Any, ...]) -> list[Any]:
        return list(values) if not self._each else self._random.sample(values, min(self._each, len(values)))

    def texts(self, own: str | None = None) -> list[str]:
        """Texts, and the id of something of another kind than `own`."""
        foreign = [value for kind, value in self._ids.items() if kind != own]
        return [*self._some(STRINGS), self._random.choice(foreign)]

    def values(self, own: str | None = None) -> list[Any]:
        """Anything JSON can say, and some things it cannot."""
        return [*self.texts(own), *self._some((*NUMBERS, *TOKENS, *SHAPES))]

    def literals(self) -> list[str]:
        """Values as they stand in a GraphQL document."""
        return self._random.sample(LITERALS, min(self._each, len(LITERALS))) if self._each else list(LITERALS)

    def bodies(self) -> list[bytes]:
        """Whole request bodies that are no use to any route."""
        return self._some(BODIES)


# --- REST


@dataclass(frozen=True)
class Sent:
    """One request, and what it is about, for the message of a failing test."""

    about: str
    method: str
    path: str
    content: bytes | None = None
    headers: Mapping[str, str] | None = None


def in_path(text: str) -> str:
    """One segment of a path, also of text that no encoder likes; the client itself refuses longer ones."""
    return quote(text[:LONGEST_SEGMENT], safe="", errors="surrogatepass")


def properties(schema: Mapping[str, Any], components: Mapping[str, Any]) -> set[str]:
    """The names of the fields a body may have, through references and alternatives."""
    found = set(schema.get("properties", {}))
    if "$ref" in schema:
        found |= properties(components[schema["$ref"].rsplit("/", 1)[1]], components)
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        found |= properties(choice, components)
    return found


@dataclass(frozen=True)
class RestGarbage:
    """For every served operation of a contract: each parameter, each field of the body, and the body as a whole.

    `paths` gives, by the start of a path, the parameters of something that exists there, and as `kind` what kind of
    id it is; `bodies` gives bodies that are accepted.
    """

    document: Mapping[str, Any]
    paths: Mapping[str, Mapping[str, str]]
    bodies: Mapping[tuple[str, str], Mapping[str, Any]]
    source: Source

    def requests(self) -> Iterator[Sent]:
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                if "x-planned" not in operation:
                    yield from self._of_parameters(path, method, operation)
                    yield from self._of_body(path, method, operation)

    def _known(self, path: str) -> dict[str, str]:
        return dict(next((known for start, known in self.paths.items() if path.startswith(start)), {}))

    def _body(self, path: str, method: str) -> bytes | None:
        body = self.bodies.get((method, path))
        return None if body is None else encoded(body)

    def _of_parameters(self, path: str, method: str, operation: Mapping[str, Any]) -> Iterator[Sent]:
        known = self._known(path)
        kind = known.pop("kind", None)
        plain = self._body(path, method)
        for declared in operation.get("parameters", ()):
            shared = self.document["components"].get("parameters", {})
            parameter = shared[declared["$ref"].rsplit("/", 1)[1]] if "$ref" in declared else declared
            name, place = parameter["name"], parameter["in"]
            for text in self.source.texts(kind):
                about = f"{method} {path} {place} {name}={text[:80]!r}"
                if place == "path":
                    yield Sent(about, method, filled(path, {**known, name: text}), plain, JSON)
                elif place == "query":
                    yield Sent(about, method, f"{filled(path, known)}?{name}={in_path(text)}", plain, JSON)
                elif text == text.strip() and text.isprintable() and text.isascii() and len(text) < LONGEST_HEADER:
                    yield Sent(about, method, filled(path, known), plain, {**JSON, name: text})
        if method == "get":
            yield Sent(f"{method} {path} query unknown", method, f"{filled(path, known)}?no_such_parameter=1")

    def _of_body(self, path: str, method: str, operation: Mapping[str, Any]) -> Iterator[Sent]:
        content = operation.get("requestBody", {}).get("content", {})
        if not content:
            return
        known = self._known(path)
        kind = known.pop("kind", None)
        target, about = filled(path, known), f"{method} {path}"
        for raw in self.source.bodies():
            for media in sorted({*content, "application/json"}):
                yield Sent(f"{about} {media} body {raw[:60]!r}", method, target, raw, {"Content-Type": media})
        yield Sent(f"{about} wrong type", method, target, b"<a/>", {"Content-Type": "text/xml"})
        if "application/json" not in content:
            return
        for value in self.source.values(kind):
            yield Sent(f"{about} body {str(value)[:80]}", method, target, encoded(value), JSON)
        body = self.bodies.get((method, path), {})
        names = properties(content["application/json"]["schema"], self.document["components"]["schemas"])
        for name in sorted(names) or ["loss"]:
            for value in self.source.values(kind):
                changed = encoded({**body, name: value})
                yield Sent(f"{about} body {name}={str(value)[:80]}", method, target, changed, JSON)
        yield Sent(f"{about} unknown field", method, target, encoded({**body, "no such": [{}]}), JSON)


def filled(path: str, known: Mapping[str, str]) -> str:
    """A path with its parameters."""
    for name, value in known.items():
        path = path.replace(f"{{{name}}}", in_path(value))
    return path


# --- GraphQL


def _plausible(name: str, wanted: GraphQLInputType, ids: Mapping[str, str]) -> Any:
    """A value the schema accepts, with only what is required in it."""
    inner = get_nullable_type(wanted)
    if isinstance(inner, GraphQLList):
        return [_plausible(name, inner.of_type, ids)]
    if isinstance(inner, GraphQLEnumType):
        return next(iter(inner.values))
    if isinstance(inner, GraphQLInputObjectType):
        return {
            key: _plausible(key, field.type, ids)
            for key, field in inner.fields.items()
            if is_required_input_field(field) or isinstance(get_named_type(field.type), GraphQLInputObjectType)
        }
    known: dict[str, Any] = {
        "ID": ids.get(name, ids["id"]),
        "Int": 1,
        "BigInt": 1,
        "FloatValue": 1.0,
        "FloatSeries": [1.0],
        "IntSeries": [1],
        "Boolean": False,
        "DateTime": "2026-01-31T09:30:00.000Z",
    }
    return known.get(str(inner), "plausible")


def _places(inputs: Mapping[str, GraphQLArgument] | Mapping[str, GraphQLInputField]) -> Iterator[tuple[Any, ...]]:
    """The path of every input, also inside input objects and lists of them."""
    for name, given in inputs.items():
        yield (name,)
        inner = get_nullable_type(given.type)
        listed = isinstance(inner, GraphQLList)
        if listed:
            yield (name, 0)
        named = get_named_type(given.type)
        if isinstance(named, GraphQLInputObjectType):
            for rest in _places(named.fields):
                yield (name, *((0,) if listed else ()), *rest)


def _selected(field: GraphQLField) -> str:
    named = get_named_type(field.type)
    if is_leaf_type(named):
        return ""
    if isinstance(named, GraphQLObjectType) and "pageInfo" in named.fields:
        return "{ nodes { __typename } totalCount pageInfo { endCursor } }"
    return "{ __typename }"


@dataclass(frozen=True)
class Asked:
    """One GraphQL request."""

    about: str
    kind: str
    field: str
    content: bytes


@dataclass(frozen=True)
class Place:
    """A field of the graph: a root field, or one of the thing that `known` has the id of."""

    kind: str
    name: str
    known: Mapping[str, str]
    owner: str | None = None

    def asked(self, field: GraphQLField, about: str, calls: Mapping[str, str], variables: Mapping[str, Any]) -> Asked:
        """The request that calls the field with these texts as arguments."""
        heads = ", ".join(f"${key}: {field.args[key].type}" for key in variables)
        arguments = ", ".join(f"{key}: {text}" for key, text in calls.items())
        call = f"{self.name}({arguments}) {_selected(field)}"
        if self.owner is not None:
            call = f'node(id: "{self.known["id"]}") {{ ... on {self.owner} {{ {call} }} }}'
        text = f"{self.kind} T{f'({heads})' if heads else ''} {{ {call} }}"
        name = self.name if self.owner is None else f"{self.owner}.{self.name}"
        content = encoded({"query": text, "variables": variables})
        return Asked(f"{self.kind} {name} {about}", self.kind, self.name, content)


@dataclass(frozen=True)
class GraphGarbage:
    """Every argument of every root field, and of every field of whatever has an id, as rubbish.

    `ids` gives, by the start of a field's name, what exists: by the name of an input its id, and the `id` and `kind`
    of the thing the field is about.
    """

    schema: GraphQLSchema
    ids: Mapping[str, Mapping[str, str]]
    source: Source

    def requests(self, kind: str) -> Iterator[Asked]:
        """Of the root fields of one kind: query, mutation or subscription."""
        root = self.schema.type_map[kind.capitalize()]
        assert isinstance(root, GraphQLObjectType)
        for name, field in root.fields.items():
            yield from self._field(Place(kind, name, self._known(name)), field)

    def nested(self) -> Iterator[Asked]:
        """Of the fields below nodes."""
        for owner in self.schema.type_map.values():
            if isinstance(owner, GraphQLObjectType) and any(each.name == "Node" for each in owner.interfaces):
                known = self._known(owner.name[0].lower() + owner.name[1:])
                for name, field in owner.fields.items():
                    yield from self._field(Place("query", name, known, owner.name), field)

    def _known(self, name: str) -> Mapping[str, str]:
        return next(each for prefix, each in self.ids.items() if name.startswith(prefix))

    def _field(self, place: Place, field: GraphQLField) -> Iterator[Asked]:
        plausible = {key: _plausible(key, argument.type, place.known) for key, argument in field.args.items()}
        required = {key: plausible[key] for key, argument in field.args.items() if is_required_argument(argument)}
        for path in _places(field.args):
            for value in self.source.values(place.known.get("kind")):
                variables = copy.deepcopy({**required, path[0]: plausible[path[0]]})
                _set(variables, path, value)
                calls = {key: f"${key}" for key in variables}
                where = ".".join(map(str, path))
                yield place.asked(field, f"{where}={str(value)[:80]}", calls, variables)
        for key in field.args:
            for literal in self.source.literals():
                others = {other: value for other, value in required.items() if other != key}
                calls = {**{other: f"${other}" for other in others}, key: literal}
                yield place.asked(field, f"{key}: {literal}", calls, others)


def _set(tree: Any, place: tuple[Any, ...], value: Any) -> None:
    for step, after in pairwise(place):
        if isinstance(tree, dict) and step not in tree:
            tree[step] = [None] * (after + 1) if isinstance(after, int) else {}
        tree = tree[step]
    tree[place[-1]] = value
