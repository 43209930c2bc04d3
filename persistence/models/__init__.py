"""Models, versions and the references to their files in PostgreSQL. All SQL of the registry is here."""

from __future__ import annotations

from persistence.models.repository import PostgresModels
from persistence.models.uploads import PostgresFiles, PostgresUploads

__all__ = ["PostgresFiles", "PostgresModels", "PostgresUploads"]
