"""Kinds of indexes that Tortoise does not bring along."""

from __future__ import annotations

from typing import Any

from tortoise.indexes import Index


class FilledIndex(Index):
    """An index of the rows that have a value in its one field.

    With the others in it, PostgreSQL takes it for a way to the rows without a value: unless the table was just
    analysed, it guesses that they are few, and reads all of them instead of the one row that was asked for by its key.
    """

    def __init__(self, field: str, name: str) -> None:
        super().__init__(fields=(field,), name=name)
        self.extra = f' WHERE "{field}" IS NOT NULL'

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """As Django names it, for comparing states of the schema."""
        path, _, kwargs = super().deconstruct()
        return path, [], {"field": kwargs["fields"][0], "name": kwargs["name"]}
