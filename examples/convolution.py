"""One convolution, computed in every way that textbooks teach: 10 images of 32 x 32 with 8 channels, windows of 3 x 3, 16 channels out.

    python examples/convolution.py                     each way, checked and timed, beside NumPy and, where it is installed, PyTorch
    python examples/convolution.py --kernels 3 7 11    direct against FFT, over the size of the window

All are functions of `mlc.numpy` that are compiled; images are [n, h, w, c], windows [k, k, c, o], and y[n, i, j, o] sums x[n, i + a, j + b, c] w[a, b, c, o]:

    seven loops     n, i, j, o around a, b, c, one product after the other
    nine products   one matrix product for each (a, b), of x from (a, b) on
    im2col          the nine shifted images side by side in memory, and one product
    strides         the same product with no copy: the kernel reads x by the strides of an im2col
    Winograd        patches of m x m outputs from fewer products: 16 instead of 36 for m = 2, 36 instead of 144 for m = 4
    FFT             a product for each frequency, however large the window is
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil

import numpy as np
from numpy.lib.stride_tricks import as_strided

import mlc
import mlc.numpy as mnp
from mlc import Tensor
from mlc.nn import functional

IMAGES, SIZE, CHANNELS, OUTPUTS, WINDOW = 10, 32, 8, 16, 3
Convolution = Callable[[Tensor, Tensor], Tensor]


# The ways ----------------------------------------------------------------------------------------------------------------
def convolution(x: Tensor, w: Tensor, padding: int = 0) -> Tensor:
    """The op of the graph dialect. `mlc.nn` has channels in the second place; these transposes cancel with those of layout selection."""
    y = functional.convolution(x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1), padding=[(padding, padding)] * 2)
    return y.transpose(0, 2, 3, 1)


def nine_products(x: Tensor, w: Tensor) -> Tensor:
    k, height, width = len(w), x.shape[1] - len(w) + 1, x.shape[2] - len(w) + 1
    parts = [x[:, a : a + height, b : b + width] @ w[a, b] for a in range(k) for b in range(k)]
    return sum(parts[1:], parts[0])


def im2col(x: Tensor, w: Tensor) -> Tensor:
    k, height, width = len(w), x.shape[1] - len(w) + 1, x.shape[2] - len(w) + 1
    windows = mnp.stack([x[:, a : a + height, b : b + width] for a in range(k) for b in range(k)], axis=3)
    return windows.reshape(-1, k * k * w.shape[2]) @ w.reshape(-1, w.shape[3])


# Lavin and Gray 2016: patches of m x m outputs, m = 2 and 4, of windows of 3 x 3
INPUT = {
    2: [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
    4: [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
}
KERNEL = {
    2: [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
    4: [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
}
OUTPUT = {
    2: [[1, 1, 1, 0], [0, 1, -1, -1]],
    4: [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
}


def winograd(x: Tensor, w: Tensor, m: int = 2) -> Tensor:
    """Patches of (m + 2) x (m + 2) overlap by 2. Each is transformed, multiplied element by element with the transformed window, summed over channels,
    and transformed back to m x m outputs."""
    into, kernel, out = (mnp.array(np.array(matrices[m]), x.dtype) for matrices in (INPUT, KERNEL, OUTPUT))
    n, height, width = x.shape[0], x.shape[1] - 2, x.shape[2] - 2
    down, across = ceil(height / m), ceil(width / m)
    x = mnp.pad(x, [(0, 0), (0, down * m - height), (0, across * m - width), (0, 0)])
    rows = mnp.stack([x[:, a : a + m * down - m + 1 : m] for a in range(m + 2)])
    patches = mnp.stack([rows[:, :, :, b : b + m * across - m + 1 : m] for b in range(m + 2)], axis=1)
    v = mnp.einsum("qb,pbnijc->pqnijc", into, mnp.einsum("pa,abnijc->pbnijc", into, patches))
    u = mnp.einsum("qb,pbco->pqco", kernel, mnp.einsum("pa,abco->pbco", kernel, w))
    products = mnp.einsum("pqnijc,pqco->pqnijo", v, u)
    back = mnp.einsum("sq,rqnijo->nirjso", out, mnp.einsum("rp,pqnijo->rqnijo", out, products))
    return back.reshape(n, down * m, across * m, -1)[:, :height, :width]


def waves(n: int, dtype: np.dtype, back: bool = False) -> np.ndarray:
    """[2, n, 2, n]: multiplied with planes (real, imaginary) of n numbers, those of their Fourier transform; with `back`, of its inverse."""
    turn = (-1 if back else 1) * 2 * np.pi * np.outer(np.arange(n), np.arange(n)) / n
    found = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / (n if back else 1)
    return found.transpose(0, 2, 1, 3).astype(dtype)


def transform(z: Tensor, spec: str, factors: tuple[int, int] | None = None) -> Tensor:
    """The Fourier transform of planes z [2, ...] along the axis that spec calls t: by one product, or for n = a b by two that are smaller (Cooley and
    Tukey 1965), the second of which also has the twiddle factors between them."""
    place = spec.index("t")
    n, after = z.shape[place], spec.replace("p", "q")
    if factors is None:
        return mnp.einsum(f"{spec},ptqT->{after.replace('t', 'T')}", z, waves(n, z.dtype))
    a, b = factors
    z = z.reshape(*z.shape[:place], a, b, *z.shape[place + 1 :])
    z = mnp.einsum(f"{spec.replace('t', 'tu')},ptqT->{after.replace('t', 'Tu')}", z, waves(a, z.dtype))
    # what is at (T, u) turns by w_n^(T u), and then by w_b^(u U)
    turn = 2 * np.pi * (np.outer(np.arange(a), np.arange(b))[:, :, None] / n + np.outer(np.arange(b), np.arange(b)) / b)
    second = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]).transpose(2, 0, 3, 1, 4)
    z = mnp.einsum(f"{spec.replace('t', 'Tu')},TpuqU->{after.replace('t', 'UT')}", z, second.astype(z.dtype))
    return z.reshape(*z.shape[:place], n, *z.shape[place + 2 :])


def fft(x: Tensor, w: Tensor, factors: tuple[int, int] | None = None) -> Tensor:
    """Of circles as large as the image, of which valid windows use no more. The spectrum of real numbers is needed to the half: what is beyond is its mirror."""
    height, width = x.shape[1:3]
    k, half = len(w), width // 2 + 1
    spread = mnp.pad(w, [(0, height - k), (0, width - k), (0, 0), (0, 0)])
    across = waves(width, x.dtype)[0, :, :, :half]
    spectrum = transform(mnp.einsum("nywc,wpf->pnyfc", x, across), "pntfc", factors)
    of_window = transform(mnp.einsum("ywco,wpf->pyfco", spread, across), "ptfco", factors)
    real, imaginary = of_window[0], of_window[1]
    conjugate = mnp.stack([mnp.stack([real, -imaginary]), mnp.stack([imaginary, real])])  # (p, q): [[r, -i], [i, r]]
    found = mnp.einsum("pnyfc,pqyfco->qnyfo", spectrum, conjugate)
    rows = mnp.einsum("pnyfo,pyqt->qntfo", found, waves(height, x.dtype, back=True)[:, :, :, : height - k + 1])
    weights = np.where(np.isin(np.arange(half), (0, width / 2)), 1, 2)[
        None, :, None
    ]  # frequencies that stand for their mirror too
    back = (waves(width, x.dtype, back=True)[:, :half, 0, : width - k + 1] * weights).astype(x.dtype)
    return mnp.einsum("pntfo,pfs->ntso", rows, back)


NAIVE = "Level(n = 1, oh = 1, ow = 1, oc = 1) | Vector(oc x 1, unroll n*oh*ow*oc)"


def seven_loops(x: np.ndarray, w: np.ndarray, schedule: str = NAIVE) -> mlc.Executable:
    """The kernel of the op with another schedule than the rules': one output after the other, its sum in one register. "Scalar" leaves the loops
    to LLVM, which puts neighbouring outputs into vectors by itself."""
    text = mlc.jit(convolution).trace(x, w).lower().as_text("schedule")
    return mlc.compile(mlc.Module.parse(re.sub(r'(kernel\.schedule = )"[^"]*"', rf'\1"{schedule}"', text)), threads=1)


WAYS: dict[str, Convolution] = {
    "nine products": nine_products,
    "im2col": lambda x, w: im2col(x, w).reshape(len(x), x.shape[1] - len(w) + 1, x.shape[2] - len(w) + 1, -1),
    "strides": convolution,
    "Winograd, m = 2": winograd,
    "Winograd, m = 4": partial(winograd, m=4),
    "FFT, one product": fft,
    "FFT, two factors": partial(fft, factors=(4, 8)),
}


# Beside it ---------------------------------------------------------------------------------------------------------------
def numpy_products(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    k, height, width = len(w), x.shape[1] - len(w) + 1, x.shape[2] - len(w) + 1
    y = np.zeros((len(x), height, width, w.shape[3]), x.dtype)
    for a in range(k):
        for b in range(k):
            y += x[:, a : a + height, b : b + width] @ w[a, b]
    return y


def numpy_strides(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """im2col by strides (8192, 256, 8, 256, 8, 1) of elements: a view of x, which the reshape copies."""
    k, (n, height, width, c) = len(w), x.shape
    along_n, along_h, along_w, along_c = x.strides
    windows = as_strided(
        x, (n, height - k + 1, width - k + 1, k, k, c), (along_n, along_h, along_w, along_h, along_w, along_c)
    )
    return (windows.reshape(-1, k * k * c) @ w.reshape(-1, w.shape[3])).reshape(*windows.shape[:3], -1)


def with_torch(x: np.ndarray, w: np.ndarray) -> Callable[[], object] | None:
    """PyTorch's convolution, channels last; None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    images = torch.from_numpy(x).permute(0, 3, 1, 2)
    weight = torch.from_numpy(w).permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)

    def run() -> object:
        with torch.no_grad():
            return torch.nn.functional.conv2d(images, weight)

    return run


