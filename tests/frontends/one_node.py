"""A model of one ONNX node, run by the reference interpreter and by onnxruntime on the same arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime

import mlc
from mlc.frontends.onnx import load
from mlc.ir import interpreter
from mlc.ir.module import Module

Arrays = Sequence[np.ndarray | None]


def model(
    op_type: str,
    inputs: Arrays,
    *,
    opset: int,
    version: int = 1,
    outputs: int | Sequence[str] = 1,
    constants: Sequence[int] = (),
    shapes: Mapping[int, Sequence[int | str]] | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """Inputs are called x0, x1, ...; those in `constants` are initializers, `shapes` replaces the declared shape of some.

    `outputs` are names or their number; "" leaves one out. `version` is that of another `domain`.
    """
    results = [f"y{i}" for i in range(outputs)] if isinstance(outputs, int) else list(outputs)
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    node = onnx.helper.make_node(op_type, names, results, name="node", **attributes)
    given = [(i, names[i], x) for i, x in enumerate(inputs) if x is not None]
    graph = onnx.helper.make_graph(
        [node],
        "graph",
        [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(x.dtype), (shapes or {}).get(i, x.shape)
            )
            for i, name, x in given
            if i not in constants
        ],
        [onnx.ValueInfoProto(name=name) for name in results if name],
        [onnx.numpy_helper.from_array(x, name) for i, name, x in given if i in constants],
    )
    imports = [onnx.helper.make_opsetid("", opset)]
    if domain := attributes.get("domain"):
        imports.append(onnx.helper.make_opsetid(domain, version))
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=10)


def interpreted(proto: onnx.ModelProto, inputs: Arrays) -> list[np.ndarray]:
    return run(load(proto), inputs)


def run(module: Module, inputs: Arrays) -> list[np.ndarray]:
    return interpreter.run(module, [np.asarray(inputs[int(name[1:])]) for name in module.input_names])


def compiled(proto: onnx.ModelProto, inputs: Arrays) -> list[np.ndarray]:
    """By native code of one thread."""
    exe = mlc.compile(proto, threads=1)
    return exe.run(None, {i.name: inputs[int(i.name[1:])] for i in exe.get_inputs()})


def reference(proto: onnx.ModelProto, inputs: Arrays) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1  # more split a batch before they quantise its states
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(with_output_types(proto), options, providers=["CPUExecutionProvider"])
    feeds = {i.name: inputs[int(i.name[1:])] for i in session.get_inputs()}
    return session.run(None, feeds)


def with_output_types(proto: onnx.ModelProto) -> bytes:
    """onnxruntime wants the outputs' types declared, which shape inference supplies."""
    inferred = onnx.shape_inference.infer_shapes(proto)
    return inferred.SerializeToString()


def assert_same(found: Sequence[np.ndarray], expected: Sequence[np.ndarray], rtol: float, atol: float) -> None:
    assert len(found) == len(expected)
    for number, (x, y) in enumerate(zip(found, expected, strict=True)):
        assert (x.dtype, x.shape) == (y.dtype, y.shape), f"output {number}"
        if x.dtype.kind == "f":
            x, y = x.astype(np.float64), y.astype(np.float64)
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol, err_msg=f"output {number}")


def check(op_type: str, inputs: Arrays, *, opset: int, rtol: float = 1e-5, atol: float = 1e-5, **given: Any) -> None:
    """The interpreter's results have the types and values of onnxruntime's."""
    proto = model(op_type, inputs, opset=opset, **given)
    assert_same(interpreted(proto, inputs), reference(proto, inputs), rtol, atol)


def normal(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(dtype)


def integers(low: int, high: int, *shape: int, seed: int = 0, dtype: Any = np.int64) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).integers(low, high, shape).astype(dtype)
