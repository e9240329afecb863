"""What stands between the calls of a plan, walked: kernels run as machine code one by one, and all that decides is read back from their memory."""

from __future__ import annotations

import ctypes
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlc.codegen.code import called_kernels
from mlc.codegen.llvm.object import compile_text, load
from mlc.codegen.llvm.printer import argument_types, emit
from mlc.compiler import Compilation
from mlc.ir import dims, interpreter
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.places import Argument
from mlc.ir.kernel.plan import Plan
from mlc.ir.kernel.planner import KernelSignature, plan_of
from mlc.ir.kernel.steering import ARITH, Instruction, computed, wrapped
from mlc.runtime.arrays import Memory, address, in_place
from mlc.runtime.binding import Binder
from mlc.runtime.steered import Walk
from tests.onnx_models import PATHS, bindings, signature
from tests.test_control_flow import LAYERS, parse, rows
from tests.test_counted import sum_of_positions

TYPES = {"i1": ctypes.c_uint8, "i8": ctypes.c_int8, "i32": ctypes.c_int32, "i64": ctypes.c_int64, "index": ctypes.c_int64}  # fmt: skip


class Walked:
    """A model whose calls are issued from Python."""

    def __init__(self, source):
        compilation = Compilation()
        self.module = compilation.load(source)
        lowered = compilation.lower(self.module)
        self.plan = Plan.from_json(json.loads(json.dumps(plan_of(lowered).to_json())))
        self.weights = [in_place(lowered.weights.get(key)) for key in self.plan.weights]
        self.kernels = {}
        for name, functions in called_kernels(lowered):
            op = functions[-1]
            code = load([compile_text(emit(functions, cpu_target()), cpu_target(), "kernel.optimise" in op.attributes)])
            types = argument_types(op)
            entry = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(types))(code.address(name))
            self.kernels[name] = entry, KernelSignature(op), code

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        plan, self.inputs = self.plan, [in_place(x) for x in inputs]
        self.binding = Binder(plan).bind(tuple(x.shape for x in inputs))
        self.memory = Memory(self.binding.arena)
        self.outputs = [np.zeros(shape, dtype) for shape, dtype, _ in self.binding.outputs]
        self.called: list[int] = []
        table = list(self.binding.table)
        self.walk = Walk(plan, self.binding, table, self)
        self.walk.run()
        counted = {name: table[1 + plan.sizes.index(dims.symbol(name))] for name in plan.counted}
        shapes = [[dims.evaluate(e, {**self.binding.symbols, **counted}) for e in spec.shape] for spec in plan.outputs]
        return [
            np.ravel(y)[: int(np.prod(shape))].reshape(shape) for y, shape in zip(self.outputs, shapes, strict=True)
        ]

    # What a walk asks of a machine -----------------------------------------------------------------------------------
    def address(self, kind: str, number: int) -> int:
        match kind:
            case "buffer":
                return self.memory.place + self.binding.offsets[number]
            case "scratch":
                return self.memory.place
        return address({"input": self.inputs, "output": self.outputs, "weight": self.weights}[kind][number])

    def call(self, number: int, known) -> None:
        self.called.append(number)
        step = self.plan.steps[number]
        entry, kernel, _ = self.kernels[step.kernel]
        given = []
        for argument in step.arguments:
            given += [known(argument), *(known(Argument("size", stride)) for stride in argument.strides)]
        if kernel.tiles is not None:
            roles = [role for role in kernel.roles if role not in ("begin", "end")]
            sizes = [known(a) for a, role in zip(step.arguments, roles, strict=True) if role == "extent"]
            given += [0, dims.evaluate(kernel.tiles, dict(zip(kernel.extents, sizes, strict=True)))]
        entry(*given)

    def copy(self, number: int, known) -> None:
        copy = self.plan.copies[number]
        ctypes.memmove(known(copy.target), known(copy.source), known(Argument("size", copy.bytes)))

    def load(self, place: int, type: str) -> int:
        return TYPES[type].from_address(place).value

    def store(self, place: int, type: str, value: int) -> None:
        TYPES[type].from_address(place).value = value


