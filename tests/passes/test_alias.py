"""Results that live in arguments: what is refused, who overwrites what and when, and random programs through every stage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlc
from mlc.errors import InvalidModel, MlcError
from mlc.ir import builder as g
from mlc.ir.interpreter import run
from mlc.ir.kernel.interpreter import run_program
from mlc.ir.kernel.program import BufferOp, CallOp, ViewOp
from mlc.ir.module import Module
from mlc.passes.manager import PassManager
from tests.passes.aliased import ARGUMENTS, Program, programs

SIZES = (0, 1, 2, 5, 17)
OUTLINED = "decompose,expand-padding,fuse,outline"
LOWERED = "default,fuse,outline,schedule,lower,plan-arena"


def agree(program: Program, call, size: int) -> None:
    """`call` takes arrays and returns the results; those that live in arguments are in the arrays, and other arrays are what they were."""
    before = program.arguments(size)
    want = program.expected(before)
    arrays = [array.copy() for array in before]
    found = call(arrays)
    for got, expected in zip(found, want, strict=True):
        assert got.shape == expected.shape and got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)
    for number, (array, old) in enumerate(zip(arrays, before, strict=True)):
        if number in program.aliases:
            expected = want[program.aliases.index(number)]
            np.testing.assert_allclose(array, expected, rtol=1e-3, atol=1e-4)
        else:
            np.testing.assert_array_equal(array, old)


@settings(max_examples=30)
@given(programs())
def test_random_programs_overwrite_arguments_with_what_they_mean(program):
    module = program.module()
    assert str(Module.parse(str(module), module.weights)) == str(module)
    made = [
        module,
        PassManager(OUTLINED, verify_each=True).run(module),
        PassManager(LOWERED, verify_each=True).run(module),
    ]
    assert str(Module.parse(str(made[1]), made[1].weights)) == str(made[1])
    for size in SIZES:
        agree(program, lambda arrays: run(module, arrays), size)
        for stage in made[1:]:
            agree(program, lambda arrays, stage=stage: run_program(stage, arrays), size)
            agree(program, lambda arrays, stage=stage: run_program(stage, arrays, races=True), size)


@settings(max_examples=12)
@given(programs())
def test_native_code_overwrites_arguments_with_what_programs_mean(program):
    for threads in (1, 2):
        executable = mlc.compile(program.module(), threads=threads)
        for size in (*SIZES, 61):
            agree(
                program, lambda arrays, exe=executable: exe.run(None, dict(zip(ARGUMENTS, arrays, strict=True))), size
            )


def outlined(results, alias, shape=(3, 5), names=("a", "b")):
    """@main of a function of a, b, ... that gives `results(...)`."""
    m = g.module_builder("m")
    with m.function(inputs=[(name, shape, "f32") for name in names]) as arguments:
        m.outputs([(f"r{n}", value) for n, value in enumerate(results(*arguments))], alias)
    return PassManager(OUTLINED).run(m.finish())


def copies(program: Module) -> int:
    return sum(op.name == "memref.copy" for op in program.main.walk())


def buffers(program: Module) -> int:
    return sum(isinstance(op, BufferOp) for op in program.main.walk())


def memories(call: CallOp) -> list[object]:
    """The arguments of a call, views looked through."""
    return [value.owner.base if isinstance(value.owner, ViewOp) else value for value in call.arguments]


def test_an_update_is_written_over_what_it_reads():
    program = outlined(lambda a, b: [g.add(a, b)], {"r0": "a"})
    (call,) = (op for op in program.main.walk() if isinstance(op, CallOp))
    assert memories(call) == list(program.main.args[:2])  # a once, and no memory for the result
    assert (copies(program), buffers(program)) == (0, 0)


def test_whoever_overwrites_waits_for_the_readers_of_the_old_value():
    program = outlined(lambda a, b: [g.add(a, b), g.contract(a, b, "mk,nk->mn")], {"r0": "a"})
    first, second = (op for op in program.main.walk() if isinstance(op, CallOp))
    assert first.kernel.startswith("contraction") and memories(second)[0] is program.main.args[0]
    assert (copies(program), buffers(program)) == (0, 0)


def test_a_result_that_a_reader_of_the_old_value_needs_is_copied_at_the_end():
    program = outlined(lambda a, b: [c := g.contract(b, b, "mk,nk->mn"), g.contract(c, a, "mn,nk->mk")], {"r1": "b"})
    assert copies(program) == 0

    def chained(a, b):
        new = g.tanh(g.reverse(a, [0]))  # reads a elsewhere than it would write
        return [new, g.add(new, a)]

    program = outlined(chained, {"r0": "a"})
    assert (copies(program), buffers(program)) == (1, 1)
    before = [np.arange(15, dtype=np.float32).reshape(3, 5) / 15, np.zeros((3, 5), np.float32)]
    found = run_program(program, [array.copy() for array in before])
    np.testing.assert_allclose(found[1], np.tanh(before[0][::-1]) + before[0], rtol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_arguments_that_change_places_take_one_temporary(count):
    names = "abcde"[:count]
    program = outlined(lambda *xs: [*xs[1:], xs[0]], {f"r{n}": name for n, name in enumerate(names)}, names=names)
    assert (copies(program), buffers(program)) == (count + 1, 1)
    arrays = [np.full((3, 5), n, np.float32) for n in range(count)]
    assert [array[0, 0] for array in run_program(program, arrays)] == [*range(1, count), 0]


def test_an_argument_that_stays_what_it_is_costs_nothing():
    program = outlined(lambda a, b: [a, g.neg(b)], {"r0": "a", "r1": "b"})
    assert (copies(program), buffers(program)) == (0, 0)


def test_a_read_at_another_place_of_the_tile_is_not_in_place():
    for view in (lambda a: g.transpose(a, [1, 0]), lambda a: g.reverse(a, [1])):
        program = outlined(lambda a, b, view=view: [g.add(a, view(a))], {"r0": "a"}, shape=(4, 4))
        assert copies(program) == 1
    program = outlined(lambda a, b: [g.softmax(a, 1)], {"r0": "a"}, shape=(4, 4))
    assert copies(program) == 0  # a row is read before it is written


def test_a_scatter_over_its_operand_writes_what_it_sets_and_no_more():
    def cache(a, b):
        return [g.scatter_elements(a, g.full((1, 5), 2, "i64"), g.slice_axis(b, 0, 0, 1), 0)]

    program = outlined(cache, {"r0": "a"})
    assert copies(program) == 0
    stores = [
        op for f in program.op.ops if "scatter" in str(f.sym_name) for op in f.walk() if op.name == "memref.store"
    ]
    assert len(stores) == 1
    a, b = np.zeros((3, 5), np.float32), np.ones((3, 5), np.float32)
    assert run_program(program, [a, b])[0] is a
    np.testing.assert_array_equal(a, [[0] * 5, [0] * 5, [1] * 5])


def test_a_run_that_stops_at_a_size_leaves_its_arguments():
    m = g.module_builder("m")
    with m.function(inputs=[("a", (4,), "f32"), ("mask", (4,), "bool")]) as (a, mask):
        kept = g.nonzero(mask)
        found = g.gather(a, g.reshape(kept, [g.shape_of(kept)[0]]), 0)
        g.require_equal(g.shape_of(found)[0], 2, "two are kept")
        m.outputs([("new", g.neg(a)), ("found", found)], {"new": "a"})
    module = m.finish()
    executable = mlc.compile(module)
    a = np.arange(4, dtype=np.float32)
    executable(a, np.array([True, False, True, False]))
    np.testing.assert_array_equal(a, [0, -1, -2, -3])
    with pytest.raises(mlc.ShapeError, match="two are kept"):
        executable(a, np.array([True, True, True, False]))
    np.testing.assert_array_equal(a, [0, -1, -2, -3])


# What is refused ---------------------------------------------------------------------------------------------------------
HEAD = 'func.func @main(%a: tensor<2xf32> {graph.name = "a"}, %b: tensor<3xf32> {graph.name = "b"})'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '-> (tensor<2xf32> {graph.alias = "c"}) { return %a : tensor<2xf32> }',
            "lives in the argument 'c', and arguments are a, b",
        ),
        (
            '-> (tensor<2xf32> {graph.name = "y", graph.alias = "b"}) { return %a : tensor<2xf32> }',
            r"'y' is f32\[2\], and .* 'b' .* f32\[3\]",
        ),
        ("-> (tensor<2xf32> {graph.alias = 0 : i64}) { return %a : tensor<2xf32> }", "it is the name of an argument"),
        (
            '-> (tensor<2xf32> {graph.alias = "a"}, tensor<2xf32> {graph.alias = "a"}) { return %a, %a : tensor<2xf32>, tensor<2xf32> }',
            "'output0' and 'output1' live in the same argument 'a'",
        ),
    ],
)
def test_an_alias_that_does_not_fit_is_refused(text, message):
    with pytest.raises(InvalidModel, match=message):
        Module.parse(f"{HEAD} {text}")


def test_symbolic_shapes_must_agree_too():
    def build(other):
        m = g.module_builder("m")
        with m.function(inputs=[("a", ("N", 2), "f32"), ("b", (other, 2), "f32")]) as (_, b):
            m.outputs([("new", g.neg(b))], {"new": "a"})
        return m.finish()

    build("N")
    with pytest.raises(InvalidModel, match=r"'new' is f32\[M, 2\], and the argument 'a' it lives in f32\[N, 2\]"):
        build("M")


def test_only_results_of_main_and_known_ones_have_an_alias():
    with pytest.raises(InvalidModel, match="a result of @other has graph.alias"):
        Module.parse(
            HEAD.replace("main", "other") + ' -> (tensor<2xf32> {graph.alias = "a"}) { return %a : tensor<2xf32> }'
        )
    with pytest.raises(MlcError, match="there is no result 'y'"):
        outlined(lambda a, b: [a], {"y": "a"})


def test_a_planned_program_is_verified_too():
    program = outlined(lambda a, b: [g.add(a, b), g.neg(b)], {"r0": "a"})
    text = str(program)
    with pytest.raises(InvalidModel, match="lives in the argument 'q'"):
        Module.parse(text.replace('kernel.alias = "a"', 'kernel.alias = "q"'), program.weights)
    with pytest.raises(InvalidModel, match="an op uses its own memory"):
        Module.parse(text.replace("kernel.view %a ", "kernel.view %r0 "), program.weights)


def test_outline_refuses_functions_that_would_vanish():
    module = Module.parse(
        """func.func @main(%a: tensor<2xf32>) -> tensor<2xf32> { return %a : tensor<2xf32> }
        func.func @helper(%a: tensor<2xf32>) -> tensor<2xf32> { return %a : tensor<2xf32> }"""
    )
    with pytest.raises(InvalidModel, match="the function @helper beside @main, and only @main is compiled"):
        mlc.compile(module)


def test_the_interpreter_refuses_memory_that_it_cannot_overwrite():
    m = g.module_builder("m")
    with m.function(inputs=[("a", (2,), "f32")]) as (a,):
        m.outputs([("new", g.neg(a))], {"new": "a"})
    module, array = m.finish(), np.ones(2, np.float32)
    array.flags.writeable = False
    for call in (run, lambda module, arrays: run_program(PassManager(OUTLINED).run(module), arrays)):
        with pytest.raises(MlcError, match="input 'a' is overwritten, and the array is read-only"):
            call(module, [array])


# Results that begin with an argument ---------------------------------------------------------------------------------------
@settings(max_examples=15)
@given(st.data())
def test_results_that_begin_with_an_argument_grow_in_its_memory(data):
    rank = data.draw(st.integers(1, 4))
    shape = data.draw(st.lists(st.sampled_from([0, 1, 2, 3, "N"]), min_size=rank, max_size=rank))
    axis, more = data.draw(st.integers(0, rank - 1)), data.draw(st.sampled_from([0, 1, 3]))
    m = g.module_builder("growing")
    past = [("P" if a == axis else e) for a, e in enumerate(shape)]
    new = [(more if a == axis else e) for a, e in enumerate(shape)]
    with m.function(inputs=[("past", past, "f32"), ("new", new, "f32")]) as (p, x):
        present = g.concatenate([p, g.tanh(x), x], axis)
        m.outputs([("old", g.neg(p)), ("present", present), ("sum", g.reduce(present, [axis], "sum"))])
    module = m.finish()
    grown = PassManager("grow-in-place", verify_each=True).run(module)
    assert str(Module.parse(str(grown), grown.weights)) == str(grown)
    programs = [PassManager(passes).run(grown) for passes in (OUTLINED, LOWERED)]
    if more and 0 not in shape:  # else nothing grows
        assert all("kernel.front" in str(program.main.arg_attrs) for program in programs)
    executable = mlc.compile(grown, threads=2)
    chat = executable.with_state({"past": "present"})
    for size in (0, 1, 4):
        extents = [size if a == axis else 2 if e == "N" else e for a, e in enumerate(shape)]
        p = np.random.default_rng(size).uniform(-1, 1, extents).astype(np.float32)
        x = np.random.default_rng(9).uniform(-1, 1, [2 if e == "N" else e for e in new]).astype(np.float32)
        first = np.ascontiguousarray(np.moveaxis(p, axis, 0))
        before = first.copy()
        whole = np.concatenate([p, np.tanh(x), x], axis)
        want = [-p, np.moveaxis(whole, axis, 0), whole.sum(axis)]
        chat.state["past"] = first
        kept_outputs = chat.run(["old", "sum"], {"new": x})
        runs = [run(grown, [first, x]), *(run_program(each, [first, x]) for each in programs), executable(first, x)]
        for found in (*runs, [kept_outputs[0], chat.state["past"], kept_outputs[1]]):
            for got, expected in zip(found, want, strict=True):
                np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(first, before)


def test_what_does_not_begin_with_an_argument_is_named():
    m = g.module_builder("m")
    with m.function(inputs=[("a", (2, 3), "f32"), ("b", (2, 3), "f32")]) as (a, b):
        m.outputs(
            [
                ("back", g.concatenate([g.neg(a), b], 0)),
                ("twice", g.concatenate([a, b], 1)),
                ("again", g.concatenate([a, a], 0)),
            ]
        )
    module = m.finish()
    with pytest.raises(MlcError, match="the result 'back' does not begin with an argument"):
        PassManager("grow-in-place{results=back}").run(module)
    grown = PassManager("grow-in-place").run(module)  # an argument is the front of one result
    assert str(grown).count("graph.front") == 1
    wider = str(module).replace('{graph.name = "twice"}', '{graph.name = "twice", graph.front = "a"}')
    with pytest.raises(InvalidModel, match=r"'twice' is f32\[2, 6\], and the argument 'a' it begins with f32\[2, 3\]"):
        Module.parse(wider)
