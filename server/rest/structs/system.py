"""Shapes of the health routes."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from server.rest.structs.common import AnswerBody


class Health(AnswerBody, kw_only=True):
    """The process is alive. It says nothing about what the process depends on."""

    status: Annotated[Literal["ok"], Meta(description="Always `ok`: a dead process does not answer.")]
    version: Annotated[str, Meta(description="Version of the server.")]


class Readiness(AnswerBody, kw_only=True):
    """The server can do its work: the database answers and its tables are those the code was written for."""

    status: Annotated[Literal["ready"], Meta(description="Always `ready`; otherwise the answer is 503.")]
    database: Annotated[Literal["ok"], Meta(description="The database answers.")]
    migrations: Annotated[Literal["ok"], Meta(description="Every migration of this version was applied.")]
