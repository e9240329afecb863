"""What an operation on a tensor costs beside the work itself: `python -m benchmarks.eager`.

Microseconds per call on small operands, of NumPy, of mlc at once and of PyTorch where it is installed, in turns in one process; the least of the
turns, for what a busy machine adds is never negative. `over` is what mlc takes longer than NumPy. Below: composites through the interpreter.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from timeit import timeit
from typing import Any

import numpy as np

import mlc.numpy as mnp
from mlc import Tensor
from mlc.ir import builder as g
from mlc.ir.interpreter import run

MOST_OVER = 1.5  # us that an addition may take longer than NumPy's
MOST_BACKWARD = 9.0  # us of a product, there and back
MOST_COMPOSITE = 60.0  # us of a softmax or layer normalisation of 8 x 16 by the interpreter

Call = Callable[[], object]


def calls() -> dict[str, dict[str, Call]]:
    """Operation -> engine -> the call."""
    x, y, m = np.ones(8), np.ones(8), np.ones((8, 8))
    t, u, n = Tensor(x), Tensor(y), Tensor(m)
    rows: dict[str, dict[str, Call]] = {
        "x + y": {"numpy": lambda: x + y, "mlc": lambda: t + u},
        "x * 2.0": {"numpy": lambda: x * 2.0, "mlc": lambda: t * 2.0},
        "m + y": {"numpy": lambda: m + y, "mlc": lambda: n + u},
        "sin(x)": {"numpy": lambda: np.sin(x), "mlc": lambda: mnp.sin(t)},
        "numpy.sin(x)": {"numpy": lambda: np.sin(x), "mlc": lambda: np.sin(t)},
        "m @ m": {"numpy": lambda: m @ m, "mlc": lambda: n @ n},
        "m.sum(0)": {"numpy": lambda: m.sum(0), "mlc": lambda: n.sum(0)},
        "m[0]": {"numpy": lambda: m[0], "mlc": lambda: n[0]},
        "m.reshape(4, 16)": {"numpy": lambda: m.reshape(4, 16), "mlc": lambda: n.reshape(4, 16)},
    }
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)
        a, b, c = torch.ones(8), torch.ones(8), torch.ones(8, 8)
        for name, call in zip(
            rows,
            (
                lambda: a + b,
                lambda: a * 2.0,
                lambda: c + b,
                lambda: torch.sin(a),
                lambda: torch.sin(a),
                lambda: c @ c,
                lambda: c.sum(0),
                lambda: c[0],
                lambda: c.reshape(4, 16),
            ),
            strict=True,
        ):
            rows[name]["torch"] = call
    return rows


LINKS = 50  # products in a chain that is walked back


def backward() -> dict[str, dict[str, Call]]:
    """A chain of products forward and backward."""

    def chain(x: Any, y: Any) -> None:
        found = x
        for _ in range(LINKS):
            found = found * y
        found.sum().backward()

    x, y = Tensor(np.ones(8), requires_grad=True), Tensor(np.ones(8))
    row: dict[str, Call] = {"mlc": lambda: chain(x, y)}
    if importlib.util.find_spec("torch") is not None:
        import torch

        a, b = torch.ones(8, requires_grad=True), torch.ones(8)
        row["torch"] = lambda: chain(a, b)
    return {"x * y, and back": row}


def composites() -> dict[str, dict[str, Call]]:
    found: dict[str, dict[str, Call]] = {}
    for name in ("softmax", "layer_norm"):
        made = g.module_builder(name)
        with made.function([("x", (8, 16), "f32")]) as (x,):
            made.outputs([("y", g.softmax(x) if name == "softmax" else g.layer_norm(x, None, None, [1]))])
        module, data = made.finish(), np.ones((8, 16), np.float32)
        found[name] = {"interpreter": lambda module=module, data=data: run(module, [data])}  # type: ignore[misc]
    return found


def measured(rows: dict[str, dict[str, Call]], turns: int, count: int) -> dict[str, dict[str, float]]:
    """Microseconds per call, the least of the turns."""
    found: dict[str, dict[str, float]] = {name: {} for name in rows}
    for _ in range(turns):
        for name, engines in rows.items():
            for engine, call in engines.items():
                took = 1e6 * timeit(call, number=count) / count
                found[name][engine] = min(took, found[name].get(engine, took))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--count", type=int, default=200, help="calls in a turn")
    options = parser.parse_args()
    found = measured(calls(), options.turns, options.count)
    engines = list(dict.fromkeys(engine for row in found.values() for engine in row))
    print(f"{'us per call':18}" + "".join(f"{engine:>9}" for engine in engines) + f"{'over':>9}")
    for name, row in found.items():
        cells = "".join(f"{row[engine]:9.2f}" for engine in engines)
        print(f"{name:18}{cells}{row['mlc'] - row['numpy']:9.2f}")
    row = measured(backward(), options.turns, max(1, options.count // LINKS))["x * y, and back"]
    per_op = {engine: took / (LINKS + 1) for engine, took in row.items()}
    print(f"{'x * y, and back':18}{'':9}" + "".join(f"{took:9.2f}" for took in per_op.values()))
    whole = measured(composites(), 10 * options.turns, max(1, options.count // 20))
    for name, row in whole.items():
        print(f"{name:18}{row['interpreter']:9.1f}  by the interpreter")
    slow = [name for name, row in whole.items() if row["interpreter"] > MOST_COMPOSITE]
    if found["x + y"]["mlc"] - found["x + y"]["numpy"] > MOST_OVER:
        slow.append("x + y")
    if per_op["mlc"] > MOST_BACKWARD:
        slow.append("x * y, and back")
    if slow:
        print(f"over the limit: {', '.join(slow)}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
