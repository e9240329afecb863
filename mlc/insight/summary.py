"""What a model holds, without compiling it: sizes, operators, parameters, work. The figures behind `mlc check`."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mlc.insight.numbers import quantity
from mlc.ir import dims
from mlc.ir.dims import Extent
from mlc.ir.graph.base import flops_in
from mlc.ir.graph.constants import WeightOp
from mlc.ir.module import Module
from mlc.ir.sample_sizes import sample_binding
from mlc.ir.types import Shape, dtype_of, itemsize, shape_text, tensor_type


@dataclass(frozen=True)
class Value:
    name: str
    dtype: str
    shape: Shape

    def __str__(self) -> str:
        return f"{self.dtype}{shape_text(self.shape)}"


@dataclass(frozen=True)
class Summary:
    """Of one module; flops are those of a call at `sizes`."""

    inputs: list[Value]
    outputs: list[Value]
    operators: dict[str, int]
    parameters: int
    weight_bytes: int
    flops: int
    sizes: dict[str, int]
    symbols: dict[str, tuple[int, int | None]]
    counted: dict[str, str]  # sizes that data decides, and what they are at most
    checks: list[str]


def flops(module: Module) -> Extent:
    """Floating-point operations of one call, as an expression of its symbols, with sizes that data decides at their most."""
    return dims.ceiling(flops_in(module.main.body.block), module.counted)


def summary(module: Module) -> Summary:
    """Counts of what @main holds; weights that it does not name are left out."""
    weights = _weights(module)
    kinds = Counter(op.name.removeprefix("graph.") for op in module.main.body.walk() if op.name.startswith("graph."))
    sizes = sample_binding(module, preferred=1)
    return Summary(
        inputs=[Value(n, d, s) for n, (s, d) in zip(module.input_names, module.input_types, strict=True)],
        outputs=[Value(n, d, s) for n, (s, d) in zip(module.output_names, module.output_types, strict=True)],
        operators=dict(kinds.most_common()),
        parameters=sum(count for count, _ in weights),
        weight_bytes=sum(bytes for _, bytes in weights),
        flops=dims.evaluate(flops(module), sizes),
        sizes=sizes,
        symbols=dict(module.symbols),
        counted={name: str(most) for name, most in module.counted.items()},
        checks=[f"{check.lhs} = {check.rhs} ({check.message})" for check in module.checks],
    )


def _weights(module: Module) -> list[tuple[int, int]]:
    """(elements, bytes) of each weight that the module names; the store need not hold them."""
    found = {}
    for op in module.op.walk():
        if isinstance(op, WeightOp):
            count = math.prod(tensor_type(op.result).get_shape())
            found[op.weight_key] = count, count * itemsize(dtype_of(op.result))
    return list(found.values())


def headline(module: Module) -> str:
    """One line about a module: its file, ops, parameters, symbols."""
    weights = _weights(module)
    parts = [f"{sum(1 for op in module.op.walk() if op.name.startswith('graph.')):,} ops"]
    if weights:
        parts.append(f"{quantity(sum(count for count, _ in weights))} parameters")
    if module.symbols:
        parts.append(f"sizes {', '.join(map(symbol_text, module.symbols.items()))}")
    name = Path(module.source).name if module.source else "model"
    return f"{name}  {', '.join(parts)}"


def symbol_text(symbol: tuple[str, tuple[int, int | None]]) -> str:
    """N, or N in 1..32 where it is bounded."""
    name, (low, high) = symbol
    return name if (low, high) == (0, None) else f"{name} in {low}..{'' if high is None else high}"