def exact(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """In float64, by NumPy's windows."""
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), w.shape[:2], (1, 2))
    return np.einsum("nijcab,abco->nijo", windows, w.astype(np.float64), optimize=True)


# Its derivative ------------------------------------------------------------------------------------------------------------
def by_images(c: Tensor, w: Tensor) -> Tensor:
    """The gradient by x of sum(c * convolution(x, w)): c convolved with the window turned around, its channels exchanged."""
    return convolution(c, w[::-1, ::-1].transpose(0, 1, 3, 2), padding=len(w) - 1)


def by_window(c: Tensor, x: Tensor) -> Tensor:
    """The gradient by w: x convolved with c, where images are the channels that are summed."""
    y = convolution(x.transpose(3, 1, 2, 0), c.transpose(1, 2, 0, 3))
    return y.transpose(1, 2, 0, 3)


def backward_ops() -> str:
    """What is computed in the graph of both gradients, after layout selection."""
    spec = [mlc.TensorSpec(s, "f32") for s in ((10, 32, 32, 8), (3, 3, 8, 16), (10, 30, 30, 16))]
    gradient = mlc.grad(lambda x, w, c: (convolution(x, w) * c).sum(), (0, 1))
    text = mlc.jit(gradient).trace(*spec).lower().as_text("dce")
    text = re.sub(r"strides = .*x_dilation = array<i64: 1, 1>", "...", text)
    return "\n".join(line.strip() for line in text.splitlines() if re.search(r"= .?graph\.(?!constant)", line))


