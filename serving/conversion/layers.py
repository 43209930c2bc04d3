"""How each supported `nn.Module` is written as nodes. Keyed by exact type: a subclass may do something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from torch import nn
from torch.nn import functional

from domain.operators import OPERATORS
from serving.conversion.values import ConversionError, Flow, Missing, Writer, batch_at, is_causal, whole

Call = Callable[..., Any]
"""`(writer, path, module, *args, **kwargs)` as the module was called; gives what the module returned."""


def _refuse(condition: object, message: str) -> None:
    if condition:
        raise ConversionError(message)


def _attributes(module: Any, op: str) -> dict[str, Any]:
    """The arguments of an operation, from attributes of the same names."""
    found: dict[str, Any] = {}
    for argument in OPERATORS[op].arguments:
        value = vars(module).get(argument.name, getattr(module, argument.name, None))
        if argument.kind == "bool" and not isinstance(value, bool):
            value = value is not None
        if argument.kind == "ints" and argument.length and value is not None:
            value = whole(value, argument.length)
        if value is None and argument.default is None:
            continue
        found[argument.name] = tuple(value) if isinstance(value, list | tuple) else value
    return found


def _plain(writer: Writer, path: str, module: nn.Module, value: Any, **_: Any) -> Flow:
    """One value in, one out, of the same shape or with changes after the batch."""
    op = _NAMES[type(module)]
    flow = value if isinstance(value, Flow) else writer.constant(f"{path}.input", value)
    return _applied(writer, path, op, flow, _attributes(module, op))


def _applied(writer: Writer, path: str, op: str, flow: Flow, args: Mapping[str, Any]) -> Flow:
    if flow.axis not in (0, None) and op not in _ANYWHERE:
        raise ConversionError(f"{op} takes the batch as dimension 0, but it is at {flow.axis}")
    if "dim" in args:
        args = {**args, "dim": flow.dim(args["dim"])}
    found = writer.add(path, op, [flow], **args)
    return Flow(found.name, found.value, flow.axis)


def _conv(writer: Writer, path: str, module: Any, value: Any, **_: Any) -> Flow:
    op = _NAMES[type(module)]
    _refuse(module.padding_mode != "zeros", f"padding_mode {module.padding_mode!r} is not supported")
    rank = len(module.kernel_size)
    padding = module.padding
    if padding == "valid":
        padding = (0,) * rank
    elif padding == "same":
        spans = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        _refuse(any(span % 2 for span in spans), "padding 'same' of an even window is not supported")
        padding = tuple(span // 2 for span in spans)
    names = [argument.name for argument in OPERATORS[op].arguments]
    args = {name: getattr(module, name) for name in names if name not in ("padding", "bias")}
    return _applied(
        writer, path, op, batch_at(value, 0, op), {**args, "padding": padding, "bias": module.bias is not None}
    )


def _norm(writer: Writer, path: str, module: Any, value: Any, **_: Any) -> Flow:
    op = _NAMES[type(module)]
    if isinstance(module, nn.InstanceNorm1d | nn.InstanceNorm2d):
        _refuse(module.track_running_stats, "track_running_stats of an instance normalisation is not supported")
    else:
        _refuse(module.running_mean is None, "a batch normalisation without running statistics mixes rows")
    args = _attributes(module, op)
    if "momentum" in args or module.momentum is None:
        args["momentum"] = 0.1 if module.momentum is None else module.momentum
    if op.startswith("Instance"):
        args.pop("momentum", None)
    return _applied(writer, path, op, batch_at(value, 0, op), args)


def _max_pool(writer: Writer, path: str, module: Any, value: Any, **_: Any) -> Flow:
    _refuse(module.return_indices, "return_indices is not supported")
    return _plain(writer, path, module, value)


def _avg_pool(writer: Writer, path: str, module: Any, value: Any, **_: Any) -> Flow:
    _refuse(getattr(module, "divisor_override", None), "divisor_override is not supported")
    return _plain(writer, path, module, value)


def _adaptive(writer: Writer, path: str, module: Any, value: Any, **_: Any) -> Flow:
    op = _NAMES[type(module)]
    flow = batch_at(value, 0, op)
    spatial = flow.value.shape[2:]
    given = module.output_size
    sizes = (given,) * len(spatial) if isinstance(given, int) or given is None else tuple(given)
    output = tuple(size if wanted is None else wanted for size, wanted in zip(spatial, sizes, strict=True))
    return _applied(writer, path, op, flow, {"output_size": output})


def _upsample(writer: Writer, path: str, module: Any, value: Any, **_: Any) -> Flow:
    return upsampled(writer, path, value, module.size, module.scale_factor, module.mode, module.align_corners)


def upsampled(  # noqa: PLR0917 - as torch's interpolate takes them
    writer: Writer, path: str, value: Any, size: Any, scale: Any, mode: str, align: Any
) -> Flow:
    """Larger images, by one whole factor."""
    factors = set(scale) if isinstance(scale, list | tuple) else {scale}
    factor = factors.pop()
    _refuse(size is not None or align or factors or factor is None or factor != int(factor), "only one whole factor")
    return _applied(
        writer, path, "Upsample", batch_at(value, 0, "Upsample"), {"scale_factor": int(factor), "mode": mode}
    )


def _embedding(writer: Writer, path: str, module: Any, value: Any, **_: Any) -> Flow:
    _refuse(module.max_norm is not None, "max_norm is not supported")
    return _plain(writer, path, module, value)


def _pass(writer: Writer, path: str, module: Any, value: Any, **_: Any) -> Flow:
    return _applied(writer, path, "Dropout", value, {"p": float(module.p)})


def _unflatten(writer: Writer, path: str, module: Any, value: Any, **_: Any) -> Flow:
    flow = batch_at(value, 0, "Unflatten")
    dim, shape = flow.dim(module.dim), flow.value.shape
    return writer.add(path, "reshape", [flow], shape=(*shape[1:dim], *module.unflattened_size, *shape[dim + 1 :]))


def _flatten(writer: Writer, path: str, module: Any, value: Any, **_: Any) -> Flow:
    flow = batch_at(value, 0, "Flatten")
    return writer.add(path, "Flatten", [flow], start_dim=module.start_dim, end_dim=module.end_dim)


def _softmax(writer: Writer, path: str, module: Any, value: Any, **_: Any) -> Flow:
    _refuse(module.dim is None, "give it a dim")
    return _plain(writer, path, module, value)


def _softplus(writer: Writer, path: str, module: Any, value: Any, **_: Any) -> Flow:
    _refuse(module.beta != 1 or module.threshold != 20, "beta and threshold other than 1 and 20 are not supported")
    return _plain(writer, path, module, value)


# --- sequences -----------------------------------------------------------------------------------


def _recurrent(writer: Writer, path: str, module: Any, value: Any, hx: Any = None) -> Any:
    op = _NAMES[type(module)]
    _refuse(getattr(module, "proj_size", 0), "proj_size is not supported")
    axis = 0 if module.batch_first else 1
    sources = [batch_at(value, axis, op)]
    states = () if hx is None else hx if isinstance(hx, tuple) else (hx,)
    sources += [batch_at(state, 1, f"an initial state of {op}") for state in states]
    args = _attributes(module, op)
    found = writer.add(path, op, sources, **args)
    last = writer.besides(found, op, "h_n", sources, 1, **args)
    first = Flow(found.name, found.value, axis)
    if op == "LSTM":
        return first, (last, writer.besides(found, op, "c_n", sources, 1, **args))
    return first, last


def _attention(  # noqa: PLR0917 - as torch's module takes them
    writer: Writer,
    path: str,
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> Any:
    del need_weights, average_attn_weights, is_causal  # a mask comes with the hint, and says it all
    _refuse(module.bias_k is not None or module.add_zero_attn, "add_bias_kv and add_zero_attn are not supported")
    axis = 0 if module.batch_first else 1
    sources = [batch_at(each, axis, "MultiheadAttention") for each in (query, key, value)]
    if key_padding_mask is not None:
        sources.append(batch_at(key_padding_mask, 0, "a padding mask"))
    args = {"embed_dim": module.embed_dim, "num_heads": module.num_heads, "dropout": float(module.dropout)}
    if not module.kdim == module.vdim == module.embed_dim:
        args |= {"kdim": module.kdim, "vdim": module.vdim}
    args |= {"bias": module.in_proj_bias is not None, "is_causal": _causal(attn_mask)}
    found = writer.add(path, "MultiheadAttention", sources, **args)
    return Flow(found.name, found.value, axis), Missing("the weights of an attention")


_causal = is_causal


def _block(module: Any) -> dict[str, Any]:
    activation = module.activation
    if activation is functional.relu or type(activation) is nn.ReLU:
        name = "relu"
    elif activation is functional.gelu or (type(activation) is nn.GELU and activation.approximate == "none"):
        name = "gelu"
    else:
        raise ConversionError("its activation is neither relu nor gelu")
    return {
        "d_model": module.self_attn.embed_dim,
        "nhead": module.self_attn.num_heads,
        "dim_feedforward": module.linear1.out_features,
        "dropout": float(module.dropout.p),
        "activation": name,
        "layer_norm_eps": module.norm1.eps,
        "norm_first": module.norm_first,
        "bias": module.linear1.bias is not None,
    }


def _encoder_layer(  # noqa: PLR0917 - as torch's module takes them
    writer: Writer,
    path: str,
    module: Any,
    src: Any,
    src_mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: bool = False,
) -> Flow:
    del is_causal
    axis = 0 if module.self_attn.batch_first else 1
    sources = [batch_at(src, axis, "TransformerEncoderLayer")]
    if src_key_padding_mask is not None:
        sources.append(batch_at(src_key_padding_mask, 0, "a padding mask"))
    found = writer.add(path, "TransformerEncoderLayer", sources, **_block(module), is_causal=_causal(src_mask))
    return Flow(found.name, found.value, axis)


def _decoder_layer(  # noqa: PLR0917 - as torch's module takes them
    writer: Writer,
    path: str,
    module: Any,
    tgt: Any,
    memory: Any,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    tgt_is_causal: bool = False,
    memory_is_causal: bool = False,
) -> Flow:
    del tgt_is_causal, memory_is_causal
    _refuse(memory_mask is not None, "a mask of the memory is not supported")
    _refuse(
        memory_key_padding_mask is not None and tgt_key_padding_mask is None,
        "a padding of the memory needs one of the target too",
    )
    axis = 0 if module.self_attn.batch_first else 1
    sources = [batch_at(each, axis, "TransformerDecoderLayer") for each in (tgt, memory)]
    masks = (tgt_key_padding_mask, memory_key_padding_mask)
    sources += [batch_at(mask, 0, "a padding mask") for mask in masks if mask is not None]
    found = writer.add(path, "TransformerDecoderLayer", sources, **_block(module), is_causal=_causal(tgt_mask))
    return Flow(found.name, found.value, axis)


def _encoder(  # noqa: PLR0917 - as torch's module takes them
    writer: Writer,
    path: str,
    module: Any,
    src: Any,
    mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: Any = None,
) -> Any:
    del is_causal
    for number, layer in enumerate(module.layers):
        src = write(writer, f"{path}.layers.{number}", layer, src, mask, src_key_padding_mask)
    return src if module.norm is None else write(writer, f"{path}.norm", module.norm, src)


def _decoder(  # noqa: PLR0917 - as torch's module takes them
    writer: Writer,
    path: str,
    module: Any,
    tgt: Any,
    memory: Any,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    tgt_is_causal: Any = None,
    memory_is_causal: Any = None,
) -> Any:
    del tgt_is_causal, memory_is_causal
    masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
    for number, layer in enumerate(module.layers):
        tgt = write(writer, f"{path}.layers.{number}", layer, tgt, memory, *masks)
    return tgt if module.norm is None else write(writer, f"{path}.norm", module.norm, tgt)


# --- the table -----------------------------------------------------------------------------------

_SIMPLE: Final = (
    nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.PReLU, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Mish, nn.Tanh,
    nn.Sigmoid, nn.LogSigmoid, nn.Softsign, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.GELU, nn.LeakyReLU, nn.ELU,
    nn.SELU, nn.GLU, nn.PixelShuffle, nn.Dropout, nn.Identity,
)  # fmt: skip
_CALLS: Final[dict[type, Call]] = {
    **dict.fromkeys(_SIMPLE, _plain),
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _conv),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _conv),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d), _norm),
    **dict.fromkeys((nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d), _max_pool),
    **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d), _avg_pool),
    **dict.fromkeys((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d), _adaptive),
    **dict.fromkeys((nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d), _adaptive),
    **dict.fromkeys((nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout), _pass),
    **dict.fromkeys((nn.Softmax, nn.LogSoftmax), _softmax),
    **dict.fromkeys((nn.RNN, nn.GRU, nn.LSTM), _recurrent),
    nn.Softplus: _softplus,
    nn.Embedding: _embedding,
    nn.Upsample: _upsample,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    nn.MultiheadAttention: _attention,
    nn.TransformerEncoderLayer: _encoder_layer,
    nn.TransformerDecoderLayer: _decoder_layer,
    nn.TransformerEncoder: _encoder,
    nn.TransformerDecoder: _decoder,
}
_NAMES: Final[dict[type, str]] = {kind: kind.__name__ for kind in _CALLS}
_ANYWHERE: Final = frozenset(
    {"Linear", "LayerNorm", "RMSNorm", "Embedding", "Dropout", "Identity", "Softmax", "LogSoftmax", "GLU"}
    | {
        kind.__name__
        for kind in (*_SIMPLE, nn.Softplus)
        if OPERATORS[kind.__name__].parameters is OPERATORS["ReLU"].parameters
    }
) - {"PixelShuffle"}
"""Operations on the last dimensions, or on each element: where the batch is does not matter to them."""


def is_known(module: nn.Module) -> bool:
    """Whether a module is written as a whole; others are looked into."""
    return type(module) in _CALLS


def write(writer: Writer, path: str, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The call of a module as nodes. Raises ConversionError naming the module."""
    call = _CALLS.get(type(module))
    place = f"{path} ({type(module).__name__})"
    if call is None:
        raise ConversionError(f"{place} is not supported")
    if any(isinstance(each, Missing) for each in args):
        raise ConversionError(f"{place} needs a value that a document does not have")
    if module.state_dict() and writer.free(path) != path:
        raise ConversionError(f"{place} is used twice, or its name is taken: a document does not share weights")
    try:
        return partial(call, writer, path, module)(*args, **kwargs)
    except ConversionError as error:
        said = str(error)
        raise ConversionError(said if said.startswith(path) else f"{place}: {said}") from None
    except TypeError as error:
        raise ConversionError(f"{place}: {error}") from None
