"""Sizes that data decides, through every stage: import, both interpreters, native code, packages and shared libraries."""

from __future__ import annotations

import ctypes
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import mlc
from mlc.compiler import load
from mlc.errors import InvalidModel, ShapeError, UnsupportedOp
from mlc.ir import builder as g
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.module import Module
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import pipeline

F, I, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
SHAPES = [(3, 5), (0, 4), (17, 9), (1, 1)]
SHARES = [0, 0.4, 1]


def model(nodes, inputs, outputs, **constants):
    """Nodes as (op type, inputs, outputs, attributes); inputs as name=(type, shape)."""
    made = [
        helper.make_node(op, reads.split(), writes.split(), name=writes, **(more[0] if more else {}))
        for op, reads, writes, *more in nodes
    ]
    graph = helper.make_graph(
        made,
        "counted",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def flags(*shape, share=0.5, seed=0):
    return np.random.default_rng((seed, *shape)).random(shape) < share


def normal(*shape, share=1.0, seed=0):
    x = np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)
    return x * flags(*shape, share=share, seed=seed)


def agree(proto: onnx.ModelProto, feeds) -> None:
    """Graph, program and native code give what onnxruntime gives, at all of these inputs by one compilation."""
    module = load(proto)
    assert str(Module.parse(str(module), module.weights)) == str(module)
    program = PassManager(pipeline(2, "x86-64-v3"), verify_each=True).run(module.clone())
    executable = mlc.compile(proto)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for feed in feeds:
        arrays = [feed[name] for name in module.input_names]
        want = session.run(None, feed)
        for found in (module.run(*arrays), run_program(program, arrays), executable.run(None, feed)):
            for x, y in zip(found, want, strict=True):
                assert (x.dtype, x.shape) == (y.dtype, y.shape)
                np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    assert executable.native_compilations == 0


@pytest.mark.parametrize("dtype", [np.float32, np.bool_, np.int64, np.int32, np.uint8])
def test_positions_of_what_is_not_zero(dtype):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    proto = model([("NonZero", "x", "y")], {"x": (kind, ["A", "B"])}, {"y": I})
    agree(proto, [{"x": (3 * flags(*s, share=p)).astype(dtype)} for s in SHAPES for p in SHARES])


@pytest.mark.parametrize("shape", [["A"], [4, 3, 2], ["A", 2, "B", 3]])
def test_positions_have_a_row_per_axis(shape):
    proto = model([("NonZero", "x", "y")], {"x": (F, shape)}, {"y": I})
    sizes = {"A": 5, "B": 2}
    agree(proto, [{"x": normal(*(sizes.get(e, e) for e in shape), share=p)} for p in SHARES])


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_a_number_without_axes_has_no_coordinates_but_a_count(value):
    proto = model([("NonZero", "x", "y")], {"x": (F, [])}, {"y": I})
    assert mlc.compile(proto)(np.float32(value)).shape == (0, int(value != 0))


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_compress_keeps_what_the_condition_says(axis):
    attributes = [{}] if axis is None else [{"axis": axis}]
    nodes = [("Compress", "x c", "y", *attributes)]
    proto = model(nodes, {"x": (F, ["A", "B"]), "c": (B, ["C"])}, {"y": F})
    sizes = (1, 4, 24) if axis is None else (1, 4)  # a condition may be shorter than the axis
    agree(proto, [{"x": normal(4, 6), "c": flags(n, share=p)} for n in sizes for p in SHARES])


def test_elements_under_a_mask():
    """x[mask], as exporters write it, and what is computed from it."""
    nodes = [
        ("NonZero", "m", "nz"),
        ("Transpose", "nz", "t", {"perm": [1, 0]}),
        ("GatherND", "x t", "v"),
        ("Relu", "v", "y"),
        ("ReduceSum", "v", "s", {"keepdims": 0}),
    ]
    proto = model(nodes, {"x": (F, ["A", "B"]), "m": (B, ["A", "B"])}, {"y": F, "s": F})
    agree(proto, [{"x": normal(*s), "m": flags(*s, share=p)} for s in SHAPES for p in SHARES])


