"""Whole programs: sizes and checks, names, bodies, real models; they run alone and agree with the interpreter."""

import ast
import runpy
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

import mlc
from mlc.codegen.python.lines import WIDTH
from mlc.codegen.python.source import source, write_weights
from mlc.frontends.onnx import load
from mlc.ir import builder as g
from mlc.ir import interpreter
from mlc.ir.module import Module
from mlc.ir.samples import random_inputs
from mlc.ir.types import numpy_dtype
from mlc.optim import Adam
from mlc.passes.manager import PassManager
from tests.codegen.printed import assert_agrees, call, distance, namespace
from tests.ir.examples import EXAMPLES
from tests.onnx_models import PATHS, bindings, signature
from tests.passes.graphs import modules


def module_of(function, *inputs, name="example"):
    m = g.module_builder(name)
    with m.function(inputs=inputs) as values:
        found = function(*values)
        m.outputs(found if isinstance(found, list) else [("y", found)])
    return m.finish()


@pytest.mark.parametrize("path", [p for p in PATHS if "dynamo" not in p.name], ids=lambda path: path.name.split(".")[0])
def test_a_model_printed_agrees_with_the_interpreter_at_two_bindings(path):
    module = PassManager("simplify,cse,dce").run(load(path))
    text = source(module)
    assert "np.float64(" not in text or "resize" in path.name  # nothing is computed in f64 that the model does not
    for seed, sizes in enumerate(bindings(path, count=2)):
        feeds = signature(path).feeds(sizes, seed)
        assert_agrees(module, [feeds[name] for name in module.input_names], text=text)


@settings(max_examples=25, deadline=None)
@given(modules())
def test_random_modules_agree_at_every_size_also_when_fused(module):
    for form in (module, PassManager("decompose,expand-padding,fuse").run(module)):
        text = source(form)
        for size in (0, 1, 2, 5):
            assert_agrees(form, random_inputs(module, {"N": size}, seed=size), 1e-4, text, least=1.0)


