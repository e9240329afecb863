"""What a model holds, without compiling it: sizes, operators, parameters, work. The figures behind `mlc check`."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mlc.insight.cost import flops
from mlc.insight.text import quantity
from mlc.ir import dims
from mlc.ir.module import Module
from mlc.ir.samples import sample_binding
from mlc.ir.types import Shape, dtype_of, shape_of, shape_text


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
    checks: list[str]


def summary(module: Module) -> Summary:
    """Counts of what @main holds; weights that it does not name are left out."""
    used = [op.weight_key for op in module.op.walk() if op.name == "graph.weight"]  # type: ignore[attr-defined]
    kinds = Counter(op.name.removeprefix("graph.") for op in module.main.body.walk() if op.name.startswith("graph."))
    sizes = sample_binding(module, preferred=1)
    results = module.main.get_return_op()
    assert results is not None
    return Summary(
        inputs=[Value(n, d, s) for n, (s, d) in zip(module.input_names, module.input_types, strict=True)],
        outputs=[
            Value(n, dtype_of(v), shape_of(v)) for n, v in zip(module.output_names, results.operands, strict=True)
        ],
        operators=dict(kinds.most_common()),
        parameters=sum(_count(module, key) for key in dict.fromkeys(used)),
        weight_bytes=sum(module.weights.nbytes(key) for key in dict.fromkeys(used)),
        flops=dims.evaluate(flops(module), sizes),
        sizes=sizes,
        symbols=dict(module.symbols),
        checks=[f"{check.lhs} = {check.rhs} ({check.message})" for check in module.checks],
    )


def _count(module: Module, key: str) -> int:
    shape, _ = module.weights.type_of(key)
    return math.prod(shape)


def headline(module: Module) -> str:
    """One line about a module: its file, ops, parameters, symbols."""
    found = [op for op in module.op.walk() if op.name == "graph.weight"]
    keys = dict.fromkeys(op.weight_key for op in found)  # type: ignore[attr-defined]
    parts = [f"{sum(1 for op in module.op.walk() if op.name.startswith('graph.')):,} ops"]
    if keys:
        parts.append(f"{quantity(sum(_count(module, key) for key in keys))} parameters")
    if module.symbols:
        parts.append(f"sizes {', '.join(map(symbol_text, module.symbols.items()))}")
    name = Path(module.source).name if module.source else "model"
    return f"{name}  {', '.join(parts)}"


def symbol_text(symbol: tuple[str, tuple[int, int | None]]) -> str:
    """N, or N in 1..32 where it is bounded."""
    name, (low, high) = symbol
    return name if (low, high) == (0, None) else f"{name} in {low}..{'' if high is None else high}"
