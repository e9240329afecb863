"""The smallest model of which something still holds, found in the library and by the command."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import ModelProto

import mlc
from mlc.cli import main
from mlc.cli.writing import write_module
from mlc.ir import interpreter
from mlc.ir.module import Module
from mlc.ir.sample_sizes import sample_binding
from mlc.ir.samples import random_inputs
from mlc.reduction import Reduction, reduce

MODEL = """
<ir_version: 9, opset_import: ["" : 17]>
network (float[N, 3, 12, 12] x, float[N, 5] side) => (float[N, 5] y, float[N, 5] z, float[N, 8, 12, 12] r)
<float[8, 3, 3, 3] kernel, float[8] bias, float[8, 5] w>
{
   [conv] c = Conv<pads = [1, 1, 1, 1]>(x, kernel, bias)
   [relu] r = Relu(c)
   [pool] p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)
   [mean] m = GlobalAveragePool(p)
   [shape] s = Constant<value_ints = [-1, 8]>()
   [flat] f = Reshape(m, s)
   [product] d = MatMul(f, w)
   [sum] a = Add(d, side)
   [soft] y = Softmax(a)
   [tanh] t = Tanh(y)
   [sigmoid] z = Sigmoid(t)
}
"""
BRANCHED = """
<ir_version: 9, opset_import: ["" : 17]>
branched (float[N, 4] x, bool c) => (float[N, 4] y)
{
   a = Relu(x)
   b = Exp(a)
   d = If(c) <
       then_branch = then () => (float[N, 4] t) { t = Add(b, a) },
       else_branch = other () => (float[N, 4] e) { e = Neg(b) }
   >
   y = Tanh(d)
}
"""
FOREIGN = """
<ir_version: 9, opset_import: ["" : 17, "com.acme" : 1]>
foreign (float[N, 4] x) => (float[N, 4] y)
{
   a = Relu(x)
   b = com.acme.FancyNorm(a)
   c = com.acme.FancyNorm(b)
   y = Relu(c)
}
"""


def model(text: str = MODEL) -> ModelProto:
    proto = onnx.parser.parse_model(text)
    for declared in proto.graph.value_info:
        shape = [dim.dim_value for dim in declared.type.tensor_type.shape.dim]
        values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, declared.name))
    del proto.graph.value_info[:]
    return proto


def ops(proto: ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def weight(proto: ModelProto, name: str) -> np.ndarray | None:
    found = [tensor for tensor in proto.graph.initializer if tensor.name == name]
    return onnx.numpy_helper.to_array(found[0]) if found else None


def with_op(op: str) -> Reduction:
    return reduce(model(), lambda candidate: op in ops(candidate))


@pytest.mark.parametrize("op", sorted(set(ops(model())) - {"Constant"}))
def test_of_a_fault_in_one_operator_one_node_is_left(op: str) -> None:
    found = with_op(op)
    assert found.complete and ops(found.model) == [op]
    onnx.checker.check_model(found.model)
    dims = [dim for value in found.model.graph.input for dim in value.type.tensor_type.shape.dim]
    assert all(dim.dim_value == 1 for dim in dims)
    assert all(not onnx.numpy_helper.to_array(t).any() for t in found.model.graph.initializer if t.data_type == 1)


def test_the_same_tries_give_the_same_bytes() -> None:
    one, two = with_op("MatMul"), with_op("MatMul")
    assert one.tries == two.tries and one.model.SerializeToString() == two.model.SerializeToString()


def test_two_nodes_that_only_fail_together_are_kept_with_what_joins_them() -> None:
    def holds(proto: ModelProto) -> bool:
        made = {name: node.op_type for node in proto.graph.node for name in node.output}
        return any(n.op_type == "Add" and "MatMul" in map(made.get, n.input) for n in proto.graph.node)

    found = reduce(model(), holds).model
    assert ops(found) == ["MatMul", "Add"] and [value.name for value in found.graph.output] == ["a"]


def test_a_result_gives_what_the_whole_model_gave_when_numbers_decide() -> None:
    """The fault is a number: the rows of a Softmax do not sum to 1 where its axis has one element less than five."""

    def holds(proto: ModelProto) -> bool:
        if "Softmax" not in ops(proto) or any(value.name == "x" for value in proto.graph.input):
            return "Softmax" in ops(proto)
        shapes = {v.name: [d.dim_value or 2 for d in v.type.tensor_type.shape.dim] for v in proto.graph.input}
        feeds = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
        try:
            outputs = onnx.reference.ReferenceEvaluator(proto).run(None, feeds)
        except (ValueError, IndexError, TypeError):
            return False
        return any(output.ndim == 2 and output.shape[1] > 3 for output in outputs)

    found = reduce(model(), holds).model
    assert ops(found) == ["Softmax"]
    assert [dim.dim_value for dim in found.graph.input[0].type.tensor_type.shape.dim] == [1, 5]


def test_weights_become_zeros_where_they_may_and_ones_where_zeros_do_not_do() -> None:
    def holds(proto: ModelProto) -> bool:
        w, kernel = weight(proto, "w"), weight(proto, "kernel")
        return w is not None and kernel is not None and w.shape == (8, 5) and bool((w != 0).all())

    found = reduce(model(), holds).model
    w, kernel = weight(found, "w"), weight(found, "kernel")
    assert w is not None and (w == 1).all()
    assert kernel is not None and not kernel.any() and kernel.size < 8 * 3 * 9


def test_a_size_is_shrunk_as_far_as_it_goes() -> None:
    def holds(proto: ModelProto) -> bool:
        dims = [dim.dim_value for value in proto.graph.input for dim in value.type.tensor_type.shape.dim]
        return any(size % 3 == 0 and size > 2 for size in dims) and "Relu" in ops(proto)

    found = reduce(model(), holds).model
    (value,) = found.graph.input
    assert sorted(dim.dim_value for dim in value.type.tensor_type.shape.dim) == [1, 1, 3, 3]


def test_what_a_branch_reads_from_outside_becomes_an_input() -> None:
    found = reduce(model(BRANCHED), lambda candidate: "If" in ops(candidate)).model
    assert ops(found) == ["If"] and {value.name for value in found.graph.input} == {"a", "b", "c"}
    onnx.checker.check_model(found)


def test_operators_of_other_domains_are_kept_and_cut_like_others() -> None:
    found = reduce(model(FOREIGN), lambda candidate: "FancyNorm" in ops(candidate)).model
    assert ops(found) == ["FancyNorm"] and [value.name for value in found.graph.input] == ["a"]


def test_what_holds_of_the_whole_model_alone_stays_whole() -> None:
    whole = model()
    found = reduce(whole, lambda candidate: False)
    assert found.complete and found.model is whole and found.tries > 10


def test_an_interrupt_or_the_end_of_the_time_leaves_the_smallest_so_far() -> None:
    sizes: list[int] = []

    def holds(candidate: ModelProto) -> bool:
        if len(sizes) == 3:
            raise KeyboardInterrupt
        return True

    found = reduce(model(), holds, progress=lambda smaller, tries: sizes.append(len(smaller.graph.node)))
    assert not found.complete and len(found.model.graph.node) == sizes[-1] and found.tries == 4
    assert reduce(model(), lambda candidate: True, seconds=0.0).tries == 0


# The command ---------------------------------------------------------------------------------------------------------
FAILS = "! grep -q Tanh {}"  # 1 where the model has that operator, 0 where it has not


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable:
    monkeypatch.chdir(tmp_path)
    Path("network.onnx").write_bytes(model().SerializeToString())

    def call(*words: object) -> tuple[int, str, str]:
        code = main(["reduce", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_the_command_writes_the_smallest_model_and_says_how_far_it_came(command: Callable) -> None:
    before = Path("network.onnx").read_bytes()
    code, out, err = command("network.onnx", "--shell", "--while", FAILS)
    assert code == 0 and "no smaller one is left to try" in out and "wrote      network.reduced.onnx" in out
    assert "first      the command exits with 1: 11 nodes" in err and "after 1 try\n" in err
    assert ops(onnx.load("network.reduced.onnx")) == ["Tanh"]
    assert Path("network.onnx").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["network.onnx", "network.reduced.onnx"]
    again = command("network.onnx", "--shell", "--while", FAILS)
    assert again[0] == 1 and "network.reduced.onnx is there already" in again[2]
    assert command("network.onnx", "--shell", "--while", FAILS, "-o", "network.reduced.onnx", "-q")[0] == 0


def test_text_that_the_command_prints_can_be_what_is_kept(command: Callable) -> None:
    code, _, _ = command("network.onnx", "--while", "grep -c -a Sigmoid", "--expect", "1", "-o", "out.onnx", "-q")
    assert code == 0 and ops(onnx.load("out.onnx")) == ["Sigmoid"]


def test_mlc_itself_is_found_and_its_status_counts(command: Callable) -> None:
    text = '<ir_version: 9, opset_import: ["" : 17, "acme" : 1]> g (float[1] x) => (float[1] y) { y = acme.Norm(x) }'
    Path("foreign.onnx").write_bytes(model(text).SerializeToString())
    code, out, err = command("foreign.onnx", "--while", "mlc check {} -q", "-o", "out.onnx")
    assert code == 0 and "the command exits with 2" in err and ops(onnx.load("out.onnx")) == ["Norm"], out


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("if grep -q Softmax {}; then kill -SEGV $$; fi", "the command ends with SIGSEGV"),
        ("if grep -q Softmax {}; then sleep 60; fi", "the command runs out of its time"),
    ],
)
def test_a_crash_and_a_hang_are_behaviour_too(script: str, said: str, command: Callable) -> None:
    code, _, err = command("network.onnx", "--shell", "--while", script, "-o", "out.onnx", "--timeout", "0.3")
    assert code == 0 and said in err and ops(onnx.load("out.onnx")) == ["Softmax"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["network.onnx", "--while", "true"], "the command succeeds on the model as it is"),
        (["network.onnx", "--while", "no-such-command {}"], "there is no command 'no-such-command'"),
        (["network.onnx", "--while", "no-such-command {}", "--shell"], "cannot be run"),
        (["network.onnx", "--while", "false", "--expect", "hello"], "does not print 'hello'"),
        (["network.onnx", "--while", ""], "names no command"),
        (["network.onnx", "--while", "echo 'open"], "no closing quotation"),
        (["network.onnx", "--while", "false", "-o", "network.onnx"], "is what the command reads"),
        (["network.onnx", "--while", "false", "--seconds", "0"], "is no time"),
        (["network.onnx"], "--while"),
        (["text.onnx", "--while", "false"], "not an ONNX model"),
        (["ir.mlir", "--while", "false"], "has no function @main"),
        (["missing.onnx", "--while", "false"], "no such file"),
    ],
)
def test_what_cannot_be_reduced_is_said_at_once(words: list[str], said: str, command: Callable) -> None:
    Path("text.onnx").write_text("hello")
    Path("ir.mlir").write_text("builtin.module {}")
    code, _, err = command(*words)
    assert code == 1 and said in err and "Traceback" not in err, err
    assert sorted(path.name for path in Path().iterdir()) == ["ir.mlir", "network.onnx", "text.onnx"]


def test_weights_in_a_file_beside_the_model_go_with_it(command: Callable) -> None:
    onnx.save(model(), "apart.onnx", save_as_external_data=True, location="apart.data", size_threshold=0)
    code, _, _ = command("apart.onnx", "--shell", "--while", "! grep -q Conv {}", "-o", "out.onnx", "-q")
    small = onnx.load("out.onnx")
    assert code == 0 and ops(small) == ["Conv"] and not any(t.external_data for t in small.graph.initializer)


# Modules -----------------------------------------------------------------------------------------------------------------
def written(module: Module, path: Path) -> Path:
    write_module(path, module)
    return path


@pytest.mark.parametrize(
    "op", ["graph.softmax", "graph.convolution", "graph.contract", "graph.reduce_window", "graph.tanh"]
)
def test_a_module_shrinks_to_the_op_that_matters(op: str) -> None:
    module = mlc.load(model())
    text = str(module)
    found = reduce(module, lambda candidate: op in str(candidate))
    assert found.complete and str(module) == text
    kinds = [each.name for each in found.model.main.body.walk() if each.results and each.name != "graph.weight"]
    assert kinds == [op]
    mlc.compile(found.model)


def test_a_module_keeps_what_two_ops_do_together() -> None:
    found = reduce(mlc.load(model()), lambda c: "graph.relu" in str(c) and "graph.tanh" in str(c))
    kinds = [op.name for op in found.model.main.body.walk() if op.results]
    assert sorted(kinds) == ["graph.relu", "graph.tanh"]
    x = interpreter.run(found.model, random_inputs(found.model, sample_binding(found.model), 0))
    assert len(x) == len(found.model.output_names) <= 2


def test_bodies_shrink_or_take_the_place_of_their_op() -> None:
    module = mlc.load(model(BRANCHED))
    assert "graph.if" in str(module)
    kept = reduce(module, lambda candidate: "graph.if" in str(candidate)).model
    (branch,) = [op for op in kept.main.body.walk() if op.results]
    assert branch.name == "graph.if" and all(len(list(region.block.ops)) == 1 for region in branch.regions)
    without = reduce(module, lambda candidate: "graph.neg" in str(candidate)).model
    assert [op.name for op in without.main.body.walk() if op.results] == ["graph.neg"]
    fused = mlc.PassManager("decompose,fuse").run(mlc.load(model()))
    found = reduce(fused, lambda candidate: "graph.exp" in str(candidate)).model
    assert len([op for op in found.main.body.walk() if op.name != "graph.group" and op.results]) == 1


def test_weights_of_a_module_become_plain_where_they_do_not_matter() -> None:
    module = mlc.load(model())
    before = {key: module.weights.get(key).copy() for key in module.weights}

    def holds(candidate: Module) -> bool:
        return str(candidate) == str(module) and any(candidate.weights.get(key).any() for key in candidate.weights)

    found = reduce(module, holds).model
    assert [key for key in before if found.weights.get(key).any()] and not all(
        found.weights.get(key).any() for key in before if key in found.weights
    )
    for key, array in before.items():
        np.testing.assert_array_equal(module.weights.get(key), array)


def test_the_command_reduces_ir_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    written(mlc.load(model()), Path("m.mlir"))
    Path("fails.py").write_text(
        "import sys\nfrom pathlib import Path\nfolder = Path(sys.argv[1])\n"
        "sys.exit(9 if 'graph.contract' in folder.read_text() and folder.with_suffix('.safetensors').exists() else 0)\n"
    )
    assert main(["reduce", "m.mlir", "--while", f"{sys.executable} fails.py"]) == 0
    said = capsys.readouterr()
    assert "the command exits with 9" in said.err and "wrote      m.reduced.mlir" in said.out
    assert "wrote      m.reduced.safetensors" in said.out and " 1 output" in said.out
    text = Path("m.reduced.mlir").read_text()
    assert "graph.contract" in text and "graph.convolution" not in text and "loc(unknown)" not in text
    assert main(["run", "m.reduced.mlir", "-q"]) == 0
    assert main(["opt", "m.mlir", "--passes", "decompose,expand-padding,fuse,outline", "-o", "low.mlir", "-q"]) == 0
    assert main(["reduce", "low.mlir", "--while", "false"]) == 1
    assert "before the pass outline" in capsys.readouterr().err
