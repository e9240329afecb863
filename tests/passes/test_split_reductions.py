"""Reductions in parts: what the pass makes of them, and that the module computes what it did."""

from __future__ import annotations

from collections import Counter
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc.ir import builder as g
from mlc.ir.graph.linear import ContractOp
from mlc.ir.graph.reduce import CumulativeOp, ReduceOp
from mlc.ir.interpreter import run
from mlc.ir.module import Module
from mlc.ir.types import shape_of
from mlc.passes.graph.split_reductions import SplitReductions
from mlc.passes.manager import PassManager
from mlc.testing import ORDERS, host_build, on_host, recorded

RNG = np.random.default_rng(5)
SPLIT = SplitReductions("cuda:sm_80")


def module(inputs, build) -> Module:
    m = g.module_builder("long")
    with m.function(inputs=[(f"x{n}", shape, dtype) for n, (shape, dtype) in enumerate(inputs)]) as values:
        found = build(*values)
        found = [found] if not isinstance(found, (list, tuple)) else found
        m.outputs([(f"y{n}", value) for n, value in enumerate(found)])
    return m.finish()


def split(made: Module) -> Module:
    return PassManager([SPLIT], verify_each=True).run(made.clone())


def ops(made: Module, kind: type) -> list:
    return [op for op in made.op.walk() if isinstance(op, kind)]


def agree(made: Module, arrays: list[np.ndarray], tolerance: float = 1e-6) -> Module:
    done = split(made)
    for found, want in zip(run(done, arrays), run(made, arrays), strict=True):
        assert (found.shape, found.dtype) == (want.shape, want.dtype)
        if found.size:
            scale = np.abs(want.astype(np.float64)).max() if tolerance else 1
            np.testing.assert_allclose(
                found.astype(np.float64), want.astype(np.float64), rtol=0, atol=tolerance * scale
            )
    return done


# shape, axes -> the shapes of what is reduced, one after the other
LONG = {
    ((1_000_000,), (0,)): [(1, 200, 5000, 1), (1, 200, 1)],
    ((1_000_003,), (0,)): [(1, 244, 4098, 1), (1, 244, 1), (1, 91, 1)],
    ((3, 70_000), (1,)): [(3, 16, 4375, 1), (3, 16, 1)],
    ((8, 56, 56, 16), (0, 1, 2)): [(8, 56, 56, 16), (8, 56, 16), (8, 16)],
    ((8, 16, 300, 300), (0, 2, 3)): [(8, 16, 300, 300), (8, 16)],
    ((9000, 5), (0,)): [(1, 500, 18, 5), (1, 25, 20, 5), (1, 25, 5)],
}


@pytest.mark.parametrize(("given", "shapes"), LONG.items(), ids=lambda item: str(item))
def test_each_part_of_a_long_sum_is_a_result_of_its_own(given, shapes) -> None:
    (shape, axes) = given
    made = split(module([(shape, "f32")], lambda x: g.reduce(x, list(axes), "sum")))
    found = [shape_of(op.x) for op in ops(made, ReduceOp)]
    assert found[: len(shapes)] == shapes or found == shapes, found


@pytest.mark.parametrize(
    ("shape", "axes", "kind", "dtype"),
    [
        ((999_983,), [0], "sum", "f32"),
        ((999_983,), [0], "min", "i64"),
        ((2, 70_001), [1], "max", "f32"),
        ((4099, 7), [0], "sum", "f16"),
        ((4099, 7), [0], "sum", "i32"),
        ((5, 130, 131), [0, 1], "or", "bool"),
    ],
)
def test_long_reductions_give_what_they_gave(shape, axes, kind, dtype) -> None:
    x = (RNG.random(shape) * 8 - 4).astype(
        {"f32": np.float32, "f16": np.float16, "bool": bool}.get(dtype, np.int32 if dtype == "i32" else np.int64)
    )
    agree(module([(shape, dtype)], lambda x: g.reduce(x, axes, kind)), [x], {"f32": 1e-6, "f16": 1e-3}.get(dtype, 0))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (65_535,), (200, 70_000), (768,), ("N",), (0, 100_000), ("N", 4)])
def test_what_is_short_or_has_many_results_stays(shape) -> None:
    made = module([(shape, "f32")], lambda x: g.reduce(x, [len(shape) - 1] if shape else [], "sum"))
    assert str(split(made).op) == str(made.op)


SPECS = {
    ("mk,kn->mn", (1, 4096), (4096, 512)): ((1, 64, 64), (64, 64, 512)),
    ("mk,kn->mn", (9, 2048), (2048, 40)): ((9, 16, 128), (16, 128, 40)),
    ("bmk,bkn->bmn", (2, 1, 1000), (2, 1000, 70)): ((2, 1, 10, 100), (2, 10, 100, 70)),
    ("km,kn->mn", (3000, 8), (3000, 8)): ((15, 200, 8), (15, 200, 8)),
}


