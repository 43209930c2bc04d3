"""The life of a run against a small model of it, and the rules for what may be attached to a run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from domain import ids
from domain.errors import BadUserInput, Conflict, PayloadTooLarge
from domain.runs import ENDED, Moment, Param, Run, RunOrder, RunStatus, Tag, entity, make_params, make_tags
from domain.runs.listing import orders_of
from domain.runs.values import MAX_PER_RUN, as_json, made_up_name, make_config
from tests.support.tracking import STALLED_AFTER, START

ENDS = sorted(ENDED, key=lambda status: status.value)


def fresh(status: RunStatus = RunStatus.PENDING) -> Run:
    return Run(
        id=ids.new("run"),
        name="r",
        status=status,
        stop_requested=False,
        model_type=None,
        config={},
        params=(),
        tags=(),
        notes=None,
        failure=None,
        created_at=START,
        started_at=None if status is RunStatus.PENDING else START,
        ended_at=START if status in ENDED else None,
        last_activity_at=None,
        archived_at=None,
        owner_id=ids.new("usr"),
        experiment_id=ids.new("exp"),
        parent_id=None,
        seen=Moment(START, STALLED_AFTER),
    )


class Life(RuleBasedStateMachine):
    """Any sequence of changes; `status`, `asked`, `hidden` and `silent` (seconds) are the model."""

    def __init__(self) -> None:
        super().__init__()
        self.run = fresh()
        self.status = RunStatus.PENDING
        self.asked = self.hidden = False
        self.silent = 0

    def apply(self, change: Callable[[Run], Run], *, allowed: bool) -> bool:
        before = self.run
        try:
            self.run = change(before)
        except Conflict:
            assert not allowed
            return False
        assert allowed
        assert (self.run.id, self.run.created_at, self.run.owner_id) == (before.id, before.created_at, before.owner_id)
        return True

    @rule(seconds=st.integers(1, 400))
    def wait(self, seconds: int) -> None:
        self.run = replace(
            self.run, seen=Moment(self.run.seen.now + timedelta(seconds=seconds), self.run.seen.stalled_after)
        )
        self.silent += seconds

    @rule()
    def start(self) -> None:
        if self.apply(entity.started, allowed=not self.hidden and self.status not in ENDED):
            self.silent = 0 if self.status is RunStatus.PENDING else self.silent
            self.status = RunStatus.RUNNING

    @rule()
    def write(self) -> None:
        if self.apply(entity.written, allowed=not self.hidden and self.status not in ENDED):
            self.status, self.silent = RunStatus.RUNNING, 0
            assert self.run.last_activity_at == self.run.seen.now

    @rule(end=st.sampled_from(ENDS), why=st.sampled_from([None, "out of memory"]))
    def finish(self, end: RunStatus, why: str | None) -> None:
        if why is not None and end is not RunStatus.FAILED:
            with pytest.raises(BadUserInput):
                entity.finished(self.run, end, why)
            return
        before = self.run
        if self.apply(
            lambda run: entity.finished(run, end, why),
            allowed=not self.hidden and (self.status not in ENDED or self.status is end),
        ):
            if self.status is end:
                assert self.run is before
            else:
                assert self.run.failure == why
                assert self.run.ended_at == self.run.seen.now
            self.status = end

    @rule(force=st.booleans())
    def stop(self, force: bool) -> None:
        stalled = self.status is RunStatus.RUNNING and self.silent > STALLED_AFTER.total_seconds()
        at_once = force or self.status is RunStatus.PENDING or stalled
        if (
            self.apply(
                lambda run: entity.stopped(run, force=force),
                allowed=not self.hidden and self.status not in ENDED - {RunStatus.STOPPED},
            )
            and self.status is not RunStatus.STOPPED
        ):
            self.asked = True
            self.status = RunStatus.STOPPED if at_once else self.status

    @rule()
    def resume(self) -> None:
        if self.apply(entity.resumed, allowed=not self.hidden and self.status is not RunStatus.PENDING):
            if self.status in ENDED:
                self.asked, self.silent = False, 0
                assert self.run.failure is None
            self.status = RunStatus.RUNNING

    @rule()
    def archive(self) -> None:
        self.apply(entity.archived, allowed=True)
        self.hidden = True

    @rule()
    def restore(self) -> None:
        self.apply(entity.restored, allowed=True)
        self.hidden = False

    @rule(value=st.sampled_from(["a", "b"]))
    def tag(self, value: str) -> None:
        tags = make_tags([("k", value)])
        if self.apply(lambda run: entity.with_tags(run, tags), allowed=not self.hidden):
            assert self.run.tags == (Tag("k", value),)
            self.silent = 0 if self.status is RunStatus.RUNNING else self.silent

    @rule(value=st.sampled_from([1, 2]))
    def param(self, value: int) -> None:
        params = make_params([("k", value)])
        other = any(held.value != value for held in self.run.params)
        allowed = not self.hidden and self.status not in ENDED and not other
        if self.apply(lambda run: entity.with_params(run, params), allowed=allowed):
            self.status, self.silent = RunStatus.RUNNING, 0
            assert [held.value for held in self.run.params] == [value]

    @invariant()
    def agrees(self) -> None:
        run = self.run
        assert (run.status, run.stop_requested, run.archived) == (self.status, self.asked, self.hidden)
        assert (run.ended_at is not None) == (run.status in ENDED)
        assert run.stalled == (run.status is RunStatus.RUNNING and self.silent > STALLED_AFTER.total_seconds())
        if run.status in (RunStatus.RUNNING, RunStatus.COMPLETED, RunStatus.FAILED):
            assert run.started_at is not None
        if run.started_at is None:
            assert run.duration_seconds is None
        else:
            end = run.ended_at or run.seen.now
            assert run.duration_seconds == (end - run.started_at).total_seconds()


TestLife = Life.TestCase


def test_another_end_names_both() -> None:
    with pytest.raises(Conflict, match="COMPLETED already; it cannot become FAILED"):
        entity.finished(fresh(RunStatus.COMPLETED), RunStatus.FAILED, None)
    with pytest.raises(Conflict, match="FAILED already; it cannot become STOPPED"):
        entity.stopped(fresh(RunStatus.FAILED), force=True)
    with pytest.raises(BadUserInput) as refused:
        entity.finished(fresh(), RunStatus.RUNNING, None)
    assert refused.value.field == "status"
    with pytest.raises(Conflict, match="resume it first"):
        entity.written(fresh(RunStatus.STOPPED))
    with pytest.raises(Conflict, match="restore it first"):
        entity.edited(entity.archived(fresh()))


def test_params_are_written_once() -> None:
    run = entity.with_params(fresh(), make_params([("lr", 0.1), ("opt", "adam")]))
    again = entity.with_params(run, make_params([("opt", "adam"), ("n", 1)]))
    assert [param.key for param in again.params] == ["lr", "n", "opt"]
    assert entity.with_params(again, make_params([("n", 1.0)])).params == again.params
    with pytest.raises(Conflict, match=r"'lr' is '0\.1' already"):
        entity.with_params(run, make_params([("lr", 0.2)]))
    full = replace(fresh(), params=tuple(Param(f"k{n:05}", n, str(n)) for n in range(MAX_PER_RUN)))
    with pytest.raises(BadUserInput) as refused:
        entity.with_params(full, make_params([("one more", 1)]))
    assert refused.value.field == "params"


@pytest.mark.parametrize(
    ("value", "text", "number"),
    [
        ("adam", "adam", None),
        ("1e-3", "1e-3", 0.001),
        ("1_000", "1_000", None),
        ("9" * 400, "9" * 400, None),
        ("", "", None),
        (3, "3", 3.0),
        (1e5, "100000.0", 1e5),
        (True, "true", None),
        (None, "null", None),
        ([1, "a"], '[1,"a"]', None),
        ({"b": 1, "a": "é"}, '{"b":1,"a":"é"}', None),
    ],
)
def test_params_as_text_and_as_number(value: Any, text: str, number: float | None) -> None:
    (param,) = make_params([("k", value)])
    assert (param.text, param.number) == (text, number)


@pytest.mark.parametrize(
    ("given_params", "field"),
    [
        ([("", 1)], "params[0].key"),
        ([("ok", 1), (" x", 1)], "params[1].key"),
        ([("k", 1), ("k", 2)], "params[1].key"),
        ([("k", math.nan)], "params[0].value"),
        ([("k", [math.inf])], "params[0].value"),
        ([("k", 2**63)], "params[0].value"),
        ([("k", "x" * 8_193)], "params[0].value"),
        ([("k", "a\x00b")], "params[0].value"),
        ([("k", {"\ud800": 1})], "params[0].value"),
        ([("k", [[[[[[[[[1]]]]]]]]])], "params[0].value"),
        ([("k", object())], "params[0].value"),
        ([(f"k{n}", n) for n in range(1_001)], "params"),
    ],
)
def test_unusable_params_are_refused(given_params: list[tuple[str, Any]], field: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        make_params(given_params)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("given_tags", "field"),
    [
        ([("", "x")], "tags[0].key"),
        ([("k", "x" * 5_001)], "tags[0].value"),
        ([("k", "\x00")], "tags[0].value"),
        ([("k", "a"), ("k", "b")], "tags[1].key"),
        ([(f"k{n}", "") for n in range(1_001)], "tags"),
    ],
)
def test_unusable_tags_are_refused(given_tags: list[tuple[str, str]], field: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        make_tags(given_tags)
    assert refused.value.field == field


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["z", "a", "m"]), JSON, max_size=3))
def test_configurations_come_back_as_they_were(config: dict[str, Any]) -> None:
    back = json.loads(as_json(make_config(config)))
    assert as_json(back) == as_json(config)  # the same order of keys, and 1.0 is not 1


def test_configurations_are_bounded() -> None:
    assert make_config(None) == {}
    deep: Any = {}
    for _ in range(32):
        deep = {"in": deep}
    assert make_config(deep) == deep
    with pytest.raises(BadUserInput, match="deeply"):
        make_config({"in": deep})
    for wrong in ([1], "x", 3):
        with pytest.raises(BadUserInput, match="object"):
            make_config(wrong)
    with pytest.raises(PayloadTooLarge) as refused:
        make_config({"k": ["x" * 1_000] * 300})
    assert refused.value.field == "config"


@pytest.mark.parametrize(
    ("text", "orders"),
    [
        (None, ()),
        ("created", (RunOrder("created"),)),
        (" metrics.loss ASC , created desc", (RunOrder("metrics.loss", descending=False), RunOrder("created"))),
        ("metrics.`a, b asc` asc", (RunOrder("metrics.`a, b asc`", descending=False),)),
        ("metrics.'a asc'", (RunOrder("metrics.'a asc'"),)),
        ("a,,b", (RunOrder("a"), RunOrder(""), RunOrder("b"))),
    ],
)
def test_orders_from_one_text(text: str | None, orders: tuple[RunOrder, ...]) -> None:
    assert orders_of(text) == orders


def test_made_up_names_are_names_and_differ() -> None:
    made = {made_up_name() for _ in range(50)}
    assert len(made) > 40
    assert all(name.count("-") == 2 and name.rsplit("-", 1)[1].isdigit() for name in made)
