"""What needs no MPI: a group of one, the table that native code sums up through, and what is said where something does not fit."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.backends import backend
from mlc.codegen.llvm.object import compile_text, load
from mlc.codegen.llvm.rank_table import RANK, SIZE, START, TEST, WAIT, mpi_adapters
from mlc.dist.parallel import DataParallel
from mlc.errors import DTypeError, MlcError, TargetUnavailable, UnsupportedOp
from mlc.ir import builder as g
from mlc.ir.ranks import run_ranks
from mlc.passes.kernel.rules.by_target import option_of
from mlc.passes.manager import PassManager
from mlc.passes.pipelines import pipeline
from mlc.runtime.engine_table import table


def model(params, x, key):
    hidden = mnp.where(mlc.random.bernoulli(key, 0.5, (len(x), 4)), x @ params["w"], 0)
    return hidden - mlc.dist.all_reduce(hidden.mean(0)), hidden.max(), hidden


def loss(prediction, y):
    centred, largest, hidden = prediction
    return ((centred - y) ** 2).mean(), largest, hidden


def batch(rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows)
    return rng.standard_normal((rows, 3)).astype(np.float32), rng.standard_normal((rows, 4)).astype(np.float32)


def step_of(**options):
    return mlc.train_step(model, loss, mlc.optim.SGD(0.1), {"w": np.ones((3, 4), np.float32)}, **options)


@pytest.mark.parametrize("bucket", [1, 4 << 20])
def test_a_group_of_one_trains_as_no_group(bucket: int) -> None:
    alone, one = step_of(), step_of(parallel=mlc.dist.data(bucket_bytes=bucket))
    for rows in (4, 1, 4, 5):
        for found, want in zip(one(*batch(rows)), alone(*batch(rows)), strict=True):
            np.testing.assert_allclose(found, want, rtol=1e-6)
    assert mlc.dist.size() == 1 and mlc.dist.rank() == 0


@pytest.mark.parametrize(
    ("optimizer", "cut", "shapes"),
    [
        (mlc.optim.SGD(0.1), 4, None),
        (mlc.optim.DiagonalNewton(0.1), 4, None),  # by products with the Hessian
        (mlc.optim.SGD(0.1), 3, {"x": ("N", 3), "target": ("N", 4)}),  # a rank counts by its rows
    ],
    ids=["gradients", "Hessian", "symbolic rows"],
)
def test_the_program_of_two_ranks_steps_as_one_with_the_whole_batch(optimizer, cut: int, shapes: dict | None) -> None:
    """The interpreter runs both ranks."""
    options = {"params": {"w": np.ones((3, 4), np.float32)}, "shapes": shapes}
    compare_two_ranks(lambda: lambda params, x: mnp.tanh(x @ params["w"]), cut, optimizer=optimizer, **options)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_statistics_of_all_ranks_are_those_of_the_whole_batch(momentum: float | None) -> None:
    def net() -> mlc.nn.Module:
        mlc.nn.seed(0)
        norm = mlc.nn.BatchNorm1d(5, momentum=momentum, sync=True)
        return mlc.nn.Sequential(mlc.nn.Linear(3, 5), norm, mlc.nn.ReLU(), mlc.nn.Linear(5, 4))

    compare_two_ranks(net, 4, optimizer=mlc.optim.SGD(0.1))


def compare_two_ranks(make, cut: int, **options) -> None:
    """Loss and state of both ranks behind a step are those of one that has the whole batch."""
    x, y = batch(8)
    table().words[SIZE] = 2
    try:
        step = mlc.train_step(make(), "mse", **options, parallel=mlc.dist.data())
        module = step.trace(x[:cut], y[:cut])
    finally:
        table().words[SIZE] = 1
    alone = mlc.train_step(make(), "mse", **options)
    value = alone(x, y)
    state = [step._state[name] for name in module.input_names[: len(step._state)]]
    inputs = [[*(np.array(s) for s in state), x[rows], y[rows]] for rows in (slice(0, cut), slice(cut, 8))]
    for outputs in run_ranks(module, inputs):
        by_name = dict(zip(module.output_names, outputs, strict=True))
        np.testing.assert_allclose(by_name["loss"], value, rtol=1e-6)
        for name, want in alone._state.items():
            np.testing.assert_allclose(by_name.get(f"new.{name}", want), want, rtol=1e-5, atol=1e-6)


@pytest.fixture
def engine() -> Iterator[dict]:
    """An engine that has two equal ranks: sums are twice what they sum up."""
    said: dict = {"started": [], "asked": 0, "waited": []}
    words = ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64
    dtypes = (ctypes.c_float, ctypes.c_double, ctypes.c_int32, ctypes.c_int64)

    def start(_table: int, slot: int, data: int, count: int, element: int) -> int:
        said["started"].append((slot, count, element))
        bucket = np.ctypeslib.as_array(ctypes.cast(data, ctypes.POINTER(dtypes[element])), (count,))
        bucket += bucket
        return 0

    def test(_table: int, _slot: int) -> int:
        said["asked"] += 1
        return 0

    def wait(_table: int, slot: int) -> int:
        said["waited"].append(slot)
        return 0

    functions = [
        ctypes.CFUNCTYPE(*words, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(start),
        ctypes.CFUNCTYPE(*words)(test),
        ctypes.CFUNCTYPE(*words)(wait),
    ]
    kept = table().words.copy()
    for place, function in zip((START, TEST, WAIT), functions, strict=True):
        table().words[place] = ctypes.cast(function, ctypes.c_void_p).value
    table().words[RANK] = 5
    yield said
    table().words[:] = kept


@pytest.mark.parametrize("dtype", ["f32", "f64", "i32", "i64"])
def test_native_code_sums_up_through_the_table(engine: dict, dtype: str) -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", (5, 3), dtype), ("y", (40,), dtype)]) as (x, y):
        total = g.all_reduce(g.add(x, x))
        other = g.all_reduce(g.mul(y, y))
        m.outputs([("a", total), ("b", g.neg(other)), ("c", g.add(y, other)), ("rank", g.rank())])
    exe = mlc.compile(m.finish(), cache=False)
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-9, 9, shape).astype(spec.dtype) for shape, spec in zip(((5, 3), (40,)), [np.zeros(0, {"f": "f", "i": "i"}[dtype[0]] + str(int(dtype[1:]) // 8))] * 2, strict=True)]  # fmt: skip
    x, y = arrays
    a, b, c, rank = exe(x, y)
    assert np.array_equal(a, 4 * x) and np.array_equal(b, -2 * y * y) and np.array_equal(c, y + 2 * y * y)
    assert rank == 5
    assert engine["started"] == [(0, 16 + 48, ("f32", "f64", "i32", "i64").index(dtype))]
    assert engine["waited"] == [0]


def test_sums_of_symbolic_size_travel_alone(engine: dict) -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", ("N", 3), "f32")]) as (x,):
        m.outputs([("y", g.neg(g.all_reduce(x))), ("z", g.all_reduce(g.exp(x)))])
    exe = mlc.compile(m.finish(), cache=False)
    for rows in (0, 1, 5):
        x = np.arange(3 * rows, dtype=np.float32).reshape(rows, 3) / 8
        y, z = exe(x)
        np.testing.assert_allclose(y, -2 * x)
        np.testing.assert_allclose(z, 2 * np.exp(x), rtol=1e-6)
    assert [count for _, count, _ in engine["started"]] == [0, 0, 3, 3, 15, 15]


def test_an_engine_is_asked_while_kernels_run(engine: dict) -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", (8, 8), "f32")]) as (x,):
        total = g.all_reduce(g.exp(x))
        y = x
        for _ in range(3):
            y = g.matmul(y, y)
        m.outputs([("y", g.add(y, total))])
    mlc.compile(m.finish(), cache=False)(np.eye(8, dtype=np.float32))
    assert engine["asked"] == 2  # the third product adds the sum


def test_sums_over_ranks_are_refused_on_gpus() -> None:
    m = g.module_builder("main")
    with m.function(inputs=[("x", (5,), "f32")]) as (x,):
        m.outputs([("y", g.neg(g.all_reduce(x)))])
    gpu = backend("cuda")
    target = gpu.rules.target("sm_80")
    passes = pipeline(2, option_of("cuda", "sm_80", "f32"), ranks=True)
    lowered = PassManager(passes).run(m.finish())
    with pytest.raises(TargetUnavailable, match="not made on GPUs"):
        gpu.generator.compile(lowered, target, cache=False)


def test_a_sum_in_a_loop_is_refused_where_it_is_compiled() -> None:
    looped = mlc.jit(lambda x: mlc.scan(lambda c, t: (mlc.dist.all_reduce(c), c), x, mnp.arange(3))[0])
    with pytest.raises(UnsupportedOp, match="in a loop or branch") as caught:
        looped(np.ones(3, np.float32))
    assert "test_one_process.py" in str(caught.value)


@pytest.mark.parametrize("handle", ["i32", "ptr"])
def test_the_functions_for_mpi_compile_for_both_kinds_of_handles(handle: str) -> None:
    library = load([compile_text(mpi_adapters(handle))])
    assert all(library.address(name) for name in ("start", "test", "wait"))


def test_a_loader_gives_each_rank_its_part_of_every_batch() -> None:
    samples = mlc.data.ArrayDataset(np.arange(22))
    noisy = lambda x, draws: x + draws.uniform().reshape(len(x)) / 2
    make = lambda **more: mlc.data.DataLoader(samples, 6, shuffle=True, drop_last=True, transform=noisy, **more)
    whole = list(make())
    parts = [list(make(parallel=DataParallel(rank=rank, ranks=3))) for rank in range(3)]
    for number, batch in enumerate(whole):
        assert np.array_equal(np.concatenate([part[number] for part in parts]), batch)


def test_rows_that_ranks_cannot_share_are_refused() -> None:
    samples, three = mlc.data.ArrayDataset(np.arange(20)), DataParallel(rank=1, ranks=3)
    with pytest.raises(MlcError, match="a batch has 4 rows, which 3 ranks cannot share evenly"):
        mlc.data.DataLoader(samples, 4, parallel=three)
    with pytest.raises(MlcError, match="the last batch of 20 samples has 2 rows") as caught:
        mlc.data.DataLoader(samples, 6, parallel=three)
    assert "drop_last=True" in str(caught.value)
    assert len(mlc.data.DataLoader(samples, 6, drop_last=True, parallel=three)) == 3


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(MlcError, match="there is no engine 'gloo'"):
        mlc.dist.init("gloo")
    with pytest.raises(TargetUnavailable, match="NCCL"):
        mlc.dist.init("nccl")
    with pytest.raises(MlcError, match="timeout is 0"):
        mlc.dist.init("mpi", timeout=0)
    with pytest.raises(MlcError, match="bucket_bytes is 0"):
        mlc.dist.data(bucket_bytes=0)
    with pytest.raises(MlcError, match=r"parallel is 4"):
        step_of(parallel=4)
    with pytest.raises(MlcError, match="made for rank 0 of 2, and this is rank 0 of 1"):
        step_of(parallel=DataParallel(ranks=2))
    with pytest.raises(TargetUnavailable, match="steps for cuda are not divided"):
        step_of(parallel=mlc.dist.data(), target="cuda")
    mlc.dist.init(None)
    mlc.dist.barrier()


def test_an_integer_buffer_that_follows_the_batch_is_refused() -> None:
    class Counting(mlc.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = mlc.nn.Linear(3, 4)
            self.positive = mlc.nn.Buffer(mnp.zeros((), "i64"))

        def forward(self, x):
            self.positive = self.positive + (x > 0).sum()
            return self.linear(x)

    step = mlc.train_step(Counting(), "mse", mlc.optim.SGD(0.1), parallel=mlc.dist.data())
    with pytest.raises(DTypeError, match="has another value on each rank"):
        step(*batch(4))


def test_running_statistics_are_means_over_the_ranks() -> None:
    """In the program of the step: what follows the batch is summed up."""
    net = mlc.nn.Sequential(mlc.nn.Linear(3, 4), mlc.nn.BatchNorm1d(4))
    step = mlc.train_step(net, "mse", mlc.optim.SGD(0.1), parallel=mlc.dist.data())
    text = str(step.trace(*batch(4)))
    plain = str(mlc.train_step(net, "mse", mlc.optim.SGD(0.1)).trace(*batch(4)))
    assert "all_reduce" not in plain
    assert text.count("graph.all_reduce ") == 1 + 4 + 2  # the loss, gradients, mean and variance
