"""Values that are computed again under a budget of memory: same bits, less memory, and a smaller budget never plans more of it."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import mlc
from mlc import numpy as mnp
from mlc import optim
from mlc.errors import MlcError
from mlc.ir.byte_counts import bytes_of
from mlc.ir.interpreter import run
from mlc.ir.samples import random_inputs
from mlc.options import CompileOptions
from mlc.passes.graph.recomputation import Program, ProgramStep, staircase
from mlc.passes.graph.rematerialise import Stairs, memory_record
from mlc.passes.manager import PassManager
from tests.passes.graphs import modules

ROWS, WIDTH = 96, 16


def network(params, x):
    for w in params:
        x = mnp.tanh(x @ w)
    return x


def loss(prediction, target):
    return mnp.mean((prediction - target) ** 2)


def weights(layers: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [(rng.standard_normal((WIDTH, WIDTH)) / 4).astype(np.float32) for _ in range(layers)]


def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    x, y = (rng.standard_normal((ROWS, WIDTH)).astype(np.float32) for _ in range(2))
    return x, y


def step_of(layers: int, optimizer=None, **options):
    return mlc.train_step(network, loss, optimizer or optim.SGD(lr=0.1), weights(layers), **options)


def trained(step) -> tuple[list[float], list[np.ndarray]]:
    losses = [float(step(*batch())) for _ in range(3)]
    return losses, [np.asarray(w) for w in step.parameters]


@pytest.fixture(scope="module")
def stairs() -> Stairs:
    """Of the groups of a step of twelve layers."""
    module = step_of(12).trace(*(mlc.TensorSpec((ROWS, WIDTH), "f32") for _ in range(2)))
    return Stairs(PassManager("default,fuse").run(module))


# Plans ------------------------------------------------------------------------------------------------------------------


@st.composite
def programs(draw) -> Program:
    """Steps that read values made before them, of any sizes."""
    count = draw(st.integers(1, 14))
    sizes = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    steps = []
    for n in range(count):
        inputs = draw(st.sets(st.integers(max(0, n - 8), n - 1), max_size=3)) if n else set()
        steps.append(ProgramStep(tuple(sorted(inputs)), (n,), draw(st.integers(1, 5)), draw(st.integers(0, 4)) > 0))
    return Program(tuple(steps), tuple(sizes))


def simulated(program: Program, dropped: frozenset[int]) -> tuple[int, int]:
    """Peak and extra runs of an order that is gone through with a set of living values; each must live when it is read."""
    order = program.order(dropped)
    reads: list[set[tuple[int, bool]]] = []
    second: set[int] = set()
    for n, again in order:
        late = again or n >= program.half
        reads.append({(v, late and v in second) for v in program.steps[n].inputs})
        second |= set(program.steps[n].outputs) if again else set()
    alive: set[tuple[int, bool]] = set()
    peak = 0
    for place, (n, again) in enumerate(order):
        assert reads[place] <= alive
        alive |= {(v, again) for v in program.steps[n].outputs}
        peak = max(peak, sum(program.sizes[v] for v, _ in alive))
        left = set().union(*reads[place + 1 :])
        alive &= left
    return peak, sum(again for _, again in order)


@settings(max_examples=60, deadline=None)
@given(programs())
def test_plans_are_measured_as_they_run_and_form_a_staircase(program):
    stairs = staircase(program)
    assert not stairs[0].dropped
    for plan in stairs:
        assert all(program.steps[n].pure and n < program.half for n in plan.dropped)
        assert simulated(program, plan.dropped) == (plan.peak, len(plan.dropped))
    peaks, work = [plan.peak for plan in stairs], [plan.extra for plan in stairs]
    assert peaks == sorted(set(peaks), reverse=True) and work == sorted(work)


def test_a_chain_and_its_way_back_take_a_root_of_its_length():
    """64 equal values, read again in reverse: kept, 64 of them live at once; the root of a chain's length, twice, is what cuts leave."""
    n = 64
    forward = [ProgramStep((i - 1,) if i else (), (i,), 1.0) for i in range(n)]
    backward = [ProgramStep((n + i - 1, n - 1 - i) if i else (n - 1,), (n + i,), 1.0) for i in range(n)]
    stairs = staircase(Program((*forward, *backward), (1,) * (2 * n)))
    assert stairs[0].peak >= n and stairs[-1].peak <= 2 * 8 + 4
    assert all(plan.extra <= n for plan in stairs)


# Modules ----------------------------------------------------------------------------------------------------------------