def agree(walked: Walked, inputs: list[np.ndarray]) -> None:
    assert not walked.plan.straight
    for got, want in zip(walked(*inputs), interpreter.run(walked.module, inputs), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_a_branch_is_taken_as_a_value_of_the_run_says() -> None:
    walked = Walked(parse(LAYERS))
    ran = []
    for c in (True, False):
        for n in (0, 1, 7):
            agree(walked, [np.array(c), rows(n), rows(n, 1)])
        ran.append(walked.called)
    assert not set(ran[0]) & set(ran[1])


WHILE = """(float[3] x, int64 most) => (float[3] y, int64 turns) {
    one = Constant <value = int64 {1}> ()
    zero = Constant <value = int64 {0}> ()
    start = Constant <value = bool {1}> ()
    limit = Constant <value = float {20}> ()
    y, turns = Loop (most, start, x, zero) <body = step (int64 i, bool c, float[3] v, int64 n)
        => (bool again, float[3] w, int64 m) {
            w = Add (v, v)
            m = Add (n, one)
            total = ReduceSum <keepdims = 0> (w)
            again = Less (total, limit)
        }>
}"""


@pytest.mark.parametrize("most", [0, 1, 2, 100])
def test_a_loop_ends_when_a_value_of_the_run_says(most: int) -> None:
    agree(Walked(parse(WHILE)), [np.array([1, 0, 0.5], np.float32), np.array(most)])


def test_a_recurrent_network_goes_step_by_step() -> None:
    (path,) = [path for path in PATHS if path.name == "lstm_bidirectional.symbolic.legacy.onnx"]
    walked = Walked(path)
    for seed, sizes in enumerate(bindings(path, count=1)):
        feeds = signature(path).feeds(sizes, seed)
        agree(walked, [feeds[name] for name in walked.module.input_names])


def test_what_data_decides_is_counted_on_the_way() -> None:
    """And the run ends where two counts do not agree, before it touches what they are the sizes of."""
    walked = Walked(sum_of_positions())
    for x, y in ((np.eye(1, 6)[0], np.eye(1, 4, 2)[0]), (np.ones(3), np.ones(3)), (np.zeros(5), np.zeros(0))):
        agree(walked, [x.astype(np.float32), y.astype(np.float32)])
        assert not walked.walk.ended
    steps = len(walked.called)
    walked(np.ones(3, np.float32), np.ones(2, np.float32))
    assert walked.walk.ended and len(walked.called) < steps


@given(
    st.sampled_from(sorted(ARITH - {"select", "cmpi", "index_cast", "extui", "extsi", "trunci"})),
    st.sampled_from(["i8", "i32", "i64"]),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**63), 2**63 - 1),
)
def test_numbers_between_calls_are_those_of_the_machine(op, type, x, y) -> None:
    """As NumPy computes, without a sign where the name says so."""
    x, y = wrapped(x, type), wrapped(y, type)
    dtype = np.dtype(f"{'u' if op.endswith('ui') else ''}int{type[1:]}")
    a, b = (np.array([v], np.int64).astype(dtype) for v in (x, y))
    if op[:3] in ("div", "rem") and (not b[0] or (op.endswith("si") and b[0] == -1)):
        return
    quotient = (
        np.sign(a) * np.sign(b) * (np.abs(a) // np.maximum(np.abs(b), 1))
        if op.endswith("si")
        else a // np.maximum(b, 1)
    )
    functions = {
        "addi": lambda: a + b, "subi": lambda: a - b, "muli": lambda: a * b, "andi": lambda: a & b, "ori": lambda: a | b,
        "xori": lambda: a ^ b, "min": lambda: np.minimum(a, b), "max": lambda: np.maximum(a, b), "div": lambda: quotient,
        "rem": lambda: a - quotient * b,
    }  # fmt: skip
    with np.errstate(over="ignore"):
        want = functions.get(op, functions.get(op[:3]))().astype(np.int64)[0]
    smallest = op.endswith("si") and -(2 ** (int(type[1:]) - 1)) in (x, y) and op[:3] in ("div", "rem")
    if not smallest:  # whose absolute value NumPy cannot say
        assert computed(Instruction(op, detail=type), [x, y]) == wrapped(int(want), type)


@pytest.mark.parametrize(
    ("op", "detail", "values", "want"),
    [
        ("cmpi", "i64 slt", [-1, 1], 1),
        ("cmpi", "i64 ult", [-1, 1], 0),
        ("cmpi", "index eq", [3, 3], 1),
        ("cmpi", "i32 uge", [-1, 5], 1),
        ("select", "i64", [0, 4, 5], 5),
        ("extui", "i64 i1", [1], 1),
        ("extsi", "i64 i1", [1], -1),
        ("extui", "i64 i8", [-1], 255),
        ("trunci", "i8 i64", [257], 1),
        ("index_cast", "index i32", [-7], -7),
    ],
)
def test_comparisons_and_casts(op, detail, values, want) -> None:
    assert computed(Instruction(op, detail=detail), values) == want