def test_a_program_runs_alone_with_its_weights_beside_it(tmp_path):
    path = next(p for p in PATHS if p.name.startswith("resnet18.symbolic.legacy"))
    module = load(path)
    (tmp_path / "resnet.py").write_text(source(module))
    write_weights(module, tmp_path / "resnet.npz")
    feeds = signature(path).feeds(bindings(path, count=1)[0], 0)
    x = feeds["x"]
    np.save(tmp_path / "x.npy", x)
    program = (
        "import sys, runpy, numpy as np\n"
        "before = set(sys.modules)\n"
        "main = runpy.run_path('resnet.py')['main']\n"
        "np.save('y.npy', main(np.load('x.npy')))\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(names - set(sys.stdlib_module_names) - {'numpy'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
    assert distance(np.load(tmp_path / "y.npy"), interpreter.run(module, [x])[0]) <= 1e-5


def test_weights_of_other_dtypes_are_stored_as_bytes_and_read_again(tmp_path):
    rng = np.random.default_rng(0)

    def build(x):
        arrays = [
            rng.integers(0, 100, (5, 4)).astype(np.uint8).view(numpy_dtype(t)) for t in ("f8e4m3fn", "i8", "bool")
        ]
        arrays.append(rng.standard_normal((5, 4)).astype(numpy_dtype("bf16")))
        return [(f"y{n}", g.add(x, g.cast(g.constant(a, f"weight {n}"), "f32"))) for n, a in enumerate(arrays)]

    module = module_of(build, ("x", (5, 4), "f32"))
    file = tmp_path / "program.py"
    file.write_text(source(module))
    write_weights(module, file.with_suffix(".npz"))
    first = file.with_suffix(".npz").read_bytes()
    write_weights(module, file.with_suffix(".npz"))
    assert file.with_suffix(".npz").read_bytes() == first
    found = namespace(file.read_text() + f"\n__file__ = {str(file)!r}\n")
    x = np.ones((5, 4), np.float32)
    for y, reference in zip(found["main"](x), interpreter.run(module, [x]), strict=True):
        np.testing.assert_array_equal(y, reference)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_gradients_print_like_any_graph(example):
    """Backward, of the first output that is of floats."""
    module = example.module()
    floats = [
        name for name, (_, dtype) in zip(module.output_names, module.output_types, strict=True) if dtype[0] == "f"
    ]
    inputs = [name for name, (_, dtype) in zip(module.input_names, module.input_types, strict=True) if dtype[0] == "f"]
    if not floats or not inputs:
        return
    try:
        backward = PassManager(f"autodiff{{mode=vjp,output={floats[0]}}}").run(module)
    except mlc.MlcError:  # an op without a derivative
        return
    arrays = example.arrays()
    y = interpreter.run(module, arrays)[module.output_names.index(floats[0])]
    cotangent = np.random.default_rng(0).standard_normal(y.shape).astype(y.dtype)
    assert_agrees(backward, [*arrays, cotangent], least=1.0)


def test_a_training_step_with_its_optimiser_prints_and_agrees():
    def loss(p, x, y):
        hidden = mlc.numpy.maximum(x @ p["w"] + p["b"], 0)
        return mlc.numpy.mean((hidden.sum(axis=1) - y) ** 2)

    def step(p, state, x, y):
        value, gradient = mlc.value_and_grad(loss)(p, x, y)
        return *adam.update(gradient, state, p), value

    rng = np.random.default_rng(0)
    adam = Adam(lr=1e-2)
    p = {"w": rng.standard_normal((3, 8)).astype(np.float32), "b": np.zeros(8, np.float32)}
    x, y = rng.standard_normal((5, 3)).astype(np.float32), rng.standard_normal(5).astype(np.float32)
    module = mlc.jit(step).trace(p, adam.init(p), x, y).module
    arrays = [np.abs(a) for a in random_inputs(module, {}, seed=0)]
    assert_agrees(module, arrays, text=mlc.python_source(module))


# Sizes ------------------------------------------------------------------------------------------------------------------


def test_sizes_are_read_off_the_arguments_and_solved_for():
    def build(a, b, c):
        return [("y", g.concatenate([a, b], 0)), ("z", g.reshape(c, (g.shape_of(c)[0] * 3,)))]

    module = module_of(build, ("a", ("2*N + 1", 3), "f32"), ("b", ("M*M", 3), "f32"), ("c", ("N + M", 3), "f32"))
    for n, m in ((0, 0), (1, 2), (4, 3)):
        arrays = [np.arange(rows * 3, dtype=np.float32).reshape(rows, 3) for rows in (2 * n + 1, m * m, n + m)]
        assert_agrees(module, arrays)


def bounded():
    def build(x, y):
        with g.location("sum", "model.onnx", 3):
            return g.add(*g.lift(x, y))

    module = module_of(build, ("x.1", ("N", 3), "f32"), ("y", ("M", 3), "f32"))
    module.symbols["N"] = (1, 8)
    return module


@pytest.mark.parametrize(
    "shapes, dtype, message",
    [
        (((2, 3), (2, 3)), np.float64, r"x\.1 is float64, not float32"),
        (((2,), (2, 3)), np.float32, r"x\.1 has the shape \[2\], not 2 axes"),
        (((2, 4), (2, 3)), np.float32, r"x\.1 has the shape \[2, 4\], not \[N, 3\] = \[2, 3\]"),
        (((9, 3), (9, 3)), np.float32, r"N is 9, outside 1\.\.8"),
        (((2, 3), (3, 3)), np.float32, r".*N must be M; N is 2, M is 3|.*M must be N; M is 3, N is 2"),
    ],
)
def test_arguments_that_do_not_fit_are_errors_that_name_them(shapes, dtype, message):
    with pytest.raises(ValueError, match=message):
        call(bounded(), [np.ones(shape, dtype) for shape in shapes])


def test_a_size_that_data_decides_is_checked_where_it_is_counted():
    def build(x, y):
        places = g.squeeze(g.nonzero(g.gt(x, g.full_like(x, 0))), [1])
        return [("y", g.add(*g.lift(g.gather(x, places, 0), y))), ("n", g.dimension(g.shape_of(places)[0]))]

    module = module_of(build, ("x", ("N",), "f32"), ("y", ("M",), "f32"))
    x = np.array([1, -1, 2], np.float32)
    assert_agrees(module, [x, np.array([5, 6], np.float32)])
    with pytest.raises(ValueError, match="must be"):
        call(module, [x, np.ones(3, np.float32)])


# Names ------------------------------------------------------------------------------------------------------------------


def test_names_are_valid_unique_and_of_the_model():
    def build(*xs):
        values = []
        for n, node in enumerate(
            ["/block/conv", "/block/conv", "np", "relu", "", "x", "lambda", "Größe", '"""\n__import__("os")']
        ):
            with g.location(node, 'evil"""\n.onnx', n):
                values.append(g.exp(g.add(xs[n % len(xs)], xs[0])))
        return [
            (name, v)
            for name, v in zip(["def", "y.1", "y_1", "np", "weights", "main", "N", "", "Z"], values, strict=True)
        ]

    inputs = [(name, ("N", "N.1"), "f32") for name in ("x", "x.1", "x_1", "1", "class", "softmax", 'a"b\\n{N}')]
    module = module_of(build, *inputs, name='odd"""name')
    module.source = '/tmp/"""\nprint(1)#.onnx'
    text = source(module)
    tree = ast.parse(text)
    assert [type(node) for node in tree.body if not isinstance(node, (ast.Import, ast.FunctionDef))] == [ast.Expr]
    (main,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"]
    names = [argument.arg for argument in main.args.args]
    assert len(set(names)) == len(names) == len(inputs) and names[0] == "x"
    assert_agrees(module, [np.full((2, 3), n, np.float32) for n in range(len(inputs))], text=text)


def test_a_value_is_called_after_the_node_that_it_leaves():
    def build(x):
        with g.location("/layer1/layer1.0/conv1/Conv", "m.onnx", 0):
            y = g.reduce(g.mul(x, x), [1], "sum")
        with g.location("node_relu_3", "m.onnx", 1):
            z = g.relu(y)
        return [("y", g.add(z, y))]

    text = source(module_of(build, ("x", (2, 3), "f32")))
    assert "layer1_0_conv1 = (x * x).sum(axis=1)  # /layer1/layer1.0/conv1/Conv" in text
    assert "y = relu(layer1_0_conv1) + layer1_0_conv1" in text


def test_many_inputs_and_outputs_are_listed_below():
    def build(*xs):
        return [(f"out.{n}", g.exp(x)) for n, x in enumerate(xs)]

    module = module_of(build, *((f"in.{n}", (2,), "f32") for n in range(40)))
    text = source(module)
    assert (
        "\n    out.0, out.1, out.2, out.3, out.4, out.5, ... = main(in.0, in.1, in.2, in.3, in.4, in.5, ...)\n" in text
    )
    assert "in.39" in text and max(map(len, text.splitlines())) <= WIDTH + 10
    assert_agrees(module, [np.ones(2, np.float32)] * 40, text=text)
    assert "\n    main(x)\n" in source(module_of(lambda x: [], ("x", (2,), "f32")))


def test_lines_stay_short_where_brackets_allow():
    path = next(p for p in PATHS if p.name.startswith("bert"))
    main = source(load(path)).partition("# What it calls")[0]
    assert max(map(len, main.splitlines())) <= WIDTH + 10


# Bodies -----------------------------------------------------------------------------------------------------------------


def nested(depth):
    """A scan in a scan in a scan."""

    def build(x, levels):
        if not levels:
            return g.add(g.sin(x), g.full_like(x, 0.5))

        def body(carries, slices, constants):
            (y,) = carries
            return [g.mul(build(y, levels - 1), constants[0])], []

        (y,), _ = g.scan(body, [x], [], 1 if levels > 2 else 2, [g.full_like(x, 0.9)])
        return y

    return module_of(lambda x: build(x, depth), ("x", ("N", 2), "f32"))


@pytest.mark.parametrize("depth", [1, 3, 12, 30])
def test_bodies_are_loops_and_deep_ones_functions(depth):
    module = nested(depth)
    text = source(module)
    assert text.count("    for t") == depth and ("def step" in text) == (depth > 8)
    assert_agrees(module, [np.ones((3, 2), np.float32)], text=text)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_swaps_its_carries_and_stacks_its_results_in_place(reverse):
    def build(x, c):
        def body(carries, slices, constants):
            a, b = carries
            return [b, g.add(a, slices[0])], [g.mul(a, constants[0]), slices[0]]

        finals, ys = g.scan(body, [c, g.full_like(c, 0)], [x], g.shape_of(x)[0], [c], reverse)
        return [(f"y{n}", y) for n, y in enumerate((*finals, *ys))]

    module = module_of(build, ("x", ("T", 2), "f32"), ("c", (2,), "f32"))
    for steps in (0, 1, 4):
        assert_agrees(module, [np.arange(steps * 2, dtype=np.float32).reshape(steps, 2), np.ones(2, np.float32)])


def test_branches_in_loops_that_a_condition_ends():
    def build(x, limit):
        def body(carries, constants):
            total, n = carries
            then, otherwise = lambda t: [g.add(t, t)], lambda t: [g.sub(t, g.full_like(t, 1))]
            odd = g.eq(g.bit_and(n, g.scalar(1, "i32")), g.scalar(1, "i32"))
            (total,) = g.cond(odd, then, otherwise, [total])
            n = g.add(n, g.scalar(1, "i32"))
            return g.lt(n, constants[0]), [total, n], [total]

        finals, ys = g.while_loop(body, g.lt(g.scalar(0, "i32"), limit), [x, g.scalar(0, "i32")], 7, [limit])
        (last,), _ = g.while_loop(
            lambda c, k: (g.lt(c[0], k[0]), [g.add(c[0], k[0])], []), g.lt(limit, limit), [limit], None, [limit]
        )
        return [(f"y{n}", y) for n, y in enumerate((*finals, *ys, last))]

    module = module_of(build, ("x", ("N",), "f32"), ("limit", (), "i32"))
    for limit in (0, 1, 5, 20):
        assert_agrees(module, [np.array([3, 4], np.float32), np.array(limit, np.int32)])


def test_calls_are_functions_that_know_the_sizes():
    def build(x):
        half = lambda x: [g.slice_axis(x, 0, 0, g.shape_of(x)[0] // 2), x]
        first, w = g.call(half, [x], "first half")
        (second,) = g.call(lambda x: [g.neg(x)], [first], "first half")
        return [("y", second), ("w", w)]

    module = module_of(build, ("x", ("N", 2), "f32"))
    text = source(module)
    assert "def first_half(x, N):" in text and "def first_half_1(" in text
    assert_agrees(module, [np.ones((5, 2), np.float32)], text=text)


def test_results_that_live_in_arguments_overwrite_them():
    text = """
func.func @main(%w: tensor<3xf32> {graph.name = "w"}, %g: tensor<3xf32> {graph.name = "g"})
    -> (tensor<3xf32> {graph.name = "old"}, tensor<3xf32> {graph.name = "new", graph.alias = "w"}) {
  %0 = graph.sub %w, %g : tensor<3xf32>, tensor<3xf32> -> tensor<3xf32>
  func.return %w, %0 : tensor<3xf32>, tensor<3xf32>
}"""
    module = Module.parse(text)
    w, change = np.array([1, 2, 3], np.float32), np.ones(3, np.float32)
    old, new = namespace(source(module))["main"](w, change)
    assert new is w and new.tolist() == [0, 1, 2] and old.tolist() == [1, 2, 3]
    w.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        call(module, [w, change])


def test_what_is_used_once_nests_and_what_is_used_twice_has_a_name():
    def build(x):
        y = g.mul(g.add(x, g.full_like(x, 1)), g.full_like(x, 2))
        return g.add(g.tanh(y), g.exp(y))

    text = source(module_of(build, ("x", ("N",), "f32")))
    assert "    mul = (x + 1.0) * 2.0\n    y = np.tanh(mul) + np.exp(mul)\n    return y\n" in text


def test_printing_is_linear_and_depth_is_no_recursion():
    def chain(length):
        def build(x):
            for n in range(length):
                x = g.sin(x) if n % 2 else g.add(x, x)
            return x

        module = module_of(build, ("x", ("N",), "f32"))
        start = time.perf_counter()
        text = source(module)
        return text, time.perf_counter() - start, module

    _, short, _ = chain(500)
    text, long, module = chain(4000)
    assert long <= 24 * short + 0.5
    assert_agrees(module, [np.array([0.1, 0.2], np.float32)], text=text)


def test_a_module_of_kernels_is_refused():
    module = PassManager("decompose,fuse,outline").run(module_of(g.exp, ("x", (3,), "f32")))
    with pytest.raises(mlc.MlcError, match="no graph any more"):
        source(module)


# What users call -------------------------------------------------------------------------------------------------------


def test_models_are_exported_with_their_weights(tmp_path):
    path = next(p for p in PATHS if p.name.startswith("vit_small.symbolic.legacy"))
    written = mlc.export_python(path, tmp_path / "vit.py")
    assert [file.name for file in written] == ["vit.py", "vit.npz"]
    assert written[0].read_text() == mlc.python_source(path) == mlc.python_source(mlc.load(path))
    feeds = list(signature(path).feeds(bindings(path, count=1)[0], 0).values())
    (reference,) = interpreter.run(mlc.load(path), feeds)
    assert distance(runpy.run_path(str(written[0]))["main"](*feeds), reference) <= 1e-5
    assert [file.name for file in mlc.export_python(module_of(g.exp, ("x", (3,), "f32")), tmp_path / "exp.py")] == [
        "exp.py"
    ]
    with pytest.raises(mlc.MlcError, match="cannot write"):
        mlc.export_python(path, tmp_path / "nowhere" / "vit.py")


def test_an_executable_and_its_package_give_the_source_of_what_was_compiled(tmp_path):
    exe = mlc.compile(Path(mlc.__file__).parent / "demo" / "digits.onnx")
    exe.save(tmp_path / "model.mlc")
    text = exe.source("python")
    assert text == mlc.load_executable(tmp_path / "model.mlc").source()
    images = np.random.default_rng(0).random((3, 1, 8, 8), np.float32)
    y = namespace(text)["main"](images, weights=exe.store.get_all(exe.store))
    assert distance(y, exe(images)) <= 1e-5
    with pytest.raises(mlc.MlcError, match="no source of kind 'c'"):
        exe.source("c")
