"""The pass: what it appends, to which modules, and what it refuses."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlc
from mlc.errors import DTypeError, MlcError, NoDerivative, ShapeError
from mlc.ir import builder as g
from mlc.ir.module import Module
from mlc.passes.autodiff.differentiate import Autodiff
from mlc.passes.manager import PassManager
from tests.autodiff.derivatives import built, check_derivatives, derived, floats

F = "f64"


def ops(module: Module) -> int:
    return sum(op.name.startswith("graph.") for op in module.op.walk())


def transformed(module: Module, options: str) -> Module:
    return PassManager(f"autodiff{{{options}}}", verify_each=True).run(module)


def test_outputs_and_inputs_are_named_after_what_they_belong_to() -> None:
    module = built(lambda x, w: [g.reduce(g.mul(x, w), None, "sum"), g.exp(w)], [((3,), F), ((3,), F)])
    assert transformed(module, "wrt=x1").output_names == ["y0", "y1", "gradient.x1"]
    found = transformed(module, "wrt=x1,output=y1,mode=vjp")
    assert found.input_names == ["x0", "x1", "cotangent.y1"] and found.output_names == ["y0", "y1", "gradient.x1"]
    found = transformed(module, "wrt=x0,mode=jvp")
    assert found.input_names == ["x0", "x1", "tangent.x0"] and found.output_names[2:] == ["tangent.y0", "tangent.y1"]
    x, w, t = np.random.default_rng(0).standard_normal((3, 3))
    np.testing.assert_allclose(found.run(x, w, t)[2], (t * w).sum())
    np.testing.assert_array_equal(found.run(x, w, t)[3], np.zeros(3))


def test_the_pass_differentiates_what_it_made() -> None:
    module = built(lambda x: g.reduce(g.mul(g.mul(x, x), x), None, "sum"), [((4,), F)])
    twice = transformed(transformed(module, "wrt=x0"), "wrt=x0,output=gradient.x0,mode=vjp")
    x, c = np.random.default_rng(0).standard_normal((2, 4))
    assert twice.output_names == ["y0", "gradient.x0", "gradient.x0.2"]
    np.testing.assert_allclose(twice.run(x, c)[-1], 6 * x * c)


def test_an_op_without_a_rule_is_named_with_its_place() -> None:
    def make(x: Any) -> Any:
        with g.location("magic", file="model.onnx", index=7):
            return g.reduce(g.cast(g.cast(x, "f8e4m3fn"), F), None, "sum")

    with pytest.raises(NoDerivative, match="cast has no derivative") as caught:
        derived(built(make, [((3,), F)]), ["x0"], "gradient")
    assert "magic" in str(caught.value) and "model.onnx:7" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ("wrt=x1", DTypeError, r"no gradient by 'x1', which is i64\[3\]"),
        ("wrt=x7", MlcError, "there is no input 'x7'"),
        ("output=y1", ShapeError, r"a gradient is of one number, and the output 'y1' is f64\[3\]"),
        ("output=y2", DTypeError, r"no gradient of the output 'y2', which is i64\[3\]"),
        ("output=z", MlcError, "there is no output 'z'"),
        ("mode=both", MlcError, "no mode 'both'"),
    ],
)
def test_what_cannot_be_differentiated_is_refused(options: str, kind: type[MlcError], message: str) -> None:
    module = built(lambda x, n: [g.reduce(x, None, "sum"), x, n], [((3,), F), ((3,), "i64")])
    with pytest.raises(kind, match=message):
        transformed(module, options)


def test_depth_is_data_and_cost_is_linear() -> None:
    def chain(length: int) -> Module:
        def make(x: Any) -> Any:
            for n in range(length):
                x = g.sin(x) if n % 2 else g.mul(x, x)
            return g.reduce(x, None, "sum")

        return built(make, [((2,), F)])

    times = []
    for length in (1000, 4000):
        module = chain(length)
        start = time.process_time()
        found = derived(module, ["x0"], "gradient")
        times.append(time.process_time() - start)
        assert ops(found) <= 3 * length
    assert times[1] < 9 * times[0]  # linear: 4


def test_a_value_with_many_uses_has_one_running_sum() -> None:
    def make(x: Any) -> Any:
        total = x
        for _ in range(500):
            total = g.add(total, g.mul(x, x))
        return g.reduce(total, None, "sum")

    found = derived(built(make, [((2,), F)]), ["x0"], "gradient")
    x = np.array([0.5, -2.0])
    np.testing.assert_allclose(found.run(x)[1], 1 + 1000 * x)


@pytest.mark.parametrize("level", [0, 2])
def test_derivatives_compile_like_any_graph(level: int) -> None:
    def make(x: Any, w: Any, s: Any) -> Any:
        y = g.layer_norm(g.gelu(g.matmul(x, w)), s, None, [1])
        return g.reduce(g.mul(g.softmax(y, 1), y), None, "sum")

    module = built(make, [(("N", 5), "f32"), ((5, 7), "f32"), ((7,), "f32")])
    found = PassManager([Autodiff()], verify_each=True).run(module)
    exe = mlc.compile(found, opt_level=level)
    rng = np.random.default_rng(0)
    for n in (1, 6):
        given = [rng.standard_normal(s).astype(np.float32) for s in ((n, 5), (5, 7), (7,))]
        for value, expected in zip(exe(*given), found.run(*given), strict=True):
            np.testing.assert_allclose(value, expected, rtol=2e-5, atol=2e-5)


def test_the_command_line_differentiates_an_imported_model(capsys: pytest.CaptureFixture[str]) -> None:
    from mlc.cli import main

    model = Path(__file__).parents[1] / "onnx_models" / "resnet18.symbolic.legacy.onnx"
    passes = "weights-to-arguments{weights=fc.*},autodiff{wrt=fc.weight,output=logits,mode=vjp}"
    assert main(["opt", str(model), "--passes", passes]) == 0
    text = capsys.readouterr().out
    module = Module.parse(text, mlc.load(str(model)).weights)
    assert module.output_names == ["logits", "gradient.fc.weight"]
    assert module.input_names == ["x", "fc.weight", "cotangent.logits"]
    rng = np.random.default_rng(0)
    x, w, c = (rng.standard_normal(s).astype(np.float32) for s in ((2, 3, 16, 16), (10, 16), (2, 10)))
    logits, gradient = module.run(x, w, c)
    step = rng.standard_normal(w.shape).astype(np.float32)
    np.testing.assert_allclose((gradient * step).sum(), ((module.run(x, w + step, c)[0] - logits) * c).sum(), rtol=1e-4)


# Broadcasting: NumPy's rules, where the cotangent of what was repeated is summed up.
SHAPES = [(), (1,), (3,), (1, 1), (1, 3), (2, 1), (2, 3), (4, 1, 3), (4, 2, 3), (0,), (2, 0), (1, 0)]
PAIRS = []
for _a in SHAPES:
    for _b in SHAPES:
        try:
            np.broadcast_shapes(_a, _b)
        except ValueError:
            continue
        PAIRS.append((_a, _b))


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=str)
def test_broadcasting_in_element_wise_ops(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(a), rng.standard_normal(b)
    module = built(lambda x, y: g.mul(*g.lift(x, y)), [(a, F), (b, F)])
    found = derived(module, ["x0", "x1"], "vjp")
    c = rng.standard_normal(np.broadcast_shapes(a, b))
    _, dx, dy = found.run(x, y, c)
    for got, whole, shape in ((dx, c * y, a), (dy, c * x, b)):
        lead = whole.ndim - len(shape)
        repeated = tuple(n for n in range(whole.ndim) if n < lead or (shape[n - lead] == 1 and whole.shape[n] != 1))
        np.testing.assert_allclose(got, whole.sum(repeated).reshape(shape), atol=1e-12)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((1, 3), (3, 1)), ((5, 2, 3), (3,)), ((3,), (5, 3, 2)),
        ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((5, 2, 3), (1, 3, 4)),
        ((6, 1, 2, 3), (5, 3, 4)), ((2, 0), (0, 3)), ((0, 3), (3, 2)), ((2, 3), (3, 0)),
    ],
    ids=str,
)  # fmt: skip
def test_broadcasting_in_products_of_matrices(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    module = built(g.matmul, [(a, F), (b, F)])
    check_derivatives(module, [rng.standard_normal(a), rng.standard_normal(b)], order=1)
    assert floats(module) == ["x0", "x1"]
