"""Look for programs whose gradient is wrong.

    python -m benchmarks.random_gradients --count 1000
    python -m benchmarks.random_gradients --count 1 --seed 77       one program, shown

A program is 5 to 20 steps of functions of tensors, drawn by number, or (every third) a graph as benchmarks.random_programs draws it, imported
from ONNX. Its gradient in float64 is compared with central differences along random directions, and that of a drawn function with PyTorch's
where it is installed; so are its second derivatives, forward and reverse over reverse mode, with each other. Where differences of two widths,
or of both sides, disagree, the program has a kink at the point: PyTorch alone is asked then, as where it agrees on function and gradient.
Exit status 1 if any gradient is wrong.
"""

from __future__ import annotations

import argparse
import collections
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import mlc
import mlc.numpy as mnp
from benchmarks.random_programs.drawing import Unfit, draw, model_of

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

Function = Callable[..., Any]
STEP, TOLERANCE, ROUGH = 1e-5, 1e-6, 1e-3


def _rows(x: Any) -> Any:
    """Places that repeat, in the rows of x."""
    n = x.shape[0]
    return np.array([0, n - 1, n // 2, 0])


def _scanned(x: Any) -> Any:
    def step(state: Any, row: Any) -> Any:
        after = mnp.tanh(state + row)
        return after, after * row

    return mlc.scan(step, x[0] * 0.0, x)[1]


def _scanned_slowly(x: Any) -> Any:
    state, rows = x[0] * 0.0, []
    for row in x:
        state = torch.tanh(state + row)
        rows.append(state * row)
    return torch.stack(rows)


# name -> (how many operands, with mlc, with torch). Operands are matrices, and so are results.
STEPS: dict[str, tuple[int, Function, Function]] = {
    "tanh": (1, mnp.tanh, lambda x: torch.tanh(x)),
    "sin": (1, mnp.sin, lambda x: torch.sin(x)),
    "exp": (1, lambda x: mnp.exp(0.3 * mnp.tanh(x)), lambda x: torch.exp(0.3 * torch.tanh(x))),
    "sqrt": (1, lambda x: mnp.sqrt(x * x + 0.5), lambda x: torch.sqrt(x * x + 0.5)),
    "log1p": (1, lambda x: mnp.log1p(x**2), lambda x: torch.log1p(x**2)),
    "abs": (1, abs, abs),
    "clip": (1, lambda x: mnp.clip(x, -1, 1), lambda x: torch.clip(x, -1, 1)),
    "arctan2": (2, mnp.arctan2, lambda x, y: torch.atan2(x, y)),
    "hypot": (2, mnp.hypot, lambda x, y: torch.hypot(x, y)),
    "logaddexp": (2, mnp.logaddexp, lambda x, y: torch.logaddexp(x, y)),
    "add": (2, lambda x, y: x + y, lambda x, y: x + y),
    "subtract": (2, lambda x, y: x - y, lambda x, y: x - y),
    "multiply": (2, lambda x, y: x * mnp.tanh(y), lambda x, y: x * torch.tanh(y)),
    "divide": (2, lambda x, y: x / (1 + y * y), lambda x, y: x / (1 + y * y)),
    "maximum": (2, mnp.maximum, lambda x, y: torch.maximum(x, y)),
    "minimum": (2, mnp.minimum, lambda x, y: torch.minimum(x, y)),
    "where": (2, lambda x, y: mnp.where(x > 0.1, x, y), lambda x, y: torch.where(x > 0.1, x, y)),
    "matmul": (2, lambda x, y: x @ mnp.tanh(y.T) @ y / 4, lambda x, y: x @ torch.tanh(y.T) @ y / 4),
    "einsum": (2, lambda x, y: mnp.einsum("ij,kj->ik", x, y) @ y / 4, lambda x, y: torch.einsum("ij,kj->ik", x, y) @ y / 4),
    "mean": (1, lambda x: x - x.mean(0, keepdims=True), lambda x: x - x.mean(0, keepdims=True)),
    "sum": (1, lambda x: x * mnp.tanh(x.sum(1, keepdims=True)), lambda x: x * torch.tanh(x.sum(1, keepdims=True))),
    "max": (1, lambda x: x - x.max(1, keepdims=True), lambda x: x - x.amax(1, keepdim=True)),
    "min": (1, lambda x: x * x.min(0, keepdims=True), lambda x: x * x.amin(0, keepdim=True)),
    "prod": (1, lambda x: x + mnp.tanh(x).prod(0, keepdims=True), lambda x: x + torch.tanh(x).prod(0, keepdim=True)),
    "normalise": (1, lambda x: (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 0.5), lambda x: (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True, unbiased=False) + 0.5)),
    "softmax": (1, lambda x: mlc.nn.functional.softmax(x, 1), lambda x: torch.softmax(x, 1)),
    "logsumexp": (1, lambda x: x - mnp.logsumexp(x, 0, keepdims=True), lambda x: x - torch.logsumexp(x, 0, keepdim=True)),
    "cumsum": (1, lambda x: mnp.cumsum(x, 0) / 2, lambda x: torch.cumsum(x, 0) / 2),
    "cumprod": (1, lambda x: mnp.cumprod(mnp.tanh(x), 1), lambda x: torch.cumprod(torch.tanh(x), 1)),
    "sort": (1, lambda x: mnp.sort(x, 0), lambda x: torch.sort(x, dim=0, stable=True)[0]),
    "transpose": (1, lambda x: x.T, lambda x: x.T),
    "reshape": (1, lambda x: mnp.sin(x.reshape(-1)).reshape(x.shape), lambda x: torch.sin(x.reshape(-1)).reshape(x.shape)),
    "flip": (1, lambda x: x[::-1], lambda x: torch.flip(x, [0])),
    "slice": (1, lambda x: x[1:] if x.shape[0] > 1 else x, lambda x: x[1:] if x.shape[0] > 1 else x),
    "pad": (1, lambda x: mnp.pad(x, ((1, 0), (0, 1))), lambda x: torch.nn.functional.pad(x, (0, 1, 1, 0))),
    "concatenate": (1, lambda x: mnp.concatenate([x, mnp.cos(x)], 1), lambda x: torch.cat([x, torch.cos(x)], 1)),
    "take": (1, lambda x: mnp.take(x, _rows(x), 0), lambda x: x[torch.from_numpy(_rows(x))]),
    "at": (1, lambda x: x.at[_rows(x)].add(mnp.sin(x[_rows(x)])), lambda x: x.index_add(0, torch.from_numpy(_rows(x)), torch.sin(x[torch.from_numpy(_rows(x))]))),
    "scan": (1, _scanned, _scanned_slowly),
    "cond": (1, lambda x: mlc.cond(x.sum() > 0.3, lambda x: mnp.tanh(x) * x, lambda x: x * 0.5, x), lambda x: torch.tanh(x) * x if x.sum() > 0.3 else x * 0.5),
    "checkpoint": (1, mlc.checkpoint(lambda x: mnp.sin(x) * x), lambda x: torch.sin(x) * x),
}  # fmt: skip
GROWS = ("concatenate", "pad")


@dataclass(frozen=True)
class Program:
    """Steps over values: first the inputs, then each step's result. The loss sums up what nothing reads."""

    shapes: tuple[tuple[int, int], ...]
    steps: tuple[tuple[str, tuple[int, ...]], ...]

    def __call__(self, inputs: Sequence[Any], side: int) -> Any:
        """The loss, with mlc (side 1) or torch (side 2)."""
        values = list(inputs)
        for name, operands in self.steps:
            values.append(STEPS[name][side](*_fitting([values[n] for n in operands])))
        read = {n for _, operands in self.steps for n in operands}
        left = [v for n, v in enumerate(values) if n not in read]
        total = left[0].mean()
        for v in left[1:]:
            total = total + (v * v).mean()
        return total


def _fitting(operands: list[Any]) -> list[Any]:
    """A second operand of another shape is replaced by its mean."""
    if len(operands) == 2 and operands[0].shape != operands[1].shape:
        return [operands[0], operands[0] * 0.5 + operands[1].mean()]
    return operands


def drawn(seed: int) -> Program:
    """Program number `seed`."""
    r = random.Random(seed)
    shape = (r.choice([1, 2, 3, 4]), r.choice([1, 2, 3, 5]))
    shapes = tuple(shape if r.random() < 0.7 else shape[::-1] for _ in range(r.choice([1, 2, 2, 3])))
    steps: list[tuple[str, tuple[int, ...]]] = []
    for _ in range(r.randint(5, 20)):
        name = r.choice(list(STEPS))
        if name in GROWS and sum(step[0] in GROWS for step in steps) > 2:
            continue
        count = len(shapes) + len(steps)
        steps.append((name, tuple(max(0, count - 1 - int(r.expovariate(0.7))) for _ in range(STEPS[name][0]))))
    return Program(shapes, tuple(steps))


def compared(
    value: Callable[[list[np.ndarray]], float], point: list[np.ndarray], gradient: list[np.ndarray], seed: int
) -> str:
    """ "right", "wrong" or "kink", by differences along two directions."""
    rng = np.random.default_rng(seed)
    for _ in range(2):
        v = [rng.standard_normal(x.shape) for x in point]
        length = np.sqrt(sum(float((part * part).sum()) for part in v)) or 1.0
        v = [part / length for part in v]
        far2, far1, here, near1, near2 = (
            value([x + k * STEP * part for x, part in zip(point, v, strict=True)]) for k in (-2, -1, 0, 1, 2)
        )
        narrow, wide = (near1 - far1) / (2 * STEP), (near2 - far2) / (4 * STEP)
        terms = [float((d * part).sum()) for d, part in zip(gradient, v, strict=True)]
        scale = max(1.0, abs(narrow), sum(float(np.abs(d * part).sum()) for d, part in zip(gradient, v, strict=True)))
        if not max(abs(narrow - wide), abs((near1 - here) - (here - far1)) / STEP) <= ROUGH * scale:
            return "kink"
        if not abs(sum(terms) - (4 * narrow - wide) / 3) <= TOLERANCE * scale + 1e-10 * abs(here) / STEP:
            # a sine of 1e9 turns often within a step: then differences contradict each other, too
            return "wrong" if abs(narrow - wide) <= ROUGH * max(1.0, abs(narrow), abs(wide)) else "kink"
    return "right"


def of_function(seed: int) -> tuple[str, str]:
    """(verdict, text) of a drawn function."""
    program, rng = drawn(seed), np.random.default_rng(seed)
    point = [rng.standard_normal(shape) for shape in program.shapes]
    with np.errstate(all="ignore"):
        loss = lambda *xs: program(xs, 1)
        gradient = [np.asarray(d) for d in mlc.grad(loss, range(len(point)))(*point)]
        verdict = compared(lambda xs: float(program([mlc.Tensor(x) for x in xs], 1)), point, gradient, seed)
    if verdict == "right" and not _second_orders_agree(loss, point, rng):
        verdict = "wrong"
    if torch is not None:
        tensors = [torch.tensor(x, requires_grad=True) for x in point]
        total = program(tensors, 2)
        total.backward()
        theirs = [np.zeros(x.shape) if t.grad is None else t.grad.numpy() for t, x in zip(tensors, point, strict=True)]
        if all(np.isfinite(d).all() for d in theirs):  # hypot of two zeros has none in PyTorch
            same = all(_near(a, b) for a, b in zip(gradient, theirs, strict=True))
            if (
                same
                and verdict == "wrong"
                and _near(np.asarray(loss(*map(mlc.Tensor, point))), np.asarray(total.item()))
            ):
                verdict = "kink"  # arctan2 within 1e-15 of the origin: nothing that a step of differences sees
            same = same or within_rounding(
                gradient, theirs, lambda xs: [np.asarray(d) for d in mlc.grad(loss, range(len(xs)))(*xs)], point, rng
            )
            verdict = "wrong" if not same else "right" if verdict == "kink" else verdict
    return verdict, repr(program)


def _second_orders_agree(loss: Function, point: list[np.ndarray], rng: np.random.Generator) -> bool:
    """The Hessian times a direction, by forward over reverse mode and by reverse over reverse."""
    v, every = [rng.standard_normal(x.shape) for x in point], range(len(point))
    gradient = mlc.grad(loss, every)

    def along(*xs: Any) -> Any:
        return sum((d * part).sum() for d, part in zip(gradient(*xs), v, strict=True))

    pushed, pulled = mlc.jvp(gradient, point, v)[1], mlc.grad(along, every)(*point)
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(pushed, pulled, strict=True)]
    return all(
        np.allclose(a, b, rtol=1e-7, atol=1e-8 * (1 + np.abs(b).max(initial=0)), equal_nan=True) for a, b in pairs
    )