def test_rows_that_are_kept_go_through_a_layer():
    """The counted extent is one of a product, of a softmax, of a concatenation, and is data."""
    nodes = [
        ("NonZero", "m", "nz"),
        ("Squeeze", "nz zero", "i"),
        ("Gather", "x i", "r"),
        ("MatMul", "r w", "p"),
        ("Softmax", "p", "y"),
        ("Shape", "nz", "s"),
        ("Concat", "r x", "c", {"axis": 0}),
        ("Transpose", "p", "q", {"perm": [1, 0]}),
    ]
    proto = model(
        nodes, {"x": (F, ["A", 5]), "m": (B, ["A"])}, {"y": F, "s": I, "c": F, "q": F}, w=normal(5, 40), zero=[0]
    )
    agree(proto, [{"x": normal(n, 5), "m": flags(n, share=p)} for n in (1, 7, 64) for p in SHARES])


def test_shape_arithmetic_with_a_counted_size():
    nodes = [
        ("NonZero", "x", "a"),
        ("Reshape", "a minus", "flat"),
        ("Shape", "flat", "n"),
        ("ConstantOfShape", "n", "zeros"),
        ("Squeeze", "n axis", "k"),
        ("Range", "start k step", "r"),
        ("Concat", "n five", "wide", {"axis": 0}),
        ("Expand", "e wide", "ex"),
        ("Mul", "flat r", "p"),
    ]
    inputs = {"x": (F, ["A", "B"]), "e": (F, [1, 5])}
    proto = model(nodes, inputs, {"zeros": F, "r": I, "ex": F, "p": I}, minus=[-1], axis=[0], start=0, step=1, five=[5])
    agree(proto, [{"x": normal(*s, share=p), "e": normal(1, 5)} for s in SHAPES for p in SHARES])


def test_two_counts_and_a_count_of_what_was_counted():
    nodes = [
        ("NonZero", "x", "a"),
        ("NonZero", "b", "c"),
        ("Concat", "a c", "y", {"axis": 1}),
        ("NonZero", "a", "w"),
    ]
    proto = model(nodes, {"x": (F, ["A", "B"]), "b": (F, ["C", "D"])}, {"y": I, "w": I})
    feeds = [{"x": normal(*s, share=p), "b": normal(*q, share=1 - p)} for s in SHAPES for q in SHAPES for p in SHARES]
    agree(proto, feeds)


def test_two_reads_of_one_mask_have_one_size():
    nodes = []
    for x in "xy":
        nodes += [("NonZero", "m", f"{x}0"), ("Transpose", f"{x}0", f"{x}1"), ("GatherND", f"{x} {x}1", f"{x}2")]
    proto = model(
        [*nodes, ("Add", "x2 y2", "z")], {n: (F, ["A", "B"]) for n in "xy"} | {"m": (B, ["A", "B"])}, {"z": F}
    )
    module = load(proto)
    assert list(module.counted) == ["count0"] and all("has elements" in check.message for check in module.checks)
    agree(proto, [{"x": normal(*s), "y": normal(*s, seed=1), "m": flags(*s)} for s in SHAPES])


def sum_of_positions() -> onnx.ModelProto:
    nodes = [("NonZero", "x", "a"), ("NonZero", "y", "b"), ("Add", "a b", "z")]
    return model(nodes, {"x": (F, ["A"]), "y": (F, ["B"])}, {"z": I})


def test_counts_that_must_agree_are_compared_while_the_model_runs():
    proto = sum_of_positions()
    agree(proto, [{"x": np.eye(1, 6, dtype=np.float32)[0], "y": np.eye(1, 4, 2, dtype=np.float32)[0]}])
    three, two = np.ones(3, np.float32), np.ones(2, np.float32)
    with pytest.raises(ShapeError, match="count0 is 3, but must equal count1, which is 2.*from the data"):
        mlc.compile(proto)(three, two)
    module = load(proto)
    for stage in (module.run, lambda *x: run_program(PassManager(pipeline(2, "x86-64-v3")).run(module), x)):
        with pytest.raises(ShapeError, match="count0 is 3 and count1 is 2"):
            stage(three, two)


