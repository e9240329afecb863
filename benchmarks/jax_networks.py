"""The networks of benchmarks/networks.py as JAX users write them, for the parameters that PyTorch has by name, and a jitted step of training.

Images are channels last and filters HWIO, the order that XLA likes on CPUs; `prepared` lays out parameters and batches once.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Params = dict[str, Any]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
HEADS = 8


def prepared(start: Mapping[str, np.ndarray]) -> Params:
    """Parameters and statistics for the device. Filters become HWIO."""
    kept = {name: value for name, value in start.items() if not name.endswith("num_batches_tracked")}
    return {n: jnp.asarray(v.transpose(2, 3, 1, 0) if v.ndim == 4 else v) for n, v in kept.items()}


def linear(p: Params, name: str, x: jax.Array) -> jax.Array:
    y = x @ p[f"{name}.weight"].T
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def perceptron(p: Params, x: jax.Array) -> tuple[jax.Array, Params]:
    x = jax.nn.relu(linear(p, "0", x))
    return linear(p, "4", jax.nn.relu(linear(p, "2", x))), {}


# Images --------------------------------------------------------------------------------------------------------------------


def conv(p: Params, name: str, x: jax.Array, stride: int = 1) -> jax.Array:
    border = p[f"{name}.weight"].shape[0] // 2
    given = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    y = lax.conv_general_dilated(x, p[f"{name}.weight"], (stride, stride), [(border, border)] * 2, **given)
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def pool(x: jax.Array) -> jax.Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def convolutions(p: Params, x: jax.Array) -> tuple[jax.Array, Params]:
    x = pool(jax.nn.relu(conv(p, "0", x)))
    x = pool(jax.nn.relu(conv(p, "3", x)))
    return linear(p, "7", x.transpose(0, 3, 1, 2).reshape(len(x), -1)), {}


def batch_norm(p: Params, name: str, x: jax.Array, found: Params) -> jax.Array:
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    count = x.size // x.shape[-1]
    for part, now in (("running_mean", mean), ("running_var", variance * count / (count - 1))):
        found[f"{name}.{part}"] = 0.9 * p[f"{name}.{part}"] + 0.1 * now
    factor = p[f"{name}.weight"] * lax.rsqrt(variance + 1e-5)
    return (x - mean) * factor + p[f"{name}.bias"]


def residual(p: Params, x: jax.Array) -> tuple[jax.Array, Params]:
    found: Params = {}
    x = jax.nn.relu(batch_norm(p, "1", conv(p, "0", x), found))
    for name, stride in (("3", 1), ("4", 2), ("5", 1), ("6", 2), ("7", 1)):
        y = jax.nn.relu(batch_norm(p, f"{name}.norm1", conv(p, f"{name}.conv1", x, stride), found))
        y = batch_norm(p, f"{name}.norm2", conv(p, f"{name}.conv2", y), found)
        x = jax.nn.relu(y + (conv(p, f"{name}.skip", x, stride) if f"{name}.skip.weight" in p else x))
    return linear(p, "9", x.mean((1, 2))), found


# Sequences -----------------------------------------------------------------------------------------------------------------


def layer_norm(p: Params, name: str, x: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]


def transformer(p: Params, tokens: jax.Array) -> tuple[jax.Array, Params]:
    x = p["0.weight"][tokens] + p["1.weight"]
    rows, length, size = x.shape
    for name in ("2", "3", "4", "5"):
        joined = layer_norm(p, f"{name}.norm1", x) @ p[f"{name}.self_attn.in_proj_weight"].T
        joined = (joined + p[f"{name}.self_attn.in_proj_bias"]).reshape(rows, length, 3, HEADS, size // HEADS)
        q, k, v = (joined[:, :, part] for part in range(3))
        attended = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape)
        x = x + linear(p, f"{name}.self_attn.out_proj", attended)
        hidden = jax.nn.gelu(linear(p, f"{name}.linear1", layer_norm(p, f"{name}.norm2", x)), approximate=True)
        x = x + linear(p, f"{name}.linear2", hidden)
    return linear(p, "7", layer_norm(p, "6", x)), {}


def recurrent(p: Params, x: jax.Array) -> tuple[jax.Array, Params]:
    """Time first; what the inputs of all steps give to the gates is one product."""
    for layer in ("l0", "l1"):
        recurrence = p[f"lstm.weight_hh_{layer}"]
        given = x @ p[f"lstm.weight_ih_{layer}"].T + p[f"lstm.bias_ih_{layer}"] + p[f"lstm.bias_hh_{layer}"]

        def turn(state: Any, gates: jax.Array, recurrence: jax.Array = recurrence) -> Any:
            h, c = state
            i, f, g, o = jnp.split(gates + h @ recurrence.T, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros((x.shape[1], recurrence.shape[1]), x.dtype)
        _, x = lax.scan(turn, (zero, zero), given)
    return linear(p, "head", x[-1]), {}


FORWARD: dict[str, Callable[[Params, jax.Array], tuple[jax.Array, Params]]] = {
    "mlp": perceptron,
    "cnn": convolutions,
    "residual": residual,
    "transformer": transformer,
    "lstm": recurrent,
}

# Steps ---------------------------------------------------------------------------------------------------------------------


def sgd(p: jax.Array, g: jax.Array, kept: Params, count: jax.Array) -> tuple[jax.Array, Params]:
    velocity = 0.9 * kept["m"] + g
    return p - 0.01 * velocity, {"m": velocity}


def adam(p: jax.Array, g: jax.Array, kept: Params, count: jax.Array) -> tuple[jax.Array, Params]:
    m, v = 0.9 * kept["m"] + 0.1 * g, 0.999 * kept["v"] + 0.001 * g * g
    mean, square = m / (1 - 0.9**count), v / (1 - 0.999**count)
    return p - 1e-3 * mean / (jnp.sqrt(square) + 1e-8), {"m": m, "v": v}


UPDATES = {"sgd": (sgd, ("m",)), "adam": (adam, ("m", "v"))}


def step_of(network: str, optimizer: str, start: Mapping[str, np.ndarray]) -> Callable[[jax.Array, jax.Array], Any]:
    """A function of a batch that makes one step, in place, and gives the loss."""
    forward, (update, slots) = FORWARD[network], UPDATES[optimizer]
    values = prepared(start)
    buffers = {name: values.pop(name) for name in list(values) if name.endswith(STATISTICS)}
    kept = {name: {slot: jnp.zeros_like(p) for slot in slots} for name, p in values.items()}

    def loss_of(params: Params, buffers: Params, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Params]:
        logits, found = forward({**params, **buffers}, x)
        logged = jax.nn.log_softmax(logits.reshape(-1, logits.shape[-1]))
        return -jnp.take_along_axis(logged, y.reshape(-1, 1), axis=1).mean(), found

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, x: jax.Array, y: jax.Array) -> Any:
        params, kept, buffers, count = state
        (loss, found), grads = jax.value_and_grad(loss_of, has_aux=True)(params, buffers, x, y)
        made = {name: update(params[name], grads[name], kept[name], count + 1) for name in params}
        params, kept = ({name: pair[part] for name, pair in made.items()} for part in (0, 1))
        return (params, kept, {**buffers, **found}, count + 1), loss

    state = (values, kept, buffers, jnp.zeros((), jnp.float32))

    def call(x: jax.Array, y: jax.Array) -> Any:
        nonlocal state
        state, loss = step(state, x, y)
        return loss

    return call
