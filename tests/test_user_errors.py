"""What a caller can get wrong is an MlcError that says what would work, and another engine's failure is said to be its own."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import mlc
import mlc.demo
from mlc import references
from mlc.errors import MlcError, TargetUnavailable
from mlc.ir import builder as g
from mlc.sources import is_ir_text


def model(op: str = "Neg", dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """y = op(x), x of shape [N, 3]."""
    x, y = (helper.make_tensor_value_info(name, dtype, ["N", 3]) for name in "xy")
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def reshaped() -> onnx.ModelProto:
    """The values of `shape` decide the shape of y."""
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [6]),
        helper.make_tensor_value_info("shape", TensorProto.INT64, [2]),
    ]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["A", "B"])
    graph = helper.make_graph([helper.make_node("Reshape", ["x", "shape"], ["y"])], "g", inputs, [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


class Linear:
    """Stands for a class of another package."""


@pytest.mark.parametrize(
    ("module", "name", "remedy"),
    [
        ("torch.nn.modules.linear", "Linear", "torch.onnx.export"),
        ("torch.onnx._internal", "ONNXProgram", ""),
        ("torch.onnx.program", "ONNXProgram", "model_proto"),
        ("sklearn.linear_model", "Ridge", "skl2onnx"),
        ("keras.src.models", "Model", "format='onnx'"),
        ("mine", "Thing", "the path of an .onnx"),
    ],
)
def test_objects_of_other_packages_are_told_how_to_become_models(module: str, name: str, remedy: str) -> None:
    kind = type(name, (), {"__module__": module})
    for given in (kind(), kind):
        with pytest.raises(MlcError) as error:
            mlc.compile(given)
        assert f"{module}.{name}" in error.value.message and remedy in (error.value.remedy or "")


@pytest.mark.parametrize("given", [None, 5, [1], {}, np.ones(3), print, 2.5, object()])
def test_what_is_no_model_is_refused_in_words(given: Any) -> None:
    for verb in (mlc.compile, mlc.load, mlc.compare):
        with pytest.raises(MlcError, match="is no model that mlc can read"):
            verb(given)


@pytest.mark.parametrize(
    "options",
    [
        {"shapes": {"x": 5}},
        {"shapes": {"x": "N"}},
        {"shapes": [1]},
        {"shapes": {"x": (2.5, 3)}},
        {"shapes": {"x": ("", 3)}},
        {"shapes": {3: (1, 3)}},
        {"dims": {"N": "8"}},
        {"dims": {"N": 2.0}},
        {"dims": {"N": (1, "a")}},
        {"dims": {"N": True}},
        {"dims": 3},
        {"specialise": {"N": 8}},
        {"specialise": 8},
        {"known": 3},
        {"threads": "4"},
        {"threads": 0},
        {"opt_level": "2"},
        {"passes": 5},
        {"passes": [5]},
        {"passes": ["nope"]},
        {"passes": [mlc.PassManager]},
        {"passes": "lower,fuse"},
        {"disable_passes": "fuse"},
        {"until": 5},
        {"settings": 3},
        {"progress": 3},
    ],
    ids=str,
)
def test_options_of_another_kind_are_refused_with_what_would_do(options: dict[str, Any]) -> None:
    with pytest.raises(MlcError) as error:
        mlc.compile(model(), **options)
    assert error.value.remedy


def test_sizes_may_be_integers_of_numpy() -> None:
    exe = mlc.compile(model(), shapes={"x": [np.int64(2), 3]})
    assert exe.get_inputs()[0].shape == [2, 3]
    assert mlc.compile(model(), dims={"N": np.int32(4)}).get_inputs()[0].shape == [4, 3]


CALLS: dict[str, Callable[[Any, Any], object]] = {
    "a list for a mapping": lambda exe, x: exe.run(None, [x]),
    "nothing for inputs": lambda exe, x: exe.run(None, None),
    "a number for a path": lambda exe, x: exe.save(5),
    "text for a size": lambda exe, x: exe.memory_analysis(N="a"),
    "bytes for a package": lambda exe, x: mlc.load_executable(b"PK"),
    "a negative tolerance": lambda exe, x: mlc.compare(model(), rtol=-1),
    "no number for a tolerance": lambda exe, x: mlc.compare(model(), atol=float("nan")),
    "options as a dict": lambda exe, x: mlc.compare(model(), options={"opt_level": 1}),
    "a negative seed": lambda exe, x: mlc.compare(model(), seed=-1),
    "a list of inputs": lambda exe, x: mlc.compare(model(), [x]),
    "a number for passes": lambda exe, x: mlc.PassManager(5),
    "another check": lambda exe, x: mlc.PassManager("dce", check="onnxruntime"),
    "text for a tolerance": lambda exe, x: mlc.compare(model(), rtol="a"),
    "nothing for a library": lambda exe, x: exe.export_library(None),
    "one path for library and header": lambda exe, x: exe.export_library("m.so", header="./m.so"),
    "a number for an extension": lambda exe, x: mlc.load_extension(3),
    "a proto for a module": lambda exe, x: mlc.PassManager("dce").run(model()),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_with_wrong_objects_are_errors_of_ours(name: str) -> None:
    with pytest.raises(MlcError):
        CALLS[name](mlc.compile(model()), np.ones((2, 3), np.float32))


@pytest.mark.parametrize(
    ("passes", "before"),
    [
        ("lower", "fuse,outline,schedule,lower"),
        ("outline", "fuse,outline"),
        ("fuse,schedule", "outline,schedule"),
        ("fuse,outline,lower", "schedule,lower"),
        ("fuse,outline,fuse", "earlier"),
        ("fuse,outline,schedule,lower,lower", "earlier"),
        ("plan-arena", "fuse,outline,plan-arena"),
    ],
)
def test_an_order_of_passes_that_cannot_work_names_one_that_can(passes: str, before: str) -> None:
    with pytest.raises(MlcError) as error:
        mlc.PassManager(passes).run(mlc.load(model()))
    assert before in (error.value.remedy or "")


def test_copies_and_pickles_of_an_executable_compute_the_same() -> None:
    exe = mlc.compile("mlc/demo/digits.onnx") if Path("mlc/demo/digits.onnx").exists() else mlc.compile(model())
    shape = [3 if isinstance(e, str) else e for e in exe.get_inputs()[0].shape]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    for other in (copy(exe), deepcopy(exe), pickle.loads(pickle.dumps(exe))):
        np.testing.assert_array_equal(other(x), exe(x))
        assert other.threads == exe.threads and other.report["kernels"] == exe.report["kernels"]


def test_compiling_reads_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to copy a module either: it takes as long as all passes."""
    m = g.module_builder("small")
    with m.function(inputs=[("x", ("N", 4), "f32")]) as (x,):
        m.outputs([("y", g.relu(x))])
    module = m.finish()
    monkeypatch.setattr(mlc.Module, "parse", None)
    exe = mlc.compile(module, cache=False)
    np.testing.assert_array_equal(exe(-np.ones((2, 4), np.float32)), np.zeros((2, 4)))


