"""The engines that are timed: each loads a model for a number of threads and gives a function of the named inputs."""

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

Feeds = Mapping[str, np.ndarray]
Run = Callable[[], list[np.ndarray]]
Prepare = Callable[[Feeds], Run]


def load_mlc(path: Path, threads: int) -> Prepare:
    import mlc

    executable = mlc.compile(path, target="cpu", threads=threads)
    return lambda feeds: lambda: executable.run(None, dict(feeds))


def load_onnxruntime(path: Path, threads: int) -> Prepare:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda feeds: lambda: session.run(None, dict(feeds))


def load_torch(path: Path, threads: int, form: Callable[[Any], Any] = lambda module: module) -> Prepare:
    """The PyTorch module that the file was exported from, in eager mode where `form` does not change it."""
    import torch

    from benchmarks.architectures import ARCHITECTURES

    torch.set_num_threads(threads)
    module = form(ARCHITECTURES[path.name.split(".")[0]](False).module)
    kind = next(module.parameters()).dtype

    def prepare(feeds: Feeds) -> Run:
        given = [torch.from_numpy(array) for array in feeds.values()]
        arguments = [tensor.to(kind) if tensor.is_floating_point() else tensor for tensor in given]

        def run() -> list[np.ndarray]:
            with torch.inference_mode():
                outputs = module(*arguments)
            return [tensor.numpy() for tensor in (outputs if isinstance(outputs, tuple) else (outputs,))]

        return run

    return prepare


def load_torch_compile(path: Path, threads: int) -> Prepare:
    import torch

    return load_torch(path, threads, torch.compile)


# Not timed: what others' numbers are held against.
load_float64 = partial(load_torch, form=lambda module: module.double())


def load_openvino(path: Path, threads: int) -> Prepare:
    import openvino

    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(path, "CPU", options)

    def prepare(feeds: Feeds) -> Run:
        request, given = compiled.create_infer_request(), list(feeds.values())
        outputs = compiled.outputs
        order = [list(feeds).index(next(name for name in feeds if name in i.get_names())) for i in compiled.inputs]

        def run() -> list[np.ndarray]:
            answers = request.infer([given[place] for place in order])
            return [answers[output] for output in outputs]

        return run

    return prepare


ENGINES: dict[str, Callable[[Path, int], Prepare]] = {
    "mlc": load_mlc,
    "onnxruntime": load_onnxruntime,
    "openvino": load_openvino,
    "torch": load_torch,
    "torch.compile": load_torch_compile,
}


def installed() -> list[str]:
    """The engines that this environment has; torch.compile needs a C++ compiler too."""
    found = [name for name in ENGINES if find_spec(name.split(".")[0])]
    return [name for name in found if name != "torch.compile" or shutil.which("g++") or shutil.which("clang++")]
