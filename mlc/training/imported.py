"""Imported models as objectives: their weights become parameters, and batch normalisations may follow the statistics of batches.

    %y = graph.batch_norm %x, %scale, %bias, %mean, %variance
->  %m, %v = the mean and the variance of %x per channel
    %y = graph.batch_norm %x, %scale, %bias, %m, %v             0.9 * mean + 0.1 * m and 0.9 * variance + 0.1 * v are the next statistics
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, StringAttr
from xdsl.ir import SSAValue

from mlc.errors import MlcError
from mlc.frontends.trace.inline import inline
from mlc.frontends.trace.tracing import user_line
from mlc.ir import builder as g
from mlc.ir.dims import Dim
from mlc.ir.graph.base import location_file, location_name
from mlc.ir.graph.composites import SoftmaxOp
from mlc.ir.graph.constants import WeightOp
from mlc.ir.graph.elementwise import CastOp
from mlc.ir.graph.norms import BatchNormOp
from mlc.ir.graph.shape import ReshapeOp
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, is_float, shape_of
from mlc.passes.graph.rewrite import before
from mlc.passes.graph.weights_to_arguments import WeightsToArguments, chosen
from mlc.training.objective import Loss, Objective, targets_of, valued

_log = logging.getLogger("mlc.train")
MOMENTUM = 0.9  # what the running statistics keep of the past in each step, as ONNX and PyTorch have it by default


def is_imported(model: Any) -> bool:
    """A module, or what mlc.load takes."""
    return isinstance(model, Module | str | os.PathLike | bytes) or hasattr(model, "SerializeToString")


def of_imported(source: Any, loss: Loss | None, freeze: str, train_statistics: bool) -> Objective:
    """Parameters are the weights of several floats, but for those whose names fit `freeze` and for the statistics of batch normalisations, which
    are buffers with `train_statistics` and else stay."""
    from mlc.compiler import load

    module = source if isinstance(source, Module) else load(source, trainable=True)
    _warn_of_softmax(module, loss)
    if module.inlined:
        _log.warning(
            "%s: small weights are constants of the module and are not trained (%s): mlc.load(..., trainable=True) keeps them",
            module.source or module.name,
            ", ".join(module.inlined[:4]) + (", ..." if len(module.inlined) > 4 else ""),
        )
    norms = [op for op in module.main.walk() if isinstance(op, BatchNormOp)]
    statistics = {key for op in norms for value in (op.mean, op.variance) if (key := _weight_behind(value)) is not None}
    keys = [key for key in _weights(module) if key not in statistics]
    frozen = set(chosen(freeze, [*keys, *sorted(statistics)], "weight")) if freeze else set()
    wanted = [key for key in keys if key not in frozen]
    if not wanted:
        raise MlcError("the model has no weights to train", file=user_line(), remedy=f"Frozen: {freeze or 'none'}.")
    kept = [key for key in sorted(statistics) if key not in frozen] if train_statistics else []
    used = _with_arguments(module, [*wanted, *kept])
    trained = _following(module, set(kept)) if kept else used
    trained = _with_arguments(trained, [*wanted, *kept]) if kept else used
    names = [name for name in module.input_names if name not in {*wanted, *kept}]
    outputs = len(module.output_names)

    def given(of: Module, params: Any, buffers: Any, inputs: Sequence[Any]) -> list[Any]:
        if len(inputs) != len(names):
            raise MlcError(
                f"the model takes {', '.join(names) or 'nothing'}: {len(inputs)} inputs were given", file=user_line()
            )
        known = {**params, **buffers, **dict(zip(names, inputs, strict=True))}
        return inline(of, [known[name] for name in of.input_names])

    def predict(params: Any, buffers: Any, key: Any, *inputs: Any) -> Any:
        found = given(used, params, buffers, inputs)
        return found[0] if outputs == 1 else tuple(found)

    def measured(params: Any, buffers: Any, key: Any, *batch: Any) -> tuple[Any, tuple[Any, Any]]:
        found = given(trained, params, buffers, batch[: len(names)])
        changed = dict(zip(trained.output_names[outputs:], found[outputs:], strict=True))
        prediction = found[0] if outputs == 1 else tuple(found[:outputs])
        value, more = valued(loss, prediction, batch[len(names) :])
        return value, ({key: changed.get(f"next.{key}", old) for key, old in buffers.items()}, more)

    def taken(params: Any, buffers: Any) -> Module:
        made = Module.parse(module.text(locations=True), copy(module.weights))
        for key, value in {**params, **buffers}.items():
            made.weights.replace(key, value.numpy())
        return made

    types = dict(zip(module.input_names, module.input_types, strict=True))
    open_shapes = {n: types[n][0] for n in names if any(isinstance(e, Dim) for e in types[n][0])}
    first = [shape[0] for shape in open_shapes.values() if isinstance(shape[0], Dim)]
    targets = targets_of(loss, tuple(names))
    numbers = lambda keys: {key: module.weights.get(key) for key in keys}
    return Objective(
        Path(module.source).stem if module.source else module.name,
        numbers(wanted),
        measured,
        predict,
        (*names, *targets),
        numbers(kept),
        shapes=open_shapes,
        rows=first[0] if first else None,
        bounds=module.symbols,
        trained=taken,
        targets=len(targets),
    )


def _weights(module: Module) -> list[str]:
    """The keys of weights of floats, in the order in which the module uses them."""
    ops = [op for op in module.main.walk() if isinstance(op, WeightOp) and is_float(dtype_of(op.result))]
    return list(dict.fromkeys(op.weight_key for op in ops))


def _weight_behind(value: SSAValue) -> str | None:
    while isinstance(value.owner, CastOp):
        value = value.owner.operands[0]
    return value.owner.weight_key if isinstance(value.owner, WeightOp) else None


def _with_arguments(module: Module, keys: Sequence[str]) -> Module:
    """A copy whose weights of these keys are inputs."""
    made = module.clone()
    WeightsToArguments(";".join(_literally(key) for key in keys)).run(made)
    return made


def _literally(name: str) -> str:
    """The pattern that fits this name alone."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _following(module: Module, kept: set[str]) -> Module:
    """A copy whose batch normalisations use the statistics of the batch; the next running ones are further results, next.KEY."""
    made = module.clone()
    found: list[tuple[str, SSAValue]] = []
    for op in [op for op in made.main.walk() if isinstance(op, BatchNormOp)]:
        keys = [_weight_behind(op.mean), _weight_behind(op.variance)]
        if not all(key in kept for key in keys) or op.parent is not made.main.body.block:
            continue
        axes = [axis for axis in range(len(shape_of(op.x))) if axis != op.axis.value.data]
        with before(op, made):
            dtype = dtype_of(op.mean)
            mean = g.mean(op.x, axes, keepdims=False)
            centred = g.sub(op.x, g.broadcast(mean, shape_of(op.x), [op.axis.value.data]))
            variance = g.mean(g.mul(centred, centred), axes, keepdims=False)
            for key, old, new in zip(keys, (op.mean, op.variance), (mean, variance), strict=True):
                part = lambda x, by: g.mul(x, g.scalar_like(x, by))
                found.append((f"next.{key}", g.add(part(old, MOMENTUM), part(g.cast(new, dtype), 1 - MOMENTUM))))
        op.operands[3], op.operands[4] = mean, variance
    _append_results(made, found)
    return made


def _append_results(module: Module, results: Sequence[tuple[str, SSAValue]]) -> None:
    main = module.main
    last = main.body.block.last_op
    assert last is not None
    names = [*module.output_names, *(name for name, _ in results)]
    last.operands = [*last.operands, *(value for _, value in results)]
    main.properties["res_attrs"] = ArrayAttr([DictionaryAttr({"graph.name": StringAttr(name)}) for name in names])
    main.update_function_type()
    module.verify()


def _warn_of_softmax(module: Module, loss: Callable[..., Any] | None) -> None:
    """Cross-entropy takes logits; of probabilities it learns slowly, and nothing else tells."""
    from mlc.nn import cross_entropy

    results = module.main.get_return_op()
    if loss is not cross_entropy or results is None:
        return
    value = results.operands[0]
    while isinstance(value.owner, ReshapeOp | CastOp):
        value = value.owner.operands[0]
    if isinstance(value.owner, SoftmaxOp):
        _log.warning(
            "%s ends in a softmax, node '%s', and cross_entropy takes what comes before it: cut the model there with until=, or give another loss",
            module.source or module.name,
            location_name(value.owner) or location_file(value.owner) or "softmax",
        )
