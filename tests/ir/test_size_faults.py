"""IR text whose ops reach outside of their operands at sizes that it allows is refused; what builders make is not."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.ir import SSAValue

from mlc.compiler import parse_text
from mlc.errors import InvalidModel
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.indexing import IndexRange, View
from mlc.ir.module import Module


def sliced(start: object, size: object, step: int, inside: bool = False) -> Module:
    m = g.module_builder("cut")
    with m.function(inputs=[("x", ("N", 4), "f32")]) as (x,):
        m.outputs([("y", g.slice(x, [start, 0], [size, 4], [step, 1], inside=inside))])
    return m.finish()


def parsed(module: Module) -> None:
    parse_text(str(module).encode(), "text")


N = dims.symbol("N")


@pytest.mark.parametrize(
    ("start", "size", "step", "message"),
    [
        (0, N, 1 << 31, r"at N = 2 it reads elements 0\.\.2147483648 of axis 0, which has 2"),
        (1, N, 1, r"at N = 2 it reads elements 1\.\.2 of axis 0"),
        (N, 1, 1, r"at N = 2 it reads elements 2\.\.2 of axis 0"),
        (N - 3, 3, 1, r"at N = 2 it reads elements -1\.\.1 of axis 0"),
        (N - 1, N + 1, -1, r"at N = 2 it reads elements 1\.\.-1 of axis 0"),
    ],
)
def test_a_slice_that_reaches_outside_is_refused(start: object, size: object, step: int, message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        parsed(sliced(start, size, step, inside=True))


def test_checks_and_bounds_forbid_the_sizes_at_which_it_would() -> None:
    module = sliced(2, 3, 1)
    assert module.checks
    parsed(module)
    module.checks = []
    with pytest.raises(InvalidModel, match="at N = 2 it reads elements 2..4"):
        parsed(module)
    module.symbols["N"] = (5, None)
    parsed(module)


@settings(max_examples=60, deadline=None)
@given(st.integers(-6, 6), st.integers(-6, 6), st.sampled_from([-3, -1, 1, 2]))
def test_what_the_builder_makes_of_clamped_slices_is_read(start: int, stop: int, step: int) -> None:
    """As NumPy's x[start:stop:step], whatever N is."""
    low, high = (0, N) if step > 0 else (-1, N - 1)
    first, last = (dims.dmin(dims.dmax(N + e if e < 0 else e, low), high) for e in (start, stop))
    size = dims.dmax(dims.ceildiv(last - first, step) if step > 0 else dims.ceildiv(first - last, -step), 0)
    parsed(sliced(first, size, step, inside=True))


def built(build: Callable[..., SSAValue], *inputs: tuple[tuple[object, ...], str]) -> Module:
    """y = build(x0, x1, ...) of inputs of these shapes and dtypes."""
    m = g.module_builder("main")
    with m.function(inputs=[(f"x{n}", *each) for n, each in enumerate(inputs)]) as arguments:
        m.outputs([("y", build(*arguments))])
    return m.finish()


def in_scan(x: SSAValue, steps: SSAValue) -> SSAValue:
    body = lambda carries, xs, constants: ([], [g.slice(constants[0], [2], [3])])
    return g.scan(body, [], [steps], g.shape_of(steps)[0], [x])[1][0]


def in_branch(x: SSAValue, flag: SSAValue) -> SSAValue:
    return g.cond(flag, lambda x: [g.slice(x, [0], [4])], lambda x: [g.full((4,), 0, "f32")], [x])[0]


def normalised(x: SSAValue) -> SSAValue:
    ones = g.full((g.shape_of(x)[1],), 1, "f32")
    return g.group_norm(x, ones, ones, 2)


