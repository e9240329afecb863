"""mlc: a machine-learning compiler. ONNX models go in, native code comes out, every step between can be printed and run.

    import mlc
    exe = mlc.compile("model.onnx", target="cpu")
    outputs = exe.run(None, {"x": x})

Public names are found on first use, so that `import mlc` loads none of the stages nor the libraries they stand on.
"""

import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
BEGAN = time.time()  # when the first of these files was imported: those that change later may not be what runs

if TYPE_CHECKING:
    from mlc import data, dist, nn, numpy, optim, random, tree
    from mlc.backends import Backend, register_backend
    from mlc.comparison import compare
    from mlc.compiler import compile, load, load_executable
    from mlc.custom_derivative import checkpoint, custom_jvp, custom_vjp, stop_gradient
    from mlc.differentiation import grad, hvp, jvp, value_and_grad, vjp
    from mlc.errors import (
        DTypeError,
        InternalError,
        InvalidModel,
        MlcError,
        NoDerivative,
        NumericMismatch,
        OutOfRange,
        ShapeError,
        TargetUnavailable,
        UnsupportedOp,
    )
    from mlc.extensions import load_extension
    from mlc.frontends.onnx.table import handles
    from mlc.frontends.trace.control_flow import cond, scan, while_loop
    from mlc.frontends.trace.tape import enable_grad, no_grad
    from mlc.frontends.trace.traced import TensorSpec, dim
    from mlc.gradient_check import check_grads
    from mlc.ir.module import Module, register_op
    from mlc.jacobians import hessian, jacobian
    from mlc.jitted import jit
    from mlc.numpy import Tensor
    from mlc.numpy_source import export_python, python_source
    from mlc.onnx_export import export_onnx
    from mlc.options import CompileOptions, DimRange
    from mlc.passes.base import Pass
    from mlc.passes.manager import PassManager
    from mlc.passes.pipelines import register_pass
    from mlc.runtime.cuda.device_arrays import DeviceArray, to_device
    from mlc.runtime.executable import Executable
    from mlc.training.step import train_step
    from mlc.tuning import tune

_HOMES = {
    "mlc.backends": ("Backend", "register_backend"),
    "mlc.comparison": ("compare",),
    "mlc.compiler": ("compile", "load", "load_executable"),
    "mlc.custom_derivative": ("checkpoint", "custom_jvp", "custom_vjp", "stop_gradient"),
    "mlc.errors": (
        "DTypeError",
        "InternalError",
        "InvalidModel",
        "MlcError",
        "NoDerivative",
        "NumericMismatch",
        "OutOfRange",
        "ShapeError",
        "TargetUnavailable",
        "UnsupportedOp",
    ),
    "mlc.extensions": ("load_extension",),
    "mlc.frontends.onnx.table": ("handles",),
    "mlc.frontends.trace.control_flow": ("cond", "scan", "while_loop"),
    "mlc.frontends.trace.tape": ("enable_grad", "no_grad"),
    "mlc.frontends.trace.traced": ("TensorSpec", "dim"),
    "mlc.differentiation": ("grad", "hvp", "jvp", "value_and_grad", "vjp"),
    "mlc.gradient_check": ("check_grads",),
    "mlc.ir.module": ("Module", "register_op"),
    "mlc.jacobians": ("hessian", "jacobian"),
    "mlc.jitted": ("jit",),
    "mlc.numpy": ("Tensor",),
    "mlc.numpy_source": ("export_python", "python_source"),
    "mlc.onnx_export": ("export_onnx",),
    "mlc.options": ("CompileOptions", "DimRange"),
    "mlc.passes.base": ("Pass",),
    "mlc.passes.manager": ("PassManager",),
    "mlc.passes.pipelines": ("register_pass",),
    "mlc.runtime.cuda.device_arrays": ("DeviceArray", "to_device"),
    "mlc.runtime.executable": ("Executable",),
    "mlc.training.step": ("train_step",),
    "mlc.tuning": ("tune",),
}
_MODULES = ("data", "dist", "nn", "numpy", "optim", "random", "tree")
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Backend",
    "CompileOptions",
    "DTypeError",
    "DeviceArray",
    "DimRange",
    "Executable",
    "InternalError",
    "InvalidModel",
    "MlcError",
    "Module",
    "NoDerivative",
    "NumericMismatch",
    "OutOfRange",
    "Pass",
    "PassManager",
    "ShapeError",
    "TargetUnavailable",
    "Tensor",
    "TensorSpec",
    "UnsupportedOp",
    "__version__",
    "check_grads",
    "checkpoint",
    "compare",
    "compile",
    "cond",
    "custom_jvp",
    "custom_vjp",
    "data",
    "dim",
    "dist",
    "enable_grad",
    "export_onnx",
    "export_python",
    "grad",
    "handles",
    "hessian",
    "hvp",
    "jacobian",
    "jit",
    "jvp",
    "load",
    "load_executable",
    "load_extension",
    "nn",
    "no_grad",
    "numpy",
    "optim",
    "python_source",
    "random",
    "register_backend",
    "register_op",
    "register_pass",
    "scan",
    "stop_gradient",
    "to_device",
    "train_step",
    "tree",
    "tune",
    "value_and_grad",
    "vjp",
    "while_loop",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"mlc.{name}")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'mlc' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
