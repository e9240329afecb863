"""Every op has its derivative, or says why it has none."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.ir import builder as g
from mlc.ir.graph import GRAPH
from mlc.ir.graph.base import GraphOp
from mlc.ir.graph.composites import CompositeOp
from mlc.ir.graph.elementwise import OPS
from mlc.ir.module import Module
from mlc.ir.types import numpy_dtype
from mlc.passes.manager import PassManager
from tests.autodiff.derivatives import Spec, built, check_derivatives, derived, floats, weighted
from tests.ir.examples import EXAMPLES, Example

WITHOUT = {
    "bitcast": "bits are no numbers",
    "non_max_suppression": "its results are positions",
    "stop_gradient": "a constant to derivatives, whatever its value does",
    **dict.fromkeys(("winograd", "all_reduce_start", "all_reduce_wait"), "it is made behind all derivatives"),
    "prefix": "no input can have the size of its results: see the test below",
}
# no rule yet, which is an error
LATER = {
    "while",
}


def in_double(example: Example) -> Module:
    """The example in float64."""
    return Module.parse(str(example.module()).replace("f32", "f64"))


def real(example: Example) -> bool:
    dtypes = [dtype for _, dtype in example.inputs]
    return "f32" in dtypes and example.op not in (*LATER, *WITHOUT)


@pytest.mark.parametrize("example", [e for e in EXAMPLES if real(e)], ids=str)
def test_an_op_s_derivatives_are_those_of_its_meaning(example: Example) -> None:
    module = in_double(example)
    if not any(dtype == "f64" for _, dtype in module.output_types):
        return
    arrays = [a.astype(np.float64) if a.dtype == np.float32 else a for a in example.arrays()]
    assert floats(module)
    check_derivatives(module, arrays)


# Of ops and cases that the examples do not have, or not alone.
ONE: list[Spec] = [((3, 4), "f64")]
POOL = ([1, 2, 2], [1, 2, 1], [(0, 0), (1, 0), (0, 1)], [1, 1, 2])
MORE = {
    "prefix": (lambda x, n: g.reduce(g.sin(g.prefix(n, x)[0]), None, "sum"), [((5, 3), "f64"), ((), "i64")]),
    "clip": (lambda x: g.clip(x, g.scalar(-0.5, "f64"), g.scalar(0.5, "f64")), ONE),
    "pow 0": (lambda x: g.pow(x, g.full_like(x, 0)), ONE),
    "pow 1": (lambda x: g.pow(x, g.full_like(x, 1)), ONE),
    "pow 3": (lambda x: g.pow(x, g.full_like(x, 3)), ONE),
    "pow -2": (lambda x: g.pow(x, g.full_like(x, -2)), ONE),
    "x * x": (lambda x: g.mul(x, x), ONE),
    "x / x": (lambda x: g.div(x, x), ONE),
    "select x x": (lambda x: g.select(g.lt(x, g.full_like(x, 0)), x, g.neg(x)), ONE),
    "contract x x": (lambda x: g.contract(x, x, "mk,nk->mn"), ONE),
    "contract summed lhs": (lambda x, y: g.contract(x, y, "amk,kn->mn"), [((2, 3, 4), "f64"), ((4, 2), "f64")]),
    "contract summed rhs": (lambda x, y: g.contract(x, y, "k,akb->k"), [((4,), "f64"), ((2, 4, 3), "f64")]),
    "contract outer": (lambda x, y: g.contract(x, y, "m,n->nm"), [((4,), "f64"), (("N",), "f64")]),
    "concatenate x x": (lambda x: g.concatenate([x, x], 0), ONE),
    "pad value": (lambda x, v: g.pad(x, [1, -1], [2, 0], v, [2, 1]), [((3, 4), "f64"), ((), "f64")]),
    "pad crops": (lambda x: g.pad(x, [-1, 1], [-1, -3], 0, [1, 0]), ONE),
    "slice steps": (lambda x: g.slice(x, [0, 3], [2, 2], [2, -3]), ONE),
    "slice of nothing": (lambda x: g.slice(x, [0, 4], [3, 0], [1, 1]), ONE),
    "reverse": (lambda x: g.reverse(x, [0, 1]), [(("N", 4), "f64")]),
    "tile": (lambda x: g.tile(x, [2, 1]), ONE),
    "mean": (lambda x: g.reduce(g.mul(x, g.broadcast_to(g.mean(x, [0], True), g.shape_of(x))), [1], "sum"), [(("N", 4), "f64")]),
    "prod": (lambda x: [g.reduce(x, [1], "prod"), g.reduce(x, [0, 2], "prod")], [((2, 3, 4), "f64")]),
    "cumulative prod": (lambda x: [g.cumulative(x, 1, "prod"), g.cumulative(x, 0, "prod", True, True)], ONE),
    "cumulative max": (lambda x: [g.maximum(g.cumulative(x, 1, "max", e, r), g.full_like(x, -9)) for e in (True, False) for r in (True, False)], ONE),
    "cumulative min": (lambda x: [g.minimum(g.cumulative(x, 0, "min", e, r), g.full_like(x, 9)) for e in (True, False) for r in (True, False)], ONE),
    "top_k": (lambda x: g.top_k(x, 2, 0)[0], ONE),
    "sort": (lambda x: g.sort(x, 1, True)[0], [((3, "N"), "f64")]),
    "gather out of range": (lambda x, i: g.gather(x, i, 0), [((3, 2), "f64"), ((7,), "i64")]),
    "scatter out of range": (lambda x, i, u: [g.scatter_nd(x, i, u, k) for k in ("set", "add", "mul", "max", "min")], [((3, 2), "f64"), ((7, 1), "i64"), ((7, 2), "f64")]),
    "scatter elements": (lambda x, i, u: [g.scatter_elements(x, i, u, 1, k) for k in ("set", "add", "mul", "max", "min")], [((3, 4), "f64"), ((2, 6), "i8"), ((2, 6), "f64")]),
    "gather nd": (lambda x, i: g.gather_nd(x, i, 1), [((3, 4, 2), "f64"), ((3, 5, 1), "i32")]),
    "window_pick": (lambda x, p: g.window_pick(x, p, *POOL), [((2, 4, 5), "f64"), ((2, 2, 4), "u8")]),
    "window_put": (lambda c, p: g.window_put(c, p, (2, 4, 5), *POOL), [((2, 2, 4), "f64"), ((2, 2, 4), "u8")]),
    "attention masked": (lambda q, k, v, m: g.attention(q, k, v, m, causal=True), [((1, 2, 3, 4), "f64"), ((1, 1, 3, 4), "f64"), ((1, 1, 3, 2), "f64"), ((1, 1, 3, 3), "f64")]),
    "gru": (lambda x, w, r, h, b, d: g.gru(x, w, r, h, b, d), [((3, 2, 3), "f64"), ((6, 3), "f64"), ((6, 2), "f64"), ((2, 2), "f64"), ((6,), "f64"), ((6,), "f64")]),
    "lstm with lengths": (lambda x, w, r, h, c, b, n: g.lstm(x, w, r, h, c, b, n, True), [((3, 2, 3), "f64"), ((8, 3), "f64"), ((8, 2), "f64"), ((2, 2), "f64"), ((2, 2), "f64"), ((8,), "f64"), ((2,), "i64")]),
    "layer_norm over two": (lambda x, s: g.layer_norm(x, s, None, [1, 2]), [((3, 4, 2), "f64"), ((4, 2), "f64")]),
    "axes of 1 and 0": (lambda x, y: [g.reduce(x, [0], "sum"), g.reduce(g.exp(y), [1], "sum"), g.softmax(y, 0), g.transpose(y, [1, 0])], [((1, 3), "f64"), ((0, 1), "f64")]),
}  # fmt: skip


@pytest.mark.parametrize("name", MORE)
def test_derivatives_of_more_cases(name: str) -> None:
    make, specs = MORE[name]
    module, rng = built(make, specs), np.random.default_rng(len(name))
    arrays = []
    for shape, dtype in specs:
        size = [5 if e == "N" else e for e in shape]
        low = 0 if dtype == "u8" else -5
        drawn = rng.standard_normal(size) if dtype == "f64" else rng.integers(low, 5, size)
        arrays.append(drawn.astype(numpy_dtype(dtype)))
    if name in ("prefix", "lstm with lengths"):
        arrays[-1] = np.abs(arrays[-1]) % 4
    check_derivatives(module, arrays)


# What each op class has instead of a rule of its own.
INTEGERS = {
    "arg_reduce",
    "window_place",
    "nonzero",
    "non_max_suppression",
    "philox",
    "random_bits",
    "unpack",
    "dimension",
    "iota",
    "rank",
}
REASONS = {
    **dict.fromkeys(INTEGERS, "its results are integers"),
    **dict.fromkeys(("constant", "weight"), "it has no operands"),
    **dict.fromkeys(("scan", "while", "if", "call", "yield"), "its bodies are differentiated (passes/autodiff)"),
    **dict.fromkeys(("group", "winograd", "all_reduce_start", "all_reduce_wait"), "it is made behind all derivatives"),
    "bitcast": "bits are no numbers: an error",
}


@pytest.mark.parametrize("kind", [op for op in GRAPH.operations if issubclass(op, GraphOp)], ids=lambda op: op.name)
def test_every_op_has_a_rule_or_a_reason(kind: type[GraphOp]) -> None:
    name = kind.name.removeprefix("graph.")
    if name in OPS:
        row = OPS[name].ROW
        no_floats = row.to_bool or row.takes in ("bool", "integer", "bits")
        assert len(row.jvp) == (0 if no_floats else row.arity)
    elif name not in REASONS:
        states = kind.jvp is not GraphOp.jvp or kind.linear is not GraphOp.linear or kind.flat is not GraphOp.flat
        assert states or issubclass(kind, CompositeOp)
    else:
        assert kind.jvp is GraphOp.jvp and kind.linear is GraphOp.linear


OWN = {"attention", "softmax", "log_softmax", "silu", "gelu_tanh", "layer_norm", "rms_norm"}


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.op in OWN], ids=str)
def test_a_composite_s_own_rule_is_the_rule_of_its_decomposition(example: Example) -> None:
    module = weighted(in_double(example))
    arrays = [a.astype(np.float64) for a in example.arrays()]
    arrays += [np.random.default_rng(0).standard_normal(y.shape) for y in in_double(example).run(*arrays)]
    own, plain = (derived(m, floats(m), "gradient") for m in (module, PassManager("decompose").run(module)))
    assert f"graph.{example.op}" in str(own)  # it keeps its name
    for mine, theirs in zip(own.run(*arrays), plain.run(*arrays), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-13, atol=1e-13)
