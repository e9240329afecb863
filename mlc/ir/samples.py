"""Arrays to run a module on: random inputs that fit its signature, under a binding of its symbols that its checks allow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlc.errors import ShapeError
from mlc.ir import dims
from mlc.ir.module import Module
from mlc.ir.types import is_float, numpy_dtype

_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)


def sample_binding(module: Module) -> dict[str, int]:
    """A small value for every symbol of the inputs: distinct ones where bounds and checks allow, else equal ones.

    Raises ShapeError where neither meets the module's checks.
    """
    symbols = sorted(
        {s for shape, _ in module.input_types for e in shape if isinstance(e, dims.Dim) for s in e.symbols()}
    )
    distinct = {s: _within(module, s, _PRIMES[i % len(_PRIMES)]) for i, s in enumerate(symbols)}
    equal = {s: _within(module, s, 3) for s in symbols}
    for binding in (distinct, equal):
        if all(dims.evaluate(c.lhs, binding) == dims.evaluate(c.rhs, binding) for c in module.checks):
            return binding
    raise ShapeError(
        f"no sample sizes found for {', '.join(symbols)} that meet the module's checks",
        remedy="Give inputs, or sizes for its dimensions.",
    )


def _within(module: Module, symbol: str, value: int) -> int:
    low, high = module.symbols.get(symbol, (0, None))
    value = max(value, low)
    return value if high is None else min(value, high)


def random_inputs(module: Module, binding: Mapping[str, int] | None = None, seed: int = 0) -> list[np.ndarray]:
    """One array per input: normal floats, integers of 0..9, fair bools. The same seed gives the same arrays."""
    rng = np.random.default_rng(seed)
    sizes = sample_binding(module) if binding is None else binding
    arrays = []
    for shape, dtype in module.input_types:
        found = tuple(dims.evaluate(e, sizes) for e in shape)
        if is_float(dtype):
            arrays.append(rng.standard_normal(found).astype(numpy_dtype(dtype)))
        else:
            arrays.append(rng.integers(0, 2 if dtype == "bool" else 10, found).astype(numpy_dtype(dtype)))
    return arrays
