"""Kernels for single sizes: which there are, which of them a call runs, and that the program stays the same one."""

import numpy as np
import pytest
from xdsl.dialects import arith
from xdsl.dialects.builtin import FloatAttr, f32
from xdsl.dialects.func import FuncOp
from xdsl.rewriter import Rewriter

import mlc
from mlc.errors import MlcError
from mlc.ir import builder as g
from mlc.ir import dims
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.kernel.program import CallOp, WeightOp, sizes_asked
from mlc.ir.module import Module
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import parse, pipeline

RNG = np.random.default_rng(3)
WEIGHT = RNG.standard_normal((6, 40)).astype(np.float32)


def two_sizes() -> Module:
    """A product over [N, T], a shift of what has T alone, one of what has neither."""
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N", "T", 6), "f32"), ("t", ("T",), "f32"), ("c", (5,), "f32")]) as (x, t, c):
        y = g.softmax(g.matmul(x, g.weight(WEIGHT, name="w")), 2)
        m.outputs([("y", y), ("u", g.add(t, g.full_like(t, 7.0))), ("v", g.add(c, g.full_like(c, 7.0)))])
    return m.finish()


def shift(count: int = 1) -> Module:
    """Every output is its input, f32[N], plus 1."""
    m = g.module_builder("main")
    with m.function(inputs=[(f"x{i}", ("N",), "f32") for i in range(count)]) as xs:
        m.outputs([(f"y{i}", g.add(x, g.full_like(x, 1.0))) for i, x in enumerate(xs)])
    return m.finish()


def specialised(module: Module, sizes: str) -> Module:
    """Outlined and specialised."""
    return PassManager(f"decompose,fuse,outline,specialise{{sizes={sizes}}}", verify_each=True).run(module)


def inputs(n: int, t: int) -> list[np.ndarray]:
    return [RNG.standard_normal(shape).astype(np.float32) for shape in ((n, t, 6), (t,), (5,))]


def kernels(module: Module) -> list[str]:
    return [op.sym_name.data for op in module.op.ops if isinstance(op, FuncOp) and op is not module.main]


def spoil(module: Module, kernel: str) -> None:
    """The kernel adds 100, not 1."""
    (function,) = [op for op in module.op.ops if isinstance(op, FuncOp) and op.sym_name.data == kernel]
    for op in [op for op in function.walk() if isinstance(op, arith.ConstantOp) and op.result.type == f32]:
        Rewriter.replace_op(op, arith.ConstantOp(FloatAttr(100.0, f32)))


def runs(module: Module, kernel: str, n: int) -> bool:
    """Is this the kernel that a call of size n runs?"""
    changed = module.clone()
    spoil(changed, kernel)
    (y,) = run_program(changed, [np.zeros(n, np.float32)])
    assert set(y) in ({1.0}, {100.0})
    return y[0] == 100


def test_a_kernel_runs_at_its_size_and_not_beside_it() -> None:
    made = specialised(shift(), "N@8")
    assert kernels(made) == ["elementwise_0", "elementwise_0_N_8"]
    assert [n for n in (1, 7, 8, 9, 64) if runs(made, "elementwise_0_N_8", n)] == [8]
    assert [n for n in (1, 7, 8, 9, 64) if runs(made, "elementwise_0", n)] == [1, 7, 9, 64]


def test_native_code_makes_the_same_choice() -> None:
    made = specialised(shift(), "N@8")
    spoil(made, "elementwise_0_N_8")
    exe = mlc.compile(made)
    assert [exe(np.zeros(n, np.float32))[-1] for n in (1, 7, 8, 9)] == [1, 1, 100, 1]


def test_the_outputs_are_those_of_the_program_for_all_sizes() -> None:
    plain = PassManager("decompose,fuse,outline").run(two_sizes())
    special = specialised(two_sizes(), "N@2,T@3;T@4;N@1")
    for n, t in ((2, 3), (2, 4), (1, 4), (1, 3), (0, 4), (3, 5), (1, 1)):
        given = inputs(n, t)
        for found, want in zip(run_program(special, given), run_program(plain, given), strict=True):
            np.testing.assert_array_equal(found, want)


def test_sizes_with_a_comma_hold_together_and_kernels_without_them_stay() -> None:
    made = specialised(two_sizes(), "N@2,T@3")
    calls = {op.kernel: sizes_asked(op) for op in made.main.walk() if isinstance(op, CallOp)}
    variants = {name: sizes for name, sizes in calls.items() if name.endswith("_N_2_T_3")}
    assert variants and set(map(str, variants.values())) == {"{'N': 2, 'T': 3}"}
    general = {name.removesuffix("_N_2_T_3") for name in variants}
    assert len(calls) == 2 * len(general) + 1  # the kernel for `v` has no such size
    assert not any(calls[name] for name in calls.keys() - variants.keys())


def test_of_sizes_that_hold_the_first_is_taken() -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N", "T"), "f32")]) as (x,):
        y = g.transpose(x, (1, 0))
        m.outputs([("y", g.add(y, g.full_like(y, 1.0)))])
    module = m.finish()
    for sizes, first in (("N@2;T@3", "N_2"), ("T@3;N@2", "T_3"), ("N@2,T@3;N@2", "N_2_T_3")):
        made = specialised(module, sizes)
        (name,) = [name for name in kernels(made) if name.endswith(f"_{first}")]
        spoil(made, name)
        (y,) = run_program(made, [np.zeros((2, 3), np.float32)])
        assert np.all(y == 100), sizes


