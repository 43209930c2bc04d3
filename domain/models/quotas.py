"""How much a workspace may keep. Each check raises an error that names what the caller would have to change."""

from __future__ import annotations

from dataclasses import dataclass

from domain.errors import Conflict, PayloadTooLarge


@dataclass(frozen=True, slots=True)
class Quotas:
    """The bounds. `file_bytes` is for one file, `workspace_bytes` for all files that the versions of a workspace have,
    counted once however many have them; None is no bound.
    """

    file_bytes: int
    version_files: int = 100
    model_versions: int = 10_000
    workspace_bytes: int | None = None

    def check_file(self, size: int, *, field: str = "file") -> None:
        """Raises PayloadTooLarge for a file that is too large by itself."""
        if size > self.file_bytes:
            raise PayloadTooLarge(f"{size} bytes; a file may have {self.file_bytes}", field=field)

    def check_workspace(self, used: int, more: int, *, field: str = "file") -> None:
        """Raises PayloadTooLarge where `more` bytes have no room beside those that are `used`."""
        if self.workspace_bytes is not None and used + more > self.workspace_bytes:
            raise PayloadTooLarge(
                f"the workspace has {used} bytes of files and may have {self.workspace_bytes}; {more} more do not fit",
                field=field,
            )

    def check_versions(self, count: int) -> None:
        """Raises Conflict for a model that has all the versions it may have."""
        if count >= self.model_versions:
            raise Conflict(f"the model has {count} versions and may not have more; delete some first", field="id")

    def check_files(self, count: int) -> None:
        """Raises Conflict for a version that would have so many files, its weights included."""
        if count > self.version_files:
            raise Conflict(f"a version may have {self.version_files} files, its weights included", field="files")


UNBOUNDED = Quotas(2**63 - 1, 2**31, 2**31)
"""For what counts nothing."""
