"""The engines that are timed: each loads a model for a number of threads and gives a function of the named inputs."""

from collections.abc import Callable, Mapping
from pathlib import Path

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


def load_torch(path: Path, threads: int) -> Prepare:
    """The PyTorch module that the file was exported from, in eager mode."""
    import torch

    from benchmarks.architectures import ARCHITECTURES

    torch.set_num_threads(threads)
    module = ARCHITECTURES[path.name.split(".")[0]](False).module

    def prepare(feeds: Feeds) -> Run:
        arguments = [torch.from_numpy(array) for array in feeds.values()]

        def run() -> list[np.ndarray]:
            with torch.inference_mode():
                outputs = module(*arguments)
            return [tensor.numpy() for tensor in (outputs if isinstance(outputs, tuple) else (outputs,))]

        return run

    return prepare


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
    "torch": load_torch,
    "openvino": load_openvino,
}