@pytest.mark.parametrize("passes", ["", "default", "decompose,expand-padding,fuse,outline", "default,plan-arena"])
def test_copies_and_pickles_of_a_module_compile_to_the_same(passes: str) -> None:
    module = mlc.load(mlc.demo.MODEL)
    if passes:
        every = "decompose,simplify,fold,expand-padding,dce,fuse,outline,schedule,lower"
        module = mlc.PassManager(passes.replace("default", every)).run(module)
    x = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)
    want = mlc.compile(module)(x)
    for other in (copy(module), deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert str(other) == str(module) and repr(other) == repr(module)
        assert (other.source, other.symbols, other.forms) == (module.source, module.symbols, module.forms)
        np.testing.assert_array_equal(mlc.compile(other)(x), want)


def test_a_list_of_passes_without_the_padding_of_convolutions_is_refused_in_words() -> None:
    with pytest.raises(mlc.MlcError, match="reaches into padding.*\n  Run expand-padding before fuse"):
        mlc.PassManager("decompose,fuse,outline").run(mlc.load(mlc.demo.MODEL))


def test_passes_over_a_module_leave_its_weights_as_they_are() -> None:
    module = mlc.load(mlc.demo.MODEL)
    before = list(module.weights)
    for _ in range(2):
        mlc.compile(module)
        mlc.PassManager("decompose,expand-padding,fold,fuse,outline,schedule").run(module)
    assert list(module.weights) == before


def test_an_executable_that_compiles_per_value_can_be_pickled() -> None:
    exe = mlc.compile(reshaped())
    x, shape = np.arange(6, dtype=np.float32), np.array([2, 3])
    for other in (exe, deepcopy(exe), pickle.loads(pickle.dumps(exe))):
        np.testing.assert_array_equal(other(x, shape), x.reshape(2, 3))


def test_arrays_in_the_other_byte_order_are_read() -> None:
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    exe = mlc.compile(model())
    np.testing.assert_array_equal(exe(x.astype(">f4")), -x)
    whole = mlc.compile(model(dtype=TensorProto.INT64))
    np.testing.assert_array_equal(whole(np.arange(6, dtype=">i8").reshape(2, 3)), -np.arange(6).reshape(2, 3))
    with pytest.raises(mlc.DTypeError):
        exe(x.astype(">f8"))


def test_a_file_is_named_once_in_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path / "none.mlir"):
        with pytest.raises(MlcError) as error:
            mlc.load(path)
        assert str(error.value).count(str(path)) == 1


