"""Where a module comes from and where its tensors go, for the command line. A factory is the caller's own code."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from serving.conversion.values import ConversionError


def made(factory: str, weights: Path | None = None) -> nn.Module:
    """The module that `package.module:name` is, or makes when called without arguments; with `weights` when given."""
    package, colon, name = factory.partition(":")
    if not colon or not package or not name.isidentifier():
        raise ConversionError(f"{factory!r}: expected package.module:name")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    found: Any = getattr(importlib.import_module(package), name, None)
    if found is None:
        raise ConversionError(f"{package} has no {name}")
    module = found if isinstance(found, nn.Module) else found()
    if not isinstance(module, nn.Module):
        raise ConversionError(f"{factory} made a {type(module).__name__}, no nn.Module")
    if weights is not None:
        module.load_state_dict(load_file(weights), strict=True)
    return module


def write_state(module: nn.Module, path: Path) -> None:
    """The tensors of a module, for `torch.load(path, weights_only=True)`."""
    torch.save(module.state_dict(), path)
