"""Checks of the derivatives of a module: by differences in float64, and of both modes against each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, StringAttr
from xdsl.ir import SSAValue

from mlc.ir import builder as g
from mlc.ir.graph.base import building
from mlc.ir.module import Module
from mlc.ir.types import dtype_of, is_float
from mlc.passes.autodiff.differentiate import Autodiff
from mlc.passes.manager import PassManager

Spec = tuple[Sequence[int | str], str]
Arrays = list[np.ndarray]


def built(make: Callable[..., SSAValue | Sequence[SSAValue]], specs: Sequence[Spec]) -> Module:
    """A module of inputs x0, x1, ... and outputs y0, y1, ..."""
    m = g.module_builder("main")
    with m.function([(f"x{n}", shape, dtype) for n, (shape, dtype) in enumerate(specs)]) as values:
        found = make(*values)
        m.outputs([(f"y{n}", y) for n, y in enumerate([found] if isinstance(found, SSAValue) else found)])
    return m.finish()


def derived(module: Module, wrt: Sequence[str], mode: str) -> Module:
    return PassManager([Autodiff(";".join(wrt), "", mode)], verify_each=True).run(module)


def floats(module: Module) -> list[str]:
    return [name for name, (_, dtype) in zip(module.input_names, module.input_types, strict=True) if dtype == "f64"]


def weighted(module: Module) -> Module:
    """The sum of all float outputs, each times a further input of its shape."""
    module = module.clone()
    main, block = module.main, module.main.body.block
    assert block.last_op is not None
    last, names = block.last_op, module.input_names
    outputs = [y for y in last.operands if is_float(dtype_of(y))]
    weights = [block.insert_arg(y.type, len(block.args)) for y in outputs]
    main.properties["arg_attrs"] = _rows([*names, *(f"c{len(names) + n}" for n in range(len(weights)))])
    last.detach()
    with building(block, module.checks):
        total = g.full((), 0, "f64")
        for y, c in zip(outputs, weights, strict=True):
            total = g.add(total, g.reduce(g.mul(y, c), None, "sum"))
    block.add_op(last)
    last.operands = [total]
    main.properties["res_attrs"] = _rows(["total"])
    main.update_function_type()
    module.verify()
    return module


def _rows(names: Sequence[str]) -> ArrayAttr[DictionaryAttr]:
    return ArrayAttr([DictionaryAttr({"graph.name": StringAttr(name)}) for name in names])


def slopes(module: Module, inputs: Arrays, tangents: dict[str, np.ndarray]) -> Arrays:
    """How the float outputs change along a direction: central differences of two widths, extrapolated (Richardson)."""

    def at(step: float) -> Arrays:
        moved = [
            x + step * tangents[name] if name in tangents else x
            for name, x in zip(module.input_names, inputs, strict=True)
        ]
        return [y for y in module.run(*moved) if y.dtype == np.float64]

    central = lambda e: [(a - b) / (2 * e) for a, b in zip(at(e), at(-e), strict=True)]
    width = 1e-4
    with np.errstate(all="ignore"):
        return [(4 * a - b) / 3 for a, b in zip(central(width), central(2 * width), strict=True)]


def direction(module: Module, wrt: Sequence[str], inputs: Arrays, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        name: rng.standard_normal(x.shape) for name, x in zip(module.input_names, inputs, strict=True) if name in wrt
    }


def check_push(module: Module, inputs: Arrays, wrt: Sequence[str], rng: np.random.Generator) -> None:
    """The jvp is what differences say."""
    tangents = direction(module, wrt, inputs, rng)
    pushed = derived(module, wrt, "jvp")
    found = pushed.run(*inputs, *tangents.values())[len(module.output_names) :]
    for t, slope in zip(found, slopes(module, inputs, tangents), strict=True):
        np.testing.assert_allclose(t, slope, rtol=2e-6, atol=2e-6 * max(1.0, np.abs(t).max(initial=0)))


def check_pull(module: Module, inputs: Arrays, wrt: Sequence[str], rng: np.random.Generator) -> None:
    """<c, jvp t> is <pull c, t>, to rounding, for all operands together and each alone."""
    tangents = direction(module, wrt, inputs, rng)
    pushed = derived(module, wrt, "jvp").run(*inputs, *tangents.values())[len(module.output_names) :]
    total = weighted(module)
    cotangents = [rng.standard_normal(t.shape) for t in pushed]
    left = sum(float((c * t).sum()) for c, t in zip(cotangents, pushed, strict=True))
    gradients = derived(total, wrt, "gradient").run(*inputs, *cotangents)[1:]
    terms = [float((d * t).sum()) for d, t in zip(gradients, tangents.values(), strict=True)]
    scale = 1 + sum(float(np.abs(d * t).sum()) for d, t in zip(gradients, tangents.values(), strict=True))
    assert abs(left - sum(terms)) <= 1e-11 * scale, (left, terms)
    for name, whole in zip(wrt, gradients, strict=True):
        if len(wrt) > 1:
            (alone,) = derived(total, [name], "gradient").run(*inputs, *cotangents)[1:]
            np.testing.assert_allclose(alone, whole, rtol=1e-12, atol=1e-12)


def check_derivatives(module: Module, inputs: Arrays, seed: int = 0, order: int = 2) -> None:
    """Both modes at first order; at second order the push and the pull of the gradient."""
    rng = np.random.default_rng(seed)
    wrt = floats(module)
    check_push(module, inputs, wrt, rng)
    check_pull(module, inputs, wrt, rng)
    if order > 1:
        total = weighted(module)
        gradient = derived(total, wrt, "gradient")
        more = [*inputs, *(rng.standard_normal(y.shape) for y in module.run(*inputs) if y.dtype == np.float64)]
        check_push(gradient, more, floats(gradient), rng)
        check_pull(gradient, more, floats(gradient), rng)
