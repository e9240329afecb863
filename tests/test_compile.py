"""mlc.load and mlc.compile as a user calls them: sources, options, sizes, values that decide shapes, progress, threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import mlc
from mlc.compiler import Compilation
from mlc.errors import InvalidModel
from mlc.ir.module import Module
from mlc.options import CompileOptions
from mlc.passes.base import Pass
from mlc.progress import Event

PRODUCT = """
<ir_version: 9, opset_import: ["" : 17]>
product (float[N, K] x, float[K, 3] w) => (float[N, 3] y)
{
   p = MatMul(x, w)
   y = Relu(p)
}
"""

PICK = """
<ir_version: 9, opset_import: ["" : 17]>
pick (float[N] x, int64[1] k, int64[2] shape) => (float[A, B] y)
{
   values, indices = TopK(x, k)
   y = Reshape(values, shape)
}
"""


CHAIN = """
<ir_version: 9, opset_import: ["" : 17]>
chain (float[N, 8] x, float[8, 9] w, float[9, 3] v) => (float[N, 3] y)
{
   p = MatMul(x, w)
   q = Relu(p)
   y = MatMul(q, v)
}
"""


def proto(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(text)


def arrays(n: int = 4, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n * k)
    return rng.standard_normal((n, k), np.float32), rng.standard_normal((k, 3), np.float32)


def check(exe: Callable[..., np.ndarray], n: int = 4, k: int = 5) -> None:
    x, w = arrays(n, k)
    want = np.maximum(x.astype(np.float64) @ w, 0)
    np.testing.assert_allclose(exe(x, w), want, rtol=1e-5, atol=1e-6)


def test_a_model_comes_as_path_bytes_proto_text_or_module(tmp_path: Path) -> None:
    model = proto(PRODUCT)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    for source in (path, str(path), model.SerializeToString(), model, PRODUCT.encode(), mlc.load(model)):
        check(mlc.compile(source))


def test_ir_text_is_a_source_too(tmp_path: Path) -> None:
    text = str(mlc.load(proto(PRODUCT)))
    (tmp_path / "m.mlir").write_text(text)
    check(mlc.compile(tmp_path / "m.mlir"))
    check(mlc.compile(text.encode()))


def test_one_code_serves_every_size() -> None:
    exe = mlc.compile(proto(PRODUCT))
    for n, k in ((1, 1), (7, 13), (64, 3), (5, 0), (0, 4)):
        check(exe, n, k)
    assert exe.native_compilations == 0


def test_shapes_and_dims_fix_and_bound_sizes() -> None:
    fixed = mlc.compile(proto(PRODUCT), shapes={"x": (4, 5)})
    assert fixed.get_inputs()[0].shape == [4, 5]
    check(fixed)
    bounded = mlc.compile(proto(PRODUCT), dims={"N": (1, 8)})
    check(bounded, 8)
    with pytest.raises(mlc.ShapeError, match="N"):
        check(bounded, 9)
    assert mlc.compile(proto(PRODUCT), dims={"N": 2, "K": 3}).get_inputs()[1].shape == [3, 3]


def test_a_package_gives_the_same_answers(tmp_path: Path) -> None:
    exe = mlc.compile(proto(PRODUCT))
    exe.save(tmp_path / "m.mlc")
    again = mlc.load_executable(tmp_path / "m.mlc")
    x, w = arrays()
    assert np.array_equal(exe(x, w), again(x, w))
    assert again.report["kernels"] == exe.report["kernels"]
    with pytest.raises(mlc.MlcError, match="load_executable"):
        mlc.load(tmp_path / "m.mlc")


def test_values_that_decide_shapes_are_compiled_for_when_they_come() -> None:
    exe = mlc.compile(proto(PICK))
    x = np.array([3, 1, 4, 1, 5, 9, 2, 6], np.float32)
    for count, shape in ((4, (2, 2)), (6, (3, 2)), (4, (2, 2))):
        found = exe(x, np.array([count]), np.array(shape))
        assert np.array_equal(found, np.sort(x)[::-1][:count].reshape(shape))
    assert exe.native_compilations == 2
    assert exe.report["specialised"]["compiled"] == [
        {"k": [4], "shape": [2, 2]},
        {"k": [6], "shape": [3, 2]},
    ]
    assert [i.name for i in exe.get_inputs()] == ["x", "k", "shape"]
    (y,) = exe.run(None, {"x": x, "k": np.array([2]), "shape": np.array([1, 2])})
    assert np.array_equal(y, [[9, 6]])
    with pytest.raises(mlc.MlcError, match="'k' is missing"):
        exe.run(None, {"x": x})
    with pytest.raises(mlc.MlcError, match="decide shapes"):
        exe.save("m.mlc")


def test_the_module_can_be_run_by_the_interpreter() -> None:
    x, w = arrays()
    (y,) = mlc.load(proto(PRODUCT)).run(x, w)
    np.testing.assert_allclose(y, np.maximum(x @ w, 0), rtol=1e-5)


def test_progress_is_told_stage_by_stage() -> None:
    events: list[Event] = []
    mlc.compile(proto(PRODUCT), progress=events.append, cache=False)
    assert [e.stage for e in events if e.finished] == ["import", "optimise", "codegen", "link"]
    assert all(0 <= e.done <= e.total for e in events)


def test_the_report_says_what_was_decided() -> None:
    report = mlc.compile(proto(PRODUCT), cache=False).report
    (kernel,) = [k for k in report["kernels"] if any("MatMul" in "".join(c["source"]) for c in k["calls"])]
    assert kernel["schedule"] and kernel["calls"][0]["flops"] and kernel["calls"][0]["bytes"]
    assert report["passes"][-1]["name"] == "plan-arena"


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"target": "cuda", "arch": "sm_95"}, mlc.TargetUnavailable, "sm_95"),
        ({"target": "tpu"}, mlc.MlcError, "tpu"),
        ({"arch": "z80"}, mlc.TargetUnavailable, "z80"),
        ({"precision": "bf16"}, mlc.TargetUnavailable, "bf16"),
        ({"opt_level": 7}, mlc.MlcError, "opt_level"),
        ({"threads": 0}, mlc.MlcError, "threads"),
        ({"passes": "fusse"}, mlc.MlcError, "fusse"),
        ({"disable_passes": ["outline"]}, mlc.MlcError, "outline"),
        ({"shapes": {"q": (1, 2)}}, mlc.MlcError, "q"),
        ({"dims": {"Q": 3}}, mlc.MlcError, "Q"),
        ({"settings": {"conv": "fft"}}, mlc.MlcError, "conv"),
        ({"specialise": [{"M": 8}]}, mlc.MlcError, "unknown dimension 'M'"),
        ({"specialise": [{"N": 8}], "dims": {"N": (1, 4)}}, mlc.MlcError, "N is within 1..4"),
        ({"colour": "red"}, mlc.MlcError, "colour"),
    ],
)
def test_options_that_make_no_sense_are_errors(options: dict, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        mlc.compile(proto(PRODUCT), **options)


def test_a_module_takes_no_sizes() -> None:
    with pytest.raises(mlc.MlcError, match="has its sizes already"):
        mlc.compile(mlc.load(proto(PRODUCT)), shapes={"x": (1, 5)})


def test_an_older_cpu_can_be_compiled_for() -> None:
    check(mlc.compile(proto(PRODUCT), arch="x86-64-v2"))


def test_several_threads_compile_and_call_at_once() -> None:
    def work(number: int) -> None:
        exe = mlc.compile(proto(PRODUCT), dims={"K": 3 + number % 2})
        for n in range(1, 20):
            check(exe, n, 3 + number % 2)

    with ThreadPoolExecutor(4) as workers:
        list(workers.map(work, range(4)))


QUANTISED = """
<ir_version: 9, opset_import: ["" : 17]>
quantised (float[1, 16, 9, 9] x, float[32, 16, 3, 3] w) => (float[1, 32, 9, 9] y)
<float s = {0.05}, uint8 z = {3}>
{
   c = Conv<pads = [1, 1, 1, 1]>(x, w)
   r = Relu(c)
   q = QuantizeLinear(r, s, z)
   y = DequantizeLinear(q, s, z)
}
"""


def test_a_convolution_quantises_its_result_in_vectors():
    executable = mlc.compile(proto(QUANTISED))
    (kernel,) = (row for row in executable.report["kernels"] if row["name"].startswith("convolution"))
    assert "Vector" in kernel["schedule"]
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape, np.float32) for shape in ((1, 16, 9, 9), (32, 16, 3, 3)))
    levels = executable(x, w) / np.float32(0.05)
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
    want = onnxruntime.InferenceSession(proto(QUANTISED).SerializeToString()).run(None, {"x": x, "w": w})[0]
    np.testing.assert_allclose(levels, want / np.float32(0.05), atol=1.001)  # one level, where a sum falls between two
    assert np.mean(np.abs(levels - want / np.float32(0.05)) > 0.5) < 0.01


WINDOWS = """
<ir_version: 9, opset_import: ["" : 17]>
windows (float[N, 3, 12, 12] x, bool[N, 5] side) => (float[N, 5] y, int64[N, 5] z)
<float[8, 3, 3, 3] kernel, float[8, 5] w>
{
   [conv] c = Conv<pads = [1, 1, 1, 1]>(x, kernel)
   [pool] p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(c)
   [mean] m = GlobalAveragePool(p)
   [flat] f = Flatten(m)
   [product] d = MatMul(f, w)
   [choice] e = Where(side, d, d)
   [sine] t = Sin(e)
   [soft] y = Softmax(t)
   [whole] z = Cast<to = 7>(d)
}
"""


def test_ir_text_of_every_stage_is_read_again_and_compiles_to_the_same() -> None:
    """Lowered kernels compare, select and convert vectors and scalars."""
    model = onnx.parser.parse_model(WINDOWS)
    rng = np.random.default_rng(0)
    for declared in model.graph.value_info:
        shape = [dim.dim_value for dim in declared.type.tensor_type.shape.dim]
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), declared.name)
        )
    del model.graph.value_info[:]
    texts: dict[str, tuple[str, Module]] = {}

    def watch(number: int, step: Pass, module: Module) -> None:
        texts[f"{number} {step.name}"] = str(module), module.clone()

    compilation = Compilation(CompileOptions())
    compilation.lower(compilation.load(model), watch=watch)
    feeds = {"x": rng.standard_normal((3, 3, 12, 12)).astype(np.float32), "side": rng.random((3, 5)) < 0.5}
    want = mlc.compile(model).run(None, feeds)
    lowered = next(text for name, (text, _) in texts.items() if name.endswith("lower"))
    assert "arith.select" in lowered and "vector<" in lowered
    for name, (text, module) in texts.items():
        again = Module.parse(text, module.weights)
        assert str(again) == text, name
        if any(name.endswith(stage) for stage in (" fuse", " schedule", " lower", " plan-arena")):
            for got, expected in zip(mlc.compile(again).run(None, feeds), want, strict=True):
                np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [("kernel.call @contraction_0", "kernel.call @elsewhere", "elsewhere"), ("kernel.buffer 0", "kernel.buffer 5", "")],
)
def test_what_breaks_a_rule_of_loops_in_text_is_the_texts(tmp_path: Path, old: str, new: str, named: str) -> None:
    compilation = Compilation(CompileOptions())
    lowered = compilation.lower(compilation.load(proto(CHAIN)))
    assert old in str(lowered)
    path = tmp_path / "edited.mlir"
    path.write_text(str(lowered).replace(old, new))
    with pytest.raises(InvalidModel, match=f"the IR text breaks a rule of its stage.*{named}"):
        mlc.compile(path)
    with pytest.raises(InvalidModel):
        mlc.compile(path.read_bytes())
