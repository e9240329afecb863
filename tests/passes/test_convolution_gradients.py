"""Convolutions and their gradients, which are convolutions again, against sums written out in float64: by the interpreter, and in native code."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import mlc
from mlc.ir import builder as g
from mlc.ir.graph.convolution import ConvolutionOp
from mlc.ir.interpreter import run
from mlc.ir.module import Module


@dataclass(frozen=True)
class Geometry:
    """Along one spatial axis."""

    size: int
    taps: int
    stride: int = 1
    low: int = 0
    high: int = 0
    dilation: int = 1
    apart: int = 1

    @property
    def fit(self) -> int:
        """How many windows there are: none, or less than none, where the image is too small."""
        whole = (self.size - 1) * self.apart + 1 + self.low + self.high
        return (whole - (self.taps - 1) * self.dilation - 1) // self.stride + 1

    @property
    def positions(self) -> int:
        return max(0, self.fit)

    def reads(self):
        """(position, tap, element) of every product."""
        for p, t in product(range(self.positions), range(self.taps)):
            spot = p * self.stride + t * self.dilation - self.low
            if spot >= 0 and spot % self.apart == 0 and spot // self.apart < self.size:
                yield p, t, spot // self.apart


@dataclass(frozen=True)
class Case:
    axes: tuple[Geometry, ...]
    batch: int = 2
    groups: int = 1
    inputs: int = 3  # channels per group
    outputs: int = 4
    open: bool = False  # batch and image are symbols

    @property
    def digits(self) -> str:
        return "01"[: len(self.axes)]

    def arrays(self) -> list[np.ndarray]:
        rng = np.random.default_rng(7)
        shapes = (
            (self.batch, self.groups * self.inputs, *(a.size for a in self.axes)),
            (self.groups * self.outputs, self.inputs, *(a.taps for a in self.axes)),
            (self.batch, self.groups * self.outputs, *(a.positions for a in self.axes)),
        )
        return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]

    def expected(self, x: np.ndarray, w: np.ndarray, c: np.ndarray) -> list[np.ndarray]:
        """The convolution, and what c gives for x and w, one product after another."""
        x, w, c = (v.astype(np.float64) for v in (x, w, c))
        y, dx, dw = np.zeros_like(c), np.zeros_like(x), np.zeros_like(w)
        for group in range(self.groups):
            ins = slice(group * self.inputs, (group + 1) * self.inputs)
            outs = slice(group * self.outputs, (group + 1) * self.outputs)
            for reads in product(*(list(a.reads()) for a in self.axes)):
                p, t, e = zip(*reads, strict=True)
                here, there, tap = (slice(None), ins, *e), (slice(None), outs, *p), (outs, slice(None), *t)
                y[there] += x[here] @ w[tap].T
                dx[here] += c[there] @ w[tap]
                dw[tap] += c[there].T @ x[here]
        return [y, dx, dw]

    def module(self) -> Module:
        """The same three, of x, weight and c."""
        x, w, c = self.arrays()
        shape: list[int | str] = list(x.shape)
        if self.open:
            shape = ["N", shape[1], *(f"S{d}" for d in self.digits)]
        m = g.module_builder("gradients")
        windows = [(a.stride, (a.low, a.high), a.dilation, a.apart) for a in self.axes]
        with m.function(inputs=[("x", shape, "f32"), ("w", w.shape, "f32"), ("c", self._shape_of_c(shape, c), "f32")]) as (
            x_, w_, c_,
        ):  # fmt: skip
            y = g.convolution(
                x_, w_, f"nc{self.digits},oc{self.digits}->no{self.digits}", *(list(v) for v in zip(*windows, strict=True)), groups=self.groups
            )  # fmt: skip
            made = next(op for op in x_.owner.ops if isinstance(op, ConvolutionOp))  # type: ignore[union-attr]
            c_ = g.reshape(c_, g.shape_of(made.result))
            dx, dw = made.gradient_of_x(c_), made.gradient_of_weight(c_)
            outputs = [("y", y), ("dx", g.reshape(dx, g.shape_of(x_))), ("dw", g.reshape(dw, g.shape_of(w_)))]
            m.outputs(outputs)
        return m.finish()

    def _shape_of_c(self, shape, c):
        """c has the extents that the convolution gives."""
        if not self.open:
            return c.shape
        found = [
            ((g.dims.symbol(s) - 1) * a.apart + 1 + a.low + a.high - (a.taps - 1) * a.dilation - 1) // a.stride + 1
            for s, a in zip(shape[2:], self.axes, strict=True)
        ]
        return ["N", c.shape[1], *(str(e) for e in found)]


def check(case: Case, native: bool) -> None:
    module, arrays = case.module(), case.arrays()
    want, results = case.expected(*arrays), [run(module, arrays)]
    if native:
        results.append(mlc.compile(module, threads=1).run(None, dict(zip("xwc", arrays, strict=True))))
    for found in results:
        for name, got, exact in zip(("y", "dx", "dw"), found, want, strict=True):
            assert got.shape == exact.shape, name
            np.testing.assert_allclose(got, exact, rtol=1e-4, atol=1e-4, err_msg=name)


G = Geometry
CASES = {
    "stride 2": Case((G(7, 3, 2, 1, 1), G(8, 3, 2, 1, 1))),
    "1x1, stride 2": Case((G(7, 1, 2), G(8, 1, 2))),
    "depthwise, stride 2": Case((G(6, 3, 2, 1, 1), G(7, 3, 2, 1, 1)), groups=5, inputs=1, outputs=1),
    "groups": Case((G(6, 3, 2, 1, 1), G(7, 3, 1, 1, 1)), groups=3, inputs=2, outputs=5),
    "groups of one output": Case((G(6, 3, 1, 1, 1),), groups=3, inputs=2, outputs=1),
    "stride and dilation": Case((G(11, 3, 2, 2, 1, 2), G(9, 2, 3, 0, 1, 2))),
    "stride, dilation and zeros between": Case((G(5, 3, 2, 2, 1, 2, 4), G(4, 3, 3, 1, 1, 2, 2))),
    "crops": Case((G(9, 2, 1, -2, -1), G(8, 2, 2, -1, 1))),
    "window of the whole image": Case((G(5, 5), G(4, 4))),
    "long sums, stride 2": Case((G(33, 3, 2, 1, 0), G(27, 2, 2, 0, 1)), batch=3, inputs=17, outputs=48),
    "long sums, groups": Case((G(20, 3, 1, 1, 1), G(19, 3, 1, 1, 1)), groups=2, inputs=6, outputs=18),
    "long sums, depthwise": Case((G(20, 3, 1, 1, 1), G(19, 3, 2, 1, 1)), groups=21, inputs=1, outputs=1),
    "long sums, open sizes": Case((G(20, 3, 1, 1, 1), G(19, 3, 2, 1, 1)), inputs=18, outputs=17, open=True),
    "long sums, 1x1, open sizes": Case((G(20, 1), G(19, 1)), inputs=18, outputs=17, open=True),
    "one element": Case((G(1, 1), G(1, 1)), batch=1, inputs=1, outputs=1),
    "no image": Case((G(0, 3, 1, 2, 2), G(4, 1))),
    "no batch": Case((G(4, 3, 2, 1, 1),), batch=0),
    "no position": Case((G(2, 4),)),
    "open sizes, stride 2": Case((G(7, 3, 2, 1, 1), G(6, 3, 2, 1, 1)), open=True),
    "open sizes, depthwise, stride 2": Case((G(7, 3, 2, 1, 1), G(6, 3, 2, 1, 1)), groups=9, inputs=1, outputs=1, open=True),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_convolutions_are_convolutions(name: str) -> None:
    check(CASES[name], native=True)


axes = st.builds(
    Geometry,
    size=st.sampled_from([0, 1, 2, 3, 5, 8, 11]),
    taps=st.integers(1, 4),
    stride=st.integers(1, 3),
    low=st.integers(-2, 3),
    high=st.integers(-2, 3),
    dilation=st.integers(1, 3),
    apart=st.integers(1, 3),
)


@settings(max_examples=25, deadline=None)
@given(
    st.builds(
        Case,
        axes=st.one_of(st.tuples(axes), st.tuples(axes, axes)),
        batch=st.sampled_from([1, 2, 3]),
        groups=st.sampled_from([1, 1, 2, 3]),
        inputs=st.sampled_from([1, 2, 17]),
        outputs=st.sampled_from([1, 4, 19]),
        open=st.booleans(),
    )
)
def test_gradients_of_any_convolution(case: Case) -> None:
    assume(not case.open or all(a.fit >= 0 for a in case.axes))
    check(case, native=False)
