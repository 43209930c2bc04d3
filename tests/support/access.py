"""What members may do, for tests that make their own scopes."""

from __future__ import annotations

from typing import Final

from domain.access import Access, WorkspaceRole

OWNER: Final = Access(WorkspaceRole.OWNER)
EDITOR: Final = Access(WorkspaceRole.EDITOR)
VIEWER: Final = Access(WorkspaceRole.VIEWER)
