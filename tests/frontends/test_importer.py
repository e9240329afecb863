"""Whole graphs: well-formedness, functions, versions, and the report of everything unsupported."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import mlc
from mlc.errors import DTypeError, InvalidModel, MlcError, ShapeError, UnsupportedOp
from mlc.frontends.onnx import load
from mlc.frontends.onnx.importer import Importer, Limits
from mlc.frontends.onnx.inputs import signature
from mlc.frontends.onnx.node import NeedsValue
from mlc.frontends.onnx.reader import read
from mlc.ir import interpreter
from mlc.ir.graph.base import location_name


def parse(body: str, opset: int = 17, functions: str = "", imports: str = "") -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}{imports}]>\nmain {body}\n{functions}')


def node(op_type: str, inputs: list[str], outputs: list[str], **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs, outputs, name=f"{op_type.lower()}_{outputs[0]}", **attributes)


def graph(
    *nodes: onnx.NodeProto, inputs: tuple[str, ...] = ("x",), outputs: tuple[str, ...] = ("y",)
) -> onnx.ModelProto:
    values = [
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 2]) for n in names] for names in (inputs, outputs)
    ]
    return helper.make_model(
        helper.make_graph(list(nodes), "g", *values), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )


X = np.array([[1.0, -2.0], [3.0, 4.0], [0.5, 0.0]], np.float32)


def run(model: onnx.ModelProto, *arrays: np.ndarray) -> list[np.ndarray]:
    return interpreter.run(load(model), arrays)


def test_nodes_out_of_order_are_sorted() -> None:
    model = graph(node("Neg", ["a"], ["y"]), node("Relu", ["x"], ["a"]))
    np.testing.assert_array_equal(run(model, X)[0], -np.maximum(X, 0))


def test_omitted_inputs_at_the_end_are_none() -> None:
    model = graph(node("Constant", [""], ["c"], value_float=2.0), node("Mul", ["x", "c"], ["y"]))
    np.testing.assert_array_equal(run(model, X)[0], 2 * X)
    with pytest.raises(InvalidModel, match=r"Add 'add_y': input 1 \(B\) is missing"):
        load(graph(node("Add", ["x", ""], ["y"])))


def test_a_cycle_is_named() -> None:
    model = graph(node("Neg", ["b"], ["a"]), node("Relu", ["a"], ["b"]), node("Neg", ["b"], ["y"]))
    with pytest.raises(InvalidModel, match="cycle: 'neg_a' <- 'relu_b' <- 'neg_a'"):
        load(model)


def test_a_node_that_reads_its_own_output_is_a_cycle() -> None:
    with pytest.raises(InvalidModel, match="cycle"):
        load(graph(node("Add", ["x", "y"], ["y"])))


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("Neg", ["x"], ["y"]), node("Relu", ["x"], ["y"])], "'y' is made twice, by node 0 .Neg. and by node 1"),
        ([node("Neg", ["x"], ["x"])], "'x' is made twice, by a graph input"),
        ([node("Neg", ["nothing"], ["y"])], "'nothing' is used and nothing makes it"),
        ([node("Neg", ["x"], ["z"])], "graph output 'y' is made by nothing"),
        ([node("Neg", ["x", "x"], ["y"])], "2 inputs, the operator takes 1"),
        ([node("Add", ["x"], ["y"])], "1 inputs, the operator takes 2"),
        ([node("Neg", ["x"], ["y"], alpha=1.0)], "unknown attribute 'alpha'"),
        ([node("LeakyRelu", ["x"], ["y"], alpha=1)], "attribute 'alpha' has type INT, expected FLOAT"),
        ([node("Cast", ["x"], ["y"])], "attribute 'to' is missing"),
    ],
)
def test_an_ill_formed_graph_is_refused(nodes: list[onnx.NodeProto], words: str) -> None:
    with pytest.raises(InvalidModel, match=words):
        load(graph(*nodes))


def test_everything_unsupported_is_reported_at_once() -> None:
    nodes = [
        node("Relu", ["x"], ["a"]),
        helper.make_node("FancyNorm", ["a"], ["b"], name="one", domain="com.acme"),
        helper.make_node("FancyNorm", ["b"], ["c"], name="after one", domain="com.acme"),
        helper.make_node("FancyNorm", ["x"], ["d"], name="two", domain="com.acme"),
        node("RandomNormalLike", ["x"], ["e"]),
        node("Sum", ["c", "d", "e"], ["y"]),
    ]
    model = graph(*nodes)
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    with pytest.raises(UnsupportedOp) as error:
        load(model)
    assert [(kind.op, kind.nodes) for kind in error.value.kinds] == [
        ("com.acme.FancyNorm", ("one", "after one", "two")),
        ("RandomNormalLike", ("randomnormallike_e",)),
    ]
    assert error.value.message == "2 of 4 operator kinds cannot be compiled (4 of 6 nodes)"


def test_one_unsupported_node_is_reported_as_itself() -> None:
    with pytest.raises(UnsupportedOp, match="^RandomNormalLike 'randomnormallike_y': the operator is not supported"):
        load(graph(node("RandomNormalLike", ["x"], ["y"])))


def test_a_version_without_a_handler_is_refused_by_number() -> None:
    with pytest.raises(UnsupportedOp, match=r"Tile .*version 1 of the operator is not supported \(supported: 6, 13\)"):
        load(parse("(float[2, 2] x, float n, float axis) => (float[a, b] y) { y = Tile(x, n, axis) }", opset=5))


def test_an_opset_newer_than_the_package_is_refused() -> None:
    with pytest.raises(UnsupportedOp, match="opset 999 is newer than"):
        load(parse("(float[N] x) => (float[N] y) { y = Relu(x) }", opset=999))


def test_a_domain_that_is_not_imported_is_refused() -> None:
    with pytest.raises(InvalidModel, match="does not import an opset of domain 'com.acme'"):
        load(graph(helper.make_node("Relu", ["x"], ["y"], domain="com.acme")))


def test_a_wrong_shape_names_node_operands_and_place() -> None:
    model = parse("(float[2, 8] x) => (float[2, 4] y) <float[7, 4] w = {" + "0, " * 27 + "0}> { y = MatMul(x, w) }")
    with pytest.raises(ShapeError) as error:
        load(model)
    text = str(error.value)
    assert text.startswith("MatMul 'MatMul(y)': ")
    assert "8" in error.value.message and "7" in error.value.message
    assert [(note.role, note.name, note.type, note.origin) for note in error.value.shapes] == [
        ("A", "x", "f32[2, 8]", "graph input"),
        ("B", "w", "f32[7, 4]", "initializer"),
    ]


def test_an_output_may_be_an_input_an_initializer_and_one_value_twice() -> None:
    model = graph(
        node("Relu", ["x"], ["a"]), node("Identity", ["a"], ["b"]), inputs=("x",), outputs=("x", "a", "b", "w")
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((40, 2), np.float32), "w"))
    found = run(model, X)
    for array, expected in zip(found, [X, np.maximum(X, 0), np.maximum(X, 0), np.ones((40, 2))], strict=True):
        np.testing.assert_array_equal(array, expected)


def test_an_initializer_that_is_an_input_is_a_default() -> None:
    model = graph(node("Add", ["x", "b"], ["y"]), inputs=("x", "b"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 2], np.float32), "b"))
    module = load(model)
    assert module.input_names == ["x"]
    np.testing.assert_array_equal(interpreter.run(module, [X])[0], X + [1, 2])


def test_an_initializer_that_is_an_input_is_given_by_the_call_where_its_shape_is_named() -> None:
    model = graph(node("Add", ["x", "b"], ["y"]), inputs=("x", "b"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(X, "b"))
    module = load(model, shapes={"b": ("N", 2)})
    assert module.input_names == ["x", "b"]
    np.testing.assert_array_equal(interpreter.run(module, [X[:2], X[1:]])[0], X[:2] + X[1:])


def test_names_that_are_no_inputs_are_refused() -> None:
    model = graph(node("Add", ["x", "b"], ["y"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 2], np.float32), "b"))
    with pytest.raises(MlcError, match="'b' is an initializer of the model, not an input"):
        load(model, shapes={"b": (2,)})
    with pytest.raises(MlcError, match="the model has no input 'z'"):
        load(model, known={"z": np.zeros(2)})


def test_ops_carry_the_node_they_came_from() -> None:
    module = load(graph(node("Relu", ["x"], ["a"]), node("Exp", ["a"], ["y"])))
    assert [location_name(op) for op in module.main.body.block.ops][:2] == ["relu_a", "exp_y"]


# Functions

SCALE = """
<domain: "local", opset_import: ["": 17]>
scale <factor, shift: float = 0.5> (a) => (b) {
    f = Constant <value_float: float = @factor> ()
    s = Constant <value_float: float = @shift> ()
    c = Mul(a, f)
    b = Add(c, s)
}
"""
LOCAL = ', "local": 1'


def test_a_function_of_the_model_is_expanded_with_attributes_and_defaults() -> None:
    body = "(float[N, 2] x) => (float[N, 2] y) { a = local.scale <factor = 2.0> (x) y = local.scale <factor = 3.0, shift = 1.0> (a) }"
    np.testing.assert_allclose(run(parse(body, functions=SCALE, imports=LOCAL), X)[0], (X * 2 + 0.5) * 3 + 1)


def test_a_function_may_leave_out_an_optional_input() -> None:
    clip = '<domain: "local", opset_import: ["": 17]> cut (a, low, high) => (b) { b = Clip(a, low, high) }'
    body = "(float[N, 2] x, float low) => (float[N, 2] y) { y = local.cut(x, low) }"
    found = run(parse(body, functions=clip, imports=LOCAL), X, np.array(0.25, np.float32))
    np.testing.assert_array_equal(found[0], np.maximum(X, 0.25))


def test_functions_that_call_each_other_in_a_circle_are_refused() -> None:
    functions = """
    <domain: "local", opset_import: ["": 17, "local": 1]> f (a) => (b) { b = local.g(a) }
    <domain: "local", opset_import: ["": 17, "local": 1]> g (a) => (b) { b = local.f(a) }
    """
    with pytest.raises(InvalidModel, match=r"calls itself: local.f -> local.g -> local.f"):
        load(parse("(float[N] x) => (float[N] y) { y = local.f(x) }", functions=functions, imports=LOCAL))


def test_functions_that_write_out_to_too_many_nodes_are_refused_before_any_is_built() -> None:
    levels = [
        f'<domain: "local", opset_import: ["": 17, "local": 1]> f{i} (a) => (c) {{ b = local.f{i + 1}(a) c = local.f{i + 1}(b) }}'
        for i in range(30)
    ]
    levels.append('<domain: "local", opset_import: ["": 17]> f30 (a) => (b) { b = Neg(a) }')
    model = parse("(float[N] x) => (float[N] y) { y = local.f0(x) }", functions="\n".join(levels), imports=LOCAL)
    with pytest.raises(InvalidModel, match=r"the model has 3221225471 nodes with its functions .* the limit is 150000"):
        load(model)
    unused = parse("(float[N] x) => (float[N] y) { y = Neg(x) }", functions="\n".join(levels), imports=LOCAL)
    np.testing.assert_array_equal(run(unused, X[:, 0])[0], -X[:, 0])


def test_functions_called_in_branches_and_by_several_others_count_each_time() -> None:
    levels = [
        f"""<domain: "local", opset_import: ["": 17, "local": 1]> f{i} (c, a) => (r) {{
            r = If (c) <then_branch = t () => (u) {{ u = local.f{i + 1}(c, a) }}, else_branch = e () => (v) {{ v = local.f{i + 2}(c, a) }}>
        }}"""
        for i in range(40)
    ]
    levels += [f'<domain: "local", opset_import: ["": 17]> f{i} (c, a) => (b) {{ b = Neg(a) }}' for i in (40, 41)]
    text = "(bool c, float[N] x) => (float[N] y) { y = local.f%d(c, x) }"
    with pytest.raises(InvalidModel, match="the limit is 150000"):
        load(parse(text % 0, functions="\n".join(levels), imports=LOCAL))
    few = parse(text % 37, functions="\n".join(levels), imports=LOCAL)
    np.testing.assert_array_equal(run(few, np.array(True), X[:, 0])[0], -X[:, 0])


def test_steps_of_loops_written_out_within_each_other_stop_at_the_limit() -> None:
    inner = "r = Concat <axis = 0> (s, x)"
    for depth in range(3):
        inner = (
            f"r{depth} = Loop (ten,, x) <body = b{depth} (int64 i{depth}, bool c{depth}, float[M] s) => (bool c{depth}, float[K] r) {{ {inner} }}>"
            if depth == 0
            else f"z{depth} = Loop (ten,, x) <body = b{depth} (int64 i{depth}, bool c{depth}, float[M] q) => (bool c{depth}, float[K] w) "
            f"{{ {inner} w = Concat <axis = 0> (q, x) }}>"
        )
    source = read(parse(f"(float[1] x) => (float[K] z2) <int64 ten = {{10}}> {{ {inner} }}"))
    with pytest.raises(InvalidModel, match="more than 500 nodes"):
        Importer(source, signature(source.proto.graph.input), limits=Limits(nodes=500)).run()


def test_an_operator_without_a_handler_is_built_from_the_body_of_its_schema() -> None:
    from mlc.frontends.onnx import table

    assert not table.versions("", "SwiGLU")
    model = parse("(float[2, 3] a, float[2, 3] b) => (float[2, 3] y) { y = SwiGLU <alpha = 1.5> (a, b) }", opset=28)
    a, b = np.random.default_rng(0).standard_normal((2, 2, 3), dtype=np.float32)
    np.testing.assert_allclose(run(model, a, b)[0], a / (1 + np.exp(-1.5 * a)) * b, rtol=1e-6)


# Values that decide shapes

RESHAPE = "(float[2, 6] x, int64[2] shape) => (float[a, b] y) { y = Reshape(x, shape) }"


def test_an_input_that_decides_a_shape_is_named() -> None:
    with pytest.raises(NeedsValue) as error:
        load(parse(RESHAPE))
    assert error.value.inputs == ("shape",)
    assert "'shape'" in str(error.value)


def test_a_known_input_decides_a_shape_and_is_no_input_any_more() -> None:
    module = load(parse(RESHAPE), known={"shape": np.array([3, -1], np.int64)})
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    assert module.input_names == ["x"]
    np.testing.assert_array_equal(interpreter.run(module, [x])[0], x.reshape(3, 4))


def test_a_call_cannot_give_an_input_of_known_value_another_one() -> None:
    text = """(float[B] x, float[B] w, int64 rate) => (float[B] y) <int64 k = {8}> {
        c = Equal(rate, k) s = Add(x, w)
        y = If (c) <then_branch = t () => (float[B] a) { a = Neg(s) }, else_branch = e () => (float[B] b) { b = Identity(s) }>
    }"""
    for rate, sign in ((8, -1), (7, 1)):
        known = {"rate": np.array(rate), "w": np.ones(3, np.float32)}
        exe = mlc.compile(load(parse(text), known=known), threads=1)
        np.testing.assert_array_equal(exe(np.ones(3, np.float32)), np.full(3, 2.0 * sign))
        with pytest.raises(MlcError, match="no input 'rate'"):
            exe.run(None, {"x": np.ones(3, np.float32), "rate": np.array(7)})
        with pytest.raises(ShapeError, match="x: axis 0 is 2, the model takes 3"):
            exe(np.ones(2, np.float32))


def test_a_known_value_must_fit_its_input() -> None:
    with pytest.raises(ShapeError, match="'shape' is i64.*float64"):
        load(parse(RESHAPE), known={"shape": np.zeros(2)})


def test_sizes_computed_from_constants_by_any_operator_are_folded() -> None:
    """ReduceL2 has no rule of its own for entries: its ops are run at import."""
    body = """(float[N, 12] x) => (float[N, a, b] y) <float[2] f = {3.0, 4.0}, int64[1] axis = {0}, int64[1] keep = {0}, int64[1] rest = {-1}> {
        length = ReduceL2 <axes = [0], keepdims = 1> (f)
        size = Cast <to = 7> (length)
        one = Constant <value_ints = [1]> ()
        less = Sub(size, one)
        shape = Concat <axis = 0> (keep, less, rest)
        y = Reshape(x, shape)
    }"""
    module = load(parse(body))
    assert [op.name for op in module.main.body.block.ops] == ["graph.reshape", "func.return"]
    assert interpreter.run(module, [np.zeros((5, 12), np.float32)])[0].shape == (5, 4, 3)


@pytest.mark.parametrize("seed", range(200))
def test_a_flipped_or_cut_file_gives_a_module_or_an_error_of_ours(seed: int) -> None:
    body = """(float[N, 4] x) => (float[N, 2] y) <float[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}> {
        s = Shape(x) r = Reshape(x, s) m = MatMul(r, w) c = local.scale <factor = 2.0> (m) y = Softmax <axis = -1> (c)
    }"""
    data = bytearray(parse(body, functions=SCALE, imports=LOCAL).SerializeToString())
    rng = np.random.default_rng(seed)
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(len(data))] = rng.integers(256)
    if seed % 5 == 0:
        data = data[: rng.integers(len(data))]
    try:
        load(bytes(data))
    except MlcError as error:
        assert str(error)


def test_an_operand_of_a_dtype_the_operator_does_not_take_is_refused() -> None:
    with pytest.raises(DTypeError, match=r"input 1 \(shape\) is f32, the operator takes i64"):
        load(parse("(float[2, 3] x, float[2] s) => (float[a, b] y) { y = Reshape(x, s) }"))


def test_constants_too_large_to_decide_a_shape_are_not_computed() -> None:
    body = """(float[6] x) => (float[a] y) <int64[1] huge = {1099511627776}> {
        ones = ConstantOfShape(huge) total = ReduceSum <keepdims = 1> (ones) n = Cast <to = 7> (total) y = Reshape(x, n)
    }"""
    with pytest.raises(NeedsValue):
        load(parse(body))


def test_a_dimension_that_would_write_out_to_millions_of_terms_is_a_symbol() -> None:
    model = graph(node("Relu", ["x"], ["y"]))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "((((a+b+c+d+e)**9)**9)**9)"
    assert len(load(model).symbols) == 1


def test_split_takes_more_sizes_than_are_followed_one_by_one() -> None:
    sizes = np.arange(5000) % 2
    names = [f"s{i}" for i in range(len(sizes))]
    split = helper.make_node("Split", ["x", "sizes"], names, axis=0)
    model = helper.make_model(
        helper.make_graph(
            [split, helper.make_node("Add", ["s1", "s4999"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2500])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
            [onnx.numpy_helper.from_array(sizes, "sizes")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    np.testing.assert_array_equal(run(model, np.arange(2500, dtype=np.float32))[0], [2499])


def test_branches_deep_in_a_function_are_looked_at_once_each() -> None:
    """Whether a function's body refers to its attributes: not once more for each branch around a branch."""

    def branch(depth: int) -> onnx.GraphProto:
        value = helper.make_tensor_value_info(f"r{depth}", TensorProto.FLOAT, None)
        if not depth:
            return helper.make_graph([helper.make_node("Sin", ["x"], ["r0"])], "leaf", [], [value])
        cosine = helper.make_node("Cos", ["x"], ["e"])
        other = helper.make_graph([cosine], "e", [], [helper.make_tensor_value_info("e", TensorProto.FLOAT, None)])
        node = helper.make_node("If", ["c"], [f"r{depth}"], then_branch=branch(depth - 1), else_branch=other)
        return helper.make_graph([node], "branch", [], [value])

    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    body = helper.make_function("own", "f", ["x", "c"], ["r25"], branch(25).node, opsets[:1])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    c, y = helper.make_tensor_value_info("c", TensorProto.BOOL, []), helper.make_tensor_value_info("y", 1, None)
    graph = helper.make_graph([helper.make_node("f", ["x", "c"], ["y"], domain="own")], "g", [x, c], [y])
    made = load(helper.make_model(graph, opset_imports=opsets, functions=[body], ir_version=9))
    values = np.linspace(0, 1, 4, dtype=np.float32)
    for flag, function in ((True, np.sin), (False, np.cos)):
        np.testing.assert_allclose(made.run(values, np.array(flag))[0], function(values), rtol=1e-6)


def test_inputs_behind_a_value_are_found_where_they_are_asked_for() -> None:
    """A sum of 3,000 inputs, one after the other, then a shape: the error names them all. No record holds them."""
    count = 3000
    one = [helper.make_tensor_value_info(f"x{n}", TensorProto.INT64, [1]) for n in range(count)]
    nodes = [helper.make_node("Add", [f"s{n - 1}" if n > 1 else "x0", f"x{n}"], [f"s{n}"]) for n in range(1, count)]
    nodes.append(helper.make_node("ConstantOfShape", [f"s{count - 1}"], ["y"]))
    graph = helper.make_graph(nodes, "g", one, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(NeedsValue) as caught:
        load(model)
    assert caught.value.inputs == tuple(f"x{n}" for n in range(count))