WITHOUT_A_CHECK = [
    (
        lambda x, y: g.reshape(x, g.shape_of(y)),
        [(("N", 4), "f32"), (("M", 4), "f32")],
        r"reshape: at .* elements become",
    ),
    (
        lambda x, i: g.gather_elements(x, i, 1),
        [(("N", 3), "f32"), (("M", 3), "i64")],
        r"gather: at .* elements of axis 0",
    ),
    (
        lambda x, i: g.gather(x, i, 0),
        [(("N", 3), "f32"), ((5,), "i64")],
        r"gather: at N = 0 it looks up elements of axis 0",
    ),
    (
        lambda x, i, u: g.scatter_elements(x, i, u, 1),
        [(("N", 3), "f32"), (("M", 3), "i64"), (("M", 3), "f32")],
        r"scatter: at .* elements of axis 0",
    ),
    (lambda x: g.top_k(x, 3)[0], [(("N",), "f32")], r"top_k: at N = 2 it takes 3 elements of axis 0, which has 2"),
    (lambda x: g.pad(x, [-3], [0]), [(("N",), "f32")], r"pad: at N = 2 the extent N - 3 is -1"),
    (lambda x: g.reduce_window(x, "max", [4]), [(("N",), "f32")], r"reduce_window: at N = 2 the extent N - 3 is -1"),
    (
        lambda x, w: g.convolution(x, w, "nc0,oc0->no0"),
        [((1, 2, "N"), "f32"), ((3, 2, 5), "f32")],
        r"convolution: at N = 2 the extent N - 4 is -2",
    ),
    (in_scan, [(("N",), "f32"), (("T",), "f32")], r"slice: at N = 2, T = 2 it reads elements 2\.\.4"),
    (in_branch, [(("N",), "f32"), ((), "bool")], r"slice: at N = 2 it reads elements 0\.\.3"),
    (normalised, [((2, "C", 4), "f32")], r"group_norm: at C = 1 reshape of"),
]


@pytest.mark.parametrize(("build", "inputs", "message"), WITHOUT_A_CHECK)
def test_text_without_the_check_that_its_builder_left_is_refused(
    build: Callable[..., SSAValue], inputs: list[tuple[tuple[object, ...], str]], message: str
) -> None:
    module = built(build, *inputs)
    assert module.checks
    parsed(module)
    module.checks = []
    with pytest.raises(InvalidModel, match=message):
        parsed(module)


@pytest.mark.parametrize("op", ["gather", "scatter"])
def test_loops_beyond_an_axis_of_fixed_size_are_refused(op: str) -> None:
    inputs = [((5, 7), "f32"), ((5, 3), "i64"), ((5, 3), "f32")]
    if op == "gather":
        module = built(lambda x, i, _: g.gather_elements(x, i, 1), *inputs)
    else:
        module = built(lambda x, i, u: g.scatter_elements(x, i, u, 1), *inputs)
    text = str(module).replace("tensor<5x7xf32>", "tensor<2x7xf32>")
    with pytest.raises(InvalidModel, match=f"graph.{op}: it goes through 5 elements of axis 0, which has 2"):
        parse_text(text.encode(), "text")


@pytest.mark.parametrize(
    ("least", "said"), [(4, None), (3, r"at N = 3 it reads elements 0\.\.3 of axis 0, which has 3")]
)
def test_a_body_is_left_out_at_sizes_that_do_not_run_it(least: int, said: str | None) -> None:
    """Where N decides that the branch is taken, and where it does not run."""

    def build(x: SSAValue) -> SSAValue:
        large = g.ge(g.dimension(g.shape_of(x)[0]), g.constant(least))
        return in_branch(x, large)

    module = built(build, (("N",), "f32"))
    module.checks = []
    if said is None:
        parsed(module)
    else:
        with pytest.raises(InvalidModel, match=said):
            parsed(module)


def test_a_branch_that_data_decides_may_have_its_check_for_runs_that_take_it() -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N",), "f32"), ("flag", (), "bool")]) as (x, flag):
        truth = g.counted_truth(flag)
        m.outputs([("y", in_branch(x, flag))])
    module = m.finish()
    module.checks = [check.where(truth) for check in module.checks]
    parsed(module)
    module.checks = [g.Check(truth, truth, "nothing")]
    with pytest.raises(InvalidModel, match=r"it reads elements 0\.\.3"):
        parsed(module)


def test_sizes_that_a_run_counts_are_tried_up_to_the_most_that_it_may_count() -> None:
    def build(flags: SSAValue, x: SSAValue) -> SSAValue:
        return g.slice(x, [0], [g.shape_of(g.nonzero(flags))[0]], inside=True)

    parsed(built(build, ((3,), "bool"), ((3,), "f32")))
    with pytest.raises(InvalidModel, match=r"count0 = 3 it reads elements 0\.\.2 of axis 0, which has 2"):
        parsed(built(build, ((3,), "bool"), ((2,), "f32")))


