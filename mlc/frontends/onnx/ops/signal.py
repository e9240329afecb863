"""Signals: MelWeightMatrix, and the Fourier transforms DFT and STFT as one product with the matrix of the transform, real and imaginary parts side by side.

x [..., n, c]  ->  [..., n * c] times [n * c, k * 2]  ->  [..., k, 2]

The matrix is a constant where its size is known, else it is made in the run, from a table of the roots of unity.
"""

from __future__ import annotations

import numpy as np

from mlc.frontends.onnx.node import Node
from mlc.frontends.onnx.ops.activation import like, times
from mlc.frontends.onnx.ops.resize import extent_like, settled
from mlc.frontends.onnx.table import Value, handles
from mlc.frontends.onnx.windows import crop_or_pad
from mlc.ir import builder as g
from mlc.ir.dims import Extent
from mlc.ir.types import dtype_of, numpy_dtype, rank_of, shape_of

# Elements of the largest transform matrix: 4,096 real points to one side, 64 MiB in single precision.
LARGEST_MATRIX = 1 << 24


@handles("DFT", since=(17,))
def dft_along_attribute(node: Node, x: Value, length: Value | None = None) -> Value:
    return dft(node, x, node.int("axis"))


@handles("DFT", since=(20,))
def dft_along_input(node: Node, x: Value, length: Value | None = None, axis: Value | None = None) -> Value:
    return dft(node, x, -2 if axis is None else node.number(2, "axis"))


