"""What the scripts of this folder share: export a network, and upload it or write it to files.

With AXONML_URL and AXONML_API_KEY set (scopes models:read and models:write) a version is uploaded; without, the two
files land in a folder of the script's name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import httpx
from safetensors.torch import save as to_bytes
from torch import nn

from serving.conversion import export_module, input_spec, save


def publish(name: str, network: nn.Module, inputs: Sequence[str]) -> str:
    """Exports `network`; the id of the uploaded version, or the folder of the files."""
    exported = export_module(network, [input_spec(text) for text in inputs])
    url = os.environ.get("AXONML_URL")
    if url is None:
        save(exported, Path(name))
        print(f"wrote {name}/architecture.json and {name}/weights.safetensors")
        return name
    headers = {"Authorization": f"Bearer {os.environ['AXONML_API_KEY']}"}
    with httpx.Client(base_url=url, headers=headers, timeout=300) as server:
        if server.get(f"/api/models/{name}").status_code == httpx.codes.NOT_FOUND:
            server.post("/api/models", json={"name": name}).raise_for_status()
        answer = server.post(
            f"/api/models/{name}/versions",
            files={"file": ("weights.safetensors", to_bytes(dict(exported.weights)), "application/octet-stream")},
            data={"architecture": json.dumps(exported.architecture.to_json())},
        )
        answer.raise_for_status()
    version = answer.json()
    print(f"uploaded version {version['version']} of {name}")
    return str(version["id"])
