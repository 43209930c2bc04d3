"""From a typed route to Starlette, and the few things every REST handler does: read, validate, answer.

No rule of a noun lives here. A handler raises `DomainError`; this module decides how that looks on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route as StarletteRoute

from domain import audit
from domain.errors import BadUserInput, DomainError, UnsupportedMediaType
from domain.idempotency import checked_token
from server.edge.identity import caller_of, client_of, request_id_of
from server.edge.replies import header
from server.edge.streams import interruptible
from server.rest.errors import error_response, report
from server.rest.route import JSON, Handler, Operation, Route

if TYPE_CHECKING:
    from resolvers.context import Services

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]

WHOLE: Final = "the body as a whole"
_KEY: Final = "Idempotency-Key"
_PLACE: Final = re.compile(r"^(?P<message>.*?)(?: - at (?:`key` in )?`(?P<place>[^`]*)`)?$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"unknown field `(?P<name>[^`]*)`")
_MISSING: Final = re.compile(r"missing required field `(?P<name>[^`]*)`")
_UNLISTED: Final = re.compile(r"invalid enum value (?P<value>.*)", re.DOTALL | re.IGNORECASE)
_STEP: Final = re.compile(r"\[[^\]]*\]|[^.\[]+")
_STREAMED: Final = (StreamingResponse, FileResponse)
_MOST_LISTED: Final = 20
_LONGEST_SHOWN: Final = 100
_encoder: Final = msgspec.json.Encoder()
_decoders: Final[dict[Any, msgspec.json.Decoder[Any]]] = {}


class UnreadableBody(BadUserInput):
    """The body is not in its format at all: answered 400."""


class InvalidBody(BadUserInput):
    """The body was read, but is not what the route takes: answered 422 instead of 400."""


class InvalidQuery(BadUserInput):
    """The query string is at fault: answered 400, whatever body the route takes."""


class NoParameters(msgspec.Struct):
    """The query string of a route that has none."""


def media_type(request: Request) -> str:
    """The type of the body, lower-case and without parameters; raises UnsupportedMediaType for a compressed one."""
    encoding = (header(request.scope, b"content-encoding") or "").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaType(f"the body is encoded as {encoding!r}; send it unencoded", field="Content-Encoding")
    return (header(request.scope, b"content-type") or "").partition(";")[0].strip().lower()


def _check_json(request: Request) -> None:
    found = media_type(request)
    if found != JSON:
        expected = f"expected Content-Type: {JSON}"
        raise UnsupportedMediaType(f"{expected}, got {found!r}" if found else expected, field="Content-Type")
    charset = re.search(r"charset=\"?([\w-]+)", request.headers["content-type"], re.IGNORECASE)
    if charset is not None and charset[1].lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("JSON must be encoded as UTF-8", field="Content-Type")


def invalid(error: msgspec.ValidationError, form: Any, *, whole: str = "") -> InvalidBody:
    """What msgspec found in a value of `form`, with the field in the form `points[3].key` where it says which.

    `whole` names what was validated, for a problem with all of it.
    """
    found = _PLACE.match(str(error))
    message = found["message"] if found else str(error)
    place = ((found["place"] if found else None) or "").removeprefix("$").removeprefix(".")
    unlisted = _UNLISTED.fullmatch(message)
    if unlisted is not None:
        message = f"expected one of {_listed(form, place)}, got {_cut(unlisted['value'])}"
    named = _UNKNOWN.search(message) or _MISSING.search(message)
    if named is not None:
        place = f"{place}.{named['name']}" if place else named["name"]
    if whole and not place:
        message = f"{whole}: {message}"
    return InvalidBody(message, field=place or None)


def _listed(form: Any, place: str) -> str:
    """The values that may stand at a place of `form`."""
    kinds = _alternatives(msgspec.inspect.type_info(form))
    for part in _STEP.findall(place):
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    values: list[Any] = []
    for kind in kinds:
        if isinstance(kind, msgspec.inspect.EnumType):
            values += [member.value for member in kind.cls]
        elif isinstance(kind, msgspec.inspect.LiteralType):
            values += kind.values
    more = f" and {len(values) - _MOST_LISTED} more" if len(values) > _MOST_LISTED else ""
    return ", ".join(map(str, values[:_MOST_LISTED])) + more


def _inside(kind: msgspec.inspect.Type, part: str) -> list[msgspec.inspect.Type]:
    """What may stand below a value of `kind`, in the field or the element `part`."""
    match kind:
        case msgspec.inspect.StructType(fields=fields):
            found = [field.type for field in fields if field.encode_name == part]
        case msgspec.inspect.CollectionType(item_type=item):
            found = [item]
        case msgspec.inspect.DictType(value_type=value):
            found = [value]
        case _:
            found = []
    return [each for inner in found for each in _alternatives(inner)]


def _alternatives(kind: msgspec.inspect.Type) -> list[msgspec.inspect.Type]:
    if isinstance(kind, msgspec.inspect.Metadata):
        return _alternatives(kind.type)
    return list(kind.types) if isinstance(kind, msgspec.inspect.UnionType) else [kind]


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def decode(data: bytes, form: Any, *, whole: str = "") -> Any:
    """JSON text as a value of `form`. Raises UnreadableBody (not JSON) or InvalidBody (not the expected shape)."""
    decoder = _decoders.get(form)
    if decoder is None:
        decoder = _decoders[form] = msgspec.json.Decoder(form)
    try:
        value = decoder.decode(data)
    except msgspec.ValidationError as error:
        raise invalid(error, form, whole=whole) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UnreadableBody(f"the body is not valid JSON: {reason}") from None
    return value


async def json_body(request: Request, form: type[T]) -> T:
    """The body of `request` as a value of `form`, a type that msgspec describes.

    Raises UnsupportedMediaType, UnreadableBody when it is empty or not JSON, InvalidBody when it does not validate.
    """
    _check_json(request)
    data = await request.body()
    if not data:
        raise UnreadableBody("the body is empty; a JSON document was expected")
    return cast("T", decode(data, form, whole=WHOLE))


async def optional_json_body(request: Request, form: type[T]) -> T | None:
    """Like `json_body`; None when there is no body at all."""
    data = await request.body()
    if not data:
        return None
    return await json_body(request, form)


def answer(value: object, status: int = 200, *, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer: a msgspec struct, or plain values."""
    return Response(_encoder.encode(value), status, headers, JSON)


