"""Shapes and tensors of recurrent and attention layers. Sequences are `(batch, steps, features)`: batch first."""

from __future__ import annotations

from collections.abc import Sequence

from domain.shapes.values import Args, Infer, Parameters, ParameterSpec, Value, need, need_float, need_room, same_dtype
from domain.tensors import BATCH, DType

# --- recurrent layers ----------------------------------------------------------------------------


def _directions(args: Args) -> int:
    return 2 if args["bidirectional"] else 1


def _state_shape(args: Args) -> tuple[int, ...]:
    """A final or initial state: rows first, then layers times directions."""
    return (BATCH, args["num_layers"] * _directions(args), args["hidden_size"])


def recurrent(gates: int) -> Infer:
    """The outputs of the last layer, one for each step. Inputs after the first are initial states."""

    def infer(args: Args, values: Sequence[Value]) -> Value:
        value = values[0]
        need_float(value, 3)
        need(
            value.shape[2] == args["input_size"],
            f"input_size is {args['input_size']}, but {value.shape[2]} flow in",
        )
        need_room("its gates", value.shape[1], gates, args["hidden_size"], _directions(args))
        for state in values[1:]:
            same_dtype(value, state)
            wanted = _state_shape(args)
            need(state.shape == wanted, f"an initial state has shape {list(wanted)}, got {list(state.shape)}")
        return Value(value.dtype, (BATCH, value.shape[1], _directions(args) * args["hidden_size"]))

    return infer


def lstm(args: Args, values: Sequence[Value]) -> Value:
    """As `recurrent`; both initial states or none."""
    need(len(values) != 2, "takes one input, or three: with the initial hidden and cell state")
    return recurrent(4)(args, values)


def final_state(args: Args, values: Sequence[Value]) -> Value:
    """The state after the last step, of every layer and direction."""
    return Value(values[0].dtype, _state_shape(args))


def recurrent_parameters(gates: int) -> Parameters:
    """PyTorch's names: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, then `_reverse`, then `l1`."""

    def parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
        hidden, directions = args["hidden_size"], _directions(args)
        found: dict[str, ParameterSpec] = {}
        for layer in range(args["num_layers"]):
            below = args["input_size"] if layer == 0 else hidden * directions
            for suffix in (f"l{layer}", f"l{layer}_reverse")[:directions]:
                found[f"weight_ih_{suffix}"] = ParameterSpec(dtype, (gates * hidden, below))
                found[f"weight_hh_{suffix}"] = ParameterSpec(dtype, (gates * hidden, hidden))
                if args["bias"]:
                    found[f"bias_ih_{suffix}"] = ParameterSpec(dtype, (gates * hidden,))
                    found[f"bias_hh_{suffix}"] = ParameterSpec(dtype, (gates * hidden,))
        return found

    return parameters


# --- attention -----------------------------------------------------------------------------------


def _sequence(value: Value, features: int, what: str) -> int:
    """The number of steps of a sequence of vectors of `features`."""
    need_float(value, 3)
    need(value.shape[2] == features, f"{what} has {features} features, but {value.shape[2]} flow in")
    return value.shape[1]


def _padding(mask: Value, steps: int) -> None:
    need(
        mask.dtype is DType.BOOL and mask.shape == (BATCH, steps),
        f"a padding mask is bool {[BATCH, steps]} (true: ignore the step), got {mask.dtype.value} {list(mask.shape)}",
    )


def _heads(features: int, heads: int) -> None:
    need(features % heads == 0, f"{features} features are not divisible by {heads} heads")


def attention(args: Args, values: Sequence[Value]) -> Value:
    """Queries, keys and values; then, if given, which keys are padding."""
    size = args["embed_dim"]
    _heads(size, args["num_heads"])
    query, key, value = values[:3]
    target = _sequence(query, size, "the query")
    source = _sequence(key, args["kdim"] or size, "the key")
    need(_sequence(value, args["vdim"] or size, "the value") == source, "keys and values differ in steps")
    need(not args["is_causal"] or target == source, "is_causal: queries and keys differ in steps")
    need_room("its scores", args["num_heads"], target, source)
    if len(values) == 4:
        _padding(values[3], source)
    return query


def attention_parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
    """One projection for queries, keys and values, or three when their sizes differ; and that of the output."""
    size = args["embed_dim"]
    keys, values = args["kdim"] or size, args["vdim"] or size
    found: dict[str, ParameterSpec] = {}
    if keys == values == size:
        found["in_proj_weight"] = ParameterSpec(dtype, (3 * size, size))
    else:
        found["q_proj_weight"] = ParameterSpec(dtype, (size, size))
        found["k_proj_weight"] = ParameterSpec(dtype, (size, keys))
        found["v_proj_weight"] = ParameterSpec(dtype, (size, values))
    if args["bias"]:
        found["in_proj_bias"] = ParameterSpec(dtype, (3 * size,))
    return found | _linear("out_proj", size, size, args, dtype)


def _linear(name: str, inputs: int, outputs: int, args: Args, dtype: str) -> dict[str, ParameterSpec]:
    found = {f"{name}.weight": ParameterSpec(dtype, (outputs, inputs))}
    if args["bias"]:
        found[f"{name}.bias"] = ParameterSpec(dtype, (outputs,))
    return found


def encoder_layer(args: Args, values: Sequence[Value]) -> Value:
    """A sequence; then, if given, which of its steps are padding."""
    steps = _block(args, values[0], "the sequence")
    need_room("its scores", args["nhead"], steps, steps)
    if len(values) == 2:
        _padding(values[1], steps)
    return values[0]


def decoder_layer(args: Args, values: Sequence[Value]) -> Value:
    """A sequence and the memory it looks at; then, if given, which steps of either are padding."""
    steps = _block(args, values[0], "the sequence")
    memory = _sequence(values[1], args["d_model"], "the memory")
    need_room("its scores", args["nhead"], steps, max(steps, memory))
    for mask, length in zip(values[2:], (steps, memory), strict=False):
        _padding(mask, length)
    return values[0]


def _block(args: Args, value: Value, what: str) -> int:
    _heads(args["d_model"], args["nhead"])
    steps = _sequence(value, args["d_model"], what)
    need_room("its feed-forward layer", steps, args["dim_feedforward"])
    return steps


def _block_parameters(args: Args, dtype: str, attentions: tuple[str, ...]) -> dict[str, ParameterSpec]:
    size = args["d_model"]
    own = {"embed_dim": size, "kdim": None, "vdim": None, "bias": args["bias"]}
    found: dict[str, ParameterSpec] = {}
    for name in attentions:
        found |= {f"{name}.{key}": spec for key, spec in attention_parameters(own, dtype).items()}
    found |= _linear("linear1", size, args["dim_feedforward"], args, dtype)
    found |= _linear("linear2", args["dim_feedforward"], size, args, dtype)
    for number in range(1, len(attentions) + 2):
        found[f"norm{number}.weight"] = ParameterSpec(dtype, (size,))
        if args["bias"]:
            found[f"norm{number}.bias"] = ParameterSpec(dtype, (size,))
    return found


def encoder_parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
    """Self-attention, two linear layers, two normalisations."""
    return _block_parameters(args, dtype, ("self_attn",))


def decoder_parameters(args: Args, dtype: str) -> dict[str, ParameterSpec]:
    """Self-attention, attention over the memory, two linear layers, three normalisations."""
    return _block_parameters(args, dtype, ("self_attn", "multihead_attn"))
