"""What a member may do: the decision against its rules spelled out, and lists that hold exactly what is decided."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.access import (
    Access,
    Action,
    Effect,
    KeyScope,
    Principal,
    Reach,
    ResourceKind,
    Rule,
    Scope,
    UserRole,
    WorkspaceRole,
)
from domain.errors import Forbidden, NotFound
from tests.support.access import EDITOR, OWNER, VIEWER

OBJECTS = ("run_a", "run_b", "run_c")
RULES = st.builds(
    Rule,
    kind=st.sampled_from([ResourceKind.RUNS, ResourceKind.MODELS]),
    actions=st.frozensets(st.sampled_from([Action.READ, Action.WRITE, Action.PREDICT]), min_size=1),
    effect=st.sampled_from(Effect),
    resource_id=st.sampled_from([None, *OBJECTS]),
)
ACCESSES = st.builds(Access, role=st.sampled_from(WorkspaceRole), rules=st.lists(RULES, max_size=5).map(tuple))
KINDS = st.sampled_from([ResourceKind.RUNS, ResourceKind.MODELS, ResourceKind.ENDPOINTS])


def _naive(access: Access, kind: ResourceKind, action: Action, object_id: str | None) -> bool:
    verdict = access.role is not WorkspaceRole.VIEWER or action is Action.READ
    for effect in (Effect.ALLOW, Effect.DENY):  # in this order, so that a denial has the last word
        for rule in access.rules:
            about = rule.kind is kind and action in rule.actions and rule.resource_id in {None, object_id}
            if about and rule.effect is effect and access.role is not WorkspaceRole.OWNER:
                verdict = effect is Effect.ALLOW
    return verdict


@given(ACCESSES, KINDS, st.sampled_from(Action), st.sampled_from([None, *OBJECTS]))
def test_the_decision_is_the_one_the_rules_spell_out(
    access: Access, kind: ResourceKind, action: Action, object_id: str | None
) -> None:
    assert access.may(kind, action, object_id) is _naive(access, kind, action, object_id)


@given(ACCESSES, KINDS, st.sampled_from(Action))
def test_lists_hold_exactly_what_is_decided(access: Access, kind: ResourceKind, action: Action) -> None:
    reach = access.reach(kind, action)
    assert {one for one in OBJECTS if one in reach} == {one for one in OBJECTS if access.may(kind, action, one)}
    assert reach.whole is (reach == Reach(everything=True))


@given(ACCESSES, KINDS, st.sampled_from(Action), st.sampled_from(OBJECTS))
def test_a_denial_never_widens_and_an_allowance_never_narrows(
    access: Access, kind: ResourceKind, action: Action, object_id: str
) -> None:
    before = access.may(kind, action, object_id)
    denied = Access(access.role, (*access.rules, Rule(kind, frozenset({action}), Effect.DENY, object_id)))
    allowed = Access(access.role, (*access.rules, Rule(kind, frozenset({action}), Effect.ALLOW, object_id)))
    assert denied.may(kind, action, object_id) is (access.role is WorkspaceRole.OWNER)
    assert allowed.may(kind, action, object_id) >= before


def _scope(access: Access, scopes: frozenset[KeyScope] | None = None) -> Scope:
    key = None if scopes is None else "key_1"
    session = "ses_1" if scopes is None else None
    return Scope("wsp_1", Principal("usr_1", "ann@example.com", UserRole.USER, session, key, scopes), access)


def test_what_may_not_be_read_does_not_exist_and_what_may_not_be_changed_is_forbidden() -> None:
    hidden = Rule(ResourceKind.RUNS, frozenset({Action.READ, Action.WRITE}), Effect.DENY, "run_a")
    frozen = Rule(ResourceKind.RUNS, frozenset({Action.WRITE}), Effect.DENY, "run_b")
    scope = _scope(Access(WorkspaceRole.EDITOR, (hidden, frozen)))
    for key_scope in (KeyScope.RUNS_READ, KeyScope.RUNS_WRITE):
        with pytest.raises(NotFound, match="no such run"):
            scope.require(key_scope, "run_a")
    scope.require(KeyScope.RUNS_READ, "run_b")
    with pytest.raises(Forbidden, match="write this run"):
        scope.require(KeyScope.RUNS_WRITE, "run_b")
    scope.require(KeyScope.RUNS_WRITE, "run_b", action=Action.DELETE)
    scope.require(KeyScope.RUNS_WRITE, "run_c")


def test_viewers_read_and_nothing_else() -> None:
    scope = _scope(VIEWER)
    scope.require(KeyScope.RUNS_READ, "run_a")
    for key_scope in (KeyScope.RUNS_WRITE, KeyScope.MODELS_WRITE, KeyScope.ENDPOINTS_WRITE, KeyScope.PREDICT):
        with pytest.raises(Forbidden):
            scope.require(key_scope)


@pytest.mark.parametrize("key_scope", [one for one in KeyScope if one is not KeyScope.STATS_READ])
def test_a_key_may_do_what_both_its_scopes_and_its_owner_may(key_scope: KeyScope) -> None:
    _scope(EDITOR, frozenset({key_scope})).require(key_scope, "x")
    with pytest.raises(Forbidden, match="lacks the scope"):
        _scope(OWNER, frozenset({KeyScope.STATS_READ})).require(key_scope, "x")
    if key_scope.value.endswith(":read"):
        return
    with pytest.raises(Forbidden, match="your role"):
        _scope(VIEWER, frozenset({key_scope})).require(key_scope, "x")


def test_keys_own_nothing() -> None:
    for held in (_scope(OWNER, frozenset(KeyScope)), _scope(EDITOR)):
        with pytest.raises(Forbidden):
            held.require_owner()
        with pytest.raises(Forbidden):
            held.require_admin()
    _scope(OWNER).require_owner()


def test_what_may_not_be_read_may_not_be_written_either() -> None:
    """Whoever names `read` alone in a denial hides the object, whatever else is allowed."""
    hidden = Rule(ResourceKind.RUNS, frozenset({Action.READ}), Effect.DENY, "run_a")
    everything_hidden = Rule(ResourceKind.RUNS, frozenset({Action.READ}), Effect.DENY)
    with pytest.raises(NotFound, match="no such run"):
        _scope(Access(WorkspaceRole.EDITOR, (hidden,))).require(KeyScope.RUNS_WRITE, "run_a")
    with pytest.raises(Forbidden, match="read these runs"):
        _scope(Access(WorkspaceRole.EDITOR, (everything_hidden,))).require(KeyScope.RUNS_WRITE)


async def test_a_refusal_does_not_tell_whether_the_object_is_there() -> None:
    asked: list[str] = []

    async def exists(_: Scope, object_id: str) -> bool:
        asked.append(object_id)
        return object_id == "run_there"

    viewer = _scope(VIEWER)
    with pytest.raises(Forbidden, match="write this run"):
        await viewer.require_of(KeyScope.RUNS_WRITE, "run_there", exists)
    hidden = Access(
        WorkspaceRole.VIEWER, (Rule(ResourceKind.RUNS, frozenset({Action.READ}), Effect.DENY, "run_there"),)
    )
    told = []
    for scope, run_id in ((viewer, "run_gone"), (_scope(hidden), "run_there")):
        with pytest.raises(NotFound) as refused:
            await scope.require_of(KeyScope.RUNS_WRITE, run_id, exists, field="run_id")
        told.append((refused.value.message, refused.value.field))
    assert told[0] == told[1]
    assert asked == ["run_there", "run_gone"]
    await _scope(EDITOR).require_of(KeyScope.RUNS_WRITE, "run_gone", exists)
    with pytest.raises(Forbidden, match="lacks the scope"):
        await _scope(EDITOR, frozenset({KeyScope.RUNS_READ})).require_of(KeyScope.RUNS_WRITE, "run_gone", exists)
    assert len(asked) == 2, "who is allowed, or carries no scope for it, costs no look-up"
