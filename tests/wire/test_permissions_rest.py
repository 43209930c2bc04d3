"""`/v1/permissions`: permission records over HTTP, with every refusal in its place."""

from __future__ import annotations

from typing import Any

from tests.api.test_workspaces import person
from tests.support.product import Product

PATH = "/v1/permissions"


async def made(product: Product, **changes: Any) -> dict[str, Any]:
    answer = await product.rest("POST", PATH, json=changes)
    assert answer.status_code == 201, answer.text
    record: dict[str, Any] = answer.json()
    return record


async def test_a_record_from_its_beginning_to_its_end(product: Product) -> None:
    bo, token = await person(product, "bo@example.com", "viewer")
    run = (await product.rest("POST", "/api/training/runs", json={})).json()["id"]
    as_bo = {"Authorization": f"Bearer {token}"}
    path = f"/api/training/runs/{run}"
    assert (await product.http.patch(path, json={"notes": "n"}, headers=as_bo)).status_code == 403
    record = await made(product, user_id=bo, resource=run, actions=["write"])
    viewer = (await product.rest("GET", "/api/auth/me")).json()
    assert record == {
        "id": record["id"],
        "user_id": bo,
        "resource": run,
        "actions": ["write"],
        "effect": "grant",
        "expires_at": None,
        "created_at": record["created_at"],
        "created_by": viewer["id"],
    }
    assert (await product.http.patch(path, json={"notes": "n"}, headers=as_bo)).status_code == 200
    one = f"{PATH}/{record['id']}"
    assert (await product.rest("GET", one)).json() == record
    ends = "2100-01-01T00:00:00.000Z"
    changed = await product.rest("PUT", one, json={"effect": "deny", "actions": ["read"], "expires_at": ends})
    assert (changed.status_code, changed.json()) == (
        200,
        record | {"effect": "deny", "actions": ["read"], "expires_at": ends},
    )
    assert (await product.http.get(path, headers=as_bo)).status_code == 404
    kept = await product.rest("PUT", one, json={"expires_at": None})
    assert kept.json() == changed.json() | {"expires_at": None}
    assert (await product.rest("PUT", one, json={})).json() == kept.json()
    gone = await product.rest("DELETE", one)
    assert (gone.status_code, gone.content) == (204, b"")
    for method in ("GET", "DELETE"):
        assert (await product.rest(method, one)).status_code == 404
    assert (await product.rest("PUT", one, json={"effect": "deny"})).status_code == 404
    assert (await product.http.get(path, headers=as_bo)).status_code == 200


async def test_records_are_listed_by_page_and_filter(product: Product) -> None:
    bo, _ = await person(product, "bo@example.com", "viewer")
    records = [
        await made(product, user_id=bo, resource=kind, actions=["read"], effect="deny")
        for kind in ("runs", "models", "endpoints")
    ]
    first = (await product.rest("GET", PATH, params={"limit": 2})).json()
    assert (len(first["items"]), first["total"]) == (2, 3)
    rest = (await product.rest("GET", PATH, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert rest["next_cursor"] is None
    assert {one["id"] for one in first["items"] + rest["items"]} == {one["id"] for one in records}
    assert (await product.rest("GET", PATH, params={"offset": 2})).json()["items"] == rest["items"]
    assert (await product.rest("GET", PATH, params={"resource": "models"})).json()["items"] == [records[1]]
    mine = (await product.rest("GET", "/api/auth/me")).json()["id"]
    assert (await product.rest("GET", PATH, params={"user_id": mine})).json() == {
        "items": [],
        "total": 0,
        "next_cursor": None,
    }
    for wrong in (
        {"limit": 0},
        {"offset": 10_001},
        {"cursor": "x"},
        {"resource": "x"},
        {"user_id": "x"},
        {"kind": "runs"},
    ):
        answer = await product.rest("GET", PATH, params=wrong)
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, next(iter(wrong))), answer.text


WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"user_id": "x"}, 422, "user_id"),
    ({"user_id": "usr_" + "0" * 32}, 404, "user_id"),
    ({"resource": "run_" + "0" * 32}, 404, "resource"),
    ({"resource": "0" * 32}, 422, "resource"),
    ({"resource": "usr_" + "0" * 32}, 422, "resource"),
    ({"resource": None}, 422, "resource"),
    ({"actions": []}, 422, "actions"),
    ({"actions": ["read", "predict"]}, 422, "actions[1]"),
    ({"actions": ["read"] * 17}, 422, "actions"),
    ({"effect": "allow"}, 422, "effect"),
    ({"expires_at": "tomorrow"}, 422, "expires_at"),
    ({"expires_at": "2000-01-01T00:00:00Z"}, 422, "expires_at"),
    ({"kind": "runs"}, 422, "kind"),
]


async def test_what_is_wrong_is_named_and_makes_nothing(product: Product) -> None:
    bo, _ = await person(product, "bo@example.com", "viewer")
    for changes, status, field in WRONG:
        given = {"user_id": bo, "resource": "runs", "actions": ["read"]} | changes
        answer = await product.rest("POST", PATH, json=given)
        assert (answer.status_code, answer.json()["error"]["field"]) == (status, field), answer.text
    assert (await product.rest("GET", PATH)).json()["total"] == 0


async def test_a_retry_makes_no_second_record_and_a_second_one_is_a_conflict(product: Product) -> None:
    bo, _ = await person(product, "bo@example.com", "viewer")
    given = {"user_id": bo, "resource": "runs", "actions": ["read"]}
    key = {"Idempotency-Key": "t"}
    first, second = [await product.rest("POST", PATH, json=given, headers=key) for _ in range(2)]
    assert (first.status_code, second.status_code, first.json()) == (201, 201, second.json())
    assert (await product.rest("POST", PATH, json=given)).status_code == 409
    assert (await product.rest("POST", PATH, json=given | {"actions": ["write"]}, headers=key)).status_code == 409
    denial = await made(product, **given, effect="deny")
    changed = await product.rest("PUT", f"{PATH}/{denial['id']}", json={"effect": "grant"})
    assert changed.status_code == 409


async def test_owners_alone_and_no_key(product: Product) -> None:
    bo, token = await person(product, "bo@example.com")
    record = await made(product, user_id=bo, resource="runs", actions=["read"])
    one = f"{PATH}/{record['id']}"
    given = {"user_id": bo, "resource": "models", "actions": ["read"]}
    for credential, status in ((token, 403), (product.key, 403), (None, 401)):
        headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
        for method, path, body in (
            ("GET", PATH, None),
            ("POST", PATH, given),
            ("GET", one, None),
            ("PUT", one, {"effect": "deny"}),
            ("DELETE", one, None),
        ):
            answer = await product.http.request(method, path, json=body, headers=headers)
            assert answer.status_code == status, (method, path, answer.text)
    assert (await product.rest("GET", PATH)).json()["items"] == [record]
