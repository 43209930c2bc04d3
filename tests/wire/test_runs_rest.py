"""Experiments and runs over REST against a real server, with a client we did not write."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from domain import ids
from tests.support.product import Product, RefusedError

RUNS = "/api/training/runs"


async def ok(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


async def refused(answer: httpx.Response, status: int, code: str, field: str | None) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["field"]) == (code, field), error
    assert error["request_id"]
    return str(error["message"])


_LEVELS = "expected one of debug, info, warning, error, critical, got"
_NOT_LISTED: list[tuple[str, str, dict[str, Any], tuple[int, str, str]]] = [
    ("POST", "logs", {"json": {"message": "x", "level": "loud"}}, (422, "level", f"{_LEVELS} 'loud'")),
    (
        "POST",
        "logs",
        {"json": {"lines": [{"message": "x"}, {"message": "x", "level": "y" * 500}]}},
        (422, "lines[1].level", f"{_LEVELS} '{'y' * 99}…"),
    ),
    (
        "POST",
        "finish",
        {"json": {"status": "done"}},
        (422, "status", "expected one of completed, failed, stopped, got 'done'"),
    ),
    ("GET", "metrics", {"params": {"axis": "x"}}, (400, "axis", "expected one of relative, step, time, got 'x'")),
]


@pytest.mark.parametrize(("method", "path", "given", "expected"), _NOT_LISTED)
async def test_a_value_that_is_not_on_the_list_is_answered_with_the_list(
    product: Product, method: str, path: str, given: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    run = await ok(await product.rest("POST", RUNS, json={"name": "r"}), 201)
    status, field, message = expected
    answer = await product.rest(method, f"{RUNS}/{run['id']}/{path}", **given)
    assert await refused(answer, status, "BAD_USER_INPUT", field) == message


_REPEATED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (RUNS, {"name": "a"}, {"name": "b"}),
    (f"{RUNS}/{{run}}/metrics", {"loss": 1}, {"loss": 2}),
    (f"{RUNS}/{{run}}/logs", {"message": "a"}, {"message": "b"}),
]


@pytest.mark.parametrize("call", ["POST finish?status=failed", "POST stop?force=true", "POST metrics?stream=system"])
async def test_what_belongs_into_the_body_is_not_passed_over_in_the_url(product: Product, call: str) -> None:
    run = await ok(await product.rest("POST", RUNS, json={"name": "r"}), 201)
    method, _, path = call.partition(" ")
    name = path.partition("?")[2].partition("=")[0]
    answer = await product.rest(method, f"{RUNS}/{run['id']}/{path}", json={"cpu": 1} if "metrics" in path else None)
    assert await refused(answer, 400, "BAD_USER_INPUT", name) == "unknown query parameter; known are none"
    assert await ok(await product.rest("GET", f"{RUNS}/{run['id']}")) == run


@pytest.mark.parametrize(("path", "first", "other"), _REPEATED)
async def test_an_error_names_what_the_caller_gave(
    product: Product, path: str, first: dict[str, Any], other: dict[str, Any]
) -> None:
    run = await ok(await product.rest("POST", RUNS, json={"name": "r"}), 201)
    key = {"Idempotency-Key": "k"}
    assert (await product.rest("POST", path.format(run=run["id"]), json=first, headers=key)).is_success
    again = await product.rest("POST", path.format(run=run["id"]), json=other, headers=key)
    await refused(again, 409, "CONFLICT", "Idempotency-Key")
    if "{run}" in path:
        unknown = await product.rest("POST", path.format(run="run_" + "0" * 32), json=first)
        await refused(unknown, 404, "NOT_FOUND", "id")


async def test_a_run_takes_the_configuration_of_another(product: Product) -> None:
    given = {"model_type": "cnn", "config": {"z": 1.5, "a": [None]}, "params": {"lr": 0.1}, "tags": {"stage": "dev"}}
    first = await ok(await product.rest("POST", RUNS, json=given), 201)
    copy = {"json": {"config_from": first["id"]}, "headers": {"Idempotency-Key": "again"}}
    second = await ok(await product.rest("POST", RUNS, **copy), 201)
    assert (second["model_type"], second["config"]) == ("cnn", {"z": 1.5, "a": [None]})
    assert list(second["config"]) == ["z", "a"]
    assert (second["params"], second["tags"]) == ({}, {})
    own = {"config_from": first["id"], "config": {}, "model_type": "mlp"}
    third = await ok(await product.rest("POST", RUNS, json=own), 201)
    assert (third["model_type"], third["config"]) == ("mlp", {})
    made = await product.graphql(
        'mutation($from: ID!) { runCreate(input: {configFrom: $from, modelType: "vit"}) { modelType config } }',
        **{"from": first["id"]},
    )
    assert made["runCreate"] == {"modelType": "vit", "config": given["config"]}

    await ok(await product.rest("DELETE", f"{RUNS}/{first['id']}"), 204)
    archived = await ok(await product.rest("POST", RUNS, json={"config_from": first["id"]}), 201)
    assert archived["config"] == given["config"]
    await ok(await product.rest("POST", f"{RUNS}/{first['id']}/purge"), 204)
    assert (await ok(await product.rest("POST", RUNS, **copy), 201))["id"] == second["id"]
    for missing, status, code in (
        (first["id"], 404, "NOT_FOUND"),
        (ids.new("run"), 404, "NOT_FOUND"),
        (ids.new("mdl"), 422, "BAD_USER_INPUT"),
    ):
        await refused(await product.rest("POST", RUNS, json={"config_from": missing}), status, code, "config_from")


async def test_the_life_of_a_run(product: Product) -> None:
    given = {
        "name": "trial",
        "experiment": "vision",
        "model_type": "cnn",
        "config": {"z": 1.5, "a": None},
        "params": {"lr": 0.1, "opt": "adam"},
        "tags": {"stage": "dev"},
        "notes": "first",
        "start": False,
    }
    run = await ok(await product.rest("POST", RUNS, json=given), 201)
    path = f"{RUNS}/{run['id']}"
    assert {key: run[key] for key in given if key not in ("start", "experiment")} == {
        key: value for key, value in given.items() if key not in ("start", "experiment")
    }
    assert (run["status"], run["started_at"], run["metrics"], run["completed_at"]) == ("pending", None, {}, None)
    experiment = await ok(await product.rest("GET", f"/api/experiments/{run['experiment_id']}"))
    assert (experiment["name"], experiment["number"]) == ("vision", 1)
    assert (await ok(await product.rest("POST", f"{path}/start")))["status"] == "running"
    logged = await product.rest("POST", f"{path}/metrics", json={"loss": 0.5, "lr": "NaN", "step": 3})
    await ok(logged)
    read = await ok(await product.rest("GET", path))
    assert read["metrics"] == {"loss": 0.5, "lr": "NaN"}
    assert (await ok(await product.rest("POST", f"{path}/params", json={"depth": 3})))["params"]["depth"] == 3
    await refused(await product.rest("POST", f"{path}/params", json={"depth": 4}), 409, "CONFLICT", "params")
    tagged = await ok(await product.rest("POST", f"{path}/tags", json={"stage": None, "x": "y"}))
    assert tagged["tags"] == {"x": "y"}
    patched = await ok(await product.rest("PATCH", path, json={"name": "new", "notes": None}))
    assert (patched["name"], patched["notes"], patched["model_type"]) == ("new", None, "cnn")
    assert (await ok(await product.rest("POST", f"{path}/stop")))["stop_requested"] is True
    failed = await ok(await product.rest("POST", f"{path}/finish", json={"status": "failed", "failure": "why"}))
    assert (failed["status"], failed["failure"]) == ("failed", "why")
    assert failed["completed_at"]
    message = await refused(await product.rest("POST", f"{path}/finish"), 409, "CONFLICT", "status")
    assert "FAILED already; it cannot become COMPLETED" in message
    await refused(await product.rest("POST", f"{path}/metrics", json={"loss": 1}), 409, "CONFLICT", "id")
    assert (await ok(await product.rest("POST", f"{path}/resume")))["status"] == "running"
    assert (await ok(await product.rest("POST", f"{path}/stop", json={"force": True})))["status"] == "stopped"
    await refused(await product.rest("POST", f"{path}/purge"), 409, "CONFLICT", "id")
    await ok(await product.rest("DELETE", path), 204)
    await ok(await product.rest("DELETE", path), 204)
    assert (await ok(await product.rest("GET", path)))["archived"] is True
    assert (await ok(await product.rest("POST", f"{path}/restore")))["archived"] is False
    await ok(await product.rest("DELETE", path), 204)
    await ok(await product.rest("POST", f"{path}/purge"), 204)
    await refused(await product.rest("GET", path), 404, "NOT_FOUND", "id")


async def test_lists(product: Product) -> None:
    for place in range(5):
        run = await ok(await product.rest("POST", RUNS, json={"name": f"r{place}", "params": {"n": place}}), 201)
        if place != 2:
            await ok(await product.rest("POST", f"{RUNS}/{run['id']}/metrics", json={"loss": place % 2}))
    everything = {"order_by": "metrics.loss asc, params.n", "limit": 2}
    names: list[str] = []
    cursor = None
    while True:
        page = await ok(
            await product.rest("GET", RUNS, params={**everything, **({"cursor": cursor} if cursor else {})})
        )
        names += [run["name"] for run in page["items"]]
        assert page["total"] == 5
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == ["r4", "r0", "r3", "r1", "r2"]
    skipped = await ok(await product.rest("GET", RUNS, params={**everything, "offset": 3}))
    assert [run["name"] for run in skipped["items"]] == ["r1", "r2"]
    assert skipped["total"] == 5
    uncounted = await ok(await product.rest("GET", RUNS, params={**everything, "offset": 3, "total": "false"}))
    assert uncounted == skipped | {"total": None}
    found = await ok(
        await product.rest(
            "GET", RUNS, params={"filter": "params.n >= 3 and metrics.loss = 1", "experiment": "Default"}
        )
    )
    assert [(run["name"], run["metrics"]) for run in found["items"]] == [("r3", {"loss": 1.0})]
    assert (await ok(await product.rest("GET", RUNS, params={"archived": "true"})))["items"] == []
    message = await refused(
        await product.rest("GET", RUNS, params={"filter": "params.n >"}), 400, "BAD_USER_INPUT", "filter"
    )
    assert message.startswith("column 11: ")
    for given, status, code, field in (
        ({"cursor": "x"}, 400, "BAD_USER_INPUT", "cursor"),
        ({"limit": "0"}, 400, "BAD_USER_INPUT", "limit"),
        ({"offset": "-1"}, 400, "BAD_USER_INPUT", "offset"),
        ({"page": "1"}, 400, "BAD_USER_INPUT", "page"),
        ({"order_by": "colour"}, 400, "BAD_USER_INPUT", "order_by[0].field"),
        ({"experiment": "nowhere"}, 404, "NOT_FOUND", "experiment"),
    ):
        await refused(await product.rest("GET", RUNS, params=given), status, code, field)


async def test_idempotency_keys(product: Product) -> None:
    headers = {"Idempotency-Key": "job-17"}
    first = await ok(await product.rest("POST", RUNS, json={"name": "x"}, headers=headers), 201)
    again = await ok(await product.rest("POST", RUNS, json={"name": "x"}, headers=headers), 201)
    assert again["id"] == first["id"]
    other = await product.rest("POST", RUNS, json={"name": "y"}, headers=headers)
    assert other.status_code == 409
    made = [await product.rest("POST", "/api/experiments", json={"name": "e"}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in made] == [201, 201]
    assert made[0].json() == made[1].json()
    await refused(await product.rest("POST", "/api/experiments", json={"name": "e"}), 409, "CONFLICT", "name")
    listed = await ok(await product.rest("GET", "/api/experiments", params={"filter": "name = 'e'"}))
    assert [each["id"] for each in listed["items"]] == [made[0].json()["id"]]
    assert listed["total"] == 1


async def test_params_take_what_the_graph_takes(product: Product) -> None:
    params = {"s": "adam", "i": 3, "f": 1.0, "b": False, "n": None, "l": [1, "two", [3.5]], "o": {"beta": [0.9, None]}}
    run = await ok(await product.rest("POST", RUNS, json={"params": params}), 201)
    assert run["params"] == params
    path = f"{RUNS}/{run['id']}/params"
    later = {**params, "late": {"deep": [[]]}}
    assert (await ok(await product.rest("POST", path, json=later)))["params"] == later
    shown = await product.graphql("query ($id: ID!) { run(id: $id) { params { key value } } }", id=run["id"])
    assert {each["key"]: each["value"] for each in shown["run"]["params"]} == later
    given = {"runId": run["id"], "params": [{"key": key, "value": value} for key, value in later.items()]}
    write = "mutation ($input: ParamsLogInput!) { paramsLog(input: $input) { params { key value text } } }"
    same = (await product.graphql(write, input=given))["paramsLog"]["params"]
    assert {each["key"]: each["value"] for each in same} == later
    assert {each["key"]: each["text"] for each in same}["n"] == "null"
    with pytest.raises(RefusedError) as missing:
        await product.graphql(write, input={"runId": run["id"], "params": [{"key": "k"}]})
    assert (missing.value.code, missing.value.field) == ("BAD_USER_INPUT", "params[0].value")
    message = await refused(await product.rest("POST", path, json={"l": [1, "two"]}), 409, "CONFLICT", "params")
    assert "'l'" in message
    deep: Any = 1
    for _ in range(9):
        deep = [deep]
    await refused(await product.rest("POST", path, json={"deep": deep}), 422, "BAD_USER_INPUT", "params[0].value")
    assert (await ok(await product.rest("GET", f"{RUNS}/{run['id']}")))["params"] == later


@pytest.mark.parametrize(
    ("given", "status", "field"),
    [
        ({"nam": "x"}, 422, "nam"),
        ({"name": 5}, 422, "name"),
        ({"name": ""}, 422, "name"),
        ({"name": " x"}, 422, "name"),
        ({"params": {"k": 2**70}}, 422, "params[0].value"),
        ({"params": {"": 1}}, 422, "params"),
        ({"tags": {"k": 1}}, 422, "tags[...]"),
        ({"config": []}, 422, "config"),
        ({"config": {"k": 2**70}}, 422, "config"),
        ({"parent_id": "mdl_" + "0" * 32}, 422, "parent_id"),
        ([], 422, None),
    ],
)
async def test_bad_bodies_create_nothing(product: Product, given: Any, status: int, field: str | None) -> None:
    await refused(await product.rest("POST", RUNS, json=given), status, "BAD_USER_INPUT", field)
    assert (await ok(await product.rest("GET", RUNS)))["total"] == 0


async def test_ids_of_other_kinds_and_unknown_runs(product: Product) -> None:
    for verb, path in (("GET", ""), ("DELETE", ""), ("POST", "/start"), ("POST", "/stop"), ("POST", "/purge")):
        await refused(await product.rest(verb, f"{RUNS}/{ids.new('run')}{path}"), 404, "NOT_FOUND", "id")
        await refused(await product.rest(verb, f"{RUNS}/{ids.new('mdl')}{path}"), 400, "BAD_USER_INPUT", "id")
    await refused(await product.rest("POST", f"{RUNS}/nonsense/params", json={"a": 1}), 400, "BAD_USER_INPUT", "id")
    answer = await product.rest("GET", f"{RUNS}/{ids.new('run')}/finish")
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]