def services_of(request: Request) -> Services:
    """The use-cases."""
    return cast("Services", request.app.state.services)


def no_content() -> Response:
    """204."""
    return Response(status_code=204)


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key header. Raises BadUserInput when it comes twice or is no token (`checked_token`)."""
    if header(request.scope, b"idempotency-key") is None:
        return None
    values = request.headers.getlist("idempotency-key")
    if len(values) > 1:
        raise BadUserInput("this header may be given only once", field=_KEY)
    return checked_token(values[0].strip(), field=_KEY)


def query(request: Request, form: type[T]) -> T:
    """The query string as a struct: unknown and repeated parameters, and values of another type, are refused.

    List fields take `a,b` as well as repeated parameters. Raises InvalidQuery naming the parameter.
    """
    given: dict[str, Any] = {}
    known = {field.encode_name: field for field in msgspec.structs.fields(cast("type[msgspec.Struct]", form))}
    for name in request.query_params:
        values = request.query_params.getlist(name)
        if name not in known:
            raise InvalidQuery(f"unknown query parameter; known are {', '.join(known) or 'none'}", field=name)
        if _takes_list(known[name].type):
            given[name] = [part for value in values for part in value.split(",") if part]
        elif len(values) > 1:
            raise InvalidQuery("this query parameter may be given only once", field=name)
        else:
            given[name] = values[0]
    try:
        return msgspec.convert(given, form, strict=False)
    except msgspec.ValidationError as error:
        problem = invalid(error, form)
        raise InvalidQuery(problem.message, field=problem.field) from None


def _takes_list(form: Any) -> bool:
    described = msgspec.inspect.type_info(form)
    parts = described.types if isinstance(described, msgspec.inspect.UnionType) else (described,)
    return any(isinstance(part, msgspec.inspect.ListType | msgspec.inspect.VarTupleType) for part in parts)


def _status(problem: DomainError, operation: Operation) -> int | None:
    # A value that parsed but breaks a rule is a validation error of the body; without a body it is the URL's fault.
    if operation.request is None or not isinstance(problem, BadUserInput):
        return None
    if isinstance(problem, UnreadableBody | InvalidQuery):
        return None
    named_elsewhere = problem.field in _OUTSIDE_THE_BODY or _in_url(problem.field, operation)
    return None if named_elsewhere else 422


_OUTSIDE_THE_BODY: Final = frozenset({_KEY, "Content-Type", "Content-Encoding", "Content-Length", "Host"})


def _in_url(field: str | None, operation: Operation) -> bool:
    return any(parameter.name == field for parameter in operation.params)


_IN_REST: Final = {"after": "cursor", "batch_id": _KEY, "client_token": _KEY, "run_id": "id"}


def _called_here(field: str | None, operation: Operation) -> str | None:
    """What the caller gave instead of a field of the domain: a parameter or header of the operation, if it has that."""
    name = _IN_REST.get(field or "")
    given = name is not None and (operation.idempotent if name == _KEY else _in_url(name, operation))
    return name if given and not _in_url(field, operation) else field


def guarded(handler: Handler, operation: Operation) -> Endpoint:
    """`handler`, answering every error in REST's shape; what it streams ends with the server."""
    # A handler without a query of its own would pass over `?status=failed`, which was meant for the body.
    closed = not operation.bare and not any(parameter.place == "query" for parameter in operation.params)
    audited = operation.method != "get" and operation.operation_id not in audit.DATA_PLANE

    async def told(request: Request) -> Response:
        """As an event of the audit log, named as in the graph."""
        caller, client = caller_of(request.scope).scope, client_of(request)
        event = audit.Event.of(operation.operation_id, request_id_of(request.scope), client.address, caller)
        async with audit.during(services_of(request).audit, event):
            return await handler(request)

    async def run(request: Request) -> Response:
        try:
            if closed and request.scope["query_string"]:
                query(request, NoParameters)
            response = await (told if audited else handler)(request)
            if isinstance(response, _STREAMED):
                return interruptible(response, request.app.state.connections)
            return response
        except DomainError as problem:
            problem.field = _called_here(problem.field, operation)
            return error_response(problem, request_id_of(request.scope), status=_status(problem, operation))
        except ClientDisconnect:
            return Response(status_code=499)  # nobody is there to read it; the access log shows it
        except Exception as error:  # noqa: BLE001 - a defect is logged with its request id and masked
            report(error, operation=operation.operation_id)
            return error_response(None, request_id_of(request.scope))

    return run


def starlette_routes(routes: Iterable[Route]) -> list[StarletteRoute]:
    """The ASGI routes of typed ones: one for each path, so that a 405 names every method the path has.

    Literal paths come before those with parameters that would match them too.
    """
    by_path: dict[str, dict[str, Endpoint]] = {}
    for route in routes:
        operation = route.operation
        methods = by_path.setdefault(operation.path, {})
        if operation.method.upper() in methods:
            raise ValueError(f"{operation.method} {operation.path} is served twice")
        methods[operation.method.upper()] = guarded(route.handler, operation)
    ordered = sorted(by_path, key=lambda path: [part.startswith("{") for part in path.split("/")])
    return [StarletteRoute(path, _by_method(by_path[path]), methods=list(by_path[path])) for path in ordered]


def _by_method(methods: Mapping[str, Endpoint]) -> Endpoint:
    async def run(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return run
