"""Whole kernels, interpreted after every level of their schedule, against float64."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlc.errors import InternalError, ShapeError
from mlc.ir.kernel.cpu_target import cpu_target
from mlc.ir.kernel.interpreter import Counters, run_kernel
from mlc.ir.kernel.kernel import Kernel
from mlc.ir.kernel.schedule import Level, Scalar, Schedule, Stage, Vector
from mlc.passes.loops.lower import lower
from tests.interpreter.ops_from_text import function
from tests.kernel import hand_made
from tests.kernel.native import by_rules

target = st.sampled_from(["x86-64-v2", "x86-64-v3", "x86-64-v4"])


class Sample:
    """Arrays for a kernel, what its result must be, and a test that it is, at any stage."""

    def __init__(
        self, arrays: dict[str, np.ndarray], output: str, want: np.ndarray, extents: dict[str, int] | None = None
    ):
        self.arrays, self.output, self.want, self.extents = arrays, output, want, extents or {}
        self.stages: list[str] = []

    def check(self, stage: str, kernel: Kernel) -> None:
        result = self.arrays[self.output]
        result[...] = np.nan
        run_kernel(kernel, self.arrays, self.extents, races=True)
        assert np.allclose(result, self.want, rtol=1e-4, atol=1e-4), stage
        self.stages.append(stage)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def gemm(m: int, n: int, k: int, transposed: bool) -> Sample:
    arrays = {
        "A": random(m, k),
        "B": random(n, k) if transposed else random(k, n),
        "bias": random(n),
        "R": random(m, n),
    }
    b = arrays["B"].astype(float)
    want = np.maximum(arrays["A"].astype(float) @ (b.T if transposed else b) + arrays["bias"] + arrays["R"], 0)
    return Sample({**arrays, "D": np.empty((m, n), np.float32)}, "D", want, {"M": m, "N": n, "K": k})


def conv(h: int, w: int, ic: int, oc: int, size: int, stride: int) -> Sample:
    arrays = {"X": random(h, w, ic), "W": random(size, size, ic, oc), "bias": random(oc)}
    windows = np.lib.stride_tricks.sliding_window_view(arrays["X"].astype(float), (size, size), (0, 1))[
        ::stride, ::stride
    ]
    want = np.maximum(np.einsum("hwcij,ijco->hwo", windows, arrays["W"]) + arrays["bias"], 0)
    return Sample({**arrays, "Y": np.empty(want.shape, np.float32)}, "Y", want)


def softmax(rows: int, columns: int, scale: float) -> Sample:
    x = random(rows, columns)
    e = np.exp(x.astype(float) * scale - (x * scale).max(1, initial=-np.inf, keepdims=True))
    return Sample({"X": x, "Y": np.empty_like(x)}, "Y", e / e.sum(1, keepdims=True), {"rows": rows, "columns": columns})


def layer_norm(rows: int, columns: int) -> Sample:
    arrays = {
        "X": random(rows, columns),
        "R": random(columns, rows).T.copy(),
        "gamma": random(columns),
        "beta": random(columns),
    }
    z = arrays["X"].astype(float) + arrays["R"]
    spread = np.sqrt(z.var(1, keepdims=True) + 1e-5)
    want = (z - z.mean(1, keepdims=True)) / spread * arrays["gamma"] + arrays["beta"]
    return Sample({**arrays, "Y": np.empty_like(arrays["X"])}, "Y", want, {"rows": rows, "columns": columns})


def every_stage(sample: Sample, kernel: Kernel, arch: str) -> None:
    sample.check("as built", kernel)
    done = by_rules(kernel, cpu_target(arch), sample.check)
    sample.check("lowered", done)
    assert len(sample.stages) >= 3


size = st.integers(1, 40)


@given(
    m=size,
    n=size,
    k=size,
    arch=target,
    transposed=st.booleans(),
    weight=st.booleans(),
    symbolic=st.sets(st.sampled_from("MNK")),
)
@example(
    m=3, n=1, k=1, arch="x86-64-v3", transposed=False, weight=False, symbolic={"M"}
)  # element by element, in partial tiles
@settings(max_examples=15)
def test_a_contraction_with_epilogue_at_every_stage(m, n, k, arch, transposed, weight, symbolic):
    extents = [name if name in symbolic else number for name, number in (("M", m), ("N", n), ("K", k))]
    known = weight and not symbolic & {"N", "K"}
    every_stage(gemm(m, n, k, transposed), hand_made.gemm(*extents, weight=known, transposed=transposed), arch)


@given(
    h=st.integers(3, 9),
    w=st.integers(3, 9),
    ic=st.integers(1, 5),
    oc=st.integers(1, 20),
    stride=st.integers(1, 2),
    arch=target,
)
@settings(max_examples=15)
def test_a_convolution_at_every_stage(h, w, ic, oc, stride, arch):
    every_stage(conv(h, w, ic, oc, 3, stride), hand_made.conv(h, w, ic, oc, 3, stride), arch)


@given(rows=st.integers(1, 7), columns=size, arch=target, symbolic=st.booleans())
@settings(max_examples=15)
def test_softmax_at_every_stage(rows, columns, arch, symbolic):
    kernel = hand_made.softmax("rows" if symbolic else rows, "columns" if symbolic else columns, 0.5)
    every_stage(softmax(rows, columns, 0.5), kernel, arch)


@given(rows=st.integers(1, 7), columns=st.integers(2, 40), arch=target, symbolic=st.booleans())
@settings(max_examples=15)
def test_layer_norm_at_every_stage(rows, columns, arch, symbolic):
    kernel = hand_made.layer_norm("rows" if symbolic else rows, "columns" if symbolic else columns)
    every_stage(layer_norm(rows, columns), kernel, arch)


@given(m=st.integers(1, 9), n=st.integers(1, 9), k=st.integers(0, 9))
@settings(max_examples=10)
def test_the_scalar_leaf(m, n, k):
    sample = gemm(m, n, k, False)
    lower(
        hand_made.gemm("M", "N", "K", weight=False),
        Schedule((Level({"m": 1}, {"m": "parallel"}),), Scalar()),
        cpu_target(),
        sample.check,
    )
    assert sample.stages[-1] == "Scalar"


def lowered_gemm(m: int = 9, n: int = 5, k: int = 4) -> Kernel:
    schedule = Schedule(
        (Level({"n": 16}, stage={"B": Stage("panel")}), Level({"m": 2}, {"m": "parallel"})),
        Vector(("n",), 16, ("m", "n")),
    )
    return lower(hand_made.gemm(m, n, k), schedule, cpu_target("x86-64-v4"))


def test_a_range_of_tiles_writes_its_rows_alone():
    sample = gemm(9, 5, 4, False)
    result = sample.arrays["D"]
    result[...] = np.nan
    run_kernel(lowered_gemm(), sample.arrays, tiles=[(1, 3)])
    assert np.allclose(result[2:6], sample.want[2:6], atol=1e-5)
    assert np.isnan(result[:2]).all() and np.isnan(result[6:]).all()
    with pytest.raises(ShapeError, match="kernel 'gemm' has 5 tiles, not 4 to 6"):
        run_kernel(lowered_gemm(), sample.arrays, tiles=[(4, 6)])


def test_a_kernel_parsed_from_its_text_runs_alike():
    from xdsl.dialects.func import FuncOp
    from xdsl.parser import Parser

    from mlc.ir.kernel.vector_ops import dialects

    module = Parser(dialects(), lowered_gemm().text()).parse_module()
    sample = gemm(9, 5, 4, False)
    run_kernel([op for op in module.ops if isinstance(op, FuncOp)][-1], sample.arrays)
    assert np.allclose(sample.arrays["D"], sample.want, atol=1e-5)


def test_loads_are_counted_where_a_register_tile_saves_them():
    """n^3/4 of A and n^3/2 of B where 2 rows and 4 columns are in registers."""
    n = 8
    schedule = Schedule((Level({"m": 2, "n": 4}),), Vector(("n",), 4, ("m", "n")))
    counters = Counters()
    arrays = {"A": random(n, n), "B": random(n, n), "D": np.empty((n, n), np.float32)}
    run_kernel(
        lower(hand_made.gemm(n, n, n, epilogue=False, weight=False), schedule, cpu_target()), arrays, counters=counters
    )
    assert counters.loads == {"A": n**3 // 4, "B": n**3 // 2}
    assert counters.stores == {"D": n * n}
    # each tile of two rows of A comes once; B comes again for each of them
    assert counters.moved["A", 1] == n * n and counters.moved["B", 1] == n**3 // 2


def test_arguments_that_do_not_fit_are_refused():
    kernel, sample = lowered_gemm(), gemm(9, 5, 4, False)
    with pytest.raises(ShapeError, match="kernel 'gemm' takes a buffer 'R'"):
        run_kernel(kernel, {n: a for n, a in sample.arrays.items() if n != "R"})
    with pytest.raises(ShapeError, match=r"buffer 'A' has the extents \[4, 8\], the kernel takes \[9, 4\]"):
        run_kernel(kernel, {**sample.arrays, "A": np.zeros((4, 8), np.float32)})
    with pytest.raises(ShapeError, match="buffer 'A' holds float64"):
        run_kernel(kernel, {**sample.arrays, "A": np.zeros((9, 4))})
    with pytest.raises(ShapeError, match=r"buffer 'R' has the strides \[1, 9\]"):
        run_kernel(kernel, {**sample.arrays, "R": np.zeros((5, 9), np.float32).T})
    with pytest.raises(ShapeError, match="the extent 'M' is not given|takes the extent 'M'"):
        run_kernel(
            lower(hand_made.gemm("M", 5, 4), Schedule((), Scalar()), cpu_target()), [np.zeros(0, np.float32)] * 5
        )


RACY = """func.func @racy(%x: memref<8xf32>, %y: memref<8xf32>, %begin: index {kernel.role = "begin"}, %end: index {kernel.role = "end"})
    attributes {kernel.tiles = "4"} {
  %one = arith.constant 1 : index
  scf.for %t = %begin to %end step %one {
    ACCESS
  }
  func.return
}"""


@pytest.mark.parametrize(
    "access, complaint",
    [
        (
            "%v = memref.load %x[%t] : memref<8xf32>\nmemref.store %v, %y[%one] : memref<8xf32>",
            "tile 2 writes elements of 'y' that tile 3 wrote",
        ),
        (
            "%v = memref.load %y[%one] : memref<8xf32>\nmemref.store %v, %y[%t] : memref<8xf32>",
            "tile 1 writes elements of 'y' that others read",
        ),
        ("%v = memref.load %x[%t] : memref<8xf32>\nmemref.store %v, %y[%t] : memref<8xf32>", None),
    ],
)
def test_tiles_that_touch_each_others_elements_are_found(access, complaint):
    arrays = [np.zeros(8, np.float32), np.zeros(8, np.float32)]
    racy = function(RACY.replace("ACCESS", access))
    if complaint is None:
        run_kernel(racy, arrays, races=True)
        return
    with pytest.raises(InternalError, match=complaint):
        run_kernel(racy, arrays, races=True)
    run_kernel(racy, arrays)
