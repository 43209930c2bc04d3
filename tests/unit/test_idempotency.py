"""What names a request: one rule for client tokens, the Idempotency-Key and the ids of batches."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadUserInput
from domain.idempotency import MAX_TOKEN, ClientToken
from domain.metrics import batch_id

CONTRACT = Path(__file__).parents[2] / "schema" / "openapi.json"


@pytest.mark.parametrize("token", ["!", "~", "k" * MAX_TOKEN, "3f0c/a:b=c"])
def test_tokens_are_printable_and_short(token: str) -> None:
    made = ClientToken.of(token, "run.create", name="a")
    assert made is not None
    assert made.token == batch_id(token) == token


@pytest.mark.parametrize("token", ["", " ", "a b", "a\n", "é", "\x7f", "k" * (MAX_TOKEN + 1)])
def test_other_tokens_are_refused_by_name(token: str) -> None:
    with pytest.raises(BadUserInput, match="1 to 128 printable ASCII characters without spaces") as of_client:
        ClientToken.of(token, "run.create")
    assert of_client.value.field == "client_token"
    with pytest.raises(BadUserInput, match="1 to 128 printable ASCII characters without spaces") as of_batch:
        batch_id(token)
    assert of_batch.value.field == "batch_id"


@given(st.text(max_size=MAX_TOKEN + 2))
def test_the_contract_of_the_header_draws_the_same_line(text: str) -> None:
    form = json.loads(CONTRACT.read_text())["components"]["parameters"]["IdempotencyKey"]["schema"]
    # ECMA 262, which JSON Schema refers to, knows no `$` before a line break at the end.
    formed = re.fullmatch(form["pattern"].removesuffix("$"), text) is not None
    assert (form["minLength"] <= len(text) <= form["maxLength"] and formed) is _accepts(text)


def _accepts(text: str) -> bool:
    try:
        batch_id(text)
    except BadUserInput:
        return False
    return True
