"""The error of the bundled server. It is read by the person who starts AxonML, so it says what to do."""

from __future__ import annotations


class PostgresError(Exception):
    """The bundled PostgreSQL cannot be initialised, started or reached; the message says why and what helps."""