def dft(node: Node, x: Value, axis: int) -> Value:
    rank, inverse, onesided = rank_of(x), bool(node.int("inverse")), bool(node.int("onesided"))
    if not -rank <= axis < rank or axis % rank == rank - 1:
        raise node.invalid(
            f"axis {axis} is not a signal axis of {rank} axes, the last holding real and imaginary parts"
        )
    axis %= rank
    size = shape_of(x)[axis]
    if node.given(1):
        length = node.extent(1, "dft_length")
    else:
        length = 2 * (size - 1) if inverse and onesided else size
    if isinstance(length, int) and length < 1:
        raise node.error(f"a transform of {length} points")
    g.require_at_least(length, 1, "a transform has points")
    x = fitted(x, axis, length // 2 + 1 if inverse and onesided else length)
    order = [i for i in range(rank - 1) if i != axis] + [axis, rank - 1]
    y = transformed(node, g.transpose(x, order), length, inverse, onesided)
    return g.transpose(y, [order.index(i) for i in range(rank)])


def fitted(x: Value, axis: int, size: Extent) -> Value:
    """Cut or filled with zeros to `size` along an axis."""
    return crop_or_pad(x, [(0, size - n if i == axis else 0) for i, n in enumerate(shape_of(x))], 0)


def transformed(node: Node, x: Value, length: Extent, inverse: bool, onesided: bool) -> Value:
    """x [..., n, 1 or 2] -> [..., k, 2], or [..., length, 1] for the inverse of a one-sided spectrum."""
    *outer, n, parts = shape_of(x)
    if not isinstance(parts, int) or parts not in (1, 2):
        raise node.error(f"the last axis has {parts} elements, expected 1 (real) or 2 (real and imaginary)")
    if isinstance(n, int) and isinstance(length, int):
        if n * 2 * length * 2 > LARGEST_MATRIX:
            raise node.unsupported(f"a transform of {length} points")
        matrix = transform_matrix(n, parts, length, inverse, onesided)
        kept, results = matrix.shape[2:]
        weights = g.constant(matrix.reshape(n * parts, -1).astype(numpy_dtype(dtype_of(x))), name="dft")
    else:
        weights = matrix_in_the_run(n, parts, length, inverse, onesided)
        kept, results = shape_of(weights)[2:]
        weights = g.cast(g.reshape(weights, [n * parts, kept * results]), dtype_of(x))
    return g.reshape(g.matmul(g.reshape(x, [*outer, n * parts]), weights), [*outer, kept, results])


def transform_matrix(n: int, parts: int, length: int, inverse: bool, onesided: bool) -> np.ndarray:
    """[n, parts, k, results] of float64: what each unit sample, real then imaginary, transforms to."""
    units = np.eye(n)[:, None] * np.array([1, 1j][:parts])[:, None]
    if inverse and onesided:
        return np.fft.irfft(units, n=length)[..., None]
    spectrum = np.fft.ifft(units, n=length) if inverse else np.fft.fft(units, n=length)
    if onesided:
        spectrum = spectrum[..., : length // 2 + 1]
    return np.stack([spectrum.real, spectrum.imag], -1)


def matrix_in_the_run(n: Extent, parts: int, length: Extent, inverse: bool, onesided: bool) -> Value:
    """As transform_matrix, of sizes that the run decides: exp(-2 pi i j k / length), looked up by j * k modulo length."""
    real = inverse and onesided
    kept: Extent = length // 2 + 1 if onesided and not inverse else length
    turn = times(g.div(g.iota([length], 0, "f64"), extent_like(g.iota([length], 0, "f64"), length)), 2 * np.pi)
    roots = g.concatenate([g.unsqueeze(g.cos(turn), [1]), g.unsqueeze(g.sin(turn), [1])], 1)
    sample, bin = (g.iota([n, kept], axis, "i64") for axis in (0, 1))
    found = g.gather(roots, g.mod(g.mul(sample, bin), extent_like(sample, length)), 0)
    cosine, sine = (g.slice_axis(found, 2, part, 1) for part in (0, 1))
    sine = sine if inverse else g.neg(sine)
    # (1, 0) becomes (cos, sin) and (0, 1) becomes (-sin, cos); of a one-sided spectrum the real results alone count
    columns = [cosine if real else g.concatenate([cosine, sine], 2)]
    if parts == 2:
        columns.append(g.neg(sine) if real else g.concatenate([g.neg(sine), cosine], 2))
    matrix = g.concatenate([g.unsqueeze(part, [1]) for part in columns], 1)
    if (
        real
    ):  # what is left out of the spectrum mirrors what is there, but for the first and, of an even length, the last
        number = g.iota([n], 0, "i64")
        alone = g.logical_or(g.eq(number, like(number, 0)), g.eq(times(number, 2), extent_like(number, length)))
        weight = g.select(alone, g.full([n], 1, "f64"), g.full([n], 2, "f64"))
        matrix = g.mul(matrix, g.broadcast(weight, shape_of(matrix), [0]))
    return g.div(matrix, extent_like(matrix, length)) if inverse else matrix


@handles("STFT", since=(17,))
def stft(node: Node, x: Value, step: Value, window: Value | None = None, length: Value | None = None) -> Value:
    """DFT of windowed frames: x [batch, samples, 1 or 2] -> [batch, frames, bins, 2]."""
    if rank_of(x) != 3 or (window is not None and rank_of(window) != 1):
        raise node.error("the signal needs 3 axes (batch, samples, parts) and the window 1")
    samples = shape_of(x)[1]
    hop = node.number(1, "frame_step")
    if node.given(3):
        size = node.number(3, "frame_length")
    else:
        known = samples if window is None else shape_of(window)[0]
        if not isinstance(known, int):
            raise node.unsupported(f"frames of the symbolic extent {known}", remedy="Give frame_length.")
        size = known
    if hop < 1 or size < 1:
        raise node.invalid(f"frame_step {hop} and frame_length {size} must be positive")
    g.require_at_least(samples, size, f"the signal holds a frame of {size} samples")
    frames = (samples - size) // hop + 1
    start = g.iota([frames, size], 0, "i64")
    place = g.add(g.mul(start, g.scalar_like(start, hop)), g.iota([frames, size], 1, "i64"))
    y = g.gather(x, settled(place), 1)
    if window is not None:
        y = g.mul(y, g.broadcast(window, shape_of(y), [2]))
    return transformed(node, y, size, inverse=False, onesided=bool(node.int("onesided")))


@handles("MelWeightMatrix", since=(17,))
def mel_weight_matrix(node: Node, bins: Value, length: Value, rate: Value, lower: Value, upper: Value) -> np.ndarray:
    """[length // 2 + 1, bins]: triangles over the frequencies of a transform of `length` points, evenly spaced on the mel scale."""
    names = ("num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz")
    count, points, sampled, low, high = (node.number(i, name) for i, name in enumerate(names))
    for name, value in zip(names[:3], (count, points, sampled), strict=True):
        if value < 1:
            raise node.error(f"{name} is {value}, expected 1 or more")
    frequencies = points // 2 + 1
    if frequencies * count > LARGEST_MATRIX:
        raise node.unsupported(f"{count} bins over {frequencies} frequencies")
    if not (low >= 0 and high >= 0):
        raise node.error(f"the edges {low:g} and {high:g} Hz must not be negative")
    ends = 2595 * np.log10(1 + np.array([low, high], np.float64) / 700)
    mels = ends[0] + np.arange(count + 2) * ((ends[1] - ends[0]) / (count + 2))
    edges = np.floor((points + 1) * (700 * (10 ** (mels / 2595) - 1)) / sampled).astype(np.int64)
    if edges.min() < 0 or edges[:-1].max() >= frequencies or edges[-1] > frequencies:
        raise node.error(f"the edges {low:g} and {high:g} Hz lie beyond the {frequencies} frequencies of {sampled} Hz")
    place = np.arange(frequencies)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = np.where((place >= left) & (place <= centre), (place - left) / np.maximum(centre - left, 1), 0.0)
    rising = np.where((left == centre) & (place == centre), 1.0, rising)
    falling = np.where((place > centre) & (place < right), (right - place) / np.maximum(right - centre, 1), 0.0)
    dtype = node.dtype("output_datatype", None) or "f32"
    return (rising + falling).astype(numpy_dtype(dtype))
