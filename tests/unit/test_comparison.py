"""What differs between two versions, names that move, and how stages are told by them."""

from __future__ import annotations

from typing import Any

import pytest

from domain.errors import BadUserInput
from domain.models.aliases import ARCHIVED, Stage, alias_name, stage_of
from domain.models.comparison import MAX_DIFFERENCES, DifferenceKind, differences
from domain.models.scrub import Pace
from domain.models.tensors import StoredTensor
from domain.runs import Tag
from domain.safetensors import DTYPE_BITS


def told(left: dict[str, Any], right: dict[str, Any]) -> list[tuple[str, str, Any, Any]]:
    return [(each.path, each.change.value, each.left, each.right) for each in differences(left, right)]


def test_differences_are_told_by_path_in_order() -> None:
    left = {"lr": 0.1, "opt": {"name": "adam", "betas": [0.9, 0.999]}, "old": 1, "same": {"x": None}}
    right = {"lr": 0.2, "opt": {"name": "adam", "betas": [0.9, 0.99], "eps": 1e-8}, "same": {"x": None}}
    assert told(left, right) == [
        ("lr", "changed", 0.1, 0.2),
        ("old", "removed", 1, None),
        ("opt.betas", "changed", [0.9, 0.999], [0.9, 0.99]),
        ("opt.eps", "added", None, 1e-8),
    ]
    assert told(left, left) == []


def test_values_are_equal_as_json_is() -> None:
    assert told({"a": 1}, {"a": 1.0}) == []
    assert told({"a": True}, {"a": 1}) == [("a", "changed", True, 1)]
    assert told({"a": [True]}, {"a": [1]}) == [("a", "changed", [True], [1])]
    assert told({"a": "1"}, {"a": 1}) == [("a", "changed", "1", 1)]
    assert told({"a": None}, {}) == [("a", "removed", None, None)]
    assert told({"a": {}}, {"a": {"b": 1}}) == [("a", "removed", {}, None), ("a.b", "added", None, 1)]
    assert told({"a": [{"x": 1, "y": 2}]}, {"a": [{"y": 2, "x": 1}]}) == []
    # Two places that are written alike are two places all the same.
    assert told({"a.b": 1, "a": {"b": 2}}, {"a.b": 1, "a": {"b": 3}}) == [("a.b", "changed", 2, 3)]


def test_differences_are_bounded_and_deep_documents_are_walked() -> None:
    many = differences({}, {f"k{number:05}": number for number in range(3 * MAX_DIFFERENCES)})
    assert len(many) == MAX_DIFFERENCES
    assert (many[-1].path, many[-1].change) == ("k00999", DifferenceKind.ADDED)
    deep: dict[str, Any] = {"x": 1}
    for _ in range(5_000):
        deep = {"d": deep}
    (only,) = differences({}, deep)
    assert only.path.endswith(".d.x")


@pytest.mark.parametrize("name", ["champion", "Best.1", "v", "v1a", "1.0", "latest-ish"])
def test_names_of_aliases(name: str) -> None:
    assert alias_name(name) == name


@pytest.mark.parametrize("name", ["latest", "LATEST", "1", "0042", "v1", "V20", "", "@x", "a b", "a/b", "x" * 129])
def test_what_is_no_alias(name: str) -> None:
    with pytest.raises(BadUserInput) as refused:
        alias_name(name)
    assert refused.value.field == "alias"


def test_stages_are_told_by_aliases_and_a_tag() -> None:
    assert stage_of([], []) is Stage.NONE
    assert stage_of(["champion"], [Tag("stage", "archived")]) is Stage.NONE
    assert stage_of(["staging"], [ARCHIVED]) is Stage.STAGING
    assert stage_of(["production", "staging"], []) is Stage.PRODUCTION
    assert stage_of([], [ARCHIVED]) is Stage.ARCHIVED


def test_types_of_stored_tensors_have_numpys_names() -> None:
    names = {dtype: StoredTensor.of("w", dtype, [1]).dtype for dtype in DTYPE_BITS}
    assert len(set(names.values())) == len(names)
    assert [names[dtype] for dtype in ("F32", "BF16", "I64", "U8", "BOOL", "C64", "F8_E4M3", "F4")] == [
        "float32",
        "bfloat16",
        "int64",
        "uint8",
        "bool",
        "complex64",
        "float8_e4m3",
        "float4",
    ]


async def test_no_more_bytes_pass_than_may() -> None:
    now, slept = 100.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    pace = Pace(1_000, clock=lambda: now, sleep=sleep)
    for _ in range(10):
        await pace.passed(500)
    assert now == pytest.approx(105)
    now += 60  # a pause is no credit
    await pace.passed(500)
    assert slept[-1] == pytest.approx(0.5)
