"""Programs of several ranks: what they compute together is what one computes of the whole batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.errors import DTypeError, MlcError, ShapeError
from mlc.ir import builder as g
from mlc.ir.graph.collective import AllReduceOp, AllReduceStartOp, AllReduceWaitOp, bucket_places
from mlc.ir.module import Module
from mlc.ir.ranks import run_ranks
from mlc.passes.graph.data_parallel import DataParallel
from mlc.passes.manager import PassManager

RANKS = st.sampled_from([1, 2, 3, 4])
SIZES = st.sampled_from([1, 2, 3, 5, 7, 9, 16])


def network(rows: int, ranks: int, sizes: tuple[int, int, int], statistic: bool = False) -> Module:
    """Two layers in f64, a penalty on one, and the mean over rows of a loss; between the layers the mean over all rows is taken away."""
    a, b, c = sizes
    m = g.module_builder("main")
    inputs = [("x", (rows, a), "f64"), ("w", (a, b), "f64"), ("v", (c, b), "f64")]
    with m.function(inputs=inputs) as (x, w, v):
        h = g.tanh(g.matmul(x, w))
        if statistic:
            mean = g.mean_over_ranks(g.mean(h, [0]), ranks)
            h = g.sub(h, g.broadcast(mean, (rows, b), [1]))
        y = g.matmul(h, g.transpose(v, [1, 0]))
        loss = g.mean(g.sigmoid(y), [0, 1])
        m.outputs([("loss", g.add(loss, g.mean(g.mul(v, v), [0, 1])))])
    return m.finish()


def arrays(rows: int, sizes: tuple[int, int, int]) -> list[np.ndarray]:
    rng, (a, b, c) = np.random.default_rng(rows), sizes
    return [rng.standard_normal(shape) for shape in ((rows, a), (a, b), (c, b))]


def parts(x: np.ndarray, ranks: int) -> list[np.ndarray]:
    return np.split(x, ranks)


@settings(max_examples=25, deadline=None)
@given(
    ranks=RANKS,
    rows=SIZES,
    sizes=st.tuples(SIZES, SIZES, SIZES),
    statistic=st.booleans(),
    limit=st.sampled_from([1, 300, 4 << 20]),
)
def test_gradients_of_the_ranks_are_those_of_the_whole_batch(ranks, rows, sizes, statistic, limit):
    x, w, v = arrays(rows * ranks, sizes)
    whole = PassManager("autodiff{wrt=w;v}").run(network(rows * ranks, 1, sizes, statistic))
    expected = whole.run(x, w, v)
    first = f"data-parallel{{varying=x,ranks={ranks}}},autodiff{{wrt=w;v}}"
    inputs = [[part, w, v] for part in parts(x, ranks)]
    plain = PassManager(first).run(network(rows, ranks, sizes, statistic))
    alone = run_ranks(plain, inputs)
    passes = f"{first},decompose,fuse,bucket-collectives{{bytes={limit}}},overlap-collectives"
    scheduled = run_ranks(PassManager(passes, verify_each=True).run(network(rows, ranks, sizes, statistic)), inputs)
    for number in range(ranks):
        for found, want in zip(alone[number], expected, strict=True):
            np.testing.assert_allclose(found, want, rtol=1e-10, atol=1e-12)
        for found, want in zip(scheduled[number], alone[0], strict=True):  # NaN while it is on its way
            np.testing.assert_allclose(found, want, rtol=1e-13, atol=1e-15)
    assert all(np.array_equal(a, b) for other in scheduled for a, b in zip(other, scheduled[0], strict=True))


@pytest.mark.parametrize("shape", [("rows", 5), (7, "rows", 2), ("twice", 11)], ids=str)
@pytest.mark.parametrize("rows", [1, 3, 4])
def test_ranks_draw_what_one_draws_for_the_whole_batch(shape, rows):
    def drawn(rows: int) -> Module:
        m = g.module_builder("main")
        with m.function(inputs=[("x", (rows,), "f32"), ("key", (2,), "u32")]) as (x, key):
            extents = [{"rows": rows, "twice": 2 * rows}.get(e, e) for e in shape]
            m.outputs([("bits", g.random_bits(key, extents, 7)), ("x", g.neg(x))])
        return m.finish()

    key, ranks = np.array([3, 5], np.uint32), 4
    axis = shape.index("rows") if "rows" in shape else 0
    expected = drawn(rows * ranks).run(np.zeros(rows * ranks, np.float32), key)[0]
    module = PassManager(f"data-parallel{{varying=x,ranks={ranks}}},decompose,cse,simplify,fold,dce,fuse").run(
        drawn(rows)
    )
    found = run_ranks(module, [[np.zeros(rows, np.float32), key]] * ranks)
    assert np.array_equal(np.concatenate([outputs[0] for outputs in found], axis), expected)


def test_a_draw_without_an_axis_of_the_batch_is_the_same_on_all_ranks():
    m = g.module_builder("main")
    with m.function(inputs=[("x", (4, 2), "f32"), ("key", (2,), "u32")]) as (x, key):
        m.outputs([("bits", g.random_bits(key, (3, 5))), ("y", g.mul(x, x))])
    module = PassManager("data-parallel{varying=x,ranks=2}").run(m.finish())
    first, second = run_ranks(module, [[np.zeros((4, 2), np.float32), np.array([1, 2], np.uint32)]] * 2)
    assert np.array_equal(first[0], second[0])


def test_a_sum_that_another_waits_for_travels_alone_and_starts_keep_their_order():
    module = PassManager(
        "data-parallel{varying=x,ranks=2},autodiff{wrt=w;v},decompose,fuse,bucket-collectives,overlap-collectives"
    ).run(network(4, 2, (3, 5, 2), statistic=True))
    starts = [op for op in module.main.body.block.ops if isinstance(op, AllReduceStartOp)]
    assert [len(op.xs) for op in starts] == [
        1,
        1,
        4,
    ]  # the statistic, its gradient; loss, what the penalty gets of it, and two gradients
    assert [len(op.outputs) for op in module.main.body.block.ops if isinstance(op, AllReduceWaitOp)] == [1, 1, 4]


def test_what_follows_from_gradients_stands_behind_the_backward_pass_in_the_order_of_buckets():
    m = g.module_builder("main")
    with m.function(inputs=[(name, (4,), "f32") for name in ("x", "w", "v")]) as (x, w, v):
        first = g.exp(x)
        moved_w = g.sub(w, g.all_reduce(first))
        second = g.exp(first)
        moved_v = g.sub(v, g.all_reduce(second))
        m.outputs([("v", moved_v), ("w", moved_w)])
    module = PassManager("bucket-collectives{bytes=1},overlap-collectives").run(m.finish())
    names = [op.name.removeprefix("graph.") for op in module.main.body.block.ops]
    start, wait = "all_reduce_start", "all_reduce_wait"
    assert names == ["exp", start, "exp", start, wait, "sub", wait, "sub", "func.return"]


@settings(max_examples=50, deadline=None)
@given(shapes=st.lists(st.lists(st.sampled_from([0, 1, 2, 3, 16, 17]), max_size=3), min_size=2, max_size=6))
def test_members_of_a_bucket_lie_side_by_side_on_cache_lines(shapes):
    places, total = bucket_places(shapes)
    for shape, start, end in zip(shapes, places, [*places[1:], total], strict=True):
        size = int(np.prod(shape, dtype=int))
        assert start % 16 == 0
        assert size <= end - start < size + 16


def test_summing_up_what_is_the_same_everywhere_is_refused():
    m = g.module_builder("main")
    at = g.location("decay", file="model.py", index=7)
    with m.function(inputs=[("x", (4,), "f32"), ("w", (4,), "f32")]) as (x, w), at:
        m.outputs([("y", g.add(x, g.all_reduce(w)))])
    with pytest.raises(MlcError, match="same on every rank") as caught:
        DataParallel("x", 2).run(m.finish())
    assert "model.py:7: node 'decay'" in str(caught.value)


def test_a_sum_in_a_loop_is_refused():
    m = g.module_builder("main")
    with m.function(inputs=[("x", (4,), "f32")]) as (x,):
        carries, _ = g.scan(lambda c, _, __: ([g.all_reduce(c[0])], []), [x], [], 3)
        m.outputs([("y", carries[0])])
    with pytest.raises(MlcError, match=r"inside of graph\.scan"):
        DataParallel("x", 2).run(m.finish())


def test_only_numbers_of_one_kind_and_known_shapes_travel():
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N",), "f32"), ("y", (2,), "f32"), ("z", (2,), "f64"), ("u", (2,), "u8")]) as (
        x,
        y,
        z,
        u,
    ):
        with pytest.raises(ShapeError, match="has no fixed size"):
            AllReduceOp([x, y])
        with pytest.raises(DTypeError, match="do not travel together"):
            AllReduceOp([y, z])
        with pytest.raises(DTypeError, match="is not of f32"):
            AllReduceOp([u])
        with pytest.raises(ShapeError, match="nothing to sum up"):
            AllReduceOp([])


def test_no_bucket_has_more_elements_than_engines_count() -> None:
    half = 1 << 30
    m = g.module_builder("main")
    with m.function(inputs=[(name, (half - 5,), "f32") for name in "abcd"] + [("e", (2 * half,), "f32")]) as inputs:
        m.outputs([(name, g.all_reduce(x)) for name, x in zip("abcd", inputs, strict=False)])
        with pytest.raises(ShapeError, match="2147483648 elements, and 2147483647 travel"):
            g.all_reduce(inputs[-1])
    module = PassManager("bucket-collectives{bytes=1000000000000}").run(m.finish())
    sums = [op for op in module.main.body.block.ops if isinstance(op, AllReduceOp)]
    assert [len(op.xs) for op in sums] == [1, 1, 1, 1]  # two of them, on cache lines, are one too many


def test_sums_of_different_sizes_are_refused():
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N",), "f32")]) as (x,):
        m.outputs([("y", g.all_reduce(x))])
    with pytest.raises(MlcError, match=r"sum up \[2\] and \[3\]"):
        run_ranks(m.finish(), [[np.zeros(2, np.float32)], [np.zeros(3, np.float32)]])


def test_halves_are_added_in_f32():
    m = g.module_builder("main")
    with m.function(inputs=[("x", (2,), "bf16")]) as (x,):
        m.outputs([("y", g.all_reduce(x))])
    module = m.finish()
    (op,) = [op for op in module.main.body.block.ops if isinstance(op, AllReduceOp)]
    assert g.dtype_of(op.outputs[0]) == "f32" and module.output_types == [((2,), "bf16")]
