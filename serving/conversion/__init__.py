"""From a PyTorch module to an architecture document and weights, and back.

For the process of whoever trains a model: it runs that person's code, so no process of the server imports it.

    from serving.conversion import export_module, build_module, save

    exported = export_module(network, [input_spec("x:float32:64")])
    save(exported, Path("out"))                      # architecture.json and weights.safetensors
    network = build_module(architecture, weights)    # a module with the same state_dict
"""

from serving.conversion.building import Served, build_module, load
from serving.conversion.exporting import Exported, export_module, input_spec, save
from serving.conversion.values import ConversionError

__all__ = [
    "ConversionError",
    "Exported",
    "Served",
    "build_module",
    "export_module",
    "input_spec",
    "load",
    "save",
]
