"""The module that a package carries: native code is made of it again where the package's own code does not run.

It is the fused graph, the last module that no CPU has a say in. Its weights are those of the package. Kernels read some of them packed,
and each is stored once; an attribute of the module says which these are and how to undo it:

    kernel.packed = [{name = "fc.weight.packed.32.8x32", weight = "fc.weight", how = {shape = [8, 32], order = [], tiles = {"1" = 32}, lanes = 16}}]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

import numpy as np
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, StringAttr

from mlc.errors import InvalidModel
from mlc.ir.graph.constants import WeightOp
from mlc.ir.kernel.pack import Pack, pack, unpack
from mlc.ir.kernel.program import WeightOp as KernelWeightOp
from mlc.ir.module import Module
from mlc.ir.weights import WeightStore

PACKED = "kernel.packed"


def weights_of(module: Module) -> dict[str, tuple[int, ...]]:
    """Keys of the weights that a module names, in order, with their shapes."""
    return {
        op.weight_key if isinstance(op, WeightOp) else op.key.data: tuple(op.result.type.get_shape())
        for op in module.op.walk()
        if isinstance(op, WeightOp | KernelWeightOp)
    }


def write(module: Module, stored: Iterable[str]) -> str:
    """The text of a module of which a package stores the weights in `stored`; changes the module."""
    stored = set(stored)
    for op in [op for op in module.op.walk() if isinstance(op, WeightOp) and not op.result.uses]:
        op.detach()
        op.erase()
    wanted = weights_of(module).keys() - stored
    packed = {key: (name, how) for name, (key, how) in module.weights.packed.items() if name in stored}
    rows = [
        DictionaryAttr({"name": StringAttr(name), "weight": StringAttr(key), "how": how.attr()})
        for key, (name, how) in packed.items()
        if key in wanted
    ]
    module.op.attributes.pop(PACKED, None)
    if rows:
        module.op.attributes[PACKED] = ArrayAttr(rows)
    return module.text(locations=True)


def read(text: str, stored: Mapping[str, np.ndarray], file: str) -> Module:
    """The module of a text that `write` wrote, with its weights. Raises InvalidModel for any other text, or where weights do not fit."""
    weights = WeightStore()
    for key, array in stored.items():
        weights.add(array, key)
    module = Module.parse(text, weights, file)
    shapes = weights_of(module)
    try:
        for row in getattr(module.op.attributes.get(PACKED), "data", ()):
            name, key, how = row.data["name"].data, row.data["weight"].data, Pack.from_attr(row.data["how"])
            if how.elements() != stored[name].size or prod(how.shape) != prod(shapes[key]):
                raise ValueError(f"the weight '{name}' has another size")
            _add_unpacked(weights, key, shapes[key], name, how)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise InvalidModel(f"its weights are not packed as the module says: {error}", file=file) from error
    if lacking := [key for key in shapes if key not in weights]:
        raise InvalidModel(f"it lacks the weight '{lacking[0]}'", file=file)
    return module


def _add_unpacked(weights: WeightStore, key: str, shape: tuple[int, ...], name: str, how: Pack) -> None:
    weights.add_lazy(key, shape, weights.type_of(name)[1], lambda: unpack(weights.get(name), how).reshape(shape))
    weights.derive(name, lambda: pack(weights.get(key), how, weights.slabs), (key,))
    weights.packed[name] = (key, how)
