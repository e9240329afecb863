"""Cutting a model at a node: what is kept, what it computes, and the advice where to cut."""

import numpy as np
import onnx
import pytest

import mlc
from mlc.errors import MlcError, UnsupportedOp
from mlc.frontends.onnx import load
from mlc.frontends.onnx.cut import cut
from mlc.ir import interpreter
from mlc.references import onnxruntime

TEXT = """
<ir_version: 8, opset_import: ["" : 17, "com.acme" : 1]>
main (float[N, 4] x, float[N, 4] behind, bool flag) => (float[N, 2] y, float[N, 4] z)
<float[4] b = {1, 2, 3, 4}, float[4] unused = {0, 0, 0, 0}>
{
   [shift] a = Add(x, b)
   [halves] left, right = Split <axis = 1> (a)
   s = Sigmoid(left)
   [same] t = Neg(s)
   [same] u = Abs(s)
   [choice] c = If(flag) <
      then_branch = yes () => (float[N, 2] p) { p = Mul(t, right) },
      else_branch = no () => (float[N, 2] q) { q = Identity(u) }
   >
   [strange] f = com.acme.FancyNorm(c, behind)
   y = Relu(f)
   z = Neg(behind)
}
"""

X = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def model() -> onnx.ModelProto:
    return onnx.parser.parse_model(TEXT)


@pytest.mark.parametrize(
    ("until", "inputs", "outputs"),
    [
        ("shift", ["x"], ["a"]),
        ("halves", ["x"], ["left", "right"]),
        ("right", ["x"], ["right"]),
        ("s", ["x"], ["s"]),
        ("Sigmoid(s)", ["x"], ["s"]),
        ("u", ["x"], ["u"]),
        ("choice", ["x", "flag"], ["c"]),
        ("z", ["behind"], ["z"]),
    ],
)
def test_a_model_ends_where_it_is_cut(
    model: onnx.ModelProto, until: str, inputs: list[str], outputs: list[str]
) -> None:
    before = model.SerializeToString()
    module = load(model, until=until)
    assert model.SerializeToString() == before
    assert (module.input_names, module.output_names) == (inputs, outputs)
    feeds = {name: array for name, array in {"x": X, "behind": X, "flag": np.array(True)}.items() if name in inputs}
    found = interpreter.run(module, list(feeds.values()))
    model.graph.node[4].name = "other"  # onnxruntime refuses two nodes of one name, which the standard allows
    for array, want in zip(found, onnxruntime(model, until=until)(feeds), strict=True):
        np.testing.assert_allclose(array, want, rtol=1e-6)


def test_what_is_behind_the_cut_is_not_kept(model: onnx.ModelProto) -> None:
    part = cut(model, "choice").graph
    assert [node.op_type for node in part.node] == ["Add", "Split", "Sigmoid", "Neg", "Abs", "If"]
    assert [tensor.name for tensor in part.initializer] == ["b"]


@pytest.mark.parametrize(
    ("until", "message"),
    [
        ("choise", "there is no node or value 'choise' in the model\n  Did you mean 'choice'?"),
        ("same", "2 nodes are called 'same'\n  Name one of their outputs: 't', 'u'."),
        ("x", "there is no node or value 'x' in the model"),
        ("p", "there is no node or value 'p' in the model"),
        ("", "there is no node or value '' in the model"),
    ],
)
def test_a_name_that_is_no_node_or_several_is_an_error(model: onnx.ModelProto, until: str, message: str) -> None:
    with pytest.raises(MlcError) as caught:
        load(model, until=until)
    assert str(caught.value).startswith(message)


def test_the_advice_is_the_last_node_before_what_is_unsupported(model: onnx.ModelProto) -> None:
    with pytest.raises(UnsupportedOp) as caught:
        load(model)
    assert caught.value.remedy == "Everything before 'strange' compiles (6 nodes) with --until 'choice'."
    load(model, until="choice")


def test_the_advice_names_a_value_where_the_name_of_the_node_does_not_do(model: onnx.ModelProto) -> None:
    for node, value in ((3, "t"), (2, "s")):
        model.graph.node[6].input[0] = model.graph.node[node].output[0]
        with pytest.raises(UnsupportedOp, match=f"with --until '{value}'"):
            load(model)
        load(model, until=value)


def test_there_is_no_advice_where_nothing_comes_before(model: onnx.ModelProto) -> None:
    constant = onnx.helper.make_node("Constant", [], ["k"], value_floats=[1.0])
    model.graph.node.insert(0, constant)
    model.graph.node[7].input[:] = ["x", "k"]
    with pytest.raises(UnsupportedOp) as caught:
        load(model)
    assert caught.value.remedy is None


def test_only_onnx_models_are_cut(model: onnx.ModelProto) -> None:
    module = mlc.load(model, until="u")
    with pytest.raises(MlcError, match="a module cannot be cut at 'a'"):
        mlc.load(module, until="a")
    with pytest.raises(MlcError, match="IR text cannot be cut at 'a'"):
        mlc.compile(str(module).encode(), until="a")


def test_a_model_whose_inputs_decide_shapes_is_cut_as_well() -> None:
    model = onnx.parser.parse_model("""
<ir_version: 8, opset_import: ["" : 17]>
main (float[N] x, int64[2] shape, string[N] words) => (float[A, B] y, string[N] w)
{ r = Reshape(x, shape) y = Neg(r) w = Identity(words) }
""")
    exe = mlc.compile(model, until="r")
    assert [i.name for i in exe.get_inputs()] == ["x", "shape"]
    np.testing.assert_array_equal(exe(X.reshape(-1), np.array([6, 2])), X.reshape(6, 2))