def test_calls_at_the_same_time_have_their_own_counts():
    executable = mlc.compile(model([("NonZero", "x", "y")], {"x": (F, ["N"])}, {"y": I}), threads=2)

    def call(seed: int) -> bool:
        x = normal(10_000, share=seed / 40, seed=seed)
        return np.array_equal(executable(x), [np.flatnonzero(x)])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(call, range(40)))


def test_a_package_keeps_the_bounds(tmp_path):
    executable = mlc.compile(model([("NonZero", "x", "y")], {"x": (F, ["A", "B"])}, {"y": I}))
    executable.save(tmp_path / "m.mlc")
    x = normal(4, 9, share=0.5)
    np.testing.assert_array_equal(mlc.load_executable(tmp_path / "m.mlc")(x), np.array(np.nonzero(x)))


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "ld"))), reason="needs a linker")
def test_a_library_tells_what_it_counted(tmp_path):
    mlc.compile(sum_of_positions()).export_library(tmp_path / "m.so", header=tmp_path / "m.h")
    assert "count0 is counted during a run: reserve memory for A" in (tmp_path / "m.h").read_text()
    library = ctypes.CDLL(str(tmp_path / "m.so"))
    dims, shapes = (ctypes.c_int64 * 2)(5, 4), (ctypes.c_int64 * 2)()

    def call(x, y):
        inputs = (ctypes.c_void_p * 2)(x.ctypes.data, y.ctypes.data)
        return library.m_run(dims, inputs, (ctypes.c_void_p * 1)(z.ctypes.data), None, shapes)

    x, y, z = np.array([0, 1, 0, 1, 1], np.float32), np.array([1, 1, 0, 1], np.float32), np.zeros((1, 5), np.int64)
    assert library.m_shapes(dims, shapes) == 0 and list(shapes) == [1, 5]
    assert call(x, y) == 0 and list(shapes) == [1, 3]
    assert z[0, :3].tolist() == [1, 4, 7]
    assert call(x, np.ones(4, np.float32)) == 1


def test_a_count_in_a_loop_is_refused_by_the_name_of_its_node():
    x = helper.make_tensor_value_info("row", F, [4])
    inner = [helper.make_node("NonZero", ["row"], ["nz"], name="inner"), helper.make_node("Size", ["nz"], ["n"])]
    body = helper.make_graph(inner, "body", [x], [helper.make_tensor_value_info("n", I, [])])
    proto = model([("Scan", "x", "y", {"body": body, "num_scan_inputs": 1})], {"x": (F, ["A", 4])}, {"y": I})
    with pytest.raises(UnsupportedOp, match=r"NonZero 'body/inner': data decides a size in the body of a loop"):
        load(proto)


def test_a_size_must_be_counted_before_it_is_used():
    m = g.module_builder()
    with m.function(inputs=[("x", ("N", 2), "f32"), ("n", (), "i64")]) as (x, n):
        m.outputs([("y", g.neg(g.prefix(n, x)[0]))])
    module = m.finish()
    lines = str(module).splitlines(keepends=True)
    with pytest.raises(InvalidModel, match="the size N is used before it is counted"):
        Module.parse(str(module).replace("count0", "N"))
    for early in (
        'graph.dimension "count0" : tensor<i64>',
        "graph.iota {axis = 0 : i64} : tensor<count0 x i64>",
    ):
        with pytest.raises(InvalidModel, match="the size count0 is used before it is counted"):
            Module.parse("".join([*lines[:2], f"%9 = {early}\n", *lines[2:]]))


def test_text_without_a_main_function_still_parses():
    assert "@f" in str(Module.parse("builtin.module { func.func @f() { func.return } }"))


