"""What runs a case: `make()` imports the engine and returns a Backend."""

import ctypes
import importlib
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from benchmarks.conformance.suite import Value, feeds


@dataclass(frozen=True)
class Backend:
    """`run(model, inputs)` gives the outputs in graph order; `refuses(error)` tells "unsupported" from a failure."""

    run: Callable[[onnx.ModelProto, list[Value]], list[Value]]
    refuses: Callable[[Exception], bool]


def import_package(name: str) -> None:
    """Import every module of a package now, so that forked children share them."""
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)


def mlc_backend(target: str = "cpu") -> Backend:
    import mlc
    from mlc.errors import UnsupportedOp

    import_package("mlc")

    def run(model: onnx.ModelProto, inputs: list[Value]) -> list[Value]:
        executable = mlc.compile(model, target=target, threads=1 if target == "cpu" else None)
        return list(executable.run(None, feeds(model, inputs)))

    return Backend(run, lambda error: isinstance(error, UnsupportedOp))


def interpreter_backend() -> Backend:
    """The imported module through mlc's reference interpreter: what fails here is the importer's or an operation's."""
    from mlc.errors import UnsupportedOp
    from mlc.frontends.onnx import load
    from mlc.ir.interpreter import run as interpret

    import_package("mlc.ir")
    import_package("mlc.frontends")

    def run(model: onnx.ModelProto, inputs: list[Value]) -> list[Value]:
        module = load(model)
        given = feeds(model, inputs)
        return list(interpret(module, [given[name] for name in module.input_names]))

    return Backend(run, lambda error: isinstance(error, UnsupportedOp))


def onnxruntime_backend() -> Backend:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    refusal = re.compile(
        r"NotImplemented|NOT_IMPLEMENTED|not implemented|un-?supported|not (yet |currently )?supported"
        r"|Could not find an implementation|is not a registered|is under development|No opset import|not available for",
        re.IGNORECASE,
    )

    def run(model: onnx.ModelProto, inputs: list[Value]) -> list[Value]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        given = feeds(model, inputs)
        tensors = [value for value in [*model.graph.input, *model.graph.output] if value.type.HasField("tensor_type")]
        if all(_numpy_has(value.type.tensor_type.elem_type) for value in tensors):
            return session.run(None, given)
        declared = {value.name: value for value in model.graph.input}
        values = {name: _to_ort(declared[name], value) for name, value in given.items()}
        outputs = session.run_with_ort_values([item.name for item in session.get_outputs()], values)
        return [_from_ort(info, value) for info, value in zip(model.graph.output, outputs, strict=True)]

    return Backend(run, lambda error: bool(refusal.search(f"{type(error).__name__}: {error}")))


def reference_backend() -> Backend:
    from onnx.reference import ReferenceEvaluator

    def run(model: onnx.ModelProto, inputs: list[Value]) -> list[Value]:
        return list(ReferenceEvaluator(model).run(None, feeds(model, inputs)))

    return Backend(run, lambda error: isinstance(error, NotImplementedError))


BACKENDS: dict[str, Callable[[], Backend]] = {
    "mlc": mlc_backend,
    "cuda-on-cpu": lambda: mlc_backend("cuda-on-cpu"),  # CUDA C, executed by mlc.testing
    "interpreter": interpreter_backend,
    "onnxruntime": onnxruntime_backend,
    "reference": reference_backend,
}


def resolve(name: str) -> Backend:
    """A name of BACKENDS, or module:function with function(model, inputs) -> outputs that raises NotImplementedError."""
    if name in BACKENDS:
        return BACKENDS[name]()
    module, _, function = name.partition(":")
    if not function:
        raise SystemExit(f"unknown backend {name!r}: one of {', '.join(BACKENDS)} or module:function")
    run = getattr(importlib.import_module(module), function)
    return Backend(run, lambda error: isinstance(error, NotImplementedError))


def _numpy_has(element: int) -> bool:
    """False for bfloat16, float8, int4 and the like, whose dtypes come from ml_dtypes."""
    return element == 0 or onnx.helper.tensor_dtype_to_np_dtype(element).type.__module__ == "numpy"


def _to_ort(info: onnx.ValueInfoProto, value: Value) -> Value:
    """An OrtValue of the declared type; types that NumPy lacks are copied byte by byte."""
    import onnxruntime

    if isinstance(value, list | tuple) or value is None:
        return value
    element = info.type.tensor_type.elem_type
    if _numpy_has(element):
        return onnxruntime.OrtValue.ortvalue_from_numpy(value)
    raw = onnx.numpy_helper.from_array(value).raw_data
    result = onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(value.shape), element)
    ctypes.memmove(result.data_ptr(), raw, len(raw))
    return result


def _from_ort(info: onnx.ValueInfoProto, value: Value) -> Value:
    element = info.type.tensor_type.elem_type if info.type.HasField("tensor_type") else 0
    if not value.is_tensor() or _numpy_has(element):
        return value.numpy() if value.has_value() else None
    shape = list(value.shape())
    name = onnx.TensorProto.DataType.Name(element)
    bits = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}.get(name, 0)
    size = int(np.prod(shape))
    count = -(-size * bits // 8) if bits else size * onnx.helper.tensor_dtype_to_np_dtype(element).itemsize
    raw = ctypes.string_at(value.data_ptr(), count)
    return onnx.numpy_helper.to_array(onnx.TensorProto(data_type=element, dims=shape, raw_data=raw))
