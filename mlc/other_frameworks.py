"""What PyTorch, Keras, JAX and optax call things that have another name here, for messages."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mlc.errors import MlcError
from mlc.frontends.trace.tracing import user_line
from mlc.ir.spelling import nearest

# Each keyword with the names that may stand for it; which one does, the signature of the class says.
KEYWORDS: Mapping[str, tuple[str, ...]] = {
    "affine": ("elementwise_affine",),
    "betas": ("b1", "b2", "beta1", "beta2", "beta_1", "beta_2"),
    "body": ("module",),
    "channels": ("in_channels", "num_features", "num_channels"),
    "count": ("num_embeddings", "vocab_size"),
    "count_padding": ("count_include_pad",),
    "decay": ("ema_decay",),
    "eps": ("epsilon",),
    "every": ("step_size", "transition_steps", "every_k_schedule"),
    "factor": ("gamma", "decay_rate"),
    "final": ("eta_min",),
    "groups": ("num_groups",),
    "heads": ("num_heads", "nhead", "n_heads"),
    "hidden": ("hidden_size", "dim_feedforward"),
    "inputs": ("in_features", "input_size"),
    "kernel": ("kernel_size",),
    "kv_heads": ("num_kv_heads",),
    "layers": ("num_layers",),
    "length": ("max_len", "max_length"),
    "lr": ("learning_rate", "peak_value", "init_value"),
    "norm": ("max_norm", "max_grad_norm"),
    "outputs": ("out_features", "out_channels", "features", "units"),
    "p": ("rate",),
    "shape": ("normalized_shape",),
    "size": ("embed_dim", "embedding_dim", "d_model", "dim"),
    "start": ("start_dim",),
    "steps": ("T_max", "decay_steps", "total_iters", "warmup_steps"),
    "value": ("clip_value",),
}
MEANT = {
    other: tuple(name for name, others in KEYWORDS.items() if other in others) for o in KEYWORDS.values() for other in o
}


def check_keywords(cls: type, given: Iterable[str]) -> None:
    """Raises MlcError for a keyword that the constructor of a class of mlc does not take, with the one that was meant and the signature. The
    constructors of others answer for themselves."""
    constructor: Callable[..., Any] = cls.__init__  # type: ignore[misc]
    if not (constructor.__module__ or "").startswith("mlc."):
        return
    signature = inspect.signature(constructor)
    taken = [p for p in signature.parameters.values() if p.name != "self"]
    names = [p.name for p in taken]
    for name in given:
        if name in names or any(p.kind is p.VAR_KEYWORD for p in taken):
            continue
        near = [known for known in MEANT.get(name, ()) if known in names] or nearest(name, names)
        raise MlcError(
            f"{cls.__name__} has no argument {name!r}",
            file=user_line(),
            remedy=(f"It is called {near[0]!r} here: " if near else "Write ") + written(cls.__name__, taken),
        )


def written(name: str, taken: Iterable[inspect.Parameter]) -> str:
    """A call with all its arguments and their defaults."""
    return f"{name}({', '.join(map(_written_argument, taken))})."


def _written_argument(p: inspect.Parameter) -> str:
    if p.default is p.empty:
        return p.name
    return f"{p.name}={getattr(p.default, '__name__', repr(p.default))}"


def missing_name(module: str, name: str, known: Iterable[str], elsewhere: Mapping[str, str]) -> AttributeError:
    """The error for what a module of mlc does not have: `elsewhere` says what to write in place of names of other frameworks."""
    near = nearest(name, known)
    advice = elsewhere.get(name) or (f"Did you mean {near[0]}?" if near else "")
    return AttributeError(f"module {module!r} has no attribute {name!r}" + (f". {advice}" if advice else ""))