def test_two_counts_cannot_share_a_name():
    m = g.module_builder()
    with m.function(inputs=[("x", ("N",), "f32"), ("n", (), "i64")]) as (x, n):
        m.outputs([("y", g.prefix(n, x)[0]), ("z", g.prefix(n, x)[0])])
    with pytest.raises(InvalidModel, match="the size count0 is used before it is counted"):
        Module.parse(str(m.finish()).replace("count1", "count0"))


# Operators that are made of these ----------------------------------------------------------------------------------------


def suppression(known=True, opset=18, **given):
    """Constants by name; `most` is an input unless it is known."""
    names = ["boxes", "scores", *(name if name in given else "" for name in ("most", "overlap", "threshold"))]
    inputs = {"boxes": (F, ["B", "N", 4]), "scores": (F, ["B", "C", "N"])}
    if not known:
        inputs["most"] = (I, [1])
        given = {name: value for name, value in given.items() if name != "most"}
    attributes = {"center_point_box": given.pop("center", 0)}
    node = helper.make_node("NonMaxSuppression", names, ["y"], name="nms", **attributes)
    proto = model([], inputs, {"y": I}, **given)
    proto.graph.node.append(node)
    proto.opset_import[0].version = opset
    return proto


def detections(batch, classes, number, center=0, **more):
    rng = np.random.default_rng((batch, classes, number, center))
    first, extent = rng.random((2, batch, number, 2))
    second = extent / 2 if center else first + extent * np.where(rng.random(first.shape) < 0.1, -0.5, 0.5)
    scores = rng.integers(0, 20, (batch, classes, number)) / 20  # some are equal
    boxes = np.concatenate([first, second], 2).astype(np.float32)
    return {"boxes": boxes, "scores": scores.astype(np.float32), **more}


LIMIT, OVERLAP, THRESHOLD = np.array([5]), np.array([0.4], np.float32), np.array([0.3], np.float32)
CROWDS = [(1, 1, 6), (2, 3, 40), (1, 2, 1), (1, 1, 150)]


@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize("threshold", [{}, {"threshold": THRESHOLD}, {"threshold": 9 * THRESHOLD}], ids=len)
def test_boxes_that_overlap_a_better_one_are_dropped(center, threshold):
    proto = suppression(most=LIMIT, overlap=OVERLAP, center=center, **threshold)
    agree(proto, [detections(*crowd, center) for crowd in CROWDS])


def test_the_number_of_boxes_may_come_with_the_data():
    proto = suppression(known=False, most=LIMIT, overlap=OVERLAP, opset=10)
    agree(proto, [detections(*crowd, most=np.array([most])) for crowd in CROWDS for most in (0, 3, 1000)])


def test_without_a_limit_no_box_is_kept():
    found = mlc.compile(suppression())(*detections(2, 3, 4).values())
    assert found.shape == (0, 3) and found.dtype == np.int64


def unique(shape, kind=F, **attributes):
    return model([("Unique", "x", "y i v c", attributes)], {"x": (kind, shape)}, {"y": kind, "i": I, "v": I, "c": I})


def few(*shape, values=4):
    return np.random.default_rng(shape).integers(-values, values, shape).astype(np.float32)


@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int8])
def test_each_value_once(dtype, ordered):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    proto = unique(["A", "B"], kind, sorted=ordered)
    agree(proto, [{"x": few(*s).astype(dtype)} for s in [(1, 1), (3, 5), (17, 9)]])


@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_each_slice_once(axis, ordered):
    proto = unique(["A", "B", 2], axis=axis, sorted=ordered)
    agree(proto, [{"x": few(*s, values=1)} for s in [(1, 1, 2), (2, 7, 2), (20, 1, 2)]])


def test_nothing_has_no_values():
    for array in mlc.compile(unique(["A", "B"]))(np.zeros((0, 3), np.float32)):
        assert array.shape == (0,)