@pytest.mark.parametrize(("given", "shapes"), SPECS.items(), ids=lambda item: str(item[0]))
def test_a_long_sum_of_products_is_cut(given, shapes) -> None:
    spec, lhs, rhs = given
    made = module([(lhs, "f32"), (rhs, "f32")], lambda x, y: g.contract(x, y, spec))
    done = agree(made, [RNG.random(s, np.float32) for s in (lhs, rhs)], 2e-6)
    (product,) = ops(done, ContractOp)
    assert (shape_of(product.lhs), shape_of(product.rhs)) == shapes


@pytest.mark.parametrize(
    ("spec", "lhs", "rhs", "dtype"),
    [
        ("mk,nk->mn", (1, 4096), (512, 4096), "f32"),  # a warp takes a row of the matrix
        ("mk,kn->mn", (1, 4096), (4096, 512), "f16"),  # parts would be rounded
        ("mk,kn->mn", (128, 768), (768, 768), "f32"),
        ("mk,kn->mn", (1, 251), (251, 64), "f32"),
        ("mk,kn->mn", ("M", 4096), (4096, 64), "f32"),
        ("mk,kn->mn", (0, 4096), (4096, 64), "f32"),
    ],
)
def test_other_products_stay(spec, lhs, rhs, dtype) -> None:
    made = module([(lhs, dtype), (rhs, dtype)], lambda x, y: g.contract(x, y, spec))
    assert str(split(made).op) == str(made.op)


@settings(max_examples=12, deadline=None)
@given(
    extent=st.sampled_from([257, 1009, 4096]),
    others=st.sampled_from([(), (3,)]),
    kind=st.sampled_from(["sum", "prod", "max", "min"]),
    dtype=st.sampled_from(["f32", "f16", "i32"]),
    exclusive=st.booleans(),
    reverse=st.booleans(),
    open=st.booleans(),
)
def test_a_running_total_by_parts(extent, others, kind, dtype, exclusive, reverse, open) -> None:
    shape = (*others, extent, *others)
    x = (
        np.random.default_rng(extent)
        .integers(-3, 4, shape)
        .astype({"f32": np.float32, "f16": np.float16, "i32": np.int32}[dtype])
    )
    x = 1 + x % 2 if kind == "prod" and dtype == "i32" else np.abs(x) % 2 * 2 - 1 if kind == "prod" else x
    x = x.astype({"f32": np.float32, "f16": np.float16, "i32": np.int32}[dtype])
    named = tuple("N" if open and a == len(others) else e for a, e in enumerate(shape))
    made = module([(named, dtype)], lambda x: g.cumulative(x, len(others), kind, exclusive, reverse))
    done = agree(made, [x], 0)
    assert len(ops(done, CumulativeOp)) >= 2


@pytest.mark.parametrize("extent", [65, 128, 20_011])
@pytest.mark.parametrize("open", [False, True])
def test_flags_are_counted_by_parts(extent, open) -> None:
    def build(x):
        at = g.nonzero(x)
        return at, g.add(at, at)

    made = module([(("N",) if open else (extent,), "bool")], build)
    for share in (0, 0.01, 0.5, 1):
        agree(made, [RNG.random(extent) < share], 0)


def test_what_was_split_is_not_split_again() -> None:
    made = module(
        [((1_000_003,), "f32"), ((1, 4096), "f32"), ((4096, 64), "f32")],
        lambda x, y, w: [g.reduce(x, [0], "sum"), g.matmul(y, w), g.cumulative(x, 0)],
    )
    once = split(made)
    assert Counter(type(op) for op in split(once).op.walk()) == Counter(type(op) for op in once.op.walk())


@pytest.mark.skipif(host_build.available() is not None, reason=str(host_build.available()))
def test_parts_are_computed_on_gpus_in_any_order_of_threads() -> None:
    def build(x, y, w, c, flags):
        at = g.nonzero(flags)
        return g.reduce(x, [0], "max"), g.matmul(y, w), g.cumulative(c, 0), at, g.add(at, at)

    shapes = [((66_001,), "f32"), ((1, 1024), "f32"), ((1024, 130), "f32"), ((600,), "f32"), (("N",), "bool")]
    made = module(shapes, build)
    arrays = [RNG.random(shape, np.float32) for shape, _ in shapes[:-1]] + [RNG.random(300) < 0.3]
    exe, want = mlc.compile(made, target="cuda-on-cpu"), run(made, arrays)
    for order in ORDERS:
        for found, exact in zip(on_host(exe, order)(*arrays), want, strict=True):
            np.testing.assert_allclose(found, exact, rtol=2e-6)
    launches = {launch.kernel: launch for launch in recorded(exe, *arrays)}
    longest = max(prod(launch.block) * prod(launch.grid) for launch in launches.values())
    assert longest > 1000 and any(name.startswith("nonzero") for name in launches)
    for launch in launches.values():
        assert not launch.watch().between_blocks()
        launch.check_memory().require_clean()
