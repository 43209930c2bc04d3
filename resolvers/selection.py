"""What a field's sub-selection names, so that work nobody asked for is left undone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from graphql import FieldNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode

from domain.paging import PageRequest

if TYPE_CHECKING:
    import strawberry


def wants_total(info: strawberry.Info[Any, Any]) -> bool:
    """Whether a connection's length is selected."""
    return selects(info, {"totalCount", "totalCountAtLeast"})


def page_of(info: strawberry.Info[Any, Any], first: int | None, after: str | None) -> PageRequest:
    """The page that a connection's arguments ask for; its length is counted only when it is selected."""
    return PageRequest.of(first, after, total=wants_total(info))


def selects(info: strawberry.Info[Any, Any], names: set[str]) -> bool:
    """Whether one of `names` is selected right below this field, through fragments too; directives are not weighed."""
    raw = info._raw_info  # noqa: SLF001 - the converted selection costs more than the page
    sets = [node.selection_set for node in raw.field_nodes if node.selection_set is not None]
    seen: set[str] = set()
    while sets:
        for selection in _selections(sets.pop()):
            if isinstance(selection, FieldNode):
                if selection.name.value in names:
                    return True
            elif isinstance(selection, InlineFragmentNode):
                sets.append(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in seen:
                seen.add(selection.name.value)
                sets.append(raw.fragments[selection.name.value].selection_set)
    return False


def _selections(found: SelectionSetNode) -> Iterable[object]:
    return found.selections
