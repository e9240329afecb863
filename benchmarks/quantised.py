"""Quantised products and models beside onnxruntime, in turns within one process.

    python -m benchmarks.quantised                      six operators, ResNet-18 and BERT; 1 and 2 threads
    python -m benchmarks.quantised --only QLinearConv resnet18 --threads 1 --rounds 5

Operators are models of one node, or three where operands are dequantised first; ResNet-18 is quantised statically (u8 activations, i8 weights
per channel, as DequantizeLinear and QuantizeLinear), BERT dynamically, both by onnxruntime's quantiser from the files that `python -m
benchmarks.models` exports. With one thread processor time counts, so that other programs count for little; with more the clock on the wall.
The error is the largest difference to onnxruntime's result: in steps of quantisation, or of models relative to the largest value.
The table goes to benchmarks/results/<cpu>/.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.engines import ENGINES, Feeds
from benchmarks.measure import in_turns, signature_of
from benchmarks.models import BUILD
from benchmarks.run import RESULTS, machine, markdown

PRODUCTS = ((1, 768, 3072), (128, 768, 768), (128, 768, 3072), (128, 3072, 768), (512, 512, 512))
# Height and width, input channels, output channels, window, groups.
CONVOLUTIONS = (
    (56, 64, 64, 3, 1),
    (28, 128, 128, 3, 1),
    (14, 256, 256, 3, 1),
    (56, 64, 256, 1, 1),
    (56, 32, 32, 3, 32),
)
TYPES = {"u8": (np.uint8, TensorProto.UINT8), "i8": (np.int8, TensorProto.INT8)}
X_ZERO, Y_ZERO = np.uint8(119), np.uint8(7)


@dataclass
class Case:
    """A file to write into a folder, and what it is called with."""

    name: str
    sizes: str
    write: Callable[[Path], tuple[Path, Feeds]]
    is_model: bool = False


def _bytes(dtype: str, *shape: int) -> np.ndarray:
    kind, _ = TYPES[dtype]
    low, high = (0, 256) if dtype == "u8" else (-128, 128)
    return np.random.default_rng(shape).integers(low, high, shape).astype(kind)


def _save(
    path: Path, nodes: Sequence[onnx.NodeProto], x: np.ndarray, out: int, known: dict[str, Any]
) -> tuple[Path, Feeds]:
    inputs = [helper.make_tensor_value_info("x", TensorProto.UINT8, x.shape)]
    used = {name for node in nodes for name in node.input}
    initializers = [numpy_helper.from_array(np.asarray(v), name) for name, v in known.items() if name in used]
    outputs = [helper.make_tensor_value_info("y", out, None)]
    graph = helper.make_graph(nodes, "quantised", inputs, outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path, {"x": x}


def _operator(kind: str, product: str, x: np.ndarray, w: np.ndarray, depth: int, axis: int, path: Path, **attributes: Any) -> tuple[Path, Feeds]:  # fmt: skip
    """The product as an operator on integers, on quantised tensors, or of dequantised ones. Weights have a scale per index of `axis`."""
    channels = w.shape[axis]
    scale = np.linspace(0.002, 0.01, channels, dtype=np.float32)
    known: dict[str, Any] = {
        "w": w, "x_zero": X_ZERO, "w_zero": np.zeros(channels, np.int8), "one_zero": np.int8(0), "x_scale": np.float32(0.02),
        "w_scale": scale, "y_scale": np.float32(0.01 * depth**0.5), "y_zero": Y_ZERO,
    }  # fmt: skip
    make = helper.make_node
    if kind == "integer":
        node = make(f"{product}Integer", ["x", "w", "x_zero", "one_zero"], ["y"], **attributes)
        return _save(path, [node], x, TensorProto.INT32, known)
    if kind == "quantised":
        names = ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero"]
        return _save(path, [make(f"QLinear{product}", names, ["y"], **attributes)], x, TensorProto.UINT8, known)
    nodes = [
        make("DequantizeLinear", ["x", "x_scale", "x_zero"], ["real_x"]),
        make("DequantizeLinear", ["w", "w_scale", "w_zero"], ["real_w"], axis=axis),
        make(product, ["real_x", "real_w"], ["real_y"], **attributes),
        make("QuantizeLinear", ["real_y", "y_scale", "y_zero"], ["y"]),
    ]
    return _save(path, nodes, x, TensorProto.UINT8, known)


def product(kind: str, m: int, k: int, n: int) -> Callable[[Path], tuple[Path, Feeds]]:
    x, w = _bytes("u8", m, k), _bytes("i8", k, n)
    return lambda folder: _operator(kind, "MatMul", x, w, k, 1, folder / "product.onnx")


def convolution(kind: str, size: int, c: int, o: int, window: int, groups: int) -> Callable[[Path], tuple[Path, Feeds]]:
    x, w = _bytes("u8", 1, c, size, size), _bytes("i8", o, c // groups, window, window)
    attributes = {"kernel_shape": [window] * 2, "pads": [window // 2] * 4, "group": groups}
    depth = c // groups * window**2
    return lambda folder: _operator(kind, "Conv", x, w, depth, 0, folder / "conv.onnx", **attributes)


def resnet(folder: Path) -> tuple[Path, Feeds]:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source = BUILD / "resnet18.dynamo.onnx"
    feeds = signature_of(source).feeds()

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter([feeds])

        def get_next(self) -> Feeds | None:
            return next(self.left, None)

    prepared, path = folder / "prepared.onnx", folder / "resnet18.onnx"
    quant_pre_process(str(source), str(prepared))
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(prepared), str(path), Images(), quant_format=QuantFormat.QDQ, per_channel=True, **kinds)
    return path, feeds


def bert(folder: Path) -> tuple[Path, Feeds]:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, path = BUILD / "bert.dynamo.onnx", folder / "bert.onnx"
    quantize_dynamic(str(source), str(path), weight_type=QuantType.QInt8)
    return path, signature_of(source).feeds()


def cases() -> Iterator[Case]:
    for name, kind in (("MatMulInteger", "integer"), ("QLinearMatMul", "quantised"), ("QDQ MatMul", "dequantised")):
        for m, k, n in PRODUCTS:
            yield Case(name, f"{m} x {k} x {n}", product(kind, m, k, n))
    for name, kind in (("ConvInteger", "integer"), ("QLinearConv", "quantised"), ("QDQ Conv", "dequantised")):
        for layer in CONVOLUTIONS:
            size, c, o, window, groups = layer
            text = f"{size}x{size}x{c} -> {o}, {window}x{window}" + (f", {groups} groups" if groups > 1 else "")
            yield Case(name, text, convolution(kind, *layer))
    yield Case("resnet18", "static, QDQ", resnet, True)
    yield Case("bert", "dynamic", bert, True)


def error(found: list[np.ndarray], wanted: list[np.ndarray], relative: bool) -> float:
    pairs = [(np.asarray(x).astype(np.float64), y.astype(np.float64)) for x, y in zip(found, wanted, strict=True)]
    return max(float(np.max(np.abs(x - y))) / (float(np.max(np.abs(y))) if relative else 1) for x, y in pairs)


def measure(case: Case, threads: Sequence[int], rounds: int, seconds: float) -> list[str]:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        path, feeds = case.write(Path(folder))
        line, errors = [case.name, case.sizes], []
        for count in threads:
            runs = {engine: ENGINES[engine](path, count)(feeds) for engine in ("mlc", "onnxruntime")}
            errors.append(error(*(run() for run in runs.values()), case.is_model))  # type: ignore[arg-type]
            clock = time.process_time if count == 1 else time.perf_counter
            times = in_turns(runs, rounds, seconds, clock)
            own, other = (times[engine]["median_ms"] for engine in runs)
            line += [f"{own:.3f}", f"{other:.3f}", f"{other / own:.2f}"]
        return [*line, f"{max(errors):.1e}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="rows of these names")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.1, help="of a turn")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the table")
    args = parser.parse_args()
    found = [case for case in cases() if not args.only or case.name in args.only]
    heads = ["product", "sizes", *(h for n in args.threads for h in (f"mlc (ms), {n} T", "onnxruntime (ms)", "ratio"))]
    lines = []
    for number, case in enumerate(found):
        print(f"\r{number + 1} of {len(found)}: {case.name} {case.sizes}          ", end="", flush=True)
        lines.append(measure(case, args.threads, args.rounds, args.seconds))
    text = f"{machine()}; load {os.getloadavg()[0]:.1f}\n\n" + markdown([*heads, "error"], lines)
    print("\n" + text)
    if not args.only:
        args.results.mkdir(parents=True, exist_ok=True)
        (args.results / "quantised.md").write_text(text)


if __name__ == "__main__":
    main()
