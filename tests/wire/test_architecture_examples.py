"""The example of each family of models: uploaded by its script, deployed, and served with torch's own numbers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
import torch

from server.settings import InferenceSettings, Settings
from tests.integration.test_conversion import EXAMPLES, FAMILIES, disturbed, example, random_inputs
from tests.support.product import Product, running


@pytest.fixture
async def product(database_url: str) -> AsyncIterator[Product]:
    async with running(database_url, settings=Settings(inference=InferenceSettings(max_endpoints=9))) as served:
        yield served


async def test_every_family_is_served_as_torch_computes_it(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    from serving.conversion import export_module, input_spec

    assert sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "publish") == sorted(FAMILIES)
    monkeypatch.setenv("AXONML_URL", product.url)
    monkeypatch.setenv("AXONML_API_KEY", product.token)
    for family in FAMILIES:
        module = example(family)
        network, name = disturbed(module.network()), family.replace("_", "-")
        await asyncio.to_thread(module.publish, name, network, module.INPUTS)
        deployed = await product.rest(
            "POST", f"/api/models/{name}/versions/1/deploy", params={"wait": 60}, json={"endpoint": name}, timeout=90
        )
        assert deployed.json()["status"] == "running", deployed.text
        given = random_inputs(export_module(network, [input_spec(text) for text in module.INPUTS]), rows=2)
        body = {"inputs": {key: value.tolist() for key, value in given.items()}}
        answer = await product.rest("POST", f"/api/inference/predict/{name}", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        with torch.inference_mode():
            expected = network(*given.values()).numpy()
        np.testing.assert_allclose(np.array(answer.json()["outputs"]["output"]), expected, rtol=1e-4, atol=1e-4)
