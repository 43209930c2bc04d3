"""Why an upload is refused although its kind of file is known: reasons that are stable and machine-readable."""

from __future__ import annotations

from enum import StrEnum

from domain.errors import BadUserInput


class FileRefusal(StrEnum):
    """Why a file is not what it claims to be, or would do more than compute."""

    POLYGLOT = "polyglot"
    BAD_ARCHIVE = "bad_archive"
    BAD_RECORD = "bad_record"
    USES_PICKLE = "uses_pickle"
    FOREIGN_OPERATOR = "foreign_operator"
    FOREIGN_OBJECT = "foreign_object"
    FOREIGN_EXPRESSION = "foreign_expression"
    GUARDS = "guards"
    EXTERNAL_DATA = "external_data"
    MALFORMED = "malformed"
    TOO_COMPLEX = "too_complex"


class FileRefused(BadUserInput):
    """A model file that is refused; `reason` is one of a fixed list."""

    def __init__(self, reason: FileRefusal, message: str) -> None:
        super().__init__(f"{message} [{reason.value}]", field="file")
        self.reason = reason
