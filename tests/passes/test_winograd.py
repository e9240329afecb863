"""Winograd's convolutions: where the pass takes them, what they compute at every stage and size, and how exactly."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import mlc
from mlc.errors import MlcError, ShapeError
from mlc.ir import builder as g
from mlc.ir.graph.winograd import TILES, matrices, windows, winograd
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.module import Module
from mlc.passes.graph.fewer_products import Winograd
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import pipeline

BOUND = {2: 5e-6, 4: 3e-5}  # of errors, as shares of the largest output


def network(
    n: int | str,
    size: tuple[int | str, int | str],
    c: int,
    o: int,
    padding: int = 1,
    spec: str = "n01c,01co->n01o",
    residual: bool = False,
) -> Module:
    """relu(convolution(x) + bias, + x)."""
    rng = np.random.default_rng(c * 1000 + o)
    extents = {"0": 3, "1": 3, "c": c, "o": o}
    shape = [extents[label] for label in spec.split(",")[1].partition("->")[0]]
    m = g.module_builder("layer")
    with m.function([("x", (n, *size, c), "f32")]) as (x,):
        weight = g.weight((rng.standard_normal(shape) / np.sqrt(9 * c)).astype(np.float32), "w")
        y = g.convolution(x, weight, spec, padding=[(padding, padding), (padding, padding)])
        bias = g.weight(rng.standard_normal(o).astype(np.float32), "b")
        y = g.add(y, g.broadcast_to(bias, g.shape_of(y)))
        m.outputs([("y", g.relu(g.add(y, x) if residual else y))])
    return m.finish()


def exact(module: Module, x: np.ndarray) -> np.ndarray:
    """In float64."""
    return Module.parse(str(module).replace("f32", "f64"), _in_double(module)).run(x.astype(np.float64))[0]


def _in_double(module: Module):
    from mlc.ir.weights import WeightStore

    store = WeightStore()
    for key in ("w", "b"):
        assert store.add(module.weights.get(key).astype(np.float64), key) == key
    return store


def close(found: np.ndarray, wanted: np.ndarray, tile: int) -> None:
    assert found.shape == wanted.shape and found.dtype == np.float32
    if wanted.size:
        assert np.max(np.abs(found - wanted)) <= BOUND[tile] * np.max(np.abs(wanted))


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(list(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("tile", TILES)
def test_the_matrices_make_a_correlation_of_one_line(tile: int) -> None:
    there, weights, back = matrices(tile)
    x, w = np.random.default_rng(0).standard_normal(tile + 2), np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(back @ ((weights @ w) * (there @ x)), np.correlate(x, w, "valid"), atol=1e-12)


SIZES = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 13, 16])


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([1, 2, 3, "N"]), st.tuples(SIZES, SIZES), st.sampled_from([2, 3, 16, 17, 20]), st.sampled_from([2, 7, 16, 33, 48]),
    st.sampled_from([1, 2]), st.sampled_from(TILES), st.sampled_from(["n01c,01co->n01o", "n01c,oc01->n01o"]),
)  # fmt: skip
@example("N", (14, 9), 20, 33, 1, 4, "n01c,01co->n01o")
@example(6, (3, 4), 16, 48, 1, 4, "n01c,oc01->n01o")
@example(1, (1, 1), 2, 2, 1, 2, "n01c,01co->n01o")
def test_any_size_is_computed_as_the_convolution_is(n, size, c, o, padding, tile, spec) -> None:
    module = network(n, size, c, o, padding, spec)
    exe = mlc.compile(module, settings={"winograd": str(tile)})
    assert any(kernel["name"].startswith("winograd") for kernel in exe.report["kernels"])
    for batch in (0, 1, 3) if n == "N" else (n,):
        x = pixels(batch, *size, c)
        close(exe(x), exact(module, x), tile)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([1, 2, "N"]), st.sampled_from([("H", "W"), ("H", "H"), ("H", 1), ("H", 9), (3, "W"), (8, "W")]),
    st.sampled_from([2, 16, 20]), st.sampled_from([7, 48, 64]), st.sampled_from([1, 2]), st.sampled_from(TILES), st.sampled_from([1, 2]),
    st.lists(st.tuples(*[st.sampled_from([0, 1, 2, 3, 4, 5, 7, 13, 16, 30])] * 2), min_size=3, max_size=3),
)  # fmt: skip
@example("N", ("H", "W"), 20, 33, 1, 4, 2, [(1, 1), (2, 40), (13, 7)])
@example(1, ("H", "W"), 130, 512, 1, 4, 2, [(3, 1), (40, 9)])  # windows that no cache keeps: a block has several rows
def test_symbolic_heights_and_widths_are_computed_by_one_code(n, size, c, o, padding, tile, threads, sizes) -> None:
    module = network(n, size, c, o, padding)
    exe = mlc.compile(module, settings={"winograd": str(tile)}, threads=threads)
    (kernel,) = [kernel for kernel in exe.report["kernels"] if kernel["name"].startswith("winograd")]
    before = exe.native_compilations
    assert "Vector" in kernel["schedule"] and not kernel["notes"]
    for height, width in sizes:
        now = {"N": 2, "H": height, "W": width}
        x = pixels(*(now.get(e, e) for e in (n, *size)), c)
        close(exe(x), exact(module, x), tile)
    assert exe.native_compilations == before


@pytest.mark.parametrize("size", [(6, 5), ("H", "W")])
@pytest.mark.parametrize("tile", TILES)
def test_every_stage_computes_the_same(tile: int, size) -> None:
    module, x = network(2, size, 3, 6), pixels(2, 6, 5, 3)
    wanted, seen = exact(module, x), []

    def after(number, step, changed) -> None:
        if step.name in ("winograd", "fuse", "outline", "lower"):
            (found,) = run_program(changed, [x], races=True) if changed.is_program else changed.run(x)
            close(found, wanted, tile)
            seen.append(step.name)

    PassManager(pipeline(2, "x86-64-v4", winograd=tile), verify_each=True, callback=after).run(module)
    assert seen == ["winograd", "fuse", "outline", "lower"]


@pytest.mark.parametrize("arch", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
@pytest.mark.skipif(bool(cpu_target("x86-64-v4").missing()), reason="the machine has no AVX-512")
def test_narrow_registers(arch: str) -> None:
    module, x = network(2, (9, 6), 17, 24), pixels(2, 9, 6, 17)
    close(mlc.compile(module, arch=arch, settings={"winograd": "4"})(x), exact(module, x), 4)


@pytest.mark.parametrize("size", [(14, 14), ("H", "W")])
def test_bits_depend_on_neither_threads_nor_what_else_is_in_a_batch(size) -> None:
    module = network("N", size, 32, 128, residual=False)
    one, two = (mlc.compile(module, threads=threads) for threads in (1, 2))
    assert "graph.winograd" in str(PassManager("default").run(module))
    x = pixels(5, 14, 14, 32)
    y = one(x)
    assert two(x).tobytes() == y.tobytes()
    assert mlc.compile(module, threads=1)(x).tobytes() == y.tobytes()  # from the cache
    assert one(x[3:4]).tobytes() == y[3:4].tobytes()


def test_what_follows_is_in_the_same_kernel_and_the_border_of_the_next_one_is_written_there() -> None:
    m = g.module_builder("block")
    with m.function([("x", (1, 12, 12, 32), "f32")]) as (x,):
        y = x
        for n in range(2):
            weight = g.weight(pixels(3, 3, 32, 32) / 17, f"w{n}")
            y = g.relu(g.convolution(y, weight, "n01c,01co->n01o", padding=[(1, 1), (1, 1)]))
        m.outputs([("y", g.add(y, x))])
    module, x = m.finish(), pixels(1, 12, 12, 32)
    exe = mlc.compile(module)
    kernels = [kernel["name"] for kernel in exe.report["kernels"]]
    assert sum(name.startswith("winograd") for name in kernels) == 2
    assert not any(name.startswith("elementwise") for name in kernels)
    np.testing.assert_allclose(exe(x), module.run(x)[0], atol=2e-5)


def taken(module: Module, **options: object) -> list[int]:
    """The tiles of the convolutions that the pass takes."""
    return [
        int(t)
        for t in re.findall(r"graph\.winograd .*tile = (\d)", str(PassManager([Winograd(**options)]).run(module)))
    ]


@pytest.mark.parametrize(
    ("shape", "tile"),
    [
        ((1, (56, 56), 64, 64), 4),
        ((1, (14, 14), 256, 256), 2),
        ((1, ("H", "W"), 64, 64), 4),
        (("N", ("H", 14), 256, 256), 4),
        ((1, (56, 56), 4, 4), None),
        ((1, ("H", 2), 4, 4), None),
        ((1, (2, 2), 64, 64), None),
    ],
)
def test_cost_decides(shape, tile) -> None:
    assert taken(network(*shape), target="x86-64-v4") == ([] if tile is None else [tile])


@pytest.mark.parametrize(("most", "tile"), [(None, 4), (8, 2), (2, None)])
def test_symbolic_sizes_are_taken_to_be_large_as_far_as_their_bounds_allow(most: int | None, tile: int | None) -> None:
    module = network("N", ("H", "H"), 128, 128)
    module.symbols["H"] = (1, most)
    assert taken(module, target="x86-64-v4") == ([] if tile is None else [tile])


def test_sizes_with_code_of_their_own() -> None:
    module = network("N", ("H", "W"), 32, 48)
    exe = mlc.compile(module, specialise=[{"N": 1, "H": 10, "W": 13}], settings={"winograd": "4"})
    for shape in ((1, 10, 13, 32), (1, 10, 12, 32)):
        x = pixels(*shape)
        close(exe(x), exact(module, x), 4)
    assert any(step.kernel.endswith("_N_1_H_10_W_13") for step in exe.profile(pixels(1, 10, 13, 32)))


def test_other_convolutions_stay() -> None:
    m = g.module_builder("others")
    with m.function([("x", (1, 32, 32, 32), "f32")]) as (x,):
        weight = lambda *shape: g.weight(pixels(*shape), "w")
        square = weight(3, 3, 32, 32)
        others = [
            g.convolution(x, square, "n01c,01co->n01o", strides=[2, 1]),
            g.convolution(x, square, "n01c,01co->n01o", dilations=[2, 2]),
            g.convolution(x, weight(3, 1, 32, 32), "n01c,01co->n01o"),
            g.convolution(x, weight(5, 5, 32, 32), "n01c,01co->n01o"),
            g.convolution(x, weight(3, 3, 16, 32), "n01c,01co->n01o", groups=2),
            g.convolution(x, weight(3, 3, 32, 1), "n01c,01co->n01o"),
            g.convolution(x, weight(3, 3, 32, 67), "n01c,01co->n01o"),
            g.convolution(g.cast(x, "f64"), g.cast(square, "f64"), "n01c,01co->n01o"),
        ]
        m.outputs([(f"y{n}", y) for n, y in enumerate(others)])
    assert taken(m.finish(), tile=4) == []


def test_it_can_be_left_out() -> None:
    module = network(1, (16, 16), 32, 32)
    kernels = [k["name"] for k in mlc.compile(module, settings={"winograd": "off"}).report["kernels"]]
    assert not any(name.startswith("winograd") for name in kernels)
    with pytest.raises(MlcError, match="setting winograd is 'no'"):
        mlc.compile(module, settings={"winograd": "no"})
    with pytest.raises(MlcError, match="there is no setting 'winnograd'"):
        mlc.compile(module, settings={"winnograd": "off"})


def test_a_weight_that_comes_with_the_call_is_transformed_in_the_call() -> None:
    m = g.module_builder("step")
    with m.function([("x", (2, 12, 12, 32), "f32"), ("w", (3, 3, 32, 64), "f32")]) as (x, w):
        m.outputs([("y", g.convolution(x, w, "n01c,01co->n01o"))])
    module, x, w = m.finish(), pixels(2, 12, 12, 32), pixels(3, 3, 32, 64)
    close(mlc.compile(module, settings={"winograd": "4"})(x, w), module.run(x, w)[0], 4)
    close(mlc.compile(module)(x, w), module.run(x, w)[0], 2)
    assert taken(module, target="x86-64-v4") == [2]  # the errors of tiles of 4 would add up over steps of training


def test_what_does_not_fit_is_refused() -> None:
    m = g.module_builder("wrong")
    with m.function([("x", (1, 10, 11, 4), "f32"), ("w", (3, 3, 4, 6), "f32")]) as (x, w):
        u = windows(w, 4, 3)
        with pytest.raises(ShapeError, match="11 inputs are no whole tiles of 4 outputs"):
            winograd(x, u, 4)
        with pytest.raises(ShapeError, match=r"not \[panels, 16, c, o\]"):
            winograd(x, u, 2)
        with pytest.raises(ShapeError, match="for 4 outputs"):
            winograd(x, u, 4, crop=(4, 3))
        with pytest.raises(ShapeError, match="3 shares"):
            winograd(x, u, 4, shares=3)
        with pytest.raises(ShapeError, match="do not part into panels of 4"):
            windows(w, 4, 4)
