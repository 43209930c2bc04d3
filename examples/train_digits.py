"""Train a small network on 1,797 handwritten digits, and take it all the way to served predictions.

    AXONML_URL=http://127.0.0.1:3000 AXONML_API_KEY=axk_... python examples/train_digits.py

The script needs nothing of AxonML but its HTTP routes: it creates a run, logs loss, accuracy and learning rate while it
trains, finishes the run, uploads the weights with their architecture as a model version, deploys that version, and
asks the endpoint about digits it never saw. The accuracy of the served model must equal the local one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import uuid

import httpx
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

HIDDEN = 128
BATCH = 64
LEARNING_RATE = 0.05

# The same network twice: as the module that is trained, and as the document from which the server builds it.
# A node's id is the prefix of its weights, so an nn.Sequential maps one to one.
ARCHITECTURE = {
    "format": "arch/1",
    "inputs": [{"name": "pixels", "dtype": "float32", "shape": [-1, 64]}],
    "nodes": [
        {"id": "0", "op": "Linear", "args": {"in_features": 64, "out_features": HIDDEN}, "in": ["pixels"]},
        {"id": "1", "op": "ReLU", "in": ["0"]},
        {"id": "2", "op": "Linear", "args": {"in_features": HIDDEN, "out_features": 10}, "in": ["1"]},
    ],
    "outputs": [{"name": "logits", "node": "2"}],
}


def network() -> nn.Sequential:
    """Pixels in, one score per digit out."""
    return nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))


def digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training and held-out pixels (rows of 64 values in 0..1), and the digits they show."""
    pixels, labels = load_digits(return_X_y=True)
    parts = train_test_split(pixels / 16.0, labels, test_size=0.25, random_state=7, stratify=labels)
    seen, held_out, seen_labels, held_out_labels = parts
    return (
        torch.tensor(seen, dtype=torch.float32),
        torch.tensor(seen_labels),
        torch.tensor(held_out, dtype=torch.float32),
        torch.tensor(held_out_labels),
    )


def accuracy(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of rows whose highest score is at the right digit."""
    return (scores.argmax(dim=1) == labels).double().mean().item()


def train(api: httpx.Client, run: str, epochs: int, console: Console) -> tuple[nn.Sequential, float]:
    """Trains, logs every step, and answers the network with its accuracy on held-out digits."""
    pixels, labels, held_out, held_out_labels = digits()
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9)
    steps = -(-len(pixels) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * steps)
    step, score = 0, 0.0
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("training", total=epochs * steps, note="")
        for epoch in range(1, epochs + 1):
            for rows in torch.randperm(len(pixels)).split(BATCH):
                loss = nn.functional.cross_entropy(model(pixels[rows]), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                step += 1
                point = {"step": step, "epoch": epoch, "loss": loss.item(), "lr": schedule.get_last_lr()[0]}
                answer = log(api, run, point)
                progress.update(bar, advance=1, note=f"loss {loss.item():.3f}  accuracy {score:.3f}")
                if answer["stop_requested"]:
                    finish(api, run, "stopped")
                    sys.exit("the run was asked to stop")
            with torch.inference_mode():
                score = accuracy(model(held_out), held_out_labels)
            log(api, run, {"step": step, "accuracy": score})
    return model.eval(), score


def log(api: httpx.Client, run: str, point: dict[str, float]) -> dict[str, object]:
    """Sends one point. The key makes a repeated request harmless."""
    key = {"Idempotency-Key": uuid.uuid4().hex}
    return dict(checked(api.post(f"/api/training/runs/{run}/metrics", json=point, headers=key)))


def finish(api: httpx.Client, run: str, status: str, failure: str | None = None) -> None:
    """Ends the run."""
    checked(api.post(f"/api/training/runs/{run}/finish", json={"status": status, "failure": failure}))


def checked(answer: httpx.Response) -> dict[str, object]:
    """The JSON of a good answer; otherwise ends with the server's own words."""
    if answer.is_error:
        sys.exit(f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}: {answer.text}")
    return dict(answer.json())


def main() -> None:
    """Runs the whole story."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--url", default=os.environ.get("AXONML_URL", "http://127.0.0.1:3000"))
    options.add_argument("--api-key", default=os.environ.get("AXONML_API_KEY"))
    options.add_argument("--epochs", type=int, default=12)
    options.add_argument("--model", default="digits")
    options.add_argument("--endpoint", default="digits")
    given = options.parse_args()
    if not given.api_key:
        sys.exit("set AXONML_API_KEY (POST /api/auth/keys or the apiKeyCreate mutation makes one)")
    torch.manual_seed(7)
    console = Console()
    with httpx.Client(
        base_url=given.url, headers={"Authorization": f"Bearer {given.api_key}"}, timeout=90, trust_env=False
    ) as api:
        config = {"hidden": HIDDEN, "batch": BATCH, "lr": LEARNING_RATE, "epochs": given.epochs}
        run = str(
            checked(
                api.post(
                    "/api/training/runs",
                    json={
                        "name": f"digits mlp {HIDDEN}",
                        "experiment": "Digits",
                        "model_type": "mlp",
                        "config": config,
                        "params": config,
                        "tags": {"data": "sklearn digits"},
                    },
                )
            )["id"]
        )
        console.print(f"run       {run}")
        try:
            model, local = train(api, run, given.epochs, console)
        except BaseException as error:
            finish(api, run, "failed", f"{type(error).__name__}: {error}") if not isinstance(
                error, SystemExit
            ) else None
            raise
        finish(api, run, "completed")

        weights = save({name: tensor.contiguous() for name, tensor in model.state_dict().items()})
        models = api.post("/api/models", json={"name": given.model, "description": "Handwritten digits, 8 by 8 pixels"})
        if models.status_code != httpx.codes.CONFLICT:  # a second run adds a version to the same model
            checked(models)
        version = checked(
            api.post(
                f"/api/models/{given.model}/versions",
                files={"file": ("model.safetensors", weights, "application/octet-stream")},
                data={
                    "architecture": json.dumps(ARCHITECTURE),
                    "metrics": json.dumps({"accuracy": local}),
                    "run_id": run,
                    "sha256": hashlib.sha256(weights).hexdigest(),
                },
            )
        )
        console.print(
            f"version   {given.model} v{version['version']}  {version['status']}, servable: {version['servable']}"
        )

        endpoint = checked(
            api.post(
                f"/api/models/{given.model}/versions/{version['version']}/deploy",
                params={"wait": 60},
                json={"endpoint": given.endpoint},
            )
        )
        console.print(f"endpoint  {endpoint['name']}  {endpoint['status']}")

        _, _, held_out, labels = digits()
        answer = checked(api.post(f"/api/inference/predict/{given.endpoint}", json={"inputs": held_out.tolist()}))
        served = accuracy(torch.tensor(answer["outputs"]), labels)
        console.print(f"accuracy  local {local:.4f}  served {served:.4f}  on {answer['rows']} held-out digits")
        if served != local:
            sys.exit("the served model answers differently from the local one")


if __name__ == "__main__":
    main()
