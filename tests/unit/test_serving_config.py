"""What may be asked of serving: bounds are checked where the values are made."""

from __future__ import annotations

from typing import Any

import pytest

from domain import architecture
from domain.errors import HTTP_STATUS, BadUserInput
from domain.serving import NotServing, ReplicaFailed, ReplicaSet, ServingConfig
from tests.support.models import linear


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_batch_rows": 0},
        {"max_batch_rows": 4097},
        {"max_batch_rows": True},
        {"max_queue_rows": 1.5},
        {"queue_delay_us": -1},
        {"timeout_ms": 0},
        {"timeout_ms": 600_001},
        {"drain_timeout_ms": -1},
        {"threads": 0},
        {"threads": 257},
    ],
    ids=str,
)
def test_config_out_of_bounds_names_its_field(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadUserInput) as caught:
        ServingConfig(**wrong)
    assert caught.value.field == next(iter(wrong))


@pytest.mark.parametrize("replicas", [0, -1, 65, True])
def test_number_of_replicas_is_bounded(replicas: int) -> None:
    with pytest.raises(BadUserInput) as caught:
        ReplicaSet("end_1", "ver_1", "/weights", architecture.parse(linear()), replicas=replicas)
    assert caught.value.field == "replicas"


def test_failures_have_a_code_and_keep_what_was_written() -> None:
    error = ReplicaFailed("it broke", stderr=["a", "b"])
    assert error.stderr == ("a", "b")
    assert {HTTP_STATUS[error.code], HTTP_STATUS[NotServing("gone").code]} == {503}
