"""The part of the graph about experiments and runs, executed against a real database without HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest
import strawberry

from domain import ids
from domain.errors import BadUserInput, Conflict, DomainError, NotFound
from resolvers.context import Context
from schema.build import build
from tests.support.product import Product

RUN = "id name status stalled stopRequested archived modelType config notes failure durationSeconds startedAt endedAt"


class Graph:
    """The schema, asked as the administrator of a running product."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.schema: strawberry.Schema = build()

    async def ask(self, text: str, **variables: Any) -> dict[str, Any]:
        """The data of an operation; raises the domain error behind its first error."""
        context: Context = await self.product.context()
        result = await self.schema.execute(text, variable_values=variables, context_value=context)
        if result.errors:
            cause = result.errors[0].original_error
            assert isinstance(cause, DomainError), result.errors
            raise cause
        assert result.data is not None
        return result.data

    async def run(self, given: str = "{}", **variables: Any) -> dict[str, Any]:
        answer = await self.ask(f"mutation {{ runCreate(input: {given}) {{ {RUN} }} }}", **variables)
        return cast("dict[str, Any]", answer["runCreate"])


@pytest.fixture
def graph(product: Product) -> Graph:
    return Graph(product)


async def test_a_run_reads_back_as_it_was_created(graph: Graph) -> None:
    made = await graph.ask(
        """mutation ($config: JSON, $value: JSON!) {
          runCreate(input: {
            name: "trial", experiment: "vision", modelType: "cnn", config: $config, notes: "n",
            params: [{key: "layers", value: $value}, {key: "lr", value: 0.1}], tags: [{key: "a", value: "b"}]
          }) {
            id name status config modelType notes createdAt startedAt endedAt lastActivityAt
            params { key value text } tags { key value }
            owner { email } experiment { number name archived } parent { id } children { totalCount nodes { id } }
            metrics { key } logs { nodes { message } } modelVersions { nodes { id } }
          }
        }""",
        config={"z": 1.5, "a": [None, True]},
        value=[1, 2],
    )
    run = made["runCreate"]
    assert run["config"] == {"z": 1.5, "a": [None, True]}
    assert run["params"] == [
        {"key": "layers", "value": [1, 2], "text": "[1,2]"},
        {"key": "lr", "value": 0.1, "text": "0.1"},
    ]
    assert run["tags"] == [{"key": "a", "value": "b"}]
    assert run["owner"] == {"email": "ada@example.com"}
    assert run["experiment"] == {"number": 1, "name": "vision", "archived": False}
    assert (run["status"], run["parent"], run["children"]) == ("RUNNING", None, {"totalCount": 0, "nodes": []})
    assert (run["metrics"], run["logs"], run["modelVersions"]) == ([], {"nodes": []}, {"nodes": []})
    assert run["createdAt"] == run["startedAt"]
    assert run["createdAt"].endswith("Z")
    again = await graph.ask("query ($id: ID!) { run(id: $id) { name } node(id: $id) { id } }", id=run["id"])
    assert again == {"run": {"name": "trial"}, "node": {"id": run["id"]}}
    bare = await graph.ask("query ($id: ID!) { run(id: $id) { id } }", id=str(ids.to_uuid(run["id"])))
    assert bare["run"] == {"id": run["id"]}
    missing = await graph.ask("query ($id: ID!) { run(id: $id) { id } }", id=ids.new("run"))
    assert missing["run"] is None
    with pytest.raises(BadUserInput):
        await graph.ask("query ($id: ID!) { run(id: $id) { id } }", id=ids.new("exp"))


async def test_every_mutation_of_a_run(graph: Graph) -> None:
    made = await graph.run("{start: false}")
    run_id = made["id"]
    assert made["status"] == "PENDING"

    async def change(name: str, given: str = "") -> dict[str, Any]:
        text = f"mutation ($id: ID!) {{ {name}(input: {{id: $id{given}}}) {{ {RUN} }} }}"
        return cast("dict[str, Any]", (await graph.ask(text, id=run_id))[name])

    assert (await change("runStart"))["status"] == "RUNNING"
    updated = await change("runUpdate", ', name: "new", notes: "x", experiment: "Default"')
    assert (updated["name"], updated["notes"]) == ("new", "x")
    assert (await change("runUpdate", ", notes: null"))["notes"] is None
    with pytest.raises(BadUserInput) as refused:
        await change("runUpdate", ", name: null")
    assert refused.value.field == "name"
    assert (await change("runStop"))["stopRequested"] is True
    failed = await change("runFinish", ', status: FAILED, failure: "why"')
    assert (failed["status"], failed["failure"]) == ("FAILED", "why")
    with pytest.raises(Conflict, match="FAILED already; it cannot become COMPLETED"):
        await change("runFinish")
    assert (await change("runResume"))["status"] == "RUNNING"
    assert (await change("runStop", ", force: true"))["status"] == "STOPPED"
    with pytest.raises(Conflict, match="not archived"):
        await graph.ask("mutation ($id: ID!) { runPurge(input: {id: $id}) { id } }", id=run_id)
    assert (await change("runDelete"))["archived"] is True
    assert (await change("runRestore"))["archived"] is False
    await change("runDelete")
    gone = await graph.ask("mutation ($id: ID!) { runPurge(input: {id: $id}) { id } }", id=run_id)
    assert gone["runPurge"] == {"id": run_id}
    with pytest.raises(NotFound):
        await change("runStart")


