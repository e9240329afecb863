"""Kernels of plain loops on GPUs: a block shares the steps of what says that they are apart, without races, and computes what the interpreter does."""

from collections.abc import Callable

import numpy as np
import pytest

import mlc
from mlc.ir import builder as g
from mlc.ir import interpreter
from mlc.ir.types import dtype_name
from mlc.testing import ORDERS, host_build, on_host, recorded

pytestmark = pytest.mark.skipif(host_build.available() is not None, reason=str(host_build.available()))

RNG = np.random.default_rng(11)


def rows(x, at, updates):
    return g.scatter_nd(x, at, updates, "add")


def windows(values, places):
    return g.window_put(values, places, (2, 7, 7, 5), [1, 3, 3, 1], [1, 2, 2, 1])


# name -> arrays, what is computed, the kernel that is meant, threads of its blocks
SAMPLES: dict[str, tuple[list[np.ndarray], Callable, str, int]] = {
    "border": ([RNG.random((2, 5, 4, 7), np.float32)], lambda x: g.pad(x, [0, 1, 2, 0], [0, 1, 0, 0], 3.0), "border", 64),
    "wide rows": ([RNG.random((9, 150), np.float32), RNG.integers(-9, 9, (6, 1)), RNG.random((6, 150), np.float32)], rows, "scatter", 64),
    "short rows": ([RNG.random((9, 5), np.float32), RNG.integers(-9, 9, (6, 1)), RNG.random((6, 5), np.float32)], rows, "scatter", 64),
    "elements": ([RNG.random(9, np.float32), RNG.integers(-9, 9, (6, 1)), RNG.random(6, np.float32)], rows, "scatter", 1),
    "columns": ([RNG.random((3, 11, 67), np.float32)], lambda x: g.cumulative(x, 1, "sum"), "cumulative", 64),
    "windows": ([RNG.random((2, 3, 3, 5), np.float32), RNG.integers(0, 9, (2, 3, 3, 5)).astype(np.uint8)], windows, "window_put", 64),
    "line": ([RNG.random((3, 11), np.float32)], lambda x: g.cumulative(x, 1, "sum", exclusive=True), "cumulative", 128),
}  # fmt: skip


class Together:
    """All samples in one module, so that they are compiled once."""

    def __init__(self) -> None:
        self.arrays = [array for arrays, *_ in SAMPLES.values() for array in arrays]
        m = g.module_builder("samples")
        types = [(f"x{n}", array.shape, dtype_name(array.dtype)) for n, array in enumerate(self.arrays)]
        with m.function(inputs=types) as values:
            left = iter(values)
            m.outputs([(name, build(*[next(left) for _ in row])) for name, (row, build, *_) in SAMPLES.items()])
        module = m.finish()
        self.exe = mlc.compile(
            module, target="cuda-on-cpu", disable_passes=["expand-places"]
        )  # which leaves no window_put
        self.want = interpreter.run(module, self.arrays)
        self.launches = recorded(self.exe, *self.arrays)


@pytest.fixture(scope="module")
def together() -> Together:
    return Together()


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_they_compute_what_the_interpreter_does_in_any_order_of_threads(together, order) -> None:
    for name, found, want in zip(SAMPLES, on_host(together.exe, order)(*together.arrays), together.want, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_block_shares_a_tile_without_races(together, name: str) -> None:
    _, _, kernel, threads = SAMPLES[name]
    number = sum(other == kernel for *_, other, _ in list(SAMPLES.values())[: list(SAMPLES).index(name)])
    launch = [launch for launch in together.launches if launch.step.startswith(kernel)][number]
    assert launch.block == (threads, 1, 1)
    launch.check_races().require_clean()
    launch.check_memory().require_clean()
    assert not launch.watch().between_blocks()