def within_rounding(
    found: list[np.ndarray],
    expected: list[np.ndarray],
    gradient: Callable[[list[np.ndarray]], list[np.ndarray]],
    point: list[np.ndarray],
    rng: np.random.Generator,
) -> bool:
    """Are two gradients no further apart than changes of the inputs' last bits move one of them (a stochastic estimate of rounding, CESTAC)?
    A loss of 1e11 whose gradient is 1 has no digits to compare below 1e-5."""
    moved = 0.0
    for _ in range(8):
        shaken = [np.nextafter(x, np.where(rng.random(x.shape) < 0.5, -np.inf, np.inf)) for x in point]
        moved = max(moved, *(np.abs(a - b).max(initial=0) for a, b in zip(gradient(shaken), found, strict=True)))
    return all(np.abs(a - b).max(initial=0) <= 4 * moved for a, b in zip(found, expected, strict=True))


def _near(found: np.ndarray, expected: np.ndarray) -> bool:
    return np.allclose(found, expected, rtol=1e-9, atol=1e-11 + 1e-9 * np.abs(expected).max(initial=0))


def of_model(seed: int) -> tuple[str, str]:
    """(verdict, text) of a graph that is drawn as an ONNX model, in float64."""
    program = draw(seed)
    if not program.floats:
        return "no floats", ""
    try:
        module = mlc.load(model_of(program, "f64").SerializeToString())
    except Unfit:
        return "no floats", ""
    except mlc.ShapeError as error:  # a window larger than its axis
        return "refused", str(error)
    total = summed(module)
    rng = np.random.default_rng(seed)
    size = max(program.sizes)
    point = [rng.standard_normal([size if e == "N" else e for e in shape]) for shape in program.shapes]
    try:
        gradient = mlc.grad(total, wrt=";".join(module.input_names)).run(*point)[1:]
    except mlc.NoDerivative as error:
        return "no derivative", str(error)
    with np.errstate(all="ignore"):
        value = lambda xs: float(total.run(*xs)[0])
        if not np.isfinite(value(point)) or not all(np.isfinite(d).all() for d in gradient):
            return "not finite", ""
        return compared(value, point, gradient, seed), program.text()


def summed(module: Any) -> Any:
    """The module with the mean of all float outputs' sines as its one output."""
    from mlc.ir import builder as g
    from mlc.ir.types import dtype_of

    m = g.module_builder("main", module.weights)
    inputs = [(name, shape, dtype) for name, (shape, dtype) in zip(module.input_names, module.input_types, strict=True)]
    with m.function(inputs) as values:
        from mlc.ir.graph.control import inlined

        found = inlined(module.main.body.block, values)
        total = g.full((), 0, "f64")
        for y in found:
            if dtype_of(y) == "f64":
                total = g.add(total, g.reduce(g.sin(y), None, "sum"))
        m.outputs([("total", total)])
    result = m.finish()
    result.checks = list(module.checks)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.random_gradients", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    counts: collections.Counter[str] = collections.Counter()
    for seed in range(args.seed, args.seed + args.count):
        verdict, text = of_model(seed) if seed % 3 == 2 else of_function(seed)
        counts[verdict] += 1
        if verdict == "wrong" or args.count == 1:
            print(f"program {seed}: {verdict}: {text}", flush=True)
    print(f"{args.count} programs: " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items())))
    return int(counts["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
