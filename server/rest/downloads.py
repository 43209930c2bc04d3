"""Files of models as answers: whole, in ranges, or not at all where the caller's copy is current or of another file."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from domain.errors import BadUserInput, Conflict, DomainError
from domain.models import ModelFile
from server.edge.identity import request_id_of
from server.rest.errors import error_response
from server.rest.route import BYTES

MAX_RANGES: Final = 16
READ_BYTES: Final = 256 * 1024
_RANGE: Final = re.compile(r"(?=[0-9-]{2,40}$)([0-9]{0,18})-([0-9]{0,18})", re.ASCII)
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    # Kept, but asked for each time: whoever reads it next must still be allowed to, and a name may have moved on.
    "Cache-Control": "private, no-cache",
    "Vary": "Authorization, Cookie",
}


class _File(FileResponse):
    chunk_size = READ_BYTES


def file_answer(request: Request, file: ModelFile, path: str) -> Response:
    """The bytes of a file that lie at `path`: 200, 206, 304, 412, or 416."""
    etag = f'"{file.sha256}"'
    headers = {**_HEADERS, "ETag": etag}
    wanted = [tag.strip() for tag in request.headers.get("if-match", "*").split(",")]
    if etag not in wanted and "*" not in wanted:
        problem: DomainError = Conflict("the file is another one than If-Match names", field="If-Match")
        return error_response(problem, request_id_of(request.scope), status=412, headers={"ETag": etag})
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    if not _satisfiable(request, file.size_bytes):
        problem = BadUserInput(f"the range lies outside the file of {file.size_bytes} bytes", field="Range")
        extent = {"Content-Range": f"bytes */{file.size_bytes}"}
        return error_response(problem, request_id_of(request.scope), status=416, headers=extent)
    return _File(path, headers=headers, media_type=BYTES, filename=file.name)


def _satisfiable(request: Request, size: int) -> bool:
    """Whether the file has the bytes asked for. A range that is malformed, or of many parts, counts as none."""
    given = request.headers.get("range")
    if given is None:
        return True
    parts = [part.strip() for part in given.removeprefix("bytes=").split(",", MAX_RANGES)]
    found = [_RANGE.fullmatch(part) for part in parts]
    if given.startswith("bytes=") and len(parts) <= MAX_RANGES and all(found):
        bounds = [(int(part[1] or 0), part[2]) for part in found if part is not None]
        if any(part is not None and not part[1] and int(part[2] or 0) == 0 for part in found):
            return False  # the last zero bytes
        if all(not end or start <= int(end) for start, end in bounds):
            return all(start < size for start, _ in bounds)
    request.scope["headers"] = [header for header in request.scope["headers"] if header[0].lower() != b"range"]
    return True
