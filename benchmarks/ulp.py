"""The largest error of every unary f32 function, in units in the last place, beside NumPy, PyTorch and onnxruntime.

    python -m benchmarks.ulp                    every 251st of the 2^32 bit patterns: each binade in 33,421 places
    python -m benchmarks.ulp --stride 1 tanh    all of float32, one function

The reference is f64: NumPy's and the C library's functions, whose error of at most 4 ulp of f64 is 2^-27 of f32's. The error is |found - exact| by the
spacing of floats at the exact value. Results below 2e-38 are not counted: mlc may give 0 there. NaN and infinities must be where the reference,
rounded, has them: each one that is not counts as "wrong". An odd stride meets every last digit.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import erfc
from pathlib import Path
from typing import Any

import numpy as np
import onnx

CHUNK = 1 << 20
TINY = 2e-38  # what is smaller may be flushed to 0 and is not counted
Function = Callable[[np.ndarray], np.ndarray]


def c_library(name: str) -> Function:
    """A function of the C library on f64 arrays."""
    import torch

    function = getattr(torch.special if hasattr(torch.special, name) else torch, name)
    return lambda x: function(torch.from_numpy(x)).numpy()


# name -> f64 reference, as ONNX node (None: no such operator), name in NumPy, name in PyTorch
FUNCTIONS: dict[str, tuple[Function, tuple[str, int, dict[str, Any]], str | None, str | None]] = {
    "exp": (np.exp, ("Exp", 13, {}), "exp", "exp"),
    "log": (np.log, ("Log", 13, {}), "log", "log"),
    "sqrt": (np.sqrt, ("Sqrt", 13, {}), "sqrt", "sqrt"),
    "reciprocal": (lambda x: 1 / x, ("Reciprocal", 13, {}), "reciprocal", "reciprocal"),
    "sin": (np.sin, ("Sin", 13, {}), "sin", "sin"),
    "cos": (np.cos, ("Cos", 13, {}), "cos", "cos"),
    "tan": (np.tan, ("Tan", 13, {}), "tan", "tan"),
    "asin": (np.arcsin, ("Asin", 13, {}), "arcsin", "asin"),
    "acos": (np.arccos, ("Acos", 13, {}), "arccos", "acos"),
    "atan": (np.arctan, ("Atan", 13, {}), "arctan", "atan"),
    "sinh": (np.sinh, ("Sinh", 13, {}), "sinh", "sinh"),
    "cosh": (np.cosh, ("Cosh", 13, {}), "cosh", "cosh"),
    "tanh": (np.tanh, ("Tanh", 13, {}), "tanh", "tanh"),
    "asinh": (np.arcsinh, ("Asinh", 13, {}), "arcsinh", "asinh"),
    "acosh": (np.arccosh, ("Acosh", 13, {}), "arccosh", "acosh"),
    "atanh": (np.arctanh, ("Atanh", 13, {}), "arctanh", "atanh"),
    "erf": (c_library("erf"), ("Erf", 13, {}), None, "erf"),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), ("Sigmoid", 13, {}), None, "sigmoid"),
    "softplus": (lambda x: np.logaddexp(0, x), ("Softplus", 13, {}), None, None),
    "elu": (lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x), ("Elu", 13, {}), None, "nn.functional.elu"),
    "mish": (lambda x: x * np.tanh(np.logaddexp(0, x)), ("Mish", 18, {}), None, "nn.functional.mish"),
    "gelu": (lambda x: x / 2 * np.vectorize(erfc)(-x / 2**0.5), ("Gelu", 20, {}), None, "nn.functional.gelu"),
}  # fmt: skip


@dataclass
class Worst:
    """Of one function in one engine."""

    ulp: float = 0.0
    at: float = 0.0
    wrong: int = 0  # NaN or infinity where there is none, or none where there is

    def add(self, x: np.ndarray, found: np.ndarray, exact: np.ndarray) -> None:
        with np.errstate(all="ignore"):
            rounded = exact.astype(np.float32)
            fine = np.isfinite(rounded) & np.isfinite(found)
            special = ~fine & ~((np.isnan(rounded) & np.isnan(found)) | (rounded == found))
            # the largest float or infinity: either is the nearest there
            special &= ~(np.isinf(rounded) ^ np.isinf(found)) | (np.abs(exact) < 3.402823e38) | np.isinf(exact)
            fine &= np.abs(exact) >= TINY
            unit = np.spacing(np.abs(rounded[fine])).astype(np.float64)
            errors = np.abs(found[fine] - exact[fine]) / unit
        self.wrong += int(special.sum())
        if errors.size and errors.max() > self.ulp:
            self.ulp, self.at = float(errors.max()), float(x[fine][errors.argmax()])

    def __str__(self) -> str:
        return f"{self.ulp:.3g}" + (f" ({self.wrong} wrong)" if self.wrong else "")


def inputs(stride: int, offset: int) -> Iterator[np.ndarray]:
    """Every stride-th bit pattern of f32, in chunks of at most 2^20."""
    for start in range(offset, 1 << 32, CHUNK * stride):
        bits = np.arange(start, min(start + CHUNK * stride, 1 << 32), stride, dtype=np.uint64)
        yield bits.astype(np.uint32).view(np.float32)


def engines(name: str) -> dict[str, Function]:
    """What computes the function in f32: mlc, and what else has it."""
    import onnxruntime
    import torch

    import mlc

    _, (op_type, opset, attributes), numpy_name, torch_name = FUNCTIONS[name]
    of = [onnx.helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, ["N"]) for value in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node(op_type, ["x"], ["y"], **attributes)], "g", of[:1], of[1:])
    opsets = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    exe, session = mlc.compile(model), onnxruntime.InferenceSession(model)
    found: dict[str, Function] = {"mlc": lambda x: exe.run(None, {"x": x})[0]}
    if numpy_name is not None:
        found["NumPy"] = getattr(np, numpy_name)
    if torch_name is not None:
        function: Any = torch
        for part in torch_name.split("."):
            function = getattr(function, part)
        found["PyTorch"] = lambda x: function(torch.from_numpy(x)).numpy()
    found["onnxruntime"] = lambda x: session.run(None, {"x": x})[0]
    return found


def measure(name: str, stride: int, offset: int) -> dict[str, Worst]:
    run = engines(name)
    worst = {engine: Worst() for engine in run}
    with np.errstate(all="ignore"):
        for x in inputs(stride, offset):
            exact = FUNCTIONS[name][0](x.astype(np.float64))
            for engine, function in run.items():
                worst[engine].add(x, function(x.copy()), exact)
    return worst


def table(results: dict[str, dict[str, Worst]], stride: int, offset: int) -> str:
    count = len(range(offset, 1 << 32, stride))
    names = ["mlc", "NumPy", "PyTorch", "onnxruntime"]
    caption = (
        f"Largest error in ulp over {count:,} of the 2^32 bit patterns of float32 (step {stride} from {offset}), results below"
        f" {TINY:g} left out; in brackets how many NaN or infinities are wrong."
    )
    lines = [
        caption,
        "",
        f"| function | {' | '.join(names)} | mlc's largest at |",
        "| --- |" + " ---: |" * 5,
    ]
    for name, found in results.items():
        cells = [str(found[engine]) if engine in found else "" for engine in names]
        lines.append(f"| {name} | {' | '.join(cells)} | {found['mlc'].at:.9g} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("functions", nargs="*", metavar="FUNCTION", help=f"of {', '.join(FUNCTIONS)}; default: all")
    parser.add_argument("--stride", type=int, default=251)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--output", type=Path, help="file for the table")
    given = parser.parse_args()
    results = {}
    for name in given.functions or FUNCTIONS:
        if name not in FUNCTIONS:
            parser.error(f"no function '{name}'; there are {', '.join(FUNCTIONS)}")
        results[name] = measure(name, given.stride, given.offset)
        print(name, {engine: str(worst) for engine, worst in results[name].items()}, flush=True)
    text = table(results, given.stride, given.offset)
    print(text)
    if given.output:
        given.output.write_text(text)


if __name__ == "__main__":
    main()
