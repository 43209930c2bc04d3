"""Which devices a server has, and which may be asked for."""

from __future__ import annotations

import pytest

from domain.errors import BadUserInput
from domain.serving import check_device, check_device_exists
from serving import devices


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:15"])
def test_devices_are_named_as_torch_names_them(device: str) -> None:
    check_device(device)


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cuda:-1", "cuda:100", "CUDA", "cpu:0", "cuda:0\n", 0, None])
def test_other_names_are_refused(device: object) -> None:
    with pytest.raises(BadUserInput) as refused:
        check_device(device, field="config.device")
    assert refused.value.field == "config.device"


def test_a_device_that_is_not_there_is_refused_with_what_is() -> None:
    for device in ("cpu", "cuda", "cuda:1"):
        check_device_exists(device, 2)
    check_device_exists("cpu", 0)
    with pytest.raises(BadUserInput, match=r"cuda:2 was asked for; this server has 2 \(cuda:0 to cuda:1\)"):
        check_device_exists("cuda:2", 2)
    with pytest.raises(BadUserInput, match="this server has no CUDA device that torch can use"):
        check_device_exists("cuda", 0)


def test_what_torch_was_built_for_is_read_without_importing_it() -> None:
    assert not devices.built_for_cuda("cuda: Optional[str] = None\nhip: Optional[str] = None\n")
    assert devices.built_for_cuda("__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\n")
    assert devices.built_for_cuda("cuda = '13.0'\n")
    assert not devices.built_for_cuda("")


@pytest.mark.parametrize(
    ("shown", "expected"), [(None, 4), ("0,1", 2), ("", 0), ("-1", 0), ("0,1,2,3,4,5", 4), ("GPU-7f2a", 1)]
)
def test_only_visible_devices_count(shown: str | None, expected: int) -> None:
    environ = {} if shown is None else {"CUDA_VISIBLE_DEVICES": shown}
    assert devices.visible(lambda: 4, environ) == expected