async def test_params_and_tags(graph: Graph) -> None:
    run_id = (await graph.run())["id"]
    answer = await graph.ask(
        """mutation ($id: ID!) {
          paramsLog(input: {runId: $id, params: [{key: "on", value: true}]}) { params { key value text } }
          tagsSet(input: {runId: $id, tags: [{key: "a", value: "1"}, {key: "b", value: "2"}]}) { tags { key } }
          tagsDelete(input: {runId: $id, keys: ["a"]}) { tags { key value } }
        }""",
        id=run_id,
    )
    assert answer["paramsLog"]["params"] == [{"key": "on", "value": True, "text": "true"}]
    assert answer["tagsDelete"]["tags"] == [{"key": "b", "value": "2"}]
    with pytest.raises(Conflict, match="'on'"):
        await graph.ask(
            'mutation ($id: ID!) { paramsLog(input: {runId: $id, params: [{key: "on", value: 1}]}) { id } }', id=run_id
        )


async def test_lists_filter_order_and_page(graph: Graph) -> None:
    for place in range(5):
        run_id = (await graph.run(f'{{name: "r{place}", experiment: "e", params: [{{key: "n", value: {place}}}]}}'))[
            "id"
        ]
        await graph.ask(
            """mutation ($id: ID!, $value: FloatValue!) {
              metricsLog(input: {runId: $id, points: [{key: "loss", value: $value, step: 1}]}) { accepted }
            }""",
            id=run_id,
            value="NaN" if place == 2 else place % 3,
        )
    query = """query ($filter: String, $order: [RunOrder!], $first: Int, $after: String) {
      runs(filter: $filter, orderBy: $order, first: $first, after: $after) {
        nodes { name } edges { cursor } totalCount totalCountAtLeast
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
      }
    }"""
    order = [{"field": "metrics.loss", "direction": "ASC"}, {"field": "params.n"}]
    seen: list[str] = []
    after = None
    while True:
        page = (await graph.ask(query, order=order, first=2, after=after))["runs"]
        assert page["totalCount"] == 5
        seen += [node["name"] for node in page["nodes"]]
        assert page["pageInfo"]["endCursor"] == page["edges"][-1]["cursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert seen == ["r3", "r0", "r4", "r1", "r2"]
    found = await graph.ask(query, filter="metrics.loss = NaN or params.n = 4")
    assert [node["name"] for node in found["runs"]["nodes"]] == ["r4", "r2"]
    with pytest.raises(BadUserInput, match="column 14"):
        await graph.ask(query, filter="metrics.loss ! 1")
    with pytest.raises(BadUserInput):
        await graph.ask(query, first=201)


async def test_experiments(graph: Graph) -> None:
    made = await graph.ask(
        """mutation {
          experimentCreate(input: {name: "vision", description: "d"}) { id number archived owner { name } }
        }"""
    )
    experiment = made["experimentCreate"]
    assert experiment["number"] == 1
    assert experiment["owner"] == {"name": "Ada"}
    for name in ("a", "b"):
        await graph.run(f'{{name: "{name}", experiment: "vision"}}')
    read = await graph.ask(
        """query ($id: ID!) {
          experiment(id: $id) { runs(filter: "name = 'a'", orderBy: [{field: "name"}]) { totalCount nodes { name } } }
          byName: experiment(name: "vision") { id }
          none: experiment(name: "nothing") { id }
          experiments(filter: "name like 'vis%'") { totalCount nodes { name runs { nodes { name } } } }
          runs(experimentId: $id) { nodes { name } }
        }""",
        id=experiment["id"],
    )
    assert read["experiment"]["runs"] == {"totalCount": 1, "nodes": [{"name": "a"}]}
    assert (read["byName"], read["none"]) == ({"id": experiment["id"]}, None)
    both = [{"name": "b"}, {"name": "a"}]
    assert read["experiments"] == {"totalCount": 1, "nodes": [{"name": "vision", "runs": {"nodes": both}}]}
    assert read["runs"]["nodes"] == both
    for name, archived in (("experimentDelete", True), ("experimentRestore", False)):
        text = f"mutation ($id: ID!) {{ {name}(input: {{id: $id}}) {{ archived }} }}"
        assert (await graph.ask(text, id=experiment["id"]))[name] == {"archived": archived}
    renamed = await graph.ask(
        'mutation ($id: ID!) { experimentUpdate(input: {id: $id, name: "v", description: null}) { name description } }',
        id=experiment["id"],
    )
    assert renamed["experimentUpdate"] == {"name": "v", "description": None}
    with pytest.raises(Conflict) as taken:
        await graph.ask('mutation { experimentCreate(input: {name: "v"}) { id } }')
    assert taken.value.field == "name"
    with pytest.raises(BadUserInput):
        await graph.ask("{ experiment { id } }")


async def test_run_updated_follows_a_run(graph: Graph) -> None:
    run_id = (await graph.run("{start: false}"))["id"]
    context = await graph.product.context()
    stream = await graph.schema.subscribe(
        "subscription ($id: ID!) { runUpdated(runId: $id) { status experiment { name } tags { key } } }",
        variable_values={"id": run_id},
        context_value=context,
    )
    messages = cast("AsyncGenerator[Any, None]", stream)
    first = await anext(messages)
    assert first.data == {"runUpdated": {"status": "PENDING", "experiment": {"name": "Default"}, "tags": []}}
    # A write that starts the run is a change of its status, whoever made it.
    await graph.ask(
        """mutation ($id: ID!) {
          metricsLog(input: {runId: $id, points: [{key: "loss", value: 1, step: 1}]}) { accepted }
        }""",
        id=run_id,
    )
    assert (await anext(messages)).data["runUpdated"]["status"] == "RUNNING"
    await graph.ask('mutation ($id: ID!) { runUpdate(input: {id: $id, experiment: "Default"}) { id } }', id=run_id)
    await graph.ask('mutation { experimentCreate(input: {name: "other"}) { id } }')
    await graph.ask('mutation ($id: ID!) { runUpdate(input: {id: $id, experiment: "other"}) { id } }', id=run_id)
    assert (await anext(messages)).data["runUpdated"]["experiment"] == {"name": "other"}
    await graph.ask(
        "mutation ($id: ID!) { runDelete(input: {id: $id}) { id } runPurge(input: {id: $id}) { id } }", id=run_id
    )
    rest = [message async for message in messages]
    assert len(rest) <= 1  # archived, if it was seen in time; then the stream ends
    unknown = await graph.schema.subscribe(
        "subscription ($id: ID!) { runUpdated(runId: $id) { id } }",
        variable_values={"id": run_id},
        context_value=await graph.product.context(),
    )
    refusals = [message async for message in cast("AsyncGenerator[Any, None]", unknown)]
    assert isinstance(refusals[0].errors[0].original_error, NotFound)


async def test_many_runs_change_in_one_step(graph: Graph) -> None:
    made = [(await graph.run())["id"] for _ in range(3)]
    await graph.run('{experiment: "vision"}')

    async def change(name: str, run_ids: list[str], given: str = "") -> list[str]:
        text = f"mutation ($ids: [ID!]!) {{ {name}(input: {{ids: $ids{given}}}) {{ ids }} }}"
        return cast("list[str]", (await graph.ask(text, ids=run_ids))[name]["ids"])

    update = ', experiment: "vision", tagsSet: [{key: "a", value: "b"}], tagsDelete: ["x"]'
    assert await change("runsUpdate", made, update) == made
    nodes = await graph.ask(
        "query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Run { experiment { name } tags { key value } } } }", ids=made
    )
    assert nodes["nodes"] == [{"experiment": {"name": "vision"}, "tags": [{"key": "a", "value": "b"}]}] * 3
    for given, field in (
        (", experiment: null", "experiment"),
        (', tagsSet: [{key: "", value: ""}]', "tags_set[0].key"),
    ):
        with pytest.raises(BadUserInput) as refused:
            await change("runsUpdate", made, given)
        assert refused.value.field == field
    with pytest.raises(NotFound) as missing:
        await change("runsDelete", [made[0], ids.new("run")])
    assert missing.value.field == "ids[1]"
    assert await change("runsDelete", made) == made
    assert await change("runsRestore", made[1:]) == made[1:]
    assert await change("runsPurge", made[:1]) == made[:1]
    with pytest.raises(Conflict):
        await change("runsPurge", made[1:])