def test_a_model_that_onnxruntime_refuses_is_its_refusal() -> None:
    pytest.importorskip("onnxruntime")
    foreign = model("Neg")
    foreign.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(TargetUnavailable, match="onnxruntime .* does not take the model: .*NoSuchOperator") as error:
        references.onnxruntime(foreign)
    assert error.value.exit_code == 4


def test_a_call_that_fails_in_onnxruntime_is_its_failure() -> None:
    pytest.importorskip("onnxruntime")
    run = references.onnxruntime(model())
    with pytest.raises(TargetUnavailable, match=r"onnxruntime .* fails: .*invalid dimensions") as error:
        run({"x": np.ones((2, 4), np.float32)})
    assert "says nothing about mlc" in str(error.value)


def test_onnxruntime_is_given_text_syntax_as_a_binary_model(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    text = '<ir_version: 9, opset_import: ["" : 17]>\ng (float[N] x) => (float[N] y) { y = Neg(x) }'
    (tmp_path / "m.onnxtxt").write_text(text)
    for source in (tmp_path / "m.onnxtxt", text.encode()):
        assert references.onnxruntime(source)({"x": np.ones(2, np.float32)})[0].tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("content", "is_ir"),
    [
        (b"builtin.module {", True),
        (b"// a comment\n\n  // another\nfunc.func @main() {", True),
        (b"module {\n", True),
        (b"module @m attributes {", True),
        (b"#map = affine_map<(d0) -> (d0)>\nmodule {", True),
        (b'"builtin.module"() ({', True),
        (b"<ir_version: 9>", False),
        (b"\x08\x09\x12\x07pytorch", False),
        (b"", False),
        (b"// only a comment", False),
    ],
)
def test_ir_text_is_known_by_how_it_begins(content: bytes, is_ir: bool) -> None:
    assert is_ir_text(content) is is_ir


class OnAnotherDevice:
    """As a GPU's arrays describe themselves."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, **_: object) -> object:
        raise BufferError("it stays where it is")


def test_an_array_on_another_device_is_told_how_it_gets_here() -> None:
    doubled = mlc.jit(lambda x: x + x)
    for call in (doubled, doubled.trace, mlc.Tensor):
        with pytest.raises(mlc.MlcError, match="lies on another device.*\n.*\n.*numpy.*target='cuda'"):
            call(OnAnotherDevice())


def test_threads_are_for_machines_that_have_them() -> None:
    with pytest.raises(mlc.MlcError, match="threads is 2, and target cuda has no threads"):
        mlc.compile(mlc.jit(lambda x: x + x).trace(np.zeros(3, np.float32)).module, target="cuda", threads=2)


def test_arrays_of_any_byte_order_are_tensors() -> None:
    x = np.arange(6, dtype=">f4").reshape(2, 3)
    for found in (mlc.jit(lambda x: x)(x), mlc.Tensor(x)):
        assert found.dtype == np.float32 and np.array_equal(found.numpy(), x)


def test_a_masked_array_is_no_tensor() -> None:
    for call in (mlc.jit(lambda x: x), mlc.Tensor):
        with pytest.raises(mlc.MlcError, match="a masked array is no tensor\n.*\n.*x.filled"):
            call(np.ma.array([1.0, 2.0], mask=[0, 1]))


def test_values_of_a_functional_call_go_by_name() -> None:
    module = mlc.nn.Linear(3, 2)
    with pytest.raises(mlc.MlcError, match="functional_call takes buffers by name, not ndarray"):
        mlc.nn.functional_call(module, {}, np.zeros((1, 3), np.float32))