def test_a_variant_is_text_that_parses_back() -> None:
    made = specialised(two_sizes(), "N@2,T@3;T@4")
    again = Module.parse(made.text(), made.weights)
    assert again.text() == made.text()
    asked = [[sizes_asked(op) for op in m.main.walk() if isinstance(op, CallOp)] for m in (made, again)]
    assert asked[0] == asked[1] and {"T": 4} in asked[0]


def test_symbols_may_have_any_name() -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", (dims.symbol("batch size"), dims.symbol("é-1")), "f32")]) as (x,):
        m.outputs([("y", g.transpose(x, (1, 0)))])
    exe = mlc.compile(m.finish(), specialise=[{"batch size": 8, "é-1": 2}, {"é-1": 3}])
    for shape, ending in (((8, 2), "_batch_size_8_1_2"), ((8, 3), "_1_3"), ((7, 2), "_0")):
        x = RNG.standard_normal(shape).astype(np.float32)
        np.testing.assert_array_equal(exe(x), x.T)
        assert [step.kernel.endswith(ending) for step in exe.profile(x)] == [True]


def test_equal_kernels_are_one_function() -> None:
    assert kernels(specialised(shift(3), "N@8")) == ["elementwise_0", "elementwise_0_N_8"]
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N",), "f32"), ("y", (8,), "f32")]) as (x, y):
        m.outputs([("u", g.neg(x)), ("v", g.neg(y))])
    assert kernels(specialised(m.finish(), "N@8")) == ["elementwise_0", "elementwise_1"]  # that of y serves x


def test_one_kernel_at_two_extents_of_a_size_is_two() -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N",), "f32"), ("y", ("2*N",), "f32")]) as (x, y):
        m.outputs([("u", g.neg(x)), ("v", g.neg(y))])
    made = specialised(m.finish(), "N@8")
    assert kernels(made) == ["elementwise_0", "elementwise_0_N_8_2", "elementwise_0_N_8"]
    for n in (7, 8):
        x, y = (RNG.standard_normal(size).astype(np.float32) for size in (n, 2 * n))
        for found, want in zip(run_program(made, [x, y]), (-x, -y), strict=True):
            np.testing.assert_array_equal(found, want)


def test_sizes_without_work_or_without_meaning_change_nothing() -> None:
    m = g.module_builder("main")
    n, t = dims.symbol("N"), dims.symbol("T")
    with m.function(inputs=[("x", (n, t), "f32")]) as (x,):
        part = g.slice(x, (0, 0), (n, dims.floordiv(t, n)))
        m.outputs([("y", g.neg(part))])
    module = m.finish()
    assert kernels(specialised(module, "N@0")) == ["elementwise_0"]
    assert kernels(specialised(module, "N@2")) == ["elementwise_0", "elementwise_0_N_2"]


def test_a_weight_that_is_packed_alike_is_one() -> None:
    lowered = PassManager(pipeline(target="x86-64-v3", sizes="N@64,T@16;N@64,T@32")).run(two_sizes())
    packed = {op.key.data for op in lowered.main.walk() if isinstance(op, WeightOp) and "packed" in op.key.data}
    calls = [op for op in lowered.main.walk() if isinstance(op, CallOp) and op.kernel.startswith("contraction")]
    assert len(calls) == 3 and len(packed) < 3


def test_a_pass_takes_its_sizes_as_text() -> None:
    (step,) = parse("specialise{sizes=N@8,T@128;N@1}")
    assert str(step) == "specialise{sizes=N@8,T@128;N@1}"
    assert parse(str(step)) == [step]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("M@8", "unknown dimension 'M'"),
        ("N@eight", "'eight' is not a size"),
        ("N@8,N@9", "'N' has two sizes"),
    ],
)
def test_sizes_that_the_module_cannot_have_are_errors(sizes: str, message: str) -> None:
    with pytest.raises(MlcError, match=message):
        specialised(shift(), sizes)


def test_a_size_outside_of_the_bounds_is_an_error() -> None:
    module = shift()
    module.symbols["N"] = (2, 16)
    for size in (1, 17):
        with pytest.raises(MlcError, match=f"N = {size}: N is within 2..16"):
            specialised(module, f"N@{size}")


def test_loops_are_not_specialised() -> None:
    lowered = PassManager(pipeline()).run(shift())
    with pytest.raises(MlcError, match="takes kernels, and as it comes the module is loops"):
        PassManager("specialise{sizes=N@8}").run(lowered)
    with pytest.raises(MlcError, match="a module of loops cannot be specialised for N@8"):
        mlc.compile(lowered, specialise=[{"N": 8}])


def test_a_pass_list_that_specialises_leaves_no_room_for_the_option() -> None:
    with pytest.raises(MlcError, match="specialises already"):
        mlc.compile(shift(), specialise=[{"N": 8}], passes="fuse,outline,specialise{sizes=N@4}")