# Tables --------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Row:
    """A way, its time, and its largest error as a share of the largest output."""

    name: str
    milliseconds: float
    error: float


def problem(window: int = WINDOW, images: int = IMAGES) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x, w = (
        random.standard_normal((images, SIZE, SIZE, CHANNELS)),
        random.standard_normal((window, window, CHANNELS, OUTPUTS)),
    )
    return x.astype(np.float32), w.astype(np.float32)


def measure(runs: dict[str, Callable[[], object]], wanted: np.ndarray, rounds: int) -> list[Row]:
    """The best of some rounds, in which each way has its turn."""
    best, errors = dict.fromkeys(runs, float("inf")), {}
    for name, run in runs.items():
        found = np.asarray(run())  # compiles
        found = found.transpose(0, 2, 3, 1) if name.startswith("PyTorch") else found
        errors[name] = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    for _ in range(rounds):
        for name, run in runs.items():
            for _ in range(5):  # the first of them finds the caches full of what the others left
                start = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - start)
    return [Row(name, best[name] * 1e3, errors[name]) for name in runs]


def runs(x: np.ndarray, w: np.ndarray, ways: dict[str, Convolution]) -> dict[str, Callable[[], object]]:
    """Calls on one thread; windows are constants, as in a model."""
    found: dict[str, Callable[[], object]] = {}
    for name, way in ways.items():
        compiled = mlc.jit(lambda x, way=way: way(x, mnp.asarray(w)), threads=1)
        found[name] = partial(compiled, x)
    if (theirs := with_torch(x, w)) is not None:
        found["PyTorch"] = theirs
    return found


def table(rounds: int, images: int = IMAGES, ways: dict[str, Convolution] = WAYS) -> list[Row]:
    x, w = problem(images=images)
    loops, by_llvm = seven_loops(x, w), seven_loops(x, w, "Scalar")
    every: dict[str, Callable[[], object]] = {
        "seven loops": lambda: loops(x, w),
        "seven loops, LLVM's": lambda: by_llvm(x, w),
        **runs(x, w, ways),
        "NumPy, nine products": lambda: numpy_products(x, w),
        "NumPy, strides": lambda: numpy_strides(x, w),
    }
    found = measure(every, exact(x, w), rounds)
    print(f"{'':<22} {'ms':>8} {'error':>9}")
    for row in found:
        print(f"{row.name:<22} {row.milliseconds:8.3f} {row.error:9.1e}")
    if "PyTorch" not in every:
        print("PyTorch is not installed: pip install torch")
    return found


def table_of_windows(windows: Sequence[int], rounds: int, images: int = IMAGES) -> list[tuple[Row, ...]]:
    """Direct convolution against FFT, over the size of the window."""
    found = []
    print(f"{'window':>6} {'direct, ms':>11} {'FFT, ms':>9} {'PyTorch, ms':>12}")
    for k in windows:
        x, w = problem(k, images)
        rows = measure(runs(x, w, {"direct": convolution, "FFT": fft}), exact(x, w), rounds)
        theirs = f"{rows[2].milliseconds:12.3f}" if len(rows) > 2 else ""
        print(f"{k:6} {rows[0].milliseconds:11.3f} {rows[1].milliseconds:9.3f} {theirs}", flush=True)
        found.append(tuple(rows))
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--kernels", type=int, nargs="*", default=[3, 5, 7, 9, 11, 13, 17], help="sizes of the window")
    args = parser.parse_args(arguments)
    if any(not 1 <= k <= SIZE for k in args.kernels):
        parser.error(f"windows have 1 to {SIZE} rows, as the images have {SIZE}")
    table(args.rounds)
    if args.kernels:
        table_of_windows(args.kernels, args.rounds)


if __name__ == "__main__":
    main()
