"""REST bodies: what a request may say, how omitted and null differ, and that answers encode as the contract says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from server.rest.operations import SERVED
from server.rest.route import JSON, OneOf, Raw
from server.rest.structs.auth import ApiKeyCreate, LoginRequest, SessionMode, TokenPair, User, UserRole
from server.rest.structs.common import TagsBody
from server.rest.structs.inference import EndpointConfigInput, EndpointCreate, PredictRequest
from server.rest.structs.metrics import MetricsColumns, MetricsEntries, MetricsFlat
from server.rest.structs.models import ModelCreate
from server.rest.structs.training import ParamsBody, RunCreate, RunEnd, RunFinish, RunPatch


def request_forms() -> list[Any]:
    forms: list[Any] = []
    for operation in SERVED:
        form = operation.request.media.get(JSON) if operation.request else None
        forms += form.types if isinstance(form, OneOf) else [form]
    return [form for form in forms if form is not None and not isinstance(form, Raw)]


def test_every_request_struct_refuses_unknown_fields() -> None:
    structs = [form for form in request_forms() if isinstance(form, type) and issubclass(form, msgspec.Struct)]
    assert len(structs) >= 14
    for struct in structs:
        assert struct.__struct_config__.forbid_unknown_fields, struct


def test_request_forms_can_be_cached_by_a_decoder() -> None:
    forms = request_forms()
    assert [msgspec.json.Decoder(form).type for form in forms] == forms


def test_patch_tells_omitted_from_null() -> None:
    patch = msgspec.json.decode(b'{"notes": null}', type=RunPatch)
    assert patch.notes is None
    assert patch.model_type is UNSET


def test_run_create_defaults_are_not_shared() -> None:
    first = msgspec.json.decode(b"{}", type=RunCreate)
    second = msgspec.json.decode(b"{}", type=RunCreate)
    first.params["lr"] = 0.1
    assert second.params == {}
    assert first.start
    assert first.name is None


def test_key_expiry_tells_default_from_never() -> None:
    keep = msgspec.json.decode(b'{"name": "ci", "scopes": ["runs:write"]}', type=ApiKeyCreate)
    never = msgspec.json.decode(b'{"name": "ci", "scopes": ["runs:write"], "expires_at": null}', type=ApiKeyCreate)
    assert keep.expires_at is UNSET
    assert never.expires_at is None


@pytest.mark.parametrize("step", [5, -(2**53) + 1, "9223372036854775807"])
def test_big_integers_are_read_as_number_and_string(step: int | str) -> None:
    body = msgspec.json.encode({"metrics": [{"key": "loss", "value": "NaN", "step": step}]})
    entry = msgspec.json.decode(body, type=MetricsEntries).metrics[0]
    assert entry.step == step
    assert entry.value == "NaN"


def test_columns_may_leave_out_steps() -> None:
    columns = msgspec.json.decode(b'{"series": {"loss": {"values": [1, 0.5, "-Infinity"]}}}', type=MetricsColumns)
    assert columns.series["loss"].values == [1.0, 0.5, "-Infinity"]
    assert columns.series["loss"].steps is None


def test_cookie_login_omits_the_tokens() -> None:
    user = User(
        id="usr_1",
        email="a@example.org",
        name="a",
        role=UserRole.ADMIN,
        mfa_enabled=False,
        must_change_password=False,
        must_add_factor=False,
        created_at="2026-11-21T00:00:00.000Z",
        last_login_at=None,
    )
    encoded = msgspec.json.decode(msgspec.json.encode(TokenPair(expires_in=600, user=user)))
    assert encoded.keys() == {"expires_in", "user"}
    assert encoded["user"]["role"] == "admin"
    assert encoded["user"]["last_login_at"] is None


def test_predict_takes_rows_or_rows_by_name() -> None:
    assert msgspec.json.decode(b'{"inputs": [[1, 2]]}', type=PredictRequest).inputs == [[1, 2]]
    assert msgspec.json.decode(b'{"inputs": {"x": [[1]]}}', type=PredictRequest).inputs == {"x": [[1]]}
    assert msgspec.json.decode(b'{"instances": [1]}', type=PredictRequest).inputs is UNSET


def test_enums_are_lower_case() -> None:
    assert msgspec.json.decode(b'{"status": "failed"}', type=RunFinish).status is RunEnd.FAILED
    assert msgspec.json.decode(b"{}", type=RunFinish).status is RunEnd.COMPLETED
    login = msgspec.json.decode(b'{"email": "a@b", "password": "x", "session": "cookie"}', type=LoginRequest)
    assert login.session is SessionMode.COOKIE


@pytest.mark.parametrize(
    ("form", "body", "message"),
    [
        (RunFinish, b'{"status": "running"}', "Invalid enum value 'running' - at `$.status`"),
        (RunFinish, b'{"state": "failed"}', "unknown field `state`"),
        (RunCreate, b'{"name": ""}', "at `$.name`"),
        (RunCreate, b'{"params": {"": 1}}', "at `key` in `$.params`"),
        (TagsBody, b"{}", "length >= 1"),
        (TagsBody, b'{"stage": 3}', "at `$[...]`"),
        (ParamsBody, b'{"": 3}', "length >= 1"),
        (MetricsFlat, b'{"loss": true}', "at `$[...]`"),
        (MetricsFlat, b'{"loss": {"a": 1}}', "at `$[...]`"),
        (MetricsFlat, b'{"loss": "low"}', "at `$[...]`"),
        (ModelCreate, b'{"name": "../etc"}', "at `$.name`"),
        (EndpointCreate, b'{"name": "digits"}', "missing required field `model_version_id`"),
        (EndpointCreate, b'{"name": "d", "model_version_id": "v", "replicas": 0}', "at `$.replicas`"),
        (EndpointConfigInput, b'{"threads": 0}', "at `$.threads`"),
        (PredictRequest, b'{"inputs": "rows"}', "at `$.inputs`"),
        (ApiKeyCreate, b'{"name": "ci", "scopes": ["root"]}', "at `$.scopes[0]`"),
    ],
)
def test_bad_input_is_refused_with_its_place(form: Any, body: bytes, message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(body, type=form)
    assert message in str(caught.value)
