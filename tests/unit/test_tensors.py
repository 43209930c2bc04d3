"""JSON rows to arrays and back: nothing is coerced, and every refusal names its place."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from domain.errors import BadUserInput, PayloadTooLarge
from domain.tensors import (
    DType,
    TensorSpec,
    check_arrays,
    decode_inputs,
    decode_instances,
    decode_rows,
    encode_outputs,
    encode_rows,
)

X = TensorSpec("x", DType.FLOAT32, (-1, 2))
IMAGE = TensorSpec("image", DType.UINT8, (-1, 2, 3))
FLAG = TensorSpec("flag", DType.BOOL, (-1,))
ID = TensorSpec("id", DType.INT64, (-1,))


def test_rows_become_an_array_of_the_declared_dtype_and_shape() -> None:
    array = decode_rows([[1, 2.5], [3, -4]], X, field="inputs")
    assert array.dtype == np.float32
    assert array.tolist() == [[1.0, 2.5], [3.0, -4.0]]


def test_scalar_rows() -> None:
    assert decode_rows([1, 2**63 - 1], ID, field="inputs").tolist() == [1, 2**63 - 1]
    assert decode_rows([True, False], FLAG, field="inputs").tolist() == [True, False]


def test_non_finite_values_are_spelled_as_strings() -> None:
    array = decode_rows([["NaN", "-Infinity"], ["Infinity", 0]], X, field="inputs")
    assert math.isnan(array[0, 0])
    assert encode_rows(array) == [["NaN", "-Infinity"], ["Infinity", 0.0]]


@pytest.mark.parametrize(
    ("rows", "spec", "field", "part"),
    [
        ({"a": 1}, X, "inputs", "expected a list of rows"),
        ("text", X, "inputs", "expected a list of rows"),
        (None, X, "inputs", "null"),
        ([], X, "inputs", "at least one row"),
        ([1, 2], X, "inputs[0]", "a list of 2 elements"),
        ([[1, 2], [1, 2, 3]], X, "inputs[1]", "expected 2 elements"),
        ([[1, 2], 7], X, "inputs[1]", "got a number"),
        ([[1, 2], [3, "4"]], X, "inputs[1][1]", "'4'"),
        ([[1, 2], [3, None]], X, "inputs[1][1]", "null"),
        ([[1, True]], X, "inputs[0][1]", "true"),
        ([["NaN", "nan"]], X, "inputs[0][1]", "'nan'"),
        ([[1, [2]]], X, "inputs[0][1]", "a list"),
        ([[1, 1e39]], X, "inputs[0][1]", "out of range for float32"),
        ([[1, 10**400]], X, "inputs[0][1]", "too large"),
        ([[[1, 2, 3], [4, 5, 256]]], IMAGE, "inputs[0][1][2]", "0 to 255"),
        ([[[1, 2, 3], [4, 5]]], IMAGE, "inputs[0][1]", "expected 3 elements"),
        ([[[1, 2, 3], "row"]], IMAGE, "inputs[0][1]", "a string"),
        ([1, 2.0], ID, "inputs[1]", "a whole number"),
        ([1, True], ID, "inputs[1]", "a whole number"),
        ([2**63], ID, "inputs[0]", "out of range for int64"),
        ([0, 1], FLAG, "inputs[0]", "true or false"),
    ],
)
def test_wrong_rows_are_refused_with_their_place(rows: object, spec: TensorSpec, field: str, part: str) -> None:
    with pytest.raises(BadUserInput) as caught:
        decode_rows(rows, spec, field="inputs")
    assert caught.value.field == field
    assert part in caught.value.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(json_values, st.sampled_from([X, IMAGE, FLAG, ID]))
def test_any_json_is_either_an_array_of_the_spec_or_a_coded_refusal(payload: object, spec: TensorSpec) -> None:
    try:
        arrays = decode_inputs(payload, [spec])
    except (BadUserInput, PayloadTooLarge) as error:
        assert error.field is not None
        assert error.field.startswith("inputs")
        return
    assert arrays[spec.name].dtype == spec.dtype.numpy
    assert arrays[spec.name].shape[1:] == spec.row_shape


@given(st.sampled_from(list(DType)), st.data())
def test_every_array_survives_json(dtype: DType, data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    array = data.draw(hnp.arrays(dtype.numpy, shape))
    spec = TensorSpec("x", dtype, (-1, *shape[1:]))
    text = json.dumps(encode_rows(array), allow_nan=False)
    back = decode_rows(json.loads(text), spec, field="inputs")
    assert back.dtype == array.dtype
    assert np.array_equal(back, array, equal_nan=True)


def test_inputs_by_name_or_bare_when_there_is_one() -> None:
    assert decode_inputs([[1, 2]], [X])["x"].shape == (1, 2)
    assert decode_inputs({"x": [[1, 2]]}, [X])["x"].shape == (1, 2)
    both = decode_inputs({"id": [5, 6], "x": [[1, 2], [3, 4]]}, [X, ID])
    assert list(both) == ["x", "id"]


@pytest.mark.parametrize(
    ("payload", "specs", "field", "part"),
    [
        ({"y": [[1, 2]]}, [X], "inputs", "unknown input 'y'"),
        ({}, [X], "inputs", "missing input 'x'"),
        ([[1, 2]], [X, ID], "inputs", "2 inputs (x, id)"),
        ({"x": [[1, 2]], "id": [1, 2]}, [X, ID], "inputs.id", "2 rows"),
        ({"x": [[1, "a"]]}, [X], "inputs.x[0][1]", "'a'"),
    ],
)
def test_wrong_inputs_are_refused(payload: object, specs: list[TensorSpec], field: str, part: str) -> None:
    with pytest.raises(BadUserInput) as caught:
        decode_inputs(payload, specs)
    assert caught.value.field == field
    assert part in caught.value.message


def test_limits_are_checked_before_the_elements() -> None:
    with pytest.raises(PayloadTooLarge, match="at most 2 per request"):
        decode_inputs([["bad", "bad"]] * 3, [X], max_rows=2)
    with pytest.raises(PayloadTooLarge, match="24 bytes"):
        decode_inputs([["bad", "bad"]] * 3, [X], max_bytes=23)


def test_instances_are_rows_or_named_rows() -> None:
    assert decode_instances([[1, 2], [3, 4]], [X])["x"].tolist() == [[1, 2], [3, 4]]
    both = decode_instances([{"x": [1, 2], "id": 7}, {"x": [3, 4], "id": 8}], [X, ID])
    assert both["id"].tolist() == [7, 8]
    with pytest.raises(BadUserInput) as caught:
        decode_instances([{"x": [1, 2], "id": 7}, {"x": [3, 4]}], [X, ID])
    assert caught.value.field == "instances[1]"


def test_arrays_are_checked_by_dtype_shape_and_rows() -> None:
    good: dict[str, np.ndarray[Any, Any]] = {"x": np.zeros((3, 2), np.float32)}
    assert check_arrays(good, [X]) == 3
    for wrong in (
        np.zeros((3, 2)),
        np.zeros((3, 3), np.float32),
        np.zeros(3, np.float32),
        np.zeros((0, 2), np.float32),
    ):
        with pytest.raises(BadUserInput):
            check_arrays({"x": wrong}, [X])


def test_outputs_keep_their_order() -> None:
    assert list(encode_outputs({"b": np.zeros(1), "a": np.ones((1, 1))})) == ["b", "a"]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ([], "spec"),
        ({"name": "x", "dtype": "float32", "shape": [-1], "extra": 1}, "spec"),
        ({"name": "", "dtype": "float32", "shape": [-1]}, "spec.name"),
        ({"name": "a\nb", "dtype": "float32", "shape": [-1]}, "spec.name"),
        ({"name": "x", "dtype": "float31", "shape": [-1]}, "spec.dtype"),
        ({"name": "x", "dtype": ["float32"], "shape": [-1]}, "spec.dtype"),
        ({"name": "x", "dtype": "float32", "shape": []}, "spec.shape"),
        ({"name": "x", "dtype": "float32", "shape": [3, 2]}, "spec.shape[0]"),
        ({"name": "x", "dtype": "float32", "shape": [-1.0, 2]}, "spec.shape[0]"),
        ({"name": "x", "dtype": "float32", "shape": [-1, -1]}, "spec.shape[1]"),
        ({"name": "x", "dtype": "float32", "shape": [-1, True]}, "spec.shape[1]"),
        ({"name": "x", "dtype": "float32", "shape": [-1] + [1] * 8}, "spec.shape"),
    ],
)
def test_wrong_specs_are_refused(document: object, field: str) -> None:
    with pytest.raises(BadUserInput) as caught:
        TensorSpec.from_json(document, field="spec")
    assert caught.value.field == field


def test_spec_round_trip() -> None:
    assert TensorSpec.from_json(IMAGE.to_json(), field="spec") == IMAGE