END = lambda c: g.slice(c, [5], [2])
BODIES: dict[str, Callable[..., SSAValue]] = {
    "scan": lambda x, h, c: g.scan(lambda carries, xs, k: ([END(k[0])], []), [h], [x], 3, [c])[0][0],
    "while": lambda x, h, c: g.while_loop(
        lambda carries, k: (g.constant(False), [END(k[0])], []), g.constant(True), [h], None, [c]
    )[0][0],
    "if": lambda x, h, c: g.cond(g.constant(True), lambda c: [END(c)], lambda c: [END(c)], [c])[0],
    "call": lambda x, h, c: g.call(lambda c: [END(c)], [c], "f")[0],
}


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_a_body_takes_what_it_is_given(kind: str) -> None:
    """An argument that is larger in the body than outside of it."""
    module = built(BODIES[kind], ((3, 5), "f32"), ((2,), "f32"), ((7,), "f32"))
    parsed(module)
    before, body = str(module).split("^bb0(", 1)
    inside, after = body.split("graph.yield", 1)
    text = f"{before}^bb0({inside.replace('tensor<7xf32>', 'tensor<99xf32>')}graph.yield{after}"
    with pytest.raises(InvalidModel, match=rf"{kind}.*: it takes .*f32\[99\], and is given .*f32\[7\]"):
        parse_text(text.encode(), "text")


def test_a_result_that_begins_with_an_argument_is_no_shorter() -> None:
    def text(rows: str) -> bytes:
        return f"""func.func @main(%past: tensor<P x 8 x f32> {{graph.name = "past"}}, %x: tensor<"{rows}" x 8 x f32>)
            -> (tensor<"{rows}" x 8 x f32> {{graph.name = "present", graph.front = "past"}}) {{
            func.return %x : tensor<"{rows}" x 8 x f32>
        }}""".encode()

    parse_text(text("P + 1"), "text")
    with pytest.raises(InvalidModel, match="a result of 1 rows begins with an argument of 2"):
        parse_text(text("P - 1"), "text")


def test_a_weight_has_the_type_that_the_store_holds_it_with() -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N", 8), "f32")]) as (x,):
        m.outputs([("y", g.matmul(x, g.weight(np.zeros((8, 32), np.float32), name="w")))])
    module = m.finish()
    Module.parse(str(module), module.weights)
    text = str(module).replace("tensor<8x32xf32>", "tensor<8x99xf32>").replace("N x 32 x f32>", "N x 99 x f32>")
    with pytest.raises(InvalidModel, match=r"'w' is f32\[8, 32\] in the store, and f32\[8, 99\] here"):
        Module.parse(text, module.weights)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (IndexRange("gone", 0, N, "rows"), "the values of 'gone', which is no input"),
        (IndexRange("x0", 0, N, "rows"), "the values of 'x0', which are no integers"),
        (IndexRange("x1", 0, dims.symbol("Q"), "rows"), "'x1' for the size 'Q', which no input tells"),
        (IndexRange("x1", 0, N, "rows", (View("reshape", (7,)),)), r"does not fit: reshape \[7\] of \[2\]"),
        (IndexRange("x1", 0, N, "rows", (View("transpose", (2,), (5,)),)), r"does not fit: transpose"),
        (IndexRange("x1", 0, N, "rows", (View("broadcast", (3, 2), (0,)),)), r"does not fit: broadcast"),
        (IndexRange("x1", 0, N, "rows", (View("slice", (2,), (1,), (N,)),)), r"does not fit: slice"),
        (IndexRange("x1", 0, N, "rows", (View("slice", (1,), (0,), (0,)),)), r"does not fit: slice"),
    ],
)
def test_what_text_has_tested_of_positions_is_there(row: IndexRange, said: str) -> None:
    module = built(lambda x, i: g.gather(x, i, 0), (("N", 3), "f32"), ((2,), "i64"))
    parsed(module)
    module.indices = (row,)
    with pytest.raises(InvalidModel, match=said):
        parsed(module)


@pytest.mark.parametrize("loop", [-2, 5, 1 << 40])
def test_loops_of_a_gather_are_numbered_from_0_on(loop: int) -> None:
    """The largest number is no measure of the work."""
    text = str(built(lambda x, i: g.gather(x, i, 0), ((4, 3), "f32"), ((2,), "i64")))
    assert "axes = array<i64: -1, 1>" in text
    with pytest.raises(InvalidModel, match="do not name the loops from 0 on"):
        parse_text(text.replace("array<i64: -1, 1>", f"array<i64: -1, {loop}>").encode(), "text")