def test_fifty_budgets_never_plan_more_memory_or_less_work_for_less(stairs):
    most = stairs.without
    found = []
    for budget in np.linspace(most, 0.34 * most, 50, dtype=int):
        record = memory_record(stairs.under(int(budget)))
        assert record["planned"] <= record["budget"] == budget
        found.append((record["planned"], record["extra"]))
    bytes, work = zip(*found, strict=True)
    assert list(bytes) == sorted(bytes, reverse=True) and list(work) == sorted(work)
    assert bytes[-1] <= 0.34 * bytes[0] and work[0] == 0 < work[-1] and len(set(bytes)) > 5


def test_the_smallest_budget_is_named_and_fits(stairs):
    with pytest.raises(MlcError, match="memory budget is 100 bytes") as error:
        stairs.under(100)
    smallest = int(error.value.remedy.split("The smallest budget that fits is ")[1].split(" bytes")[0])
    assert memory_record(stairs.under(smallest))["planned"] == smallest
    with pytest.raises(MlcError):
        stairs.under(smallest - 1)


@settings(max_examples=8, deadline=None)
@given(modules())
def test_random_modules_keep_their_bits(module):
    assume(not module.counted)
    fused = PassManager(["decompose", "expand-padding", "fuse"]).run(module)
    fused.symbols = {name: (0, 5) for name in fused.symbols}
    stairs = Stairs(fused)
    made = stairs.under(min(stairs.planned(n) for n in range(len(stairs.plans))))
    made.verify()
    assert stairs.without == 0 or memory_record(made)["planned"] <= stairs.without
    for size in (1, 5):
        inputs = random_inputs(module, {"N": size}, seed=size)
        for got, want in zip(run(made, inputs), run(fused, inputs), strict=True):
            np.testing.assert_array_equal(got, want)


# Compiled ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "optimizer", "share"), [(12, optim.SGD(lr=0.1), 0.45), (5, optim.Adam(lr=0.01), 0.75)]
)
def test_a_step_takes_what_is_planned_and_gives_the_same_bits(layers, optimizer, share):
    plain = step_of(layers, optimizer)
    losses, parameters = trained(plain)
    whole = plain.executable.memory_analysis().buffers
    step = step_of(layers, optimizer, memory_budget=int(share * whole))
    found = trained(step)
    record = step.executable.report["memory"]
    assert record["without"] == whole and (record["extra"] > 0) == (record["groups"] > 0)
    assert record["planned"] == record["arena"] == step.executable.memory_analysis().buffers <= share * whole
    assert record["groups"] > 0 or layers == 5
    assert found[0] == losses
    for got, expected in zip(found[1], parameters, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_sizes_that_differ_are_planned_at_their_bounds():
    def value(ws, x):
        return loss(network(ws, x), x * 0.5)

    gradient = mlc.grad(value)
    shapes = {"x": ("N", WIDTH)}
    free = mlc.jit(gradient, shapes=shapes, dims={"N": (1, ROWS)})
    ws, (x, _) = weights(10), batch()
    want = {rows: free(ws, x[:rows]) for rows in (1, 7, ROWS)}
    with pytest.raises(MlcError, match="N has no bound"):
        mlc.jit(gradient, shapes=shapes, memory_budget="1MiB")(ws, x)
    budget = int(0.7 * 10 * ROWS * WIDTH * 4)
    tight = mlc.jit(gradient, shapes=shapes, dims={"N": (1, ROWS)}, memory_budget=budget)
    lowered = tight.lower(ws, x).compile().executable.report["memory"]
    assert lowered["sizes"] == {"N": ROWS} and lowered["arena"] == lowered["planned"] <= budget < lowered["without"]
    for rows, expected in want.items():
        for got, exact in zip(tight(ws, x[:rows]), expected, strict=True):
            np.testing.assert_array_equal(np.asarray(got), np.asarray(exact))


@pytest.mark.parametrize(
    ("text", "bytes"), [("200MiB", 200 << 20), ("1.5 GiB", 3 << 29), ("64KB", 64_000), ("12", 12), ("3b", 3)]
)
def test_budgets_are_read(text, bytes):
    assert bytes_of(text) == CompileOptions.of(memory_budget=text).memory_budget == bytes


@pytest.mark.parametrize("wrong", ["much", "-3MiB", "3MeB", -1, 2.5, True])
def test_what_is_no_budget_is_refused(wrong):
    with pytest.raises(MlcError):
        CompileOptions.of(memory_budget=wrong)
